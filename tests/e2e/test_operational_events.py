"""What the router says beside its log: a queue on its exchange hears of suspensions, recoveries and final failures."""

from __future__ import annotations

import asyncio
import json
from collections import Counter
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import aio_pika
import pymongo
import pytest
import pytest_asyncio

from router.adapters.embedded.broker import RabbitNode
from tests.support.events import make_event
from tests.support.http_server import Exchange, ScriptedServer, answer
from tests.support.router_process import Platform, RouterProcess, wait_for
from tests.support.servers import unique

GONE = answer(410)
ANNOUNCED_AFTER_A_CRASH_SECONDS = 100
"""What a dead worker left behind is anybody's after 30 s, and is looked for every 30 s."""


class Listener:
    """A queue on the exchange, and what it has heard so far."""

    def __init__(self, queue: Any) -> None:
        self._queue = queue
        self.heard: list[dict[str, Any]] = []

    async def hears(self, key: str, *, within_seconds: float = 60, **fields: Any) -> dict[str, Any]:
        """The first event with that key and those fields, once it is there."""

        async def found() -> dict[str, Any] | None:
            while (message := await self._queue.get(no_ack=True, fail=False)) is not None:
                self.heard.append(json.loads(message.body))
            wanted = {"type": key, **fields}.items()
            return next((event for event in self.heard if wanted <= event.items()), None)

        event = await wait_for(found, within_seconds=within_seconds)
        assert event is not None
        return event

    def counts(self, **fields: Any) -> Counter[str]:
        """How often each key came with those fields."""
        return Counter(event["type"] for event in self.heard if fields.items() <= event.items())


@asynccontextmanager
async def listening(platform: Platform) -> AsyncIterator[Listener]:
    async with await aio_pika.connect(platform.amqp_url) as connection:
        queue = await (await connection.channel()).declare_queue(exclusive=True)
        await queue.bind(platform.events_exchange, "#")
        yield Listener(queue)


@pytest_asyncio.fixture
async def fragile_platform(
    own_rabbit: RabbitNode, mongo_url: str, mongo_client: pymongo.MongoClient[dict[str, object]]
) -> AsyncIterator[Platform]:
    """On a broker that the test may administer."""
    platform = Platform(amqp_url=own_rabbit.url, mongo_url=mongo_url, database=mongo_client[unique("test_")])
    yield platform
    await platform.close()


def unpublished(platform: Platform) -> int:
    waiting = {"announce": {"$exists": True}}
    return sum(platform.database[name].count_documents(waiting) for name in ("webhook_health", "deliveries"))


async def test_a_suspension_its_end_and_the_deliveries_that_failed_are_told_once_each(
    platform: Platform, router: RouterProcess, account: str
) -> None:
    answers = [GONE]
    async with listening(platform) as listener, ScriptedServer(route=lambda _: answers[-1]) as server:
        webhook_id = platform.define_webhook(account, to=server.url)
        await router.takes_up_definitions()
        await platform.publish(*(make_event(account) for _ in range(10)))
        suspended = await listener.hears("webhook.suspended", webhook_id=webhook_id)

        assert (suspended["account_id"], suspended["reason"]) == (account, "gone")
        await wait_for(lambda: platform.database.deliveries.count_documents({"account_id": account}) == 10)
        await wait_for(
            lambda: not platform.database.deliveries.count_documents({"account_id": account, "status": "pending"})
        )

        answers.append(answer(200))
        await router.command("webhooks", "resume", webhook_id)
        await router.takes_up_definitions()
        assert (await router.webhook(webhook_id))["state"] == "active"
        await platform.publish(make_event(account))
        recovered = await listener.hears("webhook.recovered", webhook_id=webhook_id)

    assert (recovered["reason"], recovered["since"]) == ("suspended", suspended["occurred_at"])
    gone = platform.database.deliveries.count_documents({"account_id": account, "reason": "gone"})
    assert gone >= 1
    expected = {"webhook.suspended": 1, "webhook.recovered": 1, "delivery.failed": gone}
    assert listener.counts(account_id=account) == expected
    assert len({event["id"] for event in listener.heard}) == len(listener.heard)
    await wait_for(lambda: unpublished(platform) == 0)


async def test_an_exhausted_delivery_is_told_with_what_finds_it_and_nothing_of_the_customer(
    platform: Platform, router: RouterProcess, account: str
) -> None:
    async with listening(platform) as listener, ScriptedServer(answer(500, b"a secret of the CRM")) as server:
        webhook_id = platform.define_webhook(account, to=server.url)
        await router.takes_up_definitions()
        event = make_event(account)
        await platform.publish(event)
        told = await listener.hears("delivery.failed", webhook_id=webhook_id)
        delivery = await router.delivery(event_id=event["id"])

    assert told == {
        "id": told["id"],
        "type": "delivery.failed",
        "occurred_at": delivery["completed_at"],
        "account_id": account,
        "webhook_id": webhook_id,
        "delivery_id": delivery["id"],
        "event_id": event["id"],
        "event_type": "cdr",
        "event_name": delivery["event_name"],
        "call_id": delivery["call_id"],
        "user_id": delivery["user_id"],
        "reason": "exhausted",
        "attempt_count": 3,
        "status_code": 500,
        "error": "http_status",
    }
    private = [*platform.private, "a secret of the CRM", "127.0.0.1"]
    assert [word for word in private if word in json.dumps(told)] == []
    page = (await router.get("/metrics"))[1]
    assert 'webhook_router_operational_events_total{key="delivery.failed"}' in page
    assert "webhook_router_amqp_blocked 0.0" in page


