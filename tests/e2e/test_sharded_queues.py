"""One type over several queues: a consistent-hash exchange behind the publisher's own, and a router on each queue,
or one on all of them (docs/scaling.md)."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import aio_pika
import pymongo
import pytest_asyncio

from router.adapters.embedded.broker import RabbitNode
from tests.support.amqp import publish_raw
from tests.support.events import encode, make_event
from tests.support.http_server import ScriptedServer
from tests.support.router_process import Platform, RouterProcess, wait_for
from tests.support.servers import unique

SHARDS = 2
HASHED = "cdr-by-message"


def source(shard: int) -> dict[str, Any]:
    """As docs/scaling.md shows it."""
    return {
        "name": f"cdr-{shard}",
        "exchange": HASHED,
        "declare": "passive",
        "binding_keys": ["1"],
        "queue": f"webhook-router.cdr.{shard}",
        "event_type": "cdr",
    }


def sources(*shards: int) -> str:
    return json.dumps([source(shard) for shard in shards])


@pytest_asyncio.fixture
async def hashed_platform(
    own_rabbit: RabbitNode, mongo_url: str, mongo_client: pymongo.MongoClient[dict[str, object]]
) -> AsyncIterator[Platform]:
    """A platform that publishes `cdr` as always; its broker spreads them by message id."""
    own_rabbit.plugins("enable", "rabbitmq_consistent_hash_exchange")
    platform = Platform(amqp_url=own_rabbit.url, mongo_url=mongo_url, database=mongo_client[unique("test_")])
    async with await aio_pika.connect(own_rabbit.url) as connection:
        channel = await connection.channel()
        published = await channel.declare_exchange(platform.exchange("cdr"), "topic", durable=True)
        hashed = await channel.declare_exchange(
            HASHED, "x-consistent-hash", durable=True, arguments={"hash-property": "message_id"}
        )
        await hashed.bind(published, "#")
    yield platform
    await platform.close()


def router_on(platform: Platform, directory: Path, shard: int) -> RouterProcess:
    """A router of its own for one queue."""
    (directory / str(shard)).mkdir()
    return RouterProcess(platform, directory / str(shard), ROUTER_SOURCES=sources(shard))


def stored_by(router: RouterProcess) -> set[str]:
    return {line["event_id"] for line in router.lines("event_stored")}


async def ready(platform: Platform, shard: int) -> int:
    """Messages that wait in the queue of a shard."""
    async with await aio_pika.connect(platform.amqp_url) as connection:
        channel = await connection.channel()
        queue = await channel.declare_queue(source(shard)["queue"], passive=True)
        return queue.declaration_result.message_count or 0


async def test_two_routers_each_on_its_own_queue_share_the_traffic_and_the_store(
    hashed_platform: Platform, tmp_path: Path, server: ScriptedServer
) -> None:
    account = hashed_platform.enable_account()
    hashed_platform.define_webhook(account, to=server.url)
    events = [make_event(account) for _ in range(60)]
    first, second = (router_on(hashed_platform, tmp_path, shard) for shard in range(SHARDS))
    async with first, second:
        await hashed_platform.publish(*events)
        await wait_for(lambda: len(server.requests) >= len(events))

        expected = {event["id"] for event in events}
        assert stored_by(first) | stored_by(second) == expected
        assert stored_by(first) & stored_by(second) == set()
        assert min(len(stored_by(first)), len(stored_by(second))) > len(events) / 5, "one queue had nearly everything"
        assert sorted(str(request.header("webhook-id")) for request in server.requests) == sorted(expected)

        async def shows_those_of_both() -> bool:
            return len(await first.deliveries(account_id=account, limit=200)) == len(events)

        await wait_for(shows_those_of_both)  # what the other sent may be seen a moment later


async def test_what_waits_in_the_queue_of_a_router_that_is_away_waits_for_it_alone(
    hashed_platform: Platform, tmp_path: Path, server: ScriptedServer
) -> None:
    account = hashed_platform.enable_account()
    hashed_platform.define_webhook(account, to=server.url)
    first, second = (router_on(hashed_platform, tmp_path, shard) for shard in range(SHARDS))
    async with first:
        async with second:
            pass
        await hashed_platform.publish(*(make_event(account) for _ in range(40)))

        async def all_are_somewhere() -> int:
            waiting = await ready(hashed_platform, 1)
            return waiting if waiting + len(server.requests) == 40 else 0

        waiting = await wait_for(all_are_somewhere)
        async with second:
            await wait_for(lambda: len(server.requests) == 40)
            assert len(stored_by(second)) == waiting


async def test_one_router_takes_all_queues_of_a_type(
    hashed_platform: Platform, tmp_path: Path, server: ScriptedServer
) -> None:
    account = hashed_platform.enable_account()
    hashed_platform.define_webhook(account, to=server.url)
    async with RouterProcess(hashed_platform, tmp_path, ROUTER_SOURCES=sources(0, 1)) as router:
        # One of them without the property that is hashed.
        nameless = make_event(account)
        await publish_raw(hashed_platform.amqp_url, hashed_platform.exchange("cdr"), "cdr.created", encode(nameless))
        await hashed_platform.publish(*(make_event(account) for _ in range(40)))
        await wait_for(lambda: len(server.requests) >= 41)

        by_source = [line["source"] for line in router.lines("event_stored")]
        assert set(by_source) == {"cdr-0", "cdr-1"}
        planned = json.loads(await router.command("topology", "plan", "--json"))["items"]
        assert {each["found"] for each in planned if each["kind"] in {"exchange", "queue"}} == {"present"}
