"""What each change of the schema does to a document, and to indexes. Makes updates; the walk is `schema.py`'s.

Each update is one that may be made twice, and beside anybody: its filter holds what it takes for granted.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import timedelta
from typing import Final

from pymongo import UpdateOne

from router.adapters.mongo.documents import Document, StoredDocument, search_keys
from router.adapters.mongo.indexes import DEAD_LETTERS, DELIVERIES, EVENTS

_IDENTITY: Final = ("event_id", "call_id", "user_id", "number_keys", "search", "held", "webhook_id")


@dataclass(frozen=True, slots=True, kw_only=True)
class Work:
    """A walk over `collection`: `updates` of each document, of which `fields` are read; then `old_indexes` go."""

    collection: str
    fields: Sequence[str]
    updates: Callable[[StoredDocument], list[UpdateOne]]
    old_indexes: Sequence[str] = ()


def works(payload_retention: timedelta) -> Mapping[int, Work]:
    """By number of the change."""
    return {
        2: Work(collection=DELIVERIES, fields=_IDENTITY, updates=_make_searchable),
        3: Work(
            collection=DEAD_LETTERS,
            fields=("received_at", "payload_expires_at"),
            updates=lambda letter: _make_expire(letter, payload_retention),
        ),
        # Older routers wrote on while the second was made: what they left is made up for here.
        4: Work(
            collection=DELIVERIES,
            fields=_IDENTITY,
            updates=lambda delivery: [*_make_searchable(delivery), *_drop_number_keys(delivery)],
            old_indexes=("event_id", "call", "user", "number"),
        ),
        5: Work(collection=EVENTS, fields=("number_keys", "unmatched"), updates=_drop_needless_number_keys),
    }


def _make_searchable(delivery: StoredDocument) -> list[UpdateOne]:
    updates = []
    if "search" not in delivery:
        keys = search_keys(
            event_id=delivery["event_id"],
            call_id=delivery.get("call_id"),
            user_id=delivery.get("user_id"),
            numbers=delivery.get("number_keys", ()),
        )
        updates.append(_update(delivery, {"search": {"$exists": False}}, {"$set": {"search": keys}}))
    if delivery.get("held") is True:
        updates.append(_update(delivery, {"held": True}, {"$set": {"held": delivery["webhook_id"]}}))
    return updates


def _drop_number_keys(document: StoredDocument) -> list[UpdateOne]:
    if "number_keys" not in document:
        return []
    return [_update(document, {"number_keys": {"$exists": True}}, {"$unset": {"number_keys": ""}})]


def _drop_needless_number_keys(event: StoredDocument) -> list[UpdateOne]:
    # An event that matched nothing keeps them for the deliveries that a replay may make of it.
    return [] if "unmatched" in event else _drop_number_keys(event)


def _make_expire(letter: StoredDocument, retention: timedelta) -> list[UpdateOne]:
    if "payload_expires_at" in letter:
        return []
    # One whose body has left has the field no more, and must not get it again.
    untouched = {"payload_expires_at": {"$exists": False}, "body": {"$exists": True}}
    return [_update(letter, untouched, {"$set": {"payload_expires_at": letter["received_at"] + retention}})]


def _update(document: StoredDocument, condition: Document, change: Document) -> UpdateOne:
    return UpdateOne({"_id": document["_id"], **condition}, change)
