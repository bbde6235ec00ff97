"""What a worker holds in memory: claims that wait in a lane per webhook, are in flight, or rest until a near retry.

One dead endpoint fills its own lane and nothing else; what does not fit stays in the store. Lanes are served in
turn, `call` before the rest. A plain state machine: it starts nothing and awaits one event, the next claim.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Collection, Sequence
from dataclasses import dataclass, field
from datetime import timedelta
from typing import Final

from router.domain.delivery import Claim, DeliveryId
from router.domain.event import EventType
from router.domain.lease import LEASE, RENEW_BELOW
from router.domain.webhook import WebhookId

MAX_HELD_BYTES: Final = 64 * 1024 * 1024
"""Payload bytes in memory over all lanes; above it, deliveries wait in the store."""


@dataclass(frozen=True, slots=True, kw_only=True)
class LaneLimits:
    """`in_flight` over all lanes, `in_flight_per_lane` and `queued_per_lane` for each webhook."""

    in_flight: int
    in_flight_per_lane: int
    queued_per_lane: int


@dataclass(slots=True)
class _Lane:
    waiting: deque[Claim] = field(default_factory=deque)
    reserved: int = 0
    in_flight: int = 0
    is_ready: bool = False

    @property
    def is_empty(self) -> bool:
        return not self.waiting and not self.reserved and not self.in_flight


@dataclass(slots=True)
class _Held:
    claim: Claim
    lease_until: float


class Lanes:
    """Monotonic seconds are arguments, so that tests own time."""

    def __init__(self, limits: LaneLimits) -> None:
        self._limits = limits
        self._lanes: dict[WebhookId, _Lane] = {}
        self._held: dict[DeliveryId, _Held] = {}
        self._held_bytes = 0
        self._in_flight = 0
        # Lanes that can be served now: `call` lanes, then the others.
        self._urgent: deque[WebhookId] = deque()
        self._normal: deque[WebhookId] = deque()
        self._something_ready = asyncio.Event()
        self._closed = False
        # Webhooks that have more in the store than was taken from it, for want of room.
        self._overflowed: set[WebhookId] = set()
        self.room_again = asyncio.Event()
        """One of those has room again: its backlog should be looked for at once."""

    # --- room ---

    def reserve(self, webhook_id: WebhookId, size: int) -> bool:
        """Keep a place for a claim that is being stored; False where the lane or the memory is full.

        While older ones of the webhook wait in the store, half of its lane is theirs.
        """
        places = self._limits.queued_per_lane
        if webhook_id in self._overflowed:
            places //= 2
        if self._queued(webhook_id) >= places or self._held_bytes + size > MAX_HELD_BYTES:
            self._overflowed.add(webhook_id)
            return False
        self._lane(webhook_id).reserved += 1
        return True

    def unreserve(self, webhook_id: WebhookId) -> None:
        """Give back a place whose claim did not come."""
        self._lane(webhook_id).reserved -= 1
        self._drop_if_empty(webhook_id)

    def room(self) -> int:
        """How many more claims of any webhook fit."""
        if self._held_bytes >= MAX_HELD_BYTES:
            return 0
        return max(0, self._limits.in_flight * 2 - len(self._held))

    def full(self) -> Collection[WebhookId]:
        """Webhooks whose lane takes nothing more."""
        return [webhook_id for webhook_id in self._lanes if not self._has_room(webhook_id)]

    def drained(self, *, except_for: Collection[WebhookId]) -> None:
        """The store holds nothing more that is due, but for these webhooks."""
        self._overflowed.intersection_update(except_for)

    @property
    def overflowed(self) -> bool:
        return bool(self._overflowed)

    def _has_room(self, webhook_id: WebhookId) -> bool:
        return self._queued(webhook_id) < self._limits.queued_per_lane

    def _queued(self, webhook_id: WebhookId) -> int:
        lane = self._lanes.get(webhook_id)
        return 0 if lane is None else len(lane.waiting) + lane.reserved

    # --- in and out ---

    def offer(self, claim: Claim, *, now: float, reserved: bool = False) -> None:
        """Take in a claim whose lease began at `now`, to be attempted as soon as its lane allows."""
        lane = self._lane(claim.webhook_id)
        if reserved:
            lane.reserved -= 1
        self._hold(claim, now + LEASE.total_seconds())
        lane.waiting.append(claim)
        if not reserved and not self._has_room(claim.webhook_id):
            self._overflowed.add(claim.webhook_id)
        self._make_ready(claim.webhook_id, lane, urgent=claim.event_type is EventType.CALL)

    async def next(self) -> Claim | None:
        """The claim to attempt next, now in flight; None once closed."""
        while not self._closed:
            claim = self._pop()
            if claim is not None:
                return claim
            self._something_ready.clear()
            await self._something_ready.wait()
        return None

    def landed(self, claim: Claim) -> None:
        """The attempt is over, its result is not recorded yet: its lane may go on."""
        lane = self._lanes[claim.webhook_id]
        lane.in_flight -= 1
        self._in_flight -= 1
        if lane.waiting:
            self._make_ready(claim.webhook_id, lane, urgent=lane.waiting[0].event_type is EventType.CALL)
        self._something_ready.set()
        if claim.webhook_id in self._overflowed and len(lane.waiting) <= self._limits.queued_per_lane // 2:
            self.room_again.set()
        self._drop_if_empty(claim.webhook_id)

    def rest(self, claim: Claim, *, until: float) -> None:
        """Keep a claim that was recorded until its near retry at `until`; the store gave it a lease beyond that."""
        self._hold(claim, until + LEASE.total_seconds())

    def forget(self, claim: Claim) -> None:
        """The claim is no longer ours. A later one of the same delivery stays."""
        held = self._held.get(claim.delivery_id)
        if held is not None and held.claim.fence == claim.fence:
            del self._held[claim.delivery_id]
            self._held_bytes -= len(held.claim.payload)

    def close(self) -> None:
        """Hand out nothing more."""
        self._closed = True
        self._something_ready.set()

    # --- leases ---

    def holds(self, claim: Claim, *, now: float, margin: timedelta = timedelta()) -> bool:
        """Whether our lease still lasts for `margin`."""
        held = self._held.get(claim.delivery_id)
        return held is not None and held.claim.fence == claim.fence and held.lease_until > now + margin.total_seconds()

    def to_renew(self, *, now: float) -> Sequence[Claim]:
        """Claims whose lease runs out soon, and is not over yet."""
        soon = now + RENEW_BELOW.total_seconds()
        return [held.claim for held in self._held.values() if now < held.lease_until < soon]

    def renewed(self, claims: Sequence[Claim], *, at: float) -> None:
        for claim in claims:
            held = self._held.get(claim.delivery_id)
            if held is not None and held.claim.fence == claim.fence:
                held.lease_until = at + LEASE.total_seconds()

    def all_held(self) -> Sequence[Claim]:
        return [held.claim for held in self._held.values()]

    @property
    def in_flight(self) -> int:
        return self._in_flight

    @property
    def held(self) -> int:
        return len(self._held)

    # --- inside ---

    def _lane(self, webhook_id: WebhookId) -> _Lane:
        lane = self._lanes.get(webhook_id)
        if lane is None:
            lane = self._lanes[webhook_id] = _Lane()
        return lane

    def _drop_if_empty(self, webhook_id: WebhookId) -> None:
        # A lane that is still listed as ready is dropped when its turn comes.
        lane = self._lanes.get(webhook_id)
        if lane is not None and lane.is_empty and not lane.is_ready:
            del self._lanes[webhook_id]

    def _hold(self, claim: Claim, lease_until: float) -> None:
        before = self._held.get(claim.delivery_id)
        self._held_bytes += len(claim.payload) - (len(before.claim.payload) if before else 0)
        self._held[claim.delivery_id] = _Held(claim, lease_until)

    def _make_ready(self, webhook_id: WebhookId, lane: _Lane, *, urgent: bool) -> None:
        if not lane.is_ready and lane.in_flight < self._limits.in_flight_per_lane:
            lane.is_ready = True
            (self._urgent if urgent else self._normal).append(webhook_id)
            self._something_ready.set()

    def _pop(self) -> Claim | None:
        if self._in_flight >= self._limits.in_flight:
            return None
        for ring in (self._urgent, self._normal):
            while ring:
                webhook_id = ring.popleft()
                lane = self._lanes[webhook_id]
                lane.is_ready = False
                if not lane.waiting:
                    self._drop_if_empty(webhook_id)
                    continue
                claim = lane.waiting.popleft()
                lane.in_flight += 1
                self._in_flight += 1
                if lane.waiting:
                    urgent = lane.waiting[0].event_type is EventType.CALL
                    self._make_ready(webhook_id, lane, urgent=urgent)
                return claim
        return None
