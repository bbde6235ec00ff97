"""The value types of the settings: each takes what people write and says what is wrong with the rest.
Reads the time zone database and the list of countries; touches nothing else.

No message quotes its value: values can hold passwords, and `problems.py` decides what may be shown.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from ipaddress import IPv4Network, IPv6Network, ip_address, ip_network
from typing import Annotated, Final
from urllib.parse import urlsplit
from zoneinfo import ZoneInfo

import phonenumbers
from pydantic import AfterValidator, BeforeValidator, Field, SecretStr

from router.domain.egress import DEFAULT_PORTS, AllowRule, parse_allow_rule
from router.domain.fields import parse_path

EMBEDDED: Final = "embedded"
"""The value of `mongo.url` that starts a local MongoDB-compatible server."""
MIN_TOKEN_LENGTH: Final = 8
MAX_PORT: Final = 65_535
MAX_AMQP_NAME_BYTES: Final = 255
"""Exchange, queue and routing names are AMQP 0-9-1 short strings."""


class KeyedError(ValueError):
    """A rule over several keys is broken: `path` leads from the checked value to the key to blame."""

    def __init__(self, path: tuple[str | int, ...], value: object, message: str) -> None:
        super().__init__(message)
        self.path = path
        self.value = value


# ------------------------------------------------------------------------------------------ numbers


def _refuse_booleans(value: object) -> object:
    # pydantic takes `true` for 1, and in a file that is a mistake nobody would find.
    if isinstance(value, bool):
        raise ValueError("must be a number, not true or false")
    return value


NUMBER: Final = BeforeValidator(_refuse_booleans)


def _none_from_word(value: object) -> object:
    # TOML has no null.
    return None if isinstance(value, str) and value.strip().lower() in {"none", "null"} else value


NONE_WORD: Final = BeforeValidator(_none_from_word)


# ------------------------------------------------------------------------------------------- secrets


def _clean(secret: SecretStr) -> str:
    """The text of a secret without the blanks and the newline that come with files and copy-and-paste."""
    text = secret.get_secret_value().strip()
    if any(character.isspace() or not character.isprintable() for character in text):
        raise ValueError("must not hold blanks or control characters")
    return text


def _check_amqp_url(secret: SecretStr) -> SecretStr:
    text = _clean(secret)
    if not text.lower().startswith(("amqp://", "amqps://")):
        raise ValueError("must begin with amqp:// or amqps://")
    try:
        parts = urlsplit(text)
        host, _port = parts.hostname, parts.port
    except ValueError:
        # The library's own text would quote a part of the password, hence `from None`.
        raise ValueError(
            "is no URL that can be read: inside a password, '/' is written %2F, '@' %40, ':' %3A and '#' %23"
        ) from None
    if not host:
        raise ValueError("names no host")
    return SecretStr(text)


def _check_mongo_url(secret: SecretStr) -> SecretStr:
    text = _clean(secret)
    if text == EMBEDDED:
        return SecretStr(text)
    scheme, separator, rest = text.partition("://")
    if not separator or scheme not in {"mongodb", "mongodb+srv"}:
        raise ValueError(f"must begin with mongodb:// or mongodb+srv://, or be the word {EMBEDDED}")
    hosts = re.split(r"[/?]", rest.rpartition("@")[2], maxsplit=1)[0]
    if not all(hosts.split(",")):
        raise ValueError("names no host")
    return SecretStr(text)


def _check_proxy_url(secret: SecretStr) -> SecretStr:
    text = _clean(secret)
    try:
        parts = urlsplit(text)
        host, port = parts.hostname, parts.port
    except ValueError:
        raise ValueError(
            "is no URL that can be read: inside a password, '/' is written %2F, '@' %40, ':' %3A and '#' %23"
        ) from None
    if parts.scheme not in {"http", "https"}:
        raise ValueError("must begin with http:// or https://")
    if not text.isascii() or not host or "%" in host:
        raise ValueError("names no host, or not in ASCII")
    if port == 0 or parts.path not in {"", "/"} or parts.query or parts.fragment:
        raise ValueError("must be a scheme, a host and a port of 1 to 65535, without a path")
    return SecretStr(text)


def _check_collector_url(secret: SecretStr) -> SecretStr:
    text = _clean(secret)
    try:
        parts = urlsplit(text)
        host, port = parts.hostname, parts.port
    except ValueError:
        raise ValueError("is no URL that can be read") from None
    if parts.scheme not in {"http", "https"}:
        raise ValueError("must begin with http:// or https://")
    if not text.isascii() or not host or port == 0:
        raise ValueError("names no host, or not in ASCII, or port 0")
    if parts.path in {"", "/"}:
        raise ValueError("has no path: a collector takes traces at /v1/traces")
    return SecretStr(text)


def _check_token(secret: SecretStr) -> SecretStr:
    text = secret.get_secret_value()
    if not re.fullmatch(r"[!-~]*", text):
        raise ValueError("must be printable ASCII without spaces")
    if len(text) < MIN_TOKEN_LENGTH:
        raise ValueError(f"is too short: at least {MIN_TOKEN_LENGTH} characters")
    return secret


AmqpUrl = Annotated[SecretStr, AfterValidator(_check_amqp_url)]
MongoUrl = Annotated[SecretStr, AfterValidator(_check_mongo_url)]
CollectorUrl = Annotated[SecretStr, AfterValidator(_check_collector_url)]
ProxyUrl = Annotated[SecretStr, AfterValidator(_check_proxy_url)]
Token = Annotated[SecretStr, AfterValidator(_check_token)]


# ------------------------------------------------------------------------------------------- network


def _read_allow_rule(value: object) -> AllowRule:
    if isinstance(value, AllowRule):
        return value
    if not isinstance(value, str):
        raise ValueError("must be text like 10.0.0.0/8 or 10.0.0.5:8443")
    return parse_allow_rule(value)


def _check_name_server(value: str) -> str:
    host, port = re.fullmatch(r"\[(.*)\](?::(\d+))?|(.*)", value).group(1, 2)  # type: ignore[union-attr]
    if host is None:  # no brackets, so what follows a single colon is a port
        host, _, port = value.partition(":") if value.count(":") == 1 else (value, "", None)
    try:
        address = ip_address(host)
    except ValueError:
        raise ValueError("must be an address like 10.0.0.53, 10.0.0.53:5353 or [fd00::53]:5353") from None
    if port is not None and not (port.isdigit() and 1 <= int(port) <= MAX_PORT):
        raise ValueError("must have a port of 1 to 65535, or none")
    shown = f"[{address}]" if address.version == 6 and port else str(address)
    return f"{shown}:{int(port)}" if port else shown


def _read_network(value: object) -> IPv4Network | IPv6Network:
    if isinstance(value, IPv4Network | IPv6Network):
        return value
    try:
        return ip_network(value) if isinstance(value, str) else ip_network("")
    except ValueError:
        raise ValueError("must be a network like 10.0.0.0/8 or fd00::/8, or an address") from None


def _check_public_url(value: str) -> str:
    """The origin as browsers write it in the header Origin."""
    try:
        parts = urlsplit(value.strip())
        host, port = parts.hostname, parts.port
    except ValueError:
        raise ValueError("is no URL that can be read") from None
    if parts.scheme not in {"http", "https"}:
        raise ValueError("must begin with http:// or https://")
    if not value.isascii() or not host or parts.username is not None:
        raise ValueError("must name a host in ASCII, and no user")
    if port == 0 or parts.path not in {"", "/"} or parts.query or parts.fragment:
        raise ValueError("must be a scheme and a host, with a port of 1 to 65535 or none, and without a path")
    shown = f"[{host}]" if ":" in host else host
    return f"{parts.scheme}://{shown}" + (f":{port}" if port not in {None, DEFAULT_PORTS[parts.scheme]} else "")


Allow = Annotated[AllowRule, BeforeValidator(_read_allow_rule)]
NameServer = Annotated[str, AfterValidator(_check_name_server)]
NetworkText = Annotated[IPv4Network | IPv6Network, BeforeValidator(_read_network)]
PublicUrl = Annotated[str, AfterValidator(_check_public_url)]
Port = Annotated[int, Field(ge=0, le=MAX_PORT), NUMBER]


# ------------------------------------------------------------------------------------ places and names


def _check_country(value: str) -> str:
    country = value.strip().upper()
    if country not in phonenumbers.SUPPORTED_REGIONS:
        raise ValueError("must be an ISO 3166 alpha-2 country with a numbering plan, like FR, BE or GB")
    return country


def _check_time_zone(value: str) -> str:
    try:
        ZoneInfo(value)
    except (OSError, ValueError, LookupError):
        # A folder of the database is an OSError, a path out of it a ValueError, an unknown name a KeyError.
        raise ValueError("must be a time zone of the IANA database, like Europe/Paris or UTC") from None
    return value


def _check_amqp_name(value: str) -> str:
    if not value or not value.isprintable():
        raise ValueError("must be printable text that is not empty")
    if len(value.encode("utf-8", "surrogatepass")) > MAX_AMQP_NAME_BYTES:
        raise ValueError(f"must be at most {MAX_AMQP_NAME_BYTES} bytes long")
    return value


def _check_queue(value: str) -> str:
    if value.startswith("amq."):
        raise ValueError("must not begin with 'amq.': the broker keeps those names for itself")
    return value


def _check_database(value: str) -> str:
    # The stricter list of https://www.mongodb.com/docs/manual/reference/limits/#naming-restrictions
    if not re.fullmatch(r"[^/\\. \"$*<>:|?\x00]{1,63}", value):
        raise ValueError('must be 1 to 63 characters without blanks and without / \\ . " $ * < > : | ?')
    return value


Country = Annotated[str, AfterValidator(_check_country)]
TimeZone = Annotated[str, AfterValidator(_check_time_zone)]
AmqpName = Annotated[str, AfterValidator(_check_amqp_name)]
QueueName = Annotated[AmqpName, AfterValidator(_check_queue)]
DatabaseName = Annotated[str, AfterValidator(_check_database)]


# ------------------------------------------------------------------------------- reading other publishers


def _one_or_many(value: object) -> object:
    return (value,) if isinstance(value, str) else value


def _check_path(value: str) -> str:
    parse_path(value)
    return value


def _check_decode_step(value: str) -> str:
    if value in {"gzip", "zlib", "base64"} or (value.startswith("form:") and value != "form:"):
        return value
    raise ValueError("must be gzip, zlib, base64 or form:FIELD")


def _check_binding_arguments(value: object) -> object:
    if not isinstance(value, Mapping):
        return value
    for key, argument in value.items():
        if not isinstance(argument, str | int | float):
            raise KeyedError((str(key),), argument, "must be text, a number, true or false")
    if value.get("x-match", "all") not in {"all", "any", "all-with-x", "any-with-x"}:
        raise KeyedError(("x-match",), value["x-match"], "must be all, any, all-with-x or any-with-x")
    return value


FieldPaths = Annotated[
    tuple[Annotated[str, AfterValidator(_check_path)], ...],
    Field(max_length=16),
    BeforeValidator(_one_or_many),
]
"""Where one logical field is found: paths in the order of trying; written as one text or as a list."""
DecodeStep = Annotated[str, AfterValidator(_check_decode_step)]
BindingArguments = Annotated[dict[str, str | int | float | bool], BeforeValidator(_check_binding_arguments)]
