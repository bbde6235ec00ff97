"""The store's time, kept on this host's monotonic clock. Asks a probe now and then; touches nothing else.

Leases and schedules of all workers are compared on the store's clock. Reading it for each comparison would cost a
round trip, and this host's wall clock may jump; so its monotonic clock carries the last answer forward.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable
from datetime import UTC, datetime, timedelta


class StoreClock:
    """Fulfils `ports.Clock`. Before the first answer of the probe it shows this host's time."""

    def __init__(
        self, probe: Callable[[], Awaitable[datetime]], *, monotonic: Callable[[], float] = time.monotonic
    ) -> None:
        self._probe = probe
        self._monotonic = monotonic
        # What to add to the monotonic clock to get the store's unix seconds.
        self._offset = time.time() - monotonic()

    def now(self) -> datetime:
        # MongoDB keeps milliseconds; finer times would differ between memory and store.
        return datetime.fromtimestamp(int((self._offset + self._monotonic()) * 1000) / 1000, UTC)

    def wall(self) -> float:
        return time.time()

    async def sleep(self, seconds: float) -> None:
        await asyncio.sleep(seconds)

    async def sync(self) -> timedelta:
        """Ask the store for its time. Returns by how much this host is ahead. Raises what the probe raises."""
        asked = self._monotonic()
        answer = await self._probe()
        answered = self._monotonic()
        # The answer was true at some moment between the two. What is known is kept where it fits: an answer that took
        # seconds, of a store that stood still, would move the clock by half of them.
        earliest, latest = answer.timestamp() - answered, answer.timestamp() - asked
        if not earliest <= self._offset <= latest:
            self._offset = (earliest + latest) / 2
        return timedelta(seconds=time.time() - self._offset - answered)
