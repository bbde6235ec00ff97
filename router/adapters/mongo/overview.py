"""Fulfils `ports.Overview`: counts over time, things by whatever was pasted, what fails and what waits. Reads only."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime, timedelta
from typing import Any, Final

from router.adapters.mongo.documents import Document, StoredDocument, read_dead_letter, read_delivery, utc
from router.adapters.mongo.indexes import ACCOUNTS, DEAD_LETTERS, DELIVERIES, EVENTS, WEBHOOK_HEALTH, WEBHOOKS
from router.adapters.mongo.lookups import LISTED_DELIVERY_FIELDS, Lookups
from router.adapters.mongo.webhooks import spellings
from router.domain.delivery import Delivery, DeliveryId, DeliveryStatus
from router.domain.event import AccountId, EventType, event_key
from router.domain.matching import Verdict
from router.domain.webhook import Webhook, WebhookId
from router.ports import (
    MAX_ACCOUNTS_TRIED,
    MAX_AGED_PENDING,
    MAX_BUCKETS,
    MAX_COUNTED_PENDING,
    DeliveryBucket,
    FoundEvent,
    LetterCount,
    Pending,
    StoredDeadLetter,
)

LISTED_LETTER_FIELDS: Final = dict.fromkeys(("body", "digest", "expire_at"), 0)
_ALWAYS: Final = datetime(1970, 1, 1, tzinfo=UTC)
_FOUND_EVENT_FIELDS: Final[Document] = dict.fromkeys(
    ("account_id", "event_id", "type", "name", "call_id", "received_at"), 1
) | {"trace": {"$elemMatch": {"verdict": Verdict.MATCHED.value}}}
MAX_EVENTS_OF_CALL_ID: Final = 5_000
"""Events with one call id, over all accounts, that are looked at."""
_AFTER_ALL_TEXT: Final = "\uffff"


class MongoOverview(Lookups):
    """The part of the reader that looks over many things at once."""

    # --- deliveries over time ---

    async def delivery_buckets(
        self, webhook_ids: Sequence[WebhookId], since: datetime, step: timedelta
    ) -> Mapping[WebhookId, Sequence[DeliveryBucket]]:
        found: dict[WebhookId, dict[int, dict[str, int]]] = {webhook_id: {} for webhook_id in webhook_ids}
        if not webhook_ids:
            return {}
        milliseconds = max(1, step // timedelta(milliseconds=1))
        until = since + timedelta(milliseconds=MAX_BUCKETS * milliseconds)
        number = {"$floor": {"$divide": [{"$subtract": ["$created_at", since]}, milliseconds]}}
        pipeline: list[Document] = [
            {"$match": {"webhook_id": {"$in": list(webhook_ids)}, "created_at": {"$gte": since, "$lt": until}}},
            {
                "$group": {
                    "_id": {"webhook_id": "$webhook_id", "bucket": number, "status": "$status"},
                    "count": {"$sum": 1},
                }
            },
        ]
        async with self._asking():
            groups = await self._database.aggregate(DELIVERIES, pipeline, hint="webhook")
        for group in groups:
            key = group["_id"]
            found[key["webhook_id"]].setdefault(int(key["bucket"]), {})[key["status"]] = group["count"]
        return {
            webhook_id: [
                _bucket(since + timedelta(milliseconds=index * milliseconds), buckets[index])
                for index in sorted(buckets)
            ]
            for webhook_id, buckets in found.items()
        }

    # --- by whatever was pasted ---

    async def delivery_summary(self, delivery_id: DeliveryId) -> Delivery | None:
        found = await self._find(DELIVERIES, {"_id": delivery_id}, LISTED_DELIVERY_FIELDS, limit=1)
        return read_delivery(found[0]) if found else None

    async def find_events(self, event_id: str, account_id: AccountId | None, limit: int) -> Sequence[FoundEvent]:
        # An event's key follows from its account: no index of ids has to be kept up to date for this.
        accounts = [account_id] if account_id is not None else await self._known_accounts()
        if not accounts:
            return []
        keys = [event_key(account, event_id) for account in accounts]
        found = await self._find(EVENTS, {"_id": {"$in": keys}}, _FOUND_EVENT_FIELDS, limit=limit)
        return [_found_event(document) for document in found]

    async def _known_accounts(self) -> list[AccountId]:
        query = {"_id": {"$exists": True}}
        found = await self._find(ACCOUNTS, query, {"_id": 1}, sort=[("_id", 1)], hint="_id_", limit=MAX_ACCOUNTS_TRIED)
        return [AccountId(str(document["_id"])) for document in found]

    async def find_events_of_call(self, call_id: str, account_id: AccountId | None, limit: int) -> Sequence[FoundEvent]:
        keys = await self._keys_of_call(call_id, account_id, limit)
        return [_found_event(document) for document in await self._in_order(keys, _FOUND_EVENT_FIELDS)]

    async def _keys_of_call(self, call_id: str, account_id: AccountId | None, limit: int) -> list[str]:
        """The first events of a call, in the order of reception.

        By the call alone: with a second condition the embedded server does not take the index, and with a hint it
        walks all of it. So few events have one call id that the account can be looked at here.
        """
        fields = {"account_id": 1, "received_at": 1}
        found = await self._find(EVENTS, {"call_id": call_id}, fields, limit=MAX_EVENTS_OF_CALL_ID)
        own = [document for document in found if account_id in (None, document["account_id"])]
        own.sort(key=lambda document: (document["received_at"], document["_id"]))
        return [document["_id"] for document in own[:limit]]

    async def _in_order(self, keys: Sequence[str], fields: Mapping[str, Any]) -> list[Document]:
        """Events by their keys, in the order of these."""
        if not keys:
            return []
        found = await self._find(EVENTS, {"_id": {"$in": list(keys)}}, fields, limit=len(keys))
        by_key = {document["_id"]: document for document in found}
        return [by_key[key] for key in keys if key in by_key]

    async def webhooks_at(self, host: str, account_id: AccountId | None, limit: int) -> Sequence[Webhook]:
        own = {} if account_id is None else {"account_id": {"$in": spellings(account_id)}}
        ids: list[Any] = []
        for scheme in ("https", "http"):
            start = f"{scheme}://{host}"
            query = {"url": {"$gte": start, "$lt": start + _AFTER_ALL_TEXT}, **own}
            found = await self._find(WEBHOOKS, query, {"_id": 1}, sort=[("url", 1)], hint="url", limit=limit)
            ids += [document["_id"] for document in found]
        by_id = await self._webhooks(ids[:limit])
        return [by_id[WebhookId(str(identity))] for identity in ids if str(identity) in by_id]

    # --- what fails, and what waits ---

    async def failing_webhooks(self, limit: int) -> Sequence[WebhookId]:
        return await self._ailing("failing_since", "failing", 1, limit)

    async def suspended_webhooks(self, limit: int) -> Sequence[WebhookId]:
        return await self._ailing("suspended_at", "suspended", -1, limit)

    async def _ailing(self, field: str, index: str, order: int, limit: int) -> list[WebhookId]:
        query = {field: {"$gt": _ALWAYS}}
        found = await self._find(WEBHOOK_HEALTH, query, {"_id": 1}, sort=[(field, order)], hint=index, limit=limit)
        return [WebhookId(document["_id"]) for document in found]

    async def dead_letter_summary(self, letter_id: str) -> StoredDeadLetter | None:
        found = await self._find(DEAD_LETTERS, {"_id": letter_id}, LISTED_LETTER_FIELDS, limit=1)
        return read_dead_letter(found[0]) if found else None

    async def dead_letter_counts(self) -> Sequence[LetterCount]:
        pipeline: list[Document] = [
            {"$match": {"reason": {"$gt": ""}}},
            {
                "$group": {
                    "_id": {"reason": "$reason", "requeued": {"$gt": ["$requeued_at", None]}},
                    "count": {"$sum": 1},
                    "newest": {"$max": "$received_at"},
                }
            },
        ]
        async with self._asking():
            groups = await self._database.aggregate(DEAD_LETTERS, pipeline, hint="reason")
        by_reason: dict[str, list[Document]] = defaultdict(list)
        for group in groups:
            by_reason[group["_id"]["reason"]].append(group)
        return [_letter_count(reason, by_reason[reason]) for reason in sorted(by_reason)]

    async def pending(self, now: datetime) -> Pending:
        waiting: Document = {"due_at": {"$gt": _ALWAYS}}
        due: Document = {"due_at": {"$gt": _ALWAYS, "$lte": now}}
        ages = {"created_at": 1, "due_at": 1}
        half = MAX_AGED_PENDING // 2
        first = await self._find(DELIVERIES, waiting, ages, sort=[("due_at", 1)], hint="due", limit=half)
        # Waits grow with each attempt: what has been pending for long is due last.
        last = await self._find(DELIVERIES, waiting, ages, sort=[("due_at", -1)], hint="due", limit=half)
        if not first:
            return Pending(count=0, due=0, due_since=None, oldest=None)
        oldest = min((*first, *last), key=lambda document: (document["created_at"], document["_id"]))
        since = utc(first[0]["due_at"])
        return Pending(
            count=await self._count(DELIVERIES, waiting, "due", limit=MAX_COUNTED_PENDING),
            due=await self._count(DELIVERIES, due, "due", limit=MAX_COUNTED_PENDING) if since <= now else 0,
            due_since=since if since <= now else None,
            oldest=await self.delivery_summary(DeliveryId(oldest["_id"])),
        )


def _bucket(start: datetime, by_status: Mapping[str, int]) -> DeliveryBucket:
    delivered = by_status.get(DeliveryStatus.DELIVERED.value, 0)
    pending = by_status.get(DeliveryStatus.PENDING.value, 0)
    failed = sum(by_status.values()) - delivered - pending
    return DeliveryBucket(start=start, delivered=delivered, failed=failed, pending=pending)


def _found_event(document: StoredDocument) -> FoundEvent:
    return FoundEvent(
        account_id=AccountId(document["account_id"]),
        event_id=document["event_id"],
        type=EventType(document["type"]),
        name=document["name"],
        call_id=document.get("call_id"),
        received_at=utc(document["received_at"]),
        is_matched=bool(document.get("trace")),
    )


def _letter_count(reason: str, groups: Sequence[StoredDocument]) -> LetterCount:
    return LetterCount(
        reason=reason,
        total=sum(group["count"] for group in groups),
        open=sum(group["count"] for group in groups if not group["_id"]["requeued"]),
        newest_at=max(utc(group["newest"]) for group in groups),
    )
