"""Finds deliveries that are due in the store, and keeps the leases of those in memory."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable
from itertools import islice
from typing import Final

from router.application.brake import EgressBrake
from router.application.budget import RetryBudget
from router.application.circuits import Circuits
from router.application.lanes import Lanes
from router.application.turns import Turns
from router.domain.errors import DependencyUnavailable
from router.domain.webhook import WebhookId
from router.ports import DeliveryStore, Due, Ration

POLL_SECONDS: Final = 1.0
"""Between two polls, unless a webhook with a backlog has room again."""
RENEW_SECONDS: Final = 2.0
RENEWED_AT_ONCE: Final = 10
"""Leases in one write, which some stores do in one go: new events wait meanwhile."""
MAX_CLAIMED_AT_ONCE: Final = 50
MAX_EXCLUDED: Final = 1_000
"""Full lanes named in a claim, so that queries do not grow without end; those beyond may be found in vain."""


class RetryPoller:
    """Service: claims what is due, as much as there is room for, and offers it to the lanes."""

    name = "retries"

    def __init__(
        self,
        *,
        deliveries: DeliveryStore,
        lanes: Lanes,
        circuits: Circuits,
        brake: EgressBrake,
        budget: RetryBudget,
        is_steady: Callable[[], bool],
    ) -> None:
        """`is_steady` says that the store answers, and has for long enough that no worker has results left to record
        from before an outage: what they stand for looks due, and would be sent again."""
        self._deliveries = deliveries
        self._lanes = lanes
        self._circuits = circuits
        self._brake = brake
        self._budget = budget
        self._is_steady = is_steady
        self._stopping = False
        self._kept_back: set[WebhookId] = set()
        self.rounds = 0
        """Polls so far."""

    def stop(self) -> None:
        self._stopping = True
        self._lanes.room_again.set()

    async def run(self) -> None:
        while not self._stopping:
            self._lanes.room_again.clear()
            more = await self._poll()
            self.rounds += 1
            if more:
                continue
            try:
                async with asyncio.timeout(POLL_SECONDS):
                    await self._lanes.room_again.wait()
            except TimeoutError:
                continue

    async def _poll(self) -> bool:
        """Claim once. Whether more is due that there is room for."""
        if self._brake.is_on or not self._is_steady():
            return False
        limit = min(MAX_CLAIMED_AT_ONCE, self._lanes.room())
        allowed = self._budget.allowance(limit)
        if allowed == 0:
            return False
        full = list(islice(self._lanes.full(), MAX_EXCLUDED))
        claimed_at = time.monotonic()
        try:
            claimed = await self._deliveries.claim(allowed, except_for=full, ration=self._ration)
        except DependencyUnavailable:
            return False  # the store's health has recorded it
        for claim in claimed.claims:
            self._lanes.offer(claim, now=claimed_at)
        await self._wake_recovered()
        if claimed.drained:
            self._lanes.drained(except_for=full)
        return not claimed.drained and allowed == limit

    async def _wake_recovered(self) -> None:
        """For what was put off after its webhook worked again: that has had its wake-up call."""
        recovered = [each for each in self._kept_back if not self._circuits.keeps_back(each)]
        self._kept_back.clear()
        for webhook_id in recovered:
            await self._deliveries.wake(webhook_id)

    def _ration(self, due: Due) -> Ration | None:
        places = self._lanes.ration(due)
        if due.is_manual:
            # Somebody waits for what was asked for, and no open circuit keeps it back: only the room in memory does.
            return None if places is None else Ration(places=places, until=self._circuits.look_again_at())
        if self._circuits.keeps_back(due.webhook_id):
            self._kept_back.add(due.webhook_id)
        limits = (places, self._circuits.probes_wanted(due.webhook_id))
        places = min((limit for limit in limits if limit is not None), default=None)
        return None if places is None else Ration(places=places, until=self._circuits.put_off_until(due.webhook_id))


class LeaseKeeper:
    """Service: renews the leases of claims that wait or are in flight for long."""

    name = "leases"

    def __init__(self, deliveries: DeliveryStore, lanes: Lanes, turns: Turns) -> None:
        self._deliveries = deliveries
        self._lanes = lanes
        self._turns = turns
        self._stopping = asyncio.Event()

    def stop(self) -> None:
        self._stopping.set()

    async def run(self) -> None:
        while not self._stopping.is_set():
            try:
                async with asyncio.timeout(RENEW_SECONDS):
                    await self._stopping.wait()
            except TimeoutError:
                await self._renew()

    async def _renew(self) -> None:
        # Counted from before the call: the store's lease then never ends before ours.
        at = time.monotonic()
        claims = self._lanes.to_renew(now=at)
        for start in range(0, len(claims), RENEWED_AT_ONCE):
            some = claims[start : start + RENEWED_AT_ONCE]
            # What is not ours any more is left to run out: it is not sent, also where its event was erased.
            async with self._turns.turn():
                renewed = await self._deliveries.renew(some)
            self._lanes.renewed(renewed, at=at)
