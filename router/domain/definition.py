"""Whether a webhook definition is right, field by field, and what it says. Pure: plain values in and out.

The values come from documents of the back office, from requests and from command lines, so nothing is taken
for granted about their types. All of them are judged by the same rules here, and nowhere else.
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from datetime import datetime
from typing import Final, TypeVar
from urllib.parse import SplitResult

from router.domain.credentials import Auth, ClientCertificate, OAuth2Auth, check_auth, check_client_certificate
from router.domain.egress import EgressPolicy, EgressRule, check_url, normal_url, port_of
from router.domain.errors import InvalidInput, NotAllowed
from router.domain.event import MAX_ID_LENGTH, AccountId, EventType
from router.domain.headers import Headers, check_headers
from router.domain.numbers import to_e164
from router.domain.signing import Secret, SigningKey, parse_secret, parse_signing_key, read_entries
from router.domain.webhook import Restriction, TrackingNumberRestriction, UserRestriction, WebhookId

MAX_TRACKING_NUMBERS: Final = 10_000
MAX_NAME_LENGTH: Final = 200

_INTEGERS: Final = range(-(2**63), 2**63)
"""Those that a document of the store can hold; longer ones cost time to be written in digits."""
_NEW_ID: Final = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,99}")
_NUMBERS_FIELD: Final = "restrict_to.tracking_numbers"
_USER_FIELD: Final = "restrict_to.user_id"
_NOT_ALLOWED: Final = "this address is not allowed"
_RESTRICTION_FORMS: Final = "must be null, {tracking_numbers: […]} or {user_id: …}"

_Value = TypeVar("_Value")
_Fallback = TypeVar("_Fallback")


@dataclass(frozen=True, slots=True, kw_only=True)
class RawDefinition:
    """A definition as somebody wrote it, in the shape of the contract's section 3."""

    account_id: object
    url: object
    event_type: object
    enabled: object
    restrict_to: object = None
    secret: object = field(default=None, repr=False)
    signing_key: object = field(default=None, repr=False)
    headers: object = field(default=None, repr=False)
    auth: object = field(default=None, repr=False)
    client_certificate: object = field(default=None, repr=False)


@dataclass(frozen=True, slots=True, kw_only=True)
class Definition:
    """A definition as far as it could be read.

    A field that breaks a rule is empty and has its entry in `problems`; a wrong URL stays as it was written,
    for people to see it.
    """

    account_id: AccountId
    url: str
    event_type: EventType | None
    enabled: bool
    restriction: Restriction | None
    secrets: tuple[Secret, ...] = field(repr=False)
    signing_key: SigningKey | None = field(repr=False)
    headers: Headers = field(repr=False)
    auth: Auth | None = field(repr=False)
    client_certificate: ClientCertificate | None = field(repr=False)
    problems: tuple[InvalidInput, ...]


def check_definition(raw: RawDefinition, country: str, egress: EgressPolicy) -> Definition:
    """A new definition that breaks no rule, its URLs as `check_new_url` gives them.

    Raises InvalidInput for the first rule that `raw` breaks.
    """
    definition = read_definition(raw, country)
    if definition.problems:
        raise definition.problems[0]
    url, auth = check_new_url(definition.url, egress), check_new_auth(definition.auth, egress)
    return replace(definition, url=url, auth=auth)


def read_definition(raw: RawDefinition, country: str) -> Definition:
    """All that can be read of `raw`, numbers as dialled in `country`, and every rule broken. Never raises."""
    problems: list[InvalidInput] = []

    def read(check: Callable[[], _Value], otherwise: _Fallback) -> _Value | _Fallback:
        try:
            return check()
        except InvalidInput as problem:
            problems.append(problem)
            return otherwise

    account_id = read(lambda: check_account_id(raw.account_id), AccountId(""))
    event_type = read(lambda: check_event_type(raw.event_type), None)
    enabled = read(lambda: check_enabled(raw.enabled), False)
    read(lambda: _url_parts(raw.url), None)
    url = raw.url if isinstance(raw.url, str) else ""
    restriction = read(lambda: check_restriction(raw.restrict_to, event_type, country), None)
    secrets = read(lambda: _check_secrets(raw.secret), ())
    signing_key = read(lambda: _check_signing_key(raw.signing_key), None)
    headers = read(lambda: check_headers_field(raw.headers), ())
    auth = read(lambda: check_beside(check_auth_field(raw.auth), headers), None)
    certificate = read(lambda: check_secured(check_certificate_field(raw.client_certificate), url), None)
    return Definition(
        account_id=account_id,
        url=url,
        event_type=event_type,
        enabled=enabled,
        restriction=restriction,
        secrets=secrets,
        signing_key=signing_key,
        headers=headers,
        auth=auth,
        client_certificate=certificate,
        problems=tuple(problems),
    )


