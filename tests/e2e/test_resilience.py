"""While something is away, dies or comes twice: no event is lost, and nothing is doubled without a crash."""

from __future__ import annotations

import asyncio
import time
from collections import Counter
from collections.abc import AsyncIterator, Iterator, Sequence
from pathlib import Path
from typing import Any

import aio_pika
import pymongo
import pytest
import pytest_asyncio
from aio_pika.exceptions import AMQPError

from router.adapters.embedded.broker import RabbitNode
from router.adapters.embedded.store import EmbeddedStore
from tests.support.events import encode, make_event
from tests.support.http_server import Exchange, ScriptedServer, answer
from tests.support.router_process import Platform, RouterProcess, wait_for
from tests.support.servers import Broker, unique

UNAVAILABLE = answer(503)
QUORUM_QUEUE_SETTLES_SECONDS = 2
"""A younger queue does not survive a power cut: the broker writes down whose log is whose now and then."""
MAX_IN_FLIGHT_PER_WEBHOOK = 16
"""The default of the setting: requests that may have been under way unseen when the router was killed."""


@pytest.fixture(scope="module")
def own_node(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RabbitNode]:
    node = RabbitNode(directory=tmp_path_factory.mktemp("own-node"))
    try:
        node.start()
        yield node
    finally:
        node.stop()


@pytest_asyncio.fixture
async def fragile_platform(
    own_node: RabbitNode, mongo_url: str, mongo_client: pymongo.MongoClient[dict[str, object]]
) -> AsyncIterator[Platform]:
    """On a broker that the test may stop."""
    platform = Platform(amqp_url=own_node.url, mongo_url=mongo_url, database=mongo_client[unique("test_")])
    yield platform
    await platform.close()


def ids_of(server: ScriptedServer) -> Counter[str]:
    """How often each event came."""
    return Counter(request.header("webhook-id") or "" for request in server.requests)


async def all_delivered(router: RouterProcess, account: str, count: int) -> list[Any]:
    """The account's deliveries, once there are `count` and each is delivered."""

    async def found() -> list[Any]:
        page = await router.api("/v1/deliveries", account_id=account, status="delivered", limit=200, include_total=True)
        # The page is read before the total: what is delivered in between is in one and not in the other.
        return page["items"] if page["total"] == len(page["items"]) == count else []

    return await wait_for(found)


# --- the broker ------------------------------------------------------------------------------------


@pytest.mark.slow
async def test_broker_that_restarts_while_events_flow_loses_nothing(
    fragile_platform: Platform, own_node: RabbitNode, tmp_path: Path, server: ScriptedServer
) -> None:
    platform = fragile_platform
    account = platform.enable_account()
    platform.define_webhook(account, to=server.url)
    confirmed: list[str] = []
    stopping = asyncio.Event()

    async def keep_publishing() -> None:
        while not stopping.is_set():
            event = make_event(account)
            try:
                await platform.publish(event)
            except (AMQPError, OSError):
                await asyncio.sleep(0.1)  # not confirmed: the publisher's to repeat
            else:
                confirmed.append(event["id"])

    async with RouterProcess(platform, tmp_path) as router:
        publishing = asyncio.create_task(keep_publishing())
        await wait_for(lambda: len(confirmed) >= 20)

        await asyncio.to_thread(own_node.stop)
        await wait_for(lambda: has_status(router, "/readyz", 503))
        assert (await router.get("/livez"))[0] == 200
        checks = (await router.get("/readyz"))[1]["checks"]
        assert {check["ok"] for check in checks if check["name"].startswith("consumer:")} == {False}

        own_node.start()  # on this thread: the node ends with the one that started it
        await wait_for(router.is_ready)
        before = len(confirmed)
        await wait_for(lambda: len(confirmed) >= before + 20)
        stopping.set()
        await publishing
        await wait_for(lambda: ids_of(server).keys() >= set(confirmed))
        duplicated = [event_id for event_id, count in ids_of(server).items() if count > 1]

        # What was not confirmed may have been taken all the same, and is then delivered too.
        assert duplicated == []
        await wait_for(lambda: holds_no_message(platform, "cdr"))


async def has_status(router: RouterProcess, path: str, status: int) -> bool:
    return (await router.get(path))[0] == status


async def holds_no_message(platform: Platform, event_type: str) -> bool:
    return await platform.messages_ready(event_type) == 0


