"""What leaves before its document does, on the real server and through both drivers: payloads, and answers that may
quote them."""

from __future__ import annotations

from collections.abc import AsyncIterator
from datetime import datetime, timedelta
from typing import Any

import pytest
import pytest_asyncio

from router.adapters.mongo import upkeep as mongo_upkeep
from router.adapters.mongo.deliveries import MongoDeliveries
from router.adapters.mongo.driver import Database, DriverName, open_database
from router.adapters.mongo.indexes import ensure_indexes
from router.adapters.mongo.resilience import Persistent, StoreHealth
from router.adapters.mongo.retention import Retention
from router.adapters.mongo.upkeep import MongoUpkeep
from router.domain.delivery import Attempt, DeliveryStatus, Trigger
from router.domain.event import AccountId, Event, EventType
from router.domain.matching import Verdict
from router.domain.retry import End
from router.domain.webhook import WebhookId
from router.ports import PlannedDelivery, PlannedEvent, Result
from tests.support.admitting import admitted
from tests.support.fakes_delivery import NOW, FakeClock

KEEP = Retention(payload=timedelta(days=30), log=timedelta(days=90))
WEBHOOKS = [WebhookId("wh_1"), WebhookId("wh_2")]


@pytest_asyncio.fixture(params=["motor", "pymongo"])
async def database(request: pytest.FixtureRequest, mongo_url: str, mongo_database: str) -> AsyncIterator[Database]:
    driver: DriverName = request.param
    database = open_database(mongo_url, mongo_database, driver)
    await ensure_indexes(database)
    yield database
    await database.close()


async def deliver(database: Database, event_id: str, received_at: datetime) -> None:
    """An event that two webhooks got, one of which quoted it in its answer."""
    event = Event(
        account_id=AccountId("1042"),
        event_id=event_id,
        type=EventType.CDR,
        name=None,
        occurred_at=received_at,
        received_at=received_at,
        call_id=None,
        sequence=None,
        tracking_number="+33199001234",
        user_id=None,
        number_keys=("43210099133",),
        payload=b'{"caller": "+33639981122"}',
        source="cdr",
    )
    plan = PlannedEvent(
        event=event,
        born_at=received_at,
        not_after=None,
        account_enabled=True,
        trace=[*((webhook, Verdict.MATCHED) for webhook in WEBHOOKS), (WebhookId("wh_3"), Verdict.PAUSED)],
        deliveries=[PlannedDelivery(webhook_id=each, url="https://crm.example.com/", leased=True) for each in WEBHOOKS],
    )
    deliveries = MongoDeliveries(database, Persistent(StoreHealth()), FakeClock(), KEEP, "worker-1")
    attempt = Attempt(
        number=1,
        trigger=Trigger.SCHEDULE,
        started_at=received_at,
        duration_ms=5,
        status_code=200,
        error=None,
        response_body="thanks for +33639981122",
        response_truncated=False,
    )
    claims = await admitted(deliveries, [plan])
    end = End(status=DeliveryStatus.DELIVERED)
    await deliveries.record([Result(claim=claim, attempt=attempt, next=end) for claim in claims])


async def stored(database: Database, collection: str) -> list[dict[str, Any]]:
    return [document async for document in database[collection].find().sort("_id", 1)]


async def test_payloads_go_before_the_log_and_the_answers_with_them(
    database: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(mongo_upkeep, "SWEEP_BATCH", 2)
    for number in range(5):
        await deliver(database, f"evt_{number}", NOW)
    await deliver(database, "evt_young", NOW + timedelta(days=1))
    upkeep = MongoUpkeep(database, Persistent(StoreHealth()))

    assert (await upkeep.forget_payloads(NOW + KEEP.payload - timedelta(seconds=1))).events == 0
    assert (await upkeep.forget_payloads(NOW + KEEP.payload)).events == 5
    assert (await upkeep.forget_payloads(NOW + KEEP.payload)).events == 0

    events = await stored(database, "events")
    assert ["payload" in event for event in events].count(True) == 1
    assert len(events) == 6
    deliveries = await stored(database, "deliveries")
    bodies = [delivery["attempts"][0]["response_body"] for delivery in deliveries]
    assert (bodies.count(None), len(bodies)) == (10, 12)
    assert {delivery["status"] for delivery in deliveries} == {"delivered"}
    assert {delivery["attempts"][0]["status_code"] for delivery in deliveries} == {200}


async def test_a_sweep_that_was_cut_short_is_taken_up_again(database: Database) -> None:
    await deliver(database, "evt_1", NOW)
    # As a crash between the two writes leaves it.
    await database["deliveries"].update_many({}, {"$set": {"attempts.$[].response_body": None}})

    assert (await MongoUpkeep(database, Persistent(StoreHealth())).forget_payloads(NOW + KEEP.payload)).events == 1
    assert all("payload" not in event for event in await stored(database, "events"))
