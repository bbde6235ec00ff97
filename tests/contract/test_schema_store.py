"""Changes of the schema on the real store and through both drivers: by one process at a time, in steps, repeatable."""

from __future__ import annotations

from collections.abc import AsyncIterator
from datetime import timedelta
from typing import Any

import pymongo
import pytest
import pytest_asyncio

from router.adapters.mongo import schema as mongo_schema
from router.adapters.mongo.driver import Database, DriverName, open_database
from router.adapters.mongo.schema import LEASE, MongoSchema
from router.domain.errors import ConfigurationRefused
from router.domain.schema import CHANGES, EMPTY_STORE, FIRST_RELEASE, KNOWN
from tests.support.fakes_delivery import FakeClock
from tests.support.first_release import restore

SEARCH, LETTERS, NUMBERS, EVENT_NUMBERS = CHANGES
Raw = pymongo.database.Database[dict[str, Any]]


@pytest.fixture(params=["motor", "pymongo"])
def driver(request: pytest.FixtureRequest) -> Any:
    return request.param


@pytest_asyncio.fixture
async def database(driver: DriverName, mongo_url: str, mongo_database: str) -> AsyncIterator[Database]:
    database = open_database(mongo_url, mongo_database, driver)
    yield database
    await database.close()


@pytest.fixture
def raw(mongo_client: pymongo.MongoClient[dict[str, Any]], mongo_database: str) -> Raw:
    return mongo_client[mongo_database]


@pytest.fixture
def old(raw: Raw, monkeypatch: pytest.MonkeyPatch) -> Raw:
    """What the first release left, looked at three documents at a time."""
    monkeypatch.setattr(mongo_schema, "BATCH", 3)
    monkeypatch.setattr(mongo_schema, "PAUSE_SECONDS", 0)
    restore(raw, url="https://crm.example")
    return raw


def process(database: Database, clock: FakeClock | None = None) -> MongoSchema:
    return MongoSchema(database, clock or FakeClock(), timedelta(days=30))


async def apply_all(schema: MongoSchema) -> None:
    for change in (await schema.read()).pending(contract=True):
        steps = [step async for step in schema.apply(change)]
        assert steps[-1].done


# --- the record ------------------------------------------------------------------------------------


async def test_an_empty_store_has_nothing_to_do_and_keeps_out_who_knows_less(database: Database, raw: Raw) -> None:
    assert await process(database).read() == EMPTY_STORE
    assert (raw.meta.find_one({"_id": "schema"}) or {})["needs"] == EMPTY_STORE.needs


@pytest.mark.parametrize("collection", ["events", "deliveries", "dead_letters"])
async def test_one_document_makes_it_a_store_of_the_first_release(
    collection: str, database: Database, raw: Raw
) -> None:
    raw[collection].insert_one({"_id": "something"})

    assert await process(database).read() == FIRST_RELEASE


async def test_a_store_that_needs_more_is_refused_with_what_to_do(database: Database, raw: Raw) -> None:
    raw.meta.insert_one({"_id": "schema", "done": [2, 99], "needs": 99})

    with pytest.raises(ConfigurationRefused, match=f"schema 99.*knows {KNOWN}.*newer release"):
        await process(database).read()


# --- changes ---------------------------------------------------------------------------------------


async def test_every_change_makes_of_the_old_what_is_written_today(database: Database, old: Raw) -> None:
    await apply_all(process(database))

    held = old.deliveries.find_one({"event_id": "evt_held"}) or {}
    assert held["held"] == "wh_paused"
    assert held["search"] == ["event:evt_held", "call:c-held", "number:43210099133", "number:22118993633"]
    user = old.deliveries.find_one({"event_id": "evt_user"}) or {}
    assert user["search"] == ["event:evt_user", "user:u-17"]
    letter = old.dead_letters.find_one({}) or {}
    assert letter["payload_expires_at"] - letter["received_at"] == timedelta(days=30)
    assert old.deliveries.count_documents({"number_keys": {"$exists": True}}) == 0
    assert old.events.count_documents({"number_keys": {"$exists": True}}) == 0
    assert not {"event_id", "call", "user", "number"} & set(old.deliveries.index_information())
    assert "call" in old.events.index_information(), "the index of that name of another collection stays"
    assert await process(database).read() == EMPTY_STORE


async def test_an_event_that_a_replay_may_still_give_to_somebody_keeps_its_number_keys(
    database: Database, old: Raw
) -> None:
    keys = {"unmatched": "1042", "number_keys": ["43210099133"]}
    old.events.insert_one({"_id": "ev_of_today", **keys})
    await apply_all(process(database))

    assert (old.events.find_one({"_id": "ev_of_today"}) or {}).items() >= keys.items()
    assert old.events.count_documents({"number_keys": {"$exists": True}}) == 1


async def test_a_change_goes_in_steps_and_changes_nothing_the_second_time(database: Database, old: Raw) -> None:
    schema = process(database)
    await schema.read()

    steps = [(step.seen, step.written, step.done) async for step in schema.apply(SEARCH)]
    assert steps == [(3, 3, False), (6, 7, False), (8, 9, True)], "8 deliveries, one of them held"

    before = list(old.deliveries.find().sort("_id"))
    old.meta.update_one({"_id": "schema"}, {"$pull": {"done": SEARCH.number}})
    assert [step.written async for step in schema.apply(SEARCH)] == [0, 0, 0]
    assert list(old.deliveries.find().sort("_id")) == before


async def test_a_letter_whose_body_has_left_gets_no_time_for_it(database: Database, old: Raw) -> None:
    old.dead_letters.update_one({}, {"$unset": {"body": ""}})
    schema = process(database)
    await schema.read()

    assert [step.written async for step in schema.apply(LETTERS)] == [0]


async def test_one_process_makes_a_change_at_a_time(database: Database, old: Raw) -> None:
    one, other = process(database), process(database)
    await one.read()

    steps = one.apply(SEARCH)
    first = await anext(steps)
    meanwhile = [step async for step in other.apply(SEARCH)]
    of_another_change = [step async for step in other.apply(LETTERS)]
    rest = [step async for step in steps]

    assert (first.seen, meanwhile, of_another_change) == (3, [], [])
    assert rest[-1].done


async def test_what_was_broken_off_is_taken_up_by_another_once_the_lease_is_over(database: Database, old: Raw) -> None:
    clock = FakeClock()
    died = process(database, clock).apply(SEARCH)
    await process(database, clock).read()
    await anext(died)
    heir = process(database, clock)
    clock.moment += LEASE - timedelta(milliseconds=1)
    assert [step async for step in heir.apply(SEARCH)] == []
    clock.moment += timedelta(milliseconds=1)

    steps = heir.apply(SEARCH)
    taken_up = await anext(steps)
    late = [step async for step in died]
    rest = [step async for step in steps]

    assert taken_up.seen == 6, "what the first had seen is not looked at again"
    assert late == [], "who slept through his lease ends"
    assert rest[-1].done


async def test_a_change_that_is_made_is_not_made_again(database: Database, old: Raw) -> None:
    schema = process(database)
    await apply_all(schema)

    assert [step async for step in schema.apply(NUMBERS)] == []
    assert await schema.size(EVENT_NUMBERS) == 9
