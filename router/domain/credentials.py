"""How a webhook's requests prove to the customer's server who sends them: Basic, Bearer, OAuth 2 client credentials, a
client certificate. Values, and the rules that they must keep; touches nothing.

No text of an error holds a credential.
"""

from __future__ import annotations

import re
from base64 import b64encode
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from enum import StrEnum
from typing import Final
from urllib.parse import quote_plus

from router.domain.egress import check_url

MAX_CREDENTIAL_LENGTH: Final = 4096
"""Characters of a user name, password, token, client id or secret."""
MAX_SCOPE_LENGTH: Final = 1024
MAX_PEM_LENGTH: Final = 32_768
"""Characters of a certificate with its chain, or of a key."""

_PRINTABLE: Final = re.compile(r"[\x20-\x7e]+")
_TOKEN: Final = re.compile(r"[\x21-\x7e]+")
_NO_CONTROLS: Final = re.compile(r"[^\x00-\x1f\x7f]*")


class ClientAuthentication(StrEnum):
    """How an OAuth 2 client shows its secret to the token endpoint (names of RFC 7591)."""

    BASIC = "client_secret_basic"
    POST = "client_secret_post"


@dataclass(frozen=True, slots=True, kw_only=True)
class BasicAuth:
    """HTTP Basic (RFC 7617), in UTF-8."""

    username: str
    password: str = field(repr=False)

    @property
    def authorization(self) -> str:
        return basic(self.username, self.password)


@dataclass(frozen=True, slots=True, kw_only=True)
class BearerAuth:
    """A fixed bearer token (RFC 6750)."""

    token: str = field(repr=False)

    @property
    def authorization(self) -> str:
        return f"Bearer {self.token}"


@dataclass(frozen=True, slots=True, kw_only=True)
class OAuth2Auth:
    """The client credentials grant (RFC 6749, 4.4): a token of `token_url` goes with each request."""

    token_url: str = field(repr=False)
    client_id: str
    client_secret: str = field(repr=False)
    scope: str | None = None
    client_authentication: ClientAuthentication = ClientAuthentication.BASIC

    def token_request(self) -> tuple[dict[str, str], dict[str, str]]:
        """The form and the headers of a request for a token."""
        form = {"grant_type": "client_credentials"} | ({"scope": self.scope} if self.scope else {})
        if self.client_authentication is ClientAuthentication.POST:
            return form | {"client_id": self.client_id, "client_secret": self.client_secret}, {}
        # Encoded first: RFC 6749, 2.3.1.
        return form, {"authorization": basic(quote_plus(self.client_id), quote_plus(self.client_secret))}


Auth = BasicAuth | BearerAuth | OAuth2Auth


def basic(username: str, password: str) -> str:
    return "Basic " + b64encode(f"{username}:{password}".encode()).decode("ascii")


# --- auth ------------------------------------------------------------------------------------------


def check_auth(value: object) -> Auth | None:
    """What `auth` says: null, or an object whose `type` decides on its other fields. Raises ValueError."""
    if value is None:
        return None
    kind = value.get("type") if isinstance(value, Mapping) else None
    if not isinstance(value, Mapping) or kind not in ("basic", "bearer", "oauth2"):
        raise ValueError("must be null or an object with a type: basic, bearer or oauth2")
    fields = {name: item for name, item in value.items() if name != "type"}
    if kind == "basic":
        _only(fields, "basic", "username", "password")
        return _check_basic(fields)
    if kind == "bearer":
        _only(fields, "bearer", "token")
        return BearerAuth(token=_text(fields, "token", _TOKEN, "printable ASCII without blanks"))
    _only(fields, "oauth2", "token_url", "client_id", "client_secret", "scope", "client_authentication")
    return _check_oauth2(fields)


def _check_basic(fields: Mapping[object, object]) -> BasicAuth:
    username = _text(fields, "username", _NO_CONTROLS, "text without control characters")
    if ":" in username:
        raise ValueError("username must not hold a colon")
    password = _text(fields, "password", _NO_CONTROLS, "text without control characters", may_be_empty=True)
    return BasicAuth(username=username, password=password)


