"""Fulfils `ports.DeliveryStore`: deliveries that are claimed by lease and recorded by fence, always in batches. How
they come into the store is in `admission.py`."""

from __future__ import annotations

import secrets
import time
from collections.abc import Callable, Collection, Mapping, Sequence
from datetime import datetime
from typing import Final

from pymongo import ASCENDING, DESCENDING, UpdateOne

from router.adapters.mongo.admission import Admission
from router.adapters.mongo.documents import Document, StoredDocument, exactly, resting
from router.adapters.mongo.driver import MAX_READ_TIME_MS, UNJOURNALED, Database
from router.adapters.mongo.due import DUE_FIELDS, put_to_rest, readable, share_out, unchanged
from router.adapters.mongo.indexes import DELIVERIES, EVENTS
from router.adapters.mongo.resilience import Persistent
from router.adapters.mongo.results import ResultWriter
from router.adapters.mongo.retention import Retention
from router.application.turns import Portion, Turns
from router.domain.delivery import Claim, DeliveryId, DeliveryReason, DeliveryStatus
from router.domain.event import EventKey, EventType
from router.domain.lease import LEASE
from router.domain.retry import End
from router.domain.webhook import WebhookId
from router.ports import Claimed, Clock, Draft, Due, PlannedEvent, Ration, Rest, Result

LOOKED_AT: Final = 1_000
"""Deliveries among which calls are looked for while more is due than is claimed at once: a claim costs the same however
much is due."""


