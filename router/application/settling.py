"""Acknowledges what was taken from the broker: whole batches, in the order in which they came, each as soon as what it
caused is durable."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Awaitable, Callable, Sequence

from router.domain.event import Event, EventKey
from router.ports import BatchTrace, Draft, Intake, Source


class Unsettled:
    """A batch and how much of what it caused is not durable yet. Whoever makes it durable tells it."""

    def __init__(self, batch: Sequence[Intake], trace: BatchTrace, on_durable: Callable[[], None]) -> None:
        self.batch = batch
        self.trace = trace
        self.refused: dict[EventKey, Event] = {}
        """Events of which the store refused a delivery."""
        self.is_complete = False
        """Whether all that must be durable was named."""
        self.durable = asyncio.Event()
        self._on_durable = on_durable
        self._missing = 0

    def await_one(self) -> None:
        """One thing more must be durable before this is settled."""
        self._missing += 1

    def one_is_durable(self) -> None:
        self._missing -= 1
        self._look()

    def one_is_refused(self, draft: Draft) -> None:
        """It will never be durable: its message becomes a dead letter."""
        self.refused[draft.plan.event.key] = draft.plan.event
        self.one_is_durable()

    def complete(self) -> None:
        """Nothing more is to be waited for than what was named."""
        self.is_complete = True
        self._look()

    def _look(self) -> None:
        if self.is_complete and not self._missing:
            self.durable.set()
            self._on_durable()


class Settling:
    """`bury` keeps messages as dead letters, of which the store refused a delivery."""

    def __init__(self, source: Source, bury: Callable[[Event, Sequence[Intake]], Awaitable[None]]) -> None:
        self._source = source
        self._bury = bury
        self._unsettled: deque[Unsettled] = deque()
        self._something_changed = asyncio.Event()
        self._is_closed = False

    def begin(self, batch: Sequence[Intake], trace: BatchTrace) -> Unsettled:
        """The next batch: settled once it is `complete`, and durable."""
        unsettled = Unsettled(batch, trace, self._something_changed.set)
        self._unsettled.append(unsettled)
        return unsettled

    async def durable(self) -> None:
        """Returns once all is durable that complete batches caused."""
        for each in [each for each in self._unsettled if each.is_complete]:
            await each.durable.wait()

    def close(self) -> None:
        """No batch follows: `run` ends when all are settled."""
        self._is_closed = True
        self._something_changed.set()

    async def run(self) -> None:
        while not (self._is_closed and not self._unsettled):
            await self._something_changed.wait()
            self._something_changed.clear()
            await self._settle()

    async def _settle(self) -> None:
        durable: list[Unsettled] = []
        while self._unsettled and self._unsettled[0].durable.is_set():
            durable.append(self._unsettled.popleft())
        if not durable:
            return
        for each in durable:
            for event in each.refused.values():
                await self._bury(event, each.batch)
        await self._source.settle([item for each in durable for item in each.batch])
        for each in durable:
            each.trace.end()
