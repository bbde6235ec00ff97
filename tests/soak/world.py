"""Everything that runs during a soak: broker, store, router, and the traffic in a thread of its own. Touches processes.

The director, on the main thread, may block while it starts a server; customers and publisher do not notice.
"""

from __future__ import annotations

import asyncio
import threading
import time
from collections.abc import AsyncIterator, Coroutine
from concurrent.futures import Future
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final, Self, TypeVar

import pymongo
from pymongo.errors import PyMongoError

from bench.samples import Sample, take_sample
from router.adapters.embedded.broker import RabbitNode
from router.adapters.embedded.store import EmbeddedStore
from tests.soak.customers import Customers, Mood, quiet_port
from tests.soak.load import Load
from tests.support.router_process import EVENT_TYPES, Platform, RouterProcess
from tests.support.servers import unique

T = TypeVar("T")

MOODS: Final = (*[Mood.HEALTHY] * 14, Mood.FLAKY, Mood.FAILING, Mood.HANGING)
"""One account each, with a webhook for each event type."""
SETTINGS: Final = {
    "ROUTER_DELIVERY__CALL__RETRY_DELAYS_SECONDS": "[1, 2, 4, 8]",
    # The waits add up to more than the longest fault, so that only what never answers is exhausted.
    "ROUTER_DELIVERY__CDR__RETRY_DELAYS_SECONDS": "[1, 2, 4, 8, 16, 32]",
    "ROUTER_DELIVERY__USER__RETRY_DELAYS_SECONDS": "[1, 2, 4, 8, 16, 32]",
    "ROUTER_LOG__LEVEL": "info",
}
SECRET: Final = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw"
QUORUM_SECONDS: Final = 2
"""A quorum queue that is younger does not survive a kill of RabbitMQ 3.10."""


class Traffic:
    """An event loop in a thread, for what must go on while the director blocks."""

    def __init__(self) -> None:
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever, name="traffic", daemon=True)

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join()

    def start(self, work: Coroutine[Any, Any, T]) -> Future[T]:
        return asyncio.run_coroutine_threadsafe(work, self._loop)

    async def do(self, work: Coroutine[Any, Any, T]) -> T:
        return await asyncio.wrap_future(self.start(work))


@dataclass(slots=True, kw_only=True)
class Life:
    """One router process, from start to end."""

    pid: int
    samples: list[Sample] = field(default_factory=list)


@dataclass(slots=True, kw_only=True)
class World:
    node: RabbitNode
    store: EmbeddedStore
    directory: Path
    platform: Platform
    router: RouterProcess
    traffic: Traffic
    customers: Customers
    load: Load
    webhooks: dict[tuple[str, str], list[str]]
    """Ids by account and event type."""
    fault: str = ""
    """What is being done to it now."""
    lives: list[Life] = field(default_factory=list)
    complaints: list[str] = field(default_factory=list)

    def complain(self, text: str) -> None:
        """Something went wrong that is no loss, but must not pass."""
        self.complaints.append(text)

    async def start_router(self) -> None:
        self.router.launch()
        self.lives.append(Life(pid=self.router.pid))

    async def is_ready(self) -> bool:
        return self.router.is_running and await self.router.is_ready()

    # --- the store ---

    @property
    def store_pid(self) -> int:
        assert self.store._server is not None
        return self.store._server.pid

    async def kill_store(self) -> None:
        assert self.store._server is not None
        self.store._server.kill()
        await self.store.close()  # or it would start another at once

    async def open_store(self) -> None:
        self.store = await EmbeddedStore.open(self.directory)

    def pending(self) -> int | None:
        """Deliveries that are not over; None while the store does not say."""
        try:
            # By the key of a sparse index, which holds only what is pending.
            return self.platform.database.deliveries.count_documents({"due_at": {"$exists": True}})
        except PyMongoError:
            return None

    # --- what is seen from outside ---

    async def sample(self) -> None:
        """Look at the router every second, until cancelled."""
        while True:
            sample = take_sample(self.lives[-1].pid)
            if sample is not None:
                self.lives[-1].samples.append(sample)
            await asyncio.sleep(1)


@asynccontextmanager
async def running_world(directory: Path, *, rate: float, run: str) -> AsyncIterator[World]:
    """All of it, started and stopped in order; the load is left to the caller."""
    node = RabbitNode(directory=directory / "rabbitmq", port=quiet_port())
    store: EmbeddedStore | None = None
    world: World | None = None
    with Traffic() as traffic:
        try:
            node.start()
            # Its usual port: the router must find it again after a kill.
            (directory / "store").mkdir(mode=0o700)
            (directory / "store" / "address").write_text(f"127.0.0.1:{quiet_port()}\n")
            store = await EmbeddedStore.open(directory)
            with pymongo.MongoClient[dict[str, Any]](
                store.url, tz_aware=True, serverSelectionTimeoutMS=2_000, socketTimeoutMS=20_000
            ) as client:
                platform = Platform(amqp_url=node.url, mongo_url=store.url, database=client[unique("soak_")])
                world = await _furnish(node, store, directory, platform, traffic, rate, run)
                yield world
                await world.router.kill()
        finally:
            if world is not None:
                await world.router.kill()
                await traffic.do(world.customers.close())
                store = world.store
            if store is not None:
                await store.close()
            node.stop()


async def _furnish(
    node: RabbitNode,
    store: EmbeddedStore,
    directory: Path,
    platform: Platform,
    traffic: Traffic,
    rate: float,
    run: str,
) -> World:
    customers = Customers(MOODS)
    await traffic.do(customers.open())
    webhooks: dict[tuple[str, str], list[str]] = {}
    accounts = [platform.enable_account() for _ in MOODS]
    for account, url in zip(accounts, customers.urls, strict=True):
        for kind in EVENT_TYPES:
            webhooks[account, kind] = [platform.define_webhook(account, to=url, event_type=kind, secret=SECRET)]
    # One event may have two webhooks.
    webhooks[accounts[0], "cdr"].append(platform.define_webhook(accounts[0], to=customers.urls[1], secret=SECRET))
    exchanges = {kind: platform.exchange(kind) for kind in EVENT_TYPES}
    world = World(
        node=node,
        store=store,
        directory=directory,
        platform=platform,
        router=RouterProcess(platform, directory, **SETTINGS),
        traffic=traffic,
        customers=customers,
        load=Load(node.url, exchanges=exchanges, accounts=accounts, rate=rate, run=run),
        webhooks=webhooks,
    )
    await world.start_router()
    deadline = time.monotonic() + 45
    while not await world.is_ready():
        assert time.monotonic() < deadline, f"the router did not become ready:\n{world.router.last_words}"
        await asyncio.sleep(0.1)
    await asyncio.sleep(QUORUM_SECONDS)
    return world
