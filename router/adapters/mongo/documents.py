"""The shapes of our documents in MongoDB, and the translation between them and domain values. Touches nothing.

    accounts, webhooks: contract, section 3                                           written by the back office
    webhook_health {_id: webhook id, suspended_at, suspended_reason, failing_since,   written by the router
                    recovering: {since, reason}, announce}
    events        {_id: event key, account_id, event_id, …, trace, payload, unmatched, number_keys, replayed}
    deliveries    {_id, event: event key, …, attempts, search: [search keys], lease: {owner, fence}, due_at, held,
                   announce, trigger, attempts_before, replay, replaying}
    dead_letters  {_id, received_at, source, reason, …, body}
    publisher_clocks {_id: source name, error_ms, measured_at}
    audit, replays `audit.py`, `replay_documents.py`, which says what replays write into the others
    meta          `schema.py`

`deliveries.due_at` is when any worker may take a pending delivery: the end of the lease while one holds it, the
time of the next attempt while none does. It is absent once the delivery is over, so its sparse index holds
only what is pending. `expire_at` appears when a document may be deleted by its TTL index; `payload_expires_at`
when the sweep may take the payload out of an event.

`announce` is the outbox (`router/adapters/mongo/outbox.py`): what happened to the document and is not published yet.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from datetime import UTC, datetime
from typing import Any, Final

from router.domain.delivery import (
    Attempt,
    AttemptError,
    Claim,
    Delivery,
    DeliveryId,
    DeliveryReason,
    DeliveryStatus,
    ErrorDetail,
    ErrorKind,
    Trigger,
)
from router.domain.event import AccountId, EventKey, EventType
from router.domain.lease import LEASE
from router.domain.matching import Verdict
from router.domain.webhook import WebhookId
from router.ports import (
    MessageProperties,
    PlannedDelivery,
    PlannedEvent,
    RawMessage,
    Replayed,
    StoredDeadLetter,
    StoredEvent,
)

Document = dict[str, Any]
StoredDocument = Mapping[str, Any]

MAX_TRACE_ENTRIES = 500
"""Verdicts kept per event. Webhooks that matched are the plan and always kept; beyond, the others are left out."""
DEAD_LETTER_HEAD_BYTES = 200


def utc(value: datetime) -> datetime:
    """MongoDB's dates come back naive or aware by the client's options; ours are always aware."""
    return value if value.tzinfo else value.replace(tzinfo=UTC)


def optional_utc(value: datetime | None) -> datetime | None:
    return None if value is None else utc(value)


def exactly(value: object) -> Document:
    """A condition beside an `_id`: the field is there and has this value.

    `$exists` changes nothing for a field that every document has. The embedded server, though, looks for an index to
    serve each condition that an index could serve, and reads its list of indexes for it: a quarter of an update.
    """
    return {"$eq": value, "$exists": True}


# --- events ----------------------------------------------------------------------------------------


def event_document(planned: PlannedEvent, *, expire_at: datetime, payload_expires_at: datetime) -> Document:
    event = planned.event
    trace = planned.trace
    if len(trace) > MAX_TRACE_ENTRIES:
        matched = [entry for entry in trace if entry[1] is Verdict.MATCHED]
        others = [entry for entry in trace if entry[1] is not Verdict.MATCHED]
        trace = [*matched, *others[: max(0, MAX_TRACE_ENTRIES - len(matched))]]
    document: Document = {
        "_id": event.key,
        "account_id": event.account_id,
        "event_id": event.event_id,
        "type": event.type.value,
        "name": event.name,
        "occurred_at": event.occurred_at,
        "born_at": planned.born_at,
        "received_at": event.received_at,
        "sequence": event.sequence,
        "tracking_number": event.tracking_number,
        "source": event.source,
        "account_enabled": planned.account_enabled,
        "trace": [{"webhook_id": webhook_id, "verdict": verdict.value} for webhook_id, verdict in trace],
        "payload": event.payload,
        "payload_expires_at": payload_expires_at,
        "expire_at": expire_at,
    }
    if len(planned.trace) > len(trace):
        document["trace_truncated"] = True
    # Absent rather than null: their indexes are sparse.
    if event.call_id is not None:
        document["call_id"] = event.call_id
    if event.user_id is not None:
        document["user_id"] = event.user_id
    if not any(verdict is Verdict.MATCHED for _, verdict in planned.trace):
        document["unmatched"] = event.account_id
        document["number_keys"] = list(event.number_keys)
    # 55 characters, by which a retry of another worker, hours later, is part of the event's trace.
    if planned.trace_parent is not None:
        document["trace_parent"] = planned.trace_parent
    return document


def read_event(document: StoredDocument) -> StoredEvent:
    return StoredEvent(
        key=EventKey(document["_id"]),
        account_id=AccountId(document["account_id"]),
        event_id=document["event_id"],
        type=EventType(document["type"]),
        name=document["name"],
        call_id=document.get("call_id"),
        user_id=document.get("user_id"),
        sequence=document["sequence"],
        tracking_number=document["tracking_number"],
        occurred_at=optional_utc(document["occurred_at"]),
        received_at=utc(document["received_at"]),
        source=document["source"],
        account_enabled=document["account_enabled"],
        trace=[(WebhookId(entry["webhook_id"]), Verdict(entry["verdict"])) for entry in document["trace"]],
        trace_truncated=document.get("trace_truncated", False),
        payload=document.get("payload"),
        replayed=tuple(
            Replayed(webhook_id=WebhookId(entry["webhook_id"]), at=utc(entry["at"]), replay_id=entry["replay"])
            for entry in document.get("replayed", ())
        ),
    )


# --- what deliveries are found by ------------------------------------------------------------------


def search_keys(
    *, event_id: str | None = None, call_id: str | None = None, user_id: str | None = None, numbers: Iterable[str] = ()
) -> list[str]:
    """Entries of `deliveries.search`, one index for all of them. `numbers` are `numbers.search_key` values, or the
    beginning of one."""
    named = (("event", event_id), ("call", call_id), ("user", user_id))
    return [
        *(f"{name}:{value}" for name, value in named if value is not None),
        *(f"number:{number}" for number in numbers),
    ]


# --- deliveries ------------------------------------------------------------------------------------

FIRST_FENCE: Final = 1
"""Of the worker that inserted the event, or of the first that claims what nobody was to attempt at once."""
_NO_LEASE: Document = {"owner": None, "fence": 0}


def delivery_document(
    identity: DeliveryId,
    plan: PlannedEvent,
    delivery: PlannedDelivery,
    *,
    now: datetime,
    lease: Document,
    expire_at: datetime,
) -> Document:
    """A delivery as it is first stored: with `lease` where it is this worker's, with `expire_at` where it is over."""
    event, ended = plan.event, delivery.ended
    document: Document = {
        "_id": identity,
        "event": event.key,
        "account_id": event.account_id,
        "webhook_id": delivery.webhook_id,
        "event_id": event.event_id,
        "event_type": event.type.value,
        "event_name": event.name,
        "call_id": event.call_id,
        "user_id": event.user_id,
        "search": search_keys(
            event_id=event.event_id, call_id=event.call_id, user_id=event.user_id, numbers=event.number_keys
        ),
        "status": ended.status.value if ended else DeliveryStatus.PENDING.value,
        "reason": ended.reason.value if ended and ended.reason else None,
        "url": delivery.url,
        "attempt_count": 0,
        "attempts": [],
        "next_attempt_at": None if ended else now,
        "not_after": plan.not_after,
        "created_at": event.received_at,
        "completed_at": now if ended else None,
        "lease": lease if delivery.leased else _NO_LEASE,
    }
    if ended:
        document["expire_at"] = expire_at
    elif delivery.rests_until is not None:
        document |= resting(delivery.webhook_id, delivery.rests_until, plan.not_after)
    else:
        document["due_at"] = now + LEASE if delivery.leased else now
    return document


