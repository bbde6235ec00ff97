"""The store and the broker in memory, as far as managing needs them. They keep the ports' contracts: the suite in
tests/integration/test_registry.py runs on this store and on the real one.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Collection, Mapping, Sequence
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from dataclasses import dataclass, field, fields, replace
from datetime import UTC, datetime, timedelta
from hashlib import sha256
from typing import Any

from router.application.audit import Auditor
from router.domain.delivery import Delivery, DeliveryId, DeliveryStatus
from router.domain.edit import EditPlan
from router.domain.errors import DependencyUnavailable, InvalidInput
from router.domain.event import AccountId, EventKey, EventType
from router.domain.replay import ReplayId
from router.domain.signing import Secret, SecretEntry, SigningKey, format_secret, parse_secret, rotate
from router.domain.subject import Subject
from router.domain.token import Token, TokenId
from router.domain.version import ANY, Seen, check_seen
from router.domain.webhook import Suspension, Webhook, WebhookId
from router.ports import (
    UNDATED,
    AuditEntry,
    AuditFilter,
    AuditRecord,
    AuditTrail,
    DeliveryCounts,
    DeliveryFilter,
    Erased,
    Mention,
    MessageProperties,
    Position,
    RawMessage,
    Replay,
    Resealing,
    RestrictedWebhook,
    SecretCounts,
    StoredAccount,
    StoredDeadLetter,
    StoredEvent,
)
from tests.support.fakes_overview import FakeOverview
from tests.support.fakes_replay import FakeReplays
from tests.support.fakes_schema import FakeSchema

NOW = datetime(2025, 3, 11, 9, 14, 7, tzinfo=UTC)


@dataclass
class FakeAudit:
    """`ports.AuditLog` in memory. `is_away` lets nothing be written."""

    written: list[AuditEntry] = field(default_factory=list)
    is_away: bool = False

    async def write(self, entry: AuditEntry) -> None:
        if self.is_away:
            raise DependencyUnavailable("MongoDB did not write the audit trail")
        self.written.append(entry)

    async def entries(self, where: AuditFilter, *, after: Position | None, limit: int) -> Sequence[AuditRecord]:
        records = [AuditRecord(id=f"au_{number:04}", entry=entry) for number, entry in enumerate(self.written)]
        found = [record for record in records if _is_wanted(record.entry, where)]
        found.sort(key=lambda record: (record.entry.at, record.id), reverse=True)
        return [record for record in found if _is_after((record.entry.at, record.id), after)][:limit]

    async def count_entries(self, where: AuditFilter) -> int:
        return sum(_is_wanted(entry, where) for entry in self.written)

    @property
    def actions(self) -> list[tuple[str, str | None, str | None]]:
        """What was done, to which account and to what."""
        return [(entry.action, entry.account_id, entry.target) for entry in self.written]


def _is_wanted(entry: AuditEntry, where: AuditFilter) -> bool:
    return (
        where.account_id in (None, entry.account_id)
        and where.action in (None, entry.action)
        and (where.from_ is None or where.from_ <= entry.at)
        and (where.to is None or entry.at < where.to)
    )


def auditor(trail: AuditTrail | None = None) -> Auditor:
    """Writes into `trail`, or where nobody looks."""
    return Auditor(trail=trail or FakeAudit(), actor="cli:tests", now=lambda: NOW)


class FakePrivacy:
    """`ports.PrivacyStore` over a store that holds nothing about anybody."""

    mentions: Sequence[Mention] = ()
    letters: Sequence[str] = ()
    webhooks: Sequence[RestrictedWebhook] = ()
    asked: Sequence[Replay] = ()

    async def mentions_by_key(self, subject: Subject, account_id: AccountId | None) -> AsyncIterator[Mention]:
        for mention in self.mentions:
            yield mention

    async def mentions_in_events(self, subject: Subject, account_id: AccountId | None) -> AsyncIterator[Mention]:
        for mention in self.mentions:
            yield mention

    async def dead_letters(self, subject: Subject) -> AsyncIterator[str]:
        for letter_id in self.letters:
            yield letter_id

    async def restrictions(self, subject: Subject, account_id: AccountId | None) -> AsyncIterator[RestrictedWebhook]:
        for webhook in self.webhooks:
            yield webhook

    async def replays(self, subject: Subject, account_id: AccountId | None) -> AsyncIterator[Replay]:
        for replay in self.asked:
            yield replay

    async def erase_event(self, mention: Mention, at: datetime) -> Erased:
        raise AssertionError("nothing is held")

    async def erase_dead_letter(self, letter_id: str) -> None:
        raise AssertionError("nothing is held")

    async def erase_replay(self, replay_id: ReplayId, at: datetime) -> None:
        raise AssertionError("nothing is held")


@dataclass
class FakeSecretStore:
    """Secrets of webhooks with one value each: the id of the key that it is sealed with, None for a plain one."""

    key_ids: Sequence[str] = ()
    sealed_with: list[str | None] = field(default_factory=list)
    breaks_after: int | None = None
    """Webhooks that are sealed before the store goes away."""

    async def count(self) -> SecretCounts:
        by_key = {key_id: self.sealed_with.count(key_id) for key_id in self.sealed_with if key_id is not None}
        unopened = sum(count for key_id, count in by_key.items() if key_id not in self.key_ids)
        return SecretCounts(by_key=by_key, plain=self.sealed_with.count(None), unopened=unopened)

    async def reseal_all(self) -> AsyncIterator[Resealing]:
        done = Resealing()
        for index, key_id in enumerate(self.sealed_with):
            if done.sealed == self.breaks_after:
                raise DependencyUnavailable("MongoDB did not answer (AutoReconnect)")
            if key_id in (None, *self.key_ids[1:]):
                self.sealed_with[index] = self.key_ids[0]
                done += Resealing(sealed=1)
                yield done


@dataclass
class FakeStore:
    """Everything that is stored. `reader` and `registry` look at the same."""

    accounts: dict[AccountId, bool] = field(default_factory=dict)
    definitions: dict[WebhookId, Webhook] = field(default_factory=dict)
    secrets: dict[WebhookId, str | None] = field(default_factory=dict)
    suspensions: dict[WebhookId, Suspension] = field(default_factory=dict)
    failing: dict[WebhookId, datetime] = field(default_factory=dict)
    lifted: dict[WebhookId, Suspension] = field(default_factory=dict)
    log: list[tuple[Delivery, bytes | None]] = field(default_factory=list)
    number_keys: dict[DeliveryId, tuple[str, ...]] = field(default_factory=dict)
    letters: dict[str, StoredDeadLetter] = field(default_factory=dict)
    secret_store: FakeSecretStore = field(default_factory=FakeSecretStore, compare=False)
    kept_tokens: dict[TokenId, Token] = field(default_factory=dict)
    time: datetime = NOW
    trail: FakeAudit = field(default_factory=FakeAudit)
    schema: FakeSchema = field(default_factory=FakeSchema)
    replays: FakeReplays = field(init=False)

    def __post_init__(self) -> None:
        self.replays = FakeReplays(self.log, self.reader.matches)

    @property
    def audit(self) -> FakeAudit:
        return self.trail

    @property
    def privacy(self) -> FakePrivacy:
        return FakePrivacy()

    @property
    def reader(self) -> FakeReader:
        return FakeReader(self)

    @property
    def registry(self) -> FakeRegistry:
        return FakeRegistry(self)

    @property
    def tokens(self) -> FakeTokens:
        return FakeTokens(self)

    def now(self) -> datetime:
        return self.time

    def opener(self) -> AbstractAsyncContextManager[FakeStore]:
        """Like bootstrap's `open_store`."""

        @asynccontextmanager
        async def opened() -> AsyncIterator[FakeStore]:
            yield self

        return opened()


