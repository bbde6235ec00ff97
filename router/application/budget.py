"""How much of the store's time retries may have while first attempts wait: a plain counter, which touches nothing."""

from __future__ import annotations

from collections.abc import Callable
from typing import Final

RETRY_SHARE: Final = 0.1
"""Retries that are claimed for each event that is taken in, while events or results wait."""
LEAST_RETRIES: Final = 10
"""Retries that each poll may claim all the same."""


class RetryBudget:
    """After an outage the broker holds a backlog and the store holds retries: both want to be written at once.

    `has_backlog` says that events may wait at the broker, `is_store_behind` that results wait for the store. While
    neither is so there is no limit.
    """

    def __init__(self, *, has_backlog: Callable[[], bool], is_store_behind: Callable[[], bool]) -> None:
        self._has_backlog = has_backlog
        self._is_store_behind = is_store_behind
        self._taken_in = 0

    def took_in(self, events: int) -> None:
        """A batch of events was stored."""
        self._taken_in += events

    @property
    def is_tight(self) -> bool:
        """Whether first attempts or results wait."""
        return self._has_backlog() or self._is_store_behind()

    def allowance(self, wanted: int) -> int:
        """How many of the `wanted` retries may be claimed now."""
        share, self._taken_in = int(self._taken_in * RETRY_SHARE), 0
        if self.is_tight:
            return min(wanted, max(LEAST_RETRIES, share))
        return wanted
