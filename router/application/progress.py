"""Whether the worker gets on with its work: each line of work says whether there is some, and how much it has done.
A small state machine; time is an argument, and what it asks are callables.

A process can live, answer probes and do nothing: a task that waits for what never comes. A timer that tells the
service manager "alive" would hide just that.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Final

STALL_SECONDS: Final = 60.0
"""Work, and nothing done for so long, is a stall: longer than any single thing that we wait for."""
MAX_STEP_SECONDS: Final = 10.0
"""What one look may count. A process that was stopped for an hour had no chance to do anything in it; only time in
which it was looked at again and again counts."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Line:
    """One line of work. `has_work` is false also where it waits for good reason; `done` only ever grows."""

    name: str
    has_work: Callable[[], bool]
    done: Callable[[], int]


@dataclass(slots=True)
class _Seen:
    done: int = -1
    idle_seconds: float = 0.0


class Progress:
    """Looks at all lines now and then. `may_work` is false while the store is away, or everything is stopping."""

    def __init__(self, lines: Sequence[Line], may_work: Callable[[], bool]) -> None:
        self._lines = lines
        self._may_work = may_work
        self._seen = {line.name: _Seen() for line in lines}
        self._looked_at: float | None = None
        self.stalled: Sequence[str] = ()
        """The names of the lines that stall, as of the last look."""

    def look(self, now: float) -> Sequence[str]:
        """The lines that stall at the monotonic second `now`. To be called every few seconds."""
        step = 0.0 if self._looked_at is None else min(now - self._looked_at, MAX_STEP_SECONDS)
        self._looked_at = now
        may_work = self._may_work()
        for line in self._lines:
            self._judge(line, self._seen[line.name], step, may_work=may_work)
        self.stalled = [name for name, seen in self._seen.items() if seen.idle_seconds >= STALL_SECONDS]
        return self.stalled

    @staticmethod
    def _judge(line: Line, seen: _Seen, step: float, *, may_work: bool) -> None:
        done = line.done()
        if may_work and line.has_work() and done == seen.done:
            seen.idle_seconds += step
        else:
            seen.idle_seconds = 0.0
        seen.done = done
