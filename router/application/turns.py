"""Whose turn it is to write to the store: events on their way in and results on their way out, one after the other.

A courtesy between the tasks of one worker, which touches nothing.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from typing import Final

PATIENCE_SECONDS: Final = 0.25
"""How long one waits for its turn. Who waited as long writes beside the other: a slow write must not hold up both."""


class Turns:
    """First come, first served.

    Two large writes at once do not end sooner than one after the other, and each takes as long as both: an event would
    wait for results that nobody waits for. What comes meanwhile makes the next write larger instead.
    """

    def __init__(self, *, patience_seconds: float = PATIENCE_SECONDS) -> None:
        self._patience_seconds = patience_seconds
        self._lock = asyncio.Lock()

    @asynccontextmanager
    async def turn(self) -> AsyncIterator[None]:
        """Wait for the turn, as long as patience lasts, and have it for as long as the block lasts."""
        is_ours = False
        with suppress(TimeoutError):
            async with asyncio.timeout(self._patience_seconds):
                is_ours = await self._lock.acquire()
        try:
            yield
        finally:
            if is_ours:
                self._lock.release()