# --- single fields ---------------------------------------------------------------------------------


def check_account_id(value: object) -> AccountId:
    """Account ids are strings; whoever writes an integer means its decimal text."""
    if isinstance(value, int) and not isinstance(value, bool) and value in _INTEGERS:
        return AccountId(str(value))
    return AccountId(_check_id("account_id", value))


def _check_id(name: str, value: object) -> str:
    """An id of the platform's, in field `name`."""
    if not isinstance(value, str) or not value:
        raise InvalidInput(name, "must be a string that is not empty")
    if len(value) > MAX_ID_LENGTH or not _is_one_line(value):
        raise InvalidInput(name, f"must have at most {MAX_ID_LENGTH} characters, and no control characters")
    return value


def _is_one_line(text: str) -> bool:
    """Whether there is no control character, line break or half a surrogate pair in it."""
    return text.isprintable() or not any(
        unicodedata.category(character) in {"Cc", "Cs", "Zl", "Zp"} for character in text
    )


def check_event_type(value: object) -> EventType:
    if not isinstance(value, str) or value not in list(EventType):
        raise InvalidInput("event_type", "must be call, cdr or user")
    return EventType(value)


def check_name(value: object) -> str:
    """The name of a new webhook, without blanks around it. Definitions of the back office may do without."""
    name = value.strip() if isinstance(value, str) else ""
    if not 0 < len(name) <= MAX_NAME_LENGTH:
        raise InvalidInput("name", f"must have 1 to {MAX_NAME_LENGTH} characters")
    if not _is_one_line(name):
        raise InvalidInput("name", "must be one line of text without control characters")
    return name


def check_new_url(value: object, egress: EgressPolicy, field: str = "url") -> str:
    """The URL of a new webhook in its normal form. Raises InvalidInput, NotAllowed where `egress` refuses it.

    That it is permitted here is advice to whoever writes it: what counts is asked when an address is dialled.
    """
    url = normal_url(_url_parts(value, field))
    parts = _url_parts(url, field)  # again: the path that it was given may be one character too many
    refusal = egress.target_refusal(parts.scheme, parts.hostname or "", port_of(parts))
    if refusal is None:
        return url
    is_scheme = refusal.rule is EgressRule.NOT_HTTPS
    raise NotAllowed(field, refusal.text, told_outside="must begin with https://" if is_scheme else _NOT_ALLOWED)


def check_new_auth(auth: Auth | None, egress: EgressPolicy) -> Auth | None:
    """The authentication of a new webhook, its URL as `check_new_url` gives it."""
    if not isinstance(auth, OAuth2Auth):
        return auth
    return replace(auth, token_url=check_new_url(auth.token_url, egress, "auth.token_url"))


def check_new_id(value: object) -> WebhookId:
    """The id of a new webhook, chosen by its maker: fit for URLs, so narrower than what is read."""
    if not isinstance(value, str) or not _NEW_ID.fullmatch(value):
        raise InvalidInput("id", "must be 1 to 100 letters, digits, '.', '_' or '-', a letter or digit first")
    return WebhookId(value)


def check_enabled(value: object) -> bool:
    if not isinstance(value, bool):
        raise InvalidInput("enabled", "must be true or false")
    return value


def _url_parts(value: object, field: str = "url") -> SplitResult:
    if not isinstance(value, str):
        raise InvalidInput(field, "must be a string")
    try:
        return check_url(value)
    except ValueError as error:
        raise InvalidInput(field, str(error)) from None


