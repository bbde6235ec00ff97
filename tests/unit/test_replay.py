"""The rules of replays, and how a worker works them off."""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta
from typing import Any

import pytest

from router.application.definitions import DefinitionBook
from router.application.replay import ReplayDraft, plan_replay
from router.application.replayer import STEP_SECONDS, Replayer, judge
from router.application.samples import sample_event
from router.domain.delivery import DeliveryId, DeliveryStatus
from router.domain.errors import DependencyUnavailable, InvalidInput, OutOfSight
from router.domain.event import AccountId, Event, EventKey, EventType
from router.domain.principal import Principal
from router.domain.replay import (
    MAX_ATTEMPTS,
    MAX_MATCHED,
    MAX_OUTSTANDING,
    MAX_PER_SECOND,
    MAX_PERIOD,
    MAX_REASON_LENGTH,
    MIN_PER_SECOND,
    ReplayId,
    ReplayKind,
    ReplayState,
    Skip,
    check_period,
    check_rate,
    check_reason,
    quota,
)
from router.domain.webhook import Webhook, WebhookId
from router.ports import Candidate, DeliveryFilter, MissedEvent, Position, Replay, Turn
from router.telemetry.metrics import Metrics
from tests.support.fakes_delivery import ACCOUNT, NOW, FakeClock, FakeDefinitions, snapshot, webhook
from tests.support.fakes_manage import FakeStore
from tests.support.terminal import CRM

DAY = timedelta(days=1)

# --- rules -----------------------------------------------------------------------------------------


@pytest.mark.parametrize("reason", [None, "", "  ", "ticket 4711", "x" * MAX_REASON_LENGTH, "01/12/2026 à 14:00"])
def test_reasons_that_are_kept(reason: str | None) -> None:
    assert check_reason(reason) == ((reason or "").strip() or None)


@pytest.mark.parametrize(
    "reason",
    [
        "06 39 98 11 22",
        "rappeler le 0639981122",
        "+33 6.39.98.11.22",
        "x" * (MAX_REASON_LENGTH + 1),
        "a\nb",
        "a\x00",
    ],
)
def test_reasons_that_are_refused(reason: str) -> None:
    with pytest.raises(InvalidInput) as refused:
        check_reason(reason)
    assert refused.value.field == "reason"
    assert "639981122" not in str(refused.value)


@pytest.mark.parametrize(
    ("from_", "to", "expected"),
    [
        (None, None, (NOW - MAX_PERIOD, NOW)),
        (NOW - DAY, None, (NOW - DAY, NOW)),
        (NOW - DAY, NOW + DAY, (NOW - DAY, NOW)),
        (None, NOW - DAY, (NOW - DAY - MAX_PERIOD, NOW - DAY)),
        (NOW - MAX_PERIOD, NOW, (NOW - MAX_PERIOD, NOW)),
    ],
)
def test_a_period_is_closed(from_: datetime | None, to: datetime | None, expected: tuple[datetime, datetime]) -> None:
    assert check_period(from_, to, NOW) == expected


@pytest.mark.parametrize(
    ("from_", "to"),
    [(NOW, None), (NOW + DAY, None), (NOW - DAY, NOW - DAY), (NOW - MAX_PERIOD - timedelta(milliseconds=1), None)],
)
def test_periods_that_are_refused(from_: datetime, to: datetime | None) -> None:
    with pytest.raises(InvalidInput):
        check_period(from_, to, NOW)


def test_a_rate_has_bounds() -> None:
    assert check_rate(None, 20.0) == 20.0
    assert [check_rate(rate, 20.0) for rate in (MIN_PER_SECOND, MAX_PER_SECOND)] == [MIN_PER_SECOND, MAX_PER_SECOND]
    for rate in (MIN_PER_SECOND / 2, MAX_PER_SECOND + 0.1, float("nan"), float("inf")):
        with pytest.raises(InvalidInput):
            check_rate(rate, 20.0)


@pytest.mark.parametrize(("rate", "released"), [(0.1, 1), (1.9, 1), (20.0, 10), (100.0, 50)])
def test_a_step_releases_what_the_rate_allows(rate: float, released: int) -> None:
    assert quota(rate, STEP_SECONDS) == released


def candidate(identity: str = "dlv_1", **changes: Any) -> Candidate:
    usual = Candidate(
        delivery_id=DeliveryId(identity),
        webhook_id=WebhookId("wh_1"),
        is_ours=False,
        is_pending=False,
        is_free=True,
        has_payload=True,
        fence=1,
        attempt_count=3,
    )
    return replace(usual, **changes)