async def test_switched_off_nothing_is_announced_and_nothing_waits_for_it(
    own_platform: Platform, tmp_path: Path
) -> None:
    platform, account = own_platform, own_platform.enable_account()
    async with (
        ScriptedServer(GONE) as server,
        RouterProcess(platform, tmp_path, ROUTER_AMQP__EVENTS_EXCHANGE="none") as router,
    ):
        webhook_id = platform.define_webhook(account, to=server.url)
        await router.takes_up_definitions()
        await platform.publish(make_event(account))
        await wait_for(lambda: platform.database.webhook_health.count_documents({"suspended_reason": "gone"}))

    assert platform.database.deliveries.count_documents({"webhook_id": webhook_id, "reason": "gone"}) == 1
    assert unpublished(platform) == 0


async def test_what_ends_during_the_shutdown_is_told_before_it_is_over(own_platform: Platform, tmp_path: Path) -> None:
    platform, account = own_platform, own_platform.enable_account()
    stopping = asyncio.Event()

    async def gone_at_the_end(exchange: Exchange) -> None:
        await stopping.wait()
        await exchange.send(GONE)

    async with ScriptedServer(gone_at_the_end) as server, RouterProcess(platform, tmp_path) as router:
        webhook_id = platform.define_webhook(account, to=server.url)
        await router.takes_up_definitions()
        async with listening(platform) as listener:
            await platform.publish(make_event(account))
            await server.received(1)
            router.terminate()
            await wait_for(lambda: '"stopping"' in router.log)
            stopping.set()
            assert await router.ended(within_seconds=45) == 0

            await listener.hears("webhook.suspended", webhook_id=webhook_id)
            await listener.hears("delivery.failed", webhook_id=webhook_id)
    assert unpublished(platform) == 0


@pytest.mark.slow
async def test_a_crash_between_recording_and_publishing_loses_no_event(
    fragile_platform: Platform, own_rabbit: RabbitNode, tmp_path: Path
) -> None:
    platform, account = fragile_platform, fragile_platform.enable_account()
    # The exchange may be declared, but nothing published to it: whatever is recorded stays in the outbox.
    own_rabbit.ctl("set_permissions", "guest", ".*", f"^(?!{platform.events_exchange}$).*", ".*")
    async with ScriptedServer(GONE) as server, RouterProcess(platform, tmp_path) as router:
        webhook_id = platform.define_webhook(account, to=server.url)
        await router.takes_up_definitions()
        async with listening(platform) as listener:
            await platform.publish(make_event(account))
            await wait_for(lambda: unpublished(platform) == 2)
            await wait_for(lambda: "announcements_unavailable" in router.log)
            await router.kill()
            own_rabbit.ctl("set_permissions", "guest", ".*", ".*", ".*")
            await router.start()

            for key in ("webhook.suspended", "delivery.failed"):
                await listener.hears(key, webhook_id=webhook_id, within_seconds=ANNOUNCED_AFTER_A_CRASH_SECONDS)

    assert listener.counts() == {"webhook.suspended": 1, "delivery.failed": 1}
    assert unpublished(platform) == 0


@pytest.mark.slow
async def test_a_memory_alarm_of_the_broker_delays_what_is_told_and_no_delivery(
    fragile_platform: Platform, own_rabbit: RabbitNode, tmp_path: Path
) -> None:
    platform, account = fragile_platform, fragile_platform.enable_account()
    alarm = asyncio.Event()

    async def gone_once_there_is_an_alarm(exchange: Exchange) -> None:
        await alarm.wait()
        await exchange.send(GONE)

    async with (
        ScriptedServer(gone_once_there_is_an_alarm) as server,
        RouterProcess(platform, tmp_path) as router,
        listening(platform) as listener,
    ):
        webhook_id = platform.define_webhook(account, to=server.url)
        await router.takes_up_definitions()
        await platform.publish(*(make_event(account) for _ in range(3)))
        await server.received(3)
        own_rabbit.ctl("set_vm_memory_high_watermark", "0.0001")
        alarm.set()

        # Everything is recorded, and the queues are consumed as before.
        await wait_for(lambda: platform.database.deliveries.count_documents({"reason": "gone"}) == 3)
        await wait_for(lambda: platform.database.webhook_health.count_documents({"suspended_reason": "gone"}) == 1)
        assert await router.is_ready()

        async def is_blocked() -> bool:
            return "webhook_router_amqp_blocked 1.0" in (await router.get("/metrics"))[1]

        await wait_for(is_blocked)
        own_rabbit.ctl("set_vm_memory_high_watermark", "0.4")
        await wait_for(lambda: unpublished(platform) == 0)
        await listener.hears("webhook.suspended", webhook_id=webhook_id)
        assert not await is_blocked()

    # One that was under way when the alarm came may be told twice, with the same id.
    ids = {event["id"]: event["type"] for event in listener.heard}
    assert Counter(ids.values()) == {"webhook.suspended": 1, "delivery.failed": 3}
