"""Whose turn it is to write to the store, and how much of it: events on their way in and everything else, one after the
other, in portions that nobody waits for for long.

A courtesy between the tasks of one worker, which touches nothing.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Final

PATIENCE_SECONDS: Final = 0.25
"""How long one waits for its turn. Who waited as long writes beside the other: a slow write must not hold up both."""

LEAST_PORTION: Final = 5
MOST_PORTION: Final = 50
"""Documents in one write of updates, between these two."""
WORK_SECONDS: Final = 0.006
"""How long a store should work on one such write: new events wait for its end."""
SHARE: Final = 0.25
"""Of much that waits, so much is written at once all the same."""
SMALL_WRITE: Final = 3
"""A write of so few documents takes as long as the way to the store and what its commit waits for."""
FORGETTING: Final = 1.05
"""What the shortest small write counts for with every small write that follows."""


class Portion:
    """How many documents one write takes, by how long the store worked on the last ones."""

    def __init__(self) -> None:
        self.size = LEAST_PORTION
        self._way: float | None = None

    def of(self, waiting: int) -> int:
        """How many of so many that must not wait for long either."""
        return min(waiting, MOST_PORTION, max(self.size, int(waiting * SHARE)))

    def wrote(self, count: int, seconds: float) -> None:
        """A write of `count` documents took so long."""
        if count <= SMALL_WRITE:
            # The shortest of the last ones: what took longer did not have the store to itself.
            self._way = seconds if self._way is None else min(seconds, self._way * FORGETTING)
            return
        worked = max(seconds - (self._way or 0.0), 0.0) / count
        fitting = int(WORK_SECONDS / worked) if worked * MOST_PORTION > WORK_SECONDS else MOST_PORTION
        self.size = max(LEAST_PORTION, fitting)


class Turns:
    """Events have the next turn, and everything else in the order of asking; between two writes of events one other has
    its turn, so that none waits for ever.

    Two large writes at once do not end sooner than one after the other, and each takes as long as both: an event would
    wait for results that nobody waits for. What comes meanwhile makes the next write larger instead.
    """

    def __init__(self, *, patience_seconds: float = PATIENCE_SECONDS) -> None:
        self._patience_seconds = patience_seconds
        self._events: deque[asyncio.Future[None]] = deque()
        self._others: deque[asyncio.Future[None]] = deque()
        self._is_taken = False

    @asynccontextmanager
    async def turn(self, *, of_events: bool = False) -> AsyncIterator[None]:
        """Wait for the turn, as long as patience lasts, and have it for as long as the block lasts."""
        is_ours = await self._wait(self._events if of_events else self._others)
        try:
            yield
        finally:
            if is_ours:
                self._pass_on(was_of_events=of_events)

    async def _wait(self, queue: deque[asyncio.Future[None]]) -> bool:
        if not self._is_taken:
            self._is_taken = True
            return True
        called = asyncio.get_running_loop().create_future()
        queue.append(called)
        try:
            async with asyncio.timeout(self._patience_seconds):
                await called
        except TimeoutError:
            return _was_called(called)  # perhaps at the last moment
        except asyncio.CancelledError:
            if _was_called(called):
                self._pass_on(was_of_events=queue is self._events)
            raise
        return True

    def _pass_on(self, *, was_of_events: bool) -> None:
        for queue in (self._others, self._events) if was_of_events else (self._events, self._others):
            while queue:
                called = queue.popleft()
                if not called.done():  # else its owner waits no longer
                    called.set_result(None)
                    return
        self._is_taken = False


def _was_called(called: asyncio.Future[None]) -> bool:
    return called.done() and not called.cancelled()
