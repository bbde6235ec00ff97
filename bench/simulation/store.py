"""A modelled store: documents by hash on shards that do one thing at a time, can be away, and count what they do.

What a write does to a document, and under which condition, is what `router/adapters/mongo/deliveries.py` asks MongoDB
for; waiting out an outage is the adapter's own `Persistent`. A call that needs a shard which is away applies to others.
"""

from __future__ import annotations

import asyncio
import heapq
import zlib
from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from itertools import count
from typing import Any, Final

from pymongo.errors import AutoReconnect

from bench.simulation.costs import StoreCosts
from router.adapters.mongo.driver import SERVER_SELECTION_TIMEOUT_MS
from router.domain.delivery import Claim, DeliveryId, DeliveryStatus
from router.domain.event import EventKey
from router.domain.webhook import Webhook, WebhookId
from router.ports import PlannedEvent

SCAN: Final = 1_000
"""Due deliveries of excluded webhooks that one look for what is due walks over."""
BACKGROUND_SECONDS: Final = 0.1


@dataclass(slots=True)
class Stored:
    """A delivery document. `due_at` is None once it is over."""

    first: Claim
    due_at: datetime | None
    owner: str | None
    fence: int = 0
    attempt_count: int = 0
    status: DeliveryStatus = DeliveryStatus.PENDING
    held: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class Admitted:
    """An event document: the plan, and which worker has the first attempts until when."""

    plan: PlannedEvent
    owner: str
    until: datetime


@dataclass(slots=True)
class Operation:
    """One document of a call: `effect` is what happens to it, at the end of the call, if its shard is there."""

    key: str
    seconds: float
    effect: Callable[[], Any]


class Shard:
    """Does one thing at a time, in the order of asking; answers nothing before `down_until`."""

    def __init__(self) -> None:
        self.busy_until = 0.0
        self.busy_seconds = 0.0
        self.down_until = 0.0

    def serve(self, seconds: float, now: float) -> float:
        """When a piece of work that comes now is done."""
        self.busy_until = max(self.busy_until, now) + seconds
        self.busy_seconds += seconds
        return self.busy_until


@dataclass(slots=True)
class Counts:
    """What all workers asked of the store so far."""

    operations: int = 0
    polls: int = 0
    claimed: int = 0
    wasted: int = 0
    """Found due, and taken by another worker meanwhile."""
    expired: int = 0
    """Leases that ran out, with their delivery claimed by somebody."""
    longest_orphan: float = 0.0
    """Seconds from the end of such a lease to the claim."""
    results_late: int = 0
    """Results that were not written, because another worker has the delivery."""