@pytest.mark.slow
async def test_router_that_is_stopped_while_the_broker_is_away_stops_clean_and_goes_on_later(
    fragile_platform: Platform, own_node: RabbitNode, tmp_path: Path, server: ScriptedServer
) -> None:
    account = fragile_platform.enable_account()
    fragile_platform.define_webhook(account, to=server.url)
    events = [make_event(account) for _ in range(50)]
    async with RouterProcess(fragile_platform, tmp_path) as router:
        declared = time.monotonic()
        await fragile_platform.publish(*events[:25])
        await all_delivered(router, account, 25)
        await wait_for(lambda: time.monotonic() > declared + QUORUM_QUEUE_SETTLES_SECONDS)
        own_node.kill()
        await wait_for(lambda: has_status(router, "/readyz", 503))
        await router.stop()
        await asyncio.to_thread(own_node.start)
        await router.start()
        await fragile_platform.publish(*events[25:])
        await all_delivered(router, account, 50)

    assert ids_of(server) == Counter(event["id"] for event in events)


@pytest.mark.parametrize("event_type", ["call", "cdr", "user"])
async def test_consumer_that_is_cancelled_by_the_server_consumes_again(
    event_type: str, platform: Platform, router: RouterProcess, account: str, server: ScriptedServer
) -> None:
    platform.define_webhook(account, to=server.url, event_type=event_type)
    await router.takes_up_definitions()
    await platform.drop_queue(event_type)

    async def is_declared_again() -> bool:
        try:
            await platform.messages_ready(event_type)
        except AMQPError:
            return False
        return True

    await wait_for(is_declared_again)
    await wait_for(router.is_ready)
    events = [make_event(account, event_type) for _ in range(5)]
    await platform.publish(*events)
    await all_delivered(router, account, 5)

    assert ids_of(server) == Counter(event["id"] for event in events)


async def test_connections_that_are_closed_by_the_server_are_opened_again(
    rabbit: Any, platform: Platform, router: RouterProcess, account: str, server: ScriptedServer
) -> None:
    if rabbit.node is None:
        pytest.fail("needs a broker that the tests may administer; run without a URL of one")
    platform.define_webhook(account, to=server.url)
    await router.takes_up_definitions()
    await asyncio.to_thread(rabbit.node.ctl, "close_all_connections", "maintenance")
    events = [make_event(account) for _ in range(5)]
    await platform.publish(*events)
    await all_delivered(router, account, 5)
    await wait_for(router.is_ready)

    assert ids_of(server) == Counter(event["id"] for event in events)


# --- the router ------------------------------------------------------------------------------------


async def test_events_that_are_published_while_no_router_runs_are_delivered_afterwards(
    own_platform: Platform, tmp_path: Path, server: ScriptedServer
) -> None:
    account = own_platform.enable_account()
    webhooks = {kind: own_platform.define_webhook(account, to=server.url, event_type=kind) for kind in ("cdr", "user")}
    events = [make_event(account, kind) for kind in webhooks for _ in range(30)]
    async with RouterProcess(own_platform, tmp_path) as router:
        await router.stop()
        await own_platform.publish(*events)
        await router.start()
        await all_delivered(router, account, 60)

    assert ids_of(server) == Counter(event["id"] for event in events)


async def test_a_webhook_that_is_deleted_or_resumed_while_no_router_runs_is_known_afterwards(
    own_platform: Platform, tmp_path: Path
) -> None:
    account = own_platform.enable_account()
    replies = [UNAVAILABLE]
    async with ScriptedServer(route=lambda _: replies[-1]) as server:
        deleted = own_platform.define_webhook(account, to=server.url)
        paused = own_platform.define_webhook(account, to=server.url, event_type="user")
        quick = str([0.2] * 50)
        async with RouterProcess(
            *(own_platform, tmp_path),
            ROUTER_DELIVERY__CDR__RETRY_DELAYS_SECONDS=quick,
            ROUTER_DELIVERY__USER__RETRY_DELAYS_SECONDS=quick,
        ) as router:
            await own_platform.publish(make_event(account), make_event(account, "user"))
            for webhook_id in (deleted, paused):
                await router.delivery(webhook_id=webhook_id, is_so=lambda each: each["attempt_count"] >= 1)
            own_platform.edit_webhook(paused, enabled=False)
            await router.takes_up_definitions()

            async def is_held() -> bool:
                return bool(own_platform.database.deliveries.find_one({"held": paused}))

            await wait_for(is_held)
            await router.stop()
            replies.append(answer(200))
            own_platform.delete_webhook(deleted)
            own_platform.edit_webhook(paused, enabled=True)
            await router.start()
            cancelled = await router.delivery(webhook_id=deleted)
            resumed = await router.delivery(webhook_id=paused)

    assert (cancelled["status"], cancelled["reason"]) == ("cancelled", "webhook_deleted")
    assert resumed["status"] == "delivered"


