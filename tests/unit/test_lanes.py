"""What a worker holds in memory, in which order it is served, and what it is bounded by."""

from __future__ import annotations

import asyncio
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
    under_test.drained(except_for=[])

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

    assert under_test.reserve(WebhookId("c"), 11)


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


def test_forgetting_a_claim_that_was_lost_leaves_the_later_claim_of_its_delivery() -> None:
    under_test = lanes()
    lost = numbered("a", 0)
    later = replace(lost, fence=lost.fence + 1)
    under_test.offer(lost, now=0)
    under_test.offer(later, now=LEASE.total_seconds())

    under_test.forget(lost)

    assert under_test.holds(later, now=LEASE.total_seconds())
    assert under_test.held == 1

    under_test.forget(later)

    assert under_test.held == 0
    assert under_test.reserve(WebhookId("b"), MAX_HELD_BYTES), "its bytes were given back once"


def test_a_claim_that_rests_is_held_until_its_retry_and_a_lease_beyond() -> None:
    under_test = lanes()
    resting = numbered("a", 0)
    under_test.rest(resting, until=100)

    assert under_test.holds(resting, now=100 + LEASE.total_seconds() - 1)
    assert not under_test.holds(resting, now=100 + LEASE.total_seconds())
    assert list(under_test.full()) == []
    assert list(under_test.all_held()) == [resting]


def test_a_renewal_does_not_lengthen_a_later_claim_of_the_same_delivery() -> None:
    under_test = lanes()
    held = numbered("a", 0)
    under_test.offer(replace(held, fence=held.fence + 1), now=0)

    under_test.renewed([held], at=100)

    assert list(under_test.to_renew(now=100)) == []
    assert not under_test.holds(replace(held, fence=held.fence + 1), now=100)


def test_room_shrinks_with_what_is_held_and_is_none_when_the_memory_is_full() -> None:
    under_test = lanes()
    assert under_test.room() == LIMITS.in_flight * 2
    offer(under_test, numbered("a", 0), numbered("b", 0))
    assert under_test.room() == LIMITS.in_flight * 2 - 2

    offer(under_test, replace(numbered("c", 0), payload=b"x" * MAX_HELD_BYTES))

    assert under_test.room() == 0


async def test_whoever_waits_is_woken_by_an_offer_and_by_a_close() -> None:
    under_test = lanes()
    waiting = asyncio.create_task(under_test.next())
    await asyncio.sleep(0)
    offer(under_test, numbered("a", 0))
    first = await waiting
    assert first is not None
    assert first.delivery_id == "a-0"

    waiting = asyncio.create_task(under_test.next())
    await asyncio.sleep(0)
    under_test.close()

    assert await waiting is None


async def test_nothing_is_handed_out_after_a_close_and_what_waits_is_still_held() -> None:
    under_test = lanes()
    offer(under_test, numbered("a", 0))

    under_test.close()

    assert await under_test.next() is None
    assert under_test.held == 1


async def test_a_place_that_is_given_back_unused_leaves_no_lane() -> None:
    under_test = lanes()
    for number in range(2_000):
        webhook = WebhookId(f"wh-{number}")
        assert under_test.reserve(webhook, 10)
        under_test.unreserve(webhook)

    assert under_test._lanes == {}  # the point of the test


def test_while_older_ones_wait_in_the_store_half_of_the_lane_is_theirs() -> None:
    under_test = lanes(replace(LIMITS, queued_per_lane=4))
    webhook = WebhookId("a")
    assert [under_test.reserve(webhook, 1) for _ in range(5)] == [True] * 4 + [False]
    for _ in range(3):
        under_test.unreserve(webhook)

    assert [under_test.reserve(webhook, 1) for _ in range(2)] == [True, False]
    assert list(under_test.full()) == [], "what comes from the store finds room"

    under_test.drained(except_for=[])

    assert [under_test.reserve(webhook, 1) for _ in range(2)] == [True, True]
