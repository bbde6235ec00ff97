"""One worker of `serve --workers N`: the process that is at its place now, and how the next one comes there, after a
crash or with another configuration. Touches processes.
"""

from __future__ import annotations

import asyncio
import os
import socket
import sys
import time
from collections.abc import Awaitable, Callable, Iterable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from signal import SIGINT, SIGKILL, SIGTERM, Signals
from typing import Final

import structlog

from router.bootstrap.statements import FD_VARIABLE, Statement, statements
from router.daemon import EXIT_CONFIGURATION
from router.domain.errors import ConfigurationRefused, DependencyUnavailable
from router.telemetry.metrics import Metrics

log = structlog.get_logger("router.workers")

# Without our settings' prefix, under which an unknown name is an error.
NUMBER_VARIABLE: Final = "WEBHOOK_ROUTER_WORKER"
RESTART_DELAYS_SECONDS: Final = (0.0, 1.0, 2.0, 4.0, 8.0, 16.0, 30.0)
"""Before the first, second, … start in a row; the last is that of all further ones. Only one that was ready is started
again at once."""
STEADY_SECONDS: Final = 60.0
"""A worker that ran for so long begins at the first delay again."""
CRASH_LOOP_AFTER: Final = 5
STOP_SECONDS: Final = 48.0
"""Longer than a worker's own shutdown may take with the settings as they are by default."""
HURRIED_STOP_SECONDS: Final = 10.0
"""The same, after a second signal."""
READY_POLL_SECONDS: Final = 0.05
_PARENTS_OWN: Final = frozenset({"NOTIFY_SOCKET", "WATCHDOG_USEC", "WATCHDOG_PID"})
"""What the service manager says to the process that it has started."""
_REST_SECONDS: Final = 1.0
"""For what a process has said and that is still to be read when it has ended."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Launch:
    """With what a worker process is started. `configuration` is the text of the settings' file as it was accepted:
    the file itself may be wrong by the time that a worker is started again."""

    arguments: Sequence[str]
    environment: Mapping[str, str]
    configuration: str


# --- one process -----------------------------------------------------------------------------------


class WorkerProcess:
    """One process, from its start to its end."""

    def __init__(self, number: int, process: asyncio.subprocess.Process) -> None:
        self.number = number
        self.pid = process.pid
        self.began = time.monotonic()
        self.last: Statement | None = None
        """What it said last."""
        self.said = 0
        """How often it said anything."""
        self.was_ready = False
        self._process = process
        self._ending: asyncio.Task[None] | None = None

    @property
    def exit_code(self) -> int | None:
        """None while it runs; negative where a signal ended it."""
        return self._process.returncode

    @property
    def is_ready(self) -> bool:
        return self.exit_code is None and self.last is not None and self.last.is_ready

    @property
    def is_ending(self) -> bool:
        return self._ending is not None

    async def listen(self, parents_end: socket.socket, heard: Callable[[Statement], None]) -> None:
        """Hear what it says, until it has ended and nothing of it is left to read."""
        listening = asyncio.create_task(self._hear(parents_end, heard), name=f"hear-worker-{self.number}")
        await self._process.wait()
        await asyncio.wait({listening}, timeout=_REST_SECONDS)
        listening.cancel()
        await asyncio.gather(listening, return_exceptions=True)

    async def _hear(self, parents_end: socket.socket, heard: Callable[[Statement], None]) -> None:
        try:
            async for statement in statements(parents_end):
                self.last = statement
                self.said += 1
                self.was_ready = self.was_ready or statement.is_ready
                heard(statement)
        except (OSError, ValueError, KeyError) as error:
            # The end of the socket ends the process in order, and its place is filled again.
            log.error("worker_unintelligible", worker=self.number, pid=self.pid, error=type(error).__name__)

    def send(self, number: Signals) -> None:
        if self.exit_code is None:
            self._process.send_signal(number)

    async def stop(self) -> None:
        """Ask it to stop, hurry it once it had its time, and make it stop at last."""
        if self._ending is None:
            self._ending = asyncio.create_task(self._end(), name=f"end-worker-{self.number}")
        await asyncio.shield(self._ending)

    async def _end(self) -> None:
        for number, seconds in ((SIGTERM, STOP_SECONDS), (SIGINT, HURRIED_STOP_SECONDS)):
            self.send(number)
            with suppress(TimeoutError):
                async with asyncio.timeout(seconds):
                    await self._process.wait()
        self.send(SIGKILL)
        await self._process.wait()


async def start_process(number: int, launch: Launch) -> tuple[WorkerProcess, socket.socket]:
    """A new process, and our end of the socket that it speaks into."""
    ours, theirs = socket.socketpair()
    configuration = os.memfd_create("router.toml")
    try:
        os.write(configuration, launch.configuration.encode())
        process = await asyncio.create_subprocess_exec(
            sys.executable,
            *("-m", "router", *launch.arguments),
            env={
                **{name: value for name, value in os.environ.items() if name not in _PARENTS_OWN},
                **launch.environment,
                "ROUTER_CONFIG": f"/proc/self/fd/{configuration}",
                FD_VARIABLE: str(theirs.fileno()),
                NUMBER_VARIABLE: str(number),
            },
            pass_fds=(theirs.fileno(), configuration),
            # Ctrl-C is for the parent, which then asks each child once.
            start_new_session=True,
        )
    except BaseException:
        ours.close()
        raise
    finally:
        os.close(configuration)
        theirs.close()
    return WorkerProcess(number, process), ours


async def wait_until_ready(process: WorkerProcess, patience_seconds: float) -> None:
    """Raises DependencyUnavailable or ConfigurationRefused where it ends first, or is not ready in time."""
    deadline = time.monotonic() + patience_seconds
    while not process.is_ready:
        if process.exit_code is not None:
            raise start_failed([process.exit_code])
        if time.monotonic() >= deadline:
            raise DependencyUnavailable("a worker process did not become ready in time; its log says why")
        await asyncio.sleep(READY_POLL_SECONDS)


def start_failed(exit_codes: Iterable[int | None]) -> ConfigurationRefused | DependencyUnavailable:
    """What it means that worker processes ended before they were ready."""
    text = "no worker process could start; their own messages are above"
    return ConfigurationRefused(text) if EXIT_CONFIGURATION in exit_codes else DependencyUnavailable(text)


def restart_delay(failures: int, *, was_ready: bool) -> float:
    """Seconds to wait after so many earlier ends in a row."""
    step = failures if was_ready else failures + 1
    return RESTART_DELAYS_SECONDS[min(step, len(RESTART_DELAYS_SECONDS) - 1)]


# --- its place -------------------------------------------------------------------------------------


class Slot:
    """Keeps one worker running. `spawn` starts a process and says `noticed_end` when it has ended."""

    def __init__(
        self,
        number: int,
        launch: Launch,
        spawn: Callable[[int, Launch], Awaitable[WorkerProcess]],
        metrics: Metrics,
        sleep: Callable[[float], Awaitable[None]] = asyncio.sleep,
    ) -> None:
        self.number = number
        self.launch = launch
        self.current: WorkerProcess | None = None
        self.failures = 0
        """Ends in a row that nobody asked for, without a long life between them."""
        self.last_exit_code: int | None = None
        self._spawn = spawn
        self._metrics = metrics
        self._sleep = sleep
        self._ended = asyncio.Event()
        self._starting = asyncio.Lock()

    @property
    def is_ready(self) -> bool:
        return self.current is not None and self.current.is_ready

    async def start(self) -> None:
        async with self._starting:
            self.current = await self._spawn(self.number, self.launch)

    def noticed_end(self, process: WorkerProcess) -> None:
        """A process of this place has ended, be it the current one or one that was replaced."""
        if process is self.current:
            self._ended.set()

    async def keep(self) -> None:
        """Start the worker again whenever it ends by itself; runs for ever."""
        while True:
            await self._ended.wait()
            self._ended.clear()
            ended = self.current
            if ended is None or ended.exit_code is None:
                continue
            delay = self._note_end(ended)
            while not await self._fill(ended, delay):
                delay = RESTART_DELAYS_SECONDS[-1]

    def _note_end(self, ended: WorkerProcess) -> float:
        """Log the end; returns for how many seconds the next start has to wait."""
        if time.monotonic() - ended.began >= STEADY_SECONDS:
            self.failures = 0
        delay = restart_delay(self.failures, was_ready=ended.was_ready)
        self.failures += 1
        self.last_exit_code = ended.exit_code
        self._metrics.worker_restarts.labels(str(self.number)).inc()
        log.error(
            "worker_ended",
            worker=self.number,
            pid=ended.pid,
            exit_code=ended.exit_code,
            failures=self.failures,
            again_in_seconds=delay,
        )
        if self.failures == CRASH_LOOP_AFTER:
            log.critical("worker_crash_loop", worker=self.number, exit_code=ended.exit_code)
        return delay

    async def _fill(self, ended: WorkerProcess, delay: float) -> bool:
        """Start the successor of a process that has ended, unless another configuration fills the place meanwhile."""
        await self._sleep(delay)
        async with self._starting:
            if self.current is ended:
                try:
                    self.current = await self._spawn(self.number, self.launch)
                except OSError as error:  # no memory, no descriptors: not for ever
                    log.error("worker_not_started", worker=self.number, error=os.strerror(error.errno or 0))
                    return False
        return True

    async def replace(self, launch: Launch, patience_seconds: float) -> None:
        """Put a process with another configuration in the place: it works before the old one is asked to stop.

        Raises DependencyUnavailable or ConfigurationRefused where it does not get ready; the old one then stays.
        """
        async with self._starting:
            successor = await self._spawn(self.number, launch)
            try:
                await wait_until_ready(successor, patience_seconds)
            except (ConfigurationRefused, DependencyUnavailable):
                await successor.stop()
                raise
            old, self.current, self.launch = self.current, successor, launch
            self.failures = 0
        if old is not None:
            await old.stop()