def check_restriction(value: object, event_type: EventType | None, country: str) -> Restriction | None:
    """`event_type` None is one that could not be read: then either restriction fits."""
    if value is None:
        return None
    if not isinstance(value, Mapping) or len(value) != 1:
        raise InvalidInput("restrict_to", _RESTRICTION_FORMS)
    if "tracking_numbers" in value:
        check_fits(TrackingNumberRestriction, event_type)
        return TrackingNumberRestriction(numbers=_check_numbers(value["tracking_numbers"], country))
    if "user_id" in value:
        check_fits(UserRestriction, event_type)
        return UserRestriction(user_id=_check_id(_USER_FIELD, value["user_id"]))
    raise InvalidInput("restrict_to", _RESTRICTION_FORMS)


def check_fits(kind: type[Restriction], event_type: EventType | None) -> None:
    """Raises InvalidInput where webhooks of that event type cannot be restricted in this way."""
    if kind is TrackingNumberRestriction and event_type is EventType.USER:
        raise InvalidInput(_NUMBERS_FIELD, "goes with call and cdr; a user webhook takes user_id")
    if kind is UserRestriction and event_type in (EventType.CALL, EventType.CDR):
        raise InvalidInput(_USER_FIELD, "goes with user; a call or cdr webhook takes tracking_numbers")


def _check_numbers(value: object, country: str) -> frozenset[str]:
    if not isinstance(value, list | tuple) or not value:
        raise InvalidInput(_NUMBERS_FIELD, "must be a list with at least one number")
    if len(value) > MAX_TRACKING_NUMBERS:
        raise InvalidInput(_NUMBERS_FIELD, f"holds at most {MAX_TRACKING_NUMBERS} numbers")
    numbers: list[str] = []
    for index, number in enumerate(value):
        is_text = isinstance(number, str) or (isinstance(number, int) and number in _INTEGERS)
        e164 = to_e164(str(number), country) if is_text else None
        if e164 is None:
            raise InvalidInput(f"{_NUMBERS_FIELD}[{index}]", "is no phone number")
        numbers.append(e164)
    return frozenset(numbers)


def _check_secrets(value: object) -> tuple[Secret, ...]:
    """One secret, or several during a rotation, the newest first."""
    try:
        return tuple(Secret(parse_secret(entry.value), entry.expires_at) for entry in read_entries(value))
    except ValueError as error:
        raise InvalidInput("secret", str(error)) from None


def _check_signing_key(value: object) -> SigningKey | None:
    try:
        return None if value is None else parse_signing_key(value)
    except ValueError as error:
        raise InvalidInput("signing_key", str(error)) from None


def check_headers_field(value: object) -> Headers:
    try:
        return check_headers(value)
    except ValueError as error:
        raise InvalidInput("headers", str(error)) from None


def check_auth_field(value: object) -> Auth | None:
    try:
        return check_auth(value)
    except ValueError as error:
        raise InvalidInput("auth", str(error)) from None


def check_certificate_field(value: object) -> ClientCertificate | None:
    try:
        return check_client_certificate(value)
    except ValueError as error:
        raise InvalidInput("client_certificate", str(error)) from None


def check_beside(auth: Auth | None, headers: Headers) -> Auth | None:
    """An authentication that goes with these headers."""
    if auth is not None and any(name.lower() == "authorization" for name, _ in headers):
        raise InvalidInput("auth", "cannot be beside a header authorization, which it sets: take one of them away")
    return auth


def check_secured(certificate: ClientCertificate | None, url: str) -> ClientCertificate | None:
    """A certificate that goes with this URL."""
    if certificate is not None and url.startswith("http://"):
        raise InvalidInput("client_certificate", "goes with an https URL")
    return certificate


def check_current(certificate: ClientCertificate | None, now: datetime) -> ClientCertificate | None:
    """A certificate that has not expired: nobody means to add one that has."""
    if certificate is not None and certificate.not_after <= now:
        raise InvalidInput("client_certificate", "certificate has expired")
    return certificate
