"""In-memory stand-ins for the delivering side that keep the contracts of their ports. Touch nothing."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Collection, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta

from router.application.budget import RetryBudget
from router.application.circuits import Circuits
from router.domain.announcement import WebhookAnnouncement
from router.domain.delivery import Claim, DeliveryId, delivery_id
from router.domain.event import AccountId, Event, EventKey, EventType
from router.domain.lease import LEASE
from router.domain.matching import Verdict
from router.domain.outcome import Answer, SendResult
from router.domain.signing import Secret
from router.domain.webhook import Suspension, Webhook, WebhookId
from router.ports import (
    Claimed,
    DeadLetter,
    DefinitionChange,
    DefinitionSnapshot,
    Draft,
    Due,
    Intake,
    OutgoingRequest,
    PlannedDelivery,
    PlannedEvent,
    Ration,
    Rest,
    Result,
)

NOW = datetime(2031, 1, 1, 12, tzinfo=UTC)
ACCOUNT = AccountId("1042")


def claim(
    identity: str = "dlv_1",
    *,
    webhook: str = "wh_1",
    account: AccountId = ACCOUNT,
    event_type: EventType = EventType.CDR,
    attempt_count: int = 0,
    not_after: datetime | None = None,
) -> Claim:
    return Claim(
        delivery_id=DeliveryId(identity),
        event_key=EventKey("ev_1"),
        fence=1,
        account_id=account,
        webhook_id=WebhookId(webhook),
        event_id="evt_1",
        event_type=event_type,
        received_at=NOW,
        attempt_count=attempt_count,
        not_after=not_after,
        payload=b"{}",
    )


def webhook(
    identity: str = "wh_1",
    *,
    account: AccountId = ACCOUNT,
    event_type: EventType = EventType.CDR,
    enabled: bool = True,
    suspension: Suspension | None = None,
    failing_since: datetime | None = None,
    recovering_from: Suspension | None = None,
    problem: str | None = None,
    url: str = "https://crm.example/hook",
    secrets: tuple[bytes, ...] = (),
) -> Webhook:
    return Webhook(
        id=WebhookId(identity),
        account_id=account,
        name="CRM",
        url=url,
        event_type=event_type,
        enabled=enabled,
        secrets=tuple(map(Secret, secrets)),
        problem=problem,
        suspension=suspension,
        failing_since=failing_since,
        recovering_from=recovering_from,
    )


def snapshot(*webhooks: Webhook, enabled: bool = True) -> DefinitionSnapshot:
    accounts = frozenset({ACCOUNT}) if enabled else frozenset[AccountId]()
    return DefinitionSnapshot(enabled_accounts=accounts, webhooks={each.id: each for each in webhooks})


class FakeClock:
    """`ports.Clock` that a test moves; sleeping moves it too."""

    def __init__(self) -> None:
        self.moment = NOW

    def now(self) -> datetime:
        return self.moment

    def wall(self) -> float:
        return self.moment.timestamp()

    async def sleep(self, seconds: float) -> None:
        self.moment += timedelta(seconds=seconds)
        await asyncio.sleep(0)


@dataclass
class FakeDeliveries:
    """`ports.DeliveryStore` that remembers what it was told. `refuses` names events that it cannot store."""

    refuses: set[str] = field(default_factory=set)
    refuses_deliveries: set[DeliveryId] = field(default_factory=set)
    known: set[str] = field(default_factory=set)
    admitted: list[PlannedEvent] = field(default_factory=list)
    found: set[DeliveryId] = field(default_factory=set)
    """Deliveries that somebody else has inserted."""
    inserted: list[Draft] = field(default_factory=list)
    due: list[Claim] = field(default_factory=list)
    recorded: list[Result] = field(default_factory=list)
    lost: set[DeliveryId] = field(default_factory=set)
    held: list[Rest] = field(default_factory=list)
    put_off: list[Rest] = field(default_factory=list)
    woken: list[WebhookId | None] = field(default_factory=list)
    cancelled: list[WebhookId] = field(default_factory=list)
    renewed: list[Claim] = field(default_factory=list)
    taken_over: set[DeliveryId] = field(default_factory=set)
    """Deliveries that somebody else ended or claimed."""
    log: list[str] = field(default_factory=list)

    async def admit(self, planned: Sequence[PlannedEvent]) -> Sequence[Draft]:
        self.log.append("admit")
        if any(plan.event.event_id in self.refuses for plan in planned):
            raise ValueError("this event cannot be stored")
        self.admitted += planned
        fresh = [plan for plan in planned if plan.event.event_id not in self.known]
        self.known.update(plan.event.event_id for plan in planned)
        return [draft(plan, delivery) for plan in fresh for delivery in plan.deliveries]

    async def insert(self, drafts: Sequence[Draft], results: Mapping[DeliveryId, Result]) -> Collection[DeliveryId]:
        self.log.append("insert")
        if any(each.claim.delivery_id in self.refuses_deliveries for each in drafts):
            raise ValueError("this delivery cannot be stored")
        ids = [each.claim.delivery_id for each in drafts]
        found = self.found.intersection(ids)
        self.inserted += [each for each in drafts if each.claim.delivery_id not in found]
        self.recorded += [results[each] for each in ids if each in results and each not in found]
        return found

    async def claim(
        self, limit: int, *, except_for: Collection[WebhookId], ration: Callable[[Due], Ration | None]
    ) -> Claimed:
        found = [each for each in self.due if each.webhook_id not in except_for][:limit]
        taken: list[Claim] = []
        for each in found:
            due = Due(webhook_id=each.webhook_id, account_id=each.account_id, event_type=each.event_type)
            limited = ration(due)
            if limited is None or sum(other.webhook_id == each.webhook_id for other in taken) < limited.places:
                taken.append(each)
            else:
                self.put_off.append(Rest(claim=each, until=limited.until))
        self.due = [each for each in self.due if each not in found]
        return Claimed(claims=taken, drained=len(found) < limit)

    async def record(self, results: Sequence[Result]) -> Sequence[Result]:
        self.recorded += results
        return [result for result in results if result.claim.delivery_id in self.lost]

    async def renew(self, claims: Sequence[Claim]) -> Sequence[Claim]:
        held = [claim for claim in claims if claim.delivery_id not in self.taken_over]
        self.renewed += held
        return held

    async def release(self, claims: Sequence[Claim]) -> None:
        self.due += claims

    async def hold(self, rests: Sequence[Rest]) -> None:
        self.held += rests

    async def wake(self, webhook_id: WebhookId | None) -> int:
        self.woken.append(webhook_id)
        return 1

    async def cancel(self, webhook_id: WebhookId) -> int:
        self.cancelled.append(webhook_id)
        return 1


def draft(plan: PlannedEvent, delivery: PlannedDelivery) -> Draft:
    """A delivery that is not stored yet, by a worker whose lease has just begun."""
    claim = _claim_of(plan.event, delivery.webhook_id)
    return Draft(plan=plan, delivery=delivery, claim=claim, lease_until=NOW + LEASE)


def cdr(event_id: str = "evt_1") -> Event:
    """An event of the account, with nothing in it."""
    return Event(
        account_id=ACCOUNT,
        event_id=event_id,
        type=EventType.CDR,
        name=None,
        occurred_at=NOW,
        received_at=NOW,
        call_id=None,
        sequence=None,
        tracking_number=None,
        user_id=None,
        number_keys=(),
        payload=b"{}",
        source="cdr",
    )


def draft_of(
    identity: str, *, webhook: str = "wh_1", leased: bool = True, rests_until: datetime | None = None
) -> Draft:
    """The draft of the delivery of this name."""
    planned = PlannedDelivery(
        webhook_id=WebhookId(webhook), url="https://crm.example/", leased=leased, rests_until=rests_until
    )
    plan = PlannedEvent(
        event=cdr(),
        born_at=NOW,
        not_after=None,
        account_enabled=True,
        trace=[(planned.webhook_id, Verdict.MATCHED)],
        deliveries=[planned],
    )
    return Draft(plan=plan, delivery=planned, claim=claim(identity, webhook=webhook), lease_until=NOW + LEASE)


def _claim_of(event: Event, webhook_id: WebhookId) -> Claim:
    return Claim(
        delivery_id=delivery_id(event.key, webhook_id),
        event_key=event.key,
        fence=1,
        account_id=event.account_id,
        webhook_id=webhook_id,
        event_id=event.event_id,
        event_type=event.type,
        received_at=event.received_at,
        attempt_count=0,
        not_after=None,
        payload=event.payload,
    )


@dataclass
class FakeDeadLetters:
    """`ports.DeadLetterStore`."""

    letters: list[DeadLetter] = field(default_factory=list)

    async def bury(self, letters: Sequence[DeadLetter]) -> None:
        self.letters += letters


@dataclass
class FakeDefinitions:
    """`ports.DefinitionStore`: tells `news`, and remembers what the router made of the health of webhooks."""

    stored: dict[WebhookId, Webhook] = field(default_factory=dict)
    news: list[DefinitionSnapshot | Sequence[DefinitionChange]] = field(default_factory=list)
    suspended: list[tuple[WebhookId, Suspension]] = field(default_factory=list)
    failing: list[tuple[WebhookId, datetime]] = field(default_factory=list)
    healthy: list[WebhookId] = field(default_factory=list)
    announced: list[WebhookAnnouncement] = field(default_factory=list)

    async def follow(self) -> AsyncIterator[DefinitionSnapshot | Sequence[DefinitionChange]]:
        for item in self.news:
            yield item

    async def fetch(self, webhook_id: WebhookId) -> Webhook | None:
        return self.stored.get(webhook_id)

    async def suspend(
        self, webhook_id: WebhookId, suspension: Suspension, announcement: WebhookAnnouncement | None = None
    ) -> None:
        self.suspended.append((webhook_id, suspension))
        self.announced += [announcement] if announcement else []

    async def mark_failing(self, webhook_id: WebhookId, since: datetime) -> None:
        self.failing.append((webhook_id, since))

    async def mark_healthy(self, webhook_id: WebhookId, announcement: WebhookAnnouncement | None = None) -> None:
        self.healthy.append(webhook_id)
        self.announced += [announcement] if announcement else []


@dataclass
class FakeSender:
    """`ports.Sender` that gives the same answer to everybody."""

    answer: SendResult = field(default_factory=lambda: Answer(status_code=200, body=b"ok", truncated=False))
    requests: list[OutgoingRequest] = field(default_factory=list)

    async def send(self, request: OutgoingRequest) -> SendResult:
        self.requests.append(request)
        return self.answer


@dataclass
class FakeSource:
    """`ports.Source` with batches prepared beforehand. `log` is shared to see the order of store and ack."""

    batches: list[list[Intake]]
    log: list[str] = field(default_factory=list)
    settled: list[Intake] = field(default_factory=list)

    async def arrival(self) -> bool:
        return bool(self.batches)

    async def take(self, limit: int) -> Sequence[Intake]:
        return self.batches.pop(0) if self.batches else []

    async def settle(self, taken: Sequence[Intake]) -> None:
        self.log.append("settle")
        self.settled += taken


def circuits(clock: FakeClock | None = None, *, open_after: timedelta = timedelta(minutes=1)) -> Circuits:
    """Circuits on the longest waits."""
    return Circuits(clock or FakeClock(), no_jitter, open_after)


def make_budget(*, has_backlog: bool = False, is_behind: bool = False) -> RetryBudget:
    return RetryBudget(has_backlog=lambda: has_backlog, is_store_behind=lambda: is_behind)


def no_jitter() -> float:
    """The draw that makes every wait the longest."""
    return 1.0 - 2**-53
