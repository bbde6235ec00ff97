"""What a worker process and its parent hear of each other, over a real socket."""

from __future__ import annotations

import asyncio
import socket
from collections.abc import Callable
from contextlib import aclosing

import pytest
from structlog.testing import capture_logs

from router.bootstrap import statements as module
from router.bootstrap.statements import Statement, StatementsToParent, parents_fd, statements
from router.telemetry.merging import families
from router.telemetry.metrics import Metrics


def statement(*, delivered: int = 0, **checks: bool) -> Statement:
    metrics = Metrics("1")
    metrics.deliveries.labels("delivered").inc(delivered)
    metrics.attempt_duration.observe(0.1)
    return Statement(checks=checks, stalled=["intake"], metrics=families(metrics.registry))


def test_a_statement_arrives_as_it_was_made() -> None:
    said = statement(delivered=3, store=True, started=False)

    assert Statement.decode(said.encode()) == said


@pytest.mark.parametrize(("checks", "is_ready"), [({}, True), ({"a": True}, True), ({"a": True, "b": False}, False)])
def test_ready_is_who_passes_every_check(checks: dict[str, bool], is_ready: bool) -> None:
    assert statement(**checks).is_ready is is_ready


def pair() -> tuple[socket.socket, int]:
    ours, theirs = socket.socketpair()
    return ours, theirs.detach()


def saying(fd: int, stop: Callable[[], None], said: Statement) -> StatementsToParent:
    return StatementsToParent(fd, lambda: said, stop)


async def test_it_speaks_at_once_and_then_again_and_again(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "STATEMENT_SECONDS", 0)
    ours, fd = pair()
    speaker = saying(fd, lambda: None, statement(a=True))
    worker = asyncio.create_task(speaker.run())

    async with aclosing(statements(ours)) as hearing:
        heard = [(await anext(hearing)).is_ready for _ in range(3)]
    worker.cancel()
    await asyncio.gather(worker, return_exceptions=True)
    await speaker.last_words()

    assert heard == [True] * 3


async def test_a_worker_process_stops_when_its_parent_is_gone() -> None:
    ours, fd = pair()
    stopped = asyncio.Event()
    with capture_logs() as log:
        speaker = saying(fd, stopped.set, statement())
        worker = asyncio.create_task(speaker.run())
        await asyncio.sleep(0)
        ours.close()
        await stopped.wait()
    worker.cancel()
    await asyncio.gather(worker, return_exceptions=True)
    await speaker.last_words()

    assert [line["event"] for line in log] == ["parent_gone"]


async def test_its_last_words_are_heard_after_it_has_stopped() -> None:
    ours, fd = pair()
    said = [statement(delivered=1)]
    speaker = StatementsToParent(fd, lambda: said[-1], lambda: None)
    worker = asyncio.create_task(speaker.run())
    heard = statements(ours)
    await anext(heard)
    worker.cancel()
    await asyncio.gather(worker, return_exceptions=True)

    said.append(statement(delivered=7))
    await speaker.last_words()

    assert [each async for each in heard][-1] == said[-1]


async def test_who_says_too_much_or_nonsense_is_not_listened_to(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "MAX_STATEMENT_BYTES", 64)
    for words in (b"x" * 65 + b"\n", b"no statement\n", b"{}\n"):
        ours, theirs = socket.socketpair()
        theirs.sendall(words)
        with pytest.raises((ValueError, KeyError)):
            await anext(statements(ours))
        assert theirs.recv(1) == b"", "the socket is closed, which ends the process"
        theirs.close()


@pytest.mark.parametrize(("text", "fd"), [("7", 7), ("", None), ("seven", None)])
def test_only_a_worker_process_has_a_parent(text: str, fd: int | None, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(module.FD_VARIABLE, text)

    assert parents_fd() == fd
