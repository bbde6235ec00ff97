"""The fault proxy on plain sockets, on the broker and on the store: each fault is what it says."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any
from urllib.parse import urlsplit

import aio_pika
import pymongo
import pytest
from aio_pika.exceptions import AMQPError
from pymongo.errors import AutoReconnect

from tests.support import eventually
from tests.support.fault_proxy import Direction, FaultProxy, Protocol
from tests.support.servers import Broker

BROKEN = (ConnectionError, asyncio.IncompleteReadError)


@asynccontextmanager
async def echo() -> AsyncIterator[FaultProxy]:
    """A proxy before a server that sends everything back."""

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            while data := await reader.read(1_000):
                writer.write(data)
                await writer.drain()
        except OSError:
            pass
        finally:
            writer.close()

    async with (
        await asyncio.start_server(serve, "127.0.0.1", 0) as server,
        FaultProxy(server.sockets[0].getsockname()[1]) as proxy,
    ):
        yield proxy


class Client:
    """One connection through the proxy."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.reader, self.writer = reader, writer

    async def say(self, data: bytes) -> bytes:
        self.writer.write(data)
        return await self.reader.readexactly(len(data))

    async def hears_nothing(self) -> bool:
        try:
            async with asyncio.timeout(0.2):
                await self.reader.readexactly(1)
        except TimeoutError:
            return True
        return False


@asynccontextmanager
async def client_of(proxy: FaultProxy) -> AsyncIterator[Client]:
    reader, writer = await asyncio.open_connection("127.0.0.1", proxy.port)
    try:
        yield Client(reader, writer)
    finally:
        writer.close()


async def test_passes_everything_and_the_end() -> None:
    async with echo() as proxy, client_of(proxy) as client:
        assert await client.say(b"x" * 200_000) == b"x" * 200_000
        client.writer.write_eof()
        assert await client.reader.read() == b""
        await eventually(lambda: not proxy.links)


@pytest.mark.parametrize("directions", [(), (Direction.UP,), (Direction.DOWN,)])
async def test_black_hole_keeps_the_connection_and_moves_nothing_until_it_heals(directions: Any) -> None:
    async with echo() as proxy, client_of(proxy) as client:
        await client.say(b"before")
        proxy.black_hole(*directions)
        client.writer.write(b"!")
        assert await client.hears_nothing()
        async with client_of(proxy) as late:
            late.writer.write(b"!")
            assert await late.hears_nothing()
        proxy.heal()
        assert await client.reader.readexactly(1) == b"!"


async def test_half_open_connection_is_dead_for_ever_and_a_new_one_lives() -> None:
    async with echo() as proxy, client_of(proxy) as client:
        await client.say(b"before")
        proxy.half_open()
        client.writer.write(b"!")
        async with client_of(proxy) as other:
            assert await other.say(b"new") == b"new"
        proxy.heal()
        assert await client.hears_nothing()


async def test_delay_and_throttle_take_their_time() -> None:
    async with echo() as proxy, client_of(proxy) as client:
        began = time.monotonic()
        proxy.delay(0.1)
        await client.say(b"a")
        assert time.monotonic() - began >= 0.2
        proxy.heal()
        proxy.throttle(1_000)
        began = time.monotonic()
        await client.say(b"a" * 500)
        assert time.monotonic() - began >= 0.3


async def test_reset_ends_both_sides_at_once() -> None:
    async with echo() as proxy, client_of(proxy) as client:
        await client.say(b"a")
        proxy.reset()
        with pytest.raises(BROKEN):
            await client.say(b"b")
        await eventually(lambda: not proxy.links)


async def test_refusal_spares_what_is_open_and_ends_on_the_same_port() -> None:
    async with echo() as proxy, client_of(proxy) as client:
        await client.say(b"a")
        port = proxy.port
        await proxy.refuse()
        with pytest.raises(ConnectionRefusedError):
            await asyncio.open_connection("127.0.0.1", port)
        await client.say(b"b")
        await proxy.accept()
        async with client_of(proxy) as other:
            assert (await other.say(b"c"), proxy.port) == (b"c", port)


async def test_cut_lets_exactly_so_many_bytes_pass() -> None:
    async with echo() as proxy, client_of(proxy) as client:
        proxy.cut_after(10, Direction.UP)
        assert await client.say(b"0123456789") == b"0123456789"
        with pytest.raises(BROKEN):
            await client.say(b"x")


# --- RabbitMQ and MongoDB --------------------------------------------------------------------------


async def test_lost_ack_is_a_redelivery_and_a_lost_confirm_a_failed_publish(rabbit: Broker, names: str) -> None:
    parts = urlsplit(rabbit.url)
    assert parts.port is not None
    async with FaultProxy(parts.port, protocol=Protocol.AMQP) as proxy:
        url = rabbit.url.replace(f":{parts.port}", f":{proxy.port}")
        async with await aio_pika.connect(rabbit.url) as direct:
            channel = await direct.channel()
            queue = await channel.declare_queue(names + "queue")
            await channel.default_exchange.publish(aio_pika.Message(b"one"), queue.name)

            acks = proxy.lose_acks()
            async with await aio_pika.connect(url) as connection:
                taken = await (await (await connection.channel()).get_queue(queue.name)).get()
                assert taken is not None
                await taken.ack()
                await eventually(lambda: acks.count == 1)
            again = await queue.get(timeout=10)
            assert (again.body, again.redelivered) == (b"one", True)
            await again.ack()

            confirms = proxy.lose_confirms()
            async with await aio_pika.connect(url) as connection:
                publisher = await connection.channel(publisher_confirms=True)
                with pytest.raises((AMQPError, OSError)):
                    await publisher.default_exchange.publish(aio_pika.Message(b"two"), queue.name)
            assert confirms.count == 1
            taken = await queue.get(timeout=10)
            assert taken.body == b"two"
            await taken.ack()
            await queue.delete()


async def test_write_whose_reply_is_lost_is_applied(mongo_url: str, mongo_database: str) -> None:
    port = urlsplit(mongo_url).port
    assert port is not None
    async with FaultProxy(port, protocol=Protocol.MONGO) as proxy:
        url = mongo_url.replace(f":{port}", f":{proxy.port}")

        def write() -> int:
            with pymongo.MongoClient[dict[str, Any]](url, retryWrites=False) as client:
                database = client[mongo_database]
                database.other.insert_one({"_id": 1})
                losses = proxy.lose_replies(collection="things")
                database.other.insert_one({"_id": 2})
                with pytest.raises(AutoReconnect):
                    database.things.insert_one({"_id": 1})
                assert losses.count == 1
                return database.things.count_documents({})

        assert await asyncio.to_thread(write) == 1
