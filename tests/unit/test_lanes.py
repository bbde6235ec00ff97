"""What a worker holds in memory, in which order it is served, and what it is bounded by."""

from __future__ import annotations

import asyncio
from dataclasses import replace
from datetime import timedelta

import pytest

from router.application.flights import SLOW_SECONDS
from router.application.lanes import (
    DOUBTFUL_TURN,
    HANGING_LANE_PLACES,
    HELD_PER_PLACE,
    MAX_HELD_BYTES,
    LaneLimits,
    Lanes,
)
from router.domain.delivery import Claim, DeliveryId
from router.domain.event import AccountId, EventType
from router.domain.lease import LEASE, RENEW_BELOW
from router.domain.webhook import WebhookId
from router.ports import Due
from tests.support.fakes_delivery import ACCOUNT, claim, webhook

LIMITS = LaneLimits(in_flight=4, in_flight_per_lane=2, queued_per_lane=3)


def lanes(limits: LaneLimits = LIMITS) -> Lanes:
    return Lanes(limits)


def numbered(of: str, number: int, event_type: EventType = EventType.CDR) -> Claim:
    return claim(f"{of}-{number}", webhook=of, event_type=event_type)


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
    offer(under_test, *(numbered(each, 0) for each in "abcdef"))
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
    webhook_id = WebhookId("a")
    assert [under_test.reserve(webhook("a"), 10) for _ in range(4)] == [True, True, True, False]
    assert under_test._overflowed
    assert list(under_test.full()) == [webhook_id]
    assert under_test.reserve(webhook("b"), 10), "another lane has room"

    under_test.unreserve(webhook_id)
    under_test.drained(except_for=[])

    assert list(under_test.full()) == []
    assert under_test.reserve(webhook("a"), 10)


def test_payloads_in_memory_are_bounded_over_all_lanes() -> None:
    under_test = lanes()
    large = replace(numbered("a", 0), payload=b"x" * (MAX_HELD_BYTES - 10))
    offer(under_test, large)

    assert under_test.reserve(webhook("b"), 10)
    assert not under_test.reserve(webhook("b"), 11)
    assert under_test.room() > 0

    under_test.forget(large)

    assert under_test.reserve(webhook("c"), 11)


async def test_nothing_is_kept_of_webhooks_that_have_nothing_left() -> None:
    under_test = lanes()
    for number in range(2_000):
        each = numbered(f"wh-{number}", 0)
        assert under_test.reserve(webhook(each.webhook_id), 2)
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
    assert under_test.reserve(webhook("b"), MAX_HELD_BYTES), "its bytes were given back once"


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
    assert under_test.room() == LIMITS.held
    offer(under_test, numbered("a", 0), numbered("b", 0))
    assert under_test.room() == LIMITS.held - 2

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
        assert under_test.reserve(webhook(f"wh-{number}"), 10)
        under_test.unreserve(WebhookId(f"wh-{number}"))

    assert under_test._lanes == {}  # the point of the test


def test_while_older_ones_wait_in_the_store_half_of_the_lane_is_theirs() -> None:
    under_test = lanes(replace(LIMITS, queued_per_lane=4))
    webhook_id = WebhookId("a")
    assert [under_test.reserve(webhook("a"), 1) for _ in range(5)] == [True] * 4 + [False]
    for _ in range(3):
        under_test.unreserve(webhook_id)

    assert [under_test.reserve(webhook("a"), 1) for _ in range(2)] == [True, False]
    assert list(under_test.full()) == [], "what comes from the store finds room"

    under_test.drained(except_for=[])

    assert [under_test.reserve(webhook("a"), 1) for _ in range(2)] == [True, True]


# --- fairness and doubt ----------------------------------------------------------------------------


class Time:
    seconds = 0.0

    def __call__(self) -> float:
        return self.seconds


def of_account(account: str, webhook_id: str, number: int = 0, attempt_count: int = 0) -> Claim:
    return replace(
        claim(f"{webhook_id}-{number}", webhook=webhook_id, attempt_count=attempt_count), account_id=AccountId(account)
    )


async def test_accounts_are_served_in_turn_however_many_webhooks_each_has() -> None:
    under_test = lanes()
    offer(under_test, *(of_account("large", f"l{n}") for n in range(4)), of_account("small", "s"))

    assert await order(under_test, 5) == ["l0-0", "s-0", "l1-0", "l2-0", "l3-0"]


async def test_first_attempts_go_before_retries_and_retries_are_not_starved() -> None:
    under_test = lanes(LaneLimits(in_flight=100, in_flight_per_lane=1, queued_per_lane=100))
    offer(under_test, *(of_account("1", f"r{n}", attempt_count=1) for n in range(2)))
    offer(under_test, *(of_account("1", f"f{n}") for n in range(8)))

    found = await order(under_test, 10)

    assert found[:4] == ["f0-0", "f1-0", "f2-0", "f3-0"]
    assert found.index("r0-0") == DOUBTFUL_TURN - 1
    assert found.index("r1-0") == 2 * DOUBTFUL_TURN - 1


async def test_within_a_lane_retries_wait_behind_first_attempts_but_not_for_ever() -> None:
    under_test = lanes(LaneLimits(in_flight=100, in_flight_per_lane=1, queued_per_lane=100))
    offer(under_test, *(of_account("1", "a", n, attempt_count=1) for n in range(1)))
    offer(under_test, *(of_account("1", "a", n) for n in range(1, 8)))

    found = await order(under_test, 8)

    assert found.index("a-0") == DOUBTFUL_TURN - 1


