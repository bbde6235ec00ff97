"""The store's time, carried forward on the monotonic clock."""

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


class SlowStore:
    """Takes its time before and after it looks at its clock, as one whose process is stopped in between."""

    def __init__(self) -> None:
        self.elapsed = self.before = self.after = 0.0
        self.ahead = timedelta()

    @property
    def time(self) -> datetime:
        return STORE_TIME.replace(microsecond=0) + timedelta(seconds=self.elapsed) + self.ahead

    async def ask(self) -> datetime:
        self.elapsed += self.before
        answer = self.time
        self.elapsed += self.after
        return answer


async def clock_of(store: SlowStore) -> StoreClock:
    """One that has asked once, and had its answer at once."""
    clock = StoreClock(store.ask, monotonic=lambda: store.elapsed)
    await clock.sync()
    return clock


@pytest.mark.parametrize(("before", "after"), [(0.0, 4.0), (4.0, 0.0)], ids=["after its answer", "before its answer"])
async def test_a_store_that_stands_still_does_not_move_it(before: float, after: float) -> None:
    store = SlowStore()
    clock = await clock_of(store)

    store.before, store.after = before, after
    await clock.sync()

    assert clock.now() == store.time


async def test_an_answer_that_took_long_counts_where_what_was_known_cannot_be_true() -> None:
    store = SlowStore()
    clock = await clock_of(store)

    store.before, store.after, store.ahead = 1.0, 1.0, timedelta(hours=1)
    await clock.sync()

    assert clock.now() == store.time
