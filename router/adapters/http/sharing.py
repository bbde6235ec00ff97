"""Work that many wait for and that is done once: a table of running tasks by key. Owns those tasks."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Coroutine, Hashable
from typing import Any, Generic, TypeVar

Key = TypeVar("Key", bound=Hashable)
Value = TypeVar("Value")


class SharedWork(Generic[Key, Value]):
    """For one event loop. Whoever stops waiting does not stop the work, which the others still want."""

    def __init__(self, name: str) -> None:
        self._name = name
        self._running: dict[Key, asyncio.Task[Value]] = {}

    def result(self, key: Key, begin: Callable[[], Coroutine[Any, Any, Value]]) -> Awaitable[Value]:
        """What comes of the work under `key`: of that which runs, or of `begin()`."""
        task = self._running.get(key)
        if task is None:
            task = self._running[key] = asyncio.create_task(begin(), name=self._name)
            task.add_done_callback(lambda _: self._running.pop(key, None))
        return asyncio.shield(task)

    async def close(self) -> None:
        """Cancel what runs, and wait for its end."""
        running = [*self._running.values()]
        for task in running:
            task.cancel()
        await asyncio.gather(*running, return_exceptions=True)
