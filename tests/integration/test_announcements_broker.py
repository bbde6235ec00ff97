"""Operational events on the real broker: confirmed, once it is there again, and never stuck while it is not."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from datetime import UTC, datetime, timedelta
from typing import Any
from urllib.parse import urlsplit

import aio_pika
import pytest
import pytest_asyncio

from router.adapters.embedded.broker import RabbitNode
from router.adapters.rabbitmq import announcements as module
from router.adapters.rabbitmq.announcements import RabbitAnnouncements
from router.adapters.rabbitmq.config import BrokerConfig
from router.domain.announcement import Announcement, AnnouncementKey, RecoveredFrom
from router.domain.webhook import SuspensionReason
from router.ports import Published
from tests.support.fakes_announcing import delivery_failed, webhook_announcement
from tests.support.router_process import wait_for
from tests.support.servers import Broker

AT = datetime(2031, 1, 1, 12, 0, 0, 123_000, tzinfo=UTC)


@asynccontextmanager
async def announcing(
    url: str, exchange: str, *, connect_timeout_seconds: float = 10
) -> AsyncIterator[RabbitAnnouncements]:
    broker = BrokerConfig(url=url, heartbeat_seconds=20, connect_timeout_seconds=connect_timeout_seconds)
    announcements = RabbitAnnouncements(broker, exchange)
    yield announcements
    await announcements.close()


@pytest_asyncio.fixture
async def announcements(rabbit: Broker, names: str) -> AsyncIterator[RabbitAnnouncements]:
    async with announcing(rabbit.url, f"{names}webhook-router") as found:
        yield found
    async with await aio_pika.connect(rabbit.url) as connection:
        await (await connection.channel()).exchange_delete(f"{names}webhook-router")


@asynccontextmanager
async def bound_queue(url: str, exchange: str, key: str = "#") -> AsyncIterator[Any]:
    """A queue of a consumer that wants to know."""
    async with await aio_pika.connect(url) as connection:
        queue = await (await connection.channel()).declare_queue(exclusive=True)
        await queue.bind(exchange, key)
        yield queue


async def taken(queue: Any) -> Any:
    return await wait_for(lambda: queue.get(no_ack=True, fail=False), within_seconds=20)


def wholly(announcements: list[Announcement]) -> Published:
    return Published(confirmed=announcements)


# --- the message -----------------------------------------------------------------------------------


async def test_a_failed_delivery_arrives_with_all_its_fields_and_properties(
    announcements: RabbitAnnouncements, rabbit: Broker, names: str
) -> None:
    failed = delivery_failed("dlv_1", occurred_at=AT, event_name="appel.terminé")
    assert await announcements.publish([]) == wholly([])
    async with bound_queue(rabbit.url, f"{names}webhook-router") as queue:
        assert await announcements.publish([failed]) == wholly([failed])
        message = await taken(queue)

    assert message.routing_key == message.type == "delivery.failed"
    assert (message.message_id, message.app_id, message.content_type) == (
        failed.id,
        "webhook-router",
        "application/json",
    )
    assert message.delivery_mode == aio_pika.DeliveryMode.PERSISTENT
    assert message.timestamp == AT.replace(microsecond=0)
    assert json.loads(message.body) == {
        "id": failed.id,
        "type": "delivery.failed",
        "occurred_at": "2031-01-01T12:00:00.123Z",
        "account_id": "1042",
        "webhook_id": "wh_1",
        "delivery_id": "dlv_1",
        "event_id": "evt_1",
        "event_type": "cdr",
        "event_name": "appel.terminé",
        "call_id": "c-1",
        "user_id": None,
        "reason": "exhausted",
        "attempt_count": 3,
        "status_code": 503,
        "error": "http_status",
    }


@pytest.mark.parametrize(
    ("key", "reason"),
    [
        (AnnouncementKey.WEBHOOK_SUSPENDED, SuspensionReason.GONE),
        (AnnouncementKey.WEBHOOK_RECOVERED, RecoveredFrom.SUSPENDED),
    ],
)
async def test_a_webhook_is_told_by_its_key_to_whom_wants_that_key(
    announcements: RabbitAnnouncements,
    rabbit: Broker,
    names: str,
    key: AnnouncementKey,
    reason: SuspensionReason | RecoveredFrom,
) -> None:
    told = webhook_announcement("wh_1", key, reason, at=AT, since=AT - timedelta(days=5))
    await announcements.publish([])
    async with bound_queue(rabbit.url, f"{names}webhook-router", key) as queue:
        assert (await announcements.publish([delivery_failed("dlv_1"), told])).problem is None
        message = await taken(queue)

    assert message.routing_key == key
    assert json.loads(message.body) == {
        "id": told.id,
        "type": key,
        "occurred_at": "2031-01-01T12:00:00.123Z",
        "account_id": "1042",
        "webhook_id": "wh_1",
        "reason": reason,
        "since": "2030-12-27T12:00:00.123Z",
    }


# --- the exchange ----------------------------------------------------------------------------------


async def test_an_exchange_that_nobody_is_bound_to_takes_everything(announcements: RabbitAnnouncements) -> None:
    batch: list[Announcement] = [delivery_failed(f"dlv_{number}") for number in range(100)]

    assert await announcements.publish(batch) == wholly(batch)


async def test_an_exchange_that_is_deleted_is_made_again(
    announcements: RabbitAnnouncements, rabbit: Broker, names: str
) -> None:
    await announcements.publish([delivery_failed("dlv_1")])
    async with await aio_pika.connect(rabbit.url) as connection:
        await (await connection.channel()).exchange_delete(f"{names}webhook-router")
    batch: list[Announcement] = [delivery_failed("dlv_2"), delivery_failed("dlv_3")]

    assert await announcements.publish(batch) == wholly(batch)

    async with bound_queue(rabbit.url, f"{names}webhook-router"):
        pass  # it is there


async def test_an_exchange_that_is_there_is_taken_as_its_owner_made_it(rabbit: Broker, names: str) -> None:
    async with await aio_pika.connect(rabbit.url) as connection:
        channel = await connection.channel()
        await channel.declare_exchange(f"{names}own", aio_pika.ExchangeType.FANOUT, durable=False, auto_delete=True)
        async with announcing(rabbit.url, f"{names}own") as announcements, bound_queue(rabbit.url, f"{names}own") as q:
            failed = delivery_failed("dlv_1")
            assert await announcements.publish([failed]) == wholly([failed])
            assert (await taken(q)).message_id == failed.id


# --- a broker that is away, or blocks --------------------------------------------------------------


async def test_what_cannot_be_reached_is_a_problem_and_no_exception() -> None:
    async with announcing("amqp://guest:guest@127.0.0.1:9/", "webhook-router") as announcements:
        published = await announcements.publish([delivery_failed("dlv_1")])

    assert list(published.confirmed) == []
    assert published.problem is not None
    assert "cannot be reached" in published.problem
    assert "guest" not in published.problem


async def test_a_user_without_access_is_told_what_to_grant(own_rabbit: RabbitNode) -> None:
    own_rabbit.ctl("set_permissions", "guest", "nothing", "nothing", ".*")
    async with announcing(own_rabbit.url, "webhook-router") as announcements:
        published = await announcements.publish([delivery_failed("dlv_1")])
        assert published.problem is not None
        assert "configure and write permissions" in published.problem

        own_rabbit.ctl("set_permissions", "guest", ".*", ".*", ".*")
        assert (await announcements.publish([delivery_failed("dlv_1")])).problem is None

        # The broker looks at what it has granted when a channel is new.
        own_rabbit.ctl("set_permissions", "guest", ".*", "nothing", ".*")
        await announcements.close()
        published = await announcements.publish([delivery_failed("dlv_1")])
        assert published.problem is not None
        assert "configure and write permissions" in published.problem


async def test_a_broker_that_was_killed_takes_the_rest_when_it_is_back(own_rabbit: RabbitNode) -> None:
    async with announcing(own_rabbit.url, "webhook-router") as announcements:
        first, second = delivery_failed("dlv_1"), delivery_failed("dlv_2")
        assert await announcements.publish([first]) == wholly([first])

        own_rabbit.kill()
        published = await announcements.publish([second])
        assert (list(published.confirmed), published.problem is None) == ([], False)

        own_rabbit.start()
        assert await announcements.publish([second]) == wholly([second])


async def test_an_alarm_blocks_what_is_published_until_it_is_over(
    own_rabbit: RabbitNode, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "CONFIRM_TIMEOUT_SECONDS", 2.0)
    async with announcing(own_rabbit.url, "webhook-router") as announcements:
        await announcements.publish([])
        async with bound_queue(own_rabbit.url, "webhook-router") as queue:
            own_rabbit.ctl("set_vm_memory_high_watermark", "0.0001")

            async def problem() -> str | None:
                return (await announcements.publish([delivery_failed("dlv_1")])).problem

            # The broker lets a publisher know with its first message, and that one may still come through.
            assert "alarm" in (await wait_for(problem) or "")
            await wait_for(lambda: announcements.is_blocked)
            assert "alarm" in (await problem() or ""), "and at once, without adding to what the socket holds"

            own_rabbit.ctl("set_vm_memory_high_watermark", "0.4")
            await wait_for(lambda: not announcements.is_blocked)
            last = delivery_failed("dlv_last")
            assert await announcements.publish([last]) == wholly([last])
            while (await taken(queue)).message_id != last.id:
                continue


async def test_what_the_broker_refuses_is_not_confirmed_and_the_rest_is(
    announcements: RabbitAnnouncements, rabbit: Broker, names: str
) -> None:
    """A full queue that refuses is how a broker says no to a publisher."""
    await announcements.publish([])
    async with await aio_pika.connect(rabbit.url) as connection:
        full: dict[str, Any] = {"x-max-length": 1, "x-overflow": "reject-publish"}
        queue = await (await connection.channel()).declare_queue(exclusive=True, arguments=full)
        await queue.bind(f"{names}webhook-router", "delivery.failed")
        await announcements.publish([delivery_failed("dlv_first")])
        refused, told = delivery_failed("dlv_1"), webhook_announcement()

        published = await announcements.publish([refused, told])

        assert list(published.confirmed) == [told]
        assert published.problem == "RabbitMQ refused a message (nack)"
        await queue.purge()
        assert await announcements.publish([refused]) == wholly([refused])


async def test_a_broker_that_answers_nothing_is_given_up_in_time() -> None:
    async def say_nothing(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.read()
        writer.close()

    async with await asyncio.start_server(say_nothing, "127.0.0.1") as server:
        port = server.sockets[0].getsockname()[1]
        broker = BrokerConfig(
            url=f"amqp://guest:guest@127.0.0.1:{port}/", heartbeat_seconds=20, connect_timeout_seconds=0.3
        )
        async with asyncio.timeout(30):
            published = await RabbitAnnouncements(broker, "webhook-router").publish([delivery_failed("dlv_1")])

    assert (list(published.confirmed), published.problem is None) == ([], False)


async def test_confirms_that_are_lost_on_the_way_leave_the_batch_unconfirmed(
    rabbit: Broker, names: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "CONFIRM_TIMEOUT_SECONDS", 0.5)
    async with (
        deaf_proxy(rabbit.url) as (url, deafen),
        announcing(url, f"{names}deaf", connect_timeout_seconds=2) as announcements,
    ):
        assert (await announcements.publish([])).problem is None
        async with bound_queue(rabbit.url, f"{names}deaf") as queue:
            deafen()
            failed = delivery_failed("dlv_1")
            published = await announcements.publish([failed])

            # The broker has it, and nobody knows.
            assert (list(published.confirmed), published.problem is None) == ([], False)
            assert (await taken(queue)).message_id == failed.id
    async with await aio_pika.connect(rabbit.url) as connection:
        await (await connection.channel()).exchange_delete(f"{names}deaf")


@asynccontextmanager
async def deaf_proxy(url: str) -> AsyncIterator[tuple[str, Callable[[], None]]]:
    """Another URL of a broker, and what makes everything that it says from then on vanish."""
    target = urlsplit(url)
    is_deaf = asyncio.Event()
    pipes: set[asyncio.Task[None]] = set()

    async def pipe(source: asyncio.StreamReader, sink: asyncio.StreamWriter, *, mutes: bool) -> None:
        try:
            while data := await source.read(65_536):
                if not (mutes and is_deaf.is_set()):
                    sink.write(data)
        finally:
            sink.close()

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        back_reader, back_writer = await asyncio.open_connection(target.hostname, target.port)
        for each in (pipe(reader, back_writer, mutes=False), pipe(back_reader, writer, mutes=True)):
            task = asyncio.create_task(each)
            pipes.add(task)
            task.add_done_callback(pipes.discard)

    server = await asyncio.start_server(serve, "127.0.0.1")
    port = server.sockets[0].getsockname()[1]
    try:
        yield url.replace(f":{target.port}", f":{port}"), is_deaf.set
    finally:
        server.close()
        for task in list(pipes):
            task.cancel()
        await asyncio.gather(*pipes, return_exceptions=True)
