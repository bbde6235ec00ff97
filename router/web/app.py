"""The web application, put together: API, console, probes, metrics, and what every answer has in common."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from datetime import datetime, timedelta
from typing import Final

from aiohttp import web
from prometheus_client.registry import Collector

from router.application.confinement import confined_audit, confined_reader, confined_registry, confined_replays
from router.application.manage import Randomness
from router.application.sessions import Sessions
from router.application.token_book import TokenBook
from router.domain.egress import EgressPolicy
from router.domain.principal import Principal
from router.ports import AuditLog, Publisher, Reader, Registry, ReplayStore, TokenStore
from router.web.api.auth import Access, Doorkeeper
from router.web.api.catalogue import ENDPOINTS
from router.web.api.endpoints import Api, CatchUp, nothing_to_catch_up
from router.web.api.openapi import openapi_document
from router.web.api.routes import JSON, add_endpoints
from router.web.console.mount import Console, ConsoleSettings
from router.web.encoding import encode
from router.web.probes import Checks, add_probes
from router.web.problems import COMMON_HEADERS, problems

MAX_BODY_BYTES: Final = 1024 * 1024


def build_app(
    *,
    reader: Reader,
    registry: Registry,
    replays: ReplayStore,
    replay_rate: float,
    tokens: TokenStore,
    audit: AuditLog,
    publisher: Publisher,
    queue_of_source: Mapping[str, str],
    country: str,
    egress: EgressPolicy,
    now: Callable[[], datetime],
    randomness: Randomness,
    rotation_overlap: timedelta,
    access: Access,
    book: TokenBook,
    sessions: Sessions,
    console: ConsoleSettings,
    checks: Checks,
    metrics: Collector,
    observe: Callable[[], None] = lambda: None,
    stalled: Callable[[], Sequence[str]] = tuple,
    catch_up: CatchUp = nothing_to_catch_up,
) -> web.Application:
    """The application. `access` and `book` say who gets in, `sessions` who is in the console. `country` is where
    numbers are dialled, `egress` where new webhooks may lead.

    `replay_rate` is how many deliveries a second a bulk replay makes due where it does not say.
    `queue_of_source` says where a dead letter goes back to, `rotation_overlap` how long an old secret signs.
    `checks` is asked for readiness, `stalled` for liveness. `observe` brings the gauges of `metrics` up to date before
    they are read. `catch_up` returns once the store has every delivery that this process knows of.
    """
    doorkeeper = Doorkeeper(access, book)
    pages = Console(console, doorkeeper, sessions, now)
    app = web.Application(middlewares=[problems, pages.middleware], client_max_size=MAX_BODY_BYTES)
    app.on_response_prepare.append(_add_headers)
    add_probes(app, checks, metrics, observe, stalled)
    _add_openapi(app, doorkeeper)

    def api_for(principal: Principal) -> Api:
        return Api(
            reader=confined_reader(reader, principal),
            registry=confined_registry(registry, reader, principal),
            replays=confined_replays(replays, reader, principal),
            replay_rate=replay_rate,
            tokens=tokens,
            audit=confined_audit(audit, principal),
            publisher=publisher,
            queue_of_source=queue_of_source,
            country=country,
            egress=egress,
            now=now,
            randomness=randomness,
            checks=checks,
            rotation_overlap=rotation_overlap,
            catch_up=catch_up,
        )

    add_endpoints(app, ENDPOINTS, api_for, doorkeeper)
    pages.add_to(app, api_for, lambda principal: confined_audit(audit, principal))
    return app


def build_probes(
    *,
    checks: Checks,
    metrics: Collector,
    observe: Callable[[], None],
    stalled: Callable[[], Sequence[str]],
) -> web.Application:
    """What a port of its own answers to machines: the probes and the metrics, and nothing about anybody."""
    app = web.Application(middlewares=[problems])
    app.on_response_prepare.append(_add_headers)
    add_probes(app, checks, metrics, observe, stalled)
    return app


def _add_openapi(app: web.Application, doorkeeper: Doorkeeper) -> None:
    document = encode(openapi_document())

    async def openapi(request: web.Request) -> web.Response:
        doorkeeper.pace(request)
        return web.Response(body=document, content_type=JSON)

    app.router.add_get("/openapi.json", openapi)


async def _add_headers(_: web.Request, response: web.StreamResponse) -> None:
    # What never changes under its name says so itself.
    caching = response.headers.get("Cache-Control", COMMON_HEADERS["Cache-Control"])
    response.headers.update({**COMMON_HEADERS, "Cache-Control": caching})
