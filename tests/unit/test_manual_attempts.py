"""Attempts that somebody asked for: nothing keeps them back, and their failures are held against nobody."""

from __future__ import annotations

from dataclasses import replace
from datetime import timedelta

import pytest

from router.application.lanes import LaneLimits, Lanes
from router.domain.announcement import is_announced
from router.domain.delivery import Claim, DeliveryReason, DeliveryStatus, Trigger
from router.domain.lease import HELD_RECHECK
from router.domain.outcome import Answer, SendResult
from router.domain.retry import Again, End
from router.domain.webhook import Suspension, SuspensionReason, Webhook
from router.ports import Result
from tests.support.fakes_delivery import ACCOUNT, NOW, claim, snapshot, webhook
from tests.unit.test_deliver import FAILURE, World

GONE = Answer(status_code=410, body=b"", truncated=False)
SUSPENDED = Suspension(since=NOW, reason=SuspensionReason.FAILING)
EXHAUSTED = End(status=DeliveryStatus.FAILED, reason=DeliveryReason.EXHAUSTED)

triggers = pytest.mark.parametrize("trigger", [Trigger.REPLAY, Trigger.TEST])


def asked_for(trigger: Trigger = Trigger.REPLAY, *, before: int = 3, tried: int = 0) -> Claim:
    """A claim of a delivery with `before` attempts behind it, and `tried` since somebody asked."""
    usual = replace(claim(), trigger=trigger, attempts_before=before, attempt_count=before + tried)
    return replace(usual, received_at=NOW - timedelta(days=20))


@triggers
@pytest.mark.parametrize(
    ("hook", "enabled"),
    [
        (webhook(), True),
        (webhook(enabled=False), True),
        (webhook(), False),
        (webhook(suspension=SUSPENDED), True),
        (webhook(suspension=SUSPENDED, enabled=False), False),
    ],
    ids=["active", "paused", "account off", "suspended", "all of it"],
)
async def test_it_is_sent_whatever_keeps_the_others_back(trigger: Trigger, hook: Webhook, enabled: bool) -> None:
    world = World(webhook=hook, account_enabled=enabled)

    (result,) = await world.deliver(asked_for(trigger))

    assert result.next == End(status=DeliveryStatus.DELIVERED)
    assert result.attempt is not None
    assert (result.attempt.number, result.attempt.trigger) == (4, trigger)


@triggers
async def test_it_waits_for_a_definition_that_is_wrong(trigger: Trigger) -> None:
    world = World(webhook=webhook(problem="restrict_to: is wrong"))

    await world.deliver(asked_for(trigger))

    assert not world.sender.requests
    assert [rest.until for rest in world.deliveries.held] == [NOW + HELD_RECHECK]


@pytest.mark.parametrize(
    ("trigger", "header"), [(Trigger.SCHEDULE, None), (Trigger.REPLAY, "true"), (Trigger.TEST, None)]
)
async def test_a_replay_is_marked_and_nothing_else(trigger: Trigger, header: str | None) -> None:
    world = World()

    await world.deliver(asked_for(trigger))

    (request,) = world.sender.requests
    assert request.headers.get("x-webhook-replay") == header
    assert (request.headers["webhook-id"], request.headers["x-webhook-attempt"]) == ("evt_1", "4")


@pytest.mark.parametrize(
    ("trigger", "tried", "next_"),
    [
        (Trigger.REPLAY, 0, Again(at=NOW + timedelta(seconds=1))),
        (Trigger.REPLAY, 1, Again(at=NOW + timedelta(minutes=10))),
        (Trigger.REPLAY, 2, EXHAUSTED),
        (Trigger.TEST, 0, EXHAUSTED),
    ],
)
async def test_a_replay_counts_its_schedule_anew_and_a_test_is_one_attempt(
    trigger: Trigger, tried: int, next_: Again | End
) -> None:
    world = World(answer=FAILURE)

    (result,) = await world.deliver(asked_for(trigger, tried=tried))

    if isinstance(next_, Again) and isinstance(result.next, Again):
        assert abs(result.next.at - next_.at) < timedelta(milliseconds=1)
    else:
        assert result.next == next_


@triggers
@pytest.mark.parametrize("answer", [FAILURE, GONE], ids=["500", "410"])
async def test_its_failure_counts_neither_for_the_circuit_nor_toward_suspension(
    trigger: Trigger, answer: SendResult
) -> None:
    world = World(answer=answer, webhook=webhook(failing_since=NOW - timedelta(days=6)))
    world.circuits.forget(webhook().id)

    await world.deliver(asked_for(trigger))

    assert not world.circuits.is_failing(webhook().id)
    assert not world.definitions.suspended
    assert not world.definitions.failing


async def test_it_passes_an_open_circuit_and_a_success_closes_it() -> None:
    world = World(answer=FAILURE)
    for _ in range(5):
        world.circuits.failed(claim(), webhook(), after_seconds=0)
        world.clock.moment += timedelta(minutes=1)
    assert world.circuits.is_open(webhook().id)

    (failed,) = await world.deliver(asked_for())
    assert failed.attempt is not None
    assert world.circuits.is_open(webhook().id)

    again = World()
    again.circuits = again.deliverer._circuits = world.circuits
    (result,) = await again.deliver(asked_for())
    assert result.next == End(status=DeliveryStatus.DELIVERED)
    assert not again.circuits.is_open(webhook().id)


async def test_a_success_ends_failing_and_lifts_no_suspension() -> None:
    world = World(webhook=webhook(failing_since=NOW, suspension=SUSPENDED))

    await world.deliver(asked_for())

    assert world.definitions.healthy == [webhook().id]
    assert world.book.webhook(webhook().id) == webhook(failing_since=NOW, suspension=SUSPENDED)


async def test_its_delay_is_none_of_a_first_attempt() -> None:
    world = World()

    await world.deliver(asked_for(before=0))

    assert world.deliverer._metrics.registry.get_sample_value(
        "webhook_router_event_to_first_attempt_seconds_count", {"type": "cdr"}
    ) in (None, 0)


@triggers
async def test_it_stands_behind_first_attempts(trigger: Trigger) -> None:
    lanes = Lanes(LaneLimits(in_flight=1, in_flight_per_lane=1, queued_per_lane=10))
    lanes.offer(asked_for(trigger, before=0), now=1e12)
    lanes.offer(claim("dlv_first", webhook="wh_2", account=ACCOUNT), now=1e12)

    first = await lanes.next()

    assert first is not None
    assert first.delivery_id == "dlv_first"


@pytest.mark.parametrize(("trigger", "told"), [(Trigger.SCHEDULE, True), (Trigger.REPLAY, True), (Trigger.TEST, False)])
def test_the_end_of_a_test_is_announced_to_nobody(trigger: Trigger, told: bool) -> None:
    assert is_announced(EXHAUSTED, trigger) is told


async def test_a_deleted_webhook_cancels_it() -> None:
    world = World(webhook=None)
    world.book.load(snapshot())

    results: list[Result] = await world.deliver(asked_for())

    assert [result.next for result in results] == [
        End(status=DeliveryStatus.CANCELLED, reason=DeliveryReason.WEBHOOK_DELETED)
    ]
