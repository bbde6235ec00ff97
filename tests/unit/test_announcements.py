"""When operational events are published, what an outage of the broker changes, and what is announced at all."""

from __future__ import annotations

import asyncio
import json
import re
from collections.abc import Callable
from datetime import timedelta
from pathlib import Path

import pytest
from structlog.testing import capture_logs

from router.adapters.rabbitmq.announcements import message_of
from router.application.announcements import MAX_BATCH, MAX_PAUSE_SECONDS, PATROL_SECONDS, Announcer
from router.domain.announcement import LEFT_BEHIND, AnnouncementKey, announcement_id, is_announced
from router.domain.delivery import DeliveryReason, DeliveryStatus
from router.domain.retry import End
from router.telemetry.metrics import Metrics
from tests.support.fakes_announcing import FakeAnnouncements, FakeOutbox, delivery_failed, webhook_announcement
from tests.support.fakes_delivery import no_jitter


class World:
    """An announcer over fakes."""

    def __init__(self) -> None:
        self.outbox, self.broker, self.metrics = FakeOutbox(), FakeAnnouncements(), Metrics("test")
        self.announcer = Announcer(self.outbox, self.broker, self.metrics, no_jitter)

    def put(self, count: int = 1) -> None:
        for _ in range(count):
            self.outbox.put(delivery_failed(f"dlv_{len(self.outbox.entries)}"))
            self.announcer.poke()

    def count(self, key: str) -> float:
        labels = {"key": key}
        return self.metrics.registry.get_sample_value("webhook_router_operational_events_total", labels) or 0


async def until(condition: Callable[[], bool]) -> None:
    """Let other tasks run until something is so."""
    async with asyncio.timeout(30):
        while not condition():
            await asyncio.sleep(0)


# --- publishing ------------------------------------------------------------------------------------


async def test_what_is_confirmed_leaves_the_outbox_and_is_counted_by_its_key() -> None:
    world = World()
    world.put()
    world.outbox.put(webhook_announcement())

    await world.announcer.turn()

    assert world.outbox.entries == []
    assert [each.key for each in world.broker.sent] == ["delivery.failed", "webhook.suspended"]
    assert (world.count("delivery.failed"), world.count("webhook.suspended")) == (1, 1)
    assert world.announcer.waiting == 0


async def test_many_are_published_in_batches() -> None:
    world = World()
    world.put(2 * MAX_BATCH + 1)

    await world.announcer.turn()

    assert world.broker.batches == [MAX_BATCH, MAX_BATCH, 1]
    assert world.outbox.entries == []


async def test_an_empty_outbox_still_makes_the_exchange() -> None:
    world = World()

    await world.announcer.turn()

    assert world.broker.batches == [0]


async def test_what_another_worker_left_behind_is_published_by_a_patrol() -> None:
    world = World()
    world.outbox.put(delivery_failed("dlv_1"), by="worker-2")

    await world.announcer.turn()
    assert world.broker.sent == []
    world.outbox.clock.moment += LEFT_BEHIND + timedelta(seconds=1)
    await world.announcer.turn()

    assert len(world.broker.sent) == 1


async def test_a_poke_is_followed_by_a_turn_and_a_stop_by_a_last_one() -> None:
    world = World()
    running = asyncio.create_task(world.announcer.run())
    await until(lambda: world.outbox.looks == 1)

    world.put()
    await until(lambda: len(world.broker.sent) == 1)
    world.outbox.put(delivery_failed("dlv_late"))
    world.announcer.stop()
    await running

    assert len(world.broker.sent) == 2


async def test_what_comes_into_the_outbox_during_the_last_turn_but_one_is_not_left_there() -> None:
    world = World()
    world.put()
    late = [delivery_failed("dlv_late")]

    def meanwhile() -> None:
        if late:
            world.outbox.put(late.pop())
            world.announcer.poke()
            world.announcer.stop()

    world.broker.on_publish = meanwhile  # type: ignore[method-assign]

    await world.announcer.run()

    assert [each.id for each in world.broker.sent][1:] == [delivery_failed("dlv_late").id]


# --- a broker that is away -------------------------------------------------------------------------


async def test_what_is_not_confirmed_stays_in_the_outbox_and_is_not_counted() -> None:
    world = World()
    world.put(3)
    world.broker.problem, world.broker.confirms = "away", 1

    await world.announcer.turn()

    assert len(world.outbox.entries) == world.announcer.waiting == 2
    assert world.count("delivery.failed") == 1
    assert world.broker.batches == [3], "it does not go on with the next batch"


