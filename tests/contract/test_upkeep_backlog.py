"""What is due in the store is counted up to a bound, on an index, on the real server and through both drivers."""

from __future__ import annotations

from collections.abc import AsyncIterator
from datetime import UTC, datetime, timedelta
from itertools import cycle
from typing import Any

import pymongo
import pytest
import pytest_asyncio

from router.adapters.mongo import upkeep as mongo_upkeep
from router.adapters.mongo.driver import Database, DriverName, open_database
from router.adapters.mongo.indexes import ensure_indexes
from router.adapters.mongo.resilience import Persistent, StoreHealth
from router.adapters.mongo.upkeep import MongoUpkeep
from router.domain.errors import DependencyUnavailable
from router.domain.event import EventType
from router.ports import Backlog

NOW = datetime(2031, 1, 1, 12, tzinfo=UTC)
EXCEEDED_TIME_LIMIT = 262
SECOND = timedelta(seconds=1)


@pytest.fixture(params=["motor", "pymongo"])
def driver(request: pytest.FixtureRequest) -> Any:
    return request.param


@pytest_asyncio.fixture
async def database(driver: DriverName, mongo_url: str, mongo_database: str) -> AsyncIterator[Database]:
    database = open_database(mongo_url, mongo_database, driver)
    await ensure_indexes(database)
    yield database
    await database.close()


@pytest.fixture
def upkeep(database: Database) -> MongoUpkeep:
    return MongoUpkeep(database, Persistent(StoreHealth()))


async def store(database: Database, *due: timedelta | None) -> None:
    """Deliveries of all types in turn that are due so long ago, or over (None)."""
    await database["deliveries"].insert_many(
        [
            {"_id": str(n), "event_type": kind, **({} if ago is None else {"due_at": NOW - ago})}
            for n, (ago, kind) in enumerate(zip(due, cycle(EventType), strict=False))
        ]
    )


async def test_nothing_is_due_in_an_empty_store(upkeep: MongoUpkeep) -> None:
    assert await upkeep.backlog(NOW) == Backlog(0, None)


async def test_what_is_due_is_counted_and_what_is_leased_waits_or_is_over_is_not(
    upkeep: MongoUpkeep, database: Database
) -> None:
    await store(database, SECOND, 5 * SECOND, timedelta(), -SECOND, None)

    assert await upkeep.backlog(NOW) == Backlog(3, NOW - 5 * SECOND)


async def test_the_count_ends_at_its_bound(
    upkeep: MongoUpkeep, database: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(mongo_upkeep, "MAX_COUNTED_DUE", 4)
    await store(database, *[SECOND] * 9)

    assert await upkeep.backlog(NOW) == Backlog(4, NOW - SECOND)


async def test_a_store_that_does_not_answer_is_told_at_once_and_not_waited_for(
    database: Database, mongo_client: pymongo.MongoClient[dict[str, object]]
) -> None:
    data = {"failCommands": ["find"], "errorCode": EXCEEDED_TIME_LIMIT, "appName": "webhook-router"}
    mongo_client.admin.command({"configureFailPoint": "failCommand", "mode": "alwaysOn", "data": data})
    try:
        with pytest.raises(DependencyUnavailable):
            await MongoUpkeep(database, Persistent(StoreHealth())).backlog(NOW)
    finally:
        mongo_client.admin.command({"configureFailPoint": "failCommand", "mode": "off"})
