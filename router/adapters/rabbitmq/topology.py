"""Declares exchanges, queues and bindings, and turns the broker's refusals into sentences that name the argument."""

from __future__ import annotations

import re
from typing import Final

from aio_pika import ExchangeType
from aio_pika.abc import AbstractConnection
from aiormq.exceptions import ChannelAccessRefused, ChannelNotFoundEntity, ChannelPreconditionFailed

from router.adapters.rabbitmq.config import SourceConfig
from router.domain.errors import ConfigurationRefused, DependencyUnavailable

DECLARE_TIMEOUT_SECONDS: Final = 10.0

_MISMATCH = re.compile(
    r"inequivalent arg '(?P<argument>[^']+)' for (?P<kind>queue|exchange) '(?P<name>[^']*)' in vhost '[^']*': "
    r"received (?P<wanted>.*?) but current is (?P<has>.*)"
)


async def declare(connection: AbstractConnection, source: SourceConfig) -> int:
    """Declare what the source needs and does not have. Returns how many messages wait in its queue.

    A passive source takes its exchange, and its queue where there is one, as their owner made them; a queue that is
    missing is made and bound. Raises ConfigurationRefused where the broker has something otherwise or refuses
    access, DependencyUnavailable where a passive exchange is missing.
    """
    try:
        if source.passive:
            return await _take_as_is(connection, source)
        return await _declare(connection, source)
    except ChannelPreconditionFailed as error:
        raise ConfigurationRefused(explain_mismatch(str(error), source)) from None
    except ChannelAccessRefused:
        raise ConfigurationRefused(
            f"RabbitMQ refuses the user of amqp.url access to exchange {source.exchange!r} or queue {source.queue!r}; "
            'grant it configure, write and read permissions, or set declare = "passive"'
        ) from None


async def _declare(connection: AbstractConnection, source: SourceConfig) -> int:
    # The broker closes a channel that it refuses something on, so each declaration has one of its own.
    async with await connection.channel(publisher_confirms=False) as channel:
        if not source.passive:
            await channel.declare_exchange(
                source.exchange, ExchangeType(source.exchange_type), durable=True, timeout=DECLARE_TIMEOUT_SECONDS
            )
        # The type alone: every other tunable is a policy, so that operators can change it without a redeclare.
        queue = await channel.declare_queue(
            source.queue, durable=True, arguments={"x-queue-type": "quorum"}, timeout=DECLARE_TIMEOUT_SECONDS
        )
        for key in source.binding_keys:
            await queue.bind(
                source.exchange, key, arguments=dict(source.binding_arguments) or None, timeout=DECLARE_TIMEOUT_SECONDS
            )
        return queue.declaration_result.message_count or 0


async def _take_as_is(connection: AbstractConnection, source: SourceConfig) -> int:
    try:
        async with await connection.channel(publisher_confirms=False) as channel:
            queue = await channel.declare_queue(source.queue, passive=True, timeout=DECLARE_TIMEOUT_SECONDS)
            return queue.declaration_result.message_count or 0
    except ChannelNotFoundEntity:
        pass
    try:
        async with await connection.channel(publisher_confirms=False) as channel:
            await channel.get_exchange(source.exchange, ensure=True)
    except ChannelNotFoundEntity:
        raise DependencyUnavailable(
            f"exchange {source.exchange!r} of source {source.name!r} does not exist, and declare is "
            '"passive": its publisher has to make it'
        ) from None
    return await _declare(connection, source)


def explain_mismatch(text: str, source: SourceConfig) -> str:
    """What the broker has, what was wanted, and what to do, from a PRECONDITION_FAILED text."""
    found = _MISMATCH.search(text)
    if found is None:
        return f"RabbitMQ has exchange {source.exchange!r} or queue {source.queue!r} with other properties: {text}"
    kind, name = found["kind"], found["name"]
    return (
        f'{kind} {name!r}: {difference(text)}. Delete the {kind}, or set declare = "passive" for source '
        f"{source.name!r} to take it as it is"
    )


def difference(text: str) -> str:
    """The argument that a PRECONDITION_FAILED text is about, with what it has and what was wanted."""
    found = _MISMATCH.search(text)
    if found is None:
        return text
    return f"{found['argument']} is {_value(found['has'])} on the broker, {_value(found['wanted'])} was wanted"


def _value(text: str) -> str:
    """`the value '1000' of type 'signedint'` → `1000`; `none` → `not set`."""
    quoted = re.search(r"'([^']*)'", text)
    if text.startswith("none"):
        return "not set"
    return quoted[1] if quoted else text.strip()
