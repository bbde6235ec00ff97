"""`serve --workers N`: one parent, N worker processes of one event loop each. The parent delivers nothing itself.

Each worker tells the parent over a pipe, once a second, whether it is ready. The same pipe tells a worker that its
parent is gone, however that ended: then it stops in order.
"""

from __future__ import annotations

import asyncio
import os
import signal
import sys
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Final

import structlog

from router.daemon import Step
from router.domain.errors import DependencyUnavailable

log = structlog.get_logger("router.processes")

# Without our settings' prefix, under which an unknown name is an error.
STATUS_FD_VARIABLE: Final = "WEBHOOK_ROUTER_STATUS_FD"
STATUS_SECONDS: Final = 1.0
STOP_SECONDS: Final = 45.0
"""Longer than a worker's own shutdown may take."""
_READY: Final = b"1"
_NOT_READY: Final = b"0"


@dataclass(slots=True)
class _Child:
    process: asyncio.subprocess.Process
    status_fd: int
    is_ready: bool = False

    def read_status(self) -> None:
        status = os.read(self.status_fd, 4096)
        self.is_ready = status.endswith(_READY)
        if not status:
            asyncio.get_running_loop().remove_reader(self.status_fd)


class WorkerProcesses:
    """Service: runs as long as every child does; the end of one ends the daemon, which its manager restarts."""

    name = "workers"

    def __init__(self, count: int, arguments: Sequence[str], environment: Mapping[str, str]) -> None:
        self._count = count
        self._arguments = arguments
        self._environment = {**os.environ, **environment}
        self._children: list[_Child] = []
        self._stopping = False

    async def start(self) -> None:
        for _ in range(self._count):
            self._children.append(await self._spawn())

    async def _spawn(self) -> _Child:
        reading, writing = os.pipe()
        try:
            process = await asyncio.create_subprocess_exec(
                sys.executable,
                *("-m", "router", *self._arguments),
                env={**self._environment, STATUS_FD_VARIABLE: str(writing)},
                pass_fds=(writing,),
                # Ctrl-C is for the parent, which then asks each child once.
                start_new_session=True,
            )
        finally:
            os.close(writing)
        child = _Child(process, reading)
        asyncio.get_running_loop().add_reader(reading, child.read_status)
        return child

    async def wait_until_ready(self, patience_seconds: float) -> None:
        """Returns once every worker is. Raises DependencyUnavailable where one ended or is not ready in time."""
        try:
            async with asyncio.timeout(patience_seconds):
                while not self.are_ready():
                    if self.exit_code is not None:
                        raise DependencyUnavailable("a worker process could not start; its own message is above")
                    await asyncio.sleep(0.05)
        except TimeoutError:
            raise DependencyUnavailable("the worker processes did not become ready in time") from None

    async def run(self) -> None:
        ends = [
            asyncio.create_task(child.process.wait(), name=f"worker-{child.process.pid}") for child in self._children
        ]
        await asyncio.wait(ends, return_when=asyncio.FIRST_COMPLETED)
        for child in self._children:
            if child.process.returncode is not None and not self._stopping:
                log.error("worker_ended", pid=child.process.pid, exit_code=child.process.returncode)
        if self._stopping:
            await asyncio.wait(ends)

    @property
    def exit_code(self) -> int | None:
        """How the first worker that ended did; None while all run."""
        codes = [child.process.returncode for child in self._children if child.process.returncode is not None]
        return codes[0] if codes else None

    def are_ready(self) -> bool:
        return len(self._children) == self._count and all(child.is_ready for child in self._children)

    async def _stop(self) -> None:
        self._stopping = True
        for child in self._children:
            if child.process.returncode is None:
                child.process.send_signal(signal.SIGTERM)
        await asyncio.gather(*(child.process.wait() for child in self._children))

    def stop_steps(self) -> list[Step]:
        return [Step(name="workers", action=self._stop, timeout_seconds=STOP_SECONDS)]


class StatusToParent:
    """Service of a worker process: tells its parent whether it is ready, and stops with it."""

    name = "status"

    def __init__(self, fd: int, is_ready: Callable[[], bool], stop: Callable[[], None]) -> None:
        self._fd = fd
        self._is_ready = is_ready
        self._stop = stop

    async def run(self) -> None:
        while True:
            try:
                os.write(self._fd, _READY if self._is_ready() else _NOT_READY)
            except BrokenPipeError:
                log.error("parent_gone")
                self._stop()
                await asyncio.Event().wait()
            await asyncio.sleep(STATUS_SECONDS)


def status_fd() -> int | None:
    """The pipe to our parent, where we are a worker process of one."""
    text = os.environ.get(STATUS_FD_VARIABLE, "")
    return int(text) if text.isdigit() else None
