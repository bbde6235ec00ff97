"""What is done now and then: keep time with the store, which also shows whether it answers, let payloads go, and
other chores, while the store is up.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from typing import Final

import structlog

from router.domain.errors import DependencyUnavailable
from router.ports import Clock, Upkeep
from router.telemetry.metrics import Metrics

log = structlog.get_logger("router.upkeep")

PULSE_SECONDS: Final = 5.0
SWEEP_SECONDS: Final = 600.0
BACKLOG_SECONDS: Final = 15.0
"""Between two counts of what is due."""
SKEW_WORTH_A_WARNING_SECONDS: Final = 5.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Chore:
    """Something to do about every so many seconds. It may find the store away: that is no error."""

    every_seconds: float
    action: Callable[[], Awaitable[None]]


class BacklogGauges:
    """Shows what is due in the store."""

    def __init__(self, upkeep: Upkeep, clock: Clock, metrics: Metrics) -> None:
        self._upkeep = upkeep
        self._clock = clock
        self._metrics = metrics

    async def refresh(self) -> None:
        """Raises DependencyUnavailable where the store does not answer; the gauges then stay as they are."""
        now = self._clock.now()
        backlog = await self._upkeep.backlog(now)
        age = (now - backlog.oldest_due_at).total_seconds() if backlog.oldest_due_at is not None else 0.0
        self._metrics.deliveries_due.set(backlog.due)
        self._metrics.oldest_due_age.set(max(0.0, age))


class Housekeeping:
    """Service: a pulse towards the store every few seconds, a sweep now and then."""

    name = "housekeeping"

    def __init__(
        self,
        clock: Clock,
        sync: Callable[[], Awaitable[float]],
        upkeep: Upkeep | None,
        chores: Sequence[Chore] = (),
    ) -> None:
        self._clock = clock
        self._sync = sync
        self._upkeep = upkeep
        self._chores = [*chores]
        if upkeep is not None:
            self._chores.insert(0, Chore(every_seconds=SWEEP_SECONDS, action=self._sweep))
        self.pulses = 0
        """Pulses so far, answered or not."""
        self.is_doing_a_chore = False
        """A sweep of very many documents may take long, and is no stall."""
        self._stopping = asyncio.Event()
        self._warned = False

    def stop(self) -> None:
        self._stopping.set()

    async def run(self) -> None:
        due = [time.monotonic()] * len(self._chores)
        while not self._stopping.is_set():
            is_up = await self._pulse()
            for index, chore in enumerate(self._chores):
                if is_up and time.monotonic() >= due[index]:
                    await self._do(chore)
                    due[index] = time.monotonic() + chore.every_seconds
            try:
                async with asyncio.timeout(PULSE_SECONDS):
                    await self._stopping.wait()
            except TimeoutError:
                continue

    async def _do(self, chore: Chore) -> None:
        self.is_doing_a_chore = True
        try:
            await chore.action()
        except DependencyUnavailable:
            return  # it will be up again, and so will the chore
        finally:
            self.is_doing_a_chore = False

    async def _sweep(self) -> None:
        if self._upkeep is not None:
            forgotten = await self._upkeep.forget_payloads(self._clock.now())
            if forgotten.events or forgotten.dead_letters:
                log.info("payloads_forgotten", events=forgotten.events, dead_letters=forgotten.dead_letters)

    async def _pulse(self) -> bool:
        self.pulses += 1
        try:
            skew = await self._sync()
        except DependencyUnavailable:
            return False  # the store's health has recorded it
        if abs(skew) > SKEW_WORTH_A_WARNING_SECONDS and not self._warned:
            log.warning("host_clock_differs", from_store_seconds=round(skew, 1))
            self._warned = True
        return True
