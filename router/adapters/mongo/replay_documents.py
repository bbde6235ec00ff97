"""The shape of a bulk replay in MongoDB, the queries for what it goes through, and the update that sets a delivery
going again. Touches nothing.

    replays       {_id, kind, account_id, filter: {…}, reason, per_second, matched, released, skipped: {why: n}, state,
                   position: {at, id}, batch: [ids], exhausted, lease: {owner, fence}, due_at, created_by,
                   created_at, finished_at}

An event that matched nothing has its account in `unmatched`, and what a delivery of it would be searched by in
`number_keys`; `replayed` tells of webhooks that it was sent to later. A delivery that a person set going last has a
`trigger`; `replay` is the bulk replay that did it last, and `replaying` the same until its first result.

`due_at` is when any worker may take the next step: the end of the lease while one is at it. Only a running replay has
it. `batch` is what a step has begun: whoever takes the next one begins with that.
"""

from __future__ import annotations

from datetime import datetime
from typing import Any, Final

from pymongo import UpdateOne

from router.adapters.mongo.documents import Document, StoredDocument, exactly, optional_utc, utc
from router.adapters.mongo.indexes import DELIVERIES, EVENTS, UNMATCHED_INDEX
from router.adapters.mongo.reader import delivery_query, driving_index
from router.domain.delivery import DeliveryReason, DeliveryStatus, Trigger
from router.domain.event import EventType
from router.domain.replay import ReplayId, ReplayKind, ReplayState, Skip
from router.ports import DeliveryFilter, Position, Replay

_TEXTS: Final = ("account_id", "webhook_id", "event_id", "call_id", "user_id", "number_prefix")


def replay_document(replay: Replay) -> Document:
    """A replay as it is first stored."""
    return {
        "_id": replay.id,
        "kind": replay.kind.value,
        "account_id": replay.where.account_id,
        "filter": _filter_document(replay.where),
        "reason": replay.reason,
        "per_second": replay.per_second,
        "matched": replay.matched,
        "released": 0,
        "skipped": {},
        "state": replay.state.value,
        "position": None,
        "batch": [],
        "exhausted": False,
        "lease": {"owner": None, "fence": 0},
        "due_at": replay.created_at,
        "created_by": replay.created_by,
        "created_at": replay.created_at,
        "finished_at": None,
    }


def read_replay(document: StoredDocument, outstanding: int) -> Replay:
    return Replay(
        id=ReplayId(document["_id"]),
        kind=ReplayKind(document["kind"]),
        where=_read_filter(document["filter"]),
        reason=document["reason"],
        per_second=document["per_second"],
        matched=document["matched"],
        released=document["released"],
        outstanding=outstanding,
        skipped={Skip(reason): count for reason, count in document["skipped"].items()},
        state=ReplayState(document["state"]),
        created_by=document["created_by"],
        created_at=utc(document["created_at"]),
        finished_at=optional_utc(document["finished_at"]),
    )


def _filter_document(where: DeliveryFilter) -> Document:
    return {
        **{name: getattr(where, name) for name in _TEXTS},
        "event_type": where.event_type.value if where.event_type else None,
        "status": where.status.value if where.status else None,
        "from": where.from_,
        "to": where.to,
    }


def _read_filter(document: StoredDocument) -> DeliveryFilter:
    texts: dict[str, Any] = {name: document[name] for name in _TEXTS}
    return DeliveryFilter(
        **texts,
        event_type=EventType(document["event_type"]) if document["event_type"] else None,
        status=DeliveryStatus(document["status"]) if document["status"] else None,
        from_=optional_utc(document["from"]),
        to=optional_utc(document["to"]),
    )


# --- what a replay goes through --------------------------------------------------------------------


def walk(kind: ReplayKind, where: DeliveryFilter, asked_at: datetime) -> tuple[str, Document, str, str]:
    """Where a replay looks: the collection, the query, the index that leads, and the key of its order.

    What ended after `asked_at` is not in it, so that the set only shrinks.
    """
    if kind is ReplayKind.MISSING:
        query: Document = {"unmatched": where.account_id, "received_at": {"$gte": where.from_, "$lt": where.to}}
        if where.event_type is not None:
            query["type"] = where.event_type.value
        return EVENTS, query, UNMATCHED_INDEX, "received_at"
    query = delivery_query(where)
    if where.status is None:
        ends = (DeliveryStatus.FAILED, DeliveryStatus.EXPIRED, DeliveryStatus.CANCELLED)
        query["status"] = {"$in": [status.value for status in ends]}
        query["reason"] = {"$ne": DeliveryReason.WEBHOOK_DELETED.value}
    if where.status is not DeliveryStatus.PENDING:
        query["completed_at"] = {"$lte": asked_at}
    return DELIVERIES, query, driving_index(where), "created_at"


def beyond(query: Document, key: str, position: Position | None) -> Document:
    """The part of a walk, the oldest first, that comes after a position."""
    if position is None:
        return query
    bounds = {**query[key], "$gte": position.at}
    return {**query, key: bounds, "$or": [{key: {"$gt": position.at}}, {"_id": {"$gt": position.id}}]}


# --- setting a delivery going ----------------------------------------------------------------------


def as_replay(
    identity: str, *, fence: int, attempt_count: int, is_pending: bool, at: datetime, more: Document | None = None
) -> UpdateOne:
    """Makes an ended delivery, or one that rests, due at `at`. Matches only while nobody else has touched it.

    The fence goes up, so that no result of before can be recorded over it. What a person asks for does not get too old.
    """
    same: Document = {"_id": identity, "lease.fence": exactly(fence), "attempt_count": exactly(attempt_count)}
    if is_pending:
        same["lease.owner"] = None
    return UpdateOne(
        same,
        {
            "$set": {
                "status": DeliveryStatus.PENDING.value,
                "reason": None,
                "next_attempt_at": at,
                "due_at": at,
                "not_after": None,
                "completed_at": None,
                "trigger": Trigger.REPLAY.value,
                "attempts_before": attempt_count,
                "lease.owner": None,
                **(more or {}),
            },
            "$inc": {"lease.fence": 1},
            "$unset": {"expire_at": "", "held": ""},
        },
    )
