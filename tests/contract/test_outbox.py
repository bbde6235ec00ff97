"""What every `ports.Outbox` does, on the fake and on the real store with both of its drivers; and, on the real store,
that what is announced is written together with what happened, once.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from dataclasses import dataclass, replace
from datetime import timedelta
from typing import Any

import pymongo
import pytest
import pytest_asyncio
from motor.motor_asyncio import AsyncIOMotorClient
from pymongo.monitoring import CommandFailedEvent, CommandListener, CommandStartedEvent, CommandSucceededEvent

from router.adapters.mongo.definitions import MongoDefinitions
from router.adapters.mongo.deliveries import MongoDeliveries
from router.adapters.mongo.driver import Database, DriverName, open_database
from router.adapters.mongo.indexes import ensure_indexes
from router.adapters.mongo.outbox import MongoOutbox
from router.adapters.mongo.registry import MongoRegistry
from router.adapters.mongo.resilience import Persistent, StoreHealth
from router.adapters.mongo.retention import Retention
from router.domain.announcement import (
    LEFT_BEHIND,
    Announcement,
    AnnouncementKey,
    DeliveryFailed,
    RecoveredFrom,
)
from router.domain.delivery import Attempt, AttemptError, Claim, DeliveryReason, DeliveryStatus, Trigger
from router.domain.retry import Again, End
from router.domain.webhook import Suspension, SuspensionReason, WebhookId
from router.ports import Outbox, Result
from tests.contract.test_delivery_store import event, plan, unconfirmed
from tests.support.admitting import admitted
from tests.support.fakes_announcing import FakeOutbox, delivery_failed, webhook_announcement
from tests.support.fakes_delivery import NOW, FakeClock

ONE, TWO = "worker-1", "worker-2"
EXHAUSTED = End(status=DeliveryStatus.FAILED, reason=DeliveryReason.EXHAUSTED)
RECOVERED = AnnouncementKey.WEBHOOK_RECOVERED


def attempt(number: int = 1) -> Attempt:
    return Attempt(
        number=number,
        trigger=Trigger.SCHEDULE,
        started_at=NOW,
        duration_ms=5,
        status_code=503,
        error=AttemptError.HTTP_STATUS,
        response_body="",
        response_truncated=False,
    )


@dataclass
class Store:
    """One database, its clock, and what two workers write into it."""

    database: Database
    clock: FakeClock
    announcing: bool = True

    def _parts(self) -> tuple[Database, Persistent]:
        return self.database, Persistent(StoreHealth())

    def deliveries(self, owner: str = ONE) -> MongoDeliveries:
        keep = Retention(payload=timedelta(days=30), log=timedelta(days=90))
        return MongoDeliveries(*self._parts(), self.clock, keep, owner, announcing=self.announcing)

    def definitions(self, owner: str = ONE) -> MongoDefinitions:
        return MongoDefinitions(*self._parts(), "FR", owner)

    def outbox(self, owner: str = ONE) -> MongoOutbox:
        return MongoOutbox(*self._parts(), self.clock, owner)

    async def claim(self, event_id: str = "evt_1", owner: str = ONE) -> Claim:
        (claim,) = await admitted(self.deliveries(owner), [plan(event(event_id))])
        return claim

    async def document(self, collection: str = "deliveries") -> dict[str, Any]:
        found: dict[str, Any] = await self.database[collection].find_one({})
        return found


@pytest_asyncio.fixture(params=["motor", "pymongo"])
async def store(request: pytest.FixtureRequest, mongo_url: str, mongo_database: str) -> AsyncIterator[Store]:
    driver: DriverName = request.param
    database = open_database(mongo_url, mongo_database, driver)
    await ensure_indexes(database)
    yield Store(database, FakeClock())
    await database.close()


# --- the port --------------------------------------------------------------------------------------


@dataclass
class Place:
    """An outbox and a way to put something into it."""

    clock: FakeClock
    store: Store | None
    fake: FakeOutbox | None

    def outbox(self, owner: str = ONE) -> Outbox:
        if self.store is not None:
            return self.store.outbox(owner)
        assert self.fake is not None
        return replace(self.fake, owner=owner) if owner != self.fake.owner else self.fake

    async def put_failure(self, number: int = 1, *, by: str = ONE) -> None:
        if self.fake is not None:
            self.fake.put(delivery_failed(f"dlv_{number}", occurred_at=self.clock.now()), by=by)
        elif self.store is not None:
            claim = await self.store.claim(f"evt_{number}", by)
            await self.store.deliveries(by).record([Result(claim=claim, attempt=attempt(), next=EXHAUSTED)])

    async def put_suspension(self, webhook: str = "wh_1", *, by: str = ONE) -> None:
        told = webhook_announcement(webhook, at=self.clock.now())
        if self.fake is not None:
            self.fake.put(told, by=by)
        elif self.store is not None:
            suspension = Suspension(since=told.occurred_at, reason=SuspensionReason.GONE)
            await self.store.definitions(by).suspend(told.webhook_id, suspension, told)


@pytest_asyncio.fixture(params=["fake", "motor", "pymongo"])
async def place(request: pytest.FixtureRequest, mongo_url: str, mongo_database: str) -> AsyncIterator[Place]:
    clock = FakeClock()
    if request.param == "fake":
        yield Place(clock, None, FakeOutbox(clock=clock))
        return
    database = open_database(mongo_url, mongo_database, request.param)
    await ensure_indexes(database)
    yield Place(clock, Store(database, clock), None)
    await database.close()


def kinds(announcements: Any) -> list[AnnouncementKey]:
    return sorted(each.key for each in announcements)


async def test_what_a_worker_wrote_is_its_own_to_publish_at_once_and_nobody_elses(place: Place) -> None:
    await place.put_failure()
    await place.put_suspension()

    expected = [AnnouncementKey.DELIVERY_FAILED, AnnouncementKey.WEBHOOK_SUSPENDED]
    assert kinds(await place.outbox(ONE).pending(10)) == expected
    assert list(await place.outbox(TWO).pending(10)) == []


async def test_what_was_left_behind_is_anybodys(place: Place) -> None:
    await place.put_failure()
    await place.put_suspension()

    place.clock.moment += LEFT_BEHIND - timedelta(milliseconds=1)
    assert list(await place.outbox(TWO).pending(10)) == []
    place.clock.moment += timedelta(milliseconds=1)
    assert len(await place.outbox(TWO).pending(10)) == 2


async def test_what_was_published_is_gone_and_the_rest_stays(place: Place) -> None:
    for number in range(3):
        await place.put_failure(number)
    await place.put_suspension()
    await place.put_suspension("wh_2")
    pending = await place.outbox().pending(10)

    await place.outbox().published(pending[:2])
    await place.outbox().published(pending[:2])
    await place.outbox().published([])

    assert {each.id for each in await place.outbox().pending(10)} == {each.id for each in pending[2:]}


async def test_a_batch_has_a_largest_size(place: Place) -> None:
    for number in range(5):
        await place.put_failure(number)
    await place.put_suspension()

    assert len(await place.outbox().pending(4)) == 4


# --- deliveries ------------------------------------------------------------------------------------


async def test_a_final_failure_is_announced_with_what_the_platform_needs_to_find_it(store: Store) -> None:
    claim = await store.claim()
    result = Result(claim=replace(claim, attempt_count=0), attempt=attempt(), next=EXHAUSTED)
    await store.deliveries().record([result])

    (told,) = await store.outbox().pending(10)

    assert isinstance(told, DeliveryFailed)
    assert told == DeliveryFailed(
        id=told.id,
        occurred_at=NOW,
        account_id=claim.account_id,
        webhook_id=claim.webhook_id,
        delivery_id=claim.delivery_id,
        event_id="evt_1",
        event_type=claim.event_type,
        event_name="call.received",
        call_id="c-1",
        user_id=None,
        reason=DeliveryReason.EXHAUSTED,
        attempt_count=1,
        status_code=503,
        error=AttemptError.HTTP_STATUS,
    )


@pytest.mark.parametrize("reason", list(DeliveryReason))
async def test_a_failure_is_announced_unless_its_webhook_is_suspended(store: Store, reason: DeliveryReason) -> None:
    claim = await store.claim()
    end = End(status=DeliveryStatus.FAILED, reason=reason)
    await store.deliveries().record([Result(claim=claim, attempt=None, next=end)])

    pending = await store.outbox().pending(10)

    assert len(pending) == (0 if reason is DeliveryReason.SUSPENDED else 1)
    assert ("announce" in await store.document()) == bool(pending)


@pytest.mark.parametrize(
    "after",
    [
        Again(at=NOW),
        End(status=DeliveryStatus.DELIVERED),
        End(status=DeliveryStatus.EXPIRED, reason=DeliveryReason.TOO_OLD),
        End(status=DeliveryStatus.CANCELLED, reason=DeliveryReason.WEBHOOK_DELETED),
    ],
)
async def test_what_is_no_failure_for_good_is_not_announced(store: Store, after: Again | End) -> None:
    await store.deliveries().record([Result(claim=await store.claim(), attempt=attempt(), next=after)])

    assert "announce" not in await store.document()
    assert list(await store.outbox().pending(10)) == []


async def test_what_ends_at_admission_as_suspended_is_not_announced(store: Store) -> None:
    ended = End(status=DeliveryStatus.FAILED, reason=DeliveryReason.SUSPENDED)
    await admitted(store.deliveries(), [plan(leased=False, ended=ended)])

    assert list(await store.outbox().pending(10)) == []


async def test_with_announcing_switched_off_nothing_is_written(store: Store) -> None:
    store.announcing = False
    await store.deliveries().record([Result(claim=await store.claim(), attempt=attempt(), next=EXHAUSTED)])

    assert "announce" not in await store.document()


async def test_a_result_that_is_not_recorded_is_not_announced(store: Store) -> None:
    claim = await store.claim()
    await store.deliveries(TWO).cancel(claim.webhook_id)
    lost = await store.deliveries().record([Result(claim=claim, attempt=attempt(), next=EXHAUSTED)])

    assert len(lost) == 1
    assert list(await store.outbox().pending(10)) == []


@pytest.mark.parametrize("tried", [True, False], ids=["attempt", "no attempt"])
async def test_a_failure_without_a_reply_is_recorded_again_and_announced_once(
    store: Store, mongo_client: pymongo.MongoClient[dict[str, object]], tried: bool
) -> None:
    claim = await store.claim()
    with unconfirmed(mongo_client, "update", times=2):
        await store.deliveries().record([Result(claim=claim, attempt=attempt() if tried else None, next=EXHAUSTED)])

    assert len((await store.document())["announce"]) == 1


async def test_a_published_delivery_is_as_if_it_had_never_been_announced(store: Store) -> None:
    await store.deliveries().record([Result(claim=await store.claim(), attempt=attempt(), next=EXHAUSTED)])
    outbox = store.outbox()

    await outbox.published(await outbox.pending(10))

    document = await store.document()
    assert "announce" not in document
    assert (document["status"], document["attempt_count"]) == ("failed", 1)


# --- webhooks --------------------------------------------------------------------------------------


async def test_a_burst_of_suspensions_by_two_workers_is_announced_once(store: Store) -> None:
    async def suspend(owner: str, number: int) -> None:
        told = webhook_announcement(at=NOW + timedelta(milliseconds=number))
        suspension = Suspension(since=told.occurred_at, reason=SuspensionReason.GONE)
        await store.definitions(owner).suspend(told.webhook_id, suspension, told)

    await asyncio.gather(*(suspend(owner, number) for number in range(10) for owner in (ONE, TWO)))

    document = await store.document("webhook_health")
    (entry,) = document["announce"]
    assert entry["at"] == document["suspended_at"]


async def lifted(store: Store) -> Suspension:
    """A webhook that was suspended and is resumed."""
    suspension = Suspension(since=NOW, reason=SuspensionReason.GONE)
    await store.definitions().mark_failing(WebhookId("wh_1"), NOW - timedelta(seconds=1))
    await store.definitions().suspend(WebhookId("wh_1"), suspension, webhook_announcement())
    assert await MongoRegistry(store.database).unsuspend(WebhookId("wh_1"))
    return suspension


async def test_a_recovery_follows_a_suspension_that_is_not_published_yet(store: Store) -> None:
    suspension = await lifted(store)
    told = webhook_announcement("wh_1", RECOVERED, RecoveredFrom.SUSPENDED, since=suspension.since)

    await store.definitions().mark_healthy(told.webhook_id, told)

    pending = await store.outbox().pending(10)
    assert [each.key for each in pending] == [AnnouncementKey.WEBHOOK_SUSPENDED, RECOVERED]
    assert pending[1] == told
    await store.outbox().published(pending)
    assert await store.document("webhook_health") == {"_id": "wh_1"}


async def test_a_recovery_that_several_workers_see_is_announced_once(store: Store) -> None:
    await store.definitions().mark_failing(WebhookId("wh_1"), NOW - timedelta(minutes=5))
    for owner in (ONE, TWO, ONE):
        told = webhook_announcement(
            "wh_1", RECOVERED, RecoveredFrom.FAILING, at=NOW + timedelta(seconds=1), since=NOW - timedelta(minutes=5)
        )
        await store.definitions(owner).mark_healthy(told.webhook_id, told)

    assert kinds(await store.outbox(ONE).pending(10)) == [RECOVERED]
    assert list(await store.outbox(TWO).pending(10)) == []


async def test_a_worker_that_knows_only_an_older_failure_forgets_the_newer_one_and_announces_nothing(
    store: Store,
) -> None:
    await store.definitions().mark_failing(WebhookId("wh_1"), NOW)
    told = webhook_announcement("wh_1", RECOVERED, RecoveredFrom.FAILING, since=NOW - timedelta(minutes=5))

    await store.definitions().mark_healthy(told.webhook_id, told)

    assert await store.document("webhook_health") == {"_id": "wh_1"}


async def test_a_success_that_was_in_flight_announces_no_recovery_of_a_suspended_webhook(store: Store) -> None:
    await store.definitions().mark_failing(WebhookId("wh_1"), NOW - timedelta(minutes=5))
    await store.definitions(TWO).suspend(WebhookId("wh_1"), Suspension(since=NOW, reason=SuspensionReason.FAILING))
    told = webhook_announcement("wh_1", RECOVERED, RecoveredFrom.FAILING, since=NOW - timedelta(minutes=5))

    await store.definitions().mark_healthy(told.webhook_id, told)

    assert list(await store.outbox().pending(10)) == []


async def test_what_was_lifted_is_known_until_the_first_success_or_the_next_suspension(store: Store) -> None:
    suspension = await lifted(store)
    assert (await store.document("webhook_health"))["recovering"] == {"since": NOW, "reason": "gone"}

    await store.definitions().suspend(WebhookId("wh_1"), suspension)

    assert "recovering" not in await store.document("webhook_health")


async def test_deleting_a_webhook_leaves_what_is_to_be_announced(store: Store) -> None:
    told = webhook_announcement()
    await store.definitions().suspend(told.webhook_id, Suspension(since=NOW, reason=SuspensionReason.GONE), told)

    await MongoRegistry(store.database).delete_webhook(told.webhook_id)

    pending: list[Announcement] = list(await store.outbox().pending(10))
    assert pending == [told]
    assert set(await store.document("webhook_health")) == {"_id", "announce"}


class _Reads(CommandListener):
    """Keeps the reads that a client sends."""

    def __init__(self) -> None:
        self.commands: list[dict[str, Any]] = []

    def started(self, event: CommandStartedEvent) -> None:
        if event.command_name == "find":
            self.commands.append({key: value for key, value in event.command.items() if key in _FIND})

    def succeeded(self, event: CommandSucceededEvent) -> None: ...

    def failed(self, event: CommandFailedEvent) -> None: ...


_FIND = ("find", "filter", "projection", "sort", "limit", "hint")


async def test_what_is_pending_is_found_by_its_index(
    store: Store, mongo_client: pymongo.MongoClient[dict[str, object]], mongo_url: str, mongo_database: str
) -> None:
    await store.deliveries().record([Result(claim=await store.claim(), attempt=attempt(), next=EXHAUSTED)])
    reads = _Reads()
    client: Any = AsyncIOMotorClient(mongo_url, event_listeners=[reads])

    await MongoOutbox(Database(client, mongo_database), Persistent(StoreHealth()), store.clock, ONE).pending(10)

    client.close()
    assert [read["find"] for read in reads.commands] == ["webhook_health", "deliveries"]
    for read in reads.commands:
        plan = str(mongo_client[mongo_database].command({"explain": read, "verbosity": "queryPlanner"}))
        assert "IXSCAN" in plan
        assert "COLLSCAN" not in plan
