"""Where sessions of the console are kept. Types only."""

from __future__ import annotations

from datetime import datetime
from typing import Protocol

from router.domain.session import Session


class SessionStore(Protocol):
    """Sessions by key. Every method raises DependencyUnavailable where the store does not answer in time."""

    async def add(self, session: Session) -> None: ...

    async def find(self, key: str) -> Session | None: ...

    async def note_seen(self, key: str, *, at: datetime, expire_at: datetime) -> None:
        """Remember a request of a session, where there is such a one."""

    async def remove(self, key: str) -> None: ...
