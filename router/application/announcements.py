"""Publishes what the outbox holds: at once what this worker put there, now and then what others have left behind.

A broker that is away costs patience and nothing else: the outbox keeps everything, and deliveries do not wait.
"""

from __future__ import annotations

import asyncio
import time
from typing import Final

import structlog

from router.domain.retry import Jitter
from router.ports import Announcements, Outbox
from router.telemetry.metrics import Metrics

log = structlog.get_logger("router.announcements")

MAX_BATCH: Final = 100
PATROL_SECONDS: Final = 30.0
"""Between two looks at what others have left behind."""
FIRST_PAUSE_SECONDS: Final = 0.5
MAX_PAUSE_SECONDS: Final = 10.0
"""Longest pause after a failure; each is drawn from ½ to 1 times it."""


class Announcer:
    """Service: takes announcements from the outbox to the broker. Never fails and never stops a delivery."""

    name = "announcer"

    def __init__(self, outbox: Outbox, announcements: Announcements, metrics: Metrics, jitter: Jitter) -> None:
        self._outbox = outbox
        self._announcements = announcements
        self._metrics = metrics
        self._jitter = jitter
        self._poked = asyncio.Event()
        self._stopping = asyncio.Event()
        self._down_since: float | None = None
        self._failures = 0
        self.waiting = 0
        """How many announcements this worker knows to be unpublished."""

    def poke(self) -> None:
        """Something of this worker's is in the outbox, durably."""
        self.waiting += 1
        self._poked.set()

    def stop(self) -> None:
        """Publish what is there, if the broker takes it, then end."""
        self._stopping.set()
        self._poked.set()

    async def run(self) -> None:
        while not self._stopping.is_set():
            # The first turn also makes the exchange, so that whoever wants to know finds something to bind to.
            await self.turn()
            await self._rest()
        # One that was under way when the stop came may have looked too early. While the broker is away there is no
        # last one: the outbox keeps what is left.
        if not self._failures:
            await self.turn()

    @property
    def pause_seconds(self) -> float:
        """The longest rest before the next turn."""
        if not self._failures:
            return PATROL_SECONDS
        longest = min(MAX_PAUSE_SECONDS, FIRST_PAUSE_SECONDS * 2.0 ** min(self._failures - 1, 10))
        return longest * (0.5 + self._jitter() / 2)

    async def _rest(self) -> None:
        # After a failure news are no reason for haste: they would be one failure more.
        wake_up = self._stopping if self._failures else self._poked
        try:
            async with asyncio.timeout(self.pause_seconds):
                await wake_up.wait()
        except TimeoutError:
            return

    async def turn(self) -> None:
        """Publish everything that is pending, batch by batch, up to the first failure."""
        self._poked.clear()
        try:
            problem = await self._publish_pending()
        except Exception:
            log.exception("announcing_raised")
            self._failures += 1
            return
        if problem is None:
            self._succeeded()
        else:
            self._failed(problem)

    async def _publish_pending(self) -> str | None:
        """What went wrong, in one sentence; None where nothing is left."""
        while True:
            batch = await self._outbox.pending(MAX_BATCH)
            self.waiting = max(self.waiting, len(batch))
            published = await self._announcements.publish(batch)
            await self._outbox.published(published.confirmed)
            for announcement in published.confirmed:
                self._metrics.operational_events.labels(announcement.key.value).inc()
            self.waiting -= len(published.confirmed)
            if published.problem is not None:
                return published.problem
            if len(batch) < MAX_BATCH:
                self.waiting = 0
                return None

    def _succeeded(self) -> None:
        self._failures = 0
        if self._down_since is not None:
            log.warning("announcements_resumed", after_seconds=round(time.monotonic() - self._down_since, 1))
            self._down_since = None

    def _failed(self, problem: str) -> None:
        self._failures += 1
        if self._down_since is None:
            self._down_since = time.monotonic()
            log.warning("announcements_unavailable", error=problem, waiting=self.waiting)
