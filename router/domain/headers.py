"""Which HTTP headers a webhook may add to its requests. Decides on names and values; touches nothing."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Final

Headers = tuple[tuple[str, str], ...]

HIDDEN: Final = "***"
"""Stands for the value of a header where it is shown: it may be a key of the customer's system."""
MAX_HEADERS: Final = 50
MAX_HEADER_VALUE_LENGTH: Final = 4096
MAX_HEADERS_LENGTH: Final = 16_384
"""Characters of all names and values together: many servers refuse a head that is longer."""

_NAME: Final = re.compile(r"[!#$%&'*+\-.^_`|~0-9A-Za-z]{1,256}")
"""A token of RFC 9110, 5.6.2."""
_VALUE: Final = re.compile(r"[\x20-\x7e]*")
# Names that belong to HTTP itself, to proxies and clouds on the way, or to us.
FORBIDDEN_NAMES: Final = frozenset({
    "accept-encoding", "age", "cache-control", "connection", "content-encoding", "content-length",
    "content-type", "cookie", "date", "expect", "expires", "forwarded", "host", "keep-alive", "pragma", "te",
    "traceparent", "tracestate", "trailer", "trailers", "transfer-encoding", "upgrade", "user-agent", "via",
    "warning",
})  # fmt: skip
FORBIDDEN_PREFIXES: Final = (
    "proxy-", "svix-", "webhook-", "x-amz", "x-azure-", "x-fd-", "x-forwarded-", "x-goog", "x-webhook-",
)  # fmt: skip


def check_headers(value: object) -> Headers:
    """The headers in an object of names and values. Raises ValueError, which never quotes a value."""
    if value is None:
        return ()
    if not isinstance(value, Mapping) or len(value) > MAX_HEADERS:
        raise ValueError(f"must be an object of at most {MAX_HEADERS} names and values")
    headers = tuple(_check_header(name, text) for name, text in value.items())
    names = [name.lower() for name, _ in headers]
    twice = next((name for name in names if names.count(name) > 1), None)
    if twice is not None:
        raise ValueError(f"{twice} is there twice; case makes no difference")
    if sum(len(name) + len(text) for name, text in headers) > MAX_HEADERS_LENGTH:
        raise ValueError(f"names and values together have at most {MAX_HEADERS_LENGTH} characters")
    return headers


def _check_header(name: object, text: object) -> tuple[str, str]:
    if not isinstance(name, str) or not _NAME.fullmatch(name):
        raise ValueError("a name is not an HTTP token")
    if name.lower() in FORBIDDEN_NAMES or name.lower().startswith(FORBIDDEN_PREFIXES):
        raise ValueError(f"{name.lower()} cannot be set")
    if not isinstance(text, str) or not _VALUE.fullmatch(text):
        raise ValueError(f"the value of {name.lower()} must be printable ASCII text")
    if len(text) > MAX_HEADER_VALUE_LENGTH:
        raise ValueError(f"the value of {name.lower()} has more than {MAX_HEADER_VALUE_LENGTH} characters")
    return name, text


def with_stored(headers: Headers, stored: Headers) -> Headers:
    """The headers that somebody wants, with what is stored under the same name wherever HIDDEN stands.

    Raises ValueError where nothing is, and where it all has become too long.
    """
    values = {name.lower(): text for name, text in stored}
    missing = next((name for name, text in headers if text == HIDDEN and name.lower() not in values), None)
    if missing is not None:
        raise ValueError(f"{HIDDEN} stands for a stored value, and {missing.lower()} has none that can be read")
    return check_headers({name: values[name.lower()] if text == HIDDEN else text for name, text in headers})
