"""Makes the changes of the schema that can be made beside older routers, while everything goes on; and looks whether
the store has become too new for this program.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from contextlib import suppress
from typing import Final

import structlog

from router.domain.errors import DependencyUnavailable
from router.domain.schema import Change, Phase
from router.ports import SchemaStore

log = structlog.get_logger("router.schema")

LOOK_SECONDS: Final = 60.0


class Upgrade:
    """Service: looks at the schema every minute. ConfigurationRefused ends it, and the router with it: a newer router
    has taken away what this one needs."""

    name = "upgrade"

    def __init__(self, schema: SchemaStore, sleep: Callable[[float], Awaitable[None]] = asyncio.sleep) -> None:
        self._schema = schema
        self._sleep = sleep
        self._told: set[int] = set()

    async def run(self) -> None:
        while True:
            # The store will be there again, and what is done is done.
            with suppress(DependencyUnavailable):
                await self._look()
            await self._sleep(LOOK_SECONDS)

    async def _look(self) -> None:
        schema = await self._schema.read()
        for change in schema.pending(contract=False):
            if not await self._make(change):
                return  # another process is at it
        for change in schema.pending(contract=True):
            if change.phase is Phase.CONTRACT and change.number not in self._told:
                self._told.add(change.number)
                log.info("migration_waits", number=change.number, name=change.name)

    async def _make(self, change: Change) -> bool:
        log.info("migration_began", number=change.number, name=change.name)
        async for step in self._schema.apply(change):
            if step.done:
                log.info("migration_done", number=change.number, name=change.name, seen=step.seen, written=step.written)
                return True
        return False
