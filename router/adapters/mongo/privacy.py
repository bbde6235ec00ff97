"""Fulfils `ports.PrivacyStore`: finds a number in keys, payloads, dead letters and restrictions, and takes it out."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import datetime, timedelta
from typing import Any, Final

from pymongo import ASCENDING
from pymongo.errors import OperationFailure, PyMongoError

from router.adapters.mongo.documents import Document, StoredDocument, search_keys, utc
from router.adapters.mongo.driver import MAX_LOAD_TIME_MS, MAX_READ_TIME_MS, Database
from router.adapters.mongo.forgetting import ANSWERS_GONE, LETTER_GONE, PAYLOAD_GONE, TRACE_FIELDS, deliveries_of
from router.adapters.mongo.indexes import DEAD_LETTERS, DELIVERIES, EVENTS, REPLAYS, WEBHOOKS
from router.adapters.mongo.replay_documents import read_replay
from router.adapters.mongo.webhooks import parse_webhook
from router.domain.delivery import DeliveryId, DeliveryReason, DeliveryStatus
from router.domain.errors import DependencyUnavailable
from router.domain.event import AccountId, EventKey
from router.domain.replay import ReplayId, ReplayState
from router.domain.subject import Subject
from router.domain.webhook import TrackingNumberRestriction
from router.ports import Erased, Mention, Replay, RestrictedWebhook

LOOK_AGAIN_SECONDS: Final = 0.1
STEP: Final = 1_000
"""Documents that a walk looks at in one query."""
_EVENT_FIELDS: Final = dict.fromkeys(("account_id", "event_id", "tracking_number", *TRACE_FIELDS, "payload"), 1)
_NUMBER_KEYS: Final = {"$gte": "number:", "$lt": "number;"}
"""';' follows ':'."""


class MongoPrivacy:
    """What one database holds. Numbers are read as dialled in `country`; deliveries that end are kept for `keep`."""

    def __init__(self, database: Database, country: str, keep: timedelta) -> None:
        self._events = database[EVENTS]
        self._deliveries = database[DELIVERIES]
        self._letters = database[DEAD_LETTERS]
        self._webhooks = database[WEBHOOKS]
        self._replays = database[REPLAYS]
        self._country = country
        self._keep = keep

    # --- finding ---

    async def mentions_by_key(self, subject: Subject, account_id: AccountId | None) -> AsyncIterator[Mention]:
        query = {"search": search_keys(numbers=[subject.search_key])[0], **_of(account_id)}
        fields = {"account_id": 1, "event_id": 1, "event": 1}
        mentions = self._deliveries.find(query, fields, hint="search", max_time_ms=MAX_LOAD_TIME_MS)
        async for found in _all(mentions):
            event = await self._event(found["event"])
            of_event = deliveries_of([event]) if event else []
            yield Mention(
                account_id=AccountId(found["account_id"]),
                event_id=found["event_id"],
                event_key=EventKey(found["event"]),
                delivery_ids={*of_event, DeliveryId(found["_id"])},
            )

    async def _event(self, key: str) -> StoredDocument | None:
        async with _asking():
            found: StoredDocument | None = await self._events.find_one(
                {"_id": key}, dict.fromkeys(TRACE_FIELDS, 1), max_time_ms=MAX_READ_TIME_MS
            )
        return found

    async def mentions_in_events(self, subject: Subject, account_id: AccountId | None) -> AsyncIterator[Mention]:
        async for event in _walk(self._events, _of(account_id), _EVENT_FIELDS):
            if subject.is_number(event["tracking_number"], self._country) or subject.is_in(event.get("payload") or b""):
                yield Mention(
                    account_id=AccountId(event["account_id"]),
                    event_id=event["event_id"],
                    event_key=EventKey(event["_id"]),
                    delivery_ids=deliveries_of([event]),
                )

    async def dead_letters(self, subject: Subject) -> AsyncIterator[str]:
        fields = {"body": 1, "head": 1, "properties": 1, "routing_key": 1}
        async for letter in _walk(self._letters, {}, fields):
            properties = letter["properties"]
            texts = [letter["head"], letter["routing_key"], properties["message_id"] or ""]
            texts += [str(value) for _, value in properties["headers"]]
            if subject.is_in(letter.get("body") or b"") or subject.is_in("\n".join(texts).encode()):
                yield letter["_id"]

    async def restrictions(self, subject: Subject, account_id: AccountId | None) -> AsyncIterator[RestrictedWebhook]:
        restricted = {"restrict_to.tracking_numbers": {"$exists": True}}
        async for document in _all(self._webhooks.find(restricted, max_time_ms=MAX_LOAD_TIME_MS)):
            webhook = parse_webhook(document, self._country)
            numbers = webhook.restriction.numbers if isinstance(webhook.restriction, TrackingNumberRestriction) else ()
            if subject.e164 in numbers and account_id in (None, webhook.account_id):
                yield RestrictedWebhook(id=webhook.id, account_id=webhook.account_id, name=webhook.name)

    async def replays(self, subject: Subject, account_id: AccountId | None) -> AsyncIterator[Replay]:
        searched = {**_of(account_id), "filter.number_prefix": {"$type": "string"}}
        async for document in _all(self._replays.find(searched, max_time_ms=MAX_LOAD_TIME_MS)):
            if subject.search_key.startswith(document["filter"]["number_prefix"]):
                yield read_replay(document, outstanding=0)

    # --- erasing ---

    async def _let_deliveries_come(self, mention: Mention, at: datetime) -> None:
        """Wait for deliveries that the worker which has just taken the event in is about to insert: what came after
        the erasure would stay. At most for as long as the lease of the event lasts."""
        ids = {"_id": {"$in": list(mention.delivery_ids)}}
        async with _asking():
            event = await self._events.find_one(
                {"_id": mention.event_key}, {"lease.until": 1}, max_time_ms=MAX_READ_TIME_MS
            )
            until = (event or {}).get("lease", {}).get("until")
            end = time.monotonic() + ((utc(until) - at).total_seconds() if until is not None else 0.0)
            while time.monotonic() < end:
                if await self._deliveries.count_documents(ids, maxTimeMS=MAX_READ_TIME_MS) == len(mention.delivery_ids):
                    return
                await asyncio.sleep(LOOK_AGAIN_SECONDS)

    async def erase_event(self, mention: Mention, at: datetime) -> Erased:
        ids = {"_id": {"$in": list(mention.delivery_ids)}}
        pending = {**ids, "status": DeliveryStatus.PENDING.value}
        end = {
            "$set": {
                # As the router ends what it finds without its payload.
                "status": DeliveryStatus.EXPIRED.value,
                "reason": DeliveryReason.TOO_OLD.value,
                "next_attempt_at": None,
                "completed_at": at,
                "expire_at": at + self._keep,
            },
            "$unset": {"due_at": "", "held": "", "replaying": ""},
            # What is in flight must not record an answer over this.
            "$inc": {"lease.fence": 1},
        }
        stripped = {"$set": ANSWERS_GONE, "$pull": {"search": _NUMBER_KEYS}}
        gone = {"$unset": PAYLOAD_GONE, "$set": {"tracking_number": None, "erased_at": at}}
        await self._let_deliveries_come(mention, at)
        async with _asking():
            held = await self._deliveries.count_documents(
                {**pending, "lease.owner": {"$ne": None}}, maxTimeMS=MAX_READ_TIME_MS
            )
            ended = await self._deliveries.update_many(pending, end)
            # The event last: by it, what a crash left undone is found again.
            touched = await self._deliveries.update_many(ids, stripped)
            await self._events.update_one({"_id": mention.event_key}, gone)
        return Erased(deliveries=touched.matched_count, ended=ended.modified_count, in_memory=held)

    async def erase_dead_letter(self, letter_id: str) -> None:
        update = {**LETTER_GONE, "$set": {**LETTER_GONE["$set"], "routing_key": ""}}
        async with _asking():
            await self._letters.update_one({"_id": letter_id}, update)

    async def erase_replay(self, replay_id: ReplayId, at: datetime) -> None:
        stop = {
            "$set": {"state": ReplayState.CANCELLED.value, "finished_at": at, "expire_at": at + self._keep},
            "$unset": {"due_at": ""},
            "$inc": {"lease.fence": 1},
        }
        async with _asking():
            # Stopped first: without its number it would go through everything.
            await self._replays.update_one({"_id": replay_id, "state": ReplayState.RUNNING.value}, stop)
            gone = {"$set": {"filter.number_prefix": None, "erased_at": at}}
            await self._replays.update_one({"_id": replay_id}, gone)


def _of(account_id: AccountId | None) -> Document:
    return {} if account_id is None else {"account_id": account_id}


async def _walk(collection: Any, query: Document, fields: Document) -> AsyncIterator[Document]:
    """Every document of a query, by ranges of `_id`: however few there are, no query looks at more than a step."""
    where: Document = {}
    while True:
        async with _asking():
            steps = collection.find(
                where, {"_id": 1}, sort=[("_id", ASCENDING)], skip=STEP - 1, limit=1, max_time_ms=MAX_READ_TIME_MS
            )
            last = await steps.to_list(1)
        upto = {"$lte": last[0]["_id"]} if last else {}
        bounds = {"_id": {**where.get("_id", {}), **upto}} if where or upto else {}
        async for document in _all(collection.find({**query, **bounds}, fields, max_time_ms=MAX_LOAD_TIME_MS)):
            yield document
        if not last:
            return
        where = {"_id": {"$gt": last[0]["_id"]}}


async def _all(cursor: Any) -> AsyncIterator[Document]:
    """What a cursor gives, a batch of the server at a time in memory: payloads may be large."""
    async with _asking():
        async for document in cursor:
            yield document


@asynccontextmanager
async def _asking() -> AsyncIterator[None]:
    """The driver's exceptions as ours, in one sentence that quotes no document."""
    try:
        yield
    except PyMongoError as error:
        code = f", code {error.code}" if isinstance(error, OperationFailure) else ""
        raise DependencyUnavailable(f"MongoDB does not answer ({type(error).__name__}{code})") from error
