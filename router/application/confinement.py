"""One account's view of what is stored: a reader, a registry and replays that know nothing of the other accounts.

Whatever is asked through them stays inside, so no endpoint can forget it. A port's new method must be written here too,
or the types do not fit.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import replace
from datetime import datetime, timedelta

from router.domain.delivery import Delivery, DeliveryId
from router.domain.edit import EditPlan
from router.domain.errors import OutOfSight
from router.domain.event import AccountId, EventKey, EventType
from router.domain.principal import Principal
from router.domain.replay import ReplayId, ReplayKind
from router.domain.signing import SigningKey
from router.domain.version import ANY, Seen
from router.domain.webhook import Webhook, WebhookId
from router.ports import (
    AuditEntry,
    AuditFilter,
    AuditLog,
    AuditRecord,
    DeliveryBucket,
    DeliveryCounts,
    DeliveryFilter,
    FoundEvent,
    LetterCount,
    Pending,
    PlannedEvent,
    Position,
    Reader,
    Registry,
    Replay,
    ReplayStore,
    StoredAccount,
    StoredDeadLetter,
    StoredEvent,
)


def confined_reader(reader: Reader, principal: Principal) -> Reader:
    """`reader` as the principal may use it."""
    return reader if principal.account_id is None else _AccountReader(reader, principal.account_id)


def confined_registry(registry: Registry, reader: Reader, principal: Principal) -> Registry:
    """`registry` as the principal may use it; `reader` says whose a webhook is."""
    if principal.account_id is None:
        return registry
    return _AccountRegistry(registry, _AccountReader(reader, principal.account_id), principal.account_id)


def confined_replays(replays: ReplayStore, reader: Reader, principal: Principal) -> ReplayStore:
    """`replays` as the principal may use it; `reader` says whose a delivery is."""
    if principal.account_id is None:
        return replays
    return _AccountReplays(replays, _AccountReader(reader, principal.account_id), principal.account_id)


def confined_audit(audit: AuditLog, principal: Principal) -> AuditLog:
    """`audit` as the principal may use it."""
    return audit if principal.account_id is None else _AccountAudit(audit, principal.account_id)


class _AccountReader:
    """Fulfils `Reader` for one account. Objects of others are not there; asking for others as such is OutOfSight."""

    def __init__(self, reader: Reader, account_id: AccountId) -> None:
        self._reader = reader
        self._account_id = account_id

    def _own(self, account_id: AccountId | None) -> AccountId:
        if account_id not in (None, self._account_id):
            raise OutOfSight
        return self._account_id

    async def account(self, account_id: AccountId) -> StoredAccount | None:
        return await self._reader.account(self._own(account_id))

    async def webhook(self, webhook_id: WebhookId) -> Webhook | None:
        return (await self.webhooks_by_id([webhook_id])).get(webhook_id)

    async def webhooks_by_id(self, webhook_ids: Collection[WebhookId]) -> Mapping[WebhookId, Webhook]:
        found = await self._reader.webhooks_by_id(webhook_ids)
        return {webhook.id: webhook for webhook in found.values() if webhook.account_id == self._account_id}

    async def webhooks(
        self, *, account_id: AccountId | None, event_type: EventType | None, after: Position | None, limit: int
    ) -> Sequence[Webhook]:
        return await self._reader.webhooks(
            account_id=self._own(account_id), event_type=event_type, after=after, limit=limit
        )

    async def count_webhooks(self, *, account_id: AccountId | None, event_type: EventType | None) -> int:
        return await self._reader.count_webhooks(account_id=self._own(account_id), event_type=event_type)

    async def delivery_counts(self, webhook_ids: Sequence[WebhookId]) -> Mapping[WebhookId, DeliveryCounts]:
        own = await self.webhooks_by_id(webhook_ids)
        counts = await self._reader.delivery_counts(list(own))
        return {webhook_id: counts.get(webhook_id, DeliveryCounts()) for webhook_id in webhook_ids}

    async def delivery(self, delivery_id: DeliveryId) -> tuple[Delivery, bytes | None] | None:
        found = await self._reader.delivery(delivery_id)
        return found if found is not None and found[0].account_id == self._account_id else None

    async def deliveries(self, where: DeliveryFilter, *, after: Position | None, limit: int) -> Sequence[Delivery]:
        return await self._reader.deliveries(self._narrowed(where), after=after, limit=limit)

    async def count_deliveries(self, where: DeliveryFilter) -> int:
        return await self._reader.count_deliveries(self._narrowed(where))

    def _narrowed(self, where: DeliveryFilter) -> DeliveryFilter:
        return replace(where, account_id=self._own(where.account_id))

    async def event(self, account_id: AccountId, event_id: str, *, with_payload: bool = True) -> StoredEvent | None:
        return await self._reader.event(self._own(account_id), event_id, with_payload=with_payload)

    async def events_of_call(
        self, account_id: AccountId, call_id: str, limit: int, *, with_payload: bool = True
    ) -> Sequence[StoredEvent]:
        return await self._reader.events_of_call(self._own(account_id), call_id, limit, with_payload=with_payload)

    async def deliveries_of_events(self, events: Sequence[StoredEvent]) -> Mapping[EventKey, Sequence[Delivery]]:
        own = [event for event in events if event.account_id == self._account_id]
        found = await self._reader.deliveries_of_events(own)
        return {event.key: found.get(event.key, ()) for event in events}

    # --- the overview ---

    async def delivery_buckets(
        self, webhook_ids: Sequence[WebhookId], since: datetime, step: timedelta
    ) -> Mapping[WebhookId, Sequence[DeliveryBucket]]:
        own = await self.webhooks_by_id(webhook_ids)
        buckets = await self._reader.delivery_buckets(list(own), since, step)
        return {webhook_id: buckets.get(webhook_id, ()) for webhook_id in webhook_ids}

    async def delivery_summary(self, delivery_id: DeliveryId) -> Delivery | None:
        found = await self._reader.delivery_summary(delivery_id)
        return found if found is not None and found.account_id == self._account_id else None

    async def find_events(self, event_id: str, account_id: AccountId | None, limit: int) -> Sequence[FoundEvent]:
        return await self._reader.find_events(event_id, self._own(account_id), limit)

    async def find_events_of_call(self, call_id: str, account_id: AccountId | None, limit: int) -> Sequence[FoundEvent]:
        return await self._reader.find_events_of_call(call_id, self._own(account_id), limit)

    async def webhooks_at(self, host: str, account_id: AccountId | None, limit: int) -> Sequence[Webhook]:
        return await self._reader.webhooks_at(host, self._own(account_id), limit)

    # What is told of the router as a whole is for those who run it.

    async def failing_webhooks(self, limit: int) -> Sequence[WebhookId]:
        raise OutOfSight

    async def suspended_webhooks(self, limit: int) -> Sequence[WebhookId]:
        raise OutOfSight

    async def pending(self, now: datetime) -> Pending:
        raise OutOfSight

    # Dead letters belong to no account: nobody could read whose they are.

    async def dead_letter_summary(self, letter_id: str) -> StoredDeadLetter | None:
        raise OutOfSight

    async def dead_letter_counts(self) -> Sequence[LetterCount]:
        raise OutOfSight

    async def dead_letters(self, *, after: Position | None, limit: int) -> Sequence[StoredDeadLetter]:
        raise OutOfSight

    async def count_dead_letters(self) -> int:
        raise OutOfSight

    async def dead_letter(self, letter_id: str) -> StoredDeadLetter | None:
        raise OutOfSight


class _AccountRegistry:
    """Fulfils `Registry` for one account. Webhooks of others are not there; writing for others is OutOfSight."""

    def __init__(self, registry: Registry, reader: _AccountReader, account_id: AccountId) -> None:
        self._registry = registry
        self._reader = reader
        self._account_id = account_id

    async def _is_own(self, webhook_id: WebhookId) -> bool:
        return await self._reader.webhook(webhook_id) is not None

    async def set_account(self, account_id: AccountId, *, webhooks_enabled: bool) -> None:
        if account_id != self._account_id:
            raise OutOfSight
        await self._registry.set_account(account_id, webhooks_enabled=webhooks_enabled)

    async def add_webhook(self, webhook: Webhook, secret: str | None) -> str:
        if webhook.account_id != self._account_id:
            raise OutOfSight
        return await self._registry.add_webhook(webhook, secret)

    async def edit_webhook(self, plan: EditPlan, *, at: datetime) -> bool:
        # Nobody moves a webhook to another account in this way, and what is stored is what the plan was made for.
        return plan.before.account_id == self._account_id and await self._registry.edit_webhook(plan, at=at)

    async def unsuspend(self, webhook_id: WebhookId) -> bool:
        return await self._is_own(webhook_id) and await self._registry.unsuspend(webhook_id)

    async def delete_webhook(self, webhook_id: WebhookId, *, seen: Seen = ANY) -> bool:
        return await self._is_own(webhook_id) and await self._registry.delete_webhook(webhook_id, seen=seen)

    async def rotate_secret(
        self, webhook_id: WebhookId, secret: str, *, at: datetime, overlap: timedelta, seen: Seen = ANY
    ) -> bool:
        return await self._is_own(webhook_id) and await self._registry.rotate_secret(
            webhook_id, secret, at=at, overlap=overlap, seen=seen
        )

    async def set_signing_key(self, webhook_id: WebhookId, key: SigningKey, *, at: datetime, seen: Seen = ANY) -> bool:
        return await self._is_own(webhook_id) and await self._registry.set_signing_key(
            webhook_id, key, at=at, seen=seen
        )

    async def mark_requeued(self, letter_id: str, at: datetime) -> None:
        raise OutOfSight


class _AccountReplays:
    """Fulfils `ReplayStore` for one account. Replays and deliveries of others are not there, and neither are those of
    no single account."""

    def __init__(self, replays: ReplayStore, reader: _AccountReader, account_id: AccountId) -> None:
        self._replays = replays
        self._reader = reader
        self._account_id = account_id

    def _own(self, account_id: AccountId | None) -> AccountId:
        if account_id != self._account_id:
            raise OutOfSight
        return self._account_id

    async def replay_delivery(self, delivery_id: DeliveryId, at: datetime) -> bool:
        is_own = await self._reader.delivery(delivery_id) is not None
        return is_own and await self._replays.replay_delivery(delivery_id, at)

    async def add_test(self, planned: PlannedEvent, at: datetime) -> DeliveryId:
        self._own(planned.event.account_id)
        return await self._replays.add_test(planned, at)

    async def count_matching(self, kind: ReplayKind, where: DeliveryFilter, limit: int, at: datetime) -> int:
        self._own(where.account_id)
        return await self._replays.count_matching(kind, where, limit, at)

    async def count_running(self, account_id: AccountId | None, limit: int) -> int:
        return await self._replays.count_running(self._own(account_id), limit)

    async def add(self, replay: Replay) -> None:
        self._own(replay.where.account_id)
        await self._replays.add(replay)

    async def replay(self, replay_id: ReplayId) -> Replay | None:
        found = await self._replays.replay(replay_id)
        return found if found is not None and found.where.account_id == self._account_id else None

    async def replays(self, *, account_id: AccountId | None, after: Position | None, limit: int) -> Sequence[Replay]:
        return await self._replays.replays(account_id=self._narrowed(account_id), after=after, limit=limit)

    async def count_replays(self, *, account_id: AccountId | None) -> int:
        return await self._replays.count_replays(account_id=self._narrowed(account_id))

    def _narrowed(self, account_id: AccountId | None) -> AccountId:
        return self._own(account_id or self._account_id)

    async def cancel_replay(self, replay_id: ReplayId, at: datetime) -> bool:
        return await self.replay(replay_id) is not None and await self._replays.cancel_replay(replay_id, at)


class _AccountAudit:
    """Fulfils `AuditLog` for one account. An entry goes before its act, so one for others says that the act is."""

    def __init__(self, audit: AuditLog, account_id: AccountId) -> None:
        self._audit = audit
        self._account_id = account_id

    async def write(self, entry: AuditEntry) -> None:
        if entry.account_id != self._account_id:
            raise OutOfSight
        await self._audit.write(entry)

    async def entries(self, where: AuditFilter, *, after: Position | None, limit: int) -> Sequence[AuditRecord]:
        return await self._audit.entries(self._narrowed(where), after=after, limit=limit)

    async def count_entries(self, where: AuditFilter) -> int:
        return await self._audit.count_entries(self._narrowed(where))

    def _narrowed(self, where: AuditFilter) -> AuditFilter:
        if where.account_id not in (None, self._account_id):
            raise OutOfSight
        return replace(where, account_id=self._account_id)
