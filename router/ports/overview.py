"""What people overlook and search: buckets of time, things by whatever was pasted, what fails. Types only."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Final, Protocol

from router.domain.delivery import Delivery, DeliveryId
from router.domain.event import AccountId, EventType
from router.domain.webhook import Webhook, WebhookId
from router.ports.delivering import RawMessage

MAX_BUCKETS: Final = 200
"""Buckets of one webhook; what is later is left out."""
MAX_ACCOUNTS_TRIED: Final = 5_000
"""Accounts in which an event is looked for by its id alone, where no delivery has it."""
MAX_COUNTED_PENDING: Final = 10_000
"""More are told as so many."""
MAX_AGED_PENDING: Final = 1_000
"""Pending deliveries among which the oldest is looked for: those due first and those due last, half of each."""


@dataclass(frozen=True, slots=True, kw_only=True)
class DeliveryBucket:
    """The deliveries of one webhook received from `start` on for one step. `failed` counts every end but success."""

    start: datetime
    delivered: int = 0
    failed: int = 0
    pending: int = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class FoundEvent:
    """An event without its payload and trace. `is_matched`: it went to at least one webhook."""

    account_id: AccountId
    event_id: str
    type: EventType
    name: str | None
    call_id: str | None
    received_at: datetime
    is_matched: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class LetterCount:
    """The dead letters of one reason; `open` of them were never requeued."""

    reason: str
    total: int
    open: int
    newest_at: datetime


@dataclass(frozen=True, slots=True, kw_only=True)
class Pending:
    """What is not over. `count` and `due` stop at MAX_COUNTED_PENDING; `due` could be attempted now, the first of it
    since `due_since`. `oldest` is exact up to MAX_AGED_PENDING, and else the oldest of those due first and last."""

    count: int
    due: int
    due_since: datetime | None
    oldest: Delivery | None


@dataclass(frozen=True, slots=True, kw_only=True)
class StoredDeadLetter:
    """A dead letter as listed; `raw` only where one was asked for. `head` is the beginning of the body, as text."""

    id: str
    received_at: datetime
    source: str
    exchange: str
    routing_key: str
    reason: str
    detail: str
    size: int
    content_type: str | None
    head: str
    requeued_at: datetime | None = None
    raw: RawMessage | None = None


class Overview(Protocol):
    """A part of `Reader`. Every method answers from an index; None for an account means all of them."""

    async def delivery_buckets(
        self, webhook_ids: Sequence[WebhookId], since: datetime, step: timedelta
    ) -> Mapping[WebhookId, Sequence[DeliveryBucket]]:
        """How deliveries received since then went, by steps of time, without the empty ones. Every id has an entry."""

    async def delivery_summary(self, delivery_id: DeliveryId) -> Delivery | None:
        """A delivery as lists show it, without a look at its payload."""

    async def find_events(self, event_id: str, account_id: AccountId | None, limit: int) -> Sequence[FoundEvent]:
        """Events by their publisher's id, those that went to nobody among them."""

    async def find_events_of_call(self, call_id: str, account_id: AccountId | None, limit: int) -> Sequence[FoundEvent]:
        """Events by the id of their conversation."""

    async def webhooks_at(self, host: str, account_id: AccountId | None, limit: int) -> Sequence[Webhook]:
        """Webhooks whose URL's host begins so, by their URL. `host` is in lower case and may end with `:port`."""

    async def failing_webhooks(self, limit: int) -> Sequence[WebhookId]:
        """Webhooks that nothing but fails, the longest failing first. One may be deleted, or suspended."""

    async def suspended_webhooks(self, limit: int) -> Sequence[WebhookId]:
        """Webhooks that the router suspended, the newest first. One may be deleted."""

    async def dead_letter_summary(self, letter_id: str) -> StoredDeadLetter | None:
        """A dead letter as lists show it, without its message."""

    async def dead_letter_counts(self) -> Sequence[LetterCount]:
        """By reason, in its order."""

    async def pending(self, now: datetime) -> Pending: ...
