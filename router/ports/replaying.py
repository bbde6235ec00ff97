"""What replays and tests call: documents that people change, and the queue of replays that workers go through. Types
only.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Protocol

from router.domain.delivery import DeliveryId
from router.domain.event import AccountId, Event, EventKey
from router.domain.replay import ReplayId, ReplayKind, ReplayState, Skip
from router.domain.webhook import Webhook, WebhookId
from router.ports.delivering import PlannedEvent
from router.ports.reading import DeliveryFilter, Position


@dataclass(frozen=True, slots=True, kw_only=True)
class Replay:
    """A bulk replay. Its period is closed: `where.from_` and `where.to` are always there.

    Where `where.status` is None, every end but success is meant. `released` counts what was made due, and `outstanding`
    how many of these were not attempted yet: deliveries, or missing events.
    """

    id: ReplayId
    kind: ReplayKind
    where: DeliveryFilter
    reason: str | None
    per_second: float
    matched: int
    released: int = 0
    outstanding: int = 0
    skipped: Mapping[Skip, int] = field(default_factory=dict)
    state: ReplayState = ReplayState.RUNNING
    created_by: str
    created_at: datetime
    finished_at: datetime | None = None

    @property
    def done(self) -> int:
        """What was attempted since, or has ended, or was passed over."""
        return max(0, self.released - self.outstanding) + sum(self.skipped.values())


class ReplayStore(Protocol):
    """What people may do. Every method raises DependencyUnavailable; what adds something raises Conflict where its id
    is taken."""

    async def replay_delivery(self, delivery_id: DeliveryId, at: datetime) -> bool:
        """Make a delivery due at `at` as a replay. False where a worker holds it, or it is gone."""

    async def add_test(self, planned: PlannedEvent, at: datetime) -> DeliveryId:
        """Store a synthetic event and its one delivery, due at `at`."""

    async def count_matching(self, kind: ReplayKind, where: DeliveryFilter, limit: int, at: datetime) -> int:
        """How much a replay that is asked for at `at` would go through, counted up to `limit`."""

    async def count_running(self, account_id: AccountId | None, limit: int) -> int:
        """Replays of an account that run, counted up to `limit`; None: those of no single account."""

    async def add(self, replay: Replay) -> None: ...

    async def replay(self, replay_id: ReplayId) -> Replay | None: ...

    async def replays(self, *, account_id: AccountId | None, after: Position | None, limit: int) -> Sequence[Replay]:
        """Newest first."""

    async def count_replays(self, *, account_id: AccountId | None) -> int: ...

    async def cancel_replay(self, replay_id: ReplayId, at: datetime) -> bool:
        """Release nothing more of it. False where it does not run."""


# --- the queue, as workers see it ------------------------------------------------------------------


@dataclass(frozen=True, slots=True, kw_only=True)
class Turn:
    """A running replay that this worker may take one step with.

    `fence` is the number of the turn: a step counts only while the store still has it. `batch` is what an earlier step
    began and did not finish, as ids; `is_exhausted` says that nothing is left beyond it.
    """

    replay: Replay
    fence: int
    position: Position | None
    batch: Sequence[str]
    is_exhausted: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class Candidate:
    """A delivery that is to be released. `is_ours` says that this replay has released it already; `is_free` that nobody
    has it, and nothing happened to it since the replay was asked for."""

    delivery_id: DeliveryId
    webhook_id: WebhookId
    is_ours: bool
    is_pending: bool
    is_free: bool
    has_payload: bool
    fence: int
    attempt_count: int


@dataclass(frozen=True, slots=True, kw_only=True)
class MissedEvent:
    """An event that matched nothing when it came; None where its payload is gone. `given_to` are the webhooks that this
    replay has begun to send it to."""

    key: EventKey
    event: Event | None
    given_to: Collection[WebhookId]


class ReplayQueue(Protocol):
    """Running replays, one step at a time. A step may be repeated from any point without doubling anything.

    Every method is asked once: raises DependencyUnavailable where the store does not answer.
    """

    async def take(self) -> Turn | None:
        """The replay whose next step has been due for longest, now this worker's for one step; None where none is."""

    async def find(self, turn: Turn, limit: int) -> tuple[Sequence[str], Position | None]:
        """The next ids beyond the turn's position, the oldest first, and the position of the last of them."""

    async def begin(self, turn: Turn, batch: Sequence[str], position: Position | None, *, is_exhausted: bool) -> bool:
        """Write down what is about to be released. False where the turn is over, as by a cancellation."""

    async def candidates(self, batch: Sequence[str], turn: Turn) -> Sequence[Candidate]:
        """What there is of the deliveries of a batch."""

    async def release(self, chosen: Sequence[Candidate], turn: Turn) -> Collection[DeliveryId]:
        """Make deliveries due now; those that this replay has released, now or before. The others have changed."""

    async def missed(self, batch: Sequence[str], turn: Turn) -> Sequence[MissedEvent]:
        """What there is of the events of a batch."""

    async def give(self, event: Event, webhooks: Sequence[Webhook], turn: Turn) -> bool:
        """Store deliveries of an event that are due now, and note them in the event. False where they were all there
        before."""

    async def advance(self, turn: Turn, *, released: int, skipped: Mapping[Skip, int], due_at: datetime) -> None:
        """Count what the batch came to, and end the turn: the next step is due at `due_at`."""

    async def finish(self, turn: Turn) -> None:
        """The replay is done; what was matched and is not there any more was passed over as changed."""

    async def states(self) -> Mapping[ReplayState, int]:
        """How many replays there are in each state."""
