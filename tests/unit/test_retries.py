"""Finding what is due in the store, keeping leases, and what a near retry in memory may rely on."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass, field
from datetime import timedelta
from typing import Any

from router.application.brake import EgressBrake
from router.application.budget import RetryBudget
from router.application.circuits import SLOW_PUT_OFF, Circuits
from router.application.flights import SLOW_SECONDS
from router.application.lanes import HANGING_LANE_PLACES, LaneLimits, Lanes
from router.application.retries import MAX_CLAIMED_AT_ONCE, MAX_EXCLUDED, RENEWED_AT_ONCE, LeaseKeeper, RetryPoller
from router.application.timers import Timers
from router.application.turns import Turns
from router.domain.circuit import OPEN_AFTER_FAILURES
from router.domain.delivery import Claim
from router.domain.errors import DependencyUnavailable
from router.domain.lease import LEASE, RENEW_BELOW
from router.domain.webhook import WebhookId
from router.ports import Claimed, Due, Ration
from tests.support.fakes_delivery import NOW, FakeDeliveries, claim, make_budget, webhook
from tests.support.fakes_delivery import circuits as make_circuits

LEASE_SECONDS = LEASE.total_seconds()


def make_lanes(in_flight: int = 10, queued_per_lane: int = 10) -> Lanes:
    return Lanes(LaneLimits(in_flight=in_flight, in_flight_per_lane=10, queued_per_lane=queued_per_lane))


def claims(count: int, webhook: str = "wh_1") -> list[Claim]:
    return [claim(f"{webhook}-{number}", webhook=webhook) for number in range(count)]


@dataclass
class Watched(FakeDeliveries):
    """Tells what it was asked for, and when; a test may have something happen at each question."""

    limits: list[int] = field(default_factory=list)
    excluded: list[Collection[WebhookId]] = field(default_factory=list)
    asked_at: float = 0

    def on_asked(self) -> None: ...

    async def claim(
        self, limit: int, *, except_for: Collection[WebhookId], ration: Callable[[Due], Ration | None]
    ) -> Claimed:
        self.limits.append(limit)
        self.excluded.append(except_for)
        self.asked_at = time.monotonic()
        self.on_asked()
        return await super().claim(limit, except_for=except_for, ration=ration)


def poller_of(
    store: FakeDeliveries,
    lanes: Lanes,
    *,
    circuits: Circuits | None = None,
    brake: EgressBrake | None = None,
    budget: RetryBudget | None = None,
    is_steady: Callable[[], bool] = lambda: True,
) -> RetryPoller:
    return RetryPoller(
        deliveries=store,
        lanes=lanes,
        circuits=circuits or make_circuits(),
        brake=brake or EgressBrake(),
        budget=budget or make_budget(),
        is_steady=is_steady,
    )


# --- the poller ------------------------------------------------------------------------------------


async def test_what_is_due_is_claimed_and_offered() -> None:
    lanes, store = make_lanes(), Watched(due=claims(3))

    assert await poller_of(store, lanes)._poll() is False

    assert lanes.held == 3
    assert await lanes.next() == claims(1)[0]


async def test_no_more_is_claimed_than_there_is_room_for() -> None:
    lanes, store = make_lanes(in_flight=2, queued_per_lane=100), Watched(due=claims(30))
    poller = poller_of(store, lanes)

    assert await poller._poll() is True
    assert await poller._poll() is False

    assert store.limits == [lanes.held], "without room the store is not asked"
    assert len(store.due) == 30 - lanes.held


async def test_one_question_never_asks_for_more_than_a_batch() -> None:
    store = Watched()
    await poller_of(store, make_lanes(in_flight=10_000))._poll()

    assert store.limits == [MAX_CLAIMED_AT_ONCE]


async def test_webhooks_whose_lane_is_full_are_left_out_and_hide_nobody() -> None:
    lanes = make_lanes(queued_per_lane=2)
    store = Watched(due=[*claims(5, "dead")[2:], *claims(1, "alive")])
    for each in claims(2, "dead"):
        lanes.offer(each, now=0)

    await poller_of(store, lanes)._poll()

    assert lanes.held == 3
    assert store.excluded == [["dead"]]
    assert [each.webhook_id for each in store.due] == ["dead"] * 3


async def test_a_question_names_so_many_full_lanes_and_no_more() -> None:
    lanes, store = make_lanes(in_flight=10_000, queued_per_lane=1), Watched(due=claims(1, "alive"))
    for number in range(MAX_EXCLUDED + 1):
        lanes.offer(claim(f"dlv_{number}", webhook=f"wh_{number}"), now=0)

    await poller_of(store, lanes)._poll()

    assert [len(excluded) for excluded in store.excluded] == [MAX_EXCLUDED]
    assert store.due == []


async def test_a_lease_counts_from_before_the_question_so_that_it_never_outlasts_that_of_the_store() -> None:
    lanes, store = make_lanes(), Watched(due=claims(1))

    await poller_of(store, lanes)._poll()

    (held,) = lanes.all_held()
    assert not lanes.holds(held, now=store.asked_at + LEASE_SECONDS)


async def test_a_poller_that_is_stopped_before_it_runs_claims_nothing() -> None:
    store = Watched(due=claims(1))
    poller = poller_of(store, make_lanes())

    poller.stop()
    await poller.run()

    assert store.limits == []


async def test_a_backlog_is_over_when_a_question_finds_less_than_it_asked_for() -> None:
    lanes, store = make_lanes(queued_per_lane=1), Watched(due=claims(2))
    poller = poller_of(store, lanes)
    lanes.reserve(webhook("wh_1"), 1)
    assert not lanes.reserve(webhook("wh_1"), 1)

    await poller._poll()
    assert lanes._overflowed, "its lane was full, so nothing is known of its backlog"

    lanes.unreserve(WebhookId("wh_1"))
    await poller._poll()
    assert not lanes._overflowed


async def test_a_lane_that_is_half_empty_again_asks_for_its_backlog() -> None:
    lanes, store = make_lanes(queued_per_lane=4), Watched(due=claims(6)[4:])
    for each in claims(4):
        lanes.offer(each, now=0)
    await poller_of(store, lanes)._poll()
    asked: list[bool] = []
    for _ in range(2):
        taken = await lanes.next()
        assert taken is not None
        lanes.landed(taken)
        asked.append(lanes.room_again.is_set())

    assert asked == [False, True]


async def test_a_full_batch_is_followed_by_the_next_question_at_once() -> None:
    lanes = make_lanes(in_flight=10_000, queued_per_lane=10_000)
    store = Watched(due=claims(MAX_CLAIMED_AT_ONCE + 1))
    poller = poller_of(store, lanes)
    store.on_asked = lambda: poller.stop() if len(store.limits) == 2 else None  # type: ignore[method-assign]

    await poller.run()

    assert lanes.held == MAX_CLAIMED_AT_ONCE + 1


# --- the keeper of leases --------------------------------------------------------------------------


async def test_leases_that_run_out_soon_are_renewed_and_no_others() -> None:
    lanes, store = make_lanes(), FakeDeliveries()
    now = time.monotonic()
    soon, fresh, lost = claims(3)
    lanes.offer(soon, now=now - (LEASE_SECONDS - RENEW_BELOW.total_seconds()) - 1)
    lanes.offer(fresh, now=now + 60)
    lanes.offer(lost, now=now - LEASE_SECONDS)

    await LeaseKeeper(store, lanes, Turns())._renew()

    assert store.renewed == [soon]
    assert lanes.holds(soon, now=now + LEASE_SECONDS - 1)
    assert not lanes.holds(lost, now=now)


async def test_what_somebody_else_ended_is_not_held_for_longer() -> None:
    lanes, store = make_lanes(), FakeDeliveries()
    now = time.monotonic()
    ended, ours = claims(2)
    for each in (ended, ours):
        lanes.offer(each, now=now - LEASE_SECONDS + 1)
    store.taken_over.add(ended.delivery_id)

    await LeaseKeeper(store, lanes, Turns())._renew()

    assert not lanes.holds(ended, now=now + 2)
    assert lanes.holds(ours, now=now + 2)


async def test_what_is_in_flight_for_long_is_renewed_too() -> None:
    lanes, store = make_lanes(), FakeDeliveries()
    lanes.offer(claim(), now=time.monotonic() - LEASE_SECONDS + 1)
    taken = await lanes.next()

    await LeaseKeeper(store, lanes, Turns())._renew()

    assert store.renewed == [taken]


async def test_many_leases_are_renewed_some_at_a_time() -> None:
    @dataclass
    class Counting(FakeDeliveries):
        sizes: list[int] = field(default_factory=list)

        async def renew(self, claims: Sequence[Claim]) -> Sequence[Claim]:
            self.sizes.append(len(claims))
            return await super().renew(claims)

    lanes, store = make_lanes(in_flight=1_000), Counting()
    for each in claims(RENEWED_AT_ONCE + 1):
        lanes.offer(each, now=time.monotonic() - LEASE_SECONDS + 1)

    await LeaseKeeper(store, lanes, Turns())._renew()

    assert store.sizes == [RENEWED_AT_ONCE, 1]


async def test_with_nothing_to_renew_the_store_is_left_alone() -> None:
    class Untouched(FakeDeliveries):
        async def renew(self, claims: Sequence[Claim]) -> Sequence[Claim]:
            raise AssertionError("nothing is to be renewed")

    await LeaseKeeper(Untouched(), make_lanes(), Turns())._renew()


async def test_a_keeper_that_is_stopped_ends() -> None:
    keeper = LeaseKeeper(FakeDeliveries(), make_lanes(), Turns())
    running = asyncio.create_task(keeper.run())
    await asyncio.sleep(0)

    keeper.stop()

    await running


# --- near retries ----------------------------------------------------------------------------------


async def test_a_near_retry_whose_worker_stood_still_beyond_its_lease_is_not_held_any_more() -> None:
    """The store's lease ends a lease after the time of the retry, however late the worker wakes up."""
    lanes = make_lanes()
    timers = Timers(lanes)
    at = time.monotonic() - LEASE_SECONDS - 1
    timers.add(claim(), attempt_count=1, at=at)
    running = asyncio.create_task(timers.run())
    taken = await lanes.next()
    timers.stop()
    await running

    assert taken is not None
    assert not lanes.holds(taken, now=time.monotonic())