def version(webhook: Webhook) -> str:
    """A digest of what is stored of a webhook, secrets included."""
    keys = [secret.key for secret in webhook.secrets], webhook.signing_key and webhook.signing_key.seed
    credentials = [vars_of(part) for part in (webhook.auth, webhook.client_certificate) if part is not None]
    return sha256(repr((webhook, webhook.headers, keys, credentials)).encode()).hexdigest()[:32]


def vars_of(part: Any) -> dict[str, Any]:
    return {each.name: getattr(part, each.name) for each in fields(part)}


class FakeRegistry:
    def __init__(self, store: FakeStore) -> None:
        self._store = store

    async def set_account(self, account_id: AccountId, *, webhooks_enabled: bool) -> None:
        self._store.accounts[account_id] = webhooks_enabled

    async def add_webhook(self, webhook: Webhook, secret: str | None) -> str:
        if self._store.definitions.get(webhook.id, webhook) != webhook:
            raise InvalidInput("id", f"{webhook.id} is taken by another webhook")
        self._store.definitions[webhook.id] = webhook
        self._store.secrets[webhook.id] = secret
        self._forget(webhook.id)
        return version(webhook)

    async def edit_webhook(self, plan: EditPlan, *, at: datetime) -> bool:
        stored = self._store.definitions.get(plan.before.id)
        if stored is None or version(stored) != plan.before.version:
            return False
        attributes = {"restrict_to": "restriction"}
        names = [attributes.get(name, name) for name in plan.changed]
        changes: dict[str, Any] = {name: getattr(plan.after, name) for name in names}
        self._store.definitions[stored.id] = replace(stored, **changes, updated_at=at)
        return True

    async def rotate_secret(
        self, webhook_id: WebhookId, secret: str, *, at: datetime, overlap: timedelta, seen: Seen = ANY
    ) -> bool:
        webhook = self._seen(webhook_id, seen)
        if webhook is None:
            return False
        entries = [SecretEntry(format_secret(old.key), old.expires_at) for old in webhook.secrets]
        rotated = rotate(entries, secret, now=at, overlap=overlap)
        secrets = tuple(Secret(parse_secret(entry.value), entry.expires_at) for entry in rotated)
        self._store.definitions[webhook_id] = replace(webhook, secrets=secrets, updated_at=at)
        return True

    async def set_signing_key(self, webhook_id: WebhookId, key: SigningKey, *, at: datetime, seen: Seen = ANY) -> bool:
        webhook = self._seen(webhook_id, seen)
        if webhook is None:
            return False
        self._store.definitions[webhook_id] = replace(webhook, signing_key=key, updated_at=at)
        return True

    def _seen(self, webhook_id: WebhookId, seen: Seen) -> Webhook | None:
        webhook = self._store.definitions.get(webhook_id)
        if webhook is not None:
            check_seen(webhook_id, version(webhook), seen)
        return webhook

    async def unsuspend(self, webhook_id: WebhookId) -> bool:
        suspension = self._store.suspensions.pop(webhook_id, None)
        failing_since = self._store.failing.pop(webhook_id, None)
        if suspension is not None:
            self._store.lifted[webhook_id] = suspension
        return suspension is not None or failing_since is not None

    async def delete_webhook(self, webhook_id: WebhookId, *, seen: Seen = ANY) -> bool:
        self._seen(webhook_id, seen)
        self._forget(webhook_id)
        return self._store.definitions.pop(webhook_id, None) is not None

    async def mark_requeued(self, letter_id: str, at: datetime) -> None:
        letter = self._store.letters.get(letter_id)
        if letter is not None:
            self._store.letters[letter_id] = replace(letter, requeued_at=at)

    def _forget(self, webhook_id: WebhookId) -> None:
        for record in (self._store.suspensions, self._store.failing, self._store.lifted):
            record.pop(webhook_id, None)


