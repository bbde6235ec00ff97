"""Fixtures of the reading side: things that are stored, and the API over them."""

from __future__ import annotations

from collections.abc import AsyncIterator
from typing import Any

import pymongo
import pytest

from router.adapters.mongo.driver import open_database
from router.adapters.mongo.reader import MongoReader
from tests.support.api import Api, Surroundings
from tests.support.console import Browser, console
from tests.support.fakes import FakeReader
from tests.support.reading import World
from tests.support.stored import StoredThings


@pytest.fixture
def stored(mongo_client: pymongo.MongoClient[dict[str, Any]], mongo_database: str) -> StoredThings:
    """Where a test puts what is read; has our indexes."""
    return StoredThings(mongo_client[mongo_database])


@pytest.fixture
async def surroundings(mongo_url: str, mongo_database: str, stored: StoredThings) -> AsyncIterator[Surroundings]:
    """What a web server on the database of `stored` works with."""
    database = open_database(mongo_url, mongo_database, "motor")
    yield Surroundings(database=database)
    await database.close()


@pytest.fixture
async def api(surroundings: Surroundings) -> AsyncIterator[Api]:
    """A running API, asked with the right token."""
    async with surroundings.serving() as client:
        yield client


@pytest.fixture
async def browser(surroundings: Surroundings) -> AsyncIterator[Browser]:
    """A browser in front of a console, in French, signed in with the admin token."""
    async with console(surroundings) as opened:
        await opened.sign_in()
        yield opened


@pytest.fixture(params=["fake", "motor", "pymongo"])
async def world(
    request: pytest.FixtureRequest, mongo_url: str, mongo_database: str, stored: StoredThings
) -> AsyncIterator[World]:
    """The contract of `ports.Reader` holds in each."""
    if request.param == "fake":
        fake = FakeReader()
        yield World(given=fake, reader=fake)
        return
    database = open_database(mongo_url, mongo_database, request.param)
    yield World(given=stored, reader=MongoReader(database, "FR"))
    await database.close()


@pytest.fixture
async def reader(mongo_url: str, mongo_database: str, stored: StoredThings) -> AsyncIterator[MongoReader]:
    database = open_database(mongo_url, mongo_database, "motor")
    yield MongoReader(database, "FR")
    await database.close()
