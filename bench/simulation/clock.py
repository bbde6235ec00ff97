"""Virtual time: an event loop whose clock jumps to whatever is due next. Replaces `time.monotonic` while it runs, which
is where the router's services look, and seeds the randomness of libraries; gives both back afterwards.
"""

from __future__ import annotations

import asyncio
import logging
import random
import selectors
import time
from collections.abc import Coroutine, Iterator
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from typing import Any, Final, TypeVar

import structlog

T = TypeVar("T")

EPOCH: Final = datetime(2031, 1, 1, tzinfo=UTC)


class _Jump(selectors.SelectSelector):
    """Waits by moving the clock. Nothing real is ever ready: whoever uses a socket here waits for ever."""

    def __init__(self) -> None:
        super().__init__()
        self.now = 0.0

    def select(self, timeout: float | None = None) -> list[tuple[selectors.SelectorKey, int]]:
        if timeout is None:
            raise RuntimeError("everybody waits, and nothing is due")
        self.now += max(0.0, timeout)
        return []


class VirtualLoop(asyncio.SelectorEventLoop):
    def __init__(self) -> None:
        self._jump = _Jump()
        super().__init__(self._jump)

    def time(self) -> float:
        return self._jump.now


class VirtualClock:
    """Fulfils `ports.Clock`: one clock for the store and for every worker, to the millisecond."""

    def __init__(self, loop: VirtualLoop) -> None:
        self._loop = loop

    def now(self) -> datetime:
        return EPOCH + timedelta(milliseconds=int(self._loop.time() * 1000))

    def wall(self) -> float:
        return EPOCH.timestamp() + self._loop.time()

    async def sleep(self, seconds: float) -> None:
        await asyncio.sleep(seconds)


def run_virtually(main: Coroutine[Any, Any, T], loop: VirtualLoop, seed: int) -> T:
    """The result of `main`, on `loop`, which is closed then. Whatever else runs by that time is cancelled."""
    with _virtual_surroundings(loop, seed):
        try:
            return loop.run_until_complete(main)
        finally:
            left = asyncio.all_tasks(loop)
            for task in left:
                task.cancel()
            loop.run_until_complete(asyncio.gather(*left, return_exceptions=True))
            loop.run_until_complete(loop.shutdown_asyncgens())
            loop.close()


@contextmanager
def _virtual_surroundings(loop: VirtualLoop, seed: int) -> Iterator[None]:
    monotonic, state, logs = time.monotonic, random.getstate(), structlog.get_config()
    time.monotonic = loop.time
    random.seed(seed)  # the waits of the reconnecting library
    structlog.configure(wrapper_class=structlog.make_filtering_bound_logger(logging.CRITICAL))
    try:
        yield
    finally:
        time.monotonic = monotonic
        random.setstate(state)
        structlog.configure(**logs)