def _check_oauth2(fields: Mapping[object, object]) -> OAuth2Auth:
    token_url = fields.get("token_url")
    if not isinstance(token_url, str):
        raise ValueError("token_url must be a string")
    try:
        check_url(token_url)
    except ValueError as error:
        raise ValueError(f"token_url: {error}") from None
    client_authentication = fields.get("client_authentication", ClientAuthentication.BASIC.value)
    if client_authentication not in list(ClientAuthentication):
        raise ValueError("client_authentication must be client_secret_basic or client_secret_post")
    scope = None
    if fields.get("scope") is not None:
        scope = _text(fields, "scope", _PRINTABLE, "printable ASCII", longest=MAX_SCOPE_LENGTH)
    return OAuth2Auth(
        token_url=token_url,
        client_id=_text(fields, "client_id", _PRINTABLE, "printable ASCII"),
        client_secret=_text(fields, "client_secret", _PRINTABLE, "printable ASCII"),
        scope=scope,
        client_authentication=ClientAuthentication(str(client_authentication)),
    )


def _only(fields: Mapping[object, object], kind: str, *names: str) -> None:
    if not set(fields) <= set(names):
        raise ValueError(f"{kind} takes {', '.join(names)} and nothing else")


def _text(
    fields: Mapping[object, object],
    name: str,
    pattern: re.Pattern[str],
    kind: str,
    *,
    may_be_empty: bool = False,
    longest: int = MAX_CREDENTIAL_LENGTH,
) -> str:
    value = fields.get(name)
    is_long_enough = isinstance(value, str) and (may_be_empty or value)
    if not isinstance(value, str) or not is_long_enough or len(value) > longest or not pattern.fullmatch(value):
        raise ValueError(f"{name} must be {kind}, {0 if may_be_empty else 1} to {longest} characters")
    if not value.isascii() and any("\ud800" <= character <= "\udfff" for character in value):
        raise ValueError(f"{name} holds half a character")
    return value


# --- client certificate ----------------------------------------------------------------------------


@dataclass(frozen=True, slots=True, kw_only=True)
class ClientCertificate:
    """A certificate for mutual TLS, with its chain, and its key; PEM texts. `subject` as RFC 4514 writes it."""

    certificate: str = field(repr=False)
    key: str = field(repr=False)
    subject: str
    not_after: datetime


def check_client_certificate(value: object) -> ClientCertificate | None:
    """What `client_certificate` says: null, or PEM texts that belong together. Raises ValueError."""
    if value is None:
        return None
    # Few webhooks have one, and all commands would wait for these to load.
    from cryptography import x509  # noqa: PLC0415
    from cryptography.exceptions import UnsupportedAlgorithm  # noqa: PLC0415
    from cryptography.hazmat.primitives.serialization import load_pem_private_key  # noqa: PLC0415

    if not isinstance(value, Mapping) or set(value) != {"certificate", "key"}:
        raise ValueError("must be null or an object of certificate and key")
    certificate, key = value["certificate"], value["key"]
    for name, text in (("certificate", certificate), ("key", key)):
        if not isinstance(text, str) or not text.isascii() or not 0 < len(text) <= MAX_PEM_LENGTH:
            raise ValueError(f"{name} must be PEM text of at most {MAX_PEM_LENGTH} characters")
    try:
        # The first is the client's own, those that follow are its chain (RFC 8446, 4.4.2).
        leaf, *_ = x509.load_pem_x509_certificates(certificate.encode())
        public_key, subject = leaf.public_key(), leaf.subject.rfc4514_string()
    except (ValueError, UnsupportedAlgorithm):
        raise ValueError("certificate is no PEM certificate") from None
    try:
        # Checking an RSA key for primes takes long, and a bad one harms nobody but its owner.
        private_key = load_pem_private_key(key.encode(), None, unsafe_skip_rsa_key_validation=True)
    except (ValueError, TypeError, UnsupportedAlgorithm):
        raise ValueError("key is no PEM private key without a passphrase") from None
    if private_key.public_key() != public_key:
        raise ValueError("key belongs to another certificate")
    return ClientCertificate(certificate=certificate, key=key, subject=subject, not_after=leaf.not_valid_after_utc)
