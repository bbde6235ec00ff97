"""What is done now and then: the pulse towards the store, and the sweep of payloads."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterable, Iterator
from datetime import datetime, timedelta

import pytest
from structlog.testing import capture_logs

from router.application.upkeep import SKEW_WORTH_A_WARNING_SECONDS, BacklogGauges, Chore, Housekeeping
from router.domain.errors import DependencyUnavailable
from router.ports import Backlog, Forgotten
from router.telemetry.metrics import Metrics
from tests.support.fakes_delivery import NOW, FakeClock


class FakeUpkeep:
    """`ports.Upkeep` over nothing; remembers when it was asked."""

    def __init__(self, log: list[str] | None = None) -> None:
        self.log = log if log is not None else []
        self.asked: list[datetime] = []
        self.backlogs: list[Backlog] = []

    async def forget_payloads(self, now: datetime) -> Forgotten:
        self.log.append("sweep")
        self.asked.append(now)
        return Forgotten(events=3, dead_letters=1)

    async def backlog(self, now: datetime) -> Backlog:
        self.log.append("backlog")
        if self.backlogs:
            return self.backlogs.pop(0)
        raise DependencyUnavailable("MongoDB did not count what is due")


class Store:
    """Answers each pulse with the next of `answers`: how far this host's clock is off, or that it is away."""

    def __init__(self, answers: Iterable[float | Exception] = (0.0,), log: list[str] | None = None) -> None:
        self._answers: Iterator[float | Exception] = iter(answers)
        self.log = log if log is not None else []
        self.on_pulse: Callable[[], None] | None = None

    async def sync(self) -> float:
        self.log.append("pulse")
        if self.on_pulse is not None:
            self.on_pulse()
        answer = next(self._answers)
        if isinstance(answer, Exception):
            raise answer
        return answer


async def run_once(store: Store, upkeep: FakeUpkeep | None) -> None:
    """Run the service, which is stopped during its first pulse."""
    housekeeping = Housekeeping(FakeClock(), store.sync, upkeep)
    store.on_pulse = housekeeping.stop
    await housekeeping.run()


async def test_the_store_is_asked_for_its_time_before_anything_is_swept_by_it() -> None:
    log: list[str] = []

    await run_once(Store(log=log), FakeUpkeep(log))

    assert log == ["pulse", "sweep"]


async def test_payloads_are_judged_by_the_stores_time() -> None:
    upkeep = FakeUpkeep()

    await run_once(Store(), upkeep)

    assert upkeep.asked == [NOW]


async def test_without_a_sweep_there_is_only_the_pulse() -> None:
    store = Store()

    await run_once(store, None)

    assert store.log == ["pulse"]


async def test_a_store_that_is_away_does_not_end_the_service() -> None:
    store = Store([DependencyUnavailable("MongoDB cannot be reached"), 0.0])
    housekeeping = Housekeeping(FakeClock(), store.sync, None)

    await housekeeping._pulse()
    await housekeeping._pulse()

    assert store.log == ["pulse", "pulse"]


async def test_any_other_error_ends_the_service() -> None:
    housekeeping = Housekeeping(FakeClock(), Store([ValueError("a bug of ours")]).sync, None)

    with pytest.raises(ValueError, match="a bug of ours"):
        await housekeeping.run()


async def test_a_stop_before_the_start_is_not_lost() -> None:
    store = Store()
    housekeeping = Housekeeping(FakeClock(), store.sync, None)

    housekeeping.stop()
    await housekeeping.run()

    assert store.log == []


async def test_a_stop_between_two_pulses_ends_it() -> None:
    store = Store()
    housekeeping = Housekeeping(FakeClock(), store.sync, None)
    running = asyncio.create_task(housekeeping.run())
    while not store.log:
        await asyncio.sleep(0)
    await asyncio.sleep(0)

    housekeeping.stop()
    await running

    assert store.log == ["pulse"]


@pytest.mark.parametrize(
    ("skews", "warnings"),
    [
        ([SKEW_WORTH_A_WARNING_SECONDS, -SKEW_WORTH_A_WARNING_SECONDS], []),
        ([5.04, 5.04, 60], [5.0]),
        ([0, -7.26], [-7.3]),
    ],
    ids=["small", "ahead", "behind"],
)
async def test_a_clock_that_differs_is_told_once(skews: list[float], warnings: list[float]) -> None:
    housekeeping = Housekeeping(FakeClock(), Store(skews).sync, None)

    with capture_logs() as lines:
        for _ in skews:
            await housekeeping._pulse()

    assert [line["from_store_seconds"] for line in lines if line["event"] == "host_clock_differs"] == warnings


# --- chores ----------------------------------------------------------------------------------------


async def run_with_chore(store: Store, upkeep: FakeUpkeep, *, pulses: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """Run the service for so many pulses, with a chore of every second pulse's worth of nothing."""
    monkeypatch.setattr("router.application.upkeep.PULSE_SECONDS", 0)
    gauges = BacklogGauges(upkeep, FakeClock(), Metrics("test"))
    housekeeping = Housekeeping(FakeClock(), store.sync, None, [Chore(every_seconds=0, action=gauges.refresh)])

    def count() -> None:
        if housekeeping.pulses == pulses:
            housekeeping.stop()

    store.on_pulse = count
    await housekeeping.run()


async def test_chores_are_left_while_the_store_is_away(monkeypatch: pytest.MonkeyPatch) -> None:
    log: list[str] = []
    store = Store([0.0, DependencyUnavailable("away"), DependencyUnavailable("away"), 0.0], log)
    upkeep = FakeUpkeep(log)
    upkeep.backlogs = [Backlog(0, None)] * 2

    await run_with_chore(store, upkeep, pulses=4, monkeypatch=monkeypatch)

    assert log == ["pulse", "backlog", "pulse", "pulse", "pulse", "backlog"]


async def test_a_chore_that_finds_the_store_away_is_done_again_later(monkeypatch: pytest.MonkeyPatch) -> None:
    log: list[str] = []

    await run_with_chore(Store([0.0, 0.0], log), FakeUpkeep(log), pulses=2, monkeypatch=monkeypatch)

    assert log == ["pulse", "backlog"] * 2


async def test_gauges_show_what_is_due_and_for_how_long() -> None:
    upkeep, metrics = FakeUpkeep(), Metrics("test")
    gauges = BacklogGauges(upkeep, FakeClock(), metrics)
    upkeep.backlogs = [Backlog(7, NOW - timedelta(seconds=90)), Backlog(0, None)]

    def shown() -> tuple[float | None, float | None]:
        value = metrics.registry.get_sample_value
        return value("webhook_router_deliveries_due"), value("webhook_router_oldest_due_age_seconds")

    await gauges.refresh()
    assert shown() == (7, 90)
    await gauges.refresh()
    assert shown() == (0, 0)
