"""Binds pages to the server: recognises the session, refuses foreign forms, parses, calls the page, renders its answer.

Whatever ends a request early becomes a page too. Touches requests, responses and their cookies.
"""

from __future__ import annotations

import re
from collections.abc import Awaitable, Callable, Iterable, Mapping
from dataclasses import dataclass, replace
from datetime import datetime
from typing import Final, assert_never
from urllib.parse import parse_qs, quote, unquote

from aiohttp import web
from aiohttp.typedefs import Handler
from multidict import MultiDict
from pydantic import BaseModel

from router.application.audit import Auditor
from router.application.sessions import Sessions, SignedIn
from router.domain.errors import OutOfSight
from router.domain.session import form_token, is_form_token
from router.web.api.auth import Doorkeeper
from router.web.api.params import parse_query
from router.web.api.parsing import parse_segment
from router.web.api.routes import ApiFor
from router.web.console.failures import FOREIGN_FORM, Failure, failure_of
from router.web.console.formats import Formats, zone_named
from router.web.console.guard import HEADERS, is_from_our_pages, safe_next
from router.web.console.here import PREFERENCES, Here, url_for
from router.web.console.labels import Labels
from router.web.console.language import Language, choose_language
from router.web.console.page import Answer, Download, Form, Page, Redirect, Route, Shown
from router.web.console.rendering import Renderer
from router.web.principal import PRINCIPAL
from router.web.problems import ProblemError, problem_of

SESSION_COOKIE: Final = "__Host-session"
LANGUAGE_COOKIE: Final = "__Host-language"
ZONE_COOKIE: Final = "__Host-zone"
NOTICE_COOKIE: Final = "__Host-notice"
LANGUAGE_SECONDS: Final = 365 * 86_400
NOTICE_SECONDS: Final = 60
MAX_NOTICE_LENGTH: Final = 500
MAX_FORM_FIELDS: Final = 1_000
FORM: Final = "application/x-www-form-urlencoded"
FORM_TOKEN: Final = "form_token"  # noqa: S105  the name of a field
HTML: Final = "text/html"


class ForeignForm(ProblemError):
    """A form that no page of this session holds."""

    def __init__(self) -> None:
        super().__init__(403, "the form was not sent by our pages")


@dataclass(frozen=True, slots=True, kw_only=True)
class Surroundings:
    """What every page is made with. `public_url` is the origin that browsers know us by, None: the header Host."""

    doorkeeper: Doorkeeper
    sessions: Sessions
    renderer: Renderer
    languages: Mapping[str, Language]
    time_zone: str
    public_url: str | None
    now: Callable[[], datetime]


class Visit:
    """One request on its way to become a page: who reads, in which language and zone, and the cookies that follow."""

    def __init__(self, request: web.Request, around: Surroundings) -> None:
        self.request = request
        self.around = around
        self.address = ""
        """What the doorkeeper counts the request for."""
        cookies = request.cookies
        self._language, self._zone = request.query.get("lang"), request.query.get("zone")
        accepted = request.headers.get("Accept-Language", "")
        self.language = around.languages[choose_language(self._language, cookies.get(LANGUAGE_COOKIE), accepted)]
        zone = zone_named(self._zone or cookies.get(ZONE_COOKIE), around.time_zone)
        self.fmt = Formats(locale=self.language.locale, zone=zone, now=around.now())
        query = [(name, value) for name, value in request.query.items() if name not in PREFERENCES]
        notice = unquote(cookies.get(NOTICE_COOKIE, ""))[:MAX_NOTICE_LENGTH]
        self.here = Here(path=request.rel_url.raw_path, query=query, notice=notice or None)

    def sign_in(self, signed_in: SignedIn) -> None:
        """From here on the page is for this principal."""
        self.request[PRINCIPAL] = signed_in.principal
        self.here = replace(self.here, principal=signed_in.principal, form_token=form_token(signed_in.id))

    def respond(self, answer: Answer) -> web.Response:
        response = self._response(answer)
        if self._language in self.around.languages:
            set_cookie(response, LANGUAGE_COOKIE, self.language.code, max_age=LANGUAGE_SECONDS)
        if self._zone == self.fmt.zone.key:
            set_cookie(response, ZONE_COOKIE, self.fmt.zone.key)
        return response

    def _response(self, answer: Answer) -> web.Response:
        match answer:
            case Shown():
                return self._rendered(answer)
            case Redirect():
                response = web.Response(status=303, headers={**HEADERS, "Location": answer.to})
                if answer.notice is not None:
                    set_cookie(
                        response, NOTICE_COOKIE, quote(answer.notice[:MAX_NOTICE_LENGTH]), max_age=NOTICE_SECONDS
                    )
                return response
            case Download():
                disposition = f"attachment; filename*=UTF-8''{quote(answer.name, safe='')}"
                headers = {**HEADERS, "Content-Disposition": disposition, "Content-Type": answer.content_type}
                return web.Response(body=answer.body, headers=headers)
            case _:
                assert_never(answer)

    def fail(self, problem: ProblemError, failure: Failure | None = None) -> web.Response:
        """The page for what went wrong."""
        shown = Shown(
            template="error.html",
            status=problem.status,
            context={
                "failure": failure or failure_of(problem.status),
                "status": problem.status,
                "detail": problem.detail if problem.status in {400, 404, 409} else None,
                "errors": problem.errors,
            },
        )
        response = self.respond(shown)
        response.headers.update({name: value for name, value in problem.headers.items() if name == "Retry-After"})
        return response

    def _rendered(self, shown: Shown) -> web.Response:
        text = self.around.renderer.render(
            shown.template, shown.context, here=self.here, language=self.language, fmt=self.fmt
        )
        headers = {**HEADERS, "Content-Language": self.language.code}
        response = web.Response(status=shown.status, text=text, content_type=HTML, headers=headers)
        if self.here.notice is not None:
            response.del_cookie(NOTICE_COOKIE, path="/", secure=True, httponly=True, samesite="Lax")
        return response


