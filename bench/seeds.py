"""Deliveries that wait for their next attempt, as the router writes them. Touches the store."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from itertools import islice
from typing import Any, Final

from bench.load import body_of
from router.adapters.mongo.documents import Document, attempt_document, delivery_document, event_document
from router.adapters.mongo.indexes import DELIVERIES, EVENTS
from router.domain.delivery import Attempt, AttemptError, DeliveryId, Trigger, delivery_id
from router.domain.event import AccountId, Event, EventType
from router.domain.matching import Verdict
from router.domain.webhook import WebhookId
from router.ports import PlannedDelivery, PlannedEvent

ACCOUNTS: Final = 50
BATCH: Final = 500
URL: Final = "https://wh.example.com/hooks"
KEPT: Final = timedelta(days=90)


async def seed(database: Any, kind: str, count: int, due_at: datetime, *, over: timedelta = timedelta()) -> None:
    """`count` events with a delivery each that failed once and is due at `due_at` or within `over` after it."""
    step = over / max(1, count)
    numbers = iter(range(count))
    while batch := [made(f"{kind}-{number}", number, due_at + step * number) for number in islice(numbers, BATCH)]:
        await database[EVENTS].insert_many([event for event, _ in batch], ordered=False)
        await database[DELIVERIES].insert_many([delivery for _, delivery in batch], ordered=False)


def account_of(number: int) -> str:
    return f"waiting-{number % ACCOUNTS}"


def webhook_of(number: int) -> str:
    return f"wh_waiting_{number % ACCOUNTS}"


def made(identity: str, number: int, due_at: datetime) -> tuple[Document, Document]:
    """The documents of one event and of its delivery, after a first attempt that was answered with 503."""
    now = datetime.now(UTC)
    account, webhook_id = AccountId(account_of(number)), WebhookId(webhook_of(number))
    event = Event(
        account_id=account, event_id=identity, type=EventType.CDR, name="cdr.created", occurred_at=now, received_at=now,
        call_id=f"c-{identity}", sequence=2, tracking_number="+33199001234", user_id="u-17",
        number_keys=("43210099133", f"{number:08}6933"), source="cdr",
        payload=body_of(identity, account, number, "+33199001234", 0),
    )  # fmt: skip
    planned = PlannedDelivery(webhook_id=webhook_id, url=URL, leased=False)
    plan = PlannedEvent(
        event=event, born_at=now, not_after=None, account_enabled=True,
        trace=[(webhook_id, Verdict.MATCHED)], deliveries=[planned],
    )  # fmt: skip
    lease: Document = {"owner": None, "fence": 1}
    delivery = delivery_document(
        _identity(event, webhook_id), plan, planned, now=now, lease=lease, expire_at=now + KEPT
    ) | {
        "lease": lease,
        "attempt_count": 1,
        "attempts": [attempt_document(failed(now))],
        "next_attempt_at": due_at,
        "due_at": due_at,
    }
    return event_document(plan, expire_at=now + KEPT, payload_expires_at=now + KEPT), delivery


def _identity(event: Event, webhook_id: WebhookId) -> DeliveryId:
    return delivery_id(event.key, webhook_id)


def failed(now: datetime) -> Attempt:
    return Attempt(
        number=1, trigger=Trigger.SCHEDULE, started_at=now, duration_ms=84, status_code=503,
        error=AttemptError.HTTP_STATUS, response_body="Service Unavailable", response_truncated=False,
    )  # fmt: skip
