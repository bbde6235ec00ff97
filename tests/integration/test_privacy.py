"""What is held about a number: found wherever it stands, exported whole, and erased for good, on a real MongoDB."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator
from dataclasses import replace
from datetime import datetime, timedelta
from typing import Any

import pymongo
import pytest
import pytest_asyncio

from router.adapters.mongo import privacy as mongo_privacy
from router.adapters.mongo.driver import Database, open_database
from router.adapters.mongo.indexes import ensure_indexes
from router.adapters.mongo.privacy import LOOK_AGAIN_SECONDS, MongoPrivacy
from router.adapters.mongo.reader import MongoReader
from router.adapters.mongo.webhooks import webhook_document
from router.application import privacy
from router.application.privacy import Holdings
from router.application.queries import EventReport
from router.domain.delivery import Delivery, DeliveryReason, DeliveryStatus
from router.domain.event import AccountId
from router.domain.numbers import search_key
from router.domain.subject import subject_of
from router.domain.webhook import TrackingNumberRestriction, WebhookId
from router.ports import DeliveryFilter, Erased, Replay, Replayed, RestrictedWebhook, StoredDeadLetter
from tests.support.samples import NOON, at, dead_letter, delivery, event, replay, webhook
from tests.support.stored import StoredThings

CALLER, TRACKING, OTHER = "+33639981122", "+33199001234", "+33639985566"
SUBJECT = subject_of("06 39 98 11 22", "FR")
KEEP = timedelta(days=90)


def body(**fields: object) -> bytes:
    return json.dumps(fields, ensure_ascii=False).encode()


@pytest.fixture(params=["motor", "pymongo"])
def driver(request: pytest.FixtureRequest) -> Any:
    return request.param


@pytest_asyncio.fixture
async def database(driver: Any, mongo_url: str, mongo_database: str) -> AsyncIterator[Database]:
    database = open_database(mongo_url, mongo_database, driver)
    await ensure_indexes(database)
    yield database
    await database.close()


@pytest.fixture
def store(database: Database, monkeypatch: pytest.MonkeyPatch) -> MongoPrivacy:
    monkeypatch.setattr(mongo_privacy, "STEP", 2)
    return MongoPrivacy(database, "FR", KEEP)


def keys(*numbers: str) -> list[str]:
    return [key for number in numbers if (key := search_key(number, "FR"))]


@pytest.fixture(autouse=True)
def things(stored: StoredThings) -> StoredThings:
    """The number as a caller, as a tracking number, deep inside, in another account, where the event is gone; and
    somebody else's."""

    def add(identity: str, payload: bytes, *numbers: str, account_id: str = "1042", **changes: Any) -> None:
        received = event(identity, matched=["wh_crm"], account_id=account_id, payload=payload, **changes)
        stored.add_event(received)
        stored.add_delivery(delivery(received), received.key, keys(*numbers))

    add("evt-caller", body(caller=CALLER), CALLER, TRACKING)
    add("evt-tracking", body(called="x"), CALLER, tracking_number=CALLER)
    add("evt-deep", body(data={"notes": ["call back 06.39.98.11.22!"]}), TRACKING)
    add("evt-elsewhere", body(caller="0639981122"), CALLER, account_id="7")
    add("evt-other", body(caller=OTHER), OTHER, TRACKING)
    stored.add_event(event("evt-unmatched", payload=body(caller=33639981122)))
    gone = event("evt-gone", matched=["wh_crm"])
    stored.add_delivery(delivery(gone), gone.key, keys(CALLER))
    stored.add_dead_letter(dead_letter("dl_1", body=b"{caller: 06 39 98 11 22"))
    stored.add_dead_letter(dead_letter("dl_2", body=b"not JSON"))
    restriction = TrackingNumberRestriction(numbers=frozenset({CALLER}))
    stored.database["webhooks"].insert_one(webhook_document(webhook("wh_line", restriction=restriction), None))
    stored.database["webhooks"].insert_one(webhook_document(webhook("wh_crm"), None))
    return stored


def asked(stored: StoredThings) -> None:
    """Replays that look for the number, for its end, for another, and for none."""
    for identity, prefix in (("whole", SUBJECT.search_key), ("end", SUBJECT.search_key[:4]), ("other", "6655")):
        where = replace(replay().where, number_prefix=prefix)
        stored.add_replay(replay(f"rpl_{identity}", where=where))
    stored.add_replay(replay("rpl_none"))


