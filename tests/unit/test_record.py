"""What is written of results, in which batches, and what is done with a result once it is durable."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import timedelta
from itertools import groupby

import pytest

from router.application.definitions import DefinitionBook
from router.application.drafts import WAIT
from router.application.flights import SLOW_SECONDS
from router.application.health import WebhookHealth
from router.application.lanes import LaneLimits, Lanes
from router.application.record import (
    ENOUGH_UNRECORDED,
    GATHER_SECONDS,
    MAX_BATCH,
    MAX_UNRECORDED,
    Recorder,
)
from router.application.settling import Unsettled
from router.application.timers import Timers
from router.application.turns import MOST_PORTION, SHARE, Turns
from router.domain.delivery import Attempt, AttemptError, Claim, DeliveryId, DeliveryReason, DeliveryStatus, Trigger
from router.domain.lease import LEASE
from router.domain.retry import Again, End
from router.domain.webhook import Webhook
from router.ports import NOT_TRACED, Draft, Rest, Result
from router.telemetry.metrics import Metrics
from tests.support.fakes_delivery import (
    NOW,
    FakeClock,
    FakeDefinitions,
    FakeDeliveries,
    circuits,
    claim,
    draft_of,
    snapshot,
    webhook,
)

DAYS, MINUTE = timedelta(days=5), timedelta(minutes=1)
DELIVERED = End(status=DeliveryStatus.DELIVERED)
SOON = Again(at=NOW + timedelta(seconds=2))
LATER = Again(at=NOW + timedelta(hours=1))


@dataclass
class Store(FakeDeliveries):
    """Remembers the batches; a test may have something happen while one is written."""

    batches: list[Sequence[Result]] = field(default_factory=list)

    def on_write(self) -> None: ...

    async def record(self, results: Sequence[Result]) -> Sequence[Result]:
        self.batches.append(results)
        self.on_write()
        return await super().record(results)

    async def hold(self, rests: Sequence[Rest]) -> None:
        self.on_write()
        await super().hold(rests)


def resting(of: Claim) -> Rest:
    return Rest(claim=of, until=NOW + timedelta(minutes=5))


class World:
    """A recorder over fakes."""

    def __init__(self, shown: Webhook | None = None, *, account_enabled: bool = True) -> None:
        self.clock, self.store, self.definitions = FakeClock(), Store(), FakeDefinitions()
        self.book, self.metrics = DefinitionBook(), Metrics("test")
        self.announced: list[int] = []
        """How many results were durable, each time that one was said to be in the outbox."""
        self.book.load(snapshot(shown or webhook(), enabled=account_enabled))
        self.lanes = Lanes(LaneLimits(in_flight=1_000, in_flight_per_lane=1_000, queued_per_lane=1_000))
        self.timers, self.circuits = Timers(self.lanes), circuits(self.clock)
        self.recorder = Recorder(
            deliveries=self.store,
            health=WebhookHealth(
                self.book, self.definitions, self.clock, timedelta(days=5), recovered_after=timedelta(minutes=1)
            ),
            book=self.book,
            circuits=self.circuits,
            lanes=self.lanes,
            timers=self.timers,
            clock=self.clock,
            metrics=self.metrics,
            turns=Turns(),
            announced=lambda: self.announced.append(len(self.store.recorded)),
        )

    async def record(self, *results: Result) -> None:
        """Hand `results` over as a worker that holds their claims, and see them written."""
        for result in results:
            self.lanes.offer(result.claim, now=time.monotonic())
            self.recorder.put(result)
        await self.finish()

    async def finish(self) -> None:
        self.recorder.stop()
        await self.recorder.run()

    def count(self, name: str, **labels: str) -> float:
        return self.metrics.registry.get_sample_value(name, labels) or 0


def attempt(number: int = 1, error: AttemptError | None = None) -> Attempt:
    return Attempt(
        number=number,
        trigger=Trigger.SCHEDULE,
        started_at=NOW,
        duration_ms=1,
        status_code=200 if error is None else None,
        error=error,
        response_body=None,
        response_truncated=False,
    )


def result(identity: str = "dlv_1", after: Again | End = DELIVERED, *, keep_lease: bool = False) -> Result:
    error = None if isinstance(after, End) else AttemptError.TIMEOUT
    return Result(claim=claim(identity), attempt=attempt(error=error), next=after, keep_lease=keep_lease)


# --- deliveries ------------------------------------------------------------------------------------


class Receipt(Unsettled):
    """A batch of one message."""

    def __init__(self) -> None:
        super().__init__([], NOT_TRACED.received([], NOW), lambda: None)

    @property
    def is_durable(self) -> bool:
        """Of all that was kept by now."""
        return not self._missing


async def test_a_first_result_that_comes_soon_is_inserted_with_its_delivery() -> None:
    world, receipt = World(), Receipt()
    world.recorder.keep(draft_of("dlv_1"), receipt)

    await world.record(result("dlv_1"))

    assert world.store.log == ["insert"]
    assert [each.claim.delivery_id for each in world.store.recorded] == ["dlv_1"]
    assert receipt.is_durable
    assert world.lanes.held == 0
    assert world.count("webhook_router_deliveries_total", status="delivered") == 1


async def test_a_delivery_whose_result_does_not_come_is_inserted_without_it_and_recorded_later() -> None:
    world, receipt = World(), Receipt()
    running = asyncio.create_task(world.recorder.run())
    began = world.clock.now()
    world.recorder.keep(draft_of("dlv_1"), receipt)
    world.recorder.begin(claim("dlv_1"))
    while not world.store.inserted:
        await asyncio.sleep(0)
    waited = world.clock.now() - began
    assert WAIT <= waited <= WAIT + 2 * timedelta(seconds=GATHER_SECONDS)
    assert (len(world.store.inserted), world.store.recorded) == (1, [])

    world.recorder.put(result("dlv_1"))
    world.recorder.stop()
    await running

    assert [len(batch) for batch in world.store.batches] == [1]


async def test_a_delivery_that_somebody_else_inserted_has_its_result_recorded() -> None:
    world, receipt = World(), Receipt()
    world.store.found = {DeliveryId("dlv_1")}
    world.recorder.keep(draft_of("dlv_1"), receipt)
    world.recorder.keep(draft_of("dlv_2"), receipt)

    await world.record(result("dlv_1"), result("dlv_2"))

    assert [[each.claim.delivery_id for each in batch] for batch in world.store.batches] == [["dlv_1"]]
    assert receipt.is_durable
    assert len(world.store.recorded) == 2


async def test_a_near_retry_of_a_first_attempt_rests_in_memory() -> None:
    world = World()
    world.recorder.keep(draft_of("dlv_1"), Receipt())

    await world.record(result("dlv_1", SOON, keep_lease=True))

    assert world.store.log == ["insert"]
    assert world.lanes.held == 1


async def test_a_claim_that_is_held_back_is_put_to_rest_after_its_delivery_is_inserted() -> None:
    world, receipt = World(), Receipt()
    world.recorder.keep(draft_of("dlv_1"), receipt)
    running = asyncio.create_task(world.recorder.run())
    began = world.clock.now()

    world.recorder.hold(resting(claim("dlv_1")))
    while not world.store.held:
        await asyncio.sleep(0)
    assert receipt.is_durable
    assert world.clock.now() - began < WAIT

    world.recorder.stop()
    await running


@pytest.mark.parametrize(
    ("age", "in_flight", "given_back"),
    [(timedelta(), False, False), (LEASE, False, True), (LEASE, True, False)],
    ids=["held", "over", "over, but attempted"],
)
async def test_a_delivery_whose_lease_ended_before_it_was_inserted_is_given_back(
    age: timedelta, in_flight: bool, given_back: bool
) -> None:
    world, draft = World(), draft_of("dlv_1")
    world.lanes.offer(draft.claim, now=time.monotonic() - age.total_seconds())
    if in_flight:
        await world.lanes.next()
    world.recorder.keep(draft, Receipt())

    await world.finish()

    assert [each.delivery_id for each in world.store.due] == (["dlv_1"] if given_back else [])


async def test_a_delivery_of_which_nothing_is_held_any_more_is_given_back() -> None:
    world = World()
    world.recorder.keep(draft_of("dlv_1"), Receipt())
    world.recorder.keep(draft_of("dlv_2", leased=False), Receipt())

    await world.finish()

    assert [each.delivery_id for each in world.store.due] == ["dlv_1"]


def to_rest(identity: str = "dlv_1") -> Draft:
    return draft_of(identity, leased=False, rests_until=NOW + timedelta(minutes=5))


async def test_what_was_to_rest_while_its_webhook_worked_again_is_woken_at_once() -> None:
    world = World()
    world.recorder.keep(to_rest("dlv_1"), Receipt())
    world.recorder.keep(to_rest("dlv_2"), Receipt())
    world.recorder.keep(draft_of("dlv_3", webhook="wh_2"), Receipt())

    await world.finish()

    assert world.store.woken == ["wh_1"]


async def test_what_rests_while_its_webhook_hangs_is_not_woken() -> None:
    world = World()
    world.circuits.failed(claim(), webhook(), after_seconds=SLOW_SECONDS + 1)
    world.recorder.keep(to_rest(), Receipt())

    await world.finish()

    assert world.store.woken == []


async def test_a_reader_has_deliveries_inserted_without_waiting_for_results() -> None:
    world, receipt = World(), Receipt()
    running = asyncio.create_task(world.recorder.run())
    world.recorder.keep(draft_of("dlv_1"), receipt)
    began = world.clock.now()

    world.recorder.hurry()
    while not world.store.inserted:
        await asyncio.sleep(0)
    assert world.clock.now() - began < WAIT

    world.recorder.stop()
    await running


async def test_the_end_leaves_no_delivery_behind() -> None:
    world, receipt = World(), Receipt()
    for number in range(MAX_BATCH * 2 + 1):
        world.recorder.keep(draft_of(f"dlv_{number}", leased=number % 2 == 0), receipt)
    assert world.recorder.unrecorded == MAX_BATCH * 2 + 1

    await world.finish()

    assert world.store.log == ["insert"] * 3
    assert receipt.is_durable
    assert world.recorder.unrecorded == 0


# --- batches ---------------------------------------------------------------------------------------


async def test_what_finishes_together_is_written_together() -> None:
    world = World()

    await world.record(*(result(f"dlv_{number}") for number in range(5)))

    assert [len(batch) for batch in world.store.batches] == [5]


async def test_results_are_written_in_portions_and_keep_their_order() -> None:
    world = World()
    results = [result(f"dlv_{number}") for number in range(MAX_BATCH * 2 + 1)]

    await world.record(*results)

    sizes = [len(batch) for batch in world.store.batches]
    assert max(sizes) <= MOST_PORTION
    assert sizes[0] == int(MAX_BATCH * SHARE)
    assert world.store.recorded == results


async def test_many_deliveries_are_inserted_in_few_writes() -> None:
    world = World()
    for number in range(MAX_BATCH * 2 + 1):
        world.recorder.keep(draft_of(f"dlv_{number}"), Receipt())

    await world.record(*(result(f"dlv_{number}") for number in range(MAX_BATCH * 2 + 1)))

    assert world.store.log.count("insert") == 3
    assert len(world.store.inserted) == MAX_BATCH * 2 + 1


async def test_what_finishes_while_a_batch_is_written_forms_the_next() -> None:
    world = World()
    late = [result("dlv_2"), result("dlv_3")]
    world.store.on_write = lambda: world.recorder.put(late.pop(0)) if late else None  # type: ignore[method-assign]

    await world.record(result("dlv_1"))

    assert [len(batch) for batch in world.store.batches] == [1, 1, 1]


async def test_the_first_result_waits_a_moment_for_others_except_at_the_end() -> None:
    world = World()
    running = asyncio.create_task(world.recorder.run())
    world.recorder.put(result())
    while not world.store.batches:
        await asyncio.sleep(0)
    assert world.clock.moment == NOW + timedelta(seconds=GATHER_SECONDS)

    world.recorder.stop()
    await running

    assert world.clock.moment == NOW + timedelta(seconds=GATHER_SECONDS)


async def test_a_recorder_that_is_stopped_with_nothing_to_write_ends() -> None:
    world = World()

    await world.finish()

    assert world.store.batches == []


async def test_a_recorder_that_is_stopped_writes_what_was_handed_over() -> None:
    world = World()
    world.recorder.put(result())
    world.recorder.hold(resting(claim("dlv_2")))

    await world.finish()

    assert len(world.store.recorded) == len(world.store.held) == 1


# --- back-pressure ---------------------------------------------------------------------------------


async def has_room(recorder: Recorder) -> bool:
    waiting = asyncio.create_task(recorder.room())
    await asyncio.sleep(0)
    if waiting.done():
        return True
    waiting.cancel()
    return False


def test_the_store_is_behind_while_more_than_half_as_many_results_wait_as_may() -> None:
    world = World()
    for number in range(ENOUGH_UNRECORDED):
        world.recorder.put(result(f"dlv_{number}"))
    assert not world.recorder.is_behind

    world.recorder.put(result("one too many"))

    assert world.recorder.is_behind


async def test_there_is_room_until_too_many_results_wait() -> None:
    world = World()
    for number in range(MAX_UNRECORDED - 1):
        world.recorder.put(result(f"dlv_{number}"))
    assert await has_room(world.recorder)

    world.recorder.put(result("one too many"))

    assert not await has_room(world.recorder)


async def test_there_is_room_again_once_enough_is_written() -> None:
    world = World()
    for number in range(MAX_UNRECORDED + MAX_BATCH):
        world.recorder.put(result(f"dlv_{number}"))
    waiting = asyncio.create_task(world.recorder.room())
    await asyncio.sleep(0)
    assert not waiting.done()

    await world.finish()

    await waiting
    assert len(world.store.recorded) == MAX_UNRECORDED + MAX_BATCH


async def test_there_is_room_again_once_no_more_than_half_as_many_wait() -> None:
    world = World()
    rooms: list[bool] = []
    for number in range(MAX_UNRECORDED):
        world.recorder.put(result(f"dlv_{number}"))
    world.store.on_write = lambda: rooms.append(world.recorder._has_room.is_set())  # type: ignore[method-assign]

    await world.finish()

    # During each portion of a batch it is as the batch before has left it: 200, 150, 100, 50 wait.
    assert (MAX_UNRECORDED, MAX_BATCH) == (200, 50)
    assert [room for room, _ in groupby(rooms)] == [False, True]
    assert rooms.count(True) == pytest.approx(len(rooms) / 2, abs=1)
    assert await has_room(world.recorder)


# --- carrying on -----------------------------------------------------------------------------------


async def test_a_delivery_that_is_over_is_forgotten_and_counted() -> None:
    world = World()

    await world.record(result())

    assert world.lanes.held == 0
    assert world.count("webhook_router_deliveries_total", status="delivered") == 1


async def test_a_far_retry_is_forgotten_and_a_near_one_kept_with_its_lease() -> None:
    world = World()

    await world.record(result("far", LATER), result("near", SOON, keep_lease=True))

    (kept,) = world.lanes.all_held()
    assert (kept.delivery_id, kept.attempt_count) == ("near", 1)
    assert world.lanes.holds(kept, now=time.monotonic(), margin=LEASE)


async def test_a_near_retry_comes_back_by_itself_with_its_attempts_counted() -> None:
    world = World()
    world.clock.moment = SOON.at  # its time has come while the result was being written

    world.recorder.put(result("near", SOON, keep_lease=True))
    await world.finish()
    running = asyncio.create_task(world.timers.run())
    again = await world.lanes.next()
    world.timers.stop()
    await running

    assert again is not None
    assert (again.delivery_id, again.attempt_count) == ("near", 1)


async def test_a_fault_of_ours_that_is_kept_counts_no_attempt() -> None:
    world = World()
    fault = Result(claim=claim(attempt_count=3), attempt=None, next=replace(SOON, counted=False), keep_lease=True)

    await world.record(fault)

    assert [each.attempt_count for each in world.lanes.all_held()] == [3]
    assert world.definitions.failing == []


async def test_a_result_that_was_overtaken_is_forgotten_counted_and_says_nothing_of_the_webhook() -> None:
    world = World()
    world.store.lost = {DeliveryId("overtaken")}

    await world.record(
        result("overtaken", SOON, keep_lease=True),
        replace(result("kept"), next=End(status=DeliveryStatus.FAILED, reason=DeliveryReason.EXHAUSTED)),
    )

    assert world.lanes.held == 0
    assert world.count("webhook_router_results_lost_total") == 1
    assert world.definitions.failing == []
    assert world.count("webhook_router_deliveries_total", status="failed") == 1


async def test_nothing_is_acted_upon_before_it_is_durable() -> None:
    world = World()
    held_while_writing: list[int] = []
    world.store.on_write = lambda: held_while_writing.append(world.lanes.held)  # type: ignore[method-assign]

    await world.record(result(after=LATER))

    assert held_while_writing == [1]
    assert world.lanes.held == 0
    assert world.definitions.failing == [("wh_1", NOW)]


# --- what is held back -----------------------------------------------------------------------------


@pytest.mark.parametrize(
    "world", [World(webhook(enabled=False)), World(account_enabled=False)], ids=["paused", "account off"]
)
async def test_what_is_held_rests_in_the_store_and_is_forgotten_here(world: World) -> None:
    world.lanes.offer(claim(), now=0)
    world.recorder.hold(resting(claim()))

    await world.finish()

    assert world.store.held == [resting(claim())]
    assert world.store.woken == []
    assert world.lanes.held == 0


async def test_what_is_held_while_its_webhook_is_enabled_again_is_woken_at_once() -> None:
    world = World(webhook(enabled=False))
    world.recorder.hold(resting(claim("dlv_1")))
    world.recorder.hold(resting(claim("dlv_2")))

    def enable() -> None:
        """Its wake-up call comes before there is anything to wake."""
        world.book.load(snapshot(webhook()))

    world.store.on_write = enable  # type: ignore[method-assign]
    await world.finish()

    assert world.store.woken == ["wh_1"]


async def test_what_is_held_of_a_webhook_that_is_deleted_meanwhile_is_not_woken() -> None:
    world = World(webhook(enabled=False))
    world.recorder.hold(resting(claim()))
    world.book.load(snapshot())

    await world.finish()

    assert world.store.woken == []


# --- what is announced -----------------------------------------------------------------------------


async def test_a_failure_for_good_is_said_to_be_in_the_outbox_once_it_is_durable() -> None:
    world = World()
    failed = End(status=DeliveryStatus.FAILED, reason=DeliveryReason.EXHAUSTED)
    suspended = End(status=DeliveryStatus.FAILED, reason=DeliveryReason.SUSPENDED)
    world.store.lost.add(DeliveryId("dlv_lost"))

    await world.record(
        result("dlv_1", failed),
        result("dlv_2", DELIVERED),
        result("dlv_3", LATER),
        result("dlv_4", suspended),
        result("dlv_lost", failed),
    )

    assert world.announced == [5]


# --- claims of our own while the store stood still ---------------------------------------------------


async def test_a_result_is_recorded_under_the_claim_that_holds_the_delivery_by_now() -> None:
    world = World()
    first = await in_flight(world)
    again = replace(first, fence=first.fence + 1)
    world.lanes.offer(again, now=time.monotonic())
    world.lanes.landed(first)

    world.recorder.put(replace(result(), claim=first))
    await world.finish()

    assert [each.claim.fence for each in world.store.recorded] == [again.fence]
    assert world.lanes.held == 0


async def test_a_result_whose_delivery_we_claimed_while_it_was_written_is_written_again() -> None:
    world = World()
    first = await in_flight(world)
    again = replace(first, fence=first.fence + 1)
    world.lanes.landed(first)
    world.store.lost = {first.delivery_id}

    def claimed_meanwhile() -> None:
        world.lanes.offer(again, now=time.monotonic())
        if len(world.store.batches) == 2:
            world.store.lost.clear()

    world.store.on_write = claimed_meanwhile  # type: ignore[method-assign]
    world.recorder.put(replace(result(), claim=first))
    await world.finish()

    assert [each.claim.fence for each in world.store.recorded] == [first.fence, again.fence]
    assert world.count("webhook_router_results_lost_total") == 0
    assert world.lanes.held == 0


async def test_a_near_retry_that_was_recorded_late_is_held_no_longer_than_its_lease_in_the_store() -> None:
    world = World()
    world.clock.moment = SOON.at + LEASE

    world.recorder.put(result("near", SOON, keep_lease=True))
    await world.finish()

    (kept,) = world.lanes.all_held()
    assert not world.lanes.holds(kept, now=time.monotonic())


async def in_flight(world: World) -> Claim:
    world.lanes.offer(claim(), now=time.monotonic())
    taken = await world.lanes.next()
    assert taken is not None
    return taken


async def test_a_stream_of_deliveries_that_wait_for_nothing_holds_up_no_result() -> None:
    world, receipt = World(), Receipt()

    class Streaming(Store):
        """With each write another delivery comes, and a result with the first."""

        async def insert(self, drafts: Sequence[Draft], results: Mapping[DeliveryId, Result]) -> Collection[DeliveryId]:
            if not self.inserted:
                world.recorder.put(result("retry"))
            found = await super().insert(drafts, results)
            if len(self.inserted) < 200 and not self.batches:
                world.recorder.keep(draft_of(f"dlv_{len(self.inserted)}", leased=False), receipt)
            return found

    world.store = world.recorder._deliveries = Streaming()
    running = asyncio.create_task(world.recorder.run())
    world.recorder.keep(draft_of("dlv_0", leased=False), receipt)
    while not world.store.batches:
        await asyncio.sleep(0)
    assert len(world.store.inserted) <= 3

    world.recorder.stop()
    await running
