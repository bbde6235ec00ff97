"""Publishes what the platform makes up, at a steady rate and with confirms, through outages of the broker.

Touches the broker by the publisher port.
"""

from __future__ import annotations

import asyncio
import time
from contextlib import AsyncExitStack, suppress
from datetime import UTC, datetime
from typing import Final

from router.bootstrap.access import open_publisher
from router.demo.ledger import Ledger
from router.demo.telephony import Platform, Publication
from router.domain.errors import RouterError
from router.ports import Publisher
from router.settings import Settings

IN_FLIGHT: Final = 64
"""Messages that may wait for their confirm at once."""
CATCH_UP_SECONDS: Final = 1.0
"""What a platform that was held up makes good for; the rest of the time is lost to it."""
RETRY_SECONDS: Final = 0.5
LAST_TRIES_SECONDS: Final = 5.0
"""How long what is under way may go on after the end."""


class Publishing:
    """One platform's connection. A message that was not confirmed is published again with the same id."""

    def __init__(self, settings: Settings, platform: Platform, ledger: Ledger, rate: float) -> None:
        """`rate` is messages per second, more than 0."""
        self._settings = settings
        self._platform = platform
        self._ledger = ledger
        self._rate = rate
        self._slots = asyncio.Semaphore(IN_FLIGHT)
        self._connecting = asyncio.Lock()
        self._connection: AsyncExitStack | None = None
        self._publisher: Publisher | None = None

    async def run(self, over: asyncio.Event) -> None:
        """Publish until `over`; returns when nothing is under way any more."""
        try:
            async with asyncio.TaskGroup() as group:
                await self._publish_steadily(group, over)
        finally:
            await self._disconnect()
            self._ledger.give_up_unconfirmed()

    async def _publish_steadily(self, group: asyncio.TaskGroup, over: asyncio.Event) -> None:
        next_at = time.monotonic()
        while True:
            with suppress(TimeoutError):
                async with asyncio.timeout(max(0.0, next_at - time.monotonic())):
                    await over.wait()
            if over.is_set():
                return
            await self._slots.acquire()
            publication = self._platform.next(datetime.now(UTC))
            group.create_task(self._publish(publication, over), name="publish")
            next_at = max(next_at + 1 / self._rate, time.monotonic() - CATCH_UP_SECONDS)

    async def _publish(self, publication: Publication, over: asyncio.Event) -> None:
        self._ledger.announce(publication, time.monotonic())
        try:
            while not await self._try(publication):
                if over.is_set():
                    return
                await asyncio.sleep(RETRY_SECONDS)
            self._ledger.confirm(publication)
        finally:
            self._slots.release()

    async def _try(self, publication: Publication) -> bool:
        """Whether the broker has confirmed it."""
        publisher: Publisher | None = None
        try:
            async with asyncio.timeout(LAST_TRIES_SECONDS):
                publisher = await self._connected()
                await publisher.publish(
                    exchange=publication.exchange,
                    routing_key=publication.routing_key,
                    body=publication.body,
                    properties=publication.properties,
                )
        except (RouterError, TimeoutError):
            if publisher is self._publisher:
                await self._disconnect()
            return False
        return True

    async def _connected(self) -> Publisher:
        async with self._connecting:
            if self._publisher is None:
                connection = AsyncExitStack()
                self._publisher = await connection.enter_async_context(open_publisher(self._settings))
                self._connection = connection
            return self._publisher

    async def _disconnect(self) -> None:
        connection, self._connection, self._publisher = self._connection, None, None
        if connection is not None:
            await connection.aclose()
