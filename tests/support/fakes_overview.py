"""The overview of a reader in memory, over what the reader itself holds: a base of both fakes. Touches nothing."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from datetime import datetime, timedelta
from urllib.parse import urlsplit

from router.domain.delivery import Delivery, DeliveryId, DeliveryStatus
from router.domain.event import AccountId
from router.domain.matching import Verdict
from router.domain.webhook import Webhook, WebhookId
from router.ports import DeliveryBucket, FoundEvent, LetterCount, Pending, StoredDeadLetter, StoredEvent


class FakeOverview:
    """`ports.Overview` over four collections that the reader names."""

    def all_webhooks(self) -> Iterable[Webhook]:
        return ()

    def all_deliveries(self) -> Iterable[Delivery]:
        return ()

    def all_events(self) -> Iterable[StoredEvent]:
        return ()

    def all_letters(self) -> Iterable[StoredDeadLetter]:
        return ()

    async def delivery_buckets(
        self, webhook_ids: Sequence[WebhookId], since: datetime, step: timedelta
    ) -> Mapping[WebhookId, Sequence[DeliveryBucket]]:
        return {webhook_id: self._buckets(webhook_id, since, step) for webhook_id in webhook_ids}

    def _buckets(self, webhook_id: WebhookId, since: datetime, step: timedelta) -> list[DeliveryBucket]:
        found: dict[int, Counter[DeliveryStatus]] = {}
        for delivery in self.all_deliveries():
            if delivery.webhook_id == webhook_id and delivery.created_at >= since:
                found.setdefault((delivery.created_at - since) // step, Counter())[delivery.status] += 1
        return [
            DeliveryBucket(
                start=since + index * step,
                delivered=counts[DeliveryStatus.DELIVERED],
                pending=counts[DeliveryStatus.PENDING],
                failed=counts.total() - counts[DeliveryStatus.DELIVERED] - counts[DeliveryStatus.PENDING],
            )
            for index, counts in sorted(found.items())
        ]

    async def delivery_summary(self, delivery_id: DeliveryId) -> Delivery | None:
        return next((delivery for delivery in self.all_deliveries() if delivery.id == delivery_id), None)

    async def find_events(self, event_id: str, account_id: AccountId | None, limit: int) -> Sequence[FoundEvent]:
        events = [event for event in self.all_events() if event.event_id == event_id]
        return _found(events, account_id)[:limit]

    async def find_events_of_call(self, call_id: str, account_id: AccountId | None, limit: int) -> Sequence[FoundEvent]:
        events = [event for event in self.all_events() if event.call_id == call_id]
        return _found(events, account_id)[:limit]

    async def webhooks_at(self, host: str, account_id: AccountId | None, limit: int) -> Sequence[Webhook]:
        found = [
            webhook
            for webhook in self.all_webhooks()
            if urlsplit(webhook.url).netloc.startswith(host) and account_id in (None, webhook.account_id)
        ]
        return sorted(found, key=lambda webhook: webhook.url)[:limit]

    async def failing_webhooks(self, limit: int) -> Sequence[WebhookId]:
        since = {webhook.id: webhook.failing_since for webhook in self.all_webhooks() if webhook.failing_since}
        return sorted(since, key=lambda webhook_id: since[webhook_id])[:limit]

    async def suspended_webhooks(self, limit: int) -> Sequence[WebhookId]:
        since = {webhook.id: webhook.suspension.since for webhook in self.all_webhooks() if webhook.suspension}
        return sorted(since, key=lambda webhook_id: since[webhook_id], reverse=True)[:limit]

    async def dead_letter_summary(self, letter_id: str) -> StoredDeadLetter | None:
        return next((replace(letter, raw=None) for letter in self.all_letters() if letter.id == letter_id), None)

    async def dead_letter_counts(self) -> Sequence[LetterCount]:
        by_reason: dict[str, list[StoredDeadLetter]] = {}
        for letter in self.all_letters():
            by_reason.setdefault(letter.reason, []).append(letter)
        return [
            LetterCount(
                reason=reason,
                total=len(letters),
                open=sum(letter.requeued_at is None for letter in letters),
                newest_at=max(letter.received_at for letter in letters),
            )
            for reason, letters in sorted(by_reason.items())
        ]

    async def pending(self, now: datetime) -> Pending:
        waiting = [delivery for delivery in self.all_deliveries() if delivery.status is DeliveryStatus.PENDING]
        due = [at for delivery in waiting if (at := delivery.next_attempt_at) is not None and at <= now]
        oldest = min(waiting, key=lambda delivery: (delivery.created_at, delivery.id), default=None)
        return Pending(count=len(waiting), due=len(due), due_since=min(due, default=None), oldest=oldest)


def _found(events: Iterable[StoredEvent], account_id: AccountId | None) -> list[FoundEvent]:
    return [
        FoundEvent(
            account_id=event.account_id,
            event_id=event.event_id,
            type=event.type,
            name=event.name,
            call_id=event.call_id,
            received_at=event.received_at,
            is_matched=any(verdict is Verdict.MATCHED for _, verdict in event.trace),
        )
        for event in events
        if account_id in (None, event.account_id)
    ]
