"""The platform of the soak: publishes at a steady rate and repeats each event until the broker has confirmed it.

While there is no broker it publishes nothing and makes up for nothing afterwards. Touches the broker.
"""

from __future__ import annotations

import asyncio
from collections.abc import Mapping, Sequence
from contextlib import suppress
from typing import Any

import aio_pika
from aio_pika.exceptions import CONNECTION_EXCEPTIONS

from tests.support.events import encode, make_event

CONFIRM_SECONDS = 10
LAST_CONFIRMS_SECONDS = 30
_FAILURES = (*CONNECTION_EXCEPTIONS, OSError, TimeoutError)


class Load:
    """`confirmed` maps the id of each event that the broker has to its account and type."""

    def __init__(
        self, amqp_url: str, *, exchanges: Mapping[str, str], accounts: Sequence[str], rate: float, run: str
    ) -> None:
        self.confirmed: dict[str, tuple[str, str]] = {}
        self.unconfirmed = 0
        """Events that were given up at the end; whether the broker has them is unknown."""
        self.repeated = 0
        """Publishes whose confirm did not come, so that they were repeated under the same id."""
        self._amqp_url = amqp_url
        self._exchanges = exchanges
        self._kinds = [(account, kind) for account in accounts for kind in exchanges]
        self._rate = rate
        self._run = run
        self._is_stopping = False
        self._connecting = asyncio.Lock()
        self._connection: Any = None
        self._channel: Any = None
        self._tasks: set[asyncio.Task[None]] = set()

    def stop(self) -> None:
        self._is_stopping = True

    async def run(self) -> None:
        """Publish until told to stop, then wait for the last confirms."""
        loop = asyncio.get_running_loop()
        number, next_at = 0, loop.time()
        while not self._is_stopping:
            await self._connected()
            next_at = max(next_at + 1 / self._rate, loop.time() - 1)
            await asyncio.sleep(max(0.0, next_at - loop.time()))
            task = asyncio.create_task(self._publish(number), name="publish")
            self._tasks.add(task)
            task.add_done_callback(self._tasks.discard)
            number += 1
        if self._tasks:
            _, late = await asyncio.wait(self._tasks, timeout=LAST_CONFIRMS_SECONDS)
            self.unconfirmed = len(late)
            for task in late:
                task.cancel()
        await self._drop(self._connection)

    async def _publish(self, number: int) -> None:
        account, kind = self._kinds[number % len(self._kinds)]
        event = make_event(account, kind, id=f"evt_{self._run}_{number}")
        body = encode(event)
        while True:
            connection, channel = await self._connected()
            attempt = asyncio.create_task(_publish_once(channel, self._exchanges[kind], f"{kind}.created", body))
            # A connection that breaks cancels the waiting for its confirms: so the waiting is another task's.
            await asyncio.wait([attempt], timeout=CONFIRM_SECONDS)
            if attempt.done() and not attempt.cancelled() and attempt.exception() is None:
                self.confirmed[event["id"]] = (account, kind)
                return
            attempt.cancel()
            self.repeated += 1
            await self._drop(connection)
            await asyncio.sleep(0.2)

    async def _connected(self) -> tuple[Any, Any]:
        async with self._connecting:
            while self._connection is None or self._connection.is_closed:
                try:
                    connection = await aio_pika.connect(self._amqp_url, timeout=5)
                    async with asyncio.timeout(5):
                        self._channel = await connection.channel(publisher_confirms=True, on_return_raises=True)
                    self._connection = connection
                except _FAILURES:
                    await asyncio.sleep(0.5)
            return self._connection, self._channel

    async def _drop(self, connection: Any) -> None:
        """Leave a connection that failed, unless another publish has done so."""
        if connection is None or self._connection is not connection:
            return
        self._connection = None
        with suppress(*_FAILURES, asyncio.CancelledError):
            await asyncio.wait_for(connection.close(), timeout=2)


async def _publish_once(channel: Any, exchange_name: str, routing_key: str, body: bytes) -> None:
    exchange = await channel.get_exchange(exchange_name, ensure=False)
    message = aio_pika.Message(
        body,
        content_type="application/json",
        delivery_mode=aio_pika.DeliveryMode.PERSISTENT,
        app_id="telephony-platform",
    )
    await exchange.publish(message, routing_key, mandatory=True)