async def find(store: MongoPrivacy, account_id: str | None = None) -> Holdings:
    account = AccountId(account_id) if account_id else None
    return await privacy.find_holdings(store, SUBJECT, account, tell=lambda _: None)


async def erase(store: MongoPrivacy, account_id: str | None = None) -> Erased:
    return await privacy.erase(store, await find(store, account_id), now=lambda: at(60), tell=lambda _: None)


def event_ids(holdings: Holdings) -> set[str]:
    return {mention.event_id for mention in holdings.mentions}


async def test_a_number_is_found_wherever_it_stands(store: MongoPrivacy) -> None:
    found = await find(store)

    assert event_ids(found) == {
        *("evt-caller", "evt-tracking", "evt-deep", "evt-elsewhere", "evt-unmatched", "evt-gone")
    }  # fmt: skip
    assert (found.events, found.deliveries) == (6, 5)
    assert found.dead_letters == ["dl_1"]
    assert [each.id for each in found.webhooks] == ["wh_line"]


async def test_of_one_account_nothing_of_another_is_found(store: MongoPrivacy) -> None:
    assert event_ids(await find(store, "7")) == {"evt-elsewhere"}
    found = await find(store, "1042")
    assert "evt-elsewhere" not in event_ids(found)
    assert found.dead_letters == []


async def test_the_export_is_whole(store: MongoPrivacy, database: Database) -> None:
    exported = [item async for item in privacy.export(MongoReader(database, "FR"), await find(store))]

    reports = {item.event.event_id: item for item in exported if isinstance(item, EventReport)}
    assert reports["evt-caller"].event.payload == body(caller=CALLER)
    (line,) = reports["evt-deep"].trace
    assert line.delivery is not None
    assert line.delivery.attempts[0].response_body == "thanks"
    assert [item.event_id for item in exported if isinstance(item, Delivery)] == ["evt-gone"]
    (letter,) = [item for item in exported if isinstance(item, StoredDeadLetter)]
    assert letter.raw is not None
    assert letter.raw.body == b"{caller: 06 39 98 11 22"
    assert [item.id for item in exported if isinstance(item, RestrictedWebhook)] == ["wh_line"]
    assert len(exported) == 8


async def test_what_was_erased_is_in_no_document_and_found_by_no_search(
    store: MongoPrivacy, database: Database, things: StoredThings
) -> None:
    await erase(store)

    for name in ("events", "deliveries", "dead_letters"):
        for document in things.database[name].find():
            assert not SUBJECT.is_in(repr(document).encode()), document["_id"]
            assert SUBJECT.search_key not in repr(document)
    reader = MongoReader(database, "FR")
    assert await reader.count_deliveries(DeliveryFilter(number_prefix=SUBJECT.search_key)) == 0
    left = await find(store)
    assert (left.mentions, left.dead_letters) == ([], [])


async def test_the_facts_of_a_delivery_and_everybody_elses_stay(store: MongoPrivacy, things: StoredThings) -> None:
    before = {document["_id"]: document for document in things.database["deliveries"].find()}
    await erase(store)

    for after in things.database["deliveries"].find():
        was = before[after["_id"]]
        if was["event_id"] == "evt-other":
            assert after == was
            continue
        (attempt,), (attempt_was,) = after["attempts"], was["attempts"]
        assert attempt == attempt_was | {"response_body": None}
        changed = {name for name in was if after.get(name) != was[name]}
        assert changed == {"attempts", "search"}
        assert after["search"] == [key for key in was["search"] if not key.startswith("number:")]
    (other,) = things.database["events"].find({"event_id": "evt-other"})
    assert "payload" in other
    assert things.database["webhooks"].find_one({"_id": "wh_line"}) is not None


async def test_filters_of_replays_are_found_exported_and_erased(
    store: MongoPrivacy, database: Database, things: StoredThings
) -> None:
    asked(things)

    found = await find(store)
    exported = [item async for item in privacy.export(MongoReader(database, "FR"), found)]
    await erase(store)

    assert {item.id for item in exported if isinstance(item, Replay)} == {"rpl_whole", "rpl_end"}
    left = {document["_id"]: document for document in things.database["replays"].find()}
    assert {name: each["filter"]["number_prefix"] for name, each in left.items()} == {
        "rpl_whole": None, "rpl_end": None, "rpl_other": "6655", "rpl_none": None,
    }  # fmt: skip
    # Without its number one that runs would go through everything.
    assert {name for name, each in left.items() if "due_at" in each} == {"rpl_other", "rpl_none"}
    assert (await find(store)).replays == []


