"""What is known of publishers' clocks is kept where it moved, and recalled before anything is judged."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime, timedelta

from router.application.clocks import WORTH_KEEPING, ClockKeeper
from tests.support.fakes_delivery import NOW, FakeClock

MILLISECOND = timedelta(milliseconds=1)


class FakeClockStore:
    """`ports.PublisherClockStore`; remembers each write."""

    def __init__(self, errors: Mapping[str, timedelta] | None = None) -> None:
        self.errors = dict(errors or {})
        self.written: list[tuple[Mapping[str, timedelta], datetime]] = []

    async def load(self) -> Mapping[str, timedelta]:
        return dict(self.errors)

    async def save(self, errors: Mapping[str, timedelta], measured_at: datetime) -> None:
        self.written.append((dict(errors), measured_at))
        self.errors |= errors


class Sources:
    def __init__(self) -> None:
        self.measured: dict[str, timedelta] = {}
        self.recalled: Mapping[str, timedelta] = {}

    def recall(self, errors: Mapping[str, timedelta]) -> None:
        self.recalled = dict(errors)


def keeper(store: FakeClockStore, sources: Sources) -> ClockKeeper:
    return ClockKeeper(store, FakeClock(), measured=lambda: sources.measured, recall=sources.recall)


async def test_what_the_store_knows_is_told_to_the_sources() -> None:
    sources = Sources()

    await keeper(FakeClockStore({"call": timedelta(hours=1)}), sources).load()

    assert sources.recalled == {"call": timedelta(hours=1)}


async def test_only_what_moved_is_written() -> None:
    store, sources = FakeClockStore({"call": timedelta(hours=1)}), Sources()
    clocks = keeper(store, sources)
    await clocks.load()

    sources.measured = {"call": timedelta(hours=1) + WORTH_KEEPING}
    await clocks.keep()
    assert store.written == []

    sources.measured = {"call": timedelta(hours=1) + WORTH_KEEPING + MILLISECOND, "cdr": timedelta()}
    await clocks.keep()
    await clocks.keep()
    assert store.written == [(sources.measured, NOW)]


async def test_steps_that_are_too_small_are_kept_once_they_add_up() -> None:
    store, sources = FakeClockStore(), Sources()
    clocks = keeper(store, sources)
    for seconds in (0.0, 0.6, 1.2):
        sources.measured = {"call": timedelta(seconds=seconds)}
        await clocks.keep()

    assert [written["call"].total_seconds() for written, _ in store.written] == [0.0, 1.2]
