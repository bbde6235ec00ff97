"""Looks at the broker as any client can, and changes nothing: what is there, and whether it is as we want it.

What exists is asked for passively. Only what exists is then declared as we want it, which a broker answers without
doing anything: with yes, or with the argument that differs.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from typing import Final

from aio_pika import ExchangeType
from aio_pika.abc import AbstractConnection
from aiormq.exceptions import (
    ChannelAccessRefused,
    ChannelLockedResource,
    ChannelNotFoundEntity,
    ChannelPreconditionFailed,
)

from router.adapters.rabbitmq.config import BrokerConfig, SourceConfig
from router.adapters.rabbitmq.connection import CONNECTION_ERRORS, connect, translate
from router.adapters.rabbitmq.topology import declare, difference
from router.domain.topology import QUORUM, RETURNED, Binding, BrokerSeen, Exchange, Presence, Queue, Seen, Wanted

ASK_SECONDS: Final = 5.0

_PRESENT: Final = Seen(presence=Presence.PRESENT)
_MISSING: Final = Seen(presence=Presence.MISSING)


def wanted_of(sources: Sequence[SourceConfig], events_exchange: str | None) -> Wanted:
    """All that the sources and the operational events need."""
    exchanges = {
        source.exchange: Exchange(name=source.exchange, kind=None if source.passive else source.exchange_type)
        for source in sources
    }
    if events_exchange is not None:
        exchanges.setdefault(events_exchange, Exchange(name=events_exchange, kind=None))
    return Wanted(
        exchanges=tuple(exchanges.values()),
        queues=tuple(Queue(name=source.queue, arguments=None if source.passive else QUORUM) for source in sources),
        bindings=tuple(
            Binding(exchange=source.exchange, destination=source.queue, key=key, arguments=source.binding_arguments)
            for source in sources
            for key in source.binding_keys
        ),
    )


@asynccontextmanager
async def looking(broker: BrokerConfig) -> AsyncIterator[AbstractConnection]:
    """A connection to look through. Raises what `connect` does."""
    connection = await connect(broker, "webhook-router inspection")
    try:
        yield connection
    finally:
        await connection.close()


async def inspect(connection: AbstractConnection, wanted: Wanted) -> BrokerSeen:
    """Everything of `wanted`, and where returned messages go. Raises DependencyUnavailable where the connection is
    lost meanwhile."""
    exchanges = (*wanted.exchanges, Exchange(name=RETURNED, kind=None))
    queues = (*wanted.queues, Queue(name=RETURNED))
    try:
        seen_exchanges = {each.name: await _look_at_exchange(connection, each) for each in exchanges}
        seen_queues = {each.name: await _look_at_queue(connection, each) for each in queues}
    except CONNECTION_ERRORS as error:
        raise translate(error) from None
    transport = connection.transport
    properties = getattr(transport.connection, "server_properties", {}) if transport is not None else {}
    return BrokerSeen(
        product=str(properties.get("product", "")),
        version=str(properties.get("version", "")),
        cluster=str(properties.get("cluster_name", "")),
        exchanges=seen_exchanges,
        queues=seen_queues,
    )


async def _look_at_exchange(connection: AbstractConnection, exchange: Exchange) -> Seen:
    try:
        # The broker closes a channel that it refuses something on, so each question has one of its own.
        async with await connection.channel(publisher_confirms=False) as channel:
            await channel.declare_exchange(exchange.name, passive=True, timeout=ASK_SECONDS)
    except ChannelNotFoundEntity:
        return _MISSING
    except ChannelAccessRefused:
        return _not_for_us()
    if exchange.kind is None:
        return _PRESENT
    try:
        async with await connection.channel(publisher_confirms=False) as channel:
            await channel.declare_exchange(
                exchange.name, ExchangeType(exchange.kind), durable=True, timeout=ASK_SECONDS
            )
    except ChannelPreconditionFailed as error:
        return Seen(presence=Presence.DIFFERENT, complaint=difference(str(error)))
    except ChannelAccessRefused:  # no right to declare: then it is its owner's to be right
        return _PRESENT
    return _PRESENT


async def _look_at_queue(connection: AbstractConnection, queue: Queue) -> Seen:
    try:
        async with await connection.channel(publisher_confirms=False) as channel:
            found = (await channel.declare_queue(queue.name, passive=True, timeout=ASK_SECONDS)).declaration_result
    except ChannelNotFoundEntity:
        return _MISSING
    except ChannelAccessRefused:
        return _not_for_us()
    except ChannelLockedResource:
        return Seen(presence=Presence.DIFFERENT, complaint="it belongs to another connection alone (exclusive)")
    complaint = await _complaint_of_queue(connection, queue)
    return Seen(
        presence=Presence.DIFFERENT if complaint else Presence.PRESENT,
        complaint=complaint,
        messages=found.message_count or 0,
        consumers=found.consumer_count or 0,
    )


async def _complaint_of_queue(connection: AbstractConnection, queue: Queue) -> str:
    if queue.arguments is None:
        return ""
    try:
        async with await connection.channel(publisher_confirms=False) as channel:
            await channel.declare_queue(
                queue.name,
                durable=True,
                arguments={key: str(value) for key, value in queue.arguments.items()},
                timeout=ASK_SECONDS,
            )
    except ChannelPreconditionFailed as error:
        return difference(str(error))
    except ChannelAccessRefused:
        return ""
    return ""


def _not_for_us() -> Seen:
    return Seen(presence=Presence.UNSEEN, complaint="the user of amqp.url has no right to it")


async def apply(connection: AbstractConnection, sources: Sequence[SourceConfig], events_exchange: str | None) -> None:
    """Declare what `serve` would. Raises what `declare` does."""
    try:
        for source in sources:
            await declare(connection, source)
        if events_exchange is not None:
            await _declare_events_exchange(connection, events_exchange)
    except CONNECTION_ERRORS as error:
        raise translate(error) from None


async def _declare_events_exchange(connection: AbstractConnection, name: str) -> None:
    """One that is there is taken as its owner made it."""
    seen = await _look_at_exchange(connection, Exchange(name=name, kind=None))
    if seen.presence is Presence.MISSING:
        async with await connection.channel(publisher_confirms=False) as channel:
            await channel.declare_exchange(name, ExchangeType.TOPIC, durable=True, timeout=ASK_SECONDS)
