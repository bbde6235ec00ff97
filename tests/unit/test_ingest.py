"""From messages to durable events and deliveries."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import timedelta

import pytest
from structlog.testing import capture_logs

from router.application.budget import RetryBudget
from router.application.circuits import PUT_OFF
from router.application.definitions import DefinitionBook
from router.application.health import WebhookHealth
from router.application.ingest import HANDLER_TRIES, Ingest
from router.application.lanes import LaneLimits, Lanes
from router.application.record import MAX_BATCH, MAX_UNRECORDED, Recorder
from router.application.timers import Timers
from router.application.turns import Turns
from router.domain.delivery import DeliveryId, DeliveryReason, DeliveryStatus, delivery_id
from router.domain.event import AccountId, Event, EventType, Rejection, RejectionReason
from router.domain.lease import LEASE, RENEW_BELOW
from router.domain.matching import Verdict
from router.domain.retry import End, Schedule
from router.domain.webhook import Account, Suspension, SuspensionReason, Webhook, WebhookId
from router.ports import (
    DeadLetter,
    DefinitionSnapshot,
    Draft,
    Intake,
    MessageProperties,
    PlannedDelivery,
    PlannedEvent,
    RawMessage,
    Result,
)
from router.telemetry.metrics import Metrics
from tests.support.fakes_delivery import (
    NOW,
    FakeClock,
    FakeDeadLetters,
    FakeDefinitions,
    FakeDeliveries,
    FakeSource,
    cdr,
    circuits,
    claim,
    make_budget,
    snapshot,
    webhook,
)

SCHEDULE = Schedule(timeout=timedelta(seconds=5), delays=(timedelta(seconds=1),), max_age=timedelta(seconds=30))
DAYS, MINUTE = timedelta(days=5), timedelta(minutes=1)
RAW = RawMessage(
    body=b"{}",
    source="cdr",
    exchange="cdr",
    routing_key="cdr.created",
    properties=MessageProperties(),
    received_at=NOW,
    redelivered=False,
)


def intake(content: str | Rejection) -> Intake:
    understood = cdr(content) if isinstance(content, str) else content
    return Intake(content=understood, raw=replace(RAW), born_at=NOW, tag=None)


@dataclass
class World:
    """One pass of `Ingest` over prepared batches."""

    definitions: DefinitionSnapshot
    queued_per_lane: int = 10
    deliveries: FakeDeliveries = field(default_factory=FakeDeliveries)
    letters: FakeDeadLetters = field(default_factory=FakeDeadLetters)
    max_age: timedelta | None = timedelta(seconds=30)
    metrics: Metrics = field(default_factory=lambda: Metrics("test"))
    book: DefinitionBook = field(default_factory=DefinitionBook)
    backlog: int = 0
    """Results that wait to be recorded from the beginning."""
    hanging: tuple[str, ...] = ()
    """Webhooks whose last attempt failed, and took long for it."""
    probed: Webhook | None = None
    """A webhook whose circuit is open, and whose probe is under way."""
    budget: RetryBudget = field(default_factory=make_budget)
    turns: Turns = field(default_factory=Turns)
    source: FakeSource = field(default_factory=lambda: FakeSource([]))
    source_class: type[FakeSource] = FakeSource

    def count(self, name: str, **labels: str) -> float:
        return self.metrics.registry.get_sample_value(name, labels) or 0

    async def take_in(self, *batches: list[Intake]) -> FakeSource:
        book, clock = self.book, FakeClock()
        book.load(self.definitions)
        known = circuits(clock)
        for each in self.hanging:
            known.failed(claim(webhook=each), webhook(each), after_seconds=5)
        if self.probed is not None:
            known.admit(claim(), self.probed)
        self.lanes = Lanes(
            LaneLimits(in_flight=10, in_flight_per_lane=10, queued_per_lane=self.queued_per_lane),
            is_failing=known.is_failing,
            is_hanging=known.is_hanging,
        )
        source = self.source = self.source_class(list(batches), self.deliveries.log)
        health = WebhookHealth(book, FakeDefinitions(), clock, DAYS, recovered_after=MINUTE)
        self.recorder = recorder = Recorder(
            deliveries=self.deliveries,
            health=health,
            book=book,
            circuits=known,
            lanes=self.lanes,
            timers=Timers(self.lanes),
            clock=clock,
            metrics=self.metrics,
            turns=self.turns,
        )
        for number in range(self.backlog):
            recorder.put(Result(claim=claim(f"dlv_{number}"), attempt=None, next=End(status=DeliveryStatus.DELIVERED)))
        recording = asyncio.create_task(recorder.run())
        self.ingest = Ingest(
            source=source,
            deliveries=self.deliveries,
            dead_letters=self.letters,
            book=book,
            lanes=self.lanes,
            recorder=recorder,
            circuits=known,
            budget=self.budget,
            clock=clock,
            schedules=dict.fromkeys(EventType, replace(SCHEDULE, max_age=self.max_age)),
            metrics=self.metrics,
            turns=self.turns,
        )
        await self.ingest.run()
        recorder.stop()
        await recording
        return source


async def test_a_batch_is_acknowledged_only_after_it_is_stored() -> None:
    world = World(snapshot(webhook()))

    source = await world.take_in([intake("evt_1"), intake("evt_2")])

    assert world.deliveries.log == ["admit", "insert", "settle"]
    assert len(source.settled) == 2
    assert world.lanes.held == 2


async def test_an_event_is_planned_with_a_verdict_on_every_webhook_of_its_account() -> None:
    world = World(snapshot(webhook("a"), webhook("b", enabled=False), webhook("c", event_type=EventType.CALL)))

    await world.take_in([intake("evt_1")])

    (plan,) = world.deliveries.admitted
    assert dict(plan.trace) == {"a": Verdict.MATCHED, "b": Verdict.PAUSED, "c": Verdict.EVENT_TYPE}
    assert [delivery.webhook_id for delivery in plan.deliveries] == ["a"]
    assert plan.not_after == NOW + timedelta(seconds=30)


async def test_an_account_that_is_off_gets_a_trace_and_no_delivery() -> None:
    world = World(snapshot(webhook(), enabled=False))

    await world.take_in([intake("evt_1")])

    (plan,) = world.deliveries.admitted
    assert (plan.account_enabled, list(plan.trace), list(plan.deliveries)) == (
        False,
        [("wh_1", Verdict.ACCOUNT_DISABLED)],
        [],
    )


async def test_a_suspended_webhook_gets_a_delivery_that_has_failed_already() -> None:
    suspended = webhook(suspension=Suspension(since=NOW, reason=SuspensionReason.GONE))
    world = World(snapshot(suspended))

    await world.take_in([intake("evt_1")])

    (delivery,) = world.deliveries.admitted[0].deliveries
    assert delivery.ended == End(status=DeliveryStatus.FAILED, reason=DeliveryReason.SUSPENDED)
    assert not delivery.leased
    assert world.lanes.held == 0


async def test_what_does_not_fit_into_the_lane_is_left_to_the_store() -> None:
    world = World(snapshot(webhook()), queued_per_lane=2)

    await world.take_in([intake(f"evt_{number}") for number in range(3)])

    leased = [delivery.leased for plan in world.deliveries.admitted for delivery in plan.deliveries]
    assert leased == [True, True, False]
    assert world.lanes.held == 2
    assert world.lanes._overflowed


async def test_a_duplicate_gives_its_place_back() -> None:
    world = World(snapshot(webhook()), queued_per_lane=2)

    await world.take_in([intake("evt_1")], [intake("evt_1")], [intake("evt_2")])

    assert world.lanes.held == 2
    assert [plan.deliveries[0].leased for plan in world.deliveries.admitted] == [True, True, True]


async def test_what_cannot_be_understood_is_buried_and_acknowledged_with_the_rest() -> None:
    rejection = Rejection(reason=RejectionReason.NOT_JSON, detail="at character 0")
    world = World(snapshot(webhook()))

    source = await world.take_in([intake(rejection), intake("evt_1")])

    assert [letter.rejection for letter in world.letters.letters] == [rejection]
    assert len(world.deliveries.admitted) == 1
    assert len(source.settled) == 2


async def test_an_event_that_the_store_refuses_is_parked_and_the_others_go_on() -> None:
    world = World(snapshot(webhook()))
    world.deliveries.refuses = {"evt_2"}

    with capture_logs() as log:
        source = await world.take_in([intake("evt_1"), intake("evt_2"), intake("evt_3")])

    refused = [line for line in log if line["event"] == "batch_refused"]
    assert [(line["events"], line["error"]) for line in refused] == [(3, "ValueError"), (1, "ValueError")]
    # The store's text quotes what it refuses.
    assert "this event cannot be stored" not in str(log).replace('raise ValueError("this event cannot be stored")', "")
    assert [plan.event.event_id for plan in world.deliveries.admitted] == ["evt_1", "evt_3"]
    assert [letter.rejection.reason for letter in world.letters.letters] == [RejectionReason.HANDLER_ERROR]
    assert len(source.settled) == 3
    assert world.lanes.held == 2


async def test_a_dead_letter_is_durable_before_its_message_is_acknowledged() -> None:
    world = World(snapshot(webhook()))

    class Logged(FakeDeadLetters):
        async def bury(self, letters: Sequence[DeadLetter]) -> None:
            world.deliveries.log.append("bury")
            await super().bury(letters)

    world.letters = Logged()
    await world.take_in([intake("evt_1"), intake(Rejection(reason=RejectionReason.TOO_DEEP, detail=""))])

    assert world.deliveries.log == ["bury", "admit", "insert", "settle"]
    assert world.count("webhook_router_dead_letters_total", reason="too_deep") == 1


async def test_an_event_that_is_refused_alone_is_parked_with_its_message_and_acknowledged() -> None:
    world = World(snapshot(webhook()))
    world.deliveries.refuses = {"evt_1"}
    refused = intake("evt_1")

    source = await world.take_in([refused])

    (letter,) = world.letters.letters
    assert letter.raw is refused.raw
    assert source.settled == [refused]
    assert world.count("webhook_router_events_received_total", type="cdr") == 1
    assert world.count("webhook_router_events_stored_total", type="cdr") == 0


async def test_a_refused_batch_gives_every_place_back() -> None:
    world = World(snapshot(webhook()), queued_per_lane=2)
    world.deliveries.refuses = {"evt_1", "evt_2"}

    await world.take_in([intake("evt_1"), intake("evt_2")], [intake("evt_3"), intake("evt_4")])

    assert world.lanes.held == 2
    assert not world.lanes._overflowed
    assert len(world.letters.letters) == 2


async def test_an_event_of_nobody_is_stored_and_counted_as_unmatched() -> None:
    world = World(snapshot())

    source = await world.take_in([intake("evt_1")])

    (plan,) = world.deliveries.admitted
    assert (list(plan.trace), list(plan.deliveries)) == ([], [])
    assert len(source.settled) == 1
    assert world.count("webhook_router_events_stored_total", type="cdr") == 1
    assert world.count("webhook_router_events_unmatched_total", type="cdr") == 1


async def test_an_event_of_a_type_that_does_not_age_has_no_last_moment() -> None:
    world = World(snapshot(webhook()), max_age=None)

    await world.take_in([intake("evt_1")])

    assert world.deliveries.admitted[0].not_after is None


async def test_age_counts_from_the_birth_of_the_event_and_not_from_its_reception() -> None:
    world = World(snapshot(webhook()))

    await world.take_in([replace(intake("evt_1"), born_at=NOW - timedelta(seconds=20))])

    assert world.deliveries.admitted[0].not_after == NOW + timedelta(seconds=10)


async def test_one_event_for_several_webhooks_is_one_place_in_each_lane() -> None:
    world = World(snapshot(webhook("a"), webhook("b")), queued_per_lane=1)

    await world.take_in([intake("evt_1"), intake("evt_2")])

    leased = [
        (delivery.webhook_id, delivery.leased) for plan in world.deliveries.admitted for delivery in plan.deliveries
    ]
    assert leased == [("a", True), ("b", True), ("a", False), ("b", False)]
    assert world.lanes.held == 2


class Stuck(FakeDeliveries):
    """Does not write results before it may."""

    may = asyncio.Event()

    async def record(self, results: Sequence[Result]) -> Sequence[Result]:
        await self.may.wait()
        return await super().record(results)


async def test_a_batch_in_hand_is_finished_and_no_other_taken_while_results_wait() -> None:
    world = World(snapshot(webhook()), backlog=MAX_UNRECORDED + MAX_BATCH, deliveries=Stuck())
    Stuck.may.clear()
    taking = asyncio.create_task(world.take_in([intake("evt_1")], [intake("evt_2")]))
    for _ in range(100):
        await asyncio.sleep(0)
    assert world.deliveries.log == ["admit"]

    Stuck.may.set()
    await taking

    assert world.deliveries.log.count("admit") == 2
    assert len(world.deliveries.inserted) == 2


# --- what is acknowledged, and when -------------------------------------------------------------------


class Slow(FakeDeliveries):
    """Inserts deliveries of `evt_1` alone, until it may go on."""

    may = asyncio.Event()

    async def insert(self, drafts: Sequence[Draft], results: Mapping[DeliveryId, Result]) -> Collection[DeliveryId]:
        inserted = await super().insert(drafts, results)
        if any(each.claim.event_id != "evt_1" for each in drafts):
            await self.may.wait()
        return inserted


async def test_the_next_batch_is_taken_in_while_deliveries_of_the_last_are_not_inserted_yet() -> None:
    world = World(snapshot(webhook()), deliveries=Slow())
    Slow.may.clear()
    taking = asyncio.create_task(world.take_in([intake("evt_1")], [intake("evt_2")], [intake("evt_3")]))
    for _ in range(100):
        await asyncio.sleep(0)
    assert world.deliveries.log[:2] == ["admit", "admit"]
    assert "settle" not in world.deliveries.log

    Slow.may.set()
    source = await taking

    assert [item.content.event_id for item in source.settled if isinstance(item.content, Event)] == [
        "evt_1", "evt_2", "evt_3",
    ]  # fmt: skip


async def test_what_is_known_is_acknowledged_without_a_second_delivery() -> None:
    world = World(snapshot(webhook()))
    world.deliveries.known = {"evt_1"}

    source = await world.take_in([intake("evt_1")])

    assert world.deliveries.log == ["admit", "settle"]
    assert len(source.settled) == 1
    assert world.lanes.held == 0


async def test_a_message_of_which_the_store_refuses_a_delivery_is_a_dead_letter_and_acknowledged() -> None:
    world = World(snapshot(webhook("a"), webhook("b")))
    world.deliveries.refuses_deliveries = {delivery_id(cdr("evt_2").key, WebhookId(each)) for each in ("a", "b")}
    refused = intake("evt_2")

    with capture_logs() as log:
        source = await world.take_in([intake("evt_1"), refused])

    assert [letter.raw for letter in world.letters.letters] == [refused.raw]
    assert len(source.settled) == 2
    assert len(world.deliveries.inserted) == 2
    refusals = [line for line in log if line["event"] == "deliveries_refused"]
    assert [(line["deliveries"], line["error"]) for line in refusals] == [
        (4, "ValueError"), (1, "ValueError"), (1, "ValueError"),
    ]  # fmt: skip


async def test_a_reader_finds_what_was_taken_in_and_waits_for_nothing_else() -> None:
    world = World(snapshot(webhook()))
    arrived = asyncio.Event()

    class Open(FakeSource):
        async def arrival(self) -> bool:
            if not self.batches:
                await arrived.wait()
            return await super().arrival()

    world.source_class = Open
    taking = asyncio.create_task(world.take_in([intake("evt_1")]))
    while not world.deliveries.admitted:
        await asyncio.sleep(0)
    assert world.deliveries.inserted == []

    await world.ingest.catch_up()
    assert len(world.deliveries.inserted) == 1
    await world.ingest.catch_up()

    arrived.set()
    await taking


@pytest.mark.parametrize(
    ("left", "is_held"), [(RENEW_BELOW + timedelta(seconds=1), True), (RENEW_BELOW, False), (-LEASE, False)]
)
async def test_a_claim_is_held_for_what_is_left_of_its_lease_if_that_is_enough(left: timedelta, is_held: bool) -> None:
    class Late(FakeDeliveries):
        async def admit(self, planned: Sequence[PlannedEvent]) -> Sequence[Draft]:
            drafts = await super().admit(planned)
            return [replace(draft, lease_until=NOW + left) for draft in drafts]

    world = World(snapshot(webhook()), queued_per_lane=1, deliveries=Late())
    await world.take_in([intake("evt_1")])

    assert [draft.delivery.leased for draft in world.deliveries.inserted] == [is_held]
    assert world.lanes.room() == 80 - is_held
    for held in world.lanes.all_held():
        now = time.monotonic()
        assert world.lanes.holds(held, now=now)
        assert not world.lanes.holds(held, now=now + left.total_seconds())
    # The place that was kept for it is free again.
    await world.take_in([intake("evt_2")])
    assert world.deliveries.admitted[-1].deliveries[0].leased


async def test_a_batch_is_taken_when_its_turn_comes_so_that_what_arrived_meanwhile_is_in_it() -> None:
    world = World(snapshot(webhook()))
    batch = [intake("evt_1")]
    async with world.turns.turn():
        taking = asyncio.create_task(world.take_in(batch))
        for _ in range(10):
            await asyncio.sleep(0)
        batch.append(intake("evt_2"))

    await taking

    assert len(world.deliveries.admitted) == 2
    assert world.deliveries.log == ["admit", "insert", "settle"]


# --- after an outage, and for webhooks that fail -----------------------------------------------------


async def test_a_call_that_is_too_old_when_it_arrives_ends_at_once_and_takes_no_place() -> None:
    world = World(snapshot(webhook()))

    await world.take_in([replace(intake("evt_1"), born_at=NOW - timedelta(seconds=31))])

    (delivery,) = world.deliveries.admitted[0].deliveries
    assert delivery.ended == End(status=DeliveryStatus.EXPIRED, reason=DeliveryReason.TOO_OLD)
    assert world.lanes.held == 0
    assert world.count("webhook_router_deliveries_total", status="expired") == 1


async def test_a_call_at_its_very_last_moment_is_still_attempted() -> None:
    world = World(snapshot(webhook()))

    await world.take_in([replace(intake("evt_1"), born_at=NOW - timedelta(seconds=30))])

    assert world.deliveries.admitted[0].deliveries[0].leased


async def test_what_finds_no_place_rests_while_its_webhook_hangs_and_is_due_while_it_does_not() -> None:
    bad, good = World(snapshot(webhook()), hanging=("wh_1",)), World(snapshot(webhook()), queued_per_lane=2)
    events = [intake(f"evt_{number}") for number in range(3)]

    await bad.take_in(events)
    await good.take_in(events)

    planned = [[plan.deliveries[0] for plan in world.deliveries.admitted] for world in (bad, good)]
    assert [[each.leased for each in of_world] for of_world in planned] == [[True, True, False]] * 2
    assert planned[0][2].rests_until == NOW + PUT_OFF
    assert planned[1][2].rests_until is None


async def test_deliveries_of_an_open_circuit_rest_from_the_beginning() -> None:
    dead = webhook(failing_since=NOW - timedelta(hours=1))
    world = World(snapshot(dead), probed=dead)

    await world.take_in([intake("evt_1"), intake("evt_2")])

    deliveries = [plan.deliveries[0] for plan in world.deliveries.admitted]
    assert [each.leased for each in deliveries] == [False, False]
    assert all(each.rests_until and each.rests_until > NOW for each in deliveries)
    assert world.lanes.held == 0


async def test_retries_may_have_a_share_of_what_is_taken_in() -> None:
    world = World(snapshot(), budget=make_budget(has_backlog=True))
    await world.take_in([intake(f"evt_{number}") for number in range(200)])

    assert world.budget.allowance(200) == 20


class RaisingBook(DefinitionBook):
    """Raises `times` times for an account whose events hurt. The text quotes what must not be logged."""

    def __init__(self, times: int) -> None:
        super().__init__()
        self._left = times

    def account(self, account_id: AccountId) -> Account:
        if account_id == HURTFUL and self._left:
            self._left -= 1
            raise KeyError(SECRET)
        return super().account(account_id)


HURTFUL = AccountId("hurtful")
SECRET = "0639980000"


def hurtful(event_id: str) -> Intake:
    return replace(intake(event_id), content=replace(cdr(event_id), account_id=HURTFUL))


async def test_an_event_whose_planning_always_raises_is_parked_and_the_others_flow() -> None:
    world = World(snapshot(webhook()), book=RaisingBook(1_000))
    poison = hurtful("evt_2")

    with capture_logs() as log:
        source = await world.take_in([intake("evt_1"), poison, intake("evt_3")], [intake("evt_4")])

    assert [plan.event.event_id for plan in world.deliveries.admitted] == ["evt_1", "evt_3", "evt_4"]
    (letter,) = world.letters.letters
    assert letter.raw is poison.raw
    assert letter.rejection.reason is RejectionReason.HANDLER_ERROR
    assert len(source.settled) == 4
    raised = [line for line in log if line["event"] == "handler_raised"]
    assert [(line["tried"], line["error"]) for line in raised] == [
        (tried, "KeyError") for tried in range(1, HANDLER_TRIES + 1)
    ]
    assert all("in account" in line["where"] for line in raised)
    assert SECRET not in str(log)


async def test_an_event_whose_planning_raises_now_and_then_is_planned() -> None:
    world = World(snapshot(webhook()), book=RaisingBook(HANDLER_TRIES - 1))

    await world.take_in([hurtful("evt_1")])

    assert [plan.event.event_id for plan in world.deliveries.admitted] == ["evt_1"]
    assert world.letters.letters == []


async def test_an_event_that_raises_when_a_refused_batch_is_planned_anew_is_parked() -> None:
    book = RaisingBook(0)
    world = World(snapshot(webhook()), book=book)
    world.deliveries.refuses = {"evt_1"}

    class Refusing(FakeDeliveries):
        async def admit(self, planned: Sequence[PlannedEvent]) -> Sequence[Draft]:
            book._left = 1_000
            return await super().admit(planned)

    world.deliveries = Refusing(refuses={"evt_1"})
    source = await world.take_in([intake("evt_1"), hurtful("evt_2"), intake("evt_3")])

    assert [plan.event.event_id for plan in world.deliveries.admitted] == ["evt_3"]
    assert len(world.letters.letters) == 2
    assert len(source.settled) == 3


async def test_planning_that_raises_half_way_gives_the_places_back(monkeypatch: pytest.MonkeyPatch) -> None:
    world = World(snapshot(webhook("a"), webhook("b")), queued_per_lane=1)
    plan_delivery = Ingest._plan_delivery

    def plan(self: Ingest, event: Event, webhook: Webhook, *, is_stale: bool) -> PlannedDelivery:
        if (event.event_id, webhook.id) == ("evt_1", "b"):
            raise ValueError
        return plan_delivery(self, event, webhook, is_stale=is_stale)

    monkeypatch.setattr(Ingest, "_plan_delivery", plan)
    await world.take_in([intake("evt_1"), intake("evt_2")])

    assert [delivery.leased for delivery in world.deliveries.admitted[0].deliveries] == [True, True]


async def test_nobody_waits_for_a_turn_while_what_had_arrived_is_gone_with_its_connection() -> None:
    world = World(snapshot(webhook()), turns=Turns(patience_seconds=60))
    over = asyncio.Event()

    class Lost(FakeSource):
        async def arrival(self) -> bool:
            self.log.append("arrival")
            if self.log.count("arrival") == 1:
                return True
            await over.wait()
            return False

    world.source_class = Lost
    taking = asyncio.create_task(world.take_in())
    while world.deliveries.log.count("arrival") < 2:
        await asyncio.sleep(0)

    async with asyncio.timeout(1), world.turns.turn():
        pass
    over.set()
    await taking
