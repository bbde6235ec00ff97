"""How old an event is when its publisher's clock cannot be trusted. A small state machine; time is an argument.

The publisher's clock is measured on its own live traffic: an event that arrives while its queue is empty was
published just now, so reception minus `occurred_at` is the clock's error (plus a transit time that the smallest
of the last samples keeps small). What waited in a queue is not measured: there, the difference is real age. What was
measured before a restart counts until there are samples again.
"""

from __future__ import annotations

from collections import deque
from datetime import datetime, timedelta
from typing import Final

SAMPLES: Final = 20
"""Live events that an estimate looks back on: a clock set forward is followed at once, one set back after these."""
PLAUSIBLE_AGE: Final = timedelta(minutes=15)
"""A live event that seems older than this, beyond what was measured, shows a wrong clock and not a late event."""


class PublisherClock:
    """The measured error of one publisher's clock: what to add to its times to get ours."""

    def __init__(self) -> None:
        self._samples: deque[timedelta] = deque(maxlen=SAMPLES)
        self._recalled: timedelta | None = None

    def recall(self, error: timedelta) -> None:
        """Take up what an earlier run measured, for as long as nothing is measured in this one."""
        self._recalled = error

    @property
    def measured(self) -> timedelta | None:
        """The error as measured in this run; None before its first live event."""
        return min(self._samples) if self._samples else None

    def born_at(self, occurred_at: datetime | None, received_at: datetime, *, live: bool) -> datetime:
        """When an event happened, on our clock; never later than it was received.

        `live` says that nothing waited before it in its queue. An event is judged by those before it: the first
        one of a publisher, where it seems late by a plausible time, is taken to be late.
        """
        if occurred_at is None:
            return received_at
        difference = received_at - occurred_at
        known = self._known
        if live and known is not None and difference - known > PLAUSIBLE_AGE:
            self._samples.clear()  # the clock was set back: what was measured is worth nothing
            self._recalled = None
        error = self._error(difference)
        if live:
            self._samples.append(difference)
        return min(received_at, occurred_at + error)

    def _error(self, difference: timedelta) -> timedelta:
        if self._known is not None:
            return self._known
        return difference if abs(difference) > PLAUSIBLE_AGE else timedelta()

    @property
    def _known(self) -> timedelta | None:
        return min(self._samples) if self._samples else self._recalled