async def test_what_a_replay_led_to_is_found_and_erased_with_its_event(
    store: MongoPrivacy, things: StoredThings
) -> None:
    later = (Replayed(webhook_id=WebhookId("wh_new"), at=NOON, replay_id="rpl_1"),)
    missed = event("evt-later", payload=body(caller=CALLER), replayed=later)
    things.add_event(missed)
    things.database["events"].update_one({"_id": missed.key}, {"$set": {"number_keys": keys(CALLER)}})
    things.add_delivery(delivery(missed, "wh_new"), missed.key, keys(CALLER))

    await erase(store)

    for name in ("events", "deliveries"):
        for document in things.database[name].find({"event_id": "evt-later"}):
            assert SUBJECT.search_key not in repr(document)
    after = things.database["deliveries"].find_one({"event_id": "evt-later"})
    assert after is not None
    assert after["attempts"][0]["response_body"] is None


async def test_a_pending_delivery_ends_and_its_worker_records_nothing_over_it(
    store: MongoPrivacy, things: StoredThings
) -> None:
    pending = {"status": "pending", "due_at": NOON, "next_attempt_at": NOON, "lease": {"owner": "w-1", "fence": 4}}
    things.database["deliveries"].update_one({"event_id": "evt-caller"}, {"$set": pending})

    erased = await erase(store)

    assert (erased.ended, erased.in_memory) == (1, 1)
    after = things.database["deliveries"].find_one({"event_id": "evt-caller"})
    assert after is not None
    assert (after["status"], after["reason"]) == (DeliveryStatus.EXPIRED, DeliveryReason.TOO_OLD)
    assert (after["completed_at"], after["expire_at"]) == (at(60), at(60) + KEEP)
    assert after["lease"]["fence"] == 5
    assert "due_at" not in after


async def test_a_delivery_that_is_about_to_be_inserted_is_waited_for(store: MongoPrivacy, stored: StoredThings) -> None:
    received = event("evt-new", matched=["wh_crm"], payload=body(caller=CALLER))
    stored.add_event(received)
    stored.database["events"].update_one({"_id": received.key}, {"$set": {"lease.until": at(75)}})

    async def insert_late() -> None:
        await asyncio.sleep(3 * LOOK_AGAIN_SECONDS)
        stored.add_delivery(delivery(received), received.key, keys(CALLER))

    erased, _ = await asyncio.gather(erase(store), insert_late())

    assert erased.deliveries == 6
    late = stored.database["deliveries"].find_one({"event": received.key})
    assert late is not None
    assert SUBJECT.search_key not in repr(late)


@pytest.mark.parametrize("until", [at(60), at(61)])
async def test_a_delivery_that_does_not_come_is_waited_for_no_longer_than_its_lease(
    store: MongoPrivacy, stored: StoredThings, until: datetime
) -> None:
    received = event("evt-new", matched=["wh_crm"], payload=body(caller=CALLER))
    stored.add_event(received)
    stored.database["events"].update_one({"_id": received.key}, {"$set": {"lease.until": until}})

    assert (await erase(store)).deliveries == 5
    assert (await find(store)).mentions == []


async def test_erasing_that_was_cut_short_is_taken_up_again(store: MongoPrivacy, database: Database) -> None:
    """After the deliveries and before the event, which is found by what is in it."""
    await database["deliveries"].update_many({"event_id": "evt-deep"}, {"$set": {"search": ["event:evt-deep"]}})

    await erase(store)
    again = await erase(store)

    assert again == Erased()
    assert (await find(store)).mentions == []


async def test_the_keys_are_asked_for_by_their_index(
    store: MongoPrivacy, mongo_client: pymongo.MongoClient[dict[str, Any]], mongo_database: str
) -> None:
    query = {"search": f"number:{SUBJECT.search_key}"}
    plan = mongo_client[mongo_database]["deliveries"].find(query).hint("search").explain()

    assert "IXSCAN" in repr(plan)
