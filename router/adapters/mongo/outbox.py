"""Fulfils `ports.Outbox`: announcements wait in the documents that they are about, in the list `announce`.

They are written by the very update that records the fact, so there is no moment in which one is stored without the
other. An entry is `{id, key, at, by, …}`: `by` is the worker that wrote it and publishes it, and the rest is what
the document may not hold any more when it is published. The list is absent while it would be empty, so its sparse
index holds what waits and nothing else.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from datetime import UTC, datetime
from typing import Any, Final, assert_never

from pymongo import ASCENDING, UpdateOne

from router.adapters.mongo.documents import Document, StoredDocument, utc
from router.adapters.mongo.driver import MAX_READ_TIME_MS, Database
from router.adapters.mongo.indexes import DELIVERIES, OUTBOX_INDEX, WEBHOOK_HEALTH
from router.adapters.mongo.resilience import Persistent
from router.domain.announcement import (
    LEFT_BEHIND,
    Announcement,
    AnnouncementId,
    AnnouncementKey,
    DeliveryFailed,
    RecoveredFrom,
    WebhookAnnouncement,
    announcement_id,
)
from router.domain.delivery import AttemptError, DeliveryId, DeliveryReason
from router.domain.event import AccountId, EventType
from router.domain.retry import End
from router.domain.webhook import SuspensionReason, WebhookId
from router.ports import Clock, Result

_EVER: Final = datetime(1970, 1, 1, tzinfo=UTC)
_DELIVERY_FIELDS: Final = dict.fromkeys(
    ("account_id", "webhook_id", "event_id", "event_type", "event_name", "call_id", "user_id", "announce"), 1
)


class MongoOutbox:
    """The outbox as one worker sees it. `owner` is its name in the entries."""

    def __init__(self, database: Database, persistently: Persistent, clock: Clock, owner: str) -> None:
        self._health = database[WEBHOOK_HEALTH]
        self._deliveries = database[DELIVERIES]
        self._persistently = persistently
        self._clock = clock
        self._owner = owner

    async def pending(self, limit: int) -> Sequence[Announcement]:
        return await self._persistently(lambda: self._read(limit))

    async def _read(self, limit: int) -> Sequence[Announcement]:
        left_behind = self._clock.now() - LEFT_BEHIND
        # The bound by time lets the sparse index find them; a planner that sees the alternative would read everything.
        ours = {
            "announce.at": {"$gt": _EVER},
            "$or": [{"announce.by": self._owner}, {"announce.at": {"$lte": left_behind}}],
        }
        found: list[Announcement] = []
        for collection, fields in ((self._health, {"announce": 1}), (self._deliveries, _DELIVERY_FIELDS)):
            oldest_first = collection.find(ours, fields, max_time_ms=MAX_READ_TIME_MS).sort(
                [("announce.at", ASCENDING)]
            )
            cursor = oldest_first.limit(limit).hint(OUTBOX_INDEX)
            async for document in cursor:
                found += [
                    _read_entry(document, entry)
                    for entry in document["announce"]
                    if entry["by"] == self._owner or utc(entry["at"]) <= left_behind
                ]
        return found[:limit]

    async def published(self, announcements: Sequence[Announcement]) -> None:
        webhooks = [(each.webhook_id, each.id) for each in announcements if isinstance(each, WebhookAnnouncement)]
        deliveries = [(each.delivery_id, each.id) for each in announcements if isinstance(each, DeliveryFailed)]
        await self._remove(self._health, webhooks)
        await self._remove(self._deliveries, deliveries)

    async def _remove(self, collection: Any, entries: Sequence[tuple[str, AnnouncementId]]) -> None:
        if entries:
            updates = list(_removals(entries))
            await self._persistently(lambda: collection.bulk_write(updates))


def _removals(entries: Sequence[tuple[str, AnnouncementId]]) -> Iterator[UpdateOne]:
    for document, identity in entries:
        yield UpdateOne({"_id": document}, {"$pull": {"announce": {"id": identity}}})
    for document in dict.fromkeys(document for document, _ in entries):
        yield UpdateOne({"_id": document, "announce": []}, {"$unset": {"announce": ""}})


# --- entries ---------------------------------------------------------------------------------------


def webhook_entry(announcement: WebhookAnnouncement, owner: str) -> Document:
    """What `announce` of a webhook's health document gets."""
    return {
        "id": announcement.id,
        "key": announcement.key.value,
        "at": announcement.occurred_at,
        "by": owner,
        "account_id": announcement.account_id,
        "reason": announcement.reason.value,
        "since": announcement.since,
    }


def failed_entry(result: Result, end: End, at: datetime, owner: str) -> Document:
    """What `announce` of a delivery gets that failed for good at `at`."""
    claim, attempt = result.claim, result.attempt
    key = AnnouncementKey.DELIVERY_FAILED
    return {
        "id": announcement_id(key, claim.delivery_id, str(claim.fence), str(claim.attempt_count)),
        "key": key.value,
        "at": at,
        "by": owner,
        # A replay changes these in the document.
        "reason": end.reason.value if end.reason else None,
        "attempt_count": attempt.number if attempt else claim.attempt_count,
        "status_code": attempt.status_code if attempt else None,
        "error": attempt.error.value if attempt and attempt.error else None,
    }


def _read_entry(document: StoredDocument, entry: StoredDocument) -> Announcement:
    key = AnnouncementKey(entry["key"])
    match key:
        case AnnouncementKey.WEBHOOK_SUSPENDED | AnnouncementKey.WEBHOOK_RECOVERED:
            reasons = SuspensionReason if key is AnnouncementKey.WEBHOOK_SUSPENDED else RecoveredFrom
            return WebhookAnnouncement(
                id=AnnouncementId(entry["id"]),
                key=key,
                occurred_at=utc(entry["at"]),
                account_id=AccountId(entry["account_id"]),
                webhook_id=WebhookId(document["_id"]),
                reason=reasons(entry["reason"]),
                since=utc(entry["since"]),
            )
        case AnnouncementKey.DELIVERY_FAILED:
            return DeliveryFailed(
                id=AnnouncementId(entry["id"]),
                occurred_at=utc(entry["at"]),
                account_id=AccountId(document["account_id"]),
                webhook_id=WebhookId(document["webhook_id"]),
                delivery_id=DeliveryId(document["_id"]),
                event_id=document["event_id"],
                event_type=EventType(document["event_type"]),
                event_name=document["event_name"],
                call_id=document.get("call_id"),
                user_id=document.get("user_id"),
                reason=DeliveryReason(entry["reason"]) if entry["reason"] else None,
                attempt_count=entry["attempt_count"],
                status_code=entry["status_code"],
                error=AttemptError(entry["error"]) if entry["error"] else None,
            )
        case _:
            assert_never(key)