@dataclass(slots=True)
class StoreModel:
    """The one store of all workers."""

    costs: StoreCosts
    shards: list[Shard]
    later_per_second: float = 0.0
    """Seconds of work a second, over all shards, for what retention takes away meanwhile."""
    events: dict[EventKey, Admitted] = field(default_factory=dict)
    deliveries: dict[DeliveryId, Stored] = field(default_factory=dict)
    counts: Counts = field(default_factory=Counts)
    webhooks: dict[WebhookId, Webhook] = field(default_factory=dict)
    followers: list[asyncio.Queue[WebhookId]] = field(default_factory=list)
    pending: int = 0
    _held: dict[WebhookId, dict[DeliveryId, None]] = field(default_factory=dict)
    _due: list[tuple[datetime, int, DeliveryId]] = field(default_factory=list)
    _sequence: count[int] = field(default_factory=count)

    # --- calls ---

    async def write(self, operations: Sequence[Operation]) -> list[Any]:
        """One call. Raises what the driver raises while a shard that it needs is away."""
        loop = asyncio.get_running_loop()
        now, parts = loop.time(), dict[int, float]()
        for each in operations:
            shard = self._place(each.key)
            parts[shard] = parts.get(shard, 0.0) + each.seconds
        await self._wait([self.shards[shard].serve(seconds, now) for shard, seconds in parts.items()], commit=True)
        self.counts.operations += len(operations)
        there = [self._is_up(self._place(each.key)) for each in operations]
        results = [each.effect() for each, is_up in zip(operations, there, strict=True) if is_up]
        if not all(there):
            await self._lose()
        return results

    async def ask_all(self, seconds: float) -> None:
        """A read that every shard has a part of."""
        now = asyncio.get_running_loop().time()
        self.counts.operations += len(self.shards)
        await self._wait([shard.serve(seconds, now) for shard in self.shards], commit=False)
        if not all(self._is_up(shard) for shard in range(len(self.shards))):
            await self._lose()

    async def _wait(self, ends: Sequence[float], *, commit: bool) -> None:
        now = asyncio.get_running_loop().time()
        await asyncio.sleep(max(ends) - now + (self.costs.commit_ms / 1000 if commit else 0.0))

    async def _lose(self) -> None:
        # The driver looks for a primary for so long.
        await asyncio.sleep(SERVER_SELECTION_TIMEOUT_MS / 1000)
        raise AutoReconnect("no primary")

    def _place(self, key: str) -> int:
        return zlib.crc32(key.encode()) % len(self.shards)

    def _is_up(self, shard: int) -> bool:
        return asyncio.get_running_loop().time() >= self.shards[shard].down_until

    async def take_away_what_is_over(self) -> None:
        """Service: the work of retention, spread evenly."""
        while True:
            await asyncio.sleep(BACKGROUND_SECONDS)
            now = asyncio.get_running_loop().time()
            for shard in self.shards:
                shard.serve(self.later_per_second * BACKGROUND_SECONDS / len(self.shards), now)

    # --- what calls do to documents ---

    def insert_event(self, admitted: Admitted) -> Admitted:
        """The one that is there now: another, where it was there before."""
        return self.events.setdefault(admitted.plan.event.key, admitted)

    def insert_delivery(self, identity: DeliveryId, stored: Stored) -> Stored:
        """The one that is there now: another, where it was there before."""
        if identity in self.deliveries:
            return self.deliveries[identity]
        self.deliveries[identity] = stored
        if stored.status is DeliveryStatus.PENDING:
            self.pending += 1
            self.make_due(identity, stored, stored.due_at)
        if stored.held:
            self.hold(identity, stored)
        return stored

    def make_due(self, identity: DeliveryId, stored: Stored, at: datetime | None) -> None:
        stored.due_at = at
        if at is not None:
            heapq.heappush(self._due, (at, next(self._sequence), identity))

    def hold(self, identity: DeliveryId, stored: Stored) -> None:
        stored.held = True
        self._held.setdefault(stored.first.webhook_id, {})[identity] = None

    def let_go(self, identity: DeliveryId, stored: Stored) -> None:
        if stored.held:
            stored.held = False
            del self._held[stored.first.webhook_id][identity]

    def end(self, identity: DeliveryId, stored: Stored, status: DeliveryStatus) -> None:
        stored.status, stored.due_at, stored.owner = status, None, None
        self.pending -= 1
        self.let_go(identity, stored)

    def resting(self, webhook_id: WebhookId | None) -> list[DeliveryId]:
        webhooks = self._held.values() if webhook_id is None else [self._held.get(webhook_id, {})]
        return [identity for held in webhooks for identity in held]

    def find_due(self, now: datetime, limit: int, except_for: Collection[WebhookId]) -> list[DeliveryId]:
        """The longest due first, as the index has them."""
        found: dict[DeliveryId, tuple[datetime, int, DeliveryId]] = {}
        passed_over: list[tuple[datetime, int, DeliveryId]] = []
        while self._due and self._due[0][0] <= now and len(found) < limit and len(passed_over) < SCAN:
            entry = heapq.heappop(self._due)
            stored = self.deliveries[entry[2]]
            if stored.due_at != entry[0] or entry[2] in found:
                continue  # it has another time by now
            if stored.first.webhook_id in except_for:
                passed_over.append(entry)
            else:
                found[entry[2]] = entry
        for entry in (*passed_over, *found.values()):
            heapq.heappush(self._due, entry)
        return list(found)

    # --- definitions ---

    def change(self, webhook: Webhook) -> None:
        self.webhooks[webhook.id] = webhook
        for follower in self.followers:
            follower.put_nowait(webhook.id)
