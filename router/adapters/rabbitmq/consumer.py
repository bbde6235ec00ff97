"""Fulfils `ports.Source`: one subscription per source, merged into batches, `call` first.

Each subscription owns its connection and lives in one loop: connect, declare, consume until something is lost,
begin again. Whatever is lost (connection, channel, or the consumer alone) ends in the same place, so a router
that is connected but deaf cannot exist.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any, Final

import structlog
from aio_pika.abc import AbstractConnection
from aiormq.abc import AbstractChannel, DeliveredMessage
from tenacity import AsyncRetrying, retry_if_exception_type, wait_random_exponential

from router.adapters.rabbitmq.codec import decode
from router.adapters.rabbitmq.config import BrokerConfig, SourceConfig
from router.adapters.rabbitmq.connection import CONNECTION_ERRORS, connect, translate
from router.adapters.rabbitmq.topology import declare
from router.domain.errors import ConfigurationRefused, RouterError
from router.domain.event import Event, EventType, Rejection, RejectionReason
from router.domain.freshness import PublisherClock
from router.ports import EXCHANGE_HEADER, ROUTING_KEY_HEADER, Intake, MessageProperties, RawMessage

log = structlog.get_logger("router.amqp")

FIRST_WAIT_SECONDS: Final = 0.2
MAX_WAIT_SECONDS: Final = 5.0
CLOSE_TIMEOUT_SECONDS: Final = 3.0
SUBSCRIBE_TIMEOUT_SECONDS: Final = 8.0
"""From the connection to the consumer; several such tries fit into the patience of a start."""


@dataclass(frozen=True, slots=True)
class _Tag:
    """Where a message is acknowledged: on the channel that it came by, and on no other."""

    channel: AbstractChannel
    delivery_tag: int
    subscription: Subscription


class Subscription:
    """One source: its connection, its consumer, and what it delivered that is not taken yet."""

    def __init__(
        self, source: SourceConfig, broker: BrokerConfig, now: Callable[[], datetime], arrived: Callable[[], None]
    ) -> None:
        self.source = source
        self.waiting: deque[Intake] = deque()
        self.is_alive = False
        self.ready = asyncio.Event()
        """Set once it has consumed for the first time."""
        self.refusal: ConfigurationRefused | None = None
        self._broker = broker
        self._now = now
        self._arrived = arrived
        self._clock = PublisherClock()
        self._backlog = 0
        self._unsettled = 0
        self._connection: AbstractConnection | None = None
        self._channel: AbstractChannel | None = None
        self._consumer_tag: str | None = None
        self._lost: asyncio.Event = asyncio.Event()
        self._stopping = False

    # --- the loop ---

    async def run(self) -> None:
        while not self._stopping:
            try:
                await self._subscribe_again_and_again()
            except RouterError:
                return  # only while stopping
            await self._lost.wait()
            self.is_alive = False
            await self._disconnect()
            if not self._stopping:
                log.warning("consumer_lost", source=self.source.name, queue=self.source.queue)

    async def _subscribe_again_and_again(self) -> None:
        await AsyncRetrying(
            wait=wait_random_exponential(multiplier=FIRST_WAIT_SECONDS, max=MAX_WAIT_SECONDS),
            retry=retry_if_exception_type(RouterError),
            stop=lambda _: self._stopping,
            before_sleep=lambda state: self._note(state.outcome.exception() if state.outcome else None),
            reraise=True,
        )(self._subscribe)

    async def _subscribe(self) -> None:
        self._lost.clear()
        try:
            self._connection = await connect(self._broker, f"webhook-router {self.source.name}")
            # A queue whose leader is not up yet may answer nothing at all to a consumer, for ever.
            async with asyncio.timeout(SUBSCRIBE_TIMEOUT_SECONDS):
                await self._consume(self._connection)
        except RouterError:
            await self._disconnect()
            raise
        except CONNECTION_ERRORS as error:
            await self._disconnect()
            raise translate(error) from None
        self.is_alive = True
        self.refusal = None
        self.ready.set()
        log.info("consuming", source=self.source.name, queue=self.source.queue, backlog=self._backlog)

    async def _consume(self, connection: AbstractConnection) -> None:
        self._backlog = await declare(connection, self.source)
        channel = await connection.channel(publisher_confirms=False)
        await channel.set_qos(prefetch_count=self.source.prefetch)
        self._unsettled = 0
        # The client's own consumer would make two tasks and a large object for each message.
        self._channel = await channel.get_underlay_channel()
        channel.close_callbacks.add(lambda *_: self._lost.set())
        connection.close_callbacks.add(lambda *_: self._lost.set())
        self._channel.on_consumer_cancel_callbacks.add(self._on_cancel)
        consuming = await self._channel.basic_consume(self.source.queue, self._on_delivered)
        self._consumer_tag = consuming.consumer_tag

    def _note(self, error: BaseException | None) -> None:
        if isinstance(error, ConfigurationRefused):
            self.refusal = error
        log.warning("consumer_unavailable", source=self.source.name, error=str(error))

    async def _disconnect(self) -> None:
        connection, self._connection, self._channel = self._connection, None, None
        # What was not taken comes again on the next connection; keeping it would double it.
        self.waiting.clear()
        if connection is not None:
            try:
                async with asyncio.timeout(CLOSE_TIMEOUT_SECONDS):
                    await connection.close()
            except CONNECTION_ERRORS:
                log.debug("connection_close_failed", source=self.source.name)

    # --- arrivals ---

    def _on_cancel(self, _frame: object) -> None:
        self._lost.set()

    async def _on_delivered(self, message: DeliveredMessage) -> None:
        # Not awaiting keeps the order of arrival.
        live = self._backlog <= 0 and self._unsettled < self.source.prefetch // 2
        self._backlog -= 1
        self._unsettled += 1
        raw = _raw_message(message, self.source.name, self._now())
        content = self._decode(raw)
        born_at = raw.received_at
        if isinstance(content, Event):
            born_at = self._clock.born_at(content.occurred_at, raw.received_at, live=live)
        tag = _Tag(message.channel, message.delivery_tag or 0, self)
        self.waiting.append(Intake(content=content, raw=raw, born_at=born_at, tag=tag))
        self._arrived()

    def _decode(self, raw: RawMessage) -> Event | Rejection:
        try:
            return decode(raw, self.source.decoding)
        except Exception:
            # It would otherwise stay unsettled, and be acknowledged unread together with a later one.
            log.exception("decoding_raised", source=self.source.name)
            return Rejection(reason=RejectionReason.HANDLER_ERROR, detail="decoding failed; see the log")

    def settled(self, channel: AbstractChannel, count: int) -> None:
        if channel is self._channel:
            self._unsettled -= count

    # --- the end ---

    async def stop(self) -> None:
        """Ask the broker for nothing more, and give back what was not taken. Acks can still be sent."""
        self._stopping = True
        if self._channel is not None and self._consumer_tag is not None and self.is_alive:
            try:
                async with asyncio.timeout(CLOSE_TIMEOUT_SECONDS):
                    await self._channel.basic_cancel(self._consumer_tag)
            except CONNECTION_ERRORS:
                log.debug("cancel_failed", source=self.source.name)
        self.waiting.clear()

    async def close(self) -> None:
        self._lost.set()
        await self._disconnect()


class RabbitSource:
    """Service and Source over all subscriptions."""

    name = "amqp"

    def __init__(
        self,
        sources: Sequence[SourceConfig],
        broker: BrokerConfig,
        now: Callable[[], datetime],
        on_ack_lost: Callable[[], None],
    ) -> None:
        self._something_arrived = asyncio.Event()
        self._subscriptions = [Subscription(source, broker, now, self._something_arrived.set) for source in sources]
        # A ringing phone does not wait behind a backlog of records.
        self._subscriptions.sort(key=lambda each: each.source.decoding.event_type is not EventType.CALL)
        self._on_ack_lost = on_ack_lost
        self._stopped = False
        self._loops: list[asyncio.Task[None]] = []

    async def run(self) -> None:
        async with asyncio.TaskGroup() as group:
            self._loops = [
                group.create_task(each.run(), name=f"consume-{each.source.name}") for each in self._subscriptions
            ]

    async def wait_until_consuming(self) -> None:
        """Returns once every source consumes. Raises ConfigurationRefused as soon as one never will."""
        while not all(each.ready.is_set() for each in self._subscriptions):
            for each in self._subscriptions:
                if each.refusal is not None:
                    raise each.refusal
            await asyncio.sleep(0.05)

    def status(self) -> Mapping[str, bool]:
        """Whether each source has a live consumer."""
        return {each.source.name: each.is_alive for each in self._subscriptions}

    async def take(self, limit: int) -> Sequence[Intake]:
        while True:
            batch: list[Intake] = []
            for each in self._subscriptions:
                while each.waiting and len(batch) < limit:
                    batch.append(each.waiting.popleft())
            if batch or self._stopped:
                return batch
            self._something_arrived.clear()
            await self._something_arrived.wait()

    async def settle(self, taken: Sequence[Intake]) -> None:
        newest: dict[AbstractChannel, tuple[_Tag, int]] = {}
        for item in taken:
            tag: Any = item.tag
            newest[tag.channel] = (tag, newest.get(tag.channel, (tag, 0))[1] + 1)
        for channel, (tag, count) in newest.items():
            tag.subscription.settled(channel, count)
            try:
                # Batches are taken and settled in order of arrival, so everything up to this tag is done.
                await channel.basic_ack(tag.delivery_tag, multiple=True)
            except CONNECTION_ERRORS:
                self._on_ack_lost()

    async def cancel(self) -> None:
        """Stop taking from the broker. `take` returns what it has, then nothing."""
        await asyncio.gather(*(each.stop() for each in self._subscriptions))
        self._stopped = True
        self._something_arrived.set()

    async def close(self) -> None:
        """Close the connections; what was delivered and not settled goes back to its queue."""
        await asyncio.gather(*(each.close() for each in self._subscriptions))
        for loop in self._loops:
            loop.cancel()


def _raw_message(message: DeliveredMessage, source: str, received_at: datetime) -> RawMessage:
    properties = message.header.properties
    headers = {
        str(key): value for key, value in (properties.headers or {}).items() if isinstance(value, str | int | bool)
    }
    exchange, routing_key = message.exchange or "", message.routing_key or ""
    if not exchange and EXCHANGE_HEADER in headers:
        exchange = str(headers.pop(EXCHANGE_HEADER))
        routing_key = str(headers.pop(ROUTING_KEY_HEADER, routing_key))
    return RawMessage(
        body=bytes(message.body),
        source=source,
        exchange=exchange,
        routing_key=routing_key,
        properties=MessageProperties(
            content_type=properties.content_type,
            content_encoding=properties.content_encoding,
            message_id=properties.message_id or None,
            type=properties.message_type or None,
            timestamp=_aware(properties.timestamp),
            headers=headers,
        ),
        received_at=received_at,
        redelivered=bool(message.redelivered),
    )


def _aware(moment: datetime | None) -> datetime | None:
    """The property's time; a publisher that sends 0 has none."""
    if moment is not None and moment.year == 1970:
        return None
    return moment.replace(tzinfo=UTC) if moment is not None and moment.tzinfo is None else moment
