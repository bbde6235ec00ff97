"""What a consumer takes and acknowledges, on a channel that is no real one."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass, field
from datetime import UTC, datetime
from types import SimpleNamespace
from typing import Any, cast

from router.adapters.rabbitmq.config import BrokerConfig
from router.adapters.rabbitmq.consumer import RabbitSource
from router.adapters.rabbitmq.subscription import _Link
from router.bootstrap import convert
from router.settings import Settings

NOW = datetime(2031, 1, 1, 12, tzinfo=UTC)


@dataclass(eq=False)
class Channel:
    """Remembers acknowledgements. `lost`: the client cancels the call, as with a connection that closes meanwhile."""

    lost: bool = False
    acknowledged: list[tuple[int, bool]] = field(default_factory=list)

    async def basic_ack(self, delivery_tag: int, *, multiple: bool) -> None:
        self.acknowledged.append((delivery_tag, multiple))
        if self.lost:
            raise asyncio.CancelledError


class World:
    """One source that consumes on a channel."""

    def __init__(self) -> None:
        self.acks_lost = 0
        broker = BrokerConfig(url="amqp://nowhere/", heartbeat_seconds=60, connect_timeout_seconds=5)
        self.source = RabbitSource(convert.sources(Settings())[:1], broker, lambda: NOW, self._count)
        (self.subscription,) = self.source._subscriptions
        self.channel = Channel()
        self.subscription._link = _Link(cast("Any", None), channel=cast("Any", self.channel))

    def _count(self) -> None:
        self.acks_lost += 1

    async def arrive(self, *tags: int) -> None:
        for tag in tags:
            await self.subscription._on_delivered(cast("Any", message(self.channel, tag)))


def message(channel: Channel, tag: int) -> SimpleNamespace:
    properties = dict.fromkeys(
        ("content_type", "content_encoding", "message_id", "message_type", "timestamp", "headers")
    )
    return SimpleNamespace(
        channel=channel,
        delivery_tag=tag,
        body=b'{"id": "evt_%d", "account_id": "1042"}' % tag,
        exchange="cdr",
        routing_key="cdr.created",
        redelivered=False,
        header=SimpleNamespace(properties=SimpleNamespace(**properties)),
    )


def tags(taken: Any) -> list[int]:
    return [cast("Any", each.tag).delivery_tag for each in taken]


async def test_what_comes_after_what_was_given_back_is_not_taken() -> None:
    world = World()
    await world.arrive(1)
    taken = await world.source.take(10)
    await world.arrive(2)
    # Without an answer to its last pulse it is not cancelled, and the broker goes on.
    await world.source.cancel()
    await world.arrive(3)

    taken = [*taken, *await world.source.take(10)]
    await world.source.settle(taken)

    # An acknowledgement of the third would take the second with it, which nobody has read.
    assert world.channel.acknowledged == [(1, True)]


async def test_an_acknowledgement_that_the_client_cancels_is_a_lost_one_and_ends_nobody() -> None:
    world = World()
    await world.arrive(1)
    taken = await world.source.take(10)
    world.channel.lost = True

    settling = asyncio.create_task(world.source.settle(taken))
    await asyncio.wait({settling})

    assert not settling.cancelled()
    assert world.acks_lost == 1
    assert world.source.settled_batches == 1


async def test_what_is_gone_with_its_connection_is_not_waited_for() -> None:
    world = World()
    await world.arrive(1)
    assert await world.source.arrival()
    world.subscription._link = None
    await world.subscription._disconnect()

    async with asyncio.timeout(1):
        assert await world.source.take(10) == []
    await world.source.cancel()
    assert not await world.source.arrival()
