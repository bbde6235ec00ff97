"""What the delivering side calls: time, events in, definitions, deliveries, HTTP out. Types only."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable, Collection, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Final, Protocol

from router.domain.announcement import WebhookAnnouncement
from router.domain.credentials import ClientCertificate, OAuth2Auth
from router.domain.delivery import Attempt, Claim, DeliveryId
from router.domain.event import AccountId, Event, EventType, Rejection
from router.domain.matching import Verdict
from router.domain.outcome import SendResult
from router.domain.retry import Again, End
from router.domain.webhook import Suspension, Webhook, WebhookId

# --- time ------------------------------------------------------------------------------------------


class Clock(Protocol):
    """Time as the store sees it: leases and schedules are compared on one clock, whatever this host's says."""

    def now(self) -> datetime:
        """The store's time, UTC, to the millisecond."""

    def wall(self) -> float:
        """This host's unix seconds; what signatures carry."""

    async def sleep(self, seconds: float) -> None: ...


# --- events in -------------------------------------------------------------------------------------


EXCHANGE_HEADER: Final = "x-webhook-router-exchange"
ROUTING_KEY_HEADER: Final = "x-webhook-router-routing-key"
"""Where a requeued message first came from: it goes straight to its queue, and what reads these must not notice."""


@dataclass(frozen=True, slots=True, kw_only=True)
class MessageProperties:
    """The AMQP properties that decoding may use. Headers keep their scalar values only."""

    content_type: str | None = None
    content_encoding: str | None = None
    message_id: str | None = None
    type: str | None = None
    timestamp: datetime | None = None
    headers: Mapping[str, str | int | bool] = field(default_factory=dict)


@dataclass(frozen=True, slots=True, kw_only=True)
class RawMessage:
    """The bytes of a message and where they came from, enough to publish it again."""

    body: bytes
    source: str
    exchange: str
    routing_key: str
    properties: MessageProperties
    received_at: datetime
    redelivered: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class Intake:
    """One message taken from the broker: understood or rejected. `born_at` is the event's time on our clock."""

    content: Event | Rejection
    raw: RawMessage
    born_at: datetime
    tag: object
    """The source's own handle for `Source.settle`."""


class Source(Protocol):
    """Where events come from. Nothing is taken from the broker for good before `settle`."""

    async def arrival(self) -> bool:
        """True once there is something to take, False once nothing will come any more."""

    async def take(self, limit: int) -> Sequence[Intake]:
        """What has arrived, in order, at most `limit`, without waiting: it may be gone with its connection."""

    async def settle(self, taken: Sequence[Intake]) -> None:
        """Acknowledge whole batches in the order in which `take` returned them, after what they caused is durable. A
        channel that is gone is no error: its messages come again."""


class PublisherClockStore(Protocol):
    """What was measured of each source's publisher, kept over restarts: what to add to its times to get ours."""

    async def load(self) -> Mapping[str, timedelta]:
        """The error of each source's publisher, by the source's name."""

    async def save(self, errors: Mapping[str, timedelta], measured_at: datetime) -> None:
        """Replace the errors of these sources; others stay. To the millisecond."""


# --- definitions -----------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True, kw_only=True)
class DefinitionChange:
    """What the store says now about one account or one webhook; None: it is gone."""

    account_id: AccountId | None = None
    webhooks_enabled: bool | None = None
    webhook_id: WebhookId | None = None
    webhook: Webhook | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class DefinitionSnapshot:
    """Every definition at one moment."""

    enabled_accounts: frozenset[AccountId]
    webhooks: Mapping[WebhookId, Webhook]


class DefinitionStore(Protocol):
    """The definitions that the platform's back office writes, and the router's own suspensions beside them."""

    def follow(self) -> AsyncIterator[DefinitionSnapshot | Sequence[DefinitionChange]]:
        """First a snapshot, then batches of changes within the contract's bound; a new snapshot whenever
        history was lost. Goes on through outages of the store; ends only with its task."""

    async def fetch(self, webhook_id: WebhookId) -> Webhook | None:
        """One webhook as it is in the store now, for when memory may be behind."""

    async def suspend(
        self, webhook_id: WebhookId, suspension: Suspension, announcement: WebhookAnnouncement | None = None
    ) -> None:
        """Stop sending; a suspension that stands stays as it is. `announcement` goes into the outbox together with
        this one, and only if it is the first."""

    async def mark_failing(self, webhook_id: WebhookId, since: datetime) -> None:
        """Remember the first failure after a success; an earlier one that is stored stays."""

    async def mark_healthy(self, webhook_id: WebhookId, announcement: WebhookAnnouncement | None = None) -> None:
        """Forget failures, and that it was suspended before. `announcement` goes into the outbox if what it says to
        be over is still stored, so that of several workers that see the success one announces it."""


# --- deliveries, the writing side ------------------------------------------------------------------


@dataclass(frozen=True, slots=True, kw_only=True)
class PlannedDelivery:
    """A delivery to be stored. `leased` says that this worker attempts it as soon as its event is durable;
    otherwise any worker finds it, at once or after `rests_until`. `ended` is set where it is over before any attempt.
    """

    webhook_id: WebhookId
    url: str
    leased: bool
    rests_until: datetime | None = None
    ended: End | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class PlannedEvent:
    """An event with the verdict on every webhook of its account and the deliveries that follow.

    `not_after` is when it is too old to be sent; None where its type does not age.
    """

    event: Event
    born_at: datetime
    not_after: datetime | None
    account_enabled: bool
    trace: Sequence[tuple[WebhookId, Verdict]]
    deliveries: Sequence[PlannedDelivery]
    trace_parent: str | None = None
    """What the attempts go under, where the event is traced (`ports.Tracing`)."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Draft:
    """A delivery that the store does not have yet, of an event that it has. `claim` is what it is attempted under where
    it is leased, `lease_until` the end of that lease on the store's clock."""

    plan: PlannedEvent
    delivery: PlannedDelivery
    claim: Claim
    lease_until: datetime