@pytest.mark.parametrize(
    ("changes", "has_webhook", "verdict"),
    [
        ({}, True, None),
        ({}, False, Skip.WEBHOOK_DELETED),
        ({"has_payload": False}, True, Skip.PAYLOAD_GONE),
        ({"is_free": False, "is_pending": True}, True, Skip.PENDING),
        ({"is_free": False}, True, Skip.CHANGED),
        ({"is_pending": True}, True, None),
        ({"attempt_count": MAX_ATTEMPTS - 1}, True, None),
        ({"attempt_count": MAX_ATTEMPTS}, True, Skip.TOO_MANY_ATTEMPTS),
        # What it has released itself counts as released, whatever came of it.
        ({"is_ours": True, "is_free": False, "has_payload": False}, False, None),
    ],
)
def test_what_is_passed_over_and_why(changes: dict[str, Any], has_webhook: bool, verdict: Skip | None) -> None:
    assert judge(candidate(**changes), has_webhook=has_webhook) is verdict


# --- plans -----------------------------------------------------------------------------------------

ANYBODY = Principal(name="admin_token", scopes=frozenset())
OF_77 = Principal(name="token:x", scopes=frozenset(), account_id=AccountId("77"))


@pytest.mark.parametrize(
    ("where", "missing", "by", "refusal"),
    [
        (DeliveryFilter(), False, ANYBODY, "filter"),
        (DeliveryFilter(), False, OF_77, "filter"),
        (DeliveryFilter(webhook_id=WebhookId("wh_none")), False, ANYBODY, OutOfSight),
        (DeliveryFilter(webhook_id=CRM.id, account_id=AccountId("77")), False, ANYBODY, "filter.webhook_id"),
        (DeliveryFilter(from_=NOW - DAY), True, ANYBODY, "filter.account_id"),
        (DeliveryFilter(account_id=ACCOUNT, number_prefix="2211"), True, ANYBODY, "filter.number"),
        (DeliveryFilter(account_id=ACCOUNT, call_id="c-1"), True, ANYBODY, "filter.call_id"),
    ],
)
async def test_filters_that_are_refused(
    where: DeliveryFilter, missing: bool, by: Principal, refusal: str | type[Exception]
) -> None:
    store = FakeStore(definitions={CRM.id: CRM})

    with pytest.raises((InvalidInput, OutOfSight)) as refused:
        await plan_replay(store.replays, store.reader, ReplayDraft(where=where, missing=missing), by=by, now=NOW)

    if isinstance(refused.value, InvalidInput):
        assert refused.value.field == refusal
    else:
        assert refusal is OutOfSight


async def test_a_webhook_says_whose_the_replay_is_and_which_events_may_be_missing() -> None:
    store = FakeStore(definitions={CRM.id: CRM})
    where = DeliveryFilter(webhook_id=CRM.id)

    plain = await plan_replay(store.replays, store.reader, ReplayDraft(where=where), by=ANYBODY, now=NOW)
    draft = ReplayDraft(where=where, missing=True)
    missing = await plan_replay(store.replays, store.reader, draft, by=ANYBODY, now=NOW)

    assert (plain.where.account_id, plain.where.event_type) == ("1042", None)
    assert (missing.where.account_id, missing.where.event_type) == ("1042", EventType.CALL)
    assert missing.kind is ReplayKind.MISSING


async def test_what_a_token_of_one_account_replays_is_its_accounts() -> None:
    store = FakeStore()
    draft = ReplayDraft(where=DeliveryFilter(from_=NOW - DAY))

    plan = await plan_replay(store.replays, store.reader, draft, by=OF_77, now=NOW)

    assert plan.where.account_id == "77"


@pytest.mark.parametrize(
    "where",
    [DeliveryFilter(status=DeliveryStatus.FAILED), DeliveryFilter(event_id="evt-1"), DeliveryFilter(call_id="call-1")],
)
async def test_any_condition_is_enough_for_a_filter_and_none_is_not(where: DeliveryFilter) -> None:
    store = FakeStore()

    plan = await plan_replay(store.replays, store.reader, ReplayDraft(where=where), by=ANYBODY, now=NOW)

    assert (plan.where.from_, plan.where.to) == (NOW - MAX_PERIOD, NOW)
    with pytest.raises(InvalidInput, match="one condition"):
        await plan_replay(store.replays, store.reader, ReplayDraft(where=DeliveryFilter()), by=ANYBODY, now=NOW)


async def test_a_replay_matches_so_much_and_no_more() -> None:
    store = FakeStore()
    draft = ReplayDraft(where=DeliveryFilter(account_id=ACCOUNT), missing=True)
    store.replays.missing = MAX_MATCHED
    assert (await plan_replay(store.replays, store.reader, draft, by=ANYBODY, now=NOW)).matched == MAX_MATCHED

    store.replays.missing = MAX_MATCHED + 1
    with pytest.raises(InvalidInput, match="narrow"):
        await plan_replay(store.replays, store.reader, draft, by=ANYBODY, now=NOW)


