"""What came of an attempt, as a cause with parameters: from its error, its status and what is known beyond. Pure.

In no language: whoever shows it has the words, and what helps.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from enum import StrEnum
from typing import Final
from urllib.parse import urlsplit

from router.domain.delivery import Attempt, AttemptError, ErrorKind


class Cause(StrEnum):
    """Why an attempt was no success. What its parameters are is in `explain`."""

    TIMEOUT = "timeout"
    CONNECT_TIMEOUT = "connect_timeout"
    CONNECTION_REFUSED = "connection_refused"
    CONNECTION_RESET = "connection_reset"
    CLOSED_WITHOUT_ANSWER = "closed_without_answer"
    NAME_NOT_FOUND = "name_not_found"
    NAME_WITHOUT_ADDRESS = "name_without_address"
    NAME_SERVERS = "name_servers"
    CERTIFICATE_EXPIRED = "certificate_expired"
    CERTIFICATE_EXPIRED_ON = "certificate_expired_on"
    CERTIFICATE_NOT_YET_VALID = "certificate_not_yet_valid"
    CERTIFICATE_OF_OTHER_HOST = "certificate_of_other_host"
    CERTIFICATE_SELF_SIGNED = "certificate_self_signed"
    CERTIFICATE_UNTRUSTED = "certificate_untrusted"
    CLIENT_CERTIFICATE = "client_certificate"
    NOT_TLS = "not_tls"
    NO_COMMON_TLS = "no_common_tls"
    TLS = "tls"
    REDIRECT = "redirect"
    REDIRECT_ELSEWHERE = "redirect_elsewhere"
    BAD_REQUEST = "bad_request"
    UNAUTHORIZED = "unauthorized"
    FORBIDDEN = "forbidden"
    NOT_FOUND = "not_found"
    METHOD_NOT_ALLOWED = "method_not_allowed"
    GONE = "gone"
    TOO_LARGE = "too_large"
    UNSUPPORTED_TYPE = "unsupported_type"
    TOO_MANY_REQUESTS = "too_many_requests"
    CLIENT_ERROR = "client_error"
    SERVER_ERROR = "server_error"
    BAD_GATEWAY = "bad_gateway"
    UNAVAILABLE = "unavailable"
    ODD_STATUS = "odd_status"
    BLOCKED_ADDRESS = "blocked_address"
    PROTOCOL = "protocol"
    TOKEN_ENDPOINT = "token_endpoint"  # noqa: S105  no token: where one is fetched
    NO_ROUTE = "no_route"
    OTHER = "other"


@dataclass(frozen=True, slots=True, kw_only=True)
class Explanation:
    """A cause, and what its words may name: `host`, `status`, `seconds` that it took, `at`, and `to`, where a redirect
    led."""

    cause: Cause
    parameters: Mapping[str, str | int | float | datetime] = field(default_factory=dict)


_BY_ERROR: Final = {
    AttemptError.TIMEOUT: Cause.TIMEOUT,
    AttemptError.CONNECT_TIMEOUT: Cause.CONNECT_TIMEOUT,
    AttemptError.CONNECTION_REFUSED: Cause.CONNECTION_REFUSED,
    AttemptError.CONNECTION_RESET: Cause.CONNECTION_RESET,
    AttemptError.DNS: Cause.NAME_SERVERS,
    AttemptError.TLS: Cause.TLS,
    AttemptError.REDIRECT: Cause.REDIRECT,
    AttemptError.HTTP_STATUS: Cause.ODD_STATUS,
    AttemptError.BLOCKED_ADDRESS: Cause.BLOCKED_ADDRESS,
    AttemptError.PROTOCOL: Cause.PROTOCOL,
    AttemptError.OTHER: Cause.OTHER,
}
_BY_STATUS: Final = {
    400: Cause.BAD_REQUEST,
    401: Cause.UNAUTHORIZED,
    403: Cause.FORBIDDEN,
    404: Cause.NOT_FOUND,
    405: Cause.METHOD_NOT_ALLOWED,
    410: Cause.GONE,
    413: Cause.TOO_LARGE,
    415: Cause.UNSUPPORTED_TYPE,
    422: Cause.BAD_REQUEST,
    429: Cause.TOO_MANY_REQUESTS,
    502: Cause.BAD_GATEWAY,
    503: Cause.UNAVAILABLE,
    504: Cause.BAD_GATEWAY,
}
_BY_KIND: Final = {kind: Cause(kind.value) for kind in ErrorKind if kind is not ErrorKind.REDIRECTED}


def explain(attempt: Attempt, url: str) -> Explanation | None:
    """Why an attempt to `url` was no success; None for one that was."""
    if attempt.error is None:
        return None
    host, detail = host_of(url), attempt.error_detail
    parameters: dict[str, str | int | float | datetime] = {
        "host": host,
        "seconds": round(attempt.duration_ms / 1000, 1),
    }
    if attempt.status_code is not None:
        parameters["status"] = attempt.status_code
    cause = _cause(attempt)
    if detail is not None and detail.at is not None and cause is Cause.CERTIFICATE_EXPIRED:
        cause = Cause.CERTIFICATE_EXPIRED_ON
        parameters["at"] = detail.at
    if detail is not None and detail.host not in (None, host) and cause is Cause.REDIRECT:
        cause = Cause.REDIRECT_ELSEWHERE
        parameters["to"] = str(detail.host)
    return Explanation(cause=cause, parameters=parameters)


def _cause(attempt: Attempt) -> Cause:
    detail, status = attempt.error_detail, attempt.status_code
    if detail is not None and detail.kind in _BY_KIND:
        return _BY_KIND[detail.kind]
    if attempt.error is AttemptError.HTTP_STATUS and status is not None:
        by_family = {4: Cause.CLIENT_ERROR, 5: Cause.SERVER_ERROR}
        return _BY_STATUS.get(status) or by_family.get(status // 100, Cause.ODD_STATUS)
    return _BY_ERROR[attempt.error or AttemptError.OTHER]


def host_of(url: str) -> str:
    """The host alone: a path or a query may hold a token. Empty for what is no URL."""
    try:
        return urlsplit(url).hostname or ""
    except ValueError:
        return ""
