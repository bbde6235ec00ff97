"""What is acknowledged, in which order, and what becomes of what never can be durable."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from typing import cast

from router.application.settling import Settling, Unsettled
from router.domain.event import Event
from router.ports import NOT_TRACED, Intake
from tests.support.fakes_delivery import NOW, FakeSource, draft_of


class World:
    """`take_in` begins a batch of one message; messages are numbers here."""

    def __init__(self) -> None:
        self.source = FakeSource([])
        self.buried: list[tuple[Event, Sequence[Intake]]] = []
        self.settling = Settling(self.source, self._bury)

    async def _bury(self, event: Event, batch: Sequence[Intake]) -> None:
        self.buried.append((event, batch))

    def take_in(self, number: int, *, missing: int = 0) -> Unsettled:
        batch = cast("list[Intake]", [number])
        unsettled = self.settling.begin(batch, NOT_TRACED.received(batch, NOW))
        for _ in range(missing):
            unsettled.await_one()
        unsettled.complete()
        return unsettled

    async def settled(self) -> list[int]:
        for _ in range(5):
            await asyncio.sleep(0)
        return cast("list[int]", self.source.settled)


async def test_batches_are_settled_in_their_order_however_they_become_durable() -> None:
    world = World()
    running = asyncio.create_task(world.settling.run())
    first, second = world.take_in(1, missing=2), world.take_in(2)

    assert await world.settled() == []
    first.one_is_durable()
    assert await world.settled() == []
    first.one_is_durable()
    assert await world.settled() == [1, 2]
    assert second.durable.is_set()
    # Both in one: an acknowledgement names the last.
    assert world.source.log == ["settle"]

    world.settling.close()
    await running


async def test_the_end_waits_for_what_is_not_durable_yet() -> None:
    world = World()
    running = asyncio.create_task(world.settling.run())
    last = world.take_in(1, missing=1)
    world.settling.close()

    assert await world.settled() == []
    assert not running.done()
    last.one_is_durable()
    await running
    assert await world.settled() == [1]


async def test_what_is_refused_is_buried_once_before_its_message_is_acknowledged() -> None:
    world = World()
    unsettled = world.take_in(1, missing=3)
    refused = draft_of("a")
    unsettled.one_is_refused(refused)
    unsettled.one_is_durable()
    unsettled.one_is_refused(refused)
    world.settling.close()

    await world.settling.run()

    assert world.buried == [(refused.plan.event, unsettled.batch)]
    assert await world.settled() == [1]


async def test_a_reader_waits_for_complete_batches_alone() -> None:
    world = World()
    first, second = world.take_in(1, missing=1), world.take_in(2, missing=1)
    world.settling.begin([], NOT_TRACED.received([], NOW))  # is being stored: nobody can know of it yet
    waiting = asyncio.create_task(world.settling.durable())

    second.one_is_durable()
    await asyncio.sleep(0)
    assert not waiting.done()
    first.one_is_durable()
    await waiting
