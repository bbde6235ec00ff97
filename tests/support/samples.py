"""Domain values for tests of the reading side: each whole and plausible, what a test cares about as arguments."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any

from router.domain.delivery import Attempt, AttemptError, Delivery, DeliveryId, DeliveryStatus, Trigger, delivery_id
from router.domain.event import AccountId, EventType, event_key
from router.domain.matching import Verdict
from router.domain.replay import ReplayId, ReplayKind
from router.domain.webhook import Webhook, WebhookId
from router.ports import DeliveryFilter, MessageProperties, RawMessage, Replay, StoredDeadLetter, StoredEvent

NOON = datetime(2026, 3, 1, 12, 0, tzinfo=UTC)
ACCOUNT = AccountId("1042")


def at(seconds: float) -> datetime:
    """So many seconds after noon."""
    return NOON + timedelta(seconds=seconds)


def webhook(identity: str = "wh_crm", **changes: Any) -> Webhook:
    sample = Webhook(
        id=WebhookId(identity),
        account_id=ACCOUNT,
        name="CRM",
        url="https://crm.example.com/hooks",
        event_type=EventType.CALL,
        enabled=True,
        created_at=NOON,
        updated_at=NOON,
    )
    return replace(sample, **changes)


def event(
    identity: str = "evt-1",
    *,
    matched: Sequence[str] = (),
    not_matched: Sequence[tuple[str, Verdict]] = (),
    account_id: str = ACCOUNT,
    **changes: Any,
) -> StoredEvent:
    sample = StoredEvent(
        key=event_key(account_id, identity),
        account_id=AccountId(account_id),
        event_id=identity,
        type=EventType.CALL,
        name="call.received",
        call_id=None,
        user_id=None,
        sequence=None,
        tracking_number=None,
        occurred_at=NOON,
        received_at=NOON,
        source="call",
        account_enabled=True,
        trace=[
            *((WebhookId(webhook_id), Verdict.MATCHED) for webhook_id in matched),
            *((WebhookId(webhook_id), verdict) for webhook_id, verdict in not_matched),
        ],
        trace_truncated=False,
        payload=b'{"id":"%s"}' % identity.encode(),
    )
    return replace(sample, **changes)


def delivery(of: StoredEvent, to: str = "wh_crm", **changes: Any) -> Delivery:
    sample = Delivery(
        id=delivery_id(of.key, WebhookId(to)),
        account_id=of.account_id,
        webhook_id=WebhookId(to),
        event_id=of.event_id,
        event_type=of.type,
        event_name=of.name,
        call_id=of.call_id,
        user_id=of.user_id,
        status=DeliveryStatus.DELIVERED,
        reason=None,
        url="https://crm.example.com/hooks",
        attempt_count=1,
        attempts=(attempt(1),),
        next_attempt_at=None,
        created_at=of.received_at,
        completed_at=of.received_at,
    )
    if "id" in changes:
        changes["id"] = DeliveryId(changes["id"])
    return replace(sample, **changes)


def attempt(number: int, status_code: int = 200) -> Attempt:
    return Attempt(
        number=number,
        trigger=Trigger.SCHEDULE,
        started_at=NOON,
        duration_ms=84,
        status_code=status_code,
        error=None if status_code < 300 else AttemptError.HTTP_STATUS,
        response_body="thanks",
        response_truncated=False,
    )


def replay(identity: str = "rpl_1", *, account_id: str | None = ACCOUNT, **changes: Any) -> Replay:
    where = DeliveryFilter(account_id=AccountId(account_id) if account_id else None, from_=at(-3600), to=NOON)
    sample = Replay(
        id=ReplayId(identity),
        kind=ReplayKind.DELIVERIES,
        where=where,
        reason=None,
        per_second=20.0,
        matched=1,
        created_by="token:x",
        created_at=NOON,
    )
    return replace(sample, **changes)


def dead_letter(identity: str = "dl_1", body: bytes = b"not JSON", **changes: Any) -> StoredDeadLetter:
    sample = StoredDeadLetter(
        id=identity,
        received_at=NOON,
        source="call",
        exchange="call",
        routing_key="call.received",
        reason="not_json",
        detail="the body is not JSON",
        size=len(body),
        content_type="text/plain",
        head=body[:200].decode("utf-8", "replace"),
    )
    sample = replace(sample, **changes)
    raw = RawMessage(
        body=body,
        source=sample.source,
        exchange=sample.exchange,
        routing_key=sample.routing_key,
        properties=MessageProperties(content_type=sample.content_type, headers={"x-origin": "pbx"}),
        received_at=sample.received_at,
        redelivered=False,
    )
    return replace(sample, raw=raw)