class FakeReader(FakeOverview):
    def __init__(self, store: FakeStore) -> None:
        self._store = store

    def all_webhooks(self) -> Collection[Webhook]:
        return [self._with_health(webhook) for webhook in self._store.definitions.values()]

    def all_deliveries(self) -> Collection[Delivery]:
        return [delivery for delivery, _ in self._store.log]

    def all_letters(self) -> Collection[StoredDeadLetter]:
        return self._store.letters.values()

    async def account(self, account_id: AccountId) -> StoredAccount | None:
        enabled = self._store.accounts.get(account_id)
        return None if enabled is None else StoredAccount(id=account_id, webhooks_enabled=enabled)

    async def webhook(self, webhook_id: WebhookId) -> Webhook | None:
        return (await self.webhooks_by_id([webhook_id])).get(webhook_id)

    async def webhooks_by_id(self, webhook_ids: Collection[WebhookId]) -> Mapping[WebhookId, Webhook]:
        return {webhook.id: webhook for webhook in self.all_webhooks() if webhook.id in webhook_ids}

    def _with_health(self, webhook: Webhook) -> Webhook:
        return replace(
            webhook,
            suspension=self._store.suspensions.get(webhook.id),
            failing_since=self._store.failing.get(webhook.id),
            recovering_from=self._store.lifted.get(webhook.id),
            version=version(webhook),
        )

    async def webhooks(
        self, *, account_id: AccountId | None, event_type: EventType | None, after: Position | None, limit: int
    ) -> Sequence[Webhook]:
        found = [
            webhook
            for webhook in (await self.webhooks_by_id(list(self._store.definitions))).values()
            if account_id in (None, webhook.account_id) and event_type in (None, webhook.event_type)
        ]
        place = {webhook.id: (webhook.created_at or UNDATED, str(webhook.id)) for webhook in found}
        found.sort(key=lambda webhook: place[webhook.id], reverse=True)
        return [webhook for webhook in found if _is_after(place[webhook.id], after)][:limit]

    async def count_webhooks(self, *, account_id: AccountId | None, event_type: EventType | None) -> int:
        return len(await self.webhooks(account_id=account_id, event_type=event_type, after=None, limit=10**9))

    async def delivery_counts(self, webhook_ids: Sequence[WebhookId]) -> Mapping[WebhookId, DeliveryCounts]:
        return {webhook_id: self._counts(webhook_id) for webhook_id in webhook_ids}

    def _counts(self, webhook_id: WebhookId) -> DeliveryCounts:
        statuses = [delivery.status for delivery, _ in self._store.log if delivery.webhook_id == webhook_id]
        delivered, pending = statuses.count(DeliveryStatus.DELIVERED), statuses.count(DeliveryStatus.PENDING)
        failed = len(statuses) - delivered - pending
        return DeliveryCounts(total=len(statuses), delivered=delivered, failed=failed, pending=pending)

    async def delivery(self, delivery_id: DeliveryId) -> tuple[Delivery, bytes | None] | None:
        return next((entry for entry in self._store.log if entry[0].id == delivery_id), None)

    async def deliveries(self, where: DeliveryFilter, *, after: Position | None, limit: int) -> Sequence[Delivery]:
        found = [delivery for delivery, _ in self._store.log if self.matches(delivery, where)]
        found.sort(key=lambda delivery: (delivery.created_at, str(delivery.id)), reverse=True)
        return [delivery for delivery in found if _is_after((delivery.created_at, delivery.id), after)][:limit]

    def matches(self, delivery: Delivery, where: DeliveryFilter) -> bool:
        names = ("account_id", "webhook_id", "event_type", "status", "event_id", "call_id", "user_id")
        keys = self._store.number_keys.get(delivery.id, ())
        return (
            all(getattr(where, name) in (None, getattr(delivery, name)) for name in names)
            and (where.number_prefix is None or any(key.startswith(where.number_prefix) for key in keys))
            and (where.from_ is None or where.from_ <= delivery.created_at)
            and (where.to is None or delivery.created_at < where.to)
        )

    async def count_deliveries(self, where: DeliveryFilter) -> int:
        return len(await self.deliveries(where, after=None, limit=10**9))

    async def event(self, account_id: AccountId, event_id: str, *, with_payload: bool = True) -> StoredEvent | None:
        return None

    async def events_of_call(
        self, account_id: AccountId, call_id: str, limit: int, *, with_payload: bool = True
    ) -> Sequence[StoredEvent]:
        return ()

    async def deliveries_of_events(self, events: Sequence[StoredEvent]) -> Mapping[EventKey, Sequence[Delivery]]:
        return {event.key: () for event in events}

    async def dead_letters(self, *, after: Position | None, limit: int) -> Sequence[StoredDeadLetter]:
        found = sorted(self._store.letters.values(), key=lambda letter: (letter.received_at, letter.id), reverse=True)
        listed = [replace(letter, raw=None) for letter in found if _is_after((letter.received_at, letter.id), after)]
        return listed[:limit]

    async def count_dead_letters(self) -> int:
        return len(self._store.letters)

    async def dead_letter(self, letter_id: str) -> StoredDeadLetter | None:
        return self._store.letters.get(letter_id)


