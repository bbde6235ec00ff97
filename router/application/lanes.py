"""What a worker holds in memory: claims that wait in a lane per webhook, are in flight, or rest until a near retry.

One dead endpoint fills its own lane and nothing else; what does not fit stays in the store. Lanes are served in turn
by account, `call` before the rest, and first attempts to webhooks in good standing before everything in doubt. A plain
state machine: it starts nothing and awaits one event, the next claim.
"""

from __future__ import annotations

import asyncio
import time
from collections import deque
from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass, field
from datetime import timedelta
from typing import Final

from router.application.flights import Flights
from router.application.holdings import Holdings
from router.application.rings import Ring
from router.domain.delivery import Claim
from router.domain.event import AccountId, EventType
from router.domain.lease import LEASE
from router.domain.webhook import Webhook, WebhookId
from router.ports import Due

MAX_HELD_BYTES: Final = 64 * 1024 * 1024
"""Payload bytes in memory over all lanes; above it, deliveries wait in the store."""
HELD_PER_PLACE: Final = 8
"""Claims in memory for each place in flight; an account may have half of them."""
HANGING_LANE_PLACES: Final = 2
"""Claims that wait in memory for a webhook whose last attempt failed late: they would wait for long, each with a lease
to renew."""
DOUBTFUL_TURN: Final = 5
"""Of so many turns one goes to what is in doubt first, so that a flood of first attempts does not starve retries."""