# --- a worker --------------------------------------------------------------------------------------


@dataclass
class FakeQueue:
    """`ports.ReplayQueue` with one replay over what is `left`."""

    replay: Replay
    left: list[str] = field(default_factory=list)
    events: dict[str, MissedEvent] = field(default_factory=dict)
    batch: Sequence[str] = ()
    is_exhausted: bool = False
    is_cancelled: bool = False
    is_away: bool = False
    due_at: list[datetime] = field(default_factory=list)
    released: list[str] = field(default_factory=list)
    given: list[tuple[str, list[WebhookId]]] = field(default_factory=list)
    changed: set[str] = field(default_factory=set)
    unfit: dict[str, dict[str, Any]] = field(default_factory=dict)

    async def take(self) -> Turn | None:
        if self.is_away:
            raise DependencyUnavailable("MongoDB is away")
        if self.replay.state is not ReplayState.RUNNING:
            return None
        return Turn(replay=self.replay, fence=1, position=None, batch=self.batch, is_exhausted=self.is_exhausted)

    async def find(self, turn: Turn, limit: int) -> tuple[Sequence[str], Position | None]:
        found, self.left = self.left[:limit], self.left[limit:]
        return found, None

    async def begin(self, turn: Turn, batch: Sequence[str], position: Position | None, *, is_exhausted: bool) -> bool:
        self.batch, self.is_exhausted = batch, is_exhausted
        return not self.is_cancelled

    async def candidates(self, batch: Sequence[str], turn: Turn) -> Sequence[Candidate]:
        return [candidate(identity, **self.unfit.get(identity, {})) for identity in batch]

    async def release(self, chosen: Sequence[Candidate], turn: Turn) -> Collection[DeliveryId]:
        done = [each.delivery_id for each in chosen if each.delivery_id not in self.changed]
        self.released += done
        return done

    async def missed(self, batch: Sequence[str], turn: Turn) -> Sequence[MissedEvent]:
        return [self.events[key] for key in batch if key in self.events]

    async def give(self, event: Event, webhooks: Sequence[Webhook], turn: Turn) -> bool:
        self.given.append((event.event_id, [each.id for each in webhooks]))
        return event.event_id not in self.changed

    async def advance(self, turn: Turn, *, released: int, skipped: Mapping[Skip, int], due_at: datetime) -> None:
        counts = dict(self.replay.skipped)
        for reason, count in skipped.items():
            counts[reason] = counts.get(reason, 0) + count
        self.replay = replace(self.replay, released=self.replay.released + released, skipped=counts)
        self.batch = ()
        self.due_at.append(due_at)

    async def finish(self, turn: Turn) -> None:
        self.replay = replace(self.replay, state=ReplayState.DONE)

    async def states(self) -> Mapping[ReplayState, int]:
        return {ReplayState.RUNNING: 2}


def replay(**changes: Any) -> Replay:
    usual = Replay(
        id=ReplayId("rpl_1"),
        kind=ReplayKind.DELIVERIES,
        where=DeliveryFilter(account_id=ACCOUNT, from_=NOW - DAY, to=NOW),
        reason=None,
        per_second=20.0,
        matched=25,
        created_by="token:x",
        created_at=NOW,
    )
    return replace(usual, **changes)


def replayer(queue: FakeQueue, *hooks: Webhook, may_release: Callable[[], bool] = lambda: True) -> Replayer:
    book = DefinitionBook()
    book.load(snapshot(*(hooks or (webhook(),))))
    return Replayer(
        queue=queue,
        book=book,
        definitions=FakeDefinitions(),
        clock=FakeClock(),
        metrics=Metrics("test"),
        may_release=may_release,
    )


async def worked_off(worker: Replayer, queue: FakeQueue) -> Replay:
    for _ in range(100):
        if not await worker.step():
            break
    return queue.replay


async def test_a_replay_is_worked_off_at_its_rate() -> None:
    queue = FakeQueue(replay(), left=[f"dlv_{number}" for number in range(25)])

    done = await worked_off(replayer(queue), queue)

    assert (done.state, done.released, done.skipped) == (ReplayState.DONE, 25, {})
    assert len(queue.released) == 25
    # Ten in each half second.
    assert [(at - NOW).total_seconds() for at in queue.due_at] == [0.5, 0.5, 0.25]


async def test_no_more_than_so_many_wait_for_their_first_attempt() -> None:
    queue = FakeQueue(replay(outstanding=MAX_OUTSTANDING - 3), left=[f"dlv_{number}" for number in range(25)])
    worker = replayer(queue)

    await worker.step()
    assert len(queue.released) == 3

    queue.replay = replace(queue.replay, outstanding=MAX_OUTSTANDING)
    await worker.step()
    assert len(queue.released) == 3


