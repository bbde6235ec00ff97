"""When a worker process is started again, and how one with another configuration takes its place."""

from __future__ import annotations

import asyncio
import socket
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from signal import SIGTERM, Signals

import pytest
from structlog.testing import capture_logs

from router.bootstrap import slots
from router.bootstrap.slots import (
    CRASH_LOOP_AFTER,
    RESTART_DELAYS_SECONDS,
    STEADY_SECONDS,
    Launch,
    Slot,
    WorkerProcess,
    restart_delay,
    start_failed,
)
from router.bootstrap.statements import Statement
from router.domain.errors import ConfigurationRefused, DependencyUnavailable
from router.telemetry.metrics import Metrics
from tests.support.shutdown import LONGEST_OF_WORKER_PROCESS

LAUNCH = Launch(arguments=["old"], environment={}, configuration="")
OTHER = Launch(arguments=["new"], environment={}, configuration="")
READY = Statement(checks={"started": True}, stalled=[], metrics=[])


class Process(asyncio.subprocess.Process):
    """Ends when it is told to; ignores nothing."""

    def __init__(self, pid: int) -> None:
        self._pid = pid
        self._code: int | None = None
        self._over = asyncio.Event()

    @property
    def pid(self) -> int:  # type: ignore[override]
        return self._pid

    @property
    def returncode(self) -> int | None:
        return self._code

    async def wait(self) -> int:
        await self._over.wait()
        return self._code or 0

    def send_signal(self, signal: int) -> None:
        self.end(0 if signal == SIGTERM else -signal)

    def end(self, code: int) -> None:
        self._code = code
        self._over.set()


class Place:
    """A slot whose processes are made here; `waits` are the pauses that it took."""

    def __init__(self, becomes_ready: Callable[[Launch], bool] = lambda _: True) -> None:
        self.processes: list[tuple[Process, WorkerProcess, Launch]] = []
        self.waits: list[float] = []
        self.metrics = Metrics("1")
        self.refuse_next = 0
        self._becomes_ready = becomes_ready
        self._news = asyncio.Event()
        self.slot = Slot(1, LAUNCH, self._spawn, self.metrics, self._sleep)

    async def _sleep(self, seconds: float) -> None:
        self.waits.append(seconds)
        await asyncio.sleep(0)

    async def _spawn(self, number: int, launch: Launch) -> WorkerProcess:
        if self.refuse_next:
            self.refuse_next -= 1
            raise OSError(24, "Too many open files")
        process = Process(1000 + len(self.processes))
        worker = WorkerProcess(number, process)
        if self._becomes_ready(launch):
            worker.last, worker.was_ready = READY, True
        self.processes.append((process, worker, launch))
        self._news.set()
        return worker

    def end(self, code: int, *, of: int = -1) -> None:
        process, worker, _ = self.processes[of]
        process.end(code)
        self.slot.noticed_end(worker)

    async def started(self, count: int) -> None:
        async with asyncio.timeout(10):
            while len(self.processes) < count:
                self._news.clear()
                await self._news.wait()


@asynccontextmanager
async def kept(place: Place) -> AsyncIterator[Place]:
    await place.slot.start()
    keeping = asyncio.create_task(place.slot.keep())
    try:
        yield place
    finally:
        keeping.cancel()
        await asyncio.gather(keeping, return_exceptions=True)


# --- crashes ---------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("failures", "was_ready", "seconds"),
    [(0, True, 0), (1, True, 1), (5, True, 16), (6, True, 30), (1000, True, 30), (0, False, 1), (1000, False, 30)],
)
def test_the_wait_grows_to_a_bound_and_only_one_that_worked_is_started_again_at_once(
    failures: int, was_ready: bool, seconds: float
) -> None:
    assert restart_delay(failures, was_ready=was_ready) == seconds


async def test_a_worker_that_ends_by_itself_is_started_again_later_and_later() -> None:
    async with kept(Place()) as place:
        with capture_logs() as log:
            for count in range(CRASH_LOOP_AFTER):
                place.end(70)
                await place.started(count + 2)

    assert place.waits == list(RESTART_DELAYS_SECONDS[:CRASH_LOOP_AFTER])
    ends = [line for line in log if line["event"] == "worker_ended"]
    assert [(line["exit_code"], line["failures"]) for line in ends] == [(70, n + 1) for n in range(CRASH_LOOP_AFTER)]
    assert [line["log_level"] for line in log if line["event"] == "worker_crash_loop"] == ["critical"]
    assert place.metrics.worker_restarts.labels("1")._value.get() == CRASH_LOOP_AFTER


