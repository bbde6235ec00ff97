"""Signing in and out: a token becomes a session, whose id is in a cookie. Writes sessions and the audit trail."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Final

from aiohttp import web

from router.application.audit import Auditor
from router.application.sessions import SignedIn
from router.domain.audit import AuditAction
from router.domain.principal import ADMIN, Principal
from router.domain.session import is_form_token
from router.domain.token import Denial, TokenId, read_token
from router.ports import AuditLog
from router.web.console.binding import (
    FORM_TOKEN,
    SESSION_COOKIE,
    ForeignForm,
    Surroundings,
    Visit,
    guarded,
    read_form,
    set_cookie,
)
from router.web.console.guard import safe_next
from router.web.console.here import url_for
from router.web.console.language import N_
from router.web.console.page import Redirect, Shown
from router.web.problems import ProblemError

TYPED: Final = "typed."
"""Before the names of fields that were typed into another form, which is sent again after signing in."""
HOME: Final = "/webhooks"

REFUSALS: Final = {
    Denial.UNKNOWN: N_("This token is not known. Check that it was copied whole, from whr_ to the end."),
    Denial.EXPIRED: N_("This token has expired. Ask an administrator for a new one."),
    Denial.REVOKED: N_("This token was revoked. Ask an administrator for a new one."),
}
NO_TOKEN: Final = N_("Enter a token.")
MAX_TOKEN_LENGTH: Final = 1_000


def add_sign_in(app: web.Application, audit_for: Callable[[Principal], AuditLog], around: Surroundings) -> None:
    doors = _Doors(audit_for, around)
    app.router.add_get("/", guarded(around, doors.enter))
    app.router.add_get("/sign-in", guarded(around, doors.ask))
    app.router.add_post("/sign-in", guarded(around, doors.sign_in))
    app.router.add_get("/sign-in/done", guarded(around, doors.arrive))
    app.router.add_post("/sign-out", guarded(around, doors.sign_out))


class _Doors:
    def __init__(self, audit_for: Callable[[Principal], AuditLog], around: Surroundings) -> None:
        self._audit_for = audit_for
        self._around = around

    async def enter(self, visit: Visit) -> web.Response:
        signed_in = await self._found(visit)
        return visit.respond(Redirect(to=HOME if signed_in else "/sign-in"))

    async def ask(self, visit: Visit) -> web.Response:
        target = safe_next(visit.request.query.get("next"))
        if await self._found(visit) is not None:
            return visit.respond(Redirect(to=target))
        return visit.respond(_form(target))

    async def sign_in(self, visit: Visit) -> web.Response:
        form = await read_form(visit.request)
        target, text = safe_next(form.get("next")), form.get("token").strip()
        typed = [
            (name.removeprefix(TYPED), value)
            for name, values in form.fields.items()
            for value in values
            if name.startswith(TYPED)
        ]
        if not text or len(text) > MAX_TOKEN_LENGTH:
            error = NO_TOKEN if not text else REFUSALS[Denial.UNKNOWN]
            return visit.respond(_form(target, typed, error=visit.language.gettext(error), status=400))
        principal = await self._around.doorkeeper.identify(visit.address, text)
        if isinstance(principal, Denial):
            refusal = visit.language.gettext(REFUSALS[principal])
            return visit.respond(_form(target, typed, error=refusal, status=401))
        self._around.doorkeeper.count(principal)

        await self._note(AuditAction.SESSION_OPENED, principal)
        # A session that was there before ends, whoever had it: the new one has another id.
        await self._around.sessions.close(visit.request.cookies.get(SESSION_COOKIE, ""))
        session_id = await self._around.sessions.open(None if principal == ADMIN else _token_id(text))
        if typed:
            visit.sign_in(SignedIn(id=session_id, principal=principal))
            response = visit.respond(Shown(template="send-again.html", context={"target": target, "typed": typed}))
        else:
            response = visit.respond(Redirect(to=url_for("/sign-in/done", next=target)))
        set_cookie(response, SESSION_COOKIE, session_id)
        return response

    async def arrive(self, visit: Visit) -> web.Response:
        """Whether the browser has kept the cookie, which it does over https and on this host itself only."""
        target = safe_next(visit.request.query.get("next"))
        if await self._found(visit) is None:
            return visit.respond(Shown(template="no-cookie.html", status=400, context={"next": target}))
        return visit.respond(Redirect(to=HOME if target == "/" else target))

    async def sign_out(self, visit: Visit) -> web.Response:
        form = await read_form(visit.request)
        session_id = visit.request.cookies.get(SESSION_COOKIE, "")
        signed_in = await self._found(visit)
        if signed_in is not None:
            if not is_form_token(form.get(FORM_TOKEN), session_id):
                raise ForeignForm
            await self._note(AuditAction.SESSION_CLOSED, signed_in.principal)
            await self._around.sessions.close(session_id)
        notice = visit.language.gettext("You are signed out.")
        response = visit.respond(Redirect(to="/sign-in", notice=notice))
        response.del_cookie(SESSION_COOKIE, path="/", secure=True, httponly=True, samesite="Lax")
        return response

    async def _found(self, visit: Visit) -> SignedIn | None:
        return await self._around.sessions.find(visit.request.cookies.get(SESSION_COOKIE, ""))

    async def _note(self, action: AuditAction, principal: Principal) -> None:
        auditor = Auditor(trail=self._audit_for(principal), actor=principal.name, now=self._around.now)
        await auditor.note(action, account_id=principal.account_id)


def _form(target: str, typed: Iterable[tuple[str, str]] = (), *, error: str | None = None, status: int = 200) -> Shown:
    context = {"next": target, "typed": list(typed), "has_ended": False, "error": error}
    return Shown(template="sign-in.html", status=status, context=context)


def _token_id(text: str) -> TokenId:
    written = read_token(text)
    if written is None:
        raise ProblemError(500, "a token that counts is well formed")
    return written.id
