"""What the API, the console and the commands read, through a port of their own that changes nothing. Types only."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Final, Protocol

from router.domain.delivery import Delivery, DeliveryId, DeliveryStatus
from router.domain.event import AccountId, EventKey, EventType
from router.domain.matching import Verdict
from router.domain.webhook import Webhook, WebhookId
from router.ports.overview import Overview, StoredDeadLetter


@dataclass(frozen=True, slots=True, kw_only=True)
class DeliveryFilter:
    """Which deliveries to list; None and empty leave a dimension open. `number_prefix` is `numbers.search_prefix`.

    Times are of reception; `from_` is inclusive and `to` exclusive.
    """

    account_id: AccountId | None = None
    webhook_id: WebhookId | None = None
    event_type: EventType | None = None
    status: DeliveryStatus | None = None
    event_id: str | None = None
    call_id: str | None = None
    user_id: str | None = None
    number_prefix: str | None = None
    from_: datetime | None = None
    to: datetime | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Position:
    """The last item of a page, in the order of lists: newest first, then by id downwards."""

    at: datetime
    id: str


UNDATED: Final = datetime.min.replace(tzinfo=UTC)
"""The place in time of what has none: before everything else."""


@dataclass(frozen=True, slots=True, kw_only=True)
class DeliveryCounts:
    """How often a webhook was sent to, over the log that is kept. `failed` counts every end but success."""

    total: int = 0
    delivered: int = 0
    failed: int = 0
    pending: int = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class Replayed:
    """An event that matched nothing was sent to a webhook later, by a replay."""

    webhook_id: WebhookId
    at: datetime
    replay_id: str


@dataclass(frozen=True, slots=True, kw_only=True)
class StoredEvent:
    """An event with its trace as it was decided on reception. `payload` is None once its retention is over.

    `replayed` are webhooks that it went to although the trace says that it matched none."""

    key: EventKey
    account_id: AccountId
    event_id: str
    type: EventType
    name: str | None
    call_id: str | None
    user_id: str | None
    sequence: int | None
    tracking_number: str | None
    occurred_at: datetime | None
    received_at: datetime
    source: str
    account_enabled: bool
    trace: Sequence[tuple[WebhookId, Verdict]]
    trace_truncated: bool
    payload: bytes | None
    replayed: Sequence[Replayed] = ()

    @property
    def went_to(self) -> Sequence[WebhookId]:
        """The webhooks that there are deliveries to, each once."""
        matched = [webhook_id for webhook_id, verdict in self.trace if verdict is Verdict.MATCHED]
        return list(dict.fromkeys([*matched, *(later.webhook_id for later in self.replayed)]))


@dataclass(frozen=True, slots=True, kw_only=True)
class StoredAccount:
    """One account's switch."""

    id: AccountId
    webhooks_enabled: bool

    @property
    def version(self) -> str:
        """As that of a webhook. The switch is all that there is of an account."""
        return "on" if self.webhooks_enabled else "off"


class Reader(Overview, Protocol):
    """What people look up. Every method answers from an index; none of them can change anything."""

    async def account(self, account_id: AccountId) -> StoredAccount | None: ...

    async def webhook(self, webhook_id: WebhookId) -> Webhook | None: ...

    async def webhooks_by_id(self, webhook_ids: Collection[WebhookId]) -> Mapping[WebhookId, Webhook]:
        """Those that exist still."""

    async def webhooks(
        self, *, account_id: AccountId | None, event_type: EventType | None, after: Position | None, limit: int
    ) -> Sequence[Webhook]:
        """Newest first by `created_at`; a webhook without one stands at UNDATED, so it comes last."""

    async def count_webhooks(self, *, account_id: AccountId | None, event_type: EventType | None) -> int: ...

    async def delivery_counts(self, webhook_ids: Sequence[WebhookId]) -> Mapping[WebhookId, DeliveryCounts]:
        """Every id has an entry."""

    async def delivery(self, delivery_id: DeliveryId) -> tuple[Delivery, bytes | None] | None:
        """One delivery and the payload that is sent; None in its place once its retention is over."""

    async def deliveries(self, where: DeliveryFilter, *, after: Position | None, limit: int) -> Sequence[Delivery]:
        """Newest first by `created_at`. One with very many attempts shows the newest of them."""

    async def count_deliveries(self, where: DeliveryFilter) -> int: ...

    async def event(self, account_id: AccountId, event_id: str, *, with_payload: bool = True) -> StoredEvent | None: ...

    async def events_of_call(
        self, account_id: AccountId, call_id: str, limit: int, *, with_payload: bool = True
    ) -> Sequence[StoredEvent]:
        """In the order of reception."""

    async def deliveries_of_events(self, events: Sequence[StoredEvent]) -> Mapping[EventKey, Sequence[Delivery]]:
        """The deliveries that each event led to, in the order of its trace and of replays; each event has an entry."""

    async def dead_letters(self, *, after: Position | None, limit: int) -> Sequence[StoredDeadLetter]: ...

    async def count_dead_letters(self) -> int: ...

    async def dead_letter(self, letter_id: str) -> StoredDeadLetter | None:
        """One dead letter with its raw message."""