@pytest.mark.slow
async def test_what_was_pending_at_a_kill_goes_on_in_another_process(own_platform: Platform, tmp_path: Path) -> None:
    """A retry that was held in memory (`cdr`), one that rested in the store (`user`), attempts in flight (`call`)."""
    account = own_platform.enable_account()
    dead = asyncio.Event()

    async def fail_or_hang_until_the_kill(exchange: Exchange) -> None:
        if dead.is_set():
            await exchange.send(answer(200))
        elif exchange.request.header("x-webhook-event") == "call":
            await exchange.client_gone()
        else:
            await exchange.send(UNAVAILABLE)

    settings = {
        "ROUTER_DELIVERY__CALL__MAX_AGE_SECONDS": "none",
        "ROUTER_DELIVERY__CDR__RETRY_DELAYS_SECONDS": "[3, 60]",
        "ROUTER_DELIVERY__USER__RETRY_DELAYS_SECONDS": "[12, 60]",
    }
    async with ScriptedServer(route=lambda _: fail_or_hang_until_the_kill) as server:
        for kind in ("call", "cdr", "user"):
            own_platform.define_webhook(account, to=server.url, event_type=kind)
        calls = [make_event(account, "call") for _ in range(40)]
        async with RouterProcess(own_platform, tmp_path, **settings) as router:
            for kind in ("cdr", "user"):
                await own_platform.publish(make_event(account, kind))
                await router.delivery(
                    account_id=account, event_type=kind, is_so=lambda each: each["attempt_count"] == 1
                )
            await own_platform.publish(*calls)
            before = len(await server.received(12))
            await router.kill()
            dead.set()
            await router.start()
            deliveries = await all_delivered(router, account, 42)

    retried = [delivery for delivery in deliveries if delivery["event_type"] != "call"]
    assert len(retried) == 2
    for delivery in retried:
        assert [attempt["number"] for attempt in delivery["attempts"]] == [1, 2]
        mine = [each for each in server.requests if each.header("x-webhook-delivery") == delivery["id"]]
        assert [each.header("x-webhook-attempt") for each in mine] == ["1", "2"]
        assert mine[0].body == mine[1].body
        assert mine[0].header("webhook-id") == mine[1].header("webhook-id") == delivery["event_id"]
    # At least once: what was in flight comes twice, and everything comes.
    counts = ids_of(server)
    assert counts.keys() >= {event["id"] for event in calls}
    assert max(counts.values()) == 2
    assert sum(counts.values()) <= 42 + before + MAX_IN_FLIGHT_PER_WEBHOOK


async def test_an_event_that_is_redelivered_after_a_kill_is_delivered_once(
    own_platform: Platform, tmp_path: Path, server: ScriptedServer
) -> None:
    """A crash between storing and the ack brings the very message again; publishing it twice looks the same."""
    account = own_platform.enable_account()
    own_platform.define_webhook(account, to=server.url)
    event, last = make_event(account), make_event(account)
    async with RouterProcess(own_platform, tmp_path) as router:
        await own_platform.publish(event)
        await all_delivered(router, account, 1)
        await router.kill()
        await own_platform.publish(event, event)
        await own_platform.publish(last)
        await router.start()
        await all_delivered(router, account, 2)

    assert ids_of(server) == Counter([event["id"], last["id"]])


async def test_two_routers_share_the_work_and_double_nothing(own_platform: Platform, tmp_path: Path) -> None:
    account = own_platform.enable_account()
    # Every delivery fails once, so that retries are shared too, and those that are due in the store are raced for.
    seen: set[str | None] = set()

    def first_no_then_yes(request: Any) -> bytes:
        first = request.header("webhook-id") not in seen
        seen.add(request.header("webhook-id"))
        return UNAVAILABLE if first else answer(200)

    settings = {"ROUTER_DELIVERY__USER__RETRY_DELAYS_SECONDS": "[5.5, 5.5]"}
    async with ScriptedServer(route=first_no_then_yes) as server:
        for kind in ("cdr", "user"):
            own_platform.define_webhook(account, to=server.url, event_type=kind)
        events = [make_event(account, kind) for kind in ("cdr", "user") for _ in range(100)]
        async with (
            RouterProcess(own_platform, tmp_path, **settings) as one,
            RouterProcess(own_platform, tmp_path, **settings) as two,
        ):
            await own_platform.publish(*events)
            deliveries = await all_delivered(one, account, 200)
            works = [[line for line in router.log.splitlines() if '"attempt"' in line] for router in (one, two)]

    assert ids_of(server) == Counter({event["id"]: 2 for event in events})
    assert {delivery["attempt_count"] for delivery in deliveries} == {2}
    assert all(works), "one of the two had nothing to do"


async def test_two_worker_processes_of_one_router_double_nothing(
    own_platform: Platform, tmp_path: Path, server: ScriptedServer
) -> None:
    account = own_platform.enable_account()
    own_platform.define_webhook(account, to=server.url)
    events = [make_event(account) for _ in range(100)]
    async with RouterProcess(own_platform, tmp_path, arguments=("serve", "--workers", "2")) as router:
        await own_platform.publish(*events)
        await all_delivered(router, account, 100)

    assert ids_of(server) == Counter(event["id"] for event in events)