def resting(webhook_id: WebhookId, until: datetime, not_after: datetime | None) -> Document:
    """The fields of a pending delivery that is not to be attempted before `until`; one that gets too old meanwhile is
    looked at then. The webhook in `held` is what wakes it."""
    due_at = min(until, not_after) if not_after is not None else until
    return {"due_at": due_at, "next_attempt_at": due_at, "held": webhook_id}


def attempt_document(attempt: Attempt) -> Document:
    return {
        "number": attempt.number,
        "trigger": attempt.trigger.value,
        "started_at": attempt.started_at,
        "duration_ms": attempt.duration_ms,
        "status_code": attempt.status_code,
        "error": attempt.error.value if attempt.error else None,
        "response_body": attempt.response_body,
        "response_truncated": attempt.response_truncated,
        **_error_detail_document(attempt.error_detail),
    }


def _error_detail_document(detail: ErrorDetail | None) -> Document:
    """The field that only attempts with a detail have."""
    if detail is None:
        return {}
    values = {"kind": detail.kind.value, "host": detail.host, "at": detail.at}
    return {"error_detail": {name: value for name, value in values.items() if value is not None}}


def _read_error_detail(document: StoredDocument | None) -> ErrorDetail | None:
    if document is None:
        return None
    at = optional_utc(document.get("at"))
    return ErrorDetail(kind=ErrorKind(document["kind"]), host=document.get("host"), at=at)


