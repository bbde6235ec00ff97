"""`ports.SchemaStore` in memory."""

from __future__ import annotations

from collections.abc import AsyncIterator
from dataclasses import dataclass, field

from router.domain.errors import DependencyUnavailable
from router.domain.schema import CHANGES, FIRST_RELEASE, Change, Schema
from router.ports import Migration


@dataclass
class FakeSchema:
    """A store of the first release; `busy` is what another process is at."""

    done: set[int] = field(default_factory=set)
    busy: set[int] = field(default_factory=set)
    documents: int = 3
    is_away: bool = False

    async def read(self) -> Schema:
        if self.is_away:
            raise DependencyUnavailable("MongoDB does not answer (AutoReconnect)")
        schema = FIRST_RELEASE
        for change in CHANGES:
            schema = schema.after(change) if change.number in self.done else schema
        return schema

    async def size(self, change: Change) -> int:
        return self.documents

    async def apply(self, change: Change) -> AsyncIterator[Migration]:
        if change.number in self.busy:
            return
        for seen in range(1, self.documents + 1):
            if seen == self.documents:
                self.done.add(change.number)
            yield Migration(change=change, seen=seen, written=seen, done=seen == self.documents)
