"""Opens connections to the broker, bounds what is asked of them, and translates what can go wrong with them."""

from __future__ import annotations

import asyncio
import os
import re
import time
from collections.abc import Coroutine
from typing import Any, Final, TypeVar

import aio_pika
from aio_pika.abc import AbstractConnection
from aio_pika.exceptions import AMQPError, AuthenticationError, ProbableAuthenticationError
from aiormq.exceptions import AMQPConnectionError, ConnectionNotAllowed, InvalidFrameError

from router.adapters.rabbitmq.config import BrokerConfig
from router.adapters.rabbitmq.wire import hush_abandoned_connections, read_unreadable_fields, show_close_reasons
from router.domain.errors import ConfigurationRefused, DependencyUnavailable, RouterError

T = TypeVar("T")

CONNECTION_ERRORS = (AMQPError, AMQPConnectionError, OSError, asyncio.TimeoutError, RuntimeError)
"""What a lost or refused connection raises, in the client's several layers."""

STOOD_STILL_SECONDS: Final = 1.0
"""A timeout that comes so much too late says that this process did not run, and nothing of the broker."""

_REFUSED_OPEN: Final = re.compile(r"Connection\.Close (?P<code>\d+) (?P<text>.*)", re.DOTALL)
_NOT_ALLOWED: Final = "530"
_INTERNAL_ERROR: Final = "541"

_leftovers: set[asyncio.Task[Any]] = set()


async def connect(broker: BrokerConfig, name: str) -> AbstractConnection:
    """A connection that does not reconnect by itself: whoever owns it decides what its loss means."""
    read_unreadable_fields()
    show_close_reasons()
    hush_abandoned_connections()
    try:
        return await aio_pika.connect(
            broker.url,
            timeout=broker.connect_timeout_seconds,
            heartbeat=broker.heartbeat_seconds,
            client_properties={"connection_name": name},
        )
    except CONNECTION_ERRORS as error:
        raise translate(error) from None


async def within(seconds: float, action: Coroutine[Any, Any, T], *, name: str, grace_seconds: float = 0) -> T:
    """The result of `action`, or what it raises. TimeoutError where it takes longer than `seconds`; it is then
    cancelled, after some grace, and left behind: the client may hold on to a call that it should give up.

    ConnectionResetError where the client cancelled the call, as it does with those of a connection that closes: a
    cancellation that nobody asked for would end our own task without a word.
    """
    task = asyncio.create_task(action, name=name)
    _leftovers.add(task)
    task.add_done_callback(_forget)
    began = time.monotonic()
    try:
        await asyncio.wait({task}, timeout=seconds)
        if not task.done() and time.monotonic() - began > seconds + STOOD_STILL_SECONDS:
            await asyncio.wait({task}, timeout=seconds)
        if not task.done():
            raise TimeoutError
    finally:
        if not task.done():
            asyncio.get_running_loop().call_later(grace_seconds, task.cancel)
    if task.cancelled():
        raise ConnectionResetError
    return task.result()


def _forget(task: asyncio.Task[Any]) -> None:
    _leftovers.discard(task)
    if not task.cancelled():
        task.exception()  # so that asyncio does not complain of one that nobody waits for any more


def translate(error: BaseException) -> RouterError:
    """One clear sentence for a connection failure; never the URL, which holds the password."""
    if isinstance(error, AuthenticationError | ProbableAuthenticationError):
        return ConfigurationRefused("RabbitMQ refuses the user or password in amqp.url")
    # The client expects an open-ok and says of a close that it was none.
    refused = _REFUSED_OPEN.search(str(error)) if isinstance(error, InvalidFrameError) else None
    code, text = (refused["code"], refused["text"]) if refused else ("", str(error))
    if code == _INTERNAL_ERROR:
        return DependencyUnavailable("RabbitMQ is there, but the virtual host in amqp.url is down")
    if code == _NOT_ALLOWED or isinstance(error, ConnectionNotAllowed):
        if "connection limit" in text:
            return DependencyUnavailable("RabbitMQ has reached a limit of connections (of virtual host or user)")
        return ConfigurationRefused("RabbitMQ refuses the virtual host in amqp.url, or the user's access to it")
    return DependencyUnavailable("RabbitMQ cannot be reached at amqp.url", seen=_seen(error))


def _seen(error: BaseException) -> str:
    """What kept us from connecting, in the words of the system and without the address.

    The client makes an error of its own from the arguments of the system's, whose class is lost.
    """
    if isinstance(error, TimeoutError):
        return "no answer in time"
    tls = re.search(r"\[SSL: (\w+)\](?: certificate verify failed: ([^(]+))?", str(error))
    if tls is not None:
        return f"TLS: {tls[2].strip() if tls[2] else tls[1].lower().replace('_', ' ')}"
    number = error.args[0] if error.args else None
    if not isinstance(number, int):
        return type(error).__name__
    return os.strerror(number) if number > 0 else "its name is not known"
