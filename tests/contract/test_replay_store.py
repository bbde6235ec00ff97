"""What every `ports.ReplayStore` and `ports.ReplayQueue` do, on the real server and through both drivers."""

from __future__ import annotations

from collections.abc import AsyncIterator
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from typing import Any, Final

import pytest
import pytest_asyncio

from router.adapters.mongo.deliveries import MongoDeliveries
from router.adapters.mongo.driver import Database, DriverName, open_database
from router.adapters.mongo.indexes import ensure_indexes
from router.adapters.mongo.replay_documents import beyond, walk
from router.adapters.mongo.replay_queue import MongoReplayQueue
from router.adapters.mongo.replays import MongoReplays
from router.adapters.mongo.resilience import Persistent, StoreHealth
from router.adapters.mongo.retention import Retention
from router.domain.delivery import Attempt, AttemptError, Claim, DeliveryId, DeliveryReason, DeliveryStatus, Trigger
from router.domain.event import AccountId, Event, EventType
from router.domain.lease import LEASE
from router.domain.matching import Verdict
from router.domain.replay import MAX_ATTEMPTS, ReplayId, ReplayKind, ReplayState, Skip
from router.domain.retry import Again, End
from router.domain.webhook import Webhook, WebhookId
from router.ports import DeliveryFilter, PlannedDelivery, PlannedEvent, Position, Replay, Rest, Result, Turn
from tests.support.admitting import admitted
from tests.support.fakes_delivery import NOW, FakeClock

KEEP: Final = Retention(payload=timedelta(days=30), log=timedelta(days=90))
WEBHOOK: Final = WebhookId("wh_1")
EXHAUSTED: Final = End(status=DeliveryStatus.FAILED, reason=DeliveryReason.EXHAUSTED)
DELIVERED: Final = End(status=DeliveryStatus.DELIVERED)
SECOND: Final = timedelta(seconds=1)


@dataclass
class World:
    """One database, its clock, a worker, and two who work replays off."""

    database: Database
    clock: FakeClock
    deliveries: MongoDeliveries
    replays: MongoReplays
    one: MongoReplayQueue
    two: MongoReplayQueue

    async def document(self, delivery_id: str) -> dict[str, Any]:
        found: dict[str, Any] = await self.database["deliveries"].find_one({"_id": delivery_id})
        return found

    async def ended(self, event_id: str = "evt_1", end: End = EXHAUSTED, at: datetime = NOW) -> DeliveryId:
        """A delivery with one attempt behind it."""
        (claim,) = await admitted(self.deliveries, [plan(event_id, at=at)])
        await self.deliveries.record([Result(claim=claim, attempt=attempt(1), next=end, url="https://crm.example/")])
        return claim.delivery_id

    async def claim(self) -> list[Claim]:
        return list((await self.deliveries.claim(50, except_for=(), ration=lambda _: None)).claims)

    async def release(self, turn: Turn, *ids: str) -> set[str]:
        candidates = await self.one.candidates(ids, turn)
        return {str(each) for each in await self.one.release(candidates, turn)}


@pytest_asyncio.fixture(params=["motor", "pymongo"])
async def world(request: pytest.FixtureRequest, mongo_url: str, mongo_database: str) -> AsyncIterator[World]:
    driver: DriverName = request.param
    database = open_database(mongo_url, mongo_database, driver)
    await ensure_indexes(database)
    clock = FakeClock()
    one, two = (
        MongoReplayQueue(database, Persistent(StoreHealth()), clock, KEEP.log, owner) for owner in ("one", "two")
    )
    deliveries = MongoDeliveries(database, Persistent(StoreHealth()), clock, KEEP, "worker", announcing=True)
    yield World(database, clock, deliveries, MongoReplays(database, KEEP), one, two)
    await database.close()


def plan(event_id: str = "evt_1", *, at: datetime = NOW, verdict: Verdict = Verdict.MATCHED) -> PlannedEvent:
    event = Event(
        account_id=AccountId("1042"),
        event_id=event_id,
        type=EventType.CALL,
        name="call.received",
        occurred_at=at,
        received_at=at,
        call_id="c-1",
        sequence=1,
        tracking_number="+33199001234",
        user_id=None,
        number_keys=("43210099133",),
        payload=b'{"n": 1}',
        source="call",
    )
    delivery = PlannedDelivery(webhook_id=WEBHOOK, url="https://crm.example/", leased=True)
    return PlannedEvent(
        event=event,
        born_at=at,
        not_after=at + timedelta(seconds=30),
        account_enabled=True,
        trace=[(WEBHOOK, verdict)],
        deliveries=[delivery] if verdict is Verdict.MATCHED else [],
    )


