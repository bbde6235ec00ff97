"""Calls to the broker with a bound, and what a failure is called."""

from __future__ import annotations

import asyncio
import gc
import threading
import warnings

import aio_pika
import pytest
from aiormq.exceptions import AMQPConnectionError, InvalidFrameError, ProbableAuthenticationError
from pamqp.commands import Connection
from yarl import URL

from router.adapters.rabbitmq.connection import translate, within
from router.adapters.rabbitmq.wire import hush_abandoned_connections, show_close_reasons
from router.domain.errors import ConfigurationRefused, DependencyUnavailable


async def test_a_call_that_does_not_end_is_left_behind_though_it_will_not_be_cancelled() -> None:
    released = asyncio.Event()

    async def stubborn() -> None:
        while not released.is_set():
            try:
                await released.wait()
            except asyncio.CancelledError:
                continue

    with pytest.raises(TimeoutError):
        await within(0, stubborn(), name="stubborn")
    released.set()


async def test_a_call_that_the_client_cancelled_is_a_lost_connection_and_cancels_nobody_else() -> None:
    async def cancelled() -> None:
        raise asyncio.CancelledError

    with pytest.raises(ConnectionResetError):
        await within(5, cancelled(), name="cancelled")


async def test_a_result_and_an_error_pass() -> None:
    async def answer(value: int) -> int:
        if value < 0:
            raise KeyError(value)
        return value

    assert await within(5, answer(1), name="answer") == 1
    with pytest.raises(KeyError):
        await within(5, answer(-1), name="answer")


def test_a_connection_that_is_collected_in_another_thread_says_nothing() -> None:
    loop = asyncio.new_event_loop()

    async def connecting() -> list[aio_pika.Connection]:
        return [aio_pika.Connection(URL("amqp://127.0.0.1/"))]

    abandoned = loop.run_until_complete(connecting())
    with warnings.catch_warnings(record=True) as told:
        warnings.simplefilter("always")
        hush_abandoned_connections()
        collecting = threading.Thread(target=abandoned.clear)
        collecting.start()
        collecting.join()
        gc.collect()
    loop.close()

    assert [str(each.message) for each in told] == []


def refused_open(code: int, text: str) -> InvalidFrameError:
    """What the client makes of a close in answer to connection.open."""
    show_close_reasons()
    close = Connection.Close(code, text, 10, 40)
    return InvalidFrameError(f"Expected one of ['Connection.OpenOk'], got {close!r}")


@pytest.mark.parametrize(
    ("error", "kind", "says"),
    [
        (refused_open(530, "NOT_ALLOWED - vhost x not found"), ConfigurationRefused, "virtual host"),
        (refused_open(530, "NOT_ALLOWED - access to vhost 'x' refused for user 'u'"), ConfigurationRefused, "access"),
        (refused_open(530, "… connection limit (1) is reached"), DependencyUnavailable, "limit of connections"),
        (refused_open(541, "INTERNAL_ERROR - vhost 'x' is down"), DependencyUnavailable, "is down"),
        (refused_open(320, "CONNECTION_FORCED - shutdown"), DependencyUnavailable, "cannot be reached"),
        (ProbableAuthenticationError("ACCESS_REFUSED"), ConfigurationRefused, "password"),
        (AMQPConnectionError(111, "refused"), DependencyUnavailable, "cannot be reached"),
        (TimeoutError(), DependencyUnavailable, "no answer in time"),
    ],
)
def test_what_only_a_person_can_mend_is_told_from_what_passes(
    error: Exception, kind: type[Exception], says: str
) -> None:
    translated = translate(error)

    assert isinstance(translated, kind)
    assert says in str(translated)
