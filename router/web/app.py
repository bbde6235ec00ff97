"""The web application, put together: API, probes, metrics, and what every answer has in common."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from datetime import datetime, timedelta
from typing import Final

from aiohttp import web
from prometheus_client import CollectorRegistry

from router.application.confinement import confined_audit, confined_reader, confined_registry
from router.application.manage import Randomness
from router.application.token_book import TokenBook
from router.domain.egress import EgressPolicy
from router.domain.principal import Principal
from router.ports import AuditLog, Publisher, Reader, Registry, TokenStore
from router.web.api.auth import Access, Doorkeeper
from router.web.api.catalogue import ENDPOINTS
from router.web.api.endpoints import Api
from router.web.api.openapi import openapi_document
from router.web.api.routes import JSON, add_endpoints
from router.web.encoding import encode
from router.web.probes import Checks, add_probes
from router.web.problems import COMMON_HEADERS, problems

MAX_BODY_BYTES: Final = 1024 * 1024


def build_app(
    *,
    reader: Reader,
    registry: Registry,
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
    checks: Checks,
    metrics: CollectorRegistry,
    observe: Callable[[], None] = lambda: None,
    stalled: Callable[[], Sequence[str]] = tuple,
) -> web.Application:
    """The application. `access` and `book` say who gets in. `country` is where numbers are dialled, `egress` where new
    webhooks may lead.

    `queue_of_source` says where a dead letter goes back to, `rotation_overlap` how long an old secret signs.
    `checks` is asked for readiness, `stalled` for liveness. `observe` brings the gauges of `metrics` up to date before
    they are read.
    """
    app = web.Application(middlewares=[problems], client_max_size=MAX_BODY_BYTES)
    app.on_response_prepare.append(_add_headers)
    add_probes(app, checks, metrics, observe, stalled)
    doorkeeper = Doorkeeper(access, book)
    _add_openapi(app, doorkeeper)

    def api_for(principal: Principal) -> Api:
        return Api(
            reader=confined_reader(reader, principal),
            registry=confined_registry(registry, reader, principal),
            tokens=tokens,
            audit=confined_audit(audit, principal),
            publisher=publisher,
            queue_of_source=queue_of_source,
            country=country,
            egress=egress,
            now=now,
            randomness=randomness,
            rotation_overlap=rotation_overlap,
        )

    add_endpoints(app, ENDPOINTS, api_for, doorkeeper)
    return app


def _add_openapi(app: web.Application, doorkeeper: Doorkeeper) -> None:
    document = encode(openapi_document())

    async def openapi(request: web.Request) -> web.Response:
        doorkeeper.pace(request)
        return web.Response(body=document, content_type=JSON)

    app.router.add_get("/openapi.json", openapi)


async def _add_headers(_: web.Request, response: web.StreamResponse) -> None:
    response.headers.update(COMMON_HEADERS)
