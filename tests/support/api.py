"""The web server of a test with what surrounds it, and a client that asks it. Touches loopback sockets."""

from __future__ import annotations

import secrets
import time
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Any

import aiohttp
import orjson
from aiohttp import web
from prometheus_client import CollectorRegistry, Gauge
from yarl import URL

from router.adapters.mongo.audit import MongoAuditTrail
from router.adapters.mongo.driver import Database
from router.adapters.mongo.reader import MongoReader
from router.adapters.mongo.registry import MongoRegistry
from router.adapters.mongo.replays import MongoReplays
from router.adapters.mongo.retention import Retention
from router.adapters.mongo.sessions import MongoSessions
from router.adapters.mongo.tokens import MongoTokens
from router.application.limits import Rate
from router.application.sessions import Sessions
from router.application.token_book import TokenBook
from router.domain.egress import EgressPolicy
from router.ports import AuditLog, MessageProperties, Registry
from router.web.api.auth import Access
from router.web.app import build_app
from router.web.clients import Network
from router.web.console.mount import ConsoleSettings
from router.web.server import WebServer
from tests.support.samples import NOON

GENEROUS = Rate(per_second=1_000, burst=10_000)
KEEP = Retention(payload=timedelta(days=30), log=timedelta(days=90))
TOKEN = "t0ken-of-the-tests"
AUTHORIZED = {"Authorization": f"Bearer {TOKEN}"}


@dataclass(frozen=True, slots=True, kw_only=True)
class Answer:
    """What came back."""

    status: int
    headers: Mapping[str, str]
    """By names in any case."""
    body: bytes

    @property
    def json(self) -> Any:
        return orjson.loads(self.body)

    @property
    def ids(self) -> list[str]:
        return [item["id"] for item in self.json["items"]]


class Publications:
    """`ports.Publisher` that keeps what it was given."""

    def __init__(self) -> None:
        self.published: list[tuple[str, str, bytes, MessageProperties]] = []

    async def publish(self, *, exchange: str, routing_key: str, body: bytes, properties: MessageProperties) -> None:
        self.published.append((exchange, routing_key, body, properties))


@dataclass(slots=True, kw_only=True)
class Surroundings:
    """What a test may change of the server's surroundings."""

    database: Database
    token: str | None = TOKEN
    checks: dict[str, bool] = field(default_factory=lambda: {"store": True, "consumer": True})
    stalled: list[str] = field(default_factory=list)
    audit: AuditLog | None = None
    """In place of the trail of the database."""
    registry: Registry | None = None
    """In place of the registry of the database."""
    publications: Publications = field(default_factory=Publications)
    metrics: CollectorRegistry = field(default_factory=CollectorRegistry)
    now: Callable[[], datetime] = lambda: NOON
    randomness: Callable[[int], bytes] = lambda count: b"\x01" * count
    rate: Rate = GENEROUS
    trusted_proxies: tuple[Network, ...] = ()
    clock: Callable[[], float] = time.monotonic
    book_clock: Callable[[], float] = time.monotonic
    """How old the token book's answers are."""
    console: ConsoleSettings = field(default_factory=ConsoleSettings)
    denied: list[str] = field(default_factory=list)
    """Reasons why requests were not let in."""

    @property
    def sessions(self) -> MongoSessions:
        return MongoSessions(self.database)

    @property
    def tokens(self) -> MongoTokens:
        return MongoTokens(self.database)

    def app(self) -> web.Application:
        book = TokenBook(self.tokens, self.now, self.book_clock)
        access = Access(
            admin_token=self.token,
            rate=self.rate,
            trusted_proxies=self.trusted_proxies,
            denied=self.denied.append,
            clock=self.clock,
        )
        gauge = Gauge("test_observed", "Counts readings.", registry=self.metrics)
        return build_app(
            reader=MongoReader(self.database, "FR"),
            registry=self.registry or MongoRegistry(self.database),
            replays=MongoReplays(self.database, KEEP),
            replay_rate=20.0,
            tokens=self.tokens,
            audit=self.audit or MongoAuditTrail(self.database),
            publisher=self.publications,
            queue_of_source={"call": "webhook-router.call"},
            country="FR",
            egress=EgressPolicy(deny_ports=frozenset({22})),
            now=self.now,
            randomness=self.randomness,
            rotation_overlap=timedelta(days=1),
            access=access,
            book=book,
            sessions=Sessions(self.sessions, book, access.admin_digest, self.now, secrets.token_bytes),
            console=self.console,
            checks=lambda: self.checks,
            metrics=self.metrics,
            observe=gauge.inc,
            stalled=lambda: self.stalled,
        )

    def server(self, port: int = 0) -> WebServer:
        return WebServer(self.app(), "127.0.0.1", port)

    @asynccontextmanager
    async def serving(self) -> AsyncIterator[Api]:
        """A server that runs meanwhile, and a client of it."""
        server = self.server()
        await server.start()
        host, port = server.address
        async with aiohttp.ClientSession() as session:
            yield Api(URL.build(scheme="http", host=host, port=port), session)
        await server.stop()


class Api:
    """Asks a server."""

    def __init__(self, base: URL, session: aiohttp.ClientSession) -> None:
        self.base = base
        self._session = session

    async def request(self, method: str, target: str, *, headers: dict[str, str] | None = None, **more: Any) -> Answer:
        url = URL(f"{self.base}{target}", encoded=True)
        headers = AUTHORIZED if headers is None else headers
        async with self._session.request(method, url, headers=headers, **more) as response:
            return Answer(status=response.status, headers=response.headers.copy(), body=await response.read())

    async def get(self, path: str, **query: object) -> Answer:
        parameters = {name.rstrip("_"): str(value) for name, value in query.items()}
        return await self.request("GET", str(URL.build(path=path, query=parameters, encoded=False)))

    async def all_ids(self, path: str, **query: object) -> list[list[str]]:
        """The ids of each page, to the end."""
        pages: list[list[str]] = []
        cursor: dict[str, object] = {}
        while True:
            answer = await self.get(path, **query, **cursor)
            assert answer.status == 200, answer.body
            pages.append(answer.ids)
            if answer.json["next_cursor"] is None:
                return pages
            cursor = {"cursor": answer.json["next_cursor"]}


def assert_problem(answer: Answer, status: int, kind: str) -> None:
    assert (answer.status, answer.headers["Content-Type"]) == (status, "application/problem+json")
    assert answer.json.keys() == {"type", "title", "status", "detail", "errors"}
    assert answer.json["status"] == status
    assert answer.json["type"] == f"urn:webhook-router:problem:{kind}"


def assert_names(answer: Answer, *fields: str) -> None:
    """A 400 that names these and nothing else."""
    assert_problem(answer, 400, "invalid-request")
    assert [error["field"] for error in answer.json["errors"]] == list(fields)
    assert fields[0] in answer.json["detail"]
