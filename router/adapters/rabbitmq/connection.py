"""Opens connections to the broker and translates what can go wrong with them."""

from __future__ import annotations

import asyncio

import aio_pika
from aio_pika.abc import AbstractConnection
from aio_pika.exceptions import AMQPError, AuthenticationError, ProbableAuthenticationError
from aiormq.exceptions import AMQPConnectionError, ConnectionNotAllowed, InvalidFrameError

from router.adapters.rabbitmq.config import BrokerConfig
from router.adapters.rabbitmq.wire import read_unreadable_fields
from router.domain.errors import ConfigurationRefused, DependencyUnavailable, RouterError

CONNECTION_ERRORS = (AMQPError, AMQPConnectionError, OSError, asyncio.TimeoutError, RuntimeError)
"""What a lost or refused connection raises, in the client's several layers."""


async def connect(broker: BrokerConfig, name: str) -> AbstractConnection:
    """A connection that does not reconnect by itself: whoever owns it decides what its loss means."""
    read_unreadable_fields()
    try:
        return await aio_pika.connect(
            broker.url,
            timeout=broker.connect_timeout_seconds,
            heartbeat=broker.heartbeat_seconds,
            client_properties={"connection_name": name},
        )
    except CONNECTION_ERRORS as error:
        raise translate(error) from None


def translate(error: BaseException) -> RouterError:
    """One clear sentence for a connection failure; never the URL, which holds the password."""
    if isinstance(error, AuthenticationError | ProbableAuthenticationError):
        return ConfigurationRefused("RabbitMQ refuses the user or password in amqp.url")
    # The client expects an open-ok and says of the close that it got no more than that it was none.
    not_opened = isinstance(error, InvalidFrameError) and "Connection.OpenOk" in str(error)
    if not_opened or isinstance(error, ConnectionNotAllowed):
        return ConfigurationRefused("RabbitMQ refuses the virtual host in amqp.url, or the user's access to it")
    return DependencyUnavailable(f"RabbitMQ cannot be reached at amqp.url ({type(error).__name__})")
