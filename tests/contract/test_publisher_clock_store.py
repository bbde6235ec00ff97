"""What every `ports.PublisherClockStore` does, on the real server and through both drivers."""

from __future__ import annotations

from collections.abc import AsyncIterator
from datetime import UTC, datetime, timedelta

import pytest
import pytest_asyncio

from router.adapters.mongo.clocks import MongoPublisherClocks
from router.adapters.mongo.driver import Database, DriverName, open_database
from router.adapters.mongo.resilience import Persistent, StoreHealth

NOW = datetime(2031, 1, 1, 12, tzinfo=UTC)
HOUR, MILLISECOND = timedelta(hours=1), timedelta(milliseconds=1)


@pytest_asyncio.fixture(params=["motor", "pymongo"])
async def database(request: pytest.FixtureRequest, mongo_url: str, mongo_database: str) -> AsyncIterator[Database]:
    driver: DriverName = request.param
    database = open_database(mongo_url, mongo_database, driver)
    yield database
    await database.close()


@pytest.fixture
def clocks(database: Database) -> MongoPublisherClocks:
    return MongoPublisherClocks(database, Persistent(StoreHealth()))


async def test_before_anything_was_measured_nothing_is_known(clocks: MongoPublisherClocks) -> None:
    assert await clocks.load() == {}


async def test_what_was_saved_is_loaded_to_the_millisecond(clocks: MongoPublisherClocks) -> None:
    errors = {"call": -HOUR + MILLISECOND, "cdr": timedelta(), "user": 400 * 24 * HOUR}

    await clocks.save(errors, NOW)

    assert await clocks.load() == errors


async def test_a_source_that_is_measured_anew_replaces_its_own_alone(
    clocks: MongoPublisherClocks, database: Database
) -> None:
    await clocks.save({"call": HOUR, "cdr": HOUR}, NOW)
    await clocks.save({"call": MILLISECOND}, NOW + HOUR)

    assert await clocks.load() == {"call": MILLISECOND, "cdr": HOUR}
    document = await database["publisher_clocks"].find_one({"_id": "call"})
    assert document == {"_id": "call", "error_ms": 1, "measured_at": NOW + HOUR}


async def test_a_document_of_another_shape_is_nothing_known(clocks: MongoPublisherClocks, database: Database) -> None:
    await database["publisher_clocks"].insert_one({"_id": "call", "error_ms": "an hour"})
    await clocks.save({"cdr": HOUR}, NOW)

    assert await clocks.load() == {"cdr": HOUR}