@dataclass(frozen=True, slots=True, kw_only=True)
class DeadLetter:
    """A message that could not be understood, with the reason."""

    raw: RawMessage
    rejection: Rejection


@dataclass(frozen=True, slots=True, kw_only=True)
class Result:
    """What an attempt changed: the log entry (None where nothing was attempted) and what comes next."""

    claim: Claim
    attempt: Attempt | None
    next: Again | End
    url: str | None = None
    keep_lease: bool = False
    """This worker goes on to hold the delivery in memory until its next attempt."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Due:
    """What is known of a delivery that is due before it is claimed."""

    webhook_id: WebhookId
    account_id: AccountId
    event_type: EventType
    is_manual: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class Ration:
    """How many more deliveries of a webhook in doubt a worker takes; those beyond `places` are put off `until`."""

    places: int
    until: datetime


@dataclass(frozen=True, slots=True, kw_only=True)
class Claimed:
    """What a worker got. `drained` says that nothing more is due, but for the webhooks that were left out."""

    claims: Sequence[Claim]
    drained: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class Rest:
    """A claim that is given back, to be found again at `until`, or sooner when its webhook is woken."""

    claim: Claim
    until: datetime


class DeliveryStore(Protocol):
    """Events and deliveries, written in batches. Every write may be repeated without doubling anything."""

    async def admit(self, planned: Sequence[PlannedEvent]) -> Sequence[Draft]:
        """Make events durable, each with the plan of its deliveries. Returns the deliveries of those that were not
        there before: for a lease's time they are this worker's, to attempt and to `insert`.

        An event that was there keeps its first plan. What the store lacks of it is inserted here, for any worker to
        find once the one that has the event should have inserted it.
        """

    async def insert(self, drafts: Sequence[Draft], results: Mapping[DeliveryId, Result]) -> Collection[DeliveryId]:
        """Make deliveries durable, with the result of their first attempt where there is one. Returns those that
        somebody else has inserted meanwhile, or this call in vain before: their results are to be recorded."""

    async def claim(
        self, limit: int, *, except_for: Collection[WebhookId], ration: Callable[[Due], Ration | None]
    ) -> Claimed:
        """Take up to `limit` due deliveries, calls first, then the longest due, none of the webhooks in `except_for`.

        Of a webhook with a `ration` no more than that are taken. A delivery whose event is gone (retention) ends as
        expired here and is not returned. Not repeated while the store is away: raises DependencyUnavailable.
        """

    async def record(self, results: Sequence[Result]) -> Sequence[Result]:
        """Write results whose fence still holds. Returns those whose delivery was taken over meanwhile."""

    async def renew(self, claims: Sequence[Claim]) -> Sequence[Claim]:
        """Hold on to claims for another lease. Returns those that are still ours: the others were taken over, or
        ended by somebody else."""

    async def release(self, claims: Sequence[Claim]) -> None:
        """Give claims back, to be found by any worker: at once, or when their next attempt is due."""

    async def hold(self, rests: Sequence[Rest]) -> None:
        """Give claims back that must not be attempted now: their webhook is paused, or its circuit open."""

    async def wake(self, webhook_id: WebhookId | None) -> int:
        """Make the resting deliveries of a webhook, or of all, due now; their number."""

    async def cancel(self, webhook_id: WebhookId) -> int:
        """Cancel the pending deliveries of a deleted webhook; their number."""


class DeadLetterStore(Protocol):
    """Where messages go that could not be understood."""

    async def bury(self, letters: Sequence[DeadLetter]) -> None:
        """Make dead letters durable; one that comes again because its ack was lost is stored once."""


@dataclass(frozen=True, slots=True)
class Backlog:
    """Deliveries that are due and that no worker holds: how many, up to a bound, and since when the first is."""

    due: int
    oldest_due_at: datetime | None


@dataclass(frozen=True, slots=True, kw_only=True)
class Forgotten:
    """How many documents a sweep took the contents out of."""

    events: int
    dead_letters: int


class Upkeep(Protocol):
    """What keeps the store small, and shows what waits in it."""

    async def forget_payloads(self, now: datetime) -> Forgotten:
        """Take out the payloads whose retention is over: of events, with the answers to their deliveries, which may
        quote them, and of dead letters."""

    async def backlog(self, now: datetime) -> Backlog:
        """What is due now. Asked once: raises DependencyUnavailable where the store does not answer."""


# --- HTTP out --------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True, kw_only=True)
class OutgoingRequest:
    """One POST. `headers` are complete but for what HTTP itself needs (host, content-length), and for the token of
    `auth`, which the sender gets. `timeout` bounds all of it. `webhook_id` is whose token it is."""

    url: str
    headers: Mapping[str, str]
    body: bytes
    timeout: timedelta
    webhook_id: WebhookId
    auth: OAuth2Auth | None = field(default=None, repr=False)
    client_certificate: ClientCertificate | None = field(default=None, repr=False)


class Sender(Protocol):
    """Sends one request within its timeout. Whatever the other side does is a value, not an exception."""

    async def send(self, request: OutgoingRequest) -> SendResult: ...
