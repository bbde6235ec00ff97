"""Changes of what is in the store, by number, and which programs can work with a store that has had them. Values and a
decision; touches nothing.

Expand, migrate, contract: an *expanding* change adds what older programs do not mind, so it runs beside them; a
*contracting* one takes away what they need, so it waits until somebody says that none of them runs any more.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum
from typing import Final


class Phase(StrEnum):
    EXPAND = "expand"
    CONTRACT = "contract"


@dataclass(frozen=True, slots=True, kw_only=True)
class Change:
    """One change. Its number is for ever; there is no number 1, which is what the first release wrote."""

    number: int
    name: str
    phase: Phase
    text: str


CHANGES: Final = (
    Change(
        number=2,
        name="search-keys",
        phase=Phase.EXPAND,
        text="deliveries are found by event, call, user and number in one index; what rests names what wakes it",
    ),
    Change(
        number=3,
        name="dead-letters-expire",
        phase=Phase.EXPAND,
        text="bodies of dead letters leave with the payloads",
    ),
    Change(
        number=4,
        name="number-keys-gone",
        phase=Phase.CONTRACT,
        text="deliveries hold a number's key once; the indexes of the first release go",
    ),
    Change(
        number=5,
        name="event-number-keys-gone",
        phase=Phase.CONTRACT,
        text="events that led to deliveries hold no key of a number, which an erasure would not find",
    ),
)
KNOWN: Final = max(change.number for change in CHANGES)
"""What this program knows how to work with."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Schema:
    """What a store has had: the numbers of the changes that are complete, and the least that a program must know."""

    done: frozenset[int]
    needs: int

    @property
    def version(self) -> int:
        return max(self.done, default=1)

    def is_too_new(self, known: int = KNOWN) -> bool:
        """Whether a program that knows the changes up to `known` must leave it alone."""
        return self.needs > known

    def pending(self, *, contract: bool) -> list[Change]:
        """What is still to do, in the order of the numbers; without `contract`, what can run beside older programs."""
        left = (change for change in CHANGES if change.number not in self.done)
        return [change for change in left if contract or change.phase is Phase.EXPAND]

    def after(self, change: Change) -> Schema:
        needs = change.number if change.phase is Phase.CONTRACT else 1
        return Schema(done=self.done | {change.number}, needs=max(self.needs, needs))


FIRST_RELEASE: Final = Schema(done=frozenset(), needs=1)
EMPTY_STORE: Final = Schema(
    done=frozenset(change.number for change in CHANGES),
    needs=max((change.number for change in CHANGES if change.phase is Phase.CONTRACT), default=1),
)
"""Of a store without documents: nothing is to do, and an older program would write what was done away with."""
