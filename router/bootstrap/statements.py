"""What a worker process says to its parent, once a second and once more when it has stopped: how it is, its metrics.
Touches the socket between the two, which also tells each of them that the other is gone.
"""

from __future__ import annotations

import asyncio
import os
import socket
from collections.abc import AsyncGenerator, Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from typing import Final

import orjson
import structlog

from router.telemetry.merging import Family

log = structlog.get_logger("router.statements")

# Without our settings' prefix, under which an unknown name is an error.
FD_VARIABLE: Final = "WEBHOOK_ROUTER_STATEMENTS_FD"
STATEMENT_SECONDS: Final = 1.0
LAST_WORDS_SECONDS: Final = 2.0
MAX_STATEMENT_BYTES: Final = 1024 * 1024
"""About a hundred times of what is said; a process that says more is not listened to any longer."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Statement:
    """How a worker process is. `checks` are those of readiness, `stalled` what has work and does not move."""

    checks: Mapping[str, bool]
    stalled: Sequence[str]
    metrics: Sequence[Family]

    @property
    def is_ready(self) -> bool:
        return all(self.checks.values())

    def encode(self) -> bytes:
        metrics = [
            (family.name, family.kind, family.text, [(*key, value) for key, value in family.values.items()])
            for family in self.metrics
        ]
        said = {"checks": self.checks, "stalled": self.stalled, "metrics": metrics}
        return orjson.dumps(said, option=orjson.OPT_APPEND_NEWLINE)

    @classmethod
    def decode(cls, line: bytes) -> Statement:
        """Raises ValueError or KeyError for what is none."""
        said = orjson.loads(line)
        metrics = [
            Family(
                name=name,
                kind=kind,
                text=text,
                values={
                    (sample, tuple((key, word) for key, word in labels)): value for sample, labels, value in values
                },
            )
            for name, kind, text, values in said["metrics"]
        ]
        return cls(checks=said["checks"], stalled=said["stalled"], metrics=metrics)


async def statements(parents_end: socket.socket) -> AsyncGenerator[Statement, None]:
    """What a worker process says, until it ends or says what is no statement. Closes the socket."""
    reader, writer = await asyncio.open_unix_connection(sock=parents_end, limit=MAX_STATEMENT_BYTES)
    try:
        while line := await reader.readline():
            yield Statement.decode(line)
    finally:
        writer.close()
        with suppress(OSError):
            await writer.wait_closed()


class StatementsToParent:
    """Service of a worker process: tells its parent how it is, and stops with it."""

    name = "statements"

    def __init__(self, fd: int, state: Callable[[], Statement], stop: Callable[[], None]) -> None:
        self._socket = socket.socket(fileno=fd)
        self._socket.set_inheritable(False)
        self._state = state
        self._stop = stop
        self._writer: asyncio.StreamWriter | None = None

    async def run(self) -> None:
        reader, self._writer = await asyncio.open_unix_connection(sock=self._socket)
        gone = asyncio.create_task(reader.read(1), name="parent-gone")
        try:
            while not gone.done():
                self._say()
                await asyncio.wait({gone}, timeout=STATEMENT_SECONDS)
        finally:
            gone.cancel()
        log.error("parent_gone")
        self._stop()
        await asyncio.Event().wait()

    def _say(self) -> None:
        # A parent that stands still hears the newest when it goes on, and not all that it missed.
        if self._writer is not None and self._writer.transport.get_write_buffer_size() == 0:
            self._writer.write(self._state().encode())

    async def last_words(self) -> None:
        """What was counted until the end; a parent that does not listen is not waited for."""
        if self._writer is None:
            return
        with suppress(OSError, TimeoutError):
            async with asyncio.timeout(LAST_WORDS_SECONDS):
                self._writer.write(self._state().encode())
                await self._writer.drain()
                self._writer.close()
                await self._writer.wait_closed()


def parents_fd() -> int | None:
    """The socket to our parent, where we are a worker process of one."""
    text = os.environ.get(FD_VARIABLE, "")
    return int(text) if text.isdigit() else None
