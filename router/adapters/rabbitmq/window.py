"""How much of its prefetch a consumer has in hand."""

from __future__ import annotations

from typing import Final

FULL: Final = 0.75
"""With so much of its prefetch not settled, a source may have more at the broker."""
DRAINED: Final = 0.5
"""With so little left of it, it has not: between the two it is what it was, for acknowledgements come in groups."""


class Window:
    """Counts the messages that arrived and are not settled; at most `prefetch` of them."""

    def __init__(self, prefetch: int) -> None:
        self._prefetch = prefetch
        self.unsettled = 0
        self.is_full = False
        """Whether so much is not settled that more may wait at the broker."""

    @property
    def has_room(self) -> bool:
        return self.unsettled < self._prefetch

    @property
    def is_quiet(self) -> bool:
        """Whether what arrives now has waited nowhere."""
        return 2 * self.unsettled < self._prefetch

    def arrived(self) -> None:
        self.unsettled += 1
        if self.unsettled >= self._prefetch * FULL:
            self.is_full = True

    def settled(self, count: int) -> None:
        self.unsettled -= count
        if self.unsettled <= self._prefetch * DRAINED:
            self.is_full = False

    def clear(self) -> None:
        """Nothing is in hand: the connection is gone."""
        self.unsettled, self.is_full = 0, False
