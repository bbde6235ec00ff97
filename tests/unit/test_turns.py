"""Who writes to the store when, and that nobody waits for ever."""

from __future__ import annotations

import asyncio

import pytest

from router.application.turns import Turns


async def write(turns: Turns, log: list[str], name: str, end: asyncio.Event) -> None:
    async with turns.turn():
        log.append(f"{name} begins")
        await end.wait()
        log.append(f"{name} ends")


async def started(*coroutines: asyncio.Task[None]) -> None:
    for _ in range(5 * len(coroutines)):
        await asyncio.sleep(0)


async def test_writes_come_one_after_the_other_in_the_order_of_asking() -> None:
    turns, log, end = Turns(), list[str](), asyncio.Event()
    writes = [asyncio.create_task(write(turns, log, name, end)) for name in ("events", "results", "events again")]
    await started(*writes)
    assert log == ["events begins"]

    end.set()
    await asyncio.gather(*writes)

    assert log == [f"{name} {what}" for name in ("events", "results", "events again") for what in ("begins", "ends")]


async def test_who_has_waited_long_enough_writes_beside_the_other_and_takes_no_turn_from_it() -> None:
    turns, log, end, at_once = Turns(patience_seconds=0), list[str](), asyncio.Event(), asyncio.Event()
    at_once.set()
    slow = asyncio.create_task(write(turns, log, "slow", end))
    await started(slow)

    await write(turns, log, "beside it", at_once)
    await write(turns, log, "beside it too", at_once)
    assert log == ["slow begins", "beside it begins", "beside it ends", "beside it too begins", "beside it too ends"]

    end.set()
    await slow
    await write(turns, log, "alone", at_once)


async def test_a_write_that_raises_gives_its_turn_back() -> None:
    turns, log, end = Turns(), list[str](), asyncio.Event()
    end.set()
    with pytest.raises(OSError, match="store"):
        async with turns.turn():
            raise OSError("store")

    await write(turns, log, "next", end)

    assert log == ["next begins", "next ends"]
