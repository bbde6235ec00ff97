"""What every `ports.DeliveryStore` does, on the real server and through both drivers."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Collection, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from typing import Any

import pymongo
import pytest
import pytest_asyncio
from pymongo.errors import BulkWriteError

from router.adapters.mongo.deliveries import LOOKED_AT, MongoDeliveries
from router.adapters.mongo.driver import Database, DriverName, open_database
from router.adapters.mongo.indexes import ensure_indexes
from router.adapters.mongo.privacy import MongoPrivacy
from router.adapters.mongo.resilience import Persistent, StoreHealth
from router.adapters.mongo.retention import Retention
from router.domain.delivery import Attempt, Claim, DeliveryReason, DeliveryStatus, Trigger, delivery_id
from router.domain.errors import DependencyUnavailable
from router.domain.event import AccountId, Event, EventType
from router.domain.lease import LEASE
from router.domain.matching import Verdict
from router.domain.retry import Again, End
from router.domain.webhook import WebhookId
from router.ports import Due, Mention, PlannedDelivery, PlannedEvent, Ration, Rest, Result
from tests.support.admitting import admitted
from tests.support.fakes_delivery import NOW, FakeClock
from tests.support.fault_proxy import FaultProxy, Protocol

WEBHOOK = WebhookId("wh_1")
DELIVERED = End(status=DeliveryStatus.DELIVERED)
EXCEEDED_TIME_LIMIT = 262


@dataclass
class World:
    """One database, its clock, and two workers on it."""

    database: Database
    clock: FakeClock
    one: MongoDeliveries
    two: MongoDeliveries

    async def document(self, claim: Claim) -> dict[str, Any]:
        found: dict[str, Any] = await self.database["deliveries"].find_one({"_id": claim.delivery_id})
        return found


@pytest_asyncio.fixture(params=["motor", "pymongo"])
async def world(request: pytest.FixtureRequest, mongo_url: str, mongo_database: str) -> AsyncIterator[World]:
    driver: DriverName = request.param
    database = open_database(mongo_url, mongo_database, driver)
    await ensure_indexes(database)
    clock = FakeClock()
    keep = Retention(payload=timedelta(days=30), log=timedelta(days=90))
    one, two = (
        MongoDeliveries(database, Persistent(StoreHealth()), clock, keep, owner) for owner in ("worker-1", "worker-2")
    )
    yield World(database, clock, one, two)
    await database.close()


def event(event_id: str = "evt_1", payload: bytes = b'{"n": 1}') -> Event:
    return Event(
        account_id=AccountId("1042"),
        event_id=event_id,
        type=EventType.CALL,
        name="call.received",
        occurred_at=NOW,
        received_at=NOW,
        call_id="c-1",
        sequence=1,
        tracking_number="+33199001234",
        user_id=None,
        number_keys=("43210099133",),
        payload=payload,
        source="call",
    )


def plan(of: Event | None = None, *webhooks: WebhookId, leased: bool = True, ended: End | None = None) -> PlannedEvent:
    webhooks = webhooks or (WEBHOOK,)
    return PlannedEvent(
        event=of or event(),
        born_at=NOW,
        not_after=NOW + timedelta(seconds=30),
        account_enabled=True,
        trace=[(webhook, Verdict.MATCHED) for webhook in webhooks],
        deliveries=[
            PlannedDelivery(webhook_id=webhook, url="https://crm.example/", leased=leased, ended=ended)
            for webhook in webhooks
        ],
    )


def attempt(number: int) -> Attempt:
    return Attempt(
        number=number,
        trigger=Trigger.SCHEDULE,
        started_at=NOW,
        duration_ms=5,
        status_code=500,
        error=None,
        response_body="",
        response_truncated=False,
    )


async def take(
    worker: MongoDeliveries,
    limit: int,
    *,
    except_for: Collection[WebhookId] = (),
    ration: Callable[[Due], Ration | None] = lambda _: None,
) -> list[Claim]:
    return list((await worker.claim(limit, except_for=except_for, ration=ration)).claims)


def rest(claim: Claim, until: datetime = NOW + timedelta(minutes=5)) -> Rest:
    return Rest(claim=claim, until=until)


# --- admitting -------------------------------------------------------------------------------------


async def test_an_admitted_event_is_claimed_by_the_worker_that_admitted_it(world: World) -> None:
    (claim,) = await admitted(world.one, [plan()])

    assert (claim.webhook_id, claim.fence, claim.attempt_count, claim.payload) == (WEBHOOK, 1, 0, b'{"n": 1}')
    assert await take(world.two, 10) == []


async def test_a_redelivered_event_doubles_nothing(world: World) -> None:
    await admitted(world.one, [plan()])

    assert list(await admitted(world.two, [plan()])) == []
    assert await world.database["events"].count_documents({}) == 1
    assert await world.database["deliveries"].count_documents({}) == 1


@pytest.mark.parametrize("collection", ["events", "deliveries"])
async def test_an_insert_whose_reply_is_lost_leaves_nothing_to_wait_for_a_lease(
    world: World, mongo_url: str, collection: str
) -> None:
    """What was inserted by the lost call is ours at once, or due at once; never leased to nobody."""
    async with FaultProxy.before(mongo_url, protocol=Protocol.MONGO) as proxy:
        database = open_database(proxy.url, world.database._database.name, "pymongo")
        worker = MongoDeliveries(
            database, Persistent(StoreHealth()), world.clock, Retention(payload=LEASE, log=LEASE), "worker-3"
        )
        losses = proxy.lose_replies(3, collection=collection)  # more than the driver's own repetition
        claims = [*await admitted(worker, [plan(), plan(event("evt_2"))])]
        assert losses.is_over
        claims += await take(world.two, 10)
        await database.close()

    assert sorted(claim.event_id for claim in claims) == ["evt_1", "evt_2"]


async def test_of_two_events_with_one_id_in_a_batch_the_first_counts(world: World) -> None:
    (claim,) = await admitted(world.one, [plan(event(payload=b"1")), plan(event(payload=b"2"))])

    assert claim.payload == b"1"
    stored = await world.database["events"].find_one({})
    assert stored["payload"] == b"1"


async def test_an_event_that_lost_its_deliveries_to_a_crash_is_completed_from_its_first_plan(world: World) -> None:
    await world.one.admit([plan(event(payload=b"first"), WEBHOOK, WebhookId("wh_2"))])

    # Meanwhile wh_2 matches no more, and wh_3 does.
    assert list(await world.two.admit([plan(event(payload=b"second"), WEBHOOK, WebhookId("wh_3"))])) == []

    assert await take(world.two, 10) == []  # worker-1 may live, and be at it
    world.clock.moment += LEASE
    claims = await take(world.two, 10)
    assert {claim.webhook_id for claim in claims} == {"wh_1", "wh_2"}
    assert {claim.payload for claim in claims} == {b"first"}
    assert {claim.not_after for claim in claims} == {NOW + timedelta(seconds=30)}


async def test_an_event_of_a_release_without_leases_of_events_is_completed_at_once(world: World) -> None:
    await world.one.admit([plan()])
    await world.database["events"].update_one({}, {"$unset": {"lease": ""}})

    assert list(await world.two.admit([plan()])) == []

    (claim,) = await take(world.two, 10)
    assert claim.fence == 1


async def test_a_message_that_comes_again_during_the_first_attempt_is_sent_by_nobody_else(world: World) -> None:
    drafts = await world.one.admit([plan()])
    claim = drafts[0].claim
    for worker in (world.one, world.two):
        assert list(await worker.admit([plan()])) == []
        assert await take(worker, 10) == []

    result = Result(claim=claim, attempt=attempt(1), next=DELIVERED)
    found = await world.one.insert(drafts, {claim.delivery_id: result})
    assert list(found) == [claim.delivery_id]
    assert list(await world.one.record([result])) == []

    document = await world.document(claim)
    assert (document["status"], document["attempt_count"], "due_at" in document) == ("delivered", 1, False)
    world.clock.moment += 2 * LEASE
    assert await take(world.two, 10) == []


async def test_a_result_that_comes_after_the_lease_of_its_event_is_lost_to_who_took_over(world: World) -> None:
    drafts = await world.one.admit([plan()])
    first = drafts[0].claim
    await world.two.admit([plan()])
    world.clock.moment += LEASE
    (second,) = await take(world.two, 10)
    assert second.fence == first.fence + 1

    late = Result(claim=first, attempt=attempt(1), next=DELIVERED)
    assert list(await world.one.insert(drafts, {first.delivery_id: late})) == [first.delivery_id]
    assert list(await world.one.record([late])) == [late]
    assert (await world.document(first))["status"] == "pending"


async def test_of_a_batch_that_the_store_refuses_for_one_event_the_others_need_not_wait(world: World) -> None:
    refuses = {"event_id": {"$ne": "evt_2"}}
    await world.database._database.command({"collMod": "events", "validator": refuses})
    batch = [plan(event(f"evt_{number}")) for number in (1, 2, 3)]
    with pytest.raises(BulkWriteError):
        await world.one.admit(batch)

    # What was inserted before the refusal looks like somebody else's, and its lease is over.
    for each in (batch[0], batch[2]):
        await admitted(world.one, [each])
    assert {claim.event_id for claim in await take(world.two, 10)} == {"evt_1", "evt_3"}


async def test_who_cannot_complete_an_event_that_came_again_lets_go_of_those_beside_it(world: World) -> None:
    await world.two.admit([plan(event("evt_2"))])
    refuses = {"event_id": {"$ne": "evt_2"}}
    await world.database._database.command({"collMod": "deliveries", "validator": refuses})
    with pytest.raises(BulkWriteError):
        await world.one.admit([plan(event("evt_1")), plan(event("evt_2"))])

    await admitted(world.one, [plan(event("evt_1"))])
    assert {claim.event_id for claim in await take(world.two, 10)} == {"evt_1"}


async def test_what_an_erased_event_still_lacked_comes_without_its_numbers(world: World) -> None:
    await world.one.admit([plan()])
    world.clock.moment += LEASE
    mention = Mention(
        account_id=event().account_id,
        event_id=event().event_id,
        event_key=event().key,
        delivery_ids=[delivery_id(event().key, WEBHOOK)],
    )
    await MongoPrivacy(world.database, "FR", LEASE).erase_event(mention, world.clock.now())

    assert await world.two.admit([plan()]) == []

    (document,) = await world.database["deliveries"].find({}).to_list(2)
    assert document["search"] == ["event:evt_1", "call:c-1"]
    assert await take(world.two, 10) == []


FAILED = End(status=DeliveryStatus.FAILED, reason=DeliveryReason.GONE)
LATER = Again(at=NOW + timedelta(minutes=1))


@pytest.mark.parametrize(
    ("after", "keep_lease", "tried"),
    [(DELIVERED, False, True), (FAILED, False, True), (LATER, False, True), (LATER, True, True), (LATER, False, False)],
)
async def test_a_first_result_leaves_the_same_document_inserted_or_recorded(
    world: World, after: Again | End, keep_lease: bool, tried: bool
) -> None:
    worker = MongoDeliveries(
        world.database,
        Persistent(StoreHealth()),
        world.clock,
        Retention(payload=LEASE, log=LEASE),
        "worker-1",
        announcing=True,
    )
    drafts = await worker.admit([plan(event(f"evt_{number}")) for number in range(2)])
    inserted, recorded = (
        Result(
            claim=draft.claim,
            attempt=attempt(1) if tried else None,
            next=after,
            url="https://x/",
            keep_lease=keep_lease,
        )
        for draft in drafts
    )
    assert not await worker.insert(drafts, {inserted.claim.delivery_id: inserted})
    assert list(await worker.record([recorded])) == []

    one, other = [await world.document(result.claim) for result in (inserted, recorded)]
    for document in (one, other):
        for field in ("_id", "event", "event_id", "search"):
            del document[field]
        for entry in document.get("announce", ()):
            del entry["id"]  # names the delivery
    assert one == other


async def test_a_first_result_whose_insert_lost_its_reply_is_recorded_once(world: World, mongo_url: str) -> None:
    async with FaultProxy.before(mongo_url, protocol=Protocol.MONGO) as proxy:
        database = open_database(proxy.url, world.database._database.name, "pymongo")
        keep = Retention(payload=LEASE, log=LEASE)
        worker = MongoDeliveries(database, Persistent(StoreHealth()), world.clock, keep, "worker-3")
        drafts = await worker.admit([plan()])
        result = Result(claim=drafts[0].claim, attempt=attempt(1), next=DELIVERED)
        losses = proxy.lose_replies(3, collection="deliveries")
        found = await worker.insert(drafts, {result.claim.delivery_id: result})
        assert losses.is_over
        assert list(found) == [result.claim.delivery_id]
        assert list(await worker.record([result])) == []
        await database.close()

    document = await world.document(result.claim)
    assert (document["status"], len(document["attempts"])) == ("delivered", 1)


async def test_what_is_not_leased_is_found_by_any_worker(world: World) -> None:
    assert list(await admitted(world.one, [plan(leased=False)])) == []

    (claim,) = await take(world.two, 10)
    assert claim.fence == 1


async def test_what_ended_at_once_is_stored_and_never_due(world: World) -> None:
    ended = End(status=DeliveryStatus.FAILED, reason=DeliveryReason.SUSPENDED)
    assert list(await admitted(world.one, [plan(leased=False, ended=ended)])) == []

    assert await take(world.two, 10) == []
    stored = await world.database["deliveries"].find_one({})
    assert (stored["status"], stored["reason"]) == ("failed", "suspended")
    assert "due_at" not in stored
    assert stored["expire_at"] == NOW + timedelta(days=90)


# --- claiming --------------------------------------------------------------------------------------


async def test_a_claim_is_free_again_when_its_lease_is_over(world: World) -> None:
    await admitted(world.one, [plan()])
    world.clock.moment += LEASE

    (claim,) = await take(world.two, 10)

    assert claim.fence == 2


async def test_a_delivery_that_lacks_what_ours_have_does_not_stop_the_others(world: World) -> None:
    await admitted(world.one, [plan(event(f"evt_{number}"), leased=False) for number in range(2)])
    broken = delivery_id(event("evt_0").key, WEBHOOK)
    await world.database["deliveries"].update_one({"_id": broken}, {"$unset": {"not_after": "", "created_at": ""}})

    claims = await take(world.one, 10)

    assert [claim.event_id for claim in claims] == ["evt_1"]


async def test_the_longest_due_come_first_and_full_lanes_are_left_out(world: World) -> None:
    for number in range(4):
        await admitted(world.one, [plan(event(f"evt_{number}"), WebhookId(f"wh_{number}"), leased=False)])
        world.clock.moment += timedelta(seconds=1)

    claims = await take(world.two, 2, except_for=[WebhookId("wh_0")])

    assert {claim.webhook_id for claim in claims} == {"wh_1", "wh_2"}


async def test_a_webhook_with_a_ration_gets_no_more_and_the_rest_is_put_off(world: World) -> None:
    dead, alive = WebhookId("wh_dead"), WebhookId("wh_alive")
    await admitted(world.one, [plan(event(f"evt_{number}"), dead, leased=False) for number in range(4)])
    world.clock.moment += timedelta(seconds=1)
    await admitted(world.one, [plan(event("evt_alive"), alive, leased=False)])
    later = NOW + timedelta(seconds=10)

    def ration(due: Due) -> Ration | None:
        assert (due.account_id, due.event_type) == ("1042", EventType.CALL)
        return Ration(places=1, until=later) if due.webhook_id == dead else None

    assert [each.webhook_id for each in await take(world.two, 10, ration=ration)] == [dead, alive]
    assert await take(world.one, 10) == []
    world.clock.moment = later
    assert [each.webhook_id for each in await take(world.one, 10)] == [dead] * 3


async def test_calls_are_claimed_before_an_older_backlog_of_records(world: World) -> None:
    for number in range(5):
        await admitted(world.one, [plan(replace(event(f"evt_{number}"), type=EventType.CDR), leased=False)])
    world.clock.moment += timedelta(seconds=1)
    await admitted(world.one, [plan(event("evt_call"), leased=False)])

    first = await take(world.two, 2)
    rest_of_them = await take(world.two, 10)

    assert [claim.event_id for claim in first] == ["evt_call", "evt_0"]
    assert len(rest_of_them) == 4


@pytest.mark.parametrize(("since", "comes_first"), [(LOOKED_AT - 1, True), (LOOKED_AT, False)])
async def test_calls_are_looked_for_among_what_came_last(world: World, since: int, comes_first: bool) -> None:
    records = [plan(replace(event(f"evt_{number}"), type=EventType.CDR), leased=False) for number in range(since + 2)]
    await admitted(world.one, records[:2])
    world.clock.moment += timedelta(seconds=1)
    await admitted(world.one, [plan(event("evt_call"), leased=False)])
    world.clock.moment += timedelta(seconds=1)
    await admitted(world.one, records[2:])

    (claim, _) = await take(world.two, 2)

    assert (claim.event_id == "evt_call") is comes_first


async def test_it_is_told_when_nothing_more_is_due(world: World) -> None:
    await admitted(world.one, [plan(event(f"evt_{number}"), leased=False) for number in range(3)])

    drained = [(await world.two.claim(2, except_for=(), ration=lambda _: None)).drained for _ in range(2)]

    assert drained == [False, True]


async def test_what_is_planned_to_rest_is_due_later_and_can_be_woken(world: World) -> None:
    planned = plan(leased=False)
    resting = replace(planned.deliveries[0], rests_until=NOW + timedelta(minutes=5))
    await admitted(world.one, [replace(planned, not_after=None, deliveries=[resting])])

    assert await take(world.two, 10) == []
    assert await world.one.wake(WEBHOOK) == 1
    (claim,) = await take(world.two, 10)
    assert (claim.fence, claim.attempt_count) == (1, 0)


async def test_people_see_when_a_resting_delivery_is_looked_at_again(world: World) -> None:
    (claim,) = await admitted(world.one, [replace(plan(), not_after=None)])
    until = NOW + timedelta(minutes=5)
    await world.one.hold([rest(claim, until)])
    assert (await world.document(claim))["next_attempt_at"] == until

    await world.one.wake(WEBHOOK)

    assert (await world.document(claim))["next_attempt_at"] == NOW


async def test_two_workers_that_claim_at_once_share_nothing(world: World) -> None:
    await admitted(world.one, [plan(event(f"evt_{number}"), leased=False) for number in range(20)])

    first = await take(world.one, 20)
    second = await take(world.two, 20)

    assert len(first) == 20
    assert list(second) == []


async def test_workers_that_race_for_what_is_due_take_each_delivery_once(world: World) -> None:
    await admitted(world.one, [plan(event(f"evt_{number}"), leased=False) for number in range(100)])

    async def take_all(worker: MongoDeliveries) -> list[Claim]:
        taken: list[Claim] = []
        # One that finds only what the other was faster to take comes back with nothing, and tries again.
        for _ in range(100):
            taken += await take(worker, 7)
        return taken

    first, second = await asyncio.gather(take_all(world.one), take_all(world.two))

    assert len({claim.delivery_id for claim in [*first, *second]}) == len(first) + len(second) == 100
    assert {claim.fence for claim in [*first, *second]} == {1}


async def test_a_delivery_whose_event_is_gone_ends_as_too_old(world: World) -> None:
    await admitted(world.one, [plan(leased=False)])
    await world.database["events"].delete_many({})

    assert await take(world.one, 10) == []
    stored = await world.database["deliveries"].find_one({})
    assert (stored["status"], stored["reason"]) == ("expired", "too_old")


# --- recording -------------------------------------------------------------------------------------


async def test_a_result_that_is_written_twice_counts_once(world: World) -> None:
    (claim,) = await admitted(world.one, [plan()])
    result = Result(claim=claim, attempt=attempt(1), next=DELIVERED)

    assert list(await world.one.record([result])) == []
    assert list(await world.one.record([result])) == [], "as after a lost reply"

    stored = await world.document(claim)
    assert (stored["status"], stored["attempt_count"], len(stored["attempts"])) == ("delivered", 1, 1)
    assert "due_at" not in stored
    assert stored["completed_at"] == NOW


async def test_a_result_of_a_lost_lease_changes_nothing(world: World) -> None:
    (old,) = await admitted(world.one, [plan()])
    world.clock.moment += LEASE
    (new,) = await take(world.two, 10)
    await world.two.record([Result(claim=new, attempt=attempt(1), next=DELIVERED)])
    late = Result(claim=old, attempt=attempt(1), next=Again(at=NOW))

    assert list(await world.one.record([late])) == [late]

    stored = await world.document(old)
    assert (stored["status"], stored["attempt_count"]) == ("delivered", 1)


async def test_a_far_retry_is_given_back_and_a_near_one_kept(world: World) -> None:
    (claim,) = await admitted(world.one, [plan()])
    near = NOW + timedelta(seconds=1)
    await world.one.record([Result(claim=claim, attempt=attempt(1), next=Again(at=near), keep_lease=True)])
    world.clock.moment = near
    assert await take(world.two, 10) == [], "worker 1 holds it"

    held = replace(claim, attempt_count=1)
    far = NOW + timedelta(minutes=10)
    await world.one.record([Result(claim=held, attempt=attempt(2), next=Again(at=far))])
    world.clock.moment = far
    (taken,) = await take(world.two, 10)

    assert (taken.attempt_count, taken.fence) == (2, 2)


# --- leases ----------------------------------------------------------------------------------------


async def test_renewing_tells_what_is_ours_still(world: World) -> None:
    ours, ended = await admitted(world.one, [plan(event(f"evt_{number}")) for number in range(2)])
    await world.one.record([Result(claim=ended, attempt=attempt(1), next=DELIVERED)])

    assert await world.one.renew([ours, ended]) == [ours]
    assert await world.one.renew([ours]) == [ours]
    assert await world.one.renew([]) == []


async def test_a_renewed_claim_stays_and_a_released_one_goes(world: World) -> None:
    (claim,) = await admitted(world.one, [plan()])
    world.clock.moment += LEASE - timedelta(seconds=1)
    await world.one.renew([claim])
    world.clock.moment += LEASE - timedelta(seconds=1)
    assert await take(world.two, 10) == []

    await world.one.release([claim])

    assert len(await take(world.two, 10)) == 1


async def test_a_retry_that_is_released_keeps_its_time(world: World) -> None:
    (claim,) = await admitted(world.one, [plan()])
    later = NOW + timedelta(seconds=4)
    await world.one.record([Result(claim=claim, attempt=attempt(1), next=Again(at=later), keep_lease=True)])

    await world.one.release([replace(claim, attempt_count=1)])

    assert await take(world.two, 10) == []
    world.clock.moment = later
    assert len(await take(world.two, 10)) == 1


async def test_releasing_what_has_ended_does_not_bring_it_back(world: World) -> None:
    (claim,) = await admitted(world.one, [plan()])
    await world.one.record([Result(claim=claim, attempt=attempt(1), next=DELIVERED)])

    await world.one.release([claim])
    assert await world.one.renew([claim]) == []

    assert await take(world.two, 10) == []


@pytest.mark.parametrize("webhook_id", [WEBHOOK, None])
async def test_what_is_held_rests_until_it_is_woken(world: World, webhook_id: WebhookId | None) -> None:
    (claim,) = await admitted(world.one, [plan()])
    await world.one.hold([rest(claim)])
    assert await take(world.two, 10) == []

    assert await world.one.wake(webhook_id) == 1

    assert len(await take(world.two, 10)) == 1


async def test_what_is_held_is_looked_at_when_it_is_too_old(world: World) -> None:
    (claim,) = await admitted(world.one, [plan()])
    await world.one.hold([rest(claim)])

    world.clock.moment = NOW + timedelta(seconds=30)

    assert len(await take(world.two, 10)) == 1


async def test_a_cancelled_delivery_stays_cancelled_whatever_was_in_flight(world: World) -> None:
    (claim,) = await admitted(world.one, [plan()])

    assert await world.two.cancel(WEBHOOK) == 1
    lost = await world.one.record([Result(claim=claim, attempt=attempt(1), next=DELIVERED)])

    assert len(lost) == 1
    stored = await world.document(claim)
    assert (stored["status"], stored["reason"], stored["attempt_count"]) == ("cancelled", "webhook_deleted", 0)


# --- what is over ----------------------------------------------------------------------------------


@pytest.mark.parametrize("status", [status for status in DeliveryStatus if status is not DeliveryStatus.PENDING])
async def test_a_delivery_is_never_due_again_whatever_it_ended_as_and_is_deleted_in_time(
    world: World, status: DeliveryStatus
) -> None:
    (claim,) = await admitted(world.one, [plan()])
    reason = None if status is DeliveryStatus.DELIVERED else DeliveryReason.EXHAUSTED
    await world.one.record([Result(claim=claim, attempt=attempt(1), next=End(status=status, reason=reason))])

    await world.one.renew([claim])
    await world.one.release([claim])
    assert await world.two.wake(None) == await world.two.wake(WEBHOOK) == await world.two.cancel(WEBHOOK) == 0
    world.clock.moment += timedelta(days=1)
    assert await take(world.two, 10) == []

    stored = await world.document(claim)
    assert (stored["status"], stored["next_attempt_at"]) == (status.value, None)
    assert "due_at" not in stored
    assert stored["expire_at"] == NOW + timedelta(days=90)


async def test_what_was_cancelled_while_it_was_held_is_never_due_again(world: World) -> None:
    (claim,) = await admitted(world.one, [plan()])
    await world.one.hold([rest(claim)])

    assert await world.two.cancel(WEBHOOK) == 1

    stored = await world.document(claim)
    assert {"due_at", "held"} & set(stored) == set()
    assert (stored["completed_at"], stored["expire_at"]) == (NOW, NOW + timedelta(days=90))
    assert await world.one.wake(None) == 0


async def test_what_expired_for_want_of_its_event_is_never_due_again(world: World) -> None:
    await admitted(world.one, [plan(leased=False)])
    await world.database["events"].delete_many({})
    await take(world.one, 10)

    stored = await world.database["deliveries"].find_one({})
    assert "due_at" not in stored
    assert stored["expire_at"] == NOW + timedelta(days=90)


async def test_an_event_whose_payload_was_forgotten_is_no_longer_sent(world: World) -> None:
    await admitted(world.one, [plan(leased=False)])
    await world.database["events"].update_many({}, {"$unset": {"payload": ""}})

    assert await take(world.one, 10) == []
    stored = await world.database["deliveries"].find_one({})
    assert (stored["status"], stored["reason"], stored["attempts"]) == ("expired", "too_old", [])


# --- several webhooks ------------------------------------------------------------------------------


async def test_waking_and_cancelling_one_webhook_leaves_the_others(world: World) -> None:
    other = WebhookId("wh_2")
    claims = await admitted(world.one, [plan(event(), WEBHOOK, other)])
    await world.one.hold([rest(claim) for claim in claims])

    assert await world.one.wake(WEBHOOK) == 1
    assert [claim.webhook_id for claim in await take(world.two, 10)] == [WEBHOOK]
    assert await world.one.cancel(WEBHOOK) == 1
    assert await world.one.wake(None) == 1
    assert [claim.webhook_id for claim in await take(world.two, 10)] == [other]


async def test_a_claim_that_another_worker_holds_now_is_neither_renewed_released_nor_held(world: World) -> None:
    (old,) = await admitted(world.one, [plan()])
    world.clock.moment += LEASE
    (new,) = await take(world.two, 10)
    before = await world.document(new)

    world.clock.moment += timedelta(seconds=1)
    assert await world.one.renew([old]) == []
    await world.one.release([old])
    await world.one.hold([rest(old)])

    assert await world.document(new) == before


async def test_of_a_batch_of_results_only_the_lost_ones_are_told_and_the_others_written(world: World) -> None:
    claims = await admitted(world.one, [plan(event(f"evt_{number}")) for number in range(3)])
    (stale, *good) = claims
    await world.database["deliveries"].update_one({"_id": stale.delivery_id}, {"$inc": {"lease.fence": 1}})
    results = [Result(claim=claim, attempt=attempt(1), next=DELIVERED) for claim in claims]

    assert [result.claim for result in await world.one.record(results)] == [stale]

    assert [(await world.document(claim))["status"] for claim in good] == ["delivered"] * 2
    assert (await world.document(stale))["attempt_count"] == 0


# --- replies that are lost -------------------------------------------------------------------------


@contextmanager
def unconfirmed(client: pymongo.MongoClient[dict[str, object]], command: str, *, times: int) -> Iterator[None]:
    """The next commands of that name are applied, and then answered with an error that says nothing of it."""
    data = {
        "failCommands": [command],
        "writeConcernError": {"code": 64, "errmsg": "waiting for replication timed out"},
        "appName": "webhook-router",
    }
    client.admin.command({"configureFailPoint": "failCommand", "mode": {"times": times}, "data": data})
    try:
        yield
    finally:
        client.admin.command({"configureFailPoint": "failCommand", "mode": "off"})


@pytest.mark.parametrize("times", [1, 2, 3], ids=["event", "event twice", "event and delivery"])
async def test_admitting_without_a_reply_is_repeated_and_doubles_nothing(
    world: World, mongo_client: pymongo.MongoClient[dict[str, object]], times: int
) -> None:
    plans = [plan(event(f"evt_{number}"), WEBHOOK, WebhookId("wh_2")) for number in range(3)]
    with unconfirmed(mongo_client, "insert", times=times):
        held = await admitted(world.one, plans)

    assert await world.database["events"].count_documents({}) == 3
    assert await world.database["deliveries"].count_documents({"status": "pending"}) == 6
    # What is not held now is found by anybody, if not before the lease is over.
    world.clock.moment += LEASE
    found = await take(world.two, 10)
    assert len({claim.delivery_id for claim in found}) == 6
    assert {claim.delivery_id for claim in held} <= {claim.delivery_id for claim in found}


async def test_recording_without_a_reply_is_repeated_and_counts_once(
    world: World, mongo_client: pymongo.MongoClient[dict[str, object]]
) -> None:
    claims = await admitted(world.one, [plan(event(f"evt_{number}")) for number in range(3)])
    results = [Result(claim=claim, attempt=attempt(1), next=Again(at=NOW), keep_lease=True) for claim in claims]
    with unconfirmed(mongo_client, "update", times=2):
        assert list(await world.one.record(results)) == []

    for claim in claims:
        stored = await world.document(claim)
        assert (stored["attempt_count"], len(stored["attempts"])) == (1, 1)


async def test_a_server_that_refuses_for_a_while_is_asked_again(
    world: World, mongo_client: pymongo.MongoClient[dict[str, object]]
) -> None:
    (claim,) = await admitted(world.one, [plan()])
    far = Again(at=NOW + timedelta(minutes=10))
    data = {"failCommands": ["update", "find"], "errorCode": EXCEEDED_TIME_LIMIT, "appName": "webhook-router"}
    mongo_client.admin.command({"configureFailPoint": "failCommand", "mode": {"times": 3}, "data": data})
    try:
        assert list(await world.one.record([Result(claim=claim, attempt=attempt(1), next=far)])) == []
        mongo_client.admin.command({"configureFailPoint": "failCommand", "mode": {"times": 3}, "data": data})
        assert await world.one.cancel(WEBHOOK) == 1
    finally:
        mongo_client.admin.command({"configureFailPoint": "failCommand", "mode": "off"})

    stored = await world.document(claim)
    assert (stored["status"], stored["attempt_count"]) == ("cancelled", 1)


async def test_claiming_from_a_store_that_is_away_is_left_to_the_next_time(
    world: World, mongo_client: pymongo.MongoClient[dict[str, object]]
) -> None:
    await admitted(world.one, [plan(leased=False)])
    # Twice: the driver repeats a read by itself.
    data = {"failCommands": ["find"], "errorCode": EXCEEDED_TIME_LIMIT, "appName": "webhook-router"}
    mongo_client.admin.command({"configureFailPoint": "failCommand", "mode": {"times": 2}, "data": data})
    try:
        with pytest.raises(DependencyUnavailable):
            await take(world.one, 10)
    finally:
        mongo_client.admin.command({"configureFailPoint": "failCommand", "mode": "off"})

    assert len(await take(world.one, 10)) == 1