# --- when the poller asks for less, or not at all ----------------------------------------------------


async def test_nothing_is_claimed_until_the_store_is_steady_again() -> None:
    store = Watched(due=claims(1))
    steady = [False]
    poller = poller_of(store, make_lanes(), is_steady=lambda: steady[0])

    await poller._poll()
    assert store.limits == []

    steady[0] = True
    await poller._poll()
    assert len(store.limits) == 1


async def test_nothing_is_claimed_while_the_brake_is_on() -> None:
    store, brake = Watched(due=claims(1)), EgressBrake()
    brake.kind = "dns"

    await poller_of(store, make_lanes(), brake=brake)._poll()

    assert store.limits == []


async def test_a_store_that_is_away_ends_a_poll_and_not_the_poller() -> None:
    class Away(FakeDeliveries):
        async def claim(
            self, limit: int, *, except_for: Collection[WebhookId], ration: Callable[[Due], Ration | None]
        ) -> Claimed:
            raise DependencyUnavailable("MongoDB did not answer")

    assert await poller_of(Away(), make_lanes())._poll() is False


async def test_behind_a_backlog_of_first_attempts_few_retries_are_claimed() -> None:
    store, budget = Watched(due=claims(100)), make_budget(has_backlog=True)
    budget.took_in(200)

    assert await poller_of(store, make_lanes(in_flight=10_000), budget=budget)._poll() is False

    assert store.limits == [20]


