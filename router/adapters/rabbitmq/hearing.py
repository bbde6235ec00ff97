"""Whether a consumer hears: judges what the pulses of a subscription saw. A small state machine; touches nothing.

A consumer can be gone, or its messages lost on the way, while its connection answers: then messages are ready in the
queue, we have room for them, and none comes.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum, auto
from typing import Final

ABSENT_PULSES: Final = 2
"""A queue that answers so often that nobody consumes from it has lost us; once may be a leader that just moved."""
MAX_PATIENCE: Final = 60
"""Pulses. A queue with one active consumer keeps the others waiting behind a backlog: they are not told apart from
the deaf, and must not begin again for ever."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Pulse:
    """What one pulse saw: messages `ready` in the queue, its `consumers`, how many messages have ever `arrived` here,
    and whether the broker may send us more (`has_room`: less than the prefetch is unsettled)."""

    ready: int
    consumers: int
    arrived: int
    has_room: bool


class Hearing(Enum):
    """What the pulses say of a consumer."""

    WELL = auto()
    SILENT = auto()
    """It looks deaf, but was begun again for that a short while ago."""
    DEAF = auto()


class Listener:
    """One subscription's memory of its pulses.

    Deaf is: ready messages and room at two pulses, and no arrival between them. A message may be ready for a moment;
    one that waits for a whole pulse, while we have room, should have come. Other consumers of the queue do not
    matter: the broker keeps nothing from a consumer with room. Who is still deaf after a new beginning is given
    twice the time.
    """

    def __init__(self) -> None:
        self._patience = 1
        self._arrived = 0
        self._was_hungry = False
        self._silent = 0
        self._absent = 0

    def begin(self, *, arrived: int) -> None:
        """A new consumer: what the pulses of the last one saw does not count."""
        self._arrived, self._was_hungry, self._silent, self._absent = arrived, False, 0, 0

    def judge(self, pulse: Pulse) -> Hearing:
        has_moved = pulse.arrived != self._arrived
        is_hungry = pulse.ready > 0 and pulse.has_room
        if has_moved:
            self._patience = 1
        self._silent = self._silent + 1 if is_hungry and self._was_hungry and not has_moved else 0
        self._absent = self._absent + 1 if pulse.consumers == 0 else 0
        self._arrived, self._was_hungry = pulse.arrived, is_hungry

        if self._absent >= ABSENT_PULSES:
            return Hearing.DEAF
        if self._silent >= self._patience:
            self._patience = min(2 * self._patience, MAX_PATIENCE)
            return Hearing.DEAF
        return Hearing.SILENT if self._silent else Hearing.WELL
