"""Fulfils `ports.Reader`: what people look up, answered from indexes.

Reads only; how a look-up is bounded is in `lookups.py`, what people overlook and search in `overview.py`.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from datetime import datetime
from typing import Any, Final

from pymongo import DESCENDING

from router.adapters.mongo.documents import (
    Document,
    StoredDocument,
    read_dead_letter,
    read_delivery,
    read_event,
    search_keys,
)
from router.adapters.mongo.indexes import ACCOUNTS, DEAD_LETTERS, DELIVERIES, EVENTS, WEBHOOKS
from router.adapters.mongo.lookups import DELIVERY_FIELDS, LISTED_DELIVERY_FIELDS
from router.adapters.mongo.overview import LISTED_LETTER_FIELDS, MongoOverview
from router.adapters.mongo.webhooks import spellings
from router.domain.delivery import Delivery, DeliveryId, DeliveryStatus, delivery_id
from router.domain.event import AccountId, EventKey, EventType, event_key
from router.domain.webhook import Webhook, WebhookId
from router.ports import (
    UNDATED,
    DeliveryCounts,
    DeliveryFilter,
    Position,
    StoredAccount,
    StoredDeadLetter,
    StoredEvent,
)

MAX_UNDATED_WEBHOOKS: Final = 10_000
"""Webhooks without a date of creation that a list looks at."""
_NEWEST_FIRST: Final = [("created_at", DESCENDING), ("_id", DESCENDING)]
_EVENT_FIELDS: Final = dict.fromkeys(("born_at", "expire_at", "payload_expires_at"), 0)
_EVENT_WITHOUT_PAYLOAD: Final = _EVENT_FIELDS | {"payload": 0}
_HAS_NO_DATE: Final = {"$not": {"$type": "date"}}

# The filters that an index begins with, the most selective first, and the keys of a query that it answers without
# looking into documents.
_WAYS: Final = (
    (("event_id", "call_id", "number_prefix", "user_id"), "search", {"search"}),
    (("webhook_id",), "webhook", {"webhook_id", "created_at"}),
    (("account_id",), "account", {"account_id", "created_at"}),
)
_OTHERWISE: Final = ("newest", {"created_at"})


def driving_index(where: DeliveryFilter) -> str:
    """The index that leaves the fewest documents to look at."""
    return _way(where)[0]


def _way(where: DeliveryFilter) -> tuple[str, set[str]]:
    found = ((index, keys) for names, index, keys in _WAYS if any(getattr(where, name) is not None for name in names))
    return next(found, _OTHERWISE)


def _hint(where: DeliveryFilter, query: Document) -> str | None:
    """The index to be used. A planner that may choose walks the log by date for a rare value; one that has no
    choice is left alone."""
    index, own_keys = _way(where)
    is_plain = set(query) <= own_keys and not isinstance(query.get("search"), dict)
    return None if is_plain else index


def delivery_query(where: DeliveryFilter, after: Position | None = None) -> Document:
    equal = {
        "account_id": where.account_id,
        "webhook_id": where.webhook_id,
        "event_type": where.event_type and where.event_type.value,
        "status": where.status and where.status.value,
    }
    query: Document = {name: value for name, value in equal.items() if value is not None}
    return query | _search(where) | _span("created_at", after, from_=where.from_, to=where.to)


def _search(where: DeliveryFilter) -> Document:
    exact = search_keys(event_id=where.event_id, call_id=where.call_id, user_id=where.user_id)
    if where.number_prefix is None:
        return {"search": exact[0] if len(exact) == 1 else {"$all": exact}} if exact else {}
    # ':' follows '9'. $elemMatch, so that one number of the delivery lies between both bounds, not two around them.
    (start,) = search_keys(numbers=[where.number_prefix])
    within: Document = {"$elemMatch": {"$gte": start, "$lt": start + ":"}}
    return {"search": {"$all": exact} | within if exact else within}


def _span(key: str, after: Position | None, *, from_: datetime | None = None, to: datetime | None = None) -> Document:
    """What lies in [from_, to) and after a position, as one range of an index on (`key`, `_id`), both descending."""
    bounds: Document = {}
    if from_ is not None:
        bounds["$gte"] = from_
    if after is None or (to is not None and to <= after.at):
        if to is not None:
            bounds["$lt"] = to
        return {key: bounds} if bounds else {}
    bounds["$lte"] = after.at
    return {key: bounds, "$or": [{key: {"$lt": after.at}}, {"_id": {"$lt": after.id}}]}


class MongoReader(MongoOverview):
    """Looks things up in one database. Numbers in webhooks' restrictions are read as dialled in `country`.

    Every method raises DependencyUnavailable where the database does not answer in time.
    """

    # --- definitions ---

    async def account(self, account_id: AccountId) -> StoredAccount | None:
        found = await self._find(ACCOUNTS, {"_id": {"$in": spellings(account_id)}}, {"webhooks_enabled": 1}, limit=2)
        if not found:
            return None
        return StoredAccount(
            id=account_id, webhooks_enabled=any(document.get("webhooks_enabled") is True for document in found)
        )

    async def webhook(self, webhook_id: WebhookId) -> Webhook | None:
        return (await self.webhooks_by_id([webhook_id])).get(webhook_id)

    async def webhooks_by_id(self, webhook_ids: Collection[WebhookId]) -> Mapping[WebhookId, Webhook]:
        if not webhook_ids:
            return {}
        return await self._webhooks([spelling for webhook_id in webhook_ids for spelling in spellings(webhook_id)])

    async def webhooks(
        self, *, account_id: AccountId | None, event_type: EventType | None, after: Position | None, limit: int
    ) -> Sequence[Webhook]:
        where = _webhook_query(account_id, event_type)
        hint = _webhook_index(account_id)
        ids: list[Any] = []
        if after is None or after.at > UNDATED:
            dated = {**where, **(_span("created_at", after) or {"created_at": {"$type": "date"}})}
            found = await self._find(WEBHOOKS, dated, {"_id": 1}, sort=_NEWEST_FIRST, hint=hint, limit=limit)
            ids = [document["_id"] for document in found]
        if len(ids) < limit:
            # The back office may write ids of any type, so their order is made here: that of the text that we show.
            undated = {**where, "created_at": _HAS_NO_DATE}
            found = await self._find(WEBHOOKS, undated, {"_id": 1}, hint=hint, limit=MAX_UNDATED_WEBHOOKS)
            rest = sorted((document["_id"] for document in found), key=str, reverse=True)
            if after is not None and after.at == UNDATED:
                rest = [identity for identity in rest if str(identity) < after.id]
            ids += rest[: limit - len(ids)]
        by_id = await self._webhooks(ids)
        return [by_id[WebhookId(str(identity))] for identity in ids if str(identity) in by_id]

    async def count_webhooks(self, *, account_id: AccountId | None, event_type: EventType | None) -> int:
        return await self._count(WEBHOOKS, _webhook_query(account_id, event_type), _webhook_index(account_id))

    # --- deliveries ---

    async def delivery_counts(self, webhook_ids: Sequence[WebhookId]) -> Mapping[WebhookId, DeliveryCounts]:
        if not webhook_ids:
            return {}
        pipeline: list[Document] = [
            {"$match": {"webhook_id": {"$in": list(webhook_ids)}}},
            {"$group": {"_id": {"webhook_id": "$webhook_id", "status": "$status"}, "count": {"$sum": 1}}},
        ]
        async with self._asking():
            groups = await self._database.aggregate(DELIVERIES, pipeline)
        by_webhook: dict[WebhookId, dict[str, int]] = {webhook_id: {} for webhook_id in webhook_ids}
        for group in groups:
            by_webhook[group["_id"]["webhook_id"]][group["_id"]["status"]] = group["count"]
        return {webhook_id: _counts(by_status) for webhook_id, by_status in by_webhook.items()}

    async def delivery(self, delivery_id: DeliveryId) -> tuple[Delivery, bytes | None] | None:
        fields = {**DELIVERY_FIELDS, "event": 1}
        found = await self._find(DELIVERIES, {"_id": delivery_id}, fields, limit=1)
        if not found:
            return None
        events = await self._find(EVENTS, {"_id": found[0]["event"]}, {"payload": 1}, limit=1)
        return read_delivery(found[0]), events[0].get("payload") if events else None

    async def deliveries(self, where: DeliveryFilter, *, after: Position | None, limit: int) -> Sequence[Delivery]:
        query = delivery_query(where, after)
        hint = _hint(where, query)
        found = await self._find(DELIVERIES, query, LISTED_DELIVERY_FIELDS, sort=_NEWEST_FIRST, hint=hint, limit=limit)
        return [read_delivery(document) for document in found]

    async def count_deliveries(self, where: DeliveryFilter) -> int:
        return await self._count(DELIVERIES, delivery_query(where), driving_index(where))

    # --- events ---

    async def event(self, account_id: AccountId, event_id: str, *, with_payload: bool = True) -> StoredEvent | None:
        fields = _EVENT_FIELDS if with_payload else _EVENT_WITHOUT_PAYLOAD
        found = await self._find(EVENTS, {"_id": event_key(account_id, event_id)}, fields, limit=1)
        return read_event(found[0]) if found else None

    async def events_of_call(
        self, account_id: AccountId, call_id: str, limit: int, *, with_payload: bool = True
    ) -> Sequence[StoredEvent]:
        fields = _EVENT_FIELDS if with_payload else _EVENT_WITHOUT_PAYLOAD
        keys = await self._keys_of_call(call_id, account_id, limit)
        return [read_event(document) for document in await self._in_order(keys, fields)]

    async def deliveries_of_events(self, events: Sequence[StoredEvent]) -> Mapping[EventKey, Sequence[Delivery]]:
        # The ids follow from the trace, so no index is needed and none is searched.
        ids = {event.key: [delivery_id(event.key, webhook_id) for webhook_id in event.went_to] for event in events}
        wanted = [identity for of_event in ids.values() for identity in of_event]
        if not wanted:
            return {key: [] for key in ids}
        found = await self._find(DELIVERIES, {"_id": {"$in": wanted}}, LISTED_DELIVERY_FIELDS, limit=len(wanted))
        stored = {document["_id"]: read_delivery(document) for document in found}
        return {key: [stored[identity] for identity in of_event if identity in stored] for key, of_event in ids.items()}

    # --- dead letters ---

    async def dead_letters(self, *, after: Position | None, limit: int) -> Sequence[StoredDeadLetter]:
        query = _span("received_at", after)
        order = [("received_at", DESCENDING), ("_id", DESCENDING)]
        hint = "newest" if query else None
        found = await self._find(DEAD_LETTERS, query, LISTED_LETTER_FIELDS, sort=order, hint=hint, limit=limit)
        return [read_dead_letter(document) for document in found]

    async def count_dead_letters(self) -> int:
        return await self._count(DEAD_LETTERS, {}, "newest")

    async def dead_letter(self, letter_id: str) -> StoredDeadLetter | None:
        found = await self._find(DEAD_LETTERS, {"_id": letter_id}, limit=1)
        return read_dead_letter(found[0]) if found else None


def _webhook_query(account_id: AccountId | None, event_type: EventType | None) -> Document:
    query: Document = {}
    if account_id is not None:
        query["account_id"] = {"$in": spellings(account_id)}
    if event_type is not None:
        query["event_type"] = event_type.value
    return query


def _webhook_index(account_id: AccountId | None) -> str:
    return "newest" if account_id is None else "account"


def _counts(by_status: StoredDocument) -> DeliveryCounts:
    total = sum(by_status.values())
    delivered = by_status.get(DeliveryStatus.DELIVERED.value, 0)
    pending = by_status.get(DeliveryStatus.PENDING.value, 0)
    return DeliveryCounts(total=total, delivered=delivered, failed=total - delivered - pending, pending=pending)
