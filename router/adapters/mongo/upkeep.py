"""Lets payloads, and what may quote them, go when their retention is over, and counts what is due.
Whole documents are the TTL indexes' work."""

from __future__ import annotations

from datetime import datetime
from functools import partial
from typing import Final

from pymongo.errors import PyMongoError

from router.adapters.mongo.documents import StoredDocument
from router.adapters.mongo.driver import MAX_READ_TIME_MS, Database
from router.adapters.mongo.forgetting import ANSWERS_GONE, LETTER_GONE, PAYLOAD_GONE, TRACE_FIELDS, deliveries_of
from router.adapters.mongo.indexes import DEAD_LETTERS, DELIVERIES, EVENTS
from router.adapters.mongo.resilience import Persistent
from router.domain.errors import DependencyUnavailable
from router.ports import Backlog, Forgotten

MAX_COUNTED_DUE: Final = 10_000
"""More are shown as so many: the count walks over as many keys of the index."""
SWEEP_BATCH: Final = 500
"""Events whose payload leaves in one write."""


class MongoUpkeep:
    """Fulfils `ports.Upkeep`."""

    def __init__(self, database: Database, persistently: Persistent) -> None:
        self._events = database[EVENTS]
        self._deliveries = database[DELIVERIES]
        self._letters = database[DEAD_LETTERS]
        self._persistently = persistently

    async def forget_payloads(self, now: datetime) -> Forgotten:
        """Take out what is past its `payload_expires_at`, a batch at a time."""
        events = 0
        while batch := await self._persistently(lambda: self._expired_events(now)):
            # Answers first: they are found by the event, and a sweep that is cut short finds it again.
            answers = {"_id": {"$in": deliveries_of(batch)}, "attempts.response_body": {"$type": "string"}}
            await self._persistently(partial(self._deliveries.update_many, answers, {"$set": ANSWERS_GONE}))
            keys = {"_id": {"$in": [event["_id"] for event in batch]}}
            await self._persistently(partial(self._events.update_many, keys, {"$unset": PAYLOAD_GONE}))
            events += len(batch)
        letters = await self._persistently(
            lambda: self._letters.update_many({"payload_expires_at": {"$lte": now}}, LETTER_GONE)
        )
        return Forgotten(events=events, dead_letters=letters.modified_count)

    async def _expired_events(self, now: datetime) -> list[StoredDocument]:
        expired = self._events.find(
            {"payload_expires_at": {"$lte": now}},
            dict.fromkeys(TRACE_FIELDS, 1),
            limit=SWEEP_BATCH,
            max_time_ms=MAX_READ_TIME_MS,
        )
        return [event async for event in expired]

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