def attempt(number: int, trigger: Trigger = Trigger.SCHEDULE) -> Attempt:
    return Attempt(
        number=number,
        trigger=trigger,
        started_at=NOW,
        duration_ms=5,
        status_code=500,
        error=AttemptError.HTTP_STATUS,
        response_body="",
        response_truncated=False,
    )


def replay(identity: str = "rpl_1", **changes: Any) -> Replay:
    usual = Replay(
        id=ReplayId(identity),
        kind=ReplayKind.DELIVERIES,
        where=DeliveryFilter(account_id=AccountId("1042"), from_=NOW - timedelta(days=1), to=NOW + timedelta(days=1)),
        reason=None,
        per_second=20.0,
        matched=1,
        created_by="token:x",
        created_at=NOW,
    )
    return replace(usual, **changes)


async def started(world: World, **changes: Any) -> Turn:
    """The first turn of a replay that was just asked for."""
    await world.replays.add(replay(**changes))
    turn = await world.one.take()
    assert turn is not None
    return turn


# --- one delivery ----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "end",
    [
        DELIVERED,
        EXHAUSTED,
        End(status=DeliveryStatus.EXPIRED, reason=DeliveryReason.TOO_OLD),
        End(status=DeliveryStatus.CANCELLED, reason=DeliveryReason.WEBHOOK_DELETED),
    ],
    ids=lambda end: end.status,
)
async def test_a_delivery_is_replayed_whatever_its_end(world: World, end: End) -> None:
    identity = await world.ended(end=end)

    assert await world.replays.replay_delivery(identity, world.clock.now())

    document = await world.document(identity)
    assert (document["status"], document["reason"], document["completed_at"]) == ("pending", None, None)
    assert "expire_at" not in document
    (claim,) = await world.claim()
    assert (claim.trigger, claim.attempt_count, claim.attempts_before) == (Trigger.REPLAY, 1, 1)
    assert (claim.not_after, claim.payload, claim.fence) == (None, b'{"n": 1}', 3)


async def test_a_delivery_that_a_worker_holds_is_left_to_it(world: World) -> None:
    (claim,) = await admitted(world.deliveries, [plan()])

    assert not await world.replays.replay_delivery(claim.delivery_id, world.clock.now())
    assert not await world.replays.replay_delivery(DeliveryId("dlv_none"), world.clock.now())
    assert (await world.document(claim.delivery_id))["lease"]["fence"] == claim.fence


async def test_a_delivery_that_rests_for_a_paused_webhook_is_sent_at_once(world: World) -> None:
    (claim,) = await admitted(world.deliveries, [plan()])
    await world.deliveries.hold([Rest(claim=claim, until=NOW + timedelta(minutes=5))])

    assert await world.replays.replay_delivery(claim.delivery_id, world.clock.now())

    (replayed,) = await world.claim()
    assert replayed.is_manual
    assert "held" not in await world.document(claim.delivery_id)


async def test_result_of_before_a_replay_is_not_recorded_over_it(world: World) -> None:
    (claim,) = await admitted(world.deliveries, [plan()])
    await world.deliveries.hold([Rest(claim=claim, until=NOW)])
    await world.replays.replay_delivery(claim.delivery_id, world.clock.now())

    late = Result(claim=claim, attempt=attempt(1), next=DELIVERED)

    assert list(await world.deliveries.record([late])) == [late]
    assert (await world.document(claim.delivery_id))["status"] == "pending"


async def test_a_replay_is_recorded_beside_what_was_before_and_announced_again(world: World) -> None:
    identity = await world.ended()
    await world.replays.replay_delivery(identity, world.clock.now())
    (claim,) = await world.claim()

    await world.deliveries.record([Result(claim=claim, attempt=attempt(2, Trigger.REPLAY), next=EXHAUSTED)])

    document = await world.document(identity)
    assert [(each["number"], each["trigger"]) for each in document["attempts"]] == [(1, "schedule"), (2, "replay")]
    assert (document["status"], document["reason"]) == ("failed", "exhausted")
    assert document["expire_at"] == world.clock.now() + KEEP.log
    assert len(document["announce"]) == 2