@pytest.mark.slow
async def test_router_that_slept_too_long_records_nothing_over_its_successor(
    own_platform: Platform, tmp_path: Path
) -> None:
    """A worker that was stopped (SIGSTOP) past its lease, with an attempt in flight."""
    account = own_platform.enable_account()
    awake = asyncio.Event()
    held: list[Exchange] = []

    async def hold_the_first(exchange: Exchange) -> None:
        if not held:
            held.append(exchange)
            await awake.wait()
            await exchange.send(answer(500))
        else:
            await exchange.send(answer(200))

    settings = {"ROUTER_DELIVERY__CDR__TIMEOUT_SECONDS": "60"}
    async with ScriptedServer(route=lambda _: hold_the_first) as server:
        own_platform.define_webhook(account, to=server.url)
        async with RouterProcess(own_platform, tmp_path, **settings) as sleeper:
            event = make_event(account)
            await own_platform.publish(event)
            await server.received(1)
            sleeper.pause()
            async with RouterProcess(own_platform, tmp_path, **settings) as successor:
                delivery = await successor.delivery(event_id=event["id"])
                awake.set()
                sleeper.go_on()
                await wait_for(lambda: '"result_lost"' in sleeper.log)
                after = await successor.delivery(event_id=event["id"])

    assert delivery["status"] == "delivered"
    assert after == delivery
    assert len(server.requests) == 2


# --- the store -------------------------------------------------------------------------------------


@pytest.mark.slow
async def test_store_that_is_killed_while_events_flow_loses_nothing(rabbit: Broker, tmp_path: Path) -> None:
    """The router waits for it and turns nothing away."""
    store = await EmbeddedStore.open(tmp_path)
    replies = [UNAVAILABLE]
    with pymongo.MongoClient[dict[str, object]](store.url, tz_aware=True) as client:
        platform = Platform(amqp_url=rabbit.url, mongo_url=store.url, database=client[unique("test_")])
        account = platform.enable_account()
        settings = {"ROUTER_DELIVERY__USER__RETRY_DELAYS_SECONDS": str([1] * 50)}
        async with ScriptedServer(
            route=lambda request: answer(200) if request.header("x-webhook-event") == "cdr" else replies[-1]
        ) as server:
            for kind in ("cdr", "user"):
                platform.define_webhook(account, to=server.url, event_type=kind)
            events = [make_event(account) for _ in range(90)]
            retried = make_event(account, "user")
            async with RouterProcess(platform, tmp_path, **settings) as router:
                await platform.publish(*events[:30], retried)
                await server.received(10)
                assert store._server is not None
                store._server.kill()
                await store.close()
                await platform.publish(*events[30:60])
                await wait_for(lambda: has_status(router, "/readyz", 503))
                assert (await router.get("/livez"))[0] == 200
                store = await EmbeddedStore.open(tmp_path)
                await wait_for(router.is_ready)
                await platform.publish(*events[60:])
                replies.append(answer(200))
                await all_delivered(router, account, 91)
                letters = await router.api("/v1/dead-letters")
        await platform.close()
    await store.close()

    assert letters["items"] == []
    counts = ids_of(server)
    assert counts.pop(retried["id"]) >= 2
    assert counts == Counter(event["id"] for event in events)


async def test_duplicates_in_one_batch_are_one_delivery_with_one_body(
    platform: Platform, router: RouterProcess, account: str
) -> None:
    """The same id with other bytes is the same event: the first bytes count, on every attempt."""
    async with ScriptedServer(UNAVAILABLE, UNAVAILABLE, answer(200)) as server:
        platform.define_webhook(account, to=server.url)
        await router.takes_up_definitions()
        event = make_event(account)
        variants: Sequence[bytes] = [encode({**event, "version": str(number)}) for number in range(20)]
        await publish_in_one_go(platform, variants)
        delivery = await router.delivery(event_id=event["id"])

    bodies = {request.body for request in server.requests}
    assert len(bodies) == 1
    assert delivery["payload"].encode() in bodies
    assert bodies <= {variants[0]}
    assert delivery["attempt_count"] == len(server.requests) == 3


async def publish_in_one_go(platform: Platform, bodies: Sequence[bytes]) -> None:
    async with await aio_pika.connect(platform.amqp_url) as connection:
        channel = await connection.channel(publisher_confirms=False)
        exchange = await channel.get_exchange(platform.exchange("cdr"), ensure=False)
        for body in bodies:
            await exchange.publish(aio_pika.Message(body), "cdr.created")
