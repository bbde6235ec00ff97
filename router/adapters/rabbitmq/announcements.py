"""Fulfils `ports.Announcements`: publishes operational events with confirms, on one long-lived connection of its own.

The broker blocks connections that publish while it is short of memory or disk; consumers have theirs, so nothing
else notices. Touches the broker.
"""

from __future__ import annotations

import asyncio
import json
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any, Final, assert_never

import structlog
from aio_pika import DeliveryMode, ExchangeType, Message
from aio_pika.abc import AbstractChannel, AbstractConnection, AbstractExchange
from aio_pika.exceptions import DeliveryError
from aiormq.exceptions import ChannelAccessRefused, ChannelNotFoundEntity
from tenacity import AsyncRetrying, retry_if_exception_type, stop_after_attempt, wait_random_exponential

from router.adapters.rabbitmq.config import BrokerConfig
from router.adapters.rabbitmq.connection import CONNECTION_ERRORS, connect, translate
from router.domain.announcement import Announcement, AnnouncementId, DeliveryFailed, WebhookAnnouncement
from router.domain.errors import ConfigurationRefused, DependencyUnavailable, RouterError
from router.ports import Published

log = structlog.get_logger("router.amqp")

TRIES: Final = 2
"""Per batch: the second one has a new connection and declares the exchange, which is what a first one may lack."""
FIRST_WAIT_SECONDS: Final = 0.2
MAX_WAIT_SECONDS: Final = 1.0
DECLARE_TIMEOUT_SECONDS: Final = 10.0
CONFIRM_TIMEOUT_SECONDS: Final = 10.0
CLOSE_TIMEOUT_SECONDS: Final = 3.0


class _Blocked(RouterError):
    """The broker takes nothing from publishers for now."""


@dataclass(frozen=True, slots=True)
class _Line:
    """An open way to the exchange."""

    connection: AbstractConnection
    channel: AbstractChannel
    exchange: AbstractExchange

    @property
    def is_blocked(self) -> bool:
        """Whether the broker has said `connection.blocked` and not `connection.unblocked` since.

        The client keeps that to itself: it only makes whoever waits for the connection to be ready wait.
        """
        transport: Any = self.connection.transport
        if transport is None or self.connection.is_closed:
            return False
        ready = transport.connection.ready()
        try:
            ready.send(None)
        except StopIteration:
            return False
        ready.close()
        return True