@dataclass(frozen=True, slots=True, kw_only=True)
class LaneLimits:
    """`in_flight` over all lanes, `in_flight_per_lane` and `queued_per_lane` for each webhook.

    What is in doubt (retries, and everything of a lane that fails or is slow) has half of `in_flight` at most: places
    that black holes hold until their timeout are never all of them.
    """

    in_flight: int
    in_flight_per_lane: int
    queued_per_lane: int

    @property
    def doubtful_in_flight(self) -> int:
        return max(1, self.in_flight // 2)

    @property
    def held(self) -> int:
        return self.in_flight * HELD_PER_PLACE


@dataclass(slots=True)
class _Lane:
    account_id: AccountId
    is_urgent: bool
    first: deque[Claim] = field(default_factory=deque)
    again: deque[Claim] = field(default_factory=deque)
    reserved: int = 0
    in_flight: int = 0
    turn: int = 0
    is_ready: bool = False

    @property
    def waiting(self) -> int:
        return len(self.first) + len(self.again)

    @property
    def queued(self) -> int:
        return self.waiting + self.reserved

    @property
    def is_retry_next(self) -> bool:
        return bool(self.again) and (not self.first or self.turn % DOUBTFUL_TURN == DOUBTFUL_TURN - 1)

    def take(self) -> Claim:
        is_retry, self.turn = self.is_retry_next, self.turn + 1
        if is_retry:
            return self.again.popleft()
        # Of calls that had to wait, the newest still rings; the others may be too old by now.
        return self.first.pop() if self.is_urgent else self.first.popleft()


class Lanes:
    """Times are monotonic seconds, from `now` where they are no arguments. `is_failing` knows the webhooks whose last
    attempt failed, `is_hanging` those of them where it took its time."""

    def __init__(
        self,
        limits: LaneLimits,
        *,
        is_failing: Callable[[WebhookId], bool] = lambda _: False,
        is_hanging: Callable[[WebhookId], bool] = lambda _: False,
        now: Callable[[], float] = time.monotonic,
    ) -> None:
        self._limits = limits
        self._is_failing = is_failing
        self._is_hanging = is_hanging
        self._flights = Flights(now)
        self._lanes: dict[WebhookId, _Lane] = {}
        self._holdings = Holdings()
        # Lanes that can be served now, by (urgent, in doubt).
        self._rings = {(urgent, doubt): Ring() for urgent in (True, False) for doubt in (True, False)}
        self._turn = 0
        self.handed_out = 0
        """Claims so far that `next` returned."""
        self._something_ready = asyncio.Event()
        self._closed = False
        # Webhooks that have more in the store than was taken from it, for want of room.
        self._overflowed: set[WebhookId] = set()
        self.room_again = asyncio.Event()
        """One of those has room again: its backlog should be looked for at once."""

    # --- room ---

    def reserve(self, webhook: Webhook, size: int) -> bool:
        """Keep a place for a claim that is being stored; False where the lane or the memory is full."""
        is_call = webhook.event_type is EventType.CALL
        is_full = (
            self._places(webhook.id, is_call=is_call) <= 0
            or self._holdings.payload_bytes + size > MAX_HELD_BYTES
            or len(self._holdings) >= self._limits.held
            or self._is_account_full(webhook.account_id)
        )
        if is_full:
            self._overflowed.add(webhook.id)
            return False
        self._lane(webhook.id, webhook.account_id, is_call).reserved += 1
        return True

    def unreserve(self, webhook_id: WebhookId) -> None:
        """Give back a place whose claim did not come."""
        self._lanes[webhook_id].reserved -= 1
        self._drop_if_empty(webhook_id)

    def room(self) -> int:
        """How many more claims of any webhook fit."""
        if self._holdings.payload_bytes >= MAX_HELD_BYTES:
            return 0
        return max(0, self._limits.held - len(self._holdings))

    def full(self) -> Collection[WebhookId]:
        """Webhooks in good standing whose lane takes nothing more."""
        return [
            webhook_id
            for webhook_id, lane in self._lanes.items()
            if lane.queued >= self._limits.queued_per_lane and not self._is_rationed(webhook_id)
        ]

    def ration(self, due: Due) -> int | None:
        """How many more claims the store may hand out for a webhook that hangs or is slow, or of an account that holds
        too much; None for any other."""
        if self._is_account_full(due.account_id):
            return 0
        if not self._is_rationed(due.webhook_id):
            return None
        is_dead = self._is_hanging(due.webhook_id) and due.event_type is not EventType.CALL
        places = self._hanging_lane_places if is_dead else self._limits.in_flight_per_lane
        lane = self._lanes.get(due.webhook_id)
        return max(0, places - (lane.queued if lane else 0))

    def drained(self, *, except_for: Collection[WebhookId]) -> None:
        """The store holds nothing more that is due, but for these webhooks."""
        self._overflowed.intersection_update(except_for)

    @property
    def _hanging_lane_places(self) -> int:
        """None while what is in doubt has used up its share: more of it would wait here, with leases to renew."""
        return 0 if self.is_doubt_exhausted else HANGING_LANE_PLACES

    def _places(self, webhook_id: WebhookId, *, is_call: bool) -> int:
        """Places left for what comes from the broker."""
        places = self._limits.queued_per_lane
        if self._is_hanging(webhook_id) and not is_call:
            places = min(places, self._hanging_lane_places)
        elif webhook_id in self._overflowed:
            places //= 2  # the other half is for older ones, which wait in the store
        lane = self._lanes.get(webhook_id)
        return places - (lane.queued if lane else 0)

    def _is_rationed(self, webhook_id: WebhookId) -> bool:
        return self._is_hanging(webhook_id) or self._flights.is_slow(webhook_id)

    def _is_account_full(self, account_id: AccountId) -> bool:
        return self._holdings.of_account(account_id) >= self._limits.held // 2

    # --- in and out ---

    def offer(self, claim: Claim, *, now: float, reserved: bool = False) -> None:
        """Take in a claim whose lease began at `now`, to be attempted as soon as its lane allows."""
        lane = self._lane(claim.webhook_id, claim.account_id, claim.event_type is EventType.CALL)
        if reserved:
            lane.reserved -= 1
        if self._holdings.adopt(claim, lease_until=now + LEASE.total_seconds()):
            return  # its attempt is under way
        self._holdings.add(claim, lease_until=now + LEASE.total_seconds())
        (lane.again if claim.attempt_count or claim.is_manual else lane.first).append(claim)
        if not reserved and lane.queued >= self._limits.queued_per_lane:
            self._overflowed.add(claim.webhook_id)
        self._make_ready(claim.webhook_id, lane)

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
        self._flights.land(claim)
        lane.in_flight -= 1
        if lane.waiting:
            self._make_ready(claim.webhook_id, lane)
        self._something_ready.set()
        if claim.webhook_id in self._overflowed and lane.waiting <= self._limits.queued_per_lane // 2:
            self.room_again.set()
        self._drop_if_empty(claim.webhook_id)

    def rest(self, claim: Claim, *, until: float) -> None:
        """Keep a claim that was recorded until its near retry at `until`; the store gave it a lease beyond that."""
        self._holdings.add(claim, lease_until=until + LEASE.total_seconds())

    def current(self, claim: Claim) -> Claim:
        """The claim under which a delivery that is being attempted is held by now."""
        return self._holdings.current(claim)

    def forget(self, claim: Claim) -> None:
        """The claim is no longer ours. A later one of the same delivery stays."""
        self._holdings.forget(claim)

    def close(self) -> None:
        """Hand out nothing more."""
        self._closed = True
        self._something_ready.set()

    # --- leases ---

    def holds(self, claim: Claim, *, now: float, margin: timedelta = timedelta()) -> bool:
        """Whether our lease still lasts for `margin`."""
        return self._holdings.has(claim, now=now, margin=margin)

    def has_lost(self, claim: Claim, *, now: float) -> bool:
        """Whether we shall not attempt it under this claim, and do not."""
        return self._holdings.has_lost(claim, now=now)

    def to_renew(self, *, now: float) -> Sequence[Claim]:
        """Claims whose lease runs out soon."""
        return self._holdings.to_renew(now=now)

    def renewed(self, claims: Sequence[Claim], *, at: float) -> None:
        self._holdings.renewed(claims, at=at)

    def all_held(self) -> Sequence[Claim]:
        return self._holdings.all()

    @property
    def in_flight(self) -> int:
        return len(self._flights)

    @property
    def has_ready(self) -> bool:
        """Whether a claim could be handed out now."""
        may = any(ring and not (doubt and self.is_doubt_exhausted) for (_, doubt), ring in self._rings.items())
        return may and self.in_flight < self._limits.in_flight

    @property
    def held(self) -> int:
        return len(self._holdings)

    # --- inside ---

    def _lane(self, webhook_id: WebhookId, account_id: AccountId, is_call: bool) -> _Lane:
        lane = self._lanes.get(webhook_id)
        if lane is None:
            lane = self._lanes[webhook_id] = _Lane(account_id, is_call)
        return lane

    def _drop_if_empty(self, webhook_id: WebhookId) -> None:
        # A lane that is still listed as ready is dropped when its turn comes.
        lane = self._lanes.get(webhook_id)
        if lane is not None and not lane.queued and not lane.in_flight and not lane.is_ready:
            del self._lanes[webhook_id]

    def _make_ready(self, webhook_id: WebhookId, lane: _Lane) -> None:
        if not lane.is_ready and lane.in_flight < self._limits.in_flight_per_lane:
            lane.is_ready = True
            self._rings[lane.is_urgent, self._is_in_doubt(webhook_id, lane)].push(lane.account_id, webhook_id)
            self._something_ready.set()

    def _is_in_doubt(self, webhook_id: WebhookId, lane: _Lane) -> bool:
        return lane.is_retry_next or self._is_failing(webhook_id) or self._is_rationed(webhook_id)

    def _pop(self) -> Claim | None:
        if self.in_flight >= self._limits.in_flight:
            return None
        self._flights.notice_slow_ones()
        self._turn += 1
        doubt_first = self._turn % DOUBTFUL_TURN == 0
        for urgent in (True, False):
            for doubt in (doubt_first, not doubt_first):
                claim = self._pop_from(urgent, doubt)
                if claim is not None:
                    return claim
        return None

    def _pop_from(self, urgent: bool, doubt: bool) -> Claim | None:
        ring = self._rings[urgent, doubt]
        while ring and not (doubt and self.is_doubt_exhausted):
            webhook_id = ring.pop()
            lane = self._lanes[webhook_id]
            in_doubt = lane.waiting > 0 and self._is_in_doubt(webhook_id, lane)
            if in_doubt and self.is_doubt_exhausted:
                self._rings[urgent, True].push(lane.account_id, webhook_id)
                continue
            lane.is_ready = False
            if lane.waiting:
                return self._take_off(webhook_id, lane, in_doubt)
            self._drop_if_empty(webhook_id)
        return None

    @property
    def is_doubt_exhausted(self) -> bool:
        """Whether what is in doubt has used up its places."""
        return self._flights.in_doubt >= self._limits.doubtful_in_flight

    def _take_off(self, webhook_id: WebhookId, lane: _Lane, in_doubt: bool) -> Claim:
        claim = lane.take()
        self.handed_out += 1
        self._flights.take_off(claim, in_doubt=in_doubt)
        self._holdings.begin(claim)
        lane.in_flight += 1
        if lane.waiting:
            self._make_ready(webhook_id, lane)
        return claim
