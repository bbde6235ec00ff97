"""The store's time, carried forward on the monotonic clock."""

import asyncio
from datetime import UTC, datetime, timedelta

import pytest

from router.adapters.clock import StoreClock

STORE_TIME = datetime(2031, 5, 6, 7, 8, 9, 123_456, tzinfo=UTC)


async def the_store() -> datetime:
    return STORE_TIME


async def test_before_the_first_answer_it_shows_this_hosts_time() -> None:
    clock = StoreClock(the_store)

    assert abs(clock.now() - datetime.now(UTC)) < timedelta(minutes=1)


async def test_after_an_answer_it_goes_on_from_there_whatever_this_hosts_clock_says() -> None:
    clock = StoreClock(the_store)

    ahead = await clock.sync()

    assert timedelta() <= clock.now() - STORE_TIME.replace(microsecond=123_000) < timedelta(minutes=1)
    assert ahead < -timedelta(days=365), "this host is years behind that store"


async def test_times_have_milliseconds_as_the_store_keeps_them() -> None:
    clock = StoreClock(the_store)
    await clock.sync()

    assert clock.now().microsecond % 1000 == 0


async def test_time_never_runs_backwards_between_two_answers() -> None:
    clock = StoreClock(the_store)
    await clock.sync()

    times = [clock.now() for _ in range(1000)]

    assert times == sorted(times)


@pytest.mark.parametrize(("before", "after"), [(0, 0.4), (0.4, 0)], ids=["after its answer", "before its answer"])
async def test_a_store_that_stands_still_does_not_move_it(before: float, after: float) -> None:
    """Such as one whose process was stopped for some seconds, in the middle of a question."""
    wait_before = wait_after = 0.0

    async def store() -> datetime:
        await asyncio.sleep(wait_before)
        now = datetime.now(UTC)
        await asyncio.sleep(wait_after)
        return now

    clock = StoreClock(store)
    await clock.sync()
    wait_before, wait_after = before, after
    await clock.sync()

    assert abs(clock.now() - datetime.now(UTC)) < timedelta(milliseconds=100)


async def test_an_answer_that_took_long_counts_where_what_was_known_cannot_be_true() -> None:
    jumped = timedelta()

    async def store() -> datetime:
        await asyncio.sleep(0.1 if jumped else 0)
        return datetime.now(UTC) + jumped

    clock = StoreClock(store)
    await clock.sync()
    jumped = timedelta(hours=1)
    await clock.sync()

    assert abs(clock.now() - datetime.now(UTC) - jumped) < timedelta(milliseconds=100)
