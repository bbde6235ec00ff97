"""How old an event is when its publisher's clock cannot be trusted. A small state machine; time is an argument.

The publisher's clock is measured on its own live traffic: an event that arrives while its queue is empty was
published just now, so reception minus `occurred_at` is the clock's error (plus a transit time that the smallest
of the last samples keeps small). What waited in a queue is not measured: there, the difference is real age.
"""

from __future__ import annotations

from collections import deque
from datetime import datetime, timedelta
from typing import Final

SAMPLES: Final = 20
"""Live events that an estimate looks back on: a clock set forward is followed at once, one set back after these."""
UNMEASURED_LIMIT: Final = timedelta(minutes=15)
"""Before anything was measured, a larger difference is taken for a wrong clock, not for age."""


class PublisherClock:
    """The measured error of one publisher's clock: what to add to its times to get ours."""

    def __init__(self) -> None:
        self._samples: deque[timedelta] = deque(maxlen=SAMPLES)

    def born_at(self, occurred_at: datetime | None, received_at: datetime, *, live: bool) -> datetime:
        """When an event happened, on our clock; never later than it was received.

        `live` says that nothing waited before it in its queue.
        """
        if occurred_at is None:
            return received_at
        difference = received_at - occurred_at
        if live:
            self._samples.append(difference)
        return min(received_at, occurred_at + self._error(difference))

    def _error(self, difference: timedelta) -> timedelta:
        if not self._samples:
            implausible = abs(difference) > UNMEASURED_LIMIT
            return difference if implausible else timedelta()
        return min(self._samples)
