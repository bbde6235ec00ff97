"""What a worker holds in memory, in which order it is served, and what it is bounded by."""

from __future__ import annotations

from dataclasses import replace
from datetime import timedelta

import pytest

from router.application.lanes import MAX_HELD_BYTES, LaneLimits, Lanes
from router.domain.delivery import Claim, DeliveryId
from router.domain.event import EventType
from router.domain.lease import LEASE, RENEW_BELOW
from router.domain.webhook import WebhookId
from tests.support.fakes_delivery import claim

LIMITS = LaneLimits(in_flight=4, in_flight_per_lane=2, queued_per_lane=3)


def lanes(limits: LaneLimits = LIMITS) -> Lanes:
    return Lanes(limits)


def numbered(webhook: str, number: int, event_type: EventType = EventType.CDR) -> Claim:
    return claim(f"{webhook}-{number}", webhook=webhook, event_type=event_type)


def offer(to: Lanes, *claims: Claim) -> None:
    for each in claims:
        to.offer(each, now=0)


async def order(of: Lanes, count: int) -> list[str]:
    """The next claims, each landing at once."""
    found = []
    for _ in range(count):
        taken = await of.next()
        assert taken is not None
        found.append(str(taken.delivery_id))
        of.landed(taken)
    return found


async def test_webhooks_are_served_in_turn() -> None:
    under_test = lanes(replace(LIMITS, queued_per_lane=10))
    offer(under_test, *(numbered("a", n) for n in range(3)), numbered("b", 0), numbered("c", 0))

    assert await order(under_test, 5) == ["a-0", "b-0", "c-0", "a-1", "a-2"]


async def test_calls_go_before_everything_else() -> None:
    under_test = lanes()
    offer(under_test, numbered("a", 0), numbered("b", 0), numbered("c", 0, EventType.CALL))

    assert await order(under_test, 3) == ["c-0", "a-0", "b-0"]


async def test_a_lane_has_no_more_in_flight_than_its_limit_and_keeps_nobody_else_waiting() -> None:
    under_test = lanes()
    offer(under_test, *(numbered("dead", n) for n in range(3)), numbered("alive", 0))

    taken = [await under_test.next() for _ in range(3)]

    assert sorted(each.webhook_id for each in taken if each) == ["alive", "dead", "dead"]
    assert under_test.in_flight == 3


async def test_all_lanes_together_have_no_more_in_flight_than_the_limit() -> None:
    under_test = lanes()
    offer(under_test, *(numbered(webhook, 0) for webhook in "abcdef"))
    taken = [await under_test.next() for _ in range(4)]
    under_test.close()

    assert await under_test.next() is None
    assert len(taken) == under_test.in_flight == 4


async def test_a_landed_attempt_makes_room_for_the_next() -> None:
    under_test = lanes()
    offer(under_test, *(numbered("a", n) for n in range(3)))
    first, _ = await under_test.next(), await under_test.next()
    assert first is not None

    under_test.landed(first)

    third = await under_test.next()
    assert third is not None
    assert third.delivery_id == "a-2"


def test_places_are_kept_up_to_the_limit_of_a_lane_and_given_back() -> None:
    under_test = lanes()
    webhook = WebhookId("a")
    assert [under_test.reserve(webhook, 10) for _ in range(4)] == [True, True, True, False]
    assert under_test.overflowed
    assert list(under_test.full()) == [webhook]
    assert under_test.reserve(WebhookId("b"), 10), "another lane has room"

    under_test.unreserve(webhook)

    assert list(under_test.full()) == []
    assert under_test.reserve(webhook, 10)


def test_payloads_in_memory_are_bounded_over_all_lanes() -> None:
    under_test = lanes()
    large = replace(numbered("a", 0), payload=b"x" * (MAX_HELD_BYTES - 10))
    offer(under_test, large)

    assert under_test.reserve(WebhookId("b"), 10)
    assert not under_test.reserve(WebhookId("b"), 11)
    assert under_test.room() > 0

    under_test.forget(large)

    assert under_test.reserve(WebhookId("b"), 11)


async def test_nothing_is_kept_of_webhooks_that_have_nothing_left() -> None:
    under_test = lanes()
    for number in range(2_000):
        each = numbered(f"wh-{number}", 0)
        assert under_test.reserve(each.webhook_id, 2)
        under_test.offer(each, now=0, reserved=True)
        taken = await under_test.next()
        assert taken is not None
        under_test.landed(taken)
        under_test.forget(taken)

    assert under_test.held == under_test.in_flight == 0
    assert under_test._lanes == {}  # the point of the test


@pytest.mark.parametrize(
    ("now", "holds"), [(0.0, True), (LEASE.total_seconds() - 0.1, True), (LEASE.total_seconds(), False)]
)
def test_a_claim_is_held_as_long_as_its_lease(now: float, holds: bool) -> None:
    under_test = lanes()
    held = numbered("a", 0)
    offer(under_test, held)

    assert under_test.holds(held, now=now) is holds
    assert not under_test.holds(replace(held, fence=held.fence + 1), now=0)
    assert not under_test.holds(replace(held, delivery_id=DeliveryId("other")), now=0)


def test_leases_are_renewed_before_they_end_and_not_after() -> None:
    under_test = lanes()
    held = numbered("a", 0)
    offer(under_test, held)
    soon = (LEASE - RENEW_BELOW).total_seconds()

    assert list(under_test.to_renew(now=soon)) == []
    assert list(under_test.to_renew(now=soon + 1)) == [held]
    assert list(under_test.to_renew(now=LEASE.total_seconds())) == []

    under_test.renewed([held], at=soon + 1)

    assert list(under_test.to_renew(now=soon + 2)) == []
    assert under_test.holds(held, now=soon + 1, margin=LEASE - timedelta(seconds=1))
