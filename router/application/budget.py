"""How much of the store's time retries may have while first attempts wait: a plain counter, which touches nothing."""

from __future__ import annotations

from typing import Final

RETRY_SHARE: Final = 0.2
"""Retries that are claimed for each event that is taken in, while more events wait than one batch takes."""
LEAST_RETRIES: Final = 10
"""Retries that each poll may claim all the same."""


class RetryBudget:
    """After an outage the broker holds a backlog and the store holds retries: both want to be written at once.

    Without a backlog at the broker there is no limit.
    """

    def __init__(self) -> None:
        self._is_behind = False
        self._taken_in = 0

    def took_in(self, events: int, *, is_behind: bool) -> None:
        """A batch of events was stored; `is_behind` says that it was as large as a batch may be."""
        self._is_behind = is_behind
        self._taken_in = self._taken_in + events if is_behind else 0

    def allowance(self, wanted: int) -> int:
        """How many of the `wanted` retries may be claimed now."""
        if not self._is_behind:
            return wanted
        allowed = max(LEAST_RETRIES, int(self._taken_in * RETRY_SHARE))
        self._taken_in = 0
        return min(wanted, allowed)