@pytest.mark.parametrize("why", ["retries", "failing"])
async def test_what_is_in_doubt_has_half_of_the_places_and_no_more(why: str) -> None:
    under_test = Lanes(LIMITS, is_failing=lambda webhook_id: webhook_id.startswith("bad"))
    name = "bad" if why == "failing" else "some"
    offer(under_test, *(of_account("1", f"{name}{n}", attempt_count=why == "retries") for n in range(4)))
    taken = [await under_test.next() for _ in range(LIMITS.doubtful_in_flight)]
    waiting = asyncio.create_task(under_test.next())
    await asyncio.sleep(0)
    assert not waiting.done(), "the other half is kept for first attempts"

    offer(under_test, of_account("2", "good"))

    found = await waiting
    assert found is not None
    assert found.webhook_id == "good"
    assert taken[0] is not None
    under_test.landed(taken[0])
    assert await under_test.next() is not None


async def test_a_webhook_that_is_slow_is_in_doubt_while_it_is() -> None:
    now = Time()
    under_test = Lanes(LaneLimits(in_flight=4, in_flight_per_lane=4, queued_per_lane=10), now=now)
    offer(under_test, *(of_account("1", "slow", n) for n in range(4)))
    slow = [await under_test.next() for _ in range(2)]
    now.seconds = SLOW_SECONDS + 0.1
    waiting = asyncio.create_task(under_test.next())
    await asyncio.sleep(0)
    assert not waiting.done(), "two of four places are its share"

    offer(under_test, of_account("2", "brisk"))
    found = await waiting
    assert found is not None
    assert found.webhook_id == "brisk"

    for each in slow:
        assert each is not None
        under_test.landed(each)
    assert [each.webhook_id for each in [await under_test.next(), await under_test.next()] if each] == ["slow"] * 2


async def test_of_calls_that_had_to_wait_the_newest_goes_first() -> None:
    under_test = lanes()
    offer(under_test, *(numbered("a", n, EventType.CALL) for n in range(3)))

    assert await order(under_test, 3) == ["a-2", "a-1", "a-0"]


def test_a_webhook_that_hangs_has_few_places_but_for_calls() -> None:
    under_test = Lanes(replace(LIMITS, queued_per_lane=10), is_hanging=lambda _: True)
    records, calls = webhook("records"), webhook("calls", event_type=EventType.CALL)

    assert sum(under_test.reserve(records, 1) for _ in range(20)) == HANGING_LANE_PLACES
    assert sum(under_test.reserve(calls, 1) for _ in range(20)) == 10


def test_a_webhook_that_hangs_or_is_slow_is_rationed_at_the_store() -> None:
    under_test = Lanes(replace(LIMITS, queued_per_lane=10), is_hanging=lambda webhook_id: webhook_id == "bad")
    bad, good = (
        Due(webhook_id=WebhookId(each), account_id=ACCOUNT, event_type=EventType.CDR) for each in ("bad", "good")
    )

    assert under_test.ration(good) is None
    assert under_test.ration(bad) == HANGING_LANE_PLACES
    offer(under_test, numbered("bad", 0))
    assert under_test.ration(bad) == HANGING_LANE_PLACES - 1
    offer(under_test, numbered("bad", 1))
    assert under_test.ration(bad) == 0
    assert list(under_test.full()) == [], "what is beyond the ration is put off, and need not be named"


async def test_a_webhook_that_hangs_takes_nothing_in_while_the_share_of_what_is_in_doubt_is_used_up() -> None:
    under_test = Lanes(LIMITS, is_hanging=lambda webhook_id: webhook_id != "good")
    due = Due(webhook_id=WebhookId("bad"), account_id=ACCOUNT, event_type=EventType.CDR)
    offer(under_test, *(numbered(f"bad{n}", 0) for n in range(LIMITS.doubtful_in_flight)))
    assert under_test.reserve(webhook("bad"), 1)
    for _ in range(LIMITS.doubtful_in_flight):
        await under_test.next()

    assert not under_test.reserve(webhook("bad"), 1)
    assert under_test.ration(due) == 0
    assert under_test.reserve(webhook("good"), 1)
    assert under_test.reserve(webhook("rings", event_type=EventType.CALL), 1)


def test_an_account_may_hold_half_of_the_memory() -> None:
    under_test = lanes(LaneLimits(in_flight=1, in_flight_per_lane=1, queued_per_lane=100))
    half = HELD_PER_PLACE // 2
    offer(under_test, *(numbered("a", n) for n in range(half)))

    assert not under_test.reserve(webhook("b"), 1)
    assert under_test.ration(Due(webhook_id=WebhookId("b"), account_id=ACCOUNT, event_type=EventType.CDR)) == 0
    assert under_test.reserve(webhook("c", account=AccountId("other")), 1)

    under_test.forget(numbered("a", 0))

    assert under_test.reserve(webhook("b"), 1)


def test_claims_in_memory_are_bounded_over_all_lanes() -> None:
    under_test = lanes(LaneLimits(in_flight=1, in_flight_per_lane=1, queued_per_lane=100))
    offer(under_test, *(of_account(f"acc-{n}", f"wh-{n}") for n in range(HELD_PER_PLACE)))

    assert under_test.room() == 0
    assert not under_test.reserve(webhook("another", account=AccountId("other")), 1)


async def test_a_delivery_that_is_in_flight_is_not_attempted_again_by_the_worker_that_has_it() -> None:
    under_test = lanes()
    offer(under_test, numbered("a", 0))
    first = await under_test.next()
    assert first is not None
    again = replace(first, fence=first.fence + 1)

    offer(under_test, again)
    waiting = asyncio.create_task(under_test.next())
    await asyncio.sleep(0)

    assert not waiting.done()
    assert under_test.current(first) == again
    under_test.landed(first)
    under_test.forget(again)
    assert (under_test.held, under_test.in_flight) == (0, 0)
    under_test.close()
    assert await waiting is None
