"""Opens the store to look at it: nothing is created in it, no key is put on record, and no server is started."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from router.adapters.embedded.store import EmbeddedStore
from router.adapters.mongo.driver import Database, check_connection, open_database
from router.adapters.mongo.indexes import ensure_indexes, plan_indexes
from router.adapters.mongo.schema import demand_known, recorded_schema
from router.domain.errors import DependencyUnavailable
from router.domain.topology import Line
from router.settings import EMBEDDED, Settings


async def store_url(settings: Settings) -> str:
    """Where the store is. Raises DependencyUnavailable where it is the embedded one and no router holds it now."""
    url = settings.mongo.url.get_secret_value()
    if url != EMBEDDED:
        return url
    running = await EmbeddedStore.running_url(settings.data_dir)
    if running is None:
        raise DependencyUnavailable("the embedded store does not run: it is started by the router, and by commands")
    return running


@asynccontextmanager
async def open_to_look(settings: Settings) -> AsyncIterator[Database]:
    """The database, which answers. Raises DependencyUnavailable and ConfigurationRefused."""
    database = open_database(await store_url(settings), settings.mongo.database, settings.mongo.driver)
    try:
        await check_connection(database)
        yield database
    finally:
        await database.close()


async def indexes_plan(settings: Settings) -> list[Line]:
    """How every index was found. Raises what `open_to_look` does."""
    async with open_to_look(settings) as database:
        return await plan_indexes(database)


async def indexes_apply(settings: Settings) -> None:
    """Create what is missing. Raises what `open_to_look` and `ensure_indexes` do, and ConfigurationRefused for a store
    that is too new: what a newer router took away must not come back."""
    async with open_to_look(settings) as database:
        schema = await recorded_schema(database)
        if schema is not None:
            demand_known(schema)
        await ensure_indexes(database)
