"""The JSON objects of `--json`: those of the HTTP API (contract, section 6). Values in, plain data out; touches nothing.
"""

from __future__ import annotations

from base64 import b64encode
from datetime import UTC, datetime
from typing import Any, assert_never

from router.application.queries import WebhookReport, state_reason
from router.domain.delivery import Attempt, Delivery
from router.domain.webhook import Restriction, TrackingNumberRestriction, UserRestriction
from router.ports import StoredDeadLetter

View = dict[str, Any]


def moment(value: datetime | None) -> str | None:
    """RFC 3339, UTC, milliseconds."""
    return None if value is None else value.astimezone(UTC).isoformat(timespec="milliseconds")[:-6] + "Z"


def webhook(report: WebhookReport) -> View:
    found, counts = report.webhook, report.deliveries
    return {
        "id": found.id,
        "account_id": found.account_id,
        "name": found.name,
        "url": found.url,
        "event_type": found.event_type,
        "enabled": found.enabled,
        "restrict_to": restriction(found.restriction),
        "headers": dict(found.headers),
        "state": found.state,
        "state_reason": state_reason(found),
        "deliveries": {
            "total": counts.total,
            "delivered": counts.delivered,
            "failed": counts.failed,
            "pending": counts.pending,
        },
        "created_at": moment(found.created_at),
        "updated_at": moment(found.updated_at),
    }


def restriction(value: Restriction | None) -> View | None:
    match value:
        case None:
            return None
        case TrackingNumberRestriction(numbers=numbers):
            return {"tracking_numbers": sorted(numbers)}
        case UserRestriction(user_id=user_id):
            return {"user_id": user_id}
        case _:
            assert_never(value)


def delivery(found: Delivery) -> View:
    return {
        "id": found.id,
        "account_id": found.account_id,
        "webhook_id": found.webhook_id,
        "event_id": found.event_id,
        "event_type": found.event_type,
        "event_name": found.event_name,
        "call_id": found.call_id,
        "user_id": found.user_id,
        "status": found.status,
        "reason": found.reason,
        "url": found.url,
        "attempt_count": found.attempt_count,
        "attempts": [attempt(each) for each in found.attempts],
        "next_attempt_at": moment(found.next_attempt_at),
        "created_at": moment(found.created_at),
        "completed_at": moment(found.completed_at),
    }


def delivery_with_payload(found: Delivery, payload: bytes | None) -> View:
    # JSON text is UTF-8 by contract; a payload that is not has come in before that was checked.
    return {**delivery(found), "payload": None if payload is None else payload.decode("utf-8", "replace")}


def attempt(found: Attempt) -> View:
    return {
        "number": found.number,
        "trigger": found.trigger,
        "started_at": moment(found.started_at),
        "duration_ms": found.duration_ms,
        "status_code": found.status_code,
        "error": found.error,
        "response_body": found.response_body,
        "response_truncated": found.response_truncated,
    }


def dead_letter(found: StoredDeadLetter) -> View:
    return {
        "id": found.id,
        "received_at": moment(found.received_at),
        "source": found.source,
        "reason": found.reason,
        "detail": found.detail,
        "size": found.size,
        "content_type": found.content_type,
        "head": found.head,
        "requeued_at": moment(found.requeued_at),
    }


def dead_letter_with_body(found: StoredDeadLetter) -> View:
    body = found.raw.body if found.raw else b""
    return {**dead_letter(found), "body": b64encode(body).decode("ascii")}