class FakeTokens:
    def __init__(self, store: FakeStore) -> None:
        self._kept = store.kept_tokens

    async def add(self, token: Token) -> bool:
        return self._kept.setdefault(token.id, token).digest == token.digest

    async def find(self, token_id: TokenId) -> Token | None:
        return self._kept.get(token_id)

    async def tokens(self, *, account_id: AccountId | None, after: Position | None, limit: int) -> Sequence[Token]:
        found = [token for token in self._kept.values() if account_id in (None, token.account_id)]
        found.sort(key=lambda token: (token.created_at, token.id), reverse=True)
        return [token for token in found if _is_after((token.created_at, token.id), after)][:limit]

    async def count_tokens(self, *, account_id: AccountId | None) -> int:
        return len(await self.tokens(account_id=account_id, after=None, limit=10**9))

    async def revoke(self, token_id: TokenId, at: datetime) -> None:
        token = self._kept.get(token_id)
        if token is not None and token.revoked_at is None:
            self._kept[token_id] = replace(token, revoked_at=at)

    async def note_uses(self, uses: Mapping[TokenId, datetime]) -> None:
        for token_id, at in uses.items():
            token = self._kept.get(token_id)
            if token is not None and (token.last_used_at is None or token.last_used_at <= at - timedelta(minutes=1)):
                self._kept[token_id] = replace(token, last_used_at=at)


