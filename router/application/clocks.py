"""What is known of the publishers' clocks outlives a restart: loaded before anything is consumed, kept now and then."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from datetime import timedelta
from typing import Final

from router.ports import Clock, PublisherClockStore

KEEP_SECONDS: Final = 60.0
WORTH_KEEPING: Final = timedelta(seconds=1)
"""A change below it expires nothing that matters."""


class ClockKeeper:
    """Carries errors between the sources, which measure, and the store."""

    def __init__(
        self,
        store: PublisherClockStore,
        clock: Clock,
        *,
        measured: Callable[[], Mapping[str, timedelta]],
        recall: Callable[[Mapping[str, timedelta]], None],
    ) -> None:
        """`measured` says what this run has measured so far; `recall` tells the sources what is known from before."""
        self._store = store
        self._clock = clock
        self._measured = measured
        self._recall = recall
        self._stored: dict[str, timedelta] = {}

    async def load(self) -> None:
        """To be awaited before the first event is judged."""
        self._stored = dict(await self._store.load())
        self._recall(self._stored)

    async def keep(self) -> None:
        """Store what has moved since it was last stored."""
        moved = {
            source: error
            for source, error in self._measured().items()
            if source not in self._stored or abs(error - self._stored[source]) > WORTH_KEEPING
        }
        if moved:
            await self._store.save(moved, self._clock.now())
            self._stored |= moved
