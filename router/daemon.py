"""Runs services until a signal or a failure, then stops them in named steps, in the order of the data.

A service that ends by itself is a failure: a daemon with a dead part must not go on looking alive.
"""

from __future__ import annotations

import asyncio
import signal
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from typing import Final, Protocol

import structlog

from router.domain.errors import ConfigurationRefused

log = structlog.get_logger("router.daemon")

EXIT_OK: Final = 0
EXIT_UNAVAILABLE: Final = 69
EXIT_INTERNAL: Final = 70
EXIT_CONFIGURATION: Final = 78
LEFTOVER_ROUNDS: Final = 3
LEFTOVER_SECONDS: Final = 1.0
"""For each round of cancelling what is left when everything of ours has ended."""


class Service(Protocol):
    """Something that runs as long as the daemon does."""

    name: str

    async def run(self) -> None:
        """Work until stopped; leave nothing half done."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Step:
    """One step of the shutdown: what is done, and for how long it may last; `hurried_seconds` in a hurry."""

    name: str
    action: Callable[[], Awaitable[object]]
    timeout_seconds: float
    hurried_seconds: float = 0


class StopSignal:
    """SIGTERM and SIGINT: the first asks for a stop, the second for a quick one. SIGHUP asks for a reload."""

    def __init__(self) -> None:
        self.asked = asyncio.Event()
        self.hurry = asyncio.Event()
        self.reload = asyncio.Event()

    def install(self) -> None:
        loop = asyncio.get_running_loop()
        for number in (signal.SIGTERM, signal.SIGINT):
            loop.add_signal_handler(number, self.ask)
        loop.add_signal_handler(signal.SIGHUP, self.reload.set)

    def install_below_parent(self) -> None:
        """As a worker process: SIGTERM asks and SIGINT hurries, both from our parent.

        A service manager may send SIGTERM to every process of a unit, and `pkill -HUP` finds every one: the first must
        not count twice here, and the second is the parent's to act on.
        """
        loop = asyncio.get_running_loop()
        loop.add_signal_handler(signal.SIGTERM, self.asked.set)
        loop.add_signal_handler(signal.SIGINT, self._hurry)
        loop.add_signal_handler(signal.SIGHUP, lambda: None)

    def ask(self) -> None:
        if self.asked.is_set():
            self.hurry.set()
        self.asked.set()

    def _hurry(self) -> None:
        self.asked.set()
        self.hurry.set()

    async def unless_asked(self, action: Awaitable[object]) -> bool:
        """Await `action`, but give up as soon as a stop is asked for. False where it was given up."""
        task = asyncio.ensure_future(action)
        asked = asyncio.create_task(self.asked.wait(), name="stop-asked")
        try:
            await asyncio.wait({task, asked}, return_when=asyncio.FIRST_COMPLETED)
            if task.done():
                task.result()
                return True
            return False
        finally:
            asked.cancel()
            if not task.done():
                task.cancel()
                await asyncio.gather(task, return_exceptions=True)


class Supervisor:
    """Owns the tasks of the services."""

    def __init__(self, stop: StopSignal) -> None:
        self._stop = stop
        self._tasks: dict[str, asyncio.Task[None]] = {}

    def start(self, services: Sequence[Service]) -> None:
        for service in services:
            self._tasks[service.name] = asyncio.create_task(service.run(), name=service.name)

    async def watch(self) -> int:
        """Wait for a signal or for the end of any service. Returns the exit code that follows."""
        asked = asyncio.create_task(self._stop.asked.wait(), name="stop-asked")
        try:
            await asyncio.wait({asked, *self._tasks.values()}, return_when=asyncio.FIRST_COMPLETED)
        finally:
            asked.cancel()
        failed = [task for task in self._tasks.values() if task.done()]
        for task in failed:
            error = None if task.cancelled() else task.exception()
            log.critical("service_ended", service=task.get_name(), exc_info=error)
        if any(not task.cancelled() and isinstance(task.exception(), ConfigurationRefused) for task in failed):
            return EXIT_CONFIGURATION
        return EXIT_INTERNAL if failed else EXIT_OK

    async def ended(self, service: Service) -> None:
        """Wait until a service has ended, however it did."""
        task = self._tasks.get(service.name)
        if task is not None:
            await asyncio.gather(task, return_exceptions=True)

    async def shut_down(self, steps: Sequence[Step]) -> None:
        """Take the steps one by one; one that fails or lasts too long does not keep the next from being taken."""
        for step in steps:
            action = asyncio.ensure_future(step.action())
            hurry = asyncio.create_task(self._stop.hurry.wait(), name="hurry")
            await asyncio.wait({action, hurry}, timeout=step.timeout_seconds, return_when=asyncio.FIRST_COMPLETED)
            if hurry.done() and not action.done():
                await asyncio.wait({action}, timeout=step.hurried_seconds)
            hurry.cancel()
            if not action.done():
                log.warning("shutdown_step_cut_short", step=step.name)
                action.cancel()
            results = await asyncio.gather(action, return_exceptions=True)
            if isinstance(results[0], Exception):
                log.error("shutdown_step_failed", step=step.name, exc_info=results[0])
        for task in self._tasks.values():
            task.cancel()
        await asyncio.gather(*self._tasks.values(), return_exceptions=True)


async def end_leftovers() -> Sequence[str]:
    """Cancel every other task of the loop until it ends. Names of those that do not.

    A client library can swallow a cancellation, as aiormq does when a connection's close is cut short; the loop's own
    clean-up cancels once and then waits for ever.
    """
    current = asyncio.current_task()
    for _ in range(LEFTOVER_ROUNDS):
        leftovers = asyncio.all_tasks() - {current}
        for task in leftovers:
            task.cancel()
        if not leftovers:
            break
        await asyncio.wait(leftovers, timeout=LEFTOVER_SECONDS)
    return sorted(task.get_name() for task in asyncio.all_tasks() - {current})