async def test_a_delivery_with_very_many_attempts_is_not_replayed(world: World) -> None:
    identity = await world.ended()
    deliveries = world.database["deliveries"]
    await deliveries.update_one({"_id": identity}, {"$set": {"attempt_count": MAX_ATTEMPTS}})

    assert not await world.replays.replay_delivery(identity, world.clock.now())
    await deliveries.update_one({"_id": identity}, {"$set": {"attempt_count": MAX_ATTEMPTS - 1}})
    assert await world.replays.replay_delivery(identity, world.clock.now())


# --- a test ----------------------------------------------------------------------------------------


async def test_a_test_is_found_by_a_worker_and_its_failure_announced_to_nobody(world: World) -> None:
    planned = plan("evt_test_1")
    planned = replace(planned, not_after=None, deliveries=[replace(planned.deliveries[0], leased=False)])

    identity = await world.replays.add_test(planned, world.clock.now())

    (claim,) = await world.claim()
    assert (claim.delivery_id, claim.trigger, claim.not_after) == (identity, Trigger.TEST, None)
    await world.deliveries.record([Result(claim=claim, attempt=attempt(1, Trigger.TEST), next=EXHAUSTED)])
    assert "announce" not in await world.document(identity)
    assert "unmatched" not in await world.database["events"].find_one({})


# --- many ------------------------------------------------------------------------------------------


async def test_of_two_workers_one_takes_a_replay_and_the_other_after_its_lease(world: World) -> None:
    await world.replays.add(replay())

    turn = await world.one.take()
    assert turn is not None
    assert await world.two.take() is None

    world.clock.moment += LEASE
    later = await world.two.take()
    assert later is not None
    assert later.fence == turn.fence + 1
    assert not await world.one.begin(turn, ["dlv_1"], None, is_exhausted=False)
    assert await world.two.begin(later, ["dlv_2"], None, is_exhausted=False)


async def test_a_walk_goes_through_every_end_but_success_the_oldest_first_and_once(world: World) -> None:
    failed = [await world.ended(f"evt_{number}", at=NOW + number * SECOND) for number in range(5)]
    await world.ended("evt_ok", end=DELIVERED)
    turn = await started(world)

    seen: list[str] = []
    while (found := await world.one.find(turn, 2))[0]:
        seen += found[0]
        turn = replace(turn, position=found[1])

    assert seen == failed
    where = turn.replay.where
    assert await world.replays.count_matching(ReplayKind.DELIVERIES, where, 99, NOW) == 5
    assert await world.replays.count_matching(ReplayKind.DELIVERIES, where, 3, NOW) == 3


async def test_what_ends_after_a_replay_was_asked_for_is_not_in_it(world: World) -> None:
    await world.ended("evt_before")
    turn = await started(world)
    world.clock.moment += SECOND
    await world.ended("evt_after")

    found, _ = await world.one.find(turn, 10)

    assert len(found) == 1


@pytest.mark.parametrize(
    "where",
    [
        DeliveryFilter(webhook_id=WEBHOOK),
        DeliveryFilter(status=DeliveryStatus.FAILED),
        DeliveryFilter(event_id="evt_1"),
        DeliveryFilter(number_prefix="43210099133"),
        DeliveryFilter(call_id="c-1", event_type=EventType.CALL),
    ],
    ids=lambda where: next(name for name in where.__dataclass_fields__ if getattr(where, name) is not None),
)
async def test_a_walk_knows_the_filters_of_the_list(world: World, where: DeliveryFilter) -> None:
    identity = await world.ended()
    await world.ended("evt_ok", end=DELIVERED)
    period = replay().where
    turn = await started(world, where=replace(where, from_=period.from_, to=period.to))

    assert list((await world.one.find(turn, 10))[0]) == [identity]