def set_cookie(response: web.Response, name: str, value: str, *, max_age: int | None = None) -> None:
    """A cookie as all of ours are. Without `max_age` it ends with the browser."""
    response.set_cookie(name, value, path="/", secure=True, httponly=True, samesite="Lax", max_age=max_age)


def add_pages(app: web.Application, routes: Iterable[Route], api_for: ApiFor, around: Surroundings) -> None:
    for route in routes:
        path = re.sub(r"{(\w+)}", r"{\1:[^/]+}", route.path)
        if route.method == "GET":
            app.router.add_get(path, _bound(route, api_for, around))  # and HEAD
        else:
            app.router.add_route(route.method, path, _bound(route, api_for, around))


def guarded(around: Surroundings, handle: Callable[[Visit], Awaitable[web.StreamResponse]]) -> Handler:
    """A handler whose every failure is a page, and that no other site can make do anything."""

    async def guarded_handle(request: web.Request) -> web.StreamResponse:
        visit = Visit(request, around)
        try:
            visit.address = around.doorkeeper.pace(request)
            if request.method not in {"GET", "HEAD"} and not is_from_our_pages(request.headers, around.public_url):
                raise ForeignForm
            return await handle(visit)
        except Exception as error:
            failure = FOREIGN_FORM if isinstance(error, ForeignForm) else None
            return visit.fail(_problem(request, error), failure)

    return guarded_handle


def _bound(route: Route, api_for: ApiFor, around: Surroundings) -> Handler:
    async def handle(visit: Visit) -> web.StreamResponse:
        request = visit.request
        session_id = request.cookies.get(SESSION_COOKIE, "")
        signed_in = await around.sessions.find(session_id)
        form = await read_form(request) if route.method != "GET" else Form()
        if signed_in is None:
            return _sign_in_first(visit, form)
        visit.sign_in(signed_in)
        around.doorkeeper.let_in(signed_in.principal, route.scope)
        if route.method != "GET" and not is_form_token(form.get(FORM_TOKEN), session_id):
            raise ForeignForm

        page = _page(visit, route, api_for, form)
        await page.api.catch_up()
        try:
            answer = await route.handler(page)
        except OutOfSight:
            answer = None
        if answer is None:
            raise ProblemError(404, visit.language.gettext(route.missing) if route.missing else "")
        return visit.respond(answer)

    return guarded(around, handle)


def _page(visit: Visit, route: Route, api_for: ApiFor, form: Form) -> Page[BaseModel]:
    assert visit.here.principal is not None  # noqa: S101  for mypy: it has signed in
    api = api_for(visit.here.principal)
    own = MultiDict((name, value) for name, value in visit.request.query.items() if name not in PREFERENCES)
    return Page(
        api=api,
        id=next((parse_segment(*part) for part in visit.request.match_info.items()), ""),
        query=parse_query(route.query, own),
        form=form,
        principal=visit.here.principal,
        audit=Auditor(trail=api.audit, actor=visit.here.principal.name, now=api.now),
        here=visit.here,
        language=visit.language,
        fmt=visit.fmt,
        label=Labels(visit.language),
    )


def _sign_in_first(visit: Visit, form: Form) -> web.Response:
    """Who is not signed in, or not any more, signs in and comes back; what was typed comes along."""
    target = visit.here.url
    if visit.request.method in {"GET", "HEAD"}:
        wanted = None if target == "/" else safe_next(target)
        return visit.respond(Redirect(to=url_for("/sign-in", next=wanted)))
    typed = [(name, value) for name, values in form.fields.items() if name != FORM_TOKEN for value in values]
    return visit.respond(
        Shown(template="sign-in.html", status=401, context={"next": target, "typed": typed, "has_ended": True})
    )


async def read_form(request: web.Request) -> Form:
    """What a form holds. Raises a 413, a 415, and a 400 for bytes that are none."""
    if request.content_type != FORM:
        raise ProblemError(415, f"the body must be {FORM}")
    try:
        raw = await request.read()
        fields = parse_qs(raw.decode(), keep_blank_values=True, max_num_fields=MAX_FORM_FIELDS, errors="strict")
    except web.HTTPRequestEntityTooLarge:
        raise ProblemError(413, "the form is longer than 1 MiB") from None
    except (ValueError, web.RequestPayloadError):
        raise ProblemError(400, "the form cannot be read") from None
    # Browsers end lines in text areas with CR LF.
    return Form(fields={name: [value.replace("\r\n", "\n") for value in values] for name, values in fields.items()})


def _problem(request: web.Request, error: Exception) -> ProblemError:
    if isinstance(error, web.HTTPException):
        return ProblemError(error.status, "")
    return problem_of(request, error)
