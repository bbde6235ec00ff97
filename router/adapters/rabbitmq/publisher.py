"""Fulfils `ports.Publisher`: publishes with confirms, one connection per use."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Final

from aio_pika import DeliveryMode, Message
from aio_pika.abc import AbstractChannel
from aio_pika.exceptions import DeliveryError
from aiormq.exceptions import ChannelNotFoundEntity

from router.adapters.rabbitmq.config import BrokerConfig
from router.adapters.rabbitmq.connection import CONNECTION_ERRORS, connect, translate
from router.domain.errors import DependencyUnavailable
from router.domain.event import id_from_body
from router.ports import MessageProperties

PUBLISH_TIMEOUT_SECONDS: Final = 10.0


class RabbitPublisher:
    """Publishes persistent messages that must reach a queue. Made by `open_publisher`."""

    def __init__(self, channel: AbstractChannel) -> None:
        self._channel = channel

    async def publish(self, *, exchange: str, routing_key: str, body: bytes, properties: MessageProperties) -> None:
        message = Message(
            body,
            content_type=properties.content_type,
            content_encoding=properties.content_encoding,
            # The client would invent one, and so make a new event of a message without id each time it is sent.
            message_id=properties.message_id or id_from_body(body),
            type=properties.type,
            timestamp=properties.timestamp,
            headers=dict(properties.headers),
            delivery_mode=DeliveryMode.PERSISTENT,
        )
        try:
            target = (
                await self._channel.get_exchange(exchange, ensure=False) if exchange else self._channel.default_exchange
            )
            async with asyncio.timeout(PUBLISH_TIMEOUT_SECONDS):
                # Mandatory: a message that no queue takes is otherwise confirmed all the same.
                await target.publish(message, routing_key, mandatory=True)
        except DeliveryError:
            where = f"exchange {exchange!r}" if exchange else f"queue {routing_key!r}"
            raise DependencyUnavailable(
                f"{where} took the message to no queue; is the router's topology there?"
            ) from None
        except ChannelNotFoundEntity:
            raise DependencyUnavailable(f"there is no exchange {exchange!r}; is the router's topology there?") from None
        except CONNECTION_ERRORS as error:
            raise translate(error) from None


@asynccontextmanager
async def open_publisher(broker: BrokerConfig) -> AsyncIterator[RabbitPublisher]:
    connection = await connect(broker, "webhook-router publisher")
    try:
        yield RabbitPublisher(await connection.channel(publisher_confirms=True, on_return_raises=True))
    finally:
        await connection.close()


class OccasionalPublisher:
    """Fulfils `ports.Publisher` for a program that seldom publishes: a connection for each message, none between."""

    def __init__(self, broker: BrokerConfig) -> None:
        self._broker = broker

    async def publish(self, *, exchange: str, routing_key: str, body: bytes, properties: MessageProperties) -> None:
        async with open_publisher(self._broker) as publisher:
            await publisher.publish(exchange=exchange, routing_key=routing_key, body=body, properties=properties)
