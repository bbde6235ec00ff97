"""Fulfils `ports.ReplayStore`: what people ask to be sent again, as changes of documents that workers find.

A replay of one delivery is one guarded update; a bulk replay and a test are inserts.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from datetime import datetime
from typing import Any, Final

from pymongo import DESCENDING
from pymongo.errors import DuplicateKeyError, ExecutionTimeout, OperationFailure, PyMongoError

from router.adapters.mongo.documents import Document, StoredDocument, delivery_document, event_document
from router.adapters.mongo.driver import MAX_READ_TIME_MS, Database
from router.adapters.mongo.indexes import DELIVERIES, EVENTS, REPLAYS
from router.adapters.mongo.replay_documents import as_replay, read_replay, replay_document, walk
from router.adapters.mongo.retention import Retention
from router.domain.delivery import DeliveryId, DeliveryStatus, Trigger, delivery_id
from router.domain.errors import Conflict, DependencyUnavailable
from router.domain.event import AccountId
from router.domain.replay import MAX_ATTEMPTS, ReplayId, ReplayKind, ReplayState
from router.ports import DeliveryFilter, PlannedEvent, Position, Replay

TRIES: Final = 3
"""How often a delivery is looked at that changes between the look and the update."""
_NEWEST_FIRST: Final = [("created_at", DESCENDING), ("_id", DESCENDING)]


class MongoReplays:
    """The replays of one database; what ends is kept for `retention`."""

    def __init__(self, database: Database, retention: Retention) -> None:
        self._database = database
        self._deliveries = database[DELIVERIES]
        self._events = database[EVENTS]
        self._replays = database[REPLAYS]
        self._retention = retention
        self._progress = Progress(database)

    # --- one delivery ---

    async def replay_delivery(self, delivery_id: DeliveryId, at: datetime) -> bool:
        fields = {"status": 1, "attempt_count": 1, "lease.fence": 1, "lease.owner": 1}
        async with _asking():
            for _ in range(TRIES):
                found = await self._deliveries.find_one({"_id": delivery_id}, fields, max_time_ms=MAX_READ_TIME_MS)
                if found is None or found["attempt_count"] >= MAX_ATTEMPTS:
                    return False
                is_pending = found["status"] == DeliveryStatus.PENDING
                if is_pending and found["lease"]["owner"] is not None:
                    return False
                update = as_replay(
                    delivery_id,
                    fence=found["lease"]["fence"],
                    attempt_count=found["attempt_count"],
                    is_pending=is_pending,
                    at=at,
                )
                outcome = await self._deliveries.bulk_write([update])
                if outcome.matched_count:
                    return True
        return False

    async def add_test(self, planned: PlannedEvent, at: datetime) -> DeliveryId:
        keep, (delivery,) = self._retention, planned.deliveries
        identity = delivery_id(planned.event.key, delivery.webhook_id)
        event = event_document(planned, expire_at=at + keep.log, payload_expires_at=at + keep.payload)
        document = delivery_document(identity, planned, delivery, now=at, lease={}, expire_at=at + keep.log)
        async with _asking():
            # The event first: a delivery that is found without its payload would end.
            await self._events.insert_one(event)
            await self._deliveries.insert_one({**document, "trigger": Trigger.TEST.value, "attempts_before": 0})
        return identity

    # --- many ---

    async def count_matching(self, kind: ReplayKind, where: DeliveryFilter, limit: int, at: datetime) -> int:
        collection, query, index, _ = walk(kind, where, at)
        async with _asking():
            count: int = await self._database[collection].count_documents(
                query, hint=index, limit=limit, maxTimeMS=MAX_READ_TIME_MS
            )
        return count

    async def count_running(self, account_id: AccountId | None, limit: int) -> int:
        return await self._count({"state": ReplayState.RUNNING.value, "account_id": account_id}, "state", limit=limit)

    async def add(self, replay: Replay) -> None:
        async with _asking():
            await self._replays.insert_one(replay_document(replay))

    async def replay(self, replay_id: ReplayId) -> Replay | None:
        found = await self._read({"_id": replay_id}, limit=1)
        return found[0] if found else None

    async def replays(self, *, account_id: AccountId | None, after: Position | None, limit: int) -> Sequence[Replay]:
        query: Document = {} if account_id is None else {"account_id": account_id}
        if after is not None:
            query["created_at"] = {"$lte": after.at}
            query["$or"] = [{"created_at": {"$lt": after.at}}, {"_id": {"$lt": after.id}}]
        hint = "newest" if account_id is None else "account"
        return await self._read(query, limit=limit, sort=_NEWEST_FIRST, hint=hint)

    async def count_replays(self, *, account_id: AccountId | None) -> int:
        if account_id is None:
            return await self._count({}, "newest")
        return await self._count({"account_id": account_id}, "account")

    async def cancel_replay(self, replay_id: ReplayId, at: datetime) -> bool:
        end = {"state": ReplayState.CANCELLED.value, "finished_at": at, "expire_at": at + self._retention.log}
        async with _asking():
            outcome = await self._replays.update_one(
                {"_id": replay_id, "state": ReplayState.RUNNING.value},
                # A step that is under way counts no longer.
                {"$set": end, "$unset": {"due_at": ""}, "$inc": {"lease.fence": 1}},
            )
        return bool(outcome.matched_count)

    # --- asking ---

    async def _read(self, query: Document, *, limit: int, **options: Any) -> list[Replay]:
        async with _asking():
            cursor = self._replays.find(query, limit=limit, batch_size=limit, max_time_ms=MAX_READ_TIME_MS, **options)
            found = await cursor.to_list(limit)
            return await self._progress.of(found)

    async def _count(self, query: Document, index: str, **options: Any) -> int:
        async with _asking():
            count: int = await self._replays.count_documents(query, hint=index, maxTimeMS=MAX_READ_TIME_MS, **options)
        return count


class Progress:
    """Tells how far replays are: how much of what they released was not attempted yet."""

    def __init__(self, database: Database) -> None:
        self._database = database

    async def of(self, documents: Sequence[StoredDocument]) -> list[Replay]:
        replays = [document["_id"] for document in documents if document["released"] or document["batch"]]
        waiting = await self._waiting(replays) if replays else {}
        return [
            read_replay(document, waiting.get((document["_id"], ReplayKind(document["kind"])), 0))
            for document in documents
        ]

    async def _waiting(self, replays: Sequence[str]) -> dict[tuple[str, ReplayKind], int]:
        """A replay of missing events counts events, of which one may have several deliveries."""
        pipeline: list[Document] = [
            {"$match": {"replaying": {"$in": list(replays)}}},
            {"$group": {"_id": {"replay": "$replaying", "event": "$event"}, "deliveries": {"$sum": 1}}},
            {"$group": {"_id": "$_id.replay", "events": {"$sum": 1}, "deliveries": {"$sum": "$deliveries"}}},
        ]
        found: dict[tuple[str, ReplayKind], int] = {}
        for group in await self._database.aggregate(DELIVERIES, pipeline):
            found[group["_id"], ReplayKind.MISSING] = group["events"]
            found[group["_id"], ReplayKind.DELIVERIES] = group["deliveries"]
        return found


@asynccontextmanager
async def _asking() -> AsyncIterator[None]:
    """The driver's exceptions as ours, quoting no document."""
    try:
        yield
    except ExecutionTimeout as error:
        raise DependencyUnavailable("MongoDB did not finish in time: narrow the filter down") from error
    except DuplicateKeyError:
        raise Conflict("its id was drawn before; ask once more") from None
    except PyMongoError as error:
        code = f", code {error.code}" if isinstance(error, OperationFailure) else ""
        raise DependencyUnavailable(f"MongoDB does not answer ({type(error).__name__}{code})") from error