async def test_nothing_is_claimed_of_an_open_circuit_before_its_probe_is_due() -> None:
    lanes, store, circuits = make_lanes(), Watched(due=claims(5)), make_circuits(open_after=timedelta(0))
    for each in claims(OPEN_AFTER_FAILURES):
        circuits.failed(each, webhook("wh_1"), after_seconds=0.1)

    await poller_of(store, lanes, circuits=circuits)._poll()

    assert lanes.held == 0
    assert len(store.put_off) == 5


async def test_a_webhook_that_fails_gets_its_ration_and_the_rest_is_put_off() -> None:
    lanes = Lanes(LaneLimits(in_flight=10, in_flight_per_lane=10, queued_per_lane=10), is_hanging=lambda _: True)
    store = Watched(due=claims(5))

    await poller_of(store, lanes)._poll()

    assert lanes.held == HANGING_LANE_PLACES
    assert [rest.until for rest in store.put_off] == [NOW + SLOW_PUT_OFF] * (5 - HANGING_LANE_PLACES)


def hanging() -> Circuits:
    circuits = make_circuits()
    circuits.failed(claim(), webhook(), after_seconds=SLOW_SECONDS + 1)
    return circuits


async def test_what_is_put_off_while_its_webhook_works_again_is_woken_at_once() -> None:
    circuits = hanging()
    lanes = Lanes(LaneLimits(in_flight=10, in_flight_per_lane=10, queued_per_lane=10), is_hanging=circuits.is_hanging)

    class Slow(Watched):
        async def claim(self, *args: Any, **named: Any) -> Claimed:
            claimed = await super().claim(*args, **named)
            circuits.succeeded(webhook())
            return claimed

    store = Slow(due=claims(5))
    poller = poller_of(store, lanes, circuits=circuits)
    await poller._poll()
    await poller._poll()

    assert store.put_off
    assert store.woken == ["wh_1"]


async def test_what_is_put_off_while_its_webhook_hangs_is_not_woken() -> None:
    circuits = hanging()
    lanes = Lanes(LaneLimits(in_flight=10, in_flight_per_lane=10, queued_per_lane=10), is_hanging=circuits.is_hanging)
    store = Watched(due=claims(5))

    await poller_of(store, lanes, circuits=circuits)._poll()

    assert store.put_off
    assert store.woken == []