async def test_a_batch_is_released_once_however_often_it_is_repeated(world: World) -> None:
    first, second = await world.ended("evt_1"), await world.ended("evt_2")
    turn = await started(world, matched=2)
    assert await world.one.begin(turn, [first, second], None, is_exhausted=False)

    assert await world.release(turn, first, second) == {first, second}
    (claim, _) = await world.claim()
    await world.deliveries.record([Result(claim=claim, attempt=attempt(2, Trigger.REPLAY), next=EXHAUSTED)])

    # The worker died before it counted: the next one begins with the same batch.
    world.clock.moment += LEASE
    again = await world.two.take()
    assert again is not None
    assert set(again.batch) == {first, second}
    assert again.replay.outstanding == 1
    assert await world.release(again, first, second) == {first, second}
    assert (await world.document(claim.delivery_id))["status"] == "failed"
    await world.two.advance(again, released=2, skipped={}, due_at=world.clock.now())
    stored = await world.replays.replay(again.replay.id)
    assert stored is not None
    assert (stored.released, stored.outstanding, stored.done) == (2, 1, 1)


async def test_what_was_sent_or_is_on_its_way_since_is_told_apart(world: World) -> None:
    await world.ended("evt_1")
    turn = await started(world)
    world.clock.moment += SECOND
    later = await world.ended("evt_2")
    (held,) = await admitted(world.deliveries, [plan("evt_3")])
    erased = await world.ended("evt_4")
    await world.database["events"].update_one({"event_id": "evt_4"}, {"$unset": {"payload": ""}})

    found = {each.delivery_id: each for each in await world.one.candidates([later, held.delivery_id, erased], turn)}

    assert (found[later].is_free, found[later].is_pending) == (False, False)
    assert (found[held.delivery_id].is_free, found[held.delivery_id].is_pending) == (False, True)
    assert (found[erased].has_payload, found[later].has_payload) == (False, True)


@pytest.mark.parametrize("next_", [EXHAUSTED, DELIVERED, Again(at=NOW)], ids=["failed", "delivered", "again"])
async def test_the_first_result_ends_the_waiting_for_a_delivery(world: World, next_: End | Again) -> None:
    identity = await world.ended()
    turn = await started(world)
    await world.release(turn, identity)
    await world.one.advance(turn, released=1, skipped={}, due_at=world.clock.now())
    (claim,) = await world.claim()

    before = await world.replays.replay(turn.replay.id)
    await world.deliveries.record([Result(claim=claim, attempt=attempt(2, Trigger.REPLAY), next=next_)])
    after = await world.replays.replay(turn.replay.id)

    assert before is not None
    assert after is not None
    assert (before.done, after.done) == (0, 1)


@pytest.mark.parametrize("how", ["deleted", "held"])
async def test_a_replay_does_not_wait_for_what_is_not_attempted(world: World, how: str) -> None:
    identity = await world.ended()
    await world.release(await started(world), identity)

    if how == "deleted":
        await world.deliveries.cancel(WEBHOOK)
    else:
        (claim,) = await world.claim()
        await world.deliveries.hold([Rest(claim=claim, until=NOW)])

    assert "replaying" not in await world.document(identity)


async def test_a_finished_replay_accounts_for_all_that_it_matched(world: World) -> None:
    turn = await started(world, matched=5)
    await world.one.advance(turn, released=1, skipped={Skip.PAYLOAD_GONE: 2}, due_at=world.clock.now())
    turn = await world.two.take() or turn

    await world.two.finish(turn)

    stored = await world.replays.replay(turn.replay.id)
    assert stored is not None
    assert (stored.state, stored.done, stored.matched) == (ReplayState.DONE, 5, 5)
    assert stored.skipped == {Skip.PAYLOAD_GONE: 2, Skip.CHANGED: 2}
    assert await world.one.take() is None
    assert await world.one.states() == {ReplayState.RUNNING: 0, ReplayState.DONE: 1, ReplayState.CANCELLED: 0}


async def test_a_cancelled_replay_takes_no_further_step(world: World) -> None:
    turn = await started(world)

    assert await world.replays.cancel_replay(turn.replay.id, world.clock.now())
    assert not await world.replays.cancel_replay(turn.replay.id, world.clock.now())

    assert not await world.one.begin(turn, ["dlv_1"], None, is_exhausted=False)
    await world.one.advance(turn, released=3, skipped={}, due_at=world.clock.now())
    world.clock.moment += LEASE
    assert await world.two.take() is None
    stored = await world.replays.replay(turn.replay.id)
    assert stored is not None
    assert (stored.state, stored.released) == (ReplayState.CANCELLED, 0)


