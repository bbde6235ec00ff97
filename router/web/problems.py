"""Errors as RFC 9457 problem documents: the kinds there are, and how every exception becomes one.

Touches the log where the fault is ours; no answer ever carries an internal.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from http import HTTPStatus
from typing import Final

import structlog
from aiohttp import web
from aiohttp.typedefs import Handler

from router.domain.errors import Conflict, DependencyUnavailable, InvalidInput, NotAllowed, Outdated, RouterError
from router.telemetry.redact import place_of
from router.web.encoding import encode
from router.web.principal import PRINCIPAL

log = structlog.get_logger("router.web")

CONTENT_TYPE: Final = "application/problem+json"
COMMON_HEADERS: Final = {
    "Cache-Control": "no-store",
    "X-Content-Type-Options": "nosniff",
    # In place of aiohttp's, which tells its version and Python's.
    "Server": "webhook-router",
}
"""What every answer has."""
TYPE_PREFIX: Final = "urn:webhook-router:problem:"
MAX_FIELD_ERRORS: Final = 20
"""Rules that an answer names; a body may break one for each of a million bytes."""
RETRY_AFTER_SECONDS: Final = 5
"""What a caller is asked to wait while the store is away."""

KINDS: Final[Mapping[int, str]] = {
    400: "invalid-request",
    401: "unauthorized",
    403: "forbidden",
    404: "not-found",
    405: "method-not-allowed",
    409: "conflict",
    412: "precondition-failed",
    413: "too-large",
    415: "unsupported-media-type",
    429: "too-many-requests",
    500: "internal",
    503: "unavailable",
}
"""The last part of a problem's `type`, by status."""


@dataclass(frozen=True, slots=True, kw_only=True)
class FieldError:
    """One rule that a request breaks, in the caller's words: a parameter, or a path into the body."""

    field: str
    message: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Problem:
    """What the body of every error holds."""

    type: str
    title: str
    status: int
    detail: str
    errors: Sequence[FieldError] = ()


class ProblemError(RouterError):
    """Ends a request with a problem."""

    def __init__(
        self,
        status: int,
        detail: str,
        *,
        errors: Sequence[FieldError] = (),
        headers: Mapping[str, str] | None = None,
    ) -> None:
        super().__init__(detail)
        self.status = status
        self.detail = detail
        self.errors = errors
        self.headers = headers or {}


def invalid_request(errors: Sequence[FieldError]) -> ProblemError:
    first = errors[0]
    more = f" ({len(errors) - 1} more)" if len(errors) > 1 else ""
    return ProblemError(400, f"{first.field}: {first.message}{more}", errors=errors[:MAX_FIELD_ERRORS])


@web.middleware
async def problems(request: web.Request, handler: Handler) -> web.StreamResponse:
    """Turns whatever ends a request early into a problem document."""
    try:
        return await handler(request)
    except web.HTTPException as answer:
        return _from_aiohttp(request, answer)
    except Exception as error:
        return _response(problem_of(request, error))


def problem_of(request: web.Request, error: Exception) -> ProblemError:
    """What an exception is to whoever asked. Writes to the log where the fault is ours."""
    match error:
        case ProblemError():
            return error
        case Conflict() | InvalidInput():
            return _refusal(request, error)
        case DependencyUnavailable():
            log.warning("request_unanswered", path=_route(request), reason=str(error))
            return ProblemError(503, f"{error}; try again later", headers={"Retry-After": str(RETRY_AFTER_SECONDS)})
        case _:
            # The log says where, without the exception's text, which may quote what was asked for or read. The caller
            # gets a sentence that says nothing about us.
            log.error(
                "request_failed",
                method=request.method,
                path=_route(request),
                error=type(error).__name__,
                where=place_of(error),
            )
            return ProblemError(500, "the request could not be answered; the log of the router says why")


def _refusal(request: web.Request, error: Conflict | InvalidInput) -> ProblemError:
    if isinstance(error, Conflict):
        return ProblemError(412 if isinstance(error, Outdated) else 409, str(error))
    return invalid_request([FieldError(field=error.field, message=_told(request, error))])


def _told(request: web.Request, error: InvalidInput) -> str:
    """What is wrong, in as many words as are meant for whoever asks: our settings are the operator's alone."""
    principal = request.get(PRINCIPAL)
    is_customer = principal is not None and principal.account_id is not None
    return error.told_outside if isinstance(error, NotAllowed) and is_customer else error.message


def unreadable(request: web.BaseRequest, status: int, error: BaseException | None) -> web.Response:
    """The answer to what never became a request. Its bytes, which may hold a token or a number, are neither logged
    nor sent back."""
    if status >= 500:
        log.error("request_failed", method=request.method, error=type(error).__name__)
        problem = ProblemError(500, "the request could not be answered; the log of the router says why")
    else:
        log.debug("request_unreadable", error=type(error).__name__)
        problem = ProblemError(400, "this is no HTTP request that can be read, or its head is longer than 8 KiB")
    answer = _response(problem)
    answer.headers.update(COMMON_HEADERS)
    answer.force_close()
    return answer


def _from_aiohttp(request: web.Request, answer: web.HTTPException) -> web.StreamResponse:
    if answer.status < 400:
        raise answer
    if isinstance(answer, web.HTTPMethodNotAllowed):
        allow = {"Allow": ", ".join(sorted(answer.allowed_methods))}
        if request.method == "OPTIONS":
            # No CORS headers: browsers of other origins have no business here.
            return web.Response(status=204, headers=allow)
        return _response(ProblemError(405, f"{request.method} cannot be done here", headers=allow))
    details = {
        404: "there is nothing at this path; GET /openapi.json lists what is",
        413: "the body is longer than 1 MiB",
    }
    return _response(ProblemError(answer.status, details.get(answer.status, answer.reason)))


def _response(error: ProblemError) -> web.Response:
    problem = Problem(
        type=TYPE_PREFIX + KINDS[error.status] if error.status in KINDS else "about:blank",
        title=HTTPStatus(error.status).phrase,
        status=error.status,
        detail=error.detail,
        errors=error.errors,
    )
    return web.Response(status=error.status, body=encode(problem), content_type=CONTENT_TYPE, headers=error.headers)


def _route(request: web.Request) -> str:
    """The path as registered: what was really asked for may hold a number."""
    resource = request.match_info.route.resource
    return resource.canonical if resource else "unknown"
