"""Who writes to the store when, and that nobody waits for ever."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence

import pytest

from router.application.turns import (
    FORGETTING,
    LEAST_PORTION,
    MOST_PORTION,
    SMALL_WRITE,
    WORK_SECONDS,
    Portion,
    Turns,
)


async def write(turns: Turns, log: list[str], name: str, end: asyncio.Event) -> None:
    async with turns.turn(of_events="events" in name):
        log.append(f"{name} begins")
        await end.wait()
        log.append(f"{name} ends")


async def started(*coroutines: asyncio.Task[None]) -> None:
    for _ in range(5 * len(coroutines)):
        await asyncio.sleep(0)


async def test_events_come_first_and_between_two_of_them_one_other_in_the_order_of_asking() -> None:
    turns, log, end = Turns(), list[str](), asyncio.Event()
    names = ("results", "rests", "claims", "leases", "events", "more events", "last events")
    writes = [asyncio.create_task(write(turns, log, name, end)) for name in names]
    await started(*writes)
    assert log == ["results begins"]

    end.set()
    await asyncio.gather(*writes)

    order = ("results", "events", "rests", "more events", "claims", "last events", "leases")
    assert log == [f"{name} {what}" for name in order for what in ("begins", "ends")]


async def test_who_is_cancelled_takes_no_turn_and_gives_one_back_that_it_was_just_given() -> None:
    turns, log, end = Turns(), list[str](), asyncio.Event()
    first, waiting, called, last = (
        asyncio.create_task(write(turns, log, name, end)) for name in ("first", "waiting", "called", "last")
    )
    await started(first, waiting, called, last)
    waiting.cancel()
    await started(waiting)

    end.set()
    while "first ends" not in log:
        await asyncio.sleep(0)
    called.cancel()
    await asyncio.wait([first, waiting, called, last])

    assert log == ["first begins", "first ends", "last begins", "last ends"]


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


# --- portions ----------------------------------------------------------------------------------------


def portion(*writes: tuple[int, float]) -> Portion:
    written = Portion()
    for count, seconds in writes:
        written.wrote(count, seconds)
    return written


@pytest.mark.parametrize(
    ("writes", "size"),
    [
        ((), LEAST_PORTION),
        ([(10, 10 * WORK_SECONDS)], LEAST_PORTION),
        ([(10, WORK_SECONDS)], 10),
        ([(10, 0.0)], MOST_PORTION),
        # What a write of one takes as well is not what the store works on it.
        ([(1, 0.1), (10, 0.1 + WORK_SECONDS)], 10),
        ([(SMALL_WRITE, 0.1), (20, 0.1 + 2 * WORK_SECONDS)], 10),
        # The shortest counts, for a while.
        ([(1, 0.1), (1, 5.0), (10, 0.1 * FORGETTING + WORK_SECONDS)], 10),
        ([(10, WORK_SECONDS), (SMALL_WRITE, 5.0)], 10),
    ],
)
def test_a_portion_is_what_the_store_works_on_for_a_moment(writes: Sequence[tuple[int, float]], size: int) -> None:
    assert portion(*writes).size == pytest.approx(size, abs=1)


@pytest.mark.parametrize(("waiting", "taken"), [(0, 0), (3, 3), (10, LEAST_PORTION), (40, 10), (1_000, MOST_PORTION)])
def test_of_much_that_waits_more_is_taken(waiting: int, taken: int) -> None:
    assert portion().of(waiting) == taken
