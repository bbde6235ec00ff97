"""The HTTP sender's connections: which are used again, which are not, and what ends them."""

import asyncio
import errno
import os
import resource
from collections.abc import Callable

import pytest

from router.adapters.http.sender import HttpSender
from router.domain.delivery import AttemptError
from router.domain.outcome import Answer, LocalFault, NoAnswer, SendResult
from router.ports import Sender
from tests.support.http_server import (
    Request,
    ScriptedServer,
    Step,
    answer,
    close_without_answer,
    dripping_body,
    endless_body,
    head,
    in_pieces,
    never_answer,
    reset_without_answer,
    then_close,
)
from tests.support.sending import EVENT_LOOPS, LOOPBACK, open_sender, outgoing

SHORT = 0.5
"""A timeout that tests wait for, and enough for all that comes before."""

OK = Answer(status_code=200, body=b"OK", truncated=False)
CHUNKED = {"transfer-encoding": "chunked"}

Loop = Callable[[], asyncio.AbstractEventLoop]
on_both_loops = pytest.mark.parametrize("loop", EVENT_LOOPS.values(), ids=EVENT_LOOPS)


@on_both_loops
@pytest.mark.parametrize(
    ("step", "connections"),
    [
        (answer(), 1),
        (answer(500, body=b"x" * 2048), 1),
        (head(204), 1),
        (head(200, CHUNKED) + b"2\r\nOK\r\n0\r\n\r\n", 1),
        (answer(headers={"connection": "close"}), 2),
        (then_close(answer()), 2),
        (answer(body=b"x" * 1_000_000), 2),
        (head(200, {"content-length": "2"}) + b"OKAY", 2),
        (answer() + answer(500), 2),
        (head(101, {"upgrade": "websocket", "connection": "upgrade"}), 2),
    ],
    ids=["short", "error", "no content", "chunked", "close", "closed", "long", "lie", "two answers", "upgrade"],
)
def test_connection_is_used_again_after_a_short_whole_answer(loop: Loop, step: Step, connections: int) -> None:
    async def run() -> int:
        async with ScriptedServer(step) as server, open_sender() as sender:
            first, second = [await sender.send(outgoing(server.url)) for _ in range(2)]
            assert first == second
            assert len(server.requests) == 2
            return len(server.connections)

    with asyncio.Runner(loop_factory=loop) as runner:
        assert runner.run(run()) == connections


@pytest.mark.parametrize("step", [endless_body(), dripping_body()], ids=["endless", "drip"])
async def test_unfinished_body_is_not_drained(step: Step) -> None:
    async with ScriptedServer(step) as server, open_sender() as sender:
        await sender.send(outgoing(server.url, timeout_seconds=SHORT))
        await asyncio.wait_for(server.connections[0].closed.wait(), 10)

        assert server.connections[0].ended == "client"


@on_both_loops
@pytest.mark.parametrize("failure", [close_without_answer, reset_without_answer], ids=["FIN", "RST"])
def test_dead_connection_of_the_pool_is_replaced_within_the_attempt(loop: Loop, failure: Step) -> None:
    def stale_after_the_first(request: Request) -> Step:
        return answer() if request.nth_on_connection == 1 else failure

    async def run() -> None:
        async with ScriptedServer(route=stale_after_the_first) as server, open_sender() as sender:
            await asyncio.gather(*(sender.send(outgoing(server.url)) for _ in range(3)))
            pooled = len(server.connections)

            assert await sender.send(outgoing(server.url, headers={"webhook-id": "last"})) == OK

        tries = [request for request in server.requests if request.header("webhook-id") == "last"]
        assert [try_.nth_on_connection for try_ in tries] == [2, 1]
        assert len(server.connections) == pooled + 1

    with asyncio.Runner(loop_factory=loop) as runner:
        runner.run(run())


async def test_second_try_is_the_last_and_shares_the_timeout() -> None:
    async with ScriptedServer(answer(), close_without_answer, never_answer) as server, open_sender() as sender:
        await sender.send(outgoing(server.url))
        timed_out = await sender.send(outgoing(server.url, timeout_seconds=SHORT))

    assert timed_out == NoAnswer(error=AttemptError.TIMEOUT, detail="no answer in time")
    assert len(server.requests) == 3


@pytest.mark.parametrize(
    "steps",
    [
        (reset_without_answer, answer()),
        (answer(), then_close(b"HTTP/1.1 "), answer()),
        (answer(), then_close(head(103)), answer()),
    ],
    ids=["fresh connection", "half a status line", "interim answer"],
)
async def test_no_second_try_on_a_fresh_connection_or_after_a_byte_of_an_answer(steps: tuple[Step, ...]) -> None:
    async with ScriptedServer(*steps) as server, open_sender() as sender:
        results = [await sender.send(outgoing(server.url)) for _ in steps[1:]]

    assert isinstance(results[-1], NoAnswer)
    assert len(server.requests) == len(steps) - 1


@on_both_loops
def test_answer_that_nobody_asked_for_is_not_the_next_ones(loop: Loop) -> None:
    async def run() -> None:
        late = in_pieces(answer(), answer(408))
        async with ScriptedServer(late, answer()) as server, open_sender() as sender:
            await sender.send(outgoing(server.url))
            await asyncio.wait_for(server.connections[0].closed.wait(), 10)

            assert await sender.send(outgoing(server.url)) == OK

    with asyncio.Runner(loop_factory=loop) as runner:
        runner.run(run())


# --- our own faults --------------------------------------------------------------------------------


@on_both_loops
def test_lack_of_file_descriptors_is_not_charged_to_the_customer(loop: Loop) -> None:
    async def run() -> SendResult:
        async with ScriptedServer() as server, open_sender() as sender:
            soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
            resource.setrlimit(resource.RLIMIT_NOFILE, (3, hard))
            try:
                return await sender.send(outgoing(server.url))
            finally:
                resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))

    with asyncio.Runner(loop_factory=loop) as runner:
        assert runner.run(run()) == LocalFault(detail=os.strerror(errno.EMFILE))


@on_both_loops
def test_closing_ends_requests_as_local_faults(loop: Loop) -> None:
    async def run() -> None:
        async with ScriptedServer(never_answer) as server, open_sender() as sender, asyncio.TaskGroup() as group:
            sending = [group.create_task(sender.send(outgoing(server.url))) for _ in range(3)]
            await server.received(3)
            await sender.close()
            results = await asyncio.gather(*sending, sender.send(outgoing(server.url)))

        assert results == [LocalFault(detail="shutting down")] * 4

    with asyncio.Runner(loop_factory=loop) as runner:
        runner.run(run())


async def test_cancellation_passes_and_closes_the_connection() -> None:
    async with ScriptedServer(never_answer) as server, open_sender() as sender:
        sending = asyncio.create_task(sender.send(outgoing(server.url)))
        await server.received(1)
        sending.cancel()

        with pytest.raises(asyncio.CancelledError):
            await sending
        await asyncio.wait_for(server.connections[0].closed.wait(), 10)


async def test_sender_that_is_not_open_sends_nothing() -> None:
    sender: Sender = HttpSender(LOOPBACK)

    assert await sender.send(outgoing("http://127.0.0.1:9/")) == LocalFault(detail="shutting down")