async def test_replays_are_listed_by_account_the_newest_first(world: World) -> None:
    for number in range(3):
        await world.replays.add(replay(f"rpl_{number}", created_at=NOW + number * SECOND))
    await world.replays.add(replay("rpl_other", where=replace(replay().where, account_id=AccountId("77"))))

    page = await world.replays.replays(account_id=AccountId("1042"), after=None, limit=2)

    assert [each.id for each in page] == ["rpl_2", "rpl_1"]
    assert await world.replays.count_replays(account_id=AccountId("1042")) == 3
    assert await world.replays.count_replays(account_id=None) == 4
    assert await world.replays.count_running(AccountId("1042"), 2) == 2


# --- missing events --------------------------------------------------------------------------------


async def missed(world: World, event_id: str = "evt_1") -> Turn:
    """A turn of a replay of missing events, over one that matched nothing."""
    await admitted(world.deliveries, [plan(event_id, verdict=Verdict.PAUSED)])
    return await started(world, kind=ReplayKind.MISSING)


HOOK: Final = Webhook(
    id=WEBHOOK,
    account_id=AccountId("1042"),
    name="CRM",
    url="https://crm.example/",
    event_type=EventType.CALL,
    enabled=True,
)


async def test_events_that_matched_nothing_are_found_and_others_are_not(world: World) -> None:
    await admitted(world.deliveries, [plan("evt_matched")])
    turn = await missed(world)

    found, _ = await world.one.find(turn, 10)

    (event,) = await world.one.missed(found, turn)
    assert event.event is not None
    assert event.event == plan().event
    assert await world.replays.count_matching(ReplayKind.MISSING, turn.replay.where, 9, NOW) == 1


async def test_a_missing_event_is_given_once_keeps_its_trace_and_is_found_by_its_number(world: World) -> None:
    turn = await missed(world)

    assert await world.one.give(plan().event, [HOOK], turn)
    assert await world.two.give(plan().event, [HOOK], turn)

    (claim,) = await world.claim()
    assert (claim.trigger, claim.not_after, claim.payload) == (Trigger.REPLAY, None, b'{"n": 1}')
    event = await world.database["events"].find_one({})
    assert event["trace"] == [{"webhook_id": "wh_1", "verdict": "paused"}]
    assert [(each["webhook_id"], each["replay"]) for each in event["replayed"]] == [("wh_1", "rpl_1")]
    assert "number:43210099133" in (await world.document(claim.delivery_id))["search"]
    (again,) = await world.one.missed([event["_id"]], turn)
    assert again.given_to == {WEBHOOK}
    # Another replay has nothing to do.
    await world.replays.add(replay("rpl_2", kind=ReplayKind.MISSING))
    other = await world.two.take()
    assert other is not None
    assert not await world.two.give(plan().event, [HOOK], other)


async def test_a_missing_event_that_goes_to_two_webhooks_is_one_to_wait_for(world: World) -> None:
    turn = await missed(world)
    await world.one.give(plan().event, [HOOK, replace(HOOK, id=WebhookId("wh_2"))], turn)
    await world.one.advance(turn, released=1, skipped={}, due_at=world.clock.now())

    first, second = await world.claim()
    await world.deliveries.record([Result(claim=first, attempt=attempt(1, Trigger.REPLAY), next=DELIVERED)])
    halfway = await world.replays.replay(turn.replay.id)
    await world.deliveries.record([Result(claim=second, attempt=attempt(1, Trigger.REPLAY), next=DELIVERED)])
    over = await world.replays.replay(turn.replay.id)

    assert halfway is not None
    assert over is not None
    assert (halfway.done, over.done) == (0, 1)


@pytest.mark.parametrize("kind", ReplayKind)
async def test_what_a_replay_goes_through_is_found_by_an_index(world: World, kind: ReplayKind) -> None:
    await admitted(world.deliveries, [plan(verdict=Verdict.PAUSED)])
    await world.ended("evt_2")
    collection, query, index, key = walk(kind, replay().where, NOW)
    query = beyond(query, key, Position(at=NOW - SECOND, id="a"))

    explained = await world.database.command(
        {
            "explain": {"find": collection, "filter": query, "sort": {key: 1, "_id": 1}, "hint": index},
            "verbosity": "queryPlanner",
        }
    )

    assert "'IXSCAN'" in str(explained)
    assert "COLLSCAN" not in str(explained)