class MongoDeliveries:
    """One worker's hand on the delivery documents. `owner` names the worker in its leases; with `announcing`, what
    fails for good is put into the outbox. What is claimed is written in `turns`."""

    def __init__(
        self,
        database: Database,
        persistently: Persistent,
        clock: Clock,
        retention: Retention,
        owner: str,
        *,
        announcing: bool = False,
        turns: Turns | None = None,
    ) -> None:
        self._database = database
        self._events = database[EVENTS]
        # What an update says can be found out again: a crash that forgets one has something sent again at worst.
        self._deliveries = database[DELIVERIES].with_options(write_concern=UNJOURNALED)
        self._persistently = persistently
        self._clock = clock
        self._retention = retention
        self._owner = owner
        self._turns = turns or Turns()
        self._portion = Portion()
        self._writer = ResultWriter(owner=owner, retention=retention, announcing=announcing)
        self._admission = Admission(
            database, persistently, clock, retention=retention, owner=owner, writer=self._writer
        )

    # --- storing what arrived ---

    async def admit(self, planned: Sequence[PlannedEvent]) -> Sequence[Draft]:
        return await self._admission.admit(planned)

    async def insert(self, drafts: Sequence[Draft], results: Mapping[DeliveryId, Result]) -> Collection[DeliveryId]:
        return await self._admission.insert(drafts, results)

    # --- claiming what is due ---

    async def claim(
        self, limit: int, *, except_for: Collection[WebhookId], ration: Callable[[Due], Ration | None]
    ) -> Claimed:
        candidates = await self._persistently.once(lambda: self._find_due(limit, except_for))
        if not candidates:
            return Claimed(claims=(), drained=True)
        token = secrets.token_hex(8)
        taken, put_off = share_out(candidates, ration)
        documents = await self._persistently.once(lambda: self._take(taken, put_off, token))
        events = await self._persistently.once(lambda: self._events_of(documents)) if documents else {}
        claims = readable(documents, events)
        gone = [claim for claim in claims if claim.event_key not in events]
        if gone:
            expired = End(status=DeliveryStatus.EXPIRED, reason=DeliveryReason.TOO_OLD)
            await self.record([Result(claim=claim, attempt=None, next=expired) for claim in gone])
        there = [claim for claim in claims if claim.event_key in events]
        return Claimed(claims=there, drained=len(candidates) < limit)

    async def _find_due(self, limit: int, except_for: Collection[WebhookId]) -> list[StoredDocument]:
        """The longest due first, behind the calls."""
        due: Document = {"due_at": {"$lte": self._clock.now()}}
        wanted: Document = {"webhook_id": {"$nin": list(except_for)}} if except_for else {}
        cursor = self._deliveries.find({**due, **wanted}, DUE_FIELDS, max_time_ms=MAX_READ_TIME_MS)
        candidates = [document async for document in cursor.sort([("due_at", ASCENDING)]).limit(limit)]
        if len(candidates) == limit:
            # More is due than is taken now, and among it may be calls that ring: they came last. An index of their own
            # would be paid for at each write.
            candidates += await self._find_calls(due, wanted, limit)
        by_id = {found["_id"]: found for found in candidates}
        calls_first = sorted(by_id.values(), key=lambda found: found["event_type"] != EventType.CALL)
        return calls_first[:limit]

    async def _find_calls(self, due: Document, wanted: Document, limit: int) -> Sequence[StoredDocument]:
        """The longest due first of the calls among what has been due for the shortest time."""
        newest_first: list[Document] = [{"$match": due}, {"$sort": {"due_at": DESCENDING}}, {"$limit": LOOKED_AT}]
        calls: list[Document] = [
            {"$match": {"event_type": EventType.CALL.value, **wanted}},
            {"$sort": {"due_at": ASCENDING}},
            {"$limit": limit},
            {"$project": DUE_FIELDS},
        ]
        return await self._database.aggregate(DELIVERIES, [*newest_first, *calls])

    async def _take(
        self, taken: Sequence[StoredDocument], put_off: Sequence[tuple[StoredDocument, datetime]], token: str
    ) -> list[StoredDocument]:
        lease = {"lease.owner": self._owner, "lease.token": token, "due_at": self._clock.now() + LEASE}
        claiming: Document = {"$set": lease, "$inc": {"lease.fence": 1}, "$unset": {"held": ""}}
        updates = [UpdateOne(unchanged(found), claiming) for found in taken]
        updates += [
            UpdateOne(unchanged(found), {"$set": resting(found["webhook_id"], until, found.get("not_after"))})
            for found, until in put_off
        ]
        while updates:
            now, updates = updates[: self._portion.size], updates[self._portion.size :]
            async with self._turns.turn():
                began = time.monotonic()
                await self._deliveries.bulk_write(now, ordered=False)
                self._portion.wrote(len(now), time.monotonic() - began)
        won = self._deliveries.find(
            {"_id": {"$in": [found["_id"] for found in taken]}, "lease.token": token},
            {"attempts": 0, "search": 0},
            max_time_ms=MAX_READ_TIME_MS,
        )
        return [document async for document in won]

    async def _events_of(self, documents: Sequence[StoredDocument]) -> dict[EventKey, StoredDocument]:
        """What an attempt needs of the events, those left out whose payload is gone."""
        keys, wanted = list({document["event"] for document in documents}), {"payload": 1, "trace_parent": 1}
        cursor = self._events.find({"_id": {"$in": keys}}, wanted, max_time_ms=MAX_READ_TIME_MS)
        return {found["_id"]: found async for found in cursor if "payload" in found}

    # --- recording ---

    async def record(self, results: Sequence[Result]) -> Sequence[Result]:
        now = self._clock.now()
        updates = [self._writer.update(result, now) for result in results]

        async def write() -> int:
            outcome = await self._deliveries.bulk_write(updates, ordered=False)
            matched: int = outcome.matched_count
            return matched

        if await self._persistently(write) == len(results):
            return ()
        return await self._persistently(lambda: self._lost(results))

    async def _lost(self, results: Sequence[Result]) -> Sequence[Result]:
        """The results whose delivery has another fence now, told apart from those written before a lost reply."""
        keys = [result.claim.delivery_id for result in results]
        cursor = self._deliveries.find({"_id": {"$in": keys}}, {"lease.fence": 1}, max_time_ms=MAX_READ_TIME_MS)
        fences = {found["_id"]: found["lease"]["fence"] async for found in cursor}
        return [result for result in results if fences.get(result.claim.delivery_id) != result.claim.fence]

    # --- leases ---

    async def renew(self, claims: Sequence[Claim]) -> Sequence[Claim]:
        renewed = await self._update_owned(claims, {"$set": {"due_at": self._clock.now() + LEASE}})
        if renewed == len(claims):
            return claims
        held = await self._persistently(lambda: self._held(claims))
        return [claim for claim in claims if claim.delivery_id in held]

    async def _held(self, claims: Sequence[Claim]) -> set[DeliveryId]:
        cursor = self._deliveries.find(self._owned(claims), {"_id": 1}, max_time_ms=MAX_READ_TIME_MS)
        return {document["_id"] async for document in cursor}

    async def release(self, claims: Sequence[Claim]) -> None:
        # A retry that rested in memory keeps its time.
        due_at = {"$max": [self._clock.now(), "$next_attempt_at"]}
        await self._update_owned(claims, [{"$set": {"due_at": due_at, "lease.owner": None}}])

    async def _update_owned(self, claims: Sequence[Claim], update: Document | list[Document]) -> int:
        if not claims:
            return 0
        outcome = await self._persistently(lambda: self._deliveries.update_many(self._owned(claims), update))
        count: int = outcome.matched_count
        return count

    def _owned(self, claims: Sequence[Claim]) -> Document:
        # Only pending documents have `due_at`: one that ended meanwhile must not become due again.
        return {
            "_id": {"$in": [claim.delivery_id for claim in claims]},
            "lease.owner": self._owner,
            "due_at": {"$exists": True},
        }

    async def hold(self, rests: Sequence[Rest]) -> None:
        updates = [
            UpdateOne({"_id": rest.claim.delivery_id, "lease.fence": exactly(rest.claim.fence)}, put_to_rest(rest))
            for rest in rests
        ]
        await self._persistently(lambda: self._deliveries.bulk_write(updates, ordered=False))

    async def wake(self, webhook_id: WebhookId | None) -> int:
        now = self._clock.now()
        update = {"$set": {"due_at": now, "next_attempt_at": now}, "$unset": {"held": ""}}
        resting = {"held": webhook_id or {"$exists": True}}
        outcome = await self._persistently(lambda: self._deliveries.update_many(resting, update))
        count: int = outcome.modified_count
        return count

    async def cancel(self, webhook_id: WebhookId) -> int:
        now = self._clock.now()
        update = {
            "$set": {
                "status": DeliveryStatus.CANCELLED.value,
                "reason": DeliveryReason.WEBHOOK_DELETED.value,
                "next_attempt_at": None,
                "completed_at": now,
                "expire_at": now + self._retention.log,
            },
            "$unset": {"due_at": "", "held": "", "replaying": ""},
            # What is in flight must not record itself over the cancellation.
            "$inc": {"lease.fence": 1},
        }
        outcome = await self._persistently(
            lambda: self._deliveries.update_many(
                {"webhook_id": webhook_id, "status": DeliveryStatus.PENDING.value}, update
            )
        )
        count: int = outcome.modified_count
        return count
