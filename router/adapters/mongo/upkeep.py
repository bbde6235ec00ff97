"""Lets payloads go when their retention is over, and counts what is due. Whole documents are the TTL indexes' work."""

from __future__ import annotations

from datetime import datetime
from typing import Final

from pymongo.errors import PyMongoError

from router.adapters.mongo.driver import MAX_READ_TIME_MS, Database
from router.adapters.mongo.indexes import DELIVERIES, EVENTS
from router.adapters.mongo.resilience import Persistent
from router.domain.errors import DependencyUnavailable
from router.ports import Backlog

MAX_COUNTED_DUE: Final = 10_000
"""More are shown as so many: the count walks over as many keys of the index."""


class MongoUpkeep:
    """Fulfils `ports.Upkeep`."""

    def __init__(self, database: Database, persistently: Persistent) -> None:
        self._events = database[EVENTS]
        self._deliveries = database[DELIVERIES]
        self._persistently = persistently

    async def forget_payloads(self, now: datetime) -> int:
        """Take the payload out of every event whose `payload_expires_at` is past; their number."""
        update = {"$unset": {"payload": "", "payload_expires_at": ""}}
        outcome = await self._persistently(
            lambda: self._events.update_many({"payload_expires_at": {"$lte": now}}, update)
        )
        count: int = outcome.modified_count
        return count

    async def backlog(self, now: datetime) -> Backlog:
        """Counted on the index `due`, up to MAX_COUNTED_DUE."""
        due = {"due_at": {"$lte": now}}
        try:
            first = await self._deliveries.find_one(
                due, {"due_at": 1}, sort=[("due_at", 1)], max_time_ms=MAX_READ_TIME_MS
            )
            if first is None:
                return Backlog(0, None)
            count: int = await self._deliveries.count_documents(due, limit=MAX_COUNTED_DUE, maxTimeMS=MAX_READ_TIME_MS)
        except PyMongoError as error:
            raise DependencyUnavailable(f"MongoDB did not count what is due ({type(error).__name__})") from None
        return Backlog(count, first["due_at"])