async def test_it_is_not_done_before_the_last_was_attempted() -> None:
    queue = FakeQueue(replay(outstanding=1), left=["dlv_1"])
    worker = replayer(queue)

    for _ in range(5):
        await worker.step()
    assert queue.replay.state is ReplayState.RUNNING

    queue.replay = replace(queue.replay, outstanding=0)
    await worker.step()
    assert queue.replay.state is ReplayState.DONE


async def test_a_batch_that_was_begun_is_finished_first() -> None:
    queue = FakeQueue(replay(), left=["dlv_2"], batch=("dlv_1",))

    await replayer(queue).step()

    assert queue.released == ["dlv_1"]
    assert queue.left == ["dlv_2"]


async def test_a_cancellation_stops_before_anything_is_released() -> None:
    queue = FakeQueue(replay(), left=["dlv_1"], is_cancelled=True)

    await replayer(queue).step()

    assert not queue.released


async def test_what_is_passed_over_is_counted_by_why() -> None:
    queue = FakeQueue(
        replay(),
        left=["dlv_1", "dlv_gone", "dlv_deleted", "dlv_changed"],
        unfit={"dlv_gone": {"has_payload": False}, "dlv_deleted": {"webhook_id": WebhookId("wh_deleted")}},
        changed={"dlv_changed"},
    )

    done = await worked_off(replayer(queue), queue)

    assert (done.released, done.done) == (1, 4)
    assert done.skipped == {Skip.PAYLOAD_GONE: 1, Skip.WEBHOOK_DELETED: 1, Skip.CHANGED: 1}


@pytest.mark.parametrize("why", ["no room", "store away"])
async def test_nothing_is_released_while_there_is_no_room_and_no_store(why: str) -> None:
    queue = FakeQueue(replay(), left=["dlv_1"], is_away=why == "store away")

    assert not await replayer(queue, may_release=lambda: why != "no room").step()

    assert not queue.released


def missed(event_id: str, *, given_to: Collection[WebhookId] = (), payload: bytes | None = b"{}") -> MissedEvent:
    event = Event(
        account_id=ACCOUNT,
        event_id=event_id,
        type=EventType.CDR,
        name=None,
        occurred_at=None,
        received_at=NOW,
        call_id=None,
        sequence=None,
        tracking_number=None,
        user_id=None,
        number_keys=(),
        payload=payload or b"",
        source="cdr",
    )
    return MissedEvent(key=EventKey(event_id), event=event if payload is not None else None, given_to=given_to)


async def test_missing_events_go_to_whom_they_match_today() -> None:
    events = {
        "evt_1": missed("evt_1"),
        "evt_2": missed("evt_2", given_to={WebhookId("wh_paused")}),
        "evt_gone": missed("evt_gone", payload=None),
        "evt_before": missed("evt_before"),
    }
    queue = FakeQueue(
        replay(kind=ReplayKind.MISSING), left=[*events, "evt_left"], events=events, changed={"evt_before"}
    )
    paused, calls = webhook("wh_paused", enabled=False), webhook("wh_calls", event_type=EventType.CALL)

    done = await worked_off(replayer(queue, webhook(), paused, calls), queue)

    # What this replay has begun, it ends, whatever became of the definition.
    assert queue.given == [("evt_1", ["wh_1"]), ("evt_2", ["wh_1", "wh_paused"]), ("evt_before", ["wh_1"])]
    assert (done.released, done.skipped) == (2, {Skip.PAYLOAD_GONE: 1, Skip.REPEATED: 1, Skip.CHANGED: 1})


async def test_missing_events_that_match_nothing_today_either_are_passed_over() -> None:
    queue = FakeQueue(replay(kind=ReplayKind.MISSING), left=["evt_1"], events={"evt_1": missed("evt_1")})

    done = await worked_off(replayer(queue, webhook(enabled=False)), queue)

    assert (done.state, done.done, done.skipped) == (ReplayState.DONE, 1, {Skip.UNMATCHED: 1})


async def test_a_replay_for_one_webhook_gives_to_no_other() -> None:
    where = replace(replay().where, webhook_id=WebhookId("wh_2"))
    queue = FakeQueue(replay(kind=ReplayKind.MISSING, where=where), left=["evt_1"], events={"evt_1": missed("evt_1")})

    await worked_off(replayer(queue, webhook("wh_1"), webhook("wh_2")), queue)

    assert queue.given == [("evt_1", ["wh_2"])]


# --- what a test sends -----------------------------------------------------------------------------


@pytest.mark.parametrize("kind", EventType)
def test_a_test_event_says_in_its_data_that_it_is_one(kind: EventType) -> None:
    plain, test = (
        sample_event(kind, account_id="1042", token="x", now=NOW, is_test=is_test) for is_test in (False, True)
    )
    assert b'"test"' not in plain
    assert b'"data": {"test": true, ' in test
