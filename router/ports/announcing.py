"""What announcing calls: the outbox that keeps announcements, and the broker that takes them. Types only."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

from router.domain.announcement import Announcement


@dataclass(frozen=True, slots=True, kw_only=True)
class Published:
    """What the broker confirmed of a batch; `problem` says in one sentence why it is not all of it."""

    confirmed: Sequence[Announcement]
    problem: str | None = None


class Outbox(Protocol):
    """Announcements that were written together with what they announce, and are not published yet."""

    async def pending(self, limit: int) -> Sequence[Announcement]:
        """Up to `limit` that this worker should publish, the oldest of each kind first: its own, and those that
        another one has left behind."""

    async def published(self, announcements: Sequence[Announcement]) -> None:
        """Take announcements out; one that is not there is no error."""


class Announcements(Protocol):
    """Where announcements are published. What goes wrong is a value; every call ends within a bounded time."""

    async def publish(self, announcements: Sequence[Announcement]) -> Published:
        """Publish a batch and wait for the broker's confirms. An empty batch only sees that they could be."""
