"""Near retries of claims that this worker keeps: a heap by time, emptied into the lanes when each is due.

Memory is a cache here: the store holds the same retry under a lease that ends a little later.
"""

from __future__ import annotations

import asyncio
import heapq
import time
from dataclasses import replace
from itertools import count

from router.application.lanes import Lanes
from router.domain.delivery import Claim


class Timers:
    """Service: hands resting claims to the lanes when their time has come."""

    name = "timers"

    def __init__(self, lanes: Lanes) -> None:
        self._lanes = lanes
        self._heap: list[tuple[float, int, Claim]] = []
        self._sequence = count()
        self._changed = asyncio.Event()
        self._stopping = False

    def add(self, claim: Claim, *, attempt_count: int, at: float) -> None:
        """Rest `claim`, which has seen `attempt_count` attempts, until the monotonic second `at`."""
        rested = replace(claim, attempt_count=attempt_count)
        self._lanes.rest(rested, until=at)
        heapq.heappush(self._heap, (at, next(self._sequence), rested))
        self._changed.set()

    def stop(self) -> None:
        self._stopping = True
        self._changed.set()

    async def run(self) -> None:
        while not self._stopping:
            self._changed.clear()
            now = time.monotonic()
            while self._heap and self._heap[0][0] <= now:
                at, _, claim = heapq.heappop(self._heap)
                # The store's lease counts from the time of the retry, however late we are.
                self._lanes.offer(claim, now=at)
            wait = self._heap[0][0] - now if self._heap else None
            try:
                async with asyncio.timeout(wait):
                    await self._changed.wait()
            except TimeoutError:
                continue