async def test_a_long_life_forgives() -> None:
    async with kept(Place()) as place:
        place.end(70)
        await place.started(2)
        place.processes[-1][1].began -= STEADY_SECONDS
        place.end(-9)
        await place.started(3)

    assert place.waits == [0, 0]


async def test_a_process_that_cannot_be_made_is_tried_again_after_the_longest_wait() -> None:
    async with kept(Place()) as place:
        place.refuse_next = 2
        place.end(-9)
        await place.started(2)

    assert place.waits == [0, RESTART_DELAYS_SECONDS[-1], RESTART_DELAYS_SECONDS[-1]]


# --- another configuration -------------------------------------------------------------------------


async def test_the_successor_works_before_the_old_one_is_asked_to_stop() -> None:
    others_running: list[bool] = []

    def becomes_ready(_: Launch) -> bool:
        others_running.append(place.processes != [] and not _is_over(place, 0))
        return True

    place = Place(becomes_ready)
    async with kept(place):
        await place.slot.replace(OTHER, 1)
        place.slot.noticed_end(place.processes[0][1])
        place.end(-9)
        await place.started(3)

    assert others_running[1], "the old one was stopped first"
    assert _is_over(place, 0)
    assert [launch.arguments for _, _, launch in place.processes] == [["old"], ["new"], ["new"]]


def _is_over(place: Place, index: int) -> bool:
    return place.processes[index][0].returncode is not None


async def test_a_successor_that_does_not_get_ready_goes_and_the_old_one_stays() -> None:
    place = Place(lambda launch: launch is LAUNCH)
    async with kept(place):
        with pytest.raises(DependencyUnavailable):
            await place.slot.replace(OTHER, 0)
        place.end(-9, of=0)
        await place.started(3)

    assert _is_over(place, 1)
    assert place.processes[2][2] is LAUNCH, "after a crash it is the old configuration that works on"


async def test_a_place_that_is_empty_between_two_starts_is_filled_by_the_new_configuration() -> None:
    place = Place()
    async with kept(place):
        process, worker, _ = place.processes[0]
        process.end(70)
        await place.slot.replace(OTHER, 1)
        place.slot.noticed_end(worker)
        for _ in range(5):
            await asyncio.sleep(0)

    assert [launch for _, _, launch in place.processes] == [LAUNCH, OTHER]


@pytest.mark.parametrize(
    ("codes", "kind"),
    [([69, 78], ConfigurationRefused), ([69, 69], DependencyUnavailable), ([70], DependencyUnavailable)],
)
def test_a_wrong_configuration_is_told_before_anything_else(codes: list[int], kind: type[Exception]) -> None:
    assert isinstance(start_failed(codes), kind)


# --- the end ---------------------------------------------------------------------------------------


async def test_a_process_that_hears_nothing_is_killed_at_last(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(slots, "STOP_SECONDS", 0)
    monkeypatch.setattr(slots, "HURRIED_STOP_SECONDS", 0)
    heard: list[Signals] = []

    class Deaf(Process):
        def send_signal(self, signal: int) -> None:
            heard.append(Signals(signal))
            if signal == Signals.SIGKILL:
                self.end(-signal)

    await WorkerProcess(1, Deaf(1000)).stop()

    assert heard == [Signals.SIGTERM, Signals.SIGINT, Signals.SIGKILL]


async def test_what_a_process_says_last_is_heard_although_it_has_ended() -> None:
    ours, theirs = socket.socketpair()
    process = Process(1000)
    worker = WorkerProcess(1, process)
    theirs.sendall(READY.encode() * 2)
    theirs.close()
    process.end(0)

    await worker.listen(ours, lambda _: None)

    assert (worker.said, worker.last) == (2, READY)


def test_a_worker_has_the_time_that_its_own_stop_may_take() -> None:
    assert slots.STOP_SECONDS > LONGEST_OF_WORKER_PROCESS
