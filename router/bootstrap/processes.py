"""`serve --workers N`: one parent, N worker processes of one event loop each. The parent delivers nothing itself."""

from __future__ import annotations

import asyncio
import os
import signal
import sys
from collections.abc import Mapping, Sequence
from typing import Final

import structlog

from router.daemon import Step

log = structlog.get_logger("router.processes")

STOP_SECONDS: Final = 40.0
"""Longer than a worker's own shutdown may take."""


class WorkerProcesses:
    """Service: runs as long as every child does; the end of one ends the daemon, which its manager restarts."""

    name = "workers"

    def __init__(self, count: int, arguments: Sequence[str], environment: Mapping[str, str]) -> None:
        self._count = count
        self._arguments = arguments
        self._environment = {**os.environ, **environment}
        self._children: list[asyncio.subprocess.Process] = []

    async def run(self) -> None:
        for _ in range(self._count):
            child = await asyncio.create_subprocess_exec(
                sys.executable, "-m", "router", *self._arguments, env=self._environment
            )
            self._children.append(child)
        ends = [asyncio.create_task(child.wait(), name=f"worker-{child.pid}") for child in self._children]
        await asyncio.wait(ends, return_when=asyncio.FIRST_COMPLETED)
        for child in self._children:
            if child.returncode is not None:
                log.error("worker_ended", pid=child.pid, exit_code=child.returncode)

    def alive(self) -> Mapping[str, bool]:
        alive = len(self._children) == self._count and all(child.returncode is None for child in self._children)
        return {"workers": alive}

    async def _stop(self) -> None:
        for child in self._children:
            if child.returncode is None:
                child.send_signal(signal.SIGTERM)
        await asyncio.gather(*(child.wait() for child in self._children))

    def stop_steps(self) -> list[Step]:
        return [Step(name="workers", action=self._stop, timeout_seconds=STOP_SECONDS)]
