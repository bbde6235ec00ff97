"""The console on the application: its pages, its files, and what a browser gets that asks for what is not there."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime
from typing import Final

from aiohttp import web
from aiohttp.typedefs import Handler, Middleware

from router.application.sessions import Sessions
from router.domain.principal import Principal
from router.ports import AuditLog
from router.web.api.auth import Doorkeeper
from router.web.api.routes import ApiFor
from router.web.console.assets import PREFIX, Assets
from router.web.console.binding import HTML, Surroundings, Visit, add_pages
from router.web.console.catalogue import PAGES
from router.web.console.language import load_languages
from router.web.console.rendering import Renderer
from router.web.console.sign_in import add_sign_in
from router.web.problems import ProblemError

MACHINES: Final = ("/v1/", "/openapi.json", "/livez", "/readyz", "/metrics", PREFIX)
"""Where programs ask, whatever they accept."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ConsoleSettings:
    """Where browsers reach the console (an origin; None: whatever host they ask for), and the zone of its times."""

    public_url: str | None = None
    time_zone: str = "Europe/Paris"


class Console:
    """The console of one application. Its middleware has to be there before its pages are."""

    def __init__(
        self, settings: ConsoleSettings, doorkeeper: Doorkeeper, sessions: Sessions, now: Callable[[], datetime]
    ) -> None:
        self._assets = Assets()
        self._around = Surroundings(
            doorkeeper=doorkeeper,
            sessions=sessions,
            renderer=Renderer(self._assets),
            languages=load_languages(),
            time_zone=settings.time_zone,
            public_url=settings.public_url,
            now=now,
        )

    @property
    def middleware(self) -> Middleware:
        """Gives people who follow a wrong link a page; programs get what they got before."""

        @web.middleware
        async def pages_for_people(request: web.Request, handler: Handler) -> web.StreamResponse:
            try:
                return await handler(request)
            except (web.HTTPNotFound, web.HTTPMethodNotAllowed) as answer:
                if HTML not in request.headers.get("Accept", "") or request.path.startswith(MACHINES):
                    raise
                return Visit(request, self._around).fail(ProblemError(answer.status, ""))

        return pages_for_people

    def add_to(self, app: web.Application, api_for: ApiFor, audit_for: Callable[[Principal], AuditLog]) -> None:
        self._assets.add_to(app)
        add_sign_in(app, audit_for, self._around)
        add_pages(app, PAGES, api_for, self._around)
