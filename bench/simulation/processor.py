"""A worker's core: it does one thing at a time, in the order of asking."""

from __future__ import annotations

import asyncio


class Processor:
    def __init__(self) -> None:
        self.busy_seconds = 0.0
        self._busy_until = 0.0

    async def work(self, seconds: float) -> None:
        now = asyncio.get_running_loop().time()
        self._busy_until = max(self._busy_until, now) + seconds
        self.busy_seconds += seconds
        await asyncio.sleep(self._busy_until - now)
