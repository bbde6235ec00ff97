"""What publishers put into messages, through a real broker and back: every message comes out, as an event with its
very bytes or as a rejection, and none is in the way of the next.
"""

from __future__ import annotations

import asyncio
import gzip
import json
import random
import struct
from collections.abc import AsyncIterator, Sequence
from dataclasses import replace
from datetime import UTC, datetime

import pytest
import pytest_asyncio

from router.adapters.rabbitmq.config import BrokerConfig
from router.adapters.rabbitmq.consumer import RabbitSource
from router.bootstrap import convert
from router.domain.event import Event
from router.ports import Intake
from router.settings import Settings
from tests.support.amqp import NO_PROPERTIES, publish_raw
from tests.support.events import encode, make_event
from tests.support.servers import Broker

NOW = datetime(2031, 1, 1, 12, tzinfo=UTC)
SEEDS = range(8)


class Consumed:
    """A queue of its own and what comes out of it."""

    def __init__(self, url: str, prefix: str) -> None:
        self._url = url
        _, cdr, _ = convert.sources(Settings())
        self._config = replace(cdr, exchange=prefix + "cdr", queue=prefix + "queue")
        broker = BrokerConfig(url=url, heartbeat_seconds=60, connect_timeout_seconds=5)
        self.source = RabbitSource([self._config], broker, lambda: NOW, lambda: None)

    async def through(self, *messages: tuple[bytes, bytes]) -> Sequence[Intake]:
        """What comes out when bodies with their raw properties go in."""
        for body, properties in messages:
            await publish_raw(self._url, self._config.exchange, "any.key", body, properties)
        taken: list[Intake] = []
        async with asyncio.timeout(30):
            while len(taken) < len(messages) and await self.source.arrival():
                taken += await self.source.take(100)
        await self.source.settle(taken)
        return taken


@pytest_asyncio.fixture
async def consumed(rabbit: Broker, names: str) -> AsyncIterator[Consumed]:
    consumed = Consumed(rabbit.url, names)
    running = asyncio.create_task(consumed.source.run(), name="amqp")
    await consumed.source.wait_until_consuming()
    yield consumed
    await consumed.source.cancel()
    await consumed.source.close()
    await running


def mutations(body: bytes, seed: int) -> list[bytes]:
    """Copies of `body` with bytes changed, taken out, doubled or cut off."""
    draw = random.Random(seed)
    copies = []
    for _ in range(6):
        copy = bytearray(body)
        for _ in range(draw.randint(1, 4)):
            at = draw.randrange(len(copy))
            match draw.randrange(4):
                case 0:
                    copy[at] = draw.randrange(256)
                case 1:
                    del copy[at]
                case 2:
                    copy[at:at] = copy[at : at + 20]
                case _:
                    del copy[at:]
            copy = copy or bytearray(b"{")
        copies.append(bytes(copy))
    return copies


@pytest.mark.parametrize("seed", SEEDS)
async def test_no_body_is_lost_changed_or_in_the_way(consumed: Consumed, seed: int) -> None:
    whole = encode(make_event("1042"))
    bodies = [*mutations(whole, seed), *mutations(gzip.compress(whole), seed), whole]
    taken = await consumed.through(*((body, NO_PROPERTIES) for body in bodies))

    assert [item.raw.body for item in taken] == bodies
    for item in taken:
        if isinstance(item.content, Event):
            assert item.content.payload == item.raw.body
            assert isinstance(json.loads(item.raw.body), dict)
        else:
            assert item.content.detail
    assert isinstance(taken[-1].content, Event)


@pytest.mark.parametrize("seed", SEEDS)
async def test_no_properties_close_the_connection(consumed: Consumed, seed: int) -> None:
    """Every text and time that the wire can carry, readable or not."""
    draw = random.Random(seed)
    event = make_event("1042")

    def text() -> bytes:
        length = draw.randrange(20)
        return bytes([length]) + draw.randbytes(length)

    # Content type, encoding, message id, timestamp and type, in the order of the protocol.
    wires = [
        struct.pack(">H", 0b1100_0000_1110_0000)
        + text()
        + text()
        + text()
        + struct.pack(">Q", draw.getrandbits(64))
        + text()
        for _ in range(10)
    ]
    taken = await consumed.through(*((encode(event), wire) for wire in wires), (encode(event), NO_PROPERTIES))

    assert [item.raw.body for item in taken] == [encode(event)] * 11
    assert all(isinstance(item.content, Event) and item.content.event_id == event["id"] for item in taken)
    assert not any(item.raw.redelivered for item in taken)


async def test_no_headers_close_the_connection_or_take_everybodys_time(consumed: Consumed) -> None:
    """Tables in tables, deeper than any parser goes, and as many entries as fit; the message behind them is read."""
    nested = b""
    for _ in range(4_000):
        nested = b"\0F" + struct.pack(">I", len(nested)) + nested
    event = encode(make_event("1042"))
    wires = [
        struct.pack(">HI", 0b0010_0000_0000_0000, len(table)) + table
        for table in (nested, b"\0V" * 60_000, b"\x01tS\0\0\0\x03abc")
    ]

    taken = await consumed.through(*((event, wire) for wire in wires), (event, NO_PROPERTIES))

    assert [item.raw.body for item in taken] == [event] * 4
    assert [item.raw.properties.headers for item in taken] == [{}, {}, {"t": "abc"}, {}]
    assert all(isinstance(item.content, Event) and not item.raw.redelivered for item in taken)
