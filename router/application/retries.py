"""Finds deliveries that are due in the store, and keeps the leases of those in memory."""

from __future__ import annotations

import asyncio
import time
from typing import Final

import structlog

from router.application.lanes import Lanes
from router.ports import DeliveryStore

log = structlog.get_logger("router.retries")

POLL_SECONDS: Final = 1.0
"""Between two polls, unless a webhook with a backlog has room again."""
RENEW_SECONDS: Final = 2.0
MAX_CLAIMED_AT_ONCE: Final = 200
MAX_EXCLUDED: Final = 1_000
"""Full lanes named in a claim; beyond it the poller waits for room instead of sending ever longer queries."""


class RetryPoller:
    """Service: claims what is due, as much as there is room for, and offers it to the lanes."""

    name = "retries"

    def __init__(self, deliveries: DeliveryStore, lanes: Lanes) -> None:
        self._deliveries = deliveries
        self._lanes = lanes
        self._stopping = False

    def stop(self) -> None:
        self._stopping = True
        self._lanes.room_again.set()

    async def run(self) -> None:
        while not self._stopping:
            self._lanes.room_again.clear()
            claimed = await self._poll()
            if claimed == MAX_CLAIMED_AT_ONCE:
                continue
            try:
                async with asyncio.timeout(POLL_SECONDS):
                    await self._lanes.room_again.wait()
            except TimeoutError:
                continue

    async def _poll(self) -> int:
        limit = min(MAX_CLAIMED_AT_ONCE, self._lanes.room())
        full = self._lanes.full()
        if limit == 0 or len(full) > MAX_EXCLUDED:
            return 0
        claimed_at = time.monotonic()
        claims = await self._deliveries.claim(limit, except_for=full)
        for claim in claims:
            self._lanes.offer(claim, now=claimed_at)
        if len(claims) < limit:
            self._lanes.drained(except_for=full)
        return len(claims)


class LeaseKeeper:
    """Service: renews the leases of claims that wait or are in flight for long."""

    name = "leases"

    def __init__(self, deliveries: DeliveryStore, lanes: Lanes) -> None:
        self._deliveries = deliveries
        self._lanes = lanes
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
        if claims:
            await self._deliveries.renew(claims)
            self._lanes.renewed(claims, at=at)
