"""A consumer under test on a real broker, and what a test does beside it."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import replace
from datetime import UTC, datetime
from typing import Any

import aio_pika
from aio_pika.abc import AbstractChannel, AbstractConnection

from router.adapters.rabbitmq.config import BrokerConfig, SourceConfig
from router.adapters.rabbitmq.consumer import RabbitSource
from router.bootstrap import convert
from router.domain.event import Event
from router.ports import Intake
from router.settings import Settings
from tests.support import eventually

NOW = datetime(2031, 1, 1, 12, tzinfo=UTC)
CALL, CDR, USER = convert.sources(Settings())


def own(source: SourceConfig, prefix: str, **changes: Any) -> SourceConfig:
    """`source` with an exchange and a queue that no other test uses."""
    names = {"exchange": prefix + source.name, "queue": prefix + "queue." + source.name}
    return replace(source, **(names | changes))


class Consumer:
    """A source under test, and what a test asks it for."""

    def __init__(self, url: str, *sources: SourceConfig) -> None:
        self.acks_lost = 0
        broker = BrokerConfig(url=url, heartbeat_seconds=60, connect_timeout_seconds=5)
        self.source = RabbitSource(sources, broker, lambda: NOW, self._count)

    def _count(self) -> None:
        self.acks_lost += 1

    async def take(self, count: int) -> list[Intake]:
        """The next `count` messages, however many batches they come in."""
        taken: list[Intake] = []
        async with asyncio.timeout(30):
            while len(taken) < count and await self.source.arrival():
                taken += await self.source.take(count - len(taken))
        return taken

    @property
    def connection(self) -> AbstractConnection:
        """That of the first source."""
        link = self.source._subscriptions[0]._link
        assert link is not None
        return link.connection

    async def until_consuming_on_another(self, connection: AbstractConnection) -> None:
        """Returns once the first source consumes on a connection other than this one, which it lost."""
        (first, *_) = self.source._subscriptions
        await eventually(
            lambda: first.is_alive and first._link is not None and first._link.connection is not connection
        )

    async def until_waiting(self, count: int) -> None:
        """Returns once `count` messages have arrived and are not taken."""
        await eventually(lambda: sum(len(each.waiting) for each in self.source._subscriptions) == count)


@asynccontextmanager
async def running(url: str, *sources: SourceConfig) -> AsyncIterator[Consumer]:
    """A consumer that has not necessarily begun to consume; stopped as the router stops it."""
    consumer = Consumer(url, *sources)
    run = asyncio.create_task(consumer.source.run(), name="amqp")
    try:
        yield consumer
    finally:
        await consumer.source.cancel()
        await consumer.source.close()
        await run


@asynccontextmanager
async def consuming(url: str, *sources: SourceConfig) -> AsyncIterator[Consumer]:
    async with running(url, *sources) as consumer:
        await consumer.source.wait_until_consuming()
        yield consumer


@asynccontextmanager
async def publisher(url: str) -> AsyncIterator[AbstractChannel]:
    async with await aio_pika.connect(url) as connection:
        yield await connection.channel()


def body(number: int = 1, **fields: Any) -> bytes:
    return json.dumps({"id": f"evt_{number}", "account_id": "1042"} | fields).encode()


async def publish(url: str, source: SourceConfig, *bodies: bytes, key: str = "any.key", **properties: Any) -> None:
    async with publisher(url) as channel:
        exchange = await channel.get_exchange(source.exchange)
        for each in bodies:
            await exchange.publish(aio_pika.Message(each, **properties), key)


async def queued(url: str, source: SourceConfig) -> list[bytes]:
    """What is in the queue while nobody consumes; takes it out."""
    found = []
    async with publisher(url) as channel:
        queue = await channel.get_queue(source.queue)
        while (message := await queue.get(fail=False, no_ack=True)) is not None:
            found.append(message.body)
    return found


def ids(taken: list[Intake]) -> list[str]:
    return [item.content.event_id for item in taken if isinstance(item.content, Event)]
