"""Watches the process itself: does its work move, and does its event loop turn in time. Tells the service manager,
the log and the metrics.
"""

from __future__ import annotations

import asyncio
import time
from collections import deque
from collections.abc import Callable
from typing import Final

import structlog

from router.application.progress import STALL_SECONDS, Progress
from router.telemetry.metrics import Metrics

log = structlog.get_logger("router.watchdog")

LOOK_SECONDS: Final = 5.0
TICK_SECONDS: Final = 0.5
LATE_SECONDS: Final = 1.0
"""A turn of the event loop that comes so much too late is worth a line: heartbeats and leases feel it."""
WINDOW_SECONDS: Final = 15.0
"""How far the lag that is shown looks back: about the time between two scrapes."""
LOG_AGAIN_SECONDS: Final = 10.0


class Watchdog:
    """Service: tells the service manager that we are alive, for as long as the work moves."""

    name = "watchdog"

    def __init__(self, progress: Progress, notify: Callable[[str], None], interval_seconds: float | None) -> None:
        """`interval_seconds` is how often the service manager wants to hear of us; None where it does not."""
        self._progress = progress
        self._notify = notify
        self._interval_seconds = min(interval_seconds or LOOK_SECONDS, LOOK_SECONDS)

    async def run(self) -> None:
        told: set[str] = set()
        while True:
            stalled = set(self._progress.look(time.monotonic()))
            if not stalled:
                self._notify("WATCHDOG=1")
            if stalled - told:
                log.critical("stalled", parts=sorted(stalled), seconds=STALL_SECONDS)
            elif told - stalled:
                log.warning("moving_again", parts=sorted(told - stalled))
            told = stalled
            await asyncio.sleep(self._interval_seconds)


class Worst:
    """The largest of the values of the last `WINDOW_SECONDS`."""

    def __init__(self) -> None:
        self._values: deque[tuple[float, float]] = deque()

    def add(self, value: float, *, now: float) -> float:
        """Take in a value; returns the largest."""
        # Those before it that are smaller will never be the largest again.
        while self._values and self._values[-1][1] <= value:
            self._values.pop()
        self._values.append((now, value))
        while self._values[0][0] < now - WINDOW_SECONDS:
            self._values.popleft()
        return self._values[0][1]


class LoopLag:
    """Service: measures by how much a short timer comes too late, which is how long everything else waits."""

    name = "loop-lag"

    def __init__(self, metrics: Metrics) -> None:
        self._metrics = metrics
        self._worst = Worst()
        self._told_at = float("-inf")

    async def run(self) -> None:
        while True:
            began = time.monotonic()
            await asyncio.sleep(TICK_SECONDS)
            now = time.monotonic()
            self.note(max(0.0, now - began - TICK_SECONDS), now=now)

    def note(self, late_seconds: float, *, now: float) -> None:
        """One turn came so late."""
        self._metrics.event_loop_lag.set(self._worst.add(late_seconds, now=now))
        if late_seconds <= LATE_SECONDS:
            return
        self._metrics.event_loop_stalls.inc()
        if now - self._told_at >= LOG_AGAIN_SECONDS:
            self._told_at = now
            log.warning("event_loop_stalled", seconds=round(late_seconds, 1))
