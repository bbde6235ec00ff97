"""What several suites share. Production code never imports it."""

import asyncio
import time
from collections.abc import Callable


async def eventually(condition: Callable[[], bool], *, within_seconds: float = 30) -> None:
    """Return as soon as `condition` holds; fail when it does not in time. For real servers, not for unit tests."""
    deadline = time.monotonic() + within_seconds
    while not condition():
        assert time.monotonic() < deadline, f"not within {within_seconds} s"
        await asyncio.sleep(0.05)
