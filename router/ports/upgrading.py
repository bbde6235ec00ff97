"""Changing what is in the store, beside everybody who works with it. Types only."""

from __future__ import annotations

from collections.abc import AsyncIterator
from dataclasses import dataclass
from typing import Protocol

from router.domain.schema import Change, Schema


@dataclass(frozen=True, slots=True, kw_only=True)
class Migration:
    """How far a change is: documents that were looked at and written so far, those of earlier tries included."""

    change: Change
    seen: int
    written: int
    done: bool


class SchemaStore(Protocol):
    """The record of what a store has had, and what changes it."""

    async def read(self) -> Schema:
        """Raises DependencyUnavailable, and ConfigurationRefused for a store that is too new for this program."""

    async def size(self, change: Change) -> int:
        """About how many documents a change has to look at. Raises DependencyUnavailable."""

    def apply(self, change: Change) -> AsyncIterator[Migration]:
        """Make the change, a batch at a time, from where the last try ended. Ends early, with the last one not `done`,
        where another process is at it; yields nothing where that is so from the beginning.

        Raises DependencyUnavailable.
        """