async def test_an_outage_is_told_once_and_so_is_its_end() -> None:
    world = World()
    world.broker.problem = "RabbitMQ cannot be reached"
    with capture_logs() as lines:
        for _ in range(5):
            world.put()
            await world.announcer.turn()
        world.broker.problem = None
        await world.announcer.turn()
        await world.announcer.turn()

    assert [line["event"] for line in lines] == ["announcements_unavailable", "announcements_resumed"]
    assert (lines[0]["error"], lines[0]["waiting"]) == ("RabbitMQ cannot be reached", 1)
    assert world.outbox.entries == []


async def test_pauses_grow_to_a_limit_and_end_with_the_outage() -> None:
    world = World()
    assert world.announcer.pause_seconds == PATROL_SECONDS
    world.broker.problem = "away"
    pauses = []
    for _ in range(8):
        await world.announcer.turn()
        pauses.append(world.announcer.pause_seconds)

    assert pauses[:4] == pytest.approx([0.5, 1, 2, 4])
    assert pauses[5:] == pytest.approx([MAX_PAUSE_SECONDS] * 3)
    world.broker.problem = None
    await world.announcer.turn()
    assert world.announcer.pause_seconds == PATROL_SECONDS


async def test_news_during_an_outage_are_no_reason_for_haste_and_a_stop_does_not_wait_for_the_broker() -> None:
    world = World()
    world.broker.problem = "away"
    running = asyncio.create_task(world.announcer.run())
    await until(lambda: world.outbox.looks == 1)

    world.put(10)
    for _ in range(100):
        await asyncio.sleep(0)
    looks = world.outbox.looks
    world.announcer.stop()
    await running

    assert looks == world.outbox.looks == 1
    assert (len(world.outbox.entries), world.announcer.waiting) == (10, 10)


async def test_an_outbox_that_raises_does_not_end_the_service() -> None:
    world = World()
    world.outbox.fails = True
    with capture_logs() as lines:
        await world.announcer.turn()
    assert [line["event"] for line in lines] == ["announcing_raised"]
    assert world.announcer.pause_seconds < PATROL_SECONDS

    world.outbox.fails = False
    world.put()
    await world.announcer.turn()

    assert len(world.broker.sent) == 1


# --- what is announced -----------------------------------------------------------------------------


@pytest.mark.parametrize("status", list(DeliveryStatus))
@pytest.mark.parametrize("reason", [None, *DeliveryReason])
def test_only_failures_that_no_suspension_explains_are_announced(
    status: DeliveryStatus, reason: DeliveryReason | None
) -> None:
    expected = status is DeliveryStatus.FAILED and reason is not DeliveryReason.SUSPENDED
    assert is_announced(End(status=status, reason=reason)) is expected


def test_ids_are_stable_short_and_differ_with_each_part() -> None:
    key, other = AnnouncementKey.WEBHOOK_SUSPENDED, AnnouncementKey.WEBHOOK_RECOVERED
    ids = [
        announcement_id(key, "wh_1", "1"),
        announcement_id(key, "wh_1", "2"),
        announcement_id(key, "wh_2", "1"),
        announcement_id(other, "wh_1", "1"),
        announcement_id(key, "é" * 1000, "1"),
    ]
    assert len(set(ids)) == len(ids)
    assert all(len(identity) == 36 for identity in ids)
    assert announcement_id(key, "wh_1", "1") == ids[0]


# --- the page that promises it ---------------------------------------------------------------------

PAGE = (Path(__file__).parents[2] / "docs" / "operational-events.md").read_text(encoding="utf-8")


def fields_in_table(heading: str) -> list[str]:
    """The first column of the table under a line."""
    (table,) = re.findall(rf"(?ms)^{re.escape(heading)}$\n\n(.*?)\n\n", PAGE)
    return re.findall(r"`(\w+)`", "".join(re.findall(r"(?m)^\| (`.*?) \|", table)))


@pytest.mark.parametrize(
    ("heading", "body"),
    [
        ("`webhook.suspended`:", message_of(webhook_announcement()).body),
        ("`webhook.recovered`:", message_of(webhook_announcement(key=AnnouncementKey.WEBHOOK_RECOVERED)).body),
        ("`delivery.failed`:", message_of(delivery_failed("dlv_1")).body),
    ],
)
def test_the_page_lists_the_fields_of_each_event_in_their_order(heading: str, body: bytes) -> None:
    assert [*fields_in_table("Every event:"), *fields_in_table(heading)] == list(json.loads(body))


def test_the_example_of_the_page_has_the_fields_of_a_message() -> None:
    (example,) = re.findall(r"(?ms)^```json\n(.*?)^```$", PAGE)
    assert list(json.loads(example)) == list(json.loads(message_of(delivery_failed("dlv_1")).body))
