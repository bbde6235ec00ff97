"""How the demo talks while it runs, and the plain way of it: one line per second, for logs and pipes.

Writes to the stream that it is given; keeps no counts.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager
from typing import Protocol, TextIO

from router.demo.board import Board


class Screen(Protocol):
    """What the demo says, in the order in which it is called."""

    def title(self, text: str) -> None: ...

    def step(self, name: str, text: str, *, paste: Sequence[str] = ()) -> None:
        """Something is done and stays true; `paste` are lines to copy whole."""

    def busy(self, text: str) -> AbstractContextManager[None]:
        """Something takes long."""

    def open(self, board: Board) -> None:
        """From now on `refresh` shows the board."""

    async def refresh(self) -> None:
        """Show how it stands; called several times a second."""

    def close(self) -> None:
        """Leave the stream as it was. May be called at any time, and twice."""


class LineScreen:
    """Plain text."""

    def __init__(self, stream: TextIO) -> None:
        self._stream = stream
        self._board: Board | None = None
        self._next_line_at = 1.0

    def title(self, text: str) -> None:
        self._write(text)

    def step(self, name: str, text: str, *, paste: Sequence[str] = ()) -> None:
        self._write(f"{name}: {text}")
        for line in paste:
            self._write(f"    {line}")

    @contextmanager
    def busy(self, text: str) -> Iterator[None]:
        self._write(f"{text} …")
        yield

    def open(self, board: Board) -> None:
        self._board = board

    async def refresh(self) -> None:
        board = self._board
        if board is None or board.elapsed_seconds < self._next_line_at:
            return
        self._next_line_at = math.floor(board.elapsed_seconds) + 1.0
        self._write(progress_line(board))

    def close(self) -> None:
        self._board = None

    def _write(self, text: str) -> None:
        # A reader that went away, or a full disk, is no reason to end.
        try:
            self._stream.write(text + "\n")
            self._stream.flush()
        except (OSError, ValueError):
            pass


def progress_line(board: Board) -> str:
    """How it stands, as `name=value` after the time."""
    figures = board.figures()
    fields = {
        "published": figures.published,
        "delivered": figures.delivered,
        "retrying": figures.retrying,
        "failed_on_purpose": figures.failed,
        "dead_letters": figures.dead_letters,
        "p50_ms": _milliseconds(figures.p50_seconds),
        "p99_ms": _milliseconds(figures.p99_seconds),
    }
    text = " ".join(f"{name}={'-' if value is None else value}" for name, value in fields.items())
    return f"{board.elapsed_seconds:.0f}s {text}" + (f" ({board.phase})" if board.phase else "")


def _milliseconds(seconds: float | None) -> str | None:
    return None if seconds is None else f"{seconds * 1000:.0f}"