class RabbitAnnouncements:
    """Publishes to the topic exchange `exchange`. The connection is made on first use, and again when it was lost."""

    def __init__(self, broker: BrokerConfig, exchange: str) -> None:
        self._broker = broker
        self._exchange = exchange
        self._line: _Line | None = None

    @property
    def is_blocked(self) -> bool:
        """Whether the broker holds back what is published, for want of memory or disk."""
        return self._line is not None and self._line.is_blocked

    async def publish(self, announcements: Sequence[Announcement]) -> Published:
        rest = {each.id: each for each in announcements}
        try:
            await AsyncRetrying(
                stop=stop_after_attempt(TRIES),
                wait=wait_random_exponential(multiplier=FIRST_WAIT_SECONDS, max=MAX_WAIT_SECONDS),
                retry=retry_if_exception_type(DependencyUnavailable),
                reraise=True,
            )(self._publish_rest, rest)
        except RouterError as error:
            return Published(confirmed=[each for each in announcements if each.id not in rest], problem=str(error))
        return Published(confirmed=announcements)

    async def _publish_rest(self, rest: dict[AnnouncementId, Announcement]) -> None:
        """Publish what is in `rest`, and take out what was confirmed. Raises RouterError where some was not."""
        line = await self._open_line()
        # A message that is written to a blocked connection arrives when it is unblocked: no try may add another.
        if line.is_blocked:
            raise _Blocked("RabbitMQ blocks publishers: a memory or disk alarm")
        try:
            async with asyncio.timeout(CONFIRM_TIMEOUT_SECONDS):
                sending = (_publish(line.exchange, each, rest) for each in list(rest.values()))
                outcomes = await asyncio.gather(*sending, return_exceptions=True)
        except TimeoutError as error:
            outcomes = [error]
        failures = [outcome for outcome in outcomes if outcome is not None]
        if failures and line.is_blocked:
            raise _Blocked("RabbitMQ blocks publishers: a memory or disk alarm")
        if failures:
            await self.close()
            raise self._explained(failures[0]) from None

    async def _open_line(self) -> _Line:
        line = self._line
        if line is not None and not (line.connection.is_closed or line.channel.is_closed):
            return line
        await self.close()
        connection = await connect(self._broker, "webhook-router announcements")
        try:
            async with asyncio.timeout(DECLARE_TIMEOUT_SECONDS):
                await self._declare(connection)
                channel = await connection.channel(publisher_confirms=True)
                exchange = await channel.get_exchange(self._exchange, ensure=False)
        except BaseException as error:
            await _close(connection)
            if isinstance(error, CONNECTION_ERRORS):
                raise self._explained(error) from None
            raise
        self._line = _Line(connection, channel, exchange)
        return self._line

    async def _declare(self, connection: AbstractConnection) -> None:
        """Make the exchange if it is not there. One that is there is taken as its owner made it."""
        try:
            async with await connection.channel(publisher_confirms=False) as channel:
                await channel.get_exchange(self._exchange, ensure=True)
        except ChannelNotFoundEntity:
            # The broker closes a channel that it refuses something on, so each question has one of its own.
            async with await connection.channel(publisher_confirms=False) as channel:
                await channel.declare_exchange(self._exchange, ExchangeType.TOPIC, durable=True)

    def _explained(self, error: BaseException) -> BaseException:
        """What went wrong with the broker in one sentence of ours; an error that is none of the broker's as it is."""
        match error:
            case TimeoutError():
                return DependencyUnavailable("RabbitMQ gave no answer in time to what was published")
            case DeliveryError():
                return DependencyUnavailable("RabbitMQ refused a message (nack)")
            case ChannelAccessRefused():
                return ConfigurationRefused(
                    f"RabbitMQ refuses the user of amqp.url access to exchange {self._exchange!r}; "
                    'grant it configure and write permissions, or set amqp.events_exchange = "none"'
                )
            # The client ends what waits on a connection that is closed by cancelling it.
            case asyncio.CancelledError():
                return translate(error)
        return translate(error) if isinstance(error, CONNECTION_ERRORS) else error

    async def close(self) -> None:
        """Close the connection, if there is one."""
        line, self._line = self._line, None
        if line is not None:
            await _close(line.connection)


async def _publish(
    exchange: AbstractExchange, announcement: Announcement, rest: dict[AnnouncementId, Announcement]
) -> None:
    # Not mandatory: an exchange without queues means that nobody wants to know.
    await exchange.publish(message_of(announcement), announcement.key.value, mandatory=False)
    del rest[announcement.id]


async def _close(connection: AbstractConnection) -> None:
    try:
        async with asyncio.timeout(CLOSE_TIMEOUT_SECONDS):
            await connection.close()
    except CONNECTION_ERRORS:
        log.debug("connection_close_failed", source="announcements")


# --- the message -----------------------------------------------------------------------------------


def message_of(announcement: Announcement) -> Message:
    """The message of docs/operational-events.md."""
    return Message(
        json.dumps(_body(announcement), ensure_ascii=False, separators=(",", ":")).encode(),
        content_type="application/json",
        content_encoding="utf-8",
        delivery_mode=DeliveryMode.PERSISTENT,
        message_id=announcement.id,
        type=announcement.key.value,
        timestamp=announcement.occurred_at,
        app_id="webhook-router",
    )


def _body(announcement: Announcement) -> dict[str, object]:
    common: dict[str, object] = {
        "id": announcement.id,
        "type": announcement.key.value,
        "occurred_at": _rfc3339(announcement.occurred_at),
        "account_id": announcement.account_id,
        "webhook_id": announcement.webhook_id,
    }
    match announcement:
        case WebhookAnnouncement(reason=reason, since=since):
            return common | {"reason": reason.value, "since": _rfc3339(since)}
        case DeliveryFailed() as failed:
            return common | {
                "delivery_id": failed.delivery_id,
                "event_id": failed.event_id,
                "event_type": failed.event_type.value,
                "event_name": failed.event_name,
                "call_id": failed.call_id,
                "user_id": failed.user_id,
                "reason": failed.reason.value if failed.reason else None,
                "attempt_count": failed.attempt_count,
                "status_code": failed.status_code,
                "error": failed.error.value if failed.error else None,
            }
        case _:
            assert_never(announcement)


def _rfc3339(moment: datetime) -> str:
    return moment.astimezone(UTC).isoformat(timespec="milliseconds").removesuffix("+00:00") + "Z"
