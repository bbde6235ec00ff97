"""`serve --workers N`: one parent, N worker processes of one event loop each. The parent delivers nothing itself.

It starts a worker again that ends, ends one that stands still, replaces all of them one by one for another
configuration, and speaks for them: readiness, liveness, metrics. Touches processes.
"""

from __future__ import annotations

import asyncio
import socket
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from signal import SIGINT, SIGKILL, SIGTERM, Signals
from typing import Any, Final, TypeVar

import structlog

from router.application.progress import Line, Progress
from router.bootstrap.slots import (
    HURRIED_STOP_SECONDS,
    READY_POLL_SECONDS,
    STOP_SECONDS,
    Launch,
    Slot,
    WorkerProcess,
    start_failed,
    start_process,
)
from router.bootstrap.statements import Statement
from router.daemon import Step, StopSignal
from router.domain.errors import DependencyUnavailable, RouterError
from router.telemetry.merging import Family
from router.telemetry.metrics import Metrics

T = TypeVar("T")
log = structlog.get_logger("router.workers")

LOOK_SECONDS: Final = 1.0
_MARGIN_SECONDS: Final = 2.0


class WorkerProcesses:
    """Service: keeps every worker running. When one ends, the others do its work."""

    name = "workers"

    def __init__(
        self,
        count: int,
        launch: Launch,
        *,
        metrics: Metrics,
        stop: StopSignal,
        ended: Callable[[Sequence[Family]], None],
    ) -> None:
        """`ended` is told what a process had counted when it ended."""
        self._metrics = metrics
        self._ended = ended
        self._stop_signal = stop
        self._slots = [Slot(number, launch, self._spawn, metrics) for number in range(1, count + 1)]
        self._alive: set[WorkerProcess] = set()
        self._tasks: set[asyncio.Task[Any]] = set()
        self._stopping = False
        self._silence = Progress([_line(slot) for slot in self._slots], lambda: not self._stopping)
        self.signs = 0
        """How often one of them said that it is there and does not stall."""

    # --- start ---

    async def start(self) -> None:
        for slot in self._slots:
            await slot.start()

    async def wait_until_ready(self, patience_seconds: float) -> None:
        """Returns once each is ready or has failed, and one at least is ready.

        Raises ConfigurationRefused or DependencyUnavailable where all failed, or none is ready in time.
        """
        deadline = time.monotonic() + patience_seconds
        while True:
            ready = sum(slot.is_ready for slot in self._slots)
            waited_for = sum(not slot.is_ready and not slot.failures for slot in self._slots)
            is_late = time.monotonic() >= deadline
            if ready and (is_late or not waited_for):
                return
            if not ready and not waited_for:
                raise start_failed(slot.last_exit_code for slot in self._slots)
            if is_late:
                raise DependencyUnavailable("the worker processes did not become ready in time")
            await asyncio.sleep(READY_POLL_SECONDS)

    async def _spawn(self, number: int, launch: Launch) -> WorkerProcess:
        if self._stopping:
            await asyncio.Event().wait()  # until whoever wants it is cancelled, as everybody is now
        starting = self._keep(asyncio.create_task(self._start(number, launch), name=f"start-worker-{number}"))
        # Whoever waits may be cancelled, and the process must have an owner all the same.
        return await asyncio.shield(starting)

    async def _start(self, number: int, launch: Launch) -> WorkerProcess:
        process, parents_end = await start_process(number, launch)
        self._alive.add(process)
        log.info("worker_started", worker=number, pid=process.pid)
        self._keep(asyncio.create_task(self._own(process, parents_end), name=f"worker-{number}"))
        if self._stopping:
            process.send(SIGTERM)
        return process

    def _keep(self, task: asyncio.Task[T]) -> asyncio.Task[T]:
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)
        return task

    async def _own(self, process: WorkerProcess, parents_end: socket.socket) -> None:
        """Of one process, to its end: nothing that it counted is lost."""
        await process.listen(parents_end, self._heard)
        if process.last is not None:
            self._ended(process.last.metrics)
        self._alive.discard(process)
        if not self._stopping:
            self._slots[process.number - 1].noticed_end(process)

    def _heard(self, statement: Statement) -> None:
        self.signs += not statement.stalled

    # --- life ---

    async def run(self) -> None:
        async with asyncio.TaskGroup() as tasks:
            for slot in self._slots:
                tasks.create_task(slot.keep(), name=f"keep-worker-{slot.number}")
            tasks.create_task(self._look_after(), name="look-after-workers")

    async def _look_after(self) -> None:
        """End what stands still: whoever keeps its place then starts another."""
        while True:
            silent = self._silence.look(time.monotonic())
            for slot in self._slots:
                process = slot.current
                if process is None or process.exit_code is not None or process.is_ending:
                    continue
                if str(slot.number) in silent:
                    # It does not even turn its event loop, so it would not hear anything milder.
                    log.critical("worker_silent", worker=slot.number, pid=process.pid)
                    process.send(SIGKILL)
                elif process.last is not None and process.last.stalled:
                    log.critical("worker_stalled", worker=slot.number, pid=process.pid, parts=process.last.stalled)
                    self._keep(asyncio.create_task(process.stop(), name=f"end-worker-{slot.number}"))
            await asyncio.sleep(LOOK_SECONDS)

    async def replace(self, launch: Launch, patience_seconds: float) -> None:
        """Put another configuration to work, one worker after the other; the first one shows whether it is any good.

        Raises DependencyUnavailable or ConfigurationRefused where that one does not get ready: nothing has changed
        then. One of the others that does not is left as it is, and takes the configuration at its next start.
        """
        first, *others = self._slots
        await first.replace(launch, patience_seconds)
        for slot in others:
            try:
                await slot.replace(launch, patience_seconds)
            except RouterError as error:
                log.error("worker_not_replaced", worker=slot.number, error=str(error))
                slot.launch = launch

    # --- what they are like ---

    def checks(self) -> Mapping[str, bool]:
        """Readiness: each worker, and what keeps one that says so from being ready."""
        checks = {f"worker:{slot.number}": slot.is_ready for slot in self._slots}
        for slot in self._slots:
            if slot.current is not None and slot.current.exit_code is None and slot.current.last is not None:
                missing = (name for name, well in slot.current.last.checks.items() if not well)
                checks |= {f"worker:{slot.number}:{name}": False for name in missing}
        return checks

    def observe(self) -> None:
        """Bring the gauges up to date."""
        for slot in self._slots:
            self._metrics.worker_up.labels(str(slot.number)).set(slot.is_ready)

    def line(self) -> Line:
        """For the watchdog: any of them gives signs of life. One that does not is replaced; all of them are not."""
        return Line(name="workers", has_work=lambda: True, done=lambda: self.signs)

    def metrics(self) -> Iterable[Iterable[Family]]:
        """What each of them counts, those that are being replaced too."""
        return [process.last.metrics for process in self._alive if process.last is not None]

    # --- stop ---

    async def _stop(self) -> None:
        self._stopping = True
        self._send(SIGTERM)
        ended = asyncio.create_task(self._all_ended(), name="workers-ended")
        hurry = asyncio.create_task(self._stop_signal.hurry.wait(), name="hurry")
        try:
            await asyncio.wait({ended, hurry}, timeout=STOP_SECONDS, return_when=asyncio.FIRST_COMPLETED)
            if not ended.done():
                self._send(SIGINT)
                await asyncio.wait({ended}, timeout=HURRIED_STOP_SECONDS)
            if not ended.done():
                self._send(SIGKILL)
            await ended
        finally:
            hurry.cancel()

    async def _all_ended(self) -> None:
        while self._tasks:
            await asyncio.wait(self._tasks)

    def _send(self, number: Signals) -> None:
        for process in self._alive:
            process.send(number)

    def stop_step(self) -> Step:
        return Step(
            name="workers",
            action=self._stop,
            timeout_seconds=STOP_SECONDS + HURRIED_STOP_SECONDS + _MARGIN_SECONDS,
            hurried_seconds=HURRIED_STOP_SECONDS + _MARGIN_SECONDS,
        )


def _line(slot: Slot) -> Line:
    """Whether its process says anything at all."""
    return Line(
        name=str(slot.number),
        has_work=lambda: slot.current is not None and slot.current.exit_code is None,
        done=lambda: slot.current.said if slot.current is not None else 0,
    )
