"""What is done now and then: keep time with the store, which also shows whether it answers, and let payloads go."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable
from typing import Final

import structlog

from router.domain.errors import DependencyUnavailable
from router.ports import Clock, Upkeep

log = structlog.get_logger("router.upkeep")

PULSE_SECONDS: Final = 5.0
SWEEP_SECONDS: Final = 600.0
SKEW_WORTH_A_WARNING_SECONDS: Final = 5.0


class Housekeeping:
    """Service: a pulse towards the store every few seconds, a sweep now and then."""

    name = "housekeeping"

    def __init__(self, clock: Clock, sync: Callable[[], Awaitable[float]], upkeep: Upkeep | None) -> None:
        self._clock = clock
        self._sync = sync
        self._upkeep = upkeep
        self._stopping = asyncio.Event()
        self._warned = False

    def stop(self) -> None:
        self._stopping.set()

    async def run(self) -> None:
        next_sweep = time.monotonic()
        while not self._stopping.is_set():
            await self._pulse()
            if self._upkeep is not None and time.monotonic() >= next_sweep:
                forgotten = await self._upkeep.forget_payloads(self._clock.now())
                if forgotten:
                    log.info("payloads_forgotten", events=forgotten)
                next_sweep = time.monotonic() + SWEEP_SECONDS
            try:
                async with asyncio.timeout(PULSE_SECONDS):
                    await self._stopping.wait()
            except TimeoutError:
                continue

    async def _pulse(self) -> None:
        try:
            skew = await self._sync()
        except DependencyUnavailable:
            return  # the store's health has recorded it
        if abs(skew) > SKEW_WORTH_A_WARNING_SECONDS and not self._warned:
            log.warning("host_clock_differs", from_store_seconds=round(skew, 1))
            self._warned = True
