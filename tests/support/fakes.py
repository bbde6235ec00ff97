"""In-memory stand-ins that keep the contracts of their ports. Touch nothing.

Each is held to its contract by the same tests as the real thing.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import replace
from datetime import datetime
from typing import TypeVar

from router.domain.delivery import Delivery, DeliveryId, DeliveryStatus, delivery_id
from router.domain.event import AccountId, EventKey, EventType
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
from tests.support.fakes_overview import FakeOverview

T = TypeVar("T")


class FakeReader(FakeOverview):
    """`ports.Reader` over what was added with the `add_` methods."""

    def __init__(self) -> None:
        self._accounts: dict[AccountId, StoredAccount] = {}
        self._webhooks: dict[WebhookId, Webhook] = {}
        self._events: dict[EventKey, StoredEvent] = {}
        self._deliveries: dict[DeliveryId, tuple[Delivery, EventKey, tuple[str, ...]]] = {}
        self._letters: dict[str, StoredDeadLetter] = {}

    # --- filling it ---

    def add_account(self, account: StoredAccount) -> None:
        self._accounts[account.id] = account

    def add_webhook(self, webhook: Webhook) -> None:
        self._webhooks[webhook.id] = webhook

    def add_event(self, event: StoredEvent) -> None:
        self._events[event.key] = event

    def add_delivery(self, delivery: Delivery, event: EventKey, number_keys: Sequence[str] = ()) -> None:
        self._deliveries[delivery.id] = (delivery, event, tuple(number_keys))

    def add_dead_letter(self, letter: StoredDeadLetter) -> None:
        self._letters[letter.id] = letter

    # --- what the overview looks over ---

    def all_webhooks(self) -> Collection[Webhook]:
        return self._webhooks.values()

    def all_deliveries(self) -> Collection[Delivery]:
        return [delivery for delivery, _, _ in self._deliveries.values()]

    def all_events(self) -> Collection[StoredEvent]:
        return self._events.values()

    def all_letters(self) -> Collection[StoredDeadLetter]:
        return self._letters.values()

    # --- definitions ---

    async def account(self, account_id: AccountId) -> StoredAccount | None:
        return self._accounts.get(account_id)

    async def webhook(self, webhook_id: WebhookId) -> Webhook | None:
        return self._webhooks.get(webhook_id)

    async def webhooks_by_id(self, webhook_ids: Collection[WebhookId]) -> Mapping[WebhookId, Webhook]:
        return {identity: self._webhooks[identity] for identity in webhook_ids if identity in self._webhooks}

    async def webhooks(
        self, *, account_id: AccountId | None, event_type: EventType | None, after: Position | None, limit: int
    ) -> Sequence[Webhook]:
        return _page(self._chosen(account_id, event_type), _webhook_place, after, limit)

    async def count_webhooks(self, *, account_id: AccountId | None, event_type: EventType | None) -> int:
        return len(self._chosen(account_id, event_type))

    def _chosen(self, account_id: AccountId | None, event_type: EventType | None) -> list[Webhook]:
        return [
            webhook
            for webhook in self._webhooks.values()
            if account_id in (None, webhook.account_id) and event_type in (None, webhook.event_type)
        ]

    # --- deliveries ---

    async def delivery_counts(self, webhook_ids: Sequence[WebhookId]) -> Mapping[WebhookId, DeliveryCounts]:
        return {webhook_id: self._counts(webhook_id) for webhook_id in webhook_ids}

    def _counts(self, webhook_id: WebhookId) -> DeliveryCounts:
        found = [delivery.status for delivery, _, _ in self._deliveries.values() if delivery.webhook_id == webhook_id]
        delivered = found.count(DeliveryStatus.DELIVERED)
        pending = found.count(DeliveryStatus.PENDING)
        failed = len(found) - delivered - pending
        return DeliveryCounts(total=len(found), delivered=delivered, failed=failed, pending=pending)

    async def delivery(self, delivery_id: DeliveryId) -> tuple[Delivery, bytes | None] | None:
        if delivery_id not in self._deliveries:
            return None
        delivery, event, _ = self._deliveries[delivery_id]
        return delivery, self._events[event].payload if event in self._events else None

    async def deliveries(self, where: DeliveryFilter, *, after: Position | None, limit: int) -> Sequence[Delivery]:
        return _page(self._matching(where), _delivery_place, after, limit)

    async def count_deliveries(self, where: DeliveryFilter) -> int:
        return len(self._matching(where))

    def _matching(self, where: DeliveryFilter) -> list[Delivery]:
        return [delivery for delivery, _, keys in self._deliveries.values() if _matches(where, delivery, keys)]

    # --- events ---

    async def event(self, account_id: AccountId, event_id: str, *, with_payload: bool = True) -> StoredEvent | None:
        found = (
            event if with_payload else replace(event, payload=None)
            for event in self._events.values()
            if (event.account_id, event.event_id) == (account_id, event_id)
        )
        return next(found, None)

    async def events_of_call(
        self, account_id: AccountId, call_id: str, limit: int, *, with_payload: bool = True
    ) -> Sequence[StoredEvent]:
        found = [
            event if with_payload else replace(event, payload=None)
            for event in self._events.values()
            if (event.account_id, event.call_id) == (account_id, call_id)
        ]
        return sorted(found, key=lambda event: (event.received_at, event.key))[:limit]

    async def deliveries_of_events(self, events: Sequence[StoredEvent]) -> Mapping[EventKey, Sequence[Delivery]]:
        return {
            event.key: [
                self._deliveries[identity][0]
                for webhook_id in event.went_to
                if (identity := delivery_id(event.key, webhook_id)) in self._deliveries
            ]
            for event in events
        }

    # --- dead letters ---

    async def dead_letters(self, *, after: Position | None, limit: int) -> Sequence[StoredDeadLetter]:
        page = _page(self._letters.values(), _letter_place, after, limit)
        return [replace(letter, raw=None) for letter in page]

    async def count_dead_letters(self) -> int:
        return len(self._letters)

    async def dead_letter(self, letter_id: str) -> StoredDeadLetter | None:
        return self._letters.get(letter_id)


Place = tuple[datetime, str]


def _page(items: Collection[T], place: Callable[[T], Place], after: Position | None, limit: int) -> list[T]:
    ordered = sorted(items, key=place, reverse=True)
    return [item for item in ordered if after is None or place(item) < (after.at, after.id)][:limit]


def _webhook_place(webhook: Webhook) -> Place:
    return webhook.created_at or UNDATED, webhook.id


def _delivery_place(delivery: Delivery) -> Place:
    return delivery.created_at, delivery.id


def _letter_place(letter: StoredDeadLetter) -> Place:
    return letter.received_at, letter.id


def _matches(where: DeliveryFilter, delivery: Delivery, number_keys: Sequence[str]) -> bool:
    prefix = where.number_prefix
    return (
        where.account_id in (None, delivery.account_id)
        and where.webhook_id in (None, delivery.webhook_id)
        and where.event_type in (None, delivery.event_type)
        and where.status in (None, delivery.status)
        and where.event_id in (None, delivery.event_id)
        and where.call_id in (None, delivery.call_id)
        and where.user_id in (None, delivery.user_id)
        and (prefix is None or any(key.startswith(prefix) for key in number_keys))
        and (where.from_ is None or delivery.created_at >= where.from_)
        and (where.to is None or delivery.created_at < where.to)
    )
