"""How often somebody may do something: token buckets in memory, a bounded number of them. Reads a monotonic clock."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable, Hashable
from dataclasses import dataclass
from typing import Final

MAX_BUCKETS: Final = 10_000
"""Buckets kept of one kind. Beyond them the one that was unused for longest is forgotten, hence full again."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Rate:
    """So many at once, and so many each second afterwards."""

    per_second: float
    burst: float


class Buckets:
    """One bucket for each key. `clock` gives monotonic seconds."""

    def __init__(self, rate: Rate, clock: Callable[[], float], *, at_most: int = MAX_BUCKETS) -> None:
        self._rate = rate
        self._clock = clock
        self._at_most = at_most
        self._buckets: OrderedDict[Hashable, tuple[float, float]] = OrderedDict()
        """What is in each, and when that was so."""

    def __len__(self) -> int:
        return len(self._buckets)

    def wait(self, key: Hashable) -> float:
        """Seconds until there is one to take; 0 where there is one now. Takes none."""
        return self._seconds_to_one(self._level(key, self._clock()))

    def take(self, key: Hashable) -> float:
        """Take one. 0 where there was one, else the seconds until there will be."""
        now = self._clock()
        level = self._level(key, now)
        wait = self._seconds_to_one(level)

        self._buckets[key] = (level if wait else level - 1, now)
        self._buckets.move_to_end(key)
        if len(self._buckets) > self._at_most:
            self._buckets.popitem(last=False)
        return wait

    def _level(self, key: Hashable, now: float) -> float:
        level, at = self._buckets.get(key, (self._rate.burst, now))
        return min(self._rate.burst, level + (now - at) * self._rate.per_second)

    def _seconds_to_one(self, level: float) -> float:
        return max(0.0, (1 - level) / self._rate.per_second)