def read_attempt(document: StoredDocument) -> Attempt:
    return Attempt(
        number=document["number"],
        trigger=Trigger(document["trigger"]),
        started_at=utc(document["started_at"]),
        duration_ms=document["duration_ms"],
        status_code=document["status_code"],
        error=AttemptError(document["error"]) if document["error"] else None,
        response_body=document["response_body"],
        response_truncated=document["response_truncated"],
        error_detail=_read_error_detail(document.get("error_detail")),
    )


def read_delivery(document: StoredDocument) -> Delivery:
    return Delivery(
        id=DeliveryId(document["_id"]),
        account_id=AccountId(document["account_id"]),
        webhook_id=WebhookId(document["webhook_id"]),
        event_id=document["event_id"],
        event_type=EventType(document["event_type"]),
        event_name=document["event_name"],
        call_id=document.get("call_id"),
        user_id=document.get("user_id"),
        status=DeliveryStatus(document["status"]),
        reason=DeliveryReason(document["reason"]) if document["reason"] else None,
        url=document["url"],
        attempt_count=document["attempt_count"],
        attempts=tuple(read_attempt(attempt) for attempt in document["attempts"]),
        next_attempt_at=optional_utc(document["next_attempt_at"]),
        created_at=utc(document["created_at"]),
        completed_at=optional_utc(document["completed_at"]),
        number_endings=_number_endings(document.get("search", ())),
    )


def _number_endings(search: Iterable[str]) -> tuple[str, ...]:
    # Stored backwards: the last digits come first.
    numbers = (key.removeprefix("number:") for key in search if key.startswith("number:"))
    return tuple(number[:2][::-1] for number in numbers)


# --- claims ----------------------------------------------------------------------------------------


def first_claim(identity: DeliveryId, plan: PlannedEvent, webhook_id: WebhookId) -> Claim:
    event = plan.event
    return Claim(
        delivery_id=identity,
        event_key=event.key,
        fence=FIRST_FENCE,
        account_id=event.account_id,
        webhook_id=webhook_id,
        event_id=event.event_id,
        event_type=event.type,
        received_at=event.received_at,
        attempt_count=0,
        not_after=plan.not_after,
        payload=event.payload,
        trace_parent=plan.trace_parent,
    )


def read_claim(document: StoredDocument, event: StoredDocument) -> Claim:
    """The claim of a delivery document and what was read of its event's, which may have no payload any more."""
    not_after = document["not_after"]
    return Claim(
        delivery_id=DeliveryId(document["_id"]),
        event_key=EventKey(document["event"]),
        fence=document["lease"]["fence"],
        account_id=AccountId(document["account_id"]),
        webhook_id=WebhookId(document["webhook_id"]),
        event_id=document["event_id"],
        event_type=EventType(document["event_type"]),
        received_at=utc(document["created_at"]),
        attempt_count=document["attempt_count"],
        not_after=utc(not_after) if not_after else None,
        payload=event.get("payload", b""),
        trigger=Trigger(document.get("trigger", Trigger.SCHEDULE)),
        attempts_before=document.get("attempts_before", 0),
        trace_parent=event.get("trace_parent"),
    )


# --- dead letters ----------------------------------------------------------------------------------


def properties_document(properties: MessageProperties) -> Document:
    return {
        "content_type": properties.content_type,
        "content_encoding": properties.content_encoding,
        "message_id": properties.message_id,
        "type": properties.type,
        "timestamp": properties.timestamp,
        # A list of pairs: header names may hold what field names must not.
        "headers": [[key, value] for key, value in properties.headers.items()],
    }


def read_raw(document: StoredDocument) -> RawMessage:
    properties = document["properties"]
    return RawMessage(
        body=document["body"],
        source=document["source"],
        exchange=document["exchange"],
        routing_key=document["routing_key"],
        properties=MessageProperties(
            content_type=properties["content_type"],
            content_encoding=properties["content_encoding"],
            message_id=properties["message_id"],
            type=properties["type"],
            timestamp=optional_utc(properties["timestamp"]),
            headers=dict(properties["headers"]),
        ),
        received_at=utc(document["received_at"]),
        redelivered=False,
    )


def read_dead_letter(document: StoredDocument) -> StoredDeadLetter:
    """A dead letter; with its raw message where the document was read with `body`."""
    return StoredDeadLetter(
        id=document["_id"],
        received_at=utc(document["received_at"]),
        source=document["source"],
        exchange=document["exchange"],
        routing_key=document["routing_key"],
        reason=document["reason"],
        detail=document["detail"],
        size=document["size"],
        content_type=document["properties"]["content_type"],
        head=document["head"],
        requeued_at=optional_utc(document.get("requeued_at")),
        raw=read_raw(document) if "body" in document else None,
    )