def _is_after(place: tuple[datetime, str], after: Position | None) -> bool:
    return after is None or place < (after.at, after.id)


# --- the broker ------------------------------------------------------------------------------------


@dataclass(frozen=True)
class SentMessage:
    exchange: str
    routing_key: str
    body: bytes
    properties: MessageProperties


@dataclass
class FakePublisher:
    """Takes messages to an exchange, or to a queue by the default exchange. `fails` says which one is refused."""

    sent: list[SentMessage] = field(default_factory=list)
    fails_at: int | None = None

    async def publish(self, *, exchange: str, routing_key: str, body: bytes, properties: MessageProperties) -> None:
        if self.fails_at == len(self.sent):
            raise DependencyUnavailable("RabbitMQ cannot be reached")
        self.sent.append(SentMessage(exchange, routing_key, body, properties))

    def opener(self) -> AbstractAsyncContextManager[FakePublisher]:
        """Like bootstrap's `open_publisher`."""

        @asynccontextmanager
        async def opened() -> AsyncIterator[FakePublisher]:
            yield self

        return opened()


# --- things to store -------------------------------------------------------------------------------


def dead_letter(
    identity: str,
    *,
    body: bytes = b"not json",
    source: str = "call",
    reason: str = "not_json",
    received_at: datetime = NOW,
    requeued_at: datetime | None = None,
) -> StoredDeadLetter:
    properties = MessageProperties(content_type="application/json", message_id="m-1", headers={"schema": "1"})
    raw = RawMessage(
        body=body,
        source=source,
        exchange="call",
        routing_key="call.received",
        properties=properties,
        received_at=received_at,
        redelivered=False,
    )
    return StoredDeadLetter(
        id=identity,
        received_at=received_at,
        source=source,
        exchange=raw.exchange,
        routing_key=raw.routing_key,
        reason=reason,
        detail="no value at character 1",
        size=len(body),
        content_type=properties.content_type,
        head=body[:200].decode("utf-8", "replace"),
        requeued_at=requeued_at,
        raw=raw,
    )


def delivery(identity: str, **changes: object) -> Delivery:
    """A delivered one; `changes` are fields that differ."""
    usual = Delivery(
        id=DeliveryId(identity),
        account_id=AccountId("1042"),
        webhook_id=WebhookId("wh_crm"),
        event_id="evt_1",
        event_type=EventType.CALL,
        event_name="call.received",
        call_id="c-1",
        user_id=None,
        status=DeliveryStatus.DELIVERED,
        reason=None,
        url="https://crm.example.com/hook?token=hush",
        attempt_count=0,
        attempts=(),
        next_attempt_at=None,
        created_at=NOW,
        completed_at=NOW,
    )
    return replace(usual, **changes)  # type: ignore[arg-type]  # by name, checked by the dataclass
