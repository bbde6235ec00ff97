"""Keeps what was measured of the publishers' clocks: one small document per source."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime, timedelta
from functools import partial

from router.adapters.mongo.documents import Document
from router.adapters.mongo.driver import MAX_READ_TIME_MS, Database
from router.adapters.mongo.indexes import PUBLISHER_CLOCKS
from router.adapters.mongo.resilience import Persistent


class MongoPublisherClocks:
    """Fulfils `ports.PublisherClockStore`."""

    def __init__(self, database: Database, persistently: Persistent) -> None:
        self._clocks = database[PUBLISHER_CLOCKS]
        self._persistently = persistently

    async def load(self) -> Mapping[str, timedelta]:
        async def find() -> list[Document]:
            return [document async for document in self._clocks.find({}, max_time_ms=MAX_READ_TIME_MS)]

        found = await self._persistently(find)
        return {
            document["_id"]: timedelta(milliseconds=document["error_ms"])
            for document in found
            if isinstance(document.get("error_ms"), int)
        }

    async def save(self, errors: Mapping[str, timedelta], measured_at: datetime) -> None:
        for source, error in errors.items():
            await self._persistently(partial(self._save, source, error, measured_at))

    async def _save(self, source: str, error: timedelta, measured_at: datetime) -> None:
        document = {"_id": source, "error_ms": error // timedelta(milliseconds=1), "measured_at": measured_at}
        await self._clocks.replace_one({"_id": source}, document, upsert=True)
