"""Lets payloads go when their retention is over. Whole documents are the TTL indexes' work."""

from __future__ import annotations

from datetime import datetime

from router.adapters.mongo.driver import Database
from router.adapters.mongo.indexes import EVENTS
from router.adapters.mongo.resilience import Persistent


class MongoUpkeep:
    """Fulfils `ports.Upkeep`."""

    def __init__(self, database: Database, persistently: Persistent) -> None:
        self._events = database[EVENTS]
        self._persistently = persistently

    async def forget_payloads(self, now: datetime) -> int:
        """Take the payload out of every event whose `payload_expires_at` is past; their number."""
        update = {"$unset": {"payload": "", "payload_expires_at": ""}}
        outcome = await self._persistently(
            lambda: self._events.update_many({"payload_expires_at": {"$lte": now}}, update)
        )
        count: int = outcome.modified_count
        return count
