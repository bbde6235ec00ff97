"""The HTTP sender against a server that does what real ones do, and worse (faults 34 to 46)."""

import asyncio
import os
import socket
from collections.abc import Callable
from dataclasses import replace
from datetime import UTC, datetime, timedelta

import pytest

from router.domain.delivery import AttemptError, ErrorDetail, ErrorKind
from router.domain.outcome import Answer, NoAnswer, SendResult
from tests.support.dns_server import ScriptedDns
from tests.support.http_server import (
    ScriptedServer,
    Step,
    answer,
    close_without_answer,
    dripping_body,
    endless_body,
    endless_interim,
    for_ever,
    gzip_bomb,
    head,
    in_pieces,
    never_answer,
    reset_without_answer,
    then_close,
    then_hang,
    then_reset,
)
from tests.support.sending import EVENT_LOOPS, open_sender, outgoing

SHORT = 0.2
"""A timeout that tests wait for."""
ENOUGH_FOR_A_HEAD = 0.5

Loop = Callable[[], asyncio.AbstractEventLoop]
on_both_loops = pytest.mark.parametrize("loop", EVENT_LOOPS.values(), ids=EVENT_LOOPS)


def ok(body: bytes = b"OK", *, status: int = 200, truncated: bool = False) -> Answer:
    return Answer(status_code=status, body=body, truncated=truncated)


def send_once(loop: Loop, step: Step, *, timeout_seconds: float = 60) -> SendResult:
    """What the sender makes of a server that answers with `step`."""

    async def run() -> SendResult:
        async with ScriptedServer(step) as server, open_sender() as sender:
            return await sender.send(outgoing(server.url, timeout_seconds=timeout_seconds))

    with asyncio.Runner(loop_factory=loop) as runner:
        return runner.run(run())


# --- what goes out ---------------------------------------------------------------------------------


async def test_request_holds_our_headers_host_and_length_and_nothing_else() -> None:
    async with ScriptedServer() as server, open_sender() as sender:
        request = outgoing(f"{server.url}/hook", body='{"é": 1e3}'.encode(), headers={"webhook-id": "evt_1"})
        await sender.send(request)

    (received,) = server.requests
    assert received.raw_head.decode() == (
        "POST /hook HTTP/1.1\r\n"
        f"Host: 127.0.0.1:{server.port}\r\n"
        "content-type: application/json\r\n"
        "user-agent: webhook-router/test\r\n"
        "webhook-id: evt_1\r\n"
        "Content-Length: 11\r\n"
        "\r\n"
    )
    assert received.body == request.body


@pytest.mark.parametrize("size", [0, 1, 65_536, 1024 * 1024, 3 * 1024 * 1024])
async def test_body_arrives_byte_for_byte_whatever_its_size(size: int) -> None:
    body = os.urandom(size)

    async with ScriptedServer() as server, open_sender() as sender:
        assert await sender.send(outgoing(server.url, body=body)) == ok()

    assert server.requests[0].body == body
    assert server.requests[0].header("transfer-encoding") is None


@pytest.mark.parametrize(
    ("written", "sent"),
    [
        ("", "/"),
        ("?a=1", "/?a=1"),
        ("/a%2Fb/%7Ec", "/a%2Fb/%7Ec"),
        ("/a/../b//c/.", "/a/../b//c/."),
        ("/?q=a+b&c=%20&d=%2B", "/?q=a+b&c=%20&d=%2B"),
        ("/?a=1;b=2&a=3&empty&e=", "/?a=1;b=2&a=3&empty&e="),
        ("/?u=https://x.example/?y=1", "/?u=https://x.example/?y=1"),
        ("/?caf%C3%A9=%zz&t={call_id}|'x'", "/?caf%C3%A9=%zz&t={call_id}|'x'"),
        ("/path?token=s3cret#fragment", "/path?token=s3cret"),
    ],
)
async def test_url_goes_out_as_it_was_written(written: str, sent: str) -> None:
    async with ScriptedServer() as server, open_sender() as sender:
        await sender.send(outgoing(server.url + written))

    assert server.requests[0].target == sent


async def test_cookies_are_not_kept() -> None:
    async with (
        ScriptedServer(answer(headers={"set-cookie": "session=1; Path=/"})) as server,
        ScriptedDns({"crm.example": ["127.0.0.1"]}) as dns,  # for an address, no library would keep one
        open_sender(resolver=dns.resolver) as sender,
    ):
        for _ in range(2):
            await sender.send(outgoing(f"http://crm.example:{server.port}/"))

    assert [request.header("cookie") for request in server.requests] == [None, None]


async def test_proxy_settings_of_the_environment_are_not_used(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HTTP_PROXY", "http://127.0.0.1:9")

    async with ScriptedServer() as server, open_sender() as sender:
        assert await sender.send(outgoing(server.url)) == ok()


# --- answers ---------------------------------------------------------------------------------------

CHUNKED = {"transfer-encoding": "chunked"}
KIBIBYTES_2 = b"x" * 2048

ANSWERS: dict[str, tuple[Step, Answer]] = {
    "200": (answer(), ok()),
    "204": (head(204), ok(b"", status=204)),
    "410": (answer(410), ok(status=410)),
    "599": (answer("599 Whatever"), ok(status=599)),
    "101": (head(101, {"upgrade": "websocket", "connection": "upgrade"}), ok(b"", status=101)),
    "a redirect is not followed": (
        head(307, {"location": "http://127.0.0.1:9/", "content-length": "0"}),
        replace(ok(b"", status=307), error_detail=ErrorDetail(kind=ErrorKind.REDIRECTED, host="127.0.0.1")),
    ),
    "a redirect to nowhere": (
        head(302, {"location": "http://[", "content-length": "0"}),
        replace(ok(b"", status=302), error_detail=ErrorDetail(kind=ErrorKind.REDIRECTED)),
    ),
    "status without a reason": (head(200, {"content-length": "0"}).replace(b"200 ", b"200"), ok(b"")),
    "HTTP/1.0": (then_close(head(200, version="1.0") + b"OK"), ok()),
    "no length": (then_close(head(200) + b"OK"), ok()),
    "chunked": (head(200, CHUNKED) + b"2\r\nOK\r\n0\r\n\r\n", ok()),
    "unasked 100 and 103": (head(100) + head(103, {"link": "</a>"}) + answer(), ok()),
    "byte by byte": (in_pieces(*(bytes([byte]) for byte in answer()), seconds_between=0), ok()),
    "whole body": (answer(body=KIBIBYTES_2), ok(KIBIBYTES_2)),
    "one byte too long": (answer(body=KIBIBYTES_2 + b"x"), ok(KIBIBYTES_2, truncated=True)),
    "a megabyte": (answer(body=b"x" * 1_000_000), ok(KIBIBYTES_2, truncated=True)),
    "endless body": (endless_body(), ok(KIBIBYTES_2, truncated=True)),
    "body cut off": (then_close(head(200, {"content-length": "9"}) + b"OK"), ok(truncated=True)),
    "body reset": (then_reset(head(200, {"content-length": "9"}) + b"OK"), ok(truncated=True)),
    "body longer than said": (head(200, {"content-length": "2"}) + b"OKAY", ok()),
    "body longer than said, head in two pieces": (
        in_pieces(b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r", b"\nOKAY"),
        ok(),
    ),
    "wrong chunks": (head(200, CHUNKED) + b"no length\r\n", ok(b"", truncated=True)),
    "wrong chunks, later": (in_pieces(head(200, CHUNKED), b"no length\r\n"), ok(b"", truncated=True)),
    "two answers": (answer() + answer(500), ok()),
    "a line that is not folded": (head(200, {"x": "y" * 8_000, "content-length": "0"}), ok(b"")),
}


@on_both_loops
@pytest.mark.parametrize(("step", "expected"), ANSWERS.values(), ids=ANSWERS)
def test_status_decides(loop: Loop, step: Step, expected: Answer) -> None:
    assert send_once(loop, step) == expected


@pytest.mark.parametrize(
    "step",
    [
        then_hang(head(200, {"content-length": "9"}) + b"OK"),
        dripping_body(),
        for_ever(head(200, CHUNKED) + b"1;", b"x"),
    ],
    ids=["nothing more", "drip", "endless chunk extension"],
)
@on_both_loops
def test_body_is_not_waited_for_longer_than_the_timeout(loop: Loop, step: Step) -> None:
    result = send_once(loop, step, timeout_seconds=ENOUGH_FOR_A_HEAD)

    assert isinstance(result, Answer)
    assert (result.status_code, result.truncated) == (200, True)


async def test_compressed_answer_is_kept_as_it_came() -> None:
    bomb = gzip_bomb(mebibytes=1)

    async with ScriptedServer(bomb) as server, open_sender() as sender:
        result = await sender.send(outgoing(server.url))

    assert isinstance(result, Answer)
    assert result.body == bomb.partition(b"\r\n\r\n")[2]


@pytest.mark.parametrize(
    ("status", "value", "seconds"),
    [
        (429, "120", 120.0),
        (503, "Thu, 01 Jan 2026 00:01:30 GMT", 90.0),
        (503, "soon", None),
        (503, None, None),
        (500, "120", None),
        (200, "120", None),
    ],
)
async def test_retry_after_counts_on_429_and_503(status: int, value: str | None, seconds: float | None) -> None:
    step = answer(status, headers={"Retry-After": value} if value else {})

    async with (
        ScriptedServer(step) as server,
        open_sender(now=lambda: datetime(2026, 1, 1, tzinfo=UTC)) as sender,
    ):
        result = await sender.send(outgoing(server.url))

    assert isinstance(result, Answer)
    assert result.retry_after_seconds == seconds


# --- no answer -------------------------------------------------------------------------------------

FAILURES: dict[str, tuple[Step, AttemptError]] = {
    "closed": (close_without_answer, AttemptError.CONNECTION_RESET),
    "reset": (reset_without_answer, AttemptError.CONNECTION_RESET),
    "closed in the status line": (then_close(b"HTTP/1.1 20"), AttemptError.CONNECTION_RESET),
    "closed in the headers": (then_close(b"HTTP/1.1 200 OK\r\nx:"), AttemptError.CONNECTION_RESET),
    "closed after 103": (then_close(head(103)), AttemptError.CONNECTION_RESET),
    "HTTP/0.9": (then_close(b"<html>hello</html>"), AttemptError.PROTOCOL),
    "not HTTP": (then_close(b"SSH-2.0-OpenSSH_9.2\r\n"), AttemptError.PROTOCOL),
    "lower-case status line": (b"http/1.1 200 ok\r\ncontent-length: 0\r\n\r\n", AttemptError.PROTOCOL),
    "status of four digits": (head("2000 OK"), AttemptError.PROTOCOL),
    "two lengths": (head(200, {"content-length": "2", "Content-Length": "3"}) + b"OK", AttemptError.PROTOCOL),
    "length and chunks": (head(200, {"content-length": "2", **CHUNKED}) + b"0\r\n\r\n", AttemptError.PROTOCOL),
    "header of 64 KiB": (head(200, {"x": "y" * 65_536}), AttemptError.PROTOCOL),
    "500 headers": (head(200, {f"x-{number}": "y" for number in range(500)}), AttemptError.PROTOCOL),
    "long reason": (head("200 " + "x" * 9_000), AttemptError.PROTOCOL),
}


@on_both_loops
@pytest.mark.parametrize(("step", "error"), FAILURES.values(), ids=FAILURES)
def test_failure_has_a_name(loop: Loop, step: Step, error: AttemptError) -> None:
    result = send_once(loop, step)

    assert isinstance(result, NoAnswer)
    assert result.error is error


@on_both_loops
@pytest.mark.parametrize(
    "step", [never_answer, then_hang(b"HTTP/1.1 200 OK\r\n"), endless_interim()], ids=["silence", "half a head", "1xx"]
)
def test_total_timeout_bounds_the_wait_for_the_head(loop: Loop, step: Step) -> None:
    result = send_once(loop, step, timeout_seconds=SHORT)

    assert result == NoAnswer(error=AttemptError.TIMEOUT, detail="no answer in time")


async def test_server_that_does_not_read_is_a_timeout() -> None:
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        listener.listen()  # connections are accepted by the kernel, and read by nobody
        url = f"http://127.0.0.1:{listener.getsockname()[1]}"
        async with open_sender() as sender:
            result = await sender.send(outgoing(url, body=bytes(20_000_000), timeout_seconds=SHORT))

    assert result == NoAnswer(error=AttemptError.TIMEOUT, detail="no answer in time")


@on_both_loops
def test_closed_port_is_connection_refused(loop: Loop) -> None:
    async def run() -> SendResult:
        with socket.socket() as reserved:
            reserved.bind(("127.0.0.1", 0))
            async with open_sender() as sender:
                return await sender.send(outgoing(f"http://127.0.0.1:{reserved.getsockname()[1]}/"))

    with asyncio.Runner(loop_factory=loop) as runner:
        assert runner.run(run()) == NoAnswer(error=AttemptError.CONNECTION_REFUSED, detail="Connection refused")


@on_both_loops
@pytest.mark.parametrize(
    ("connect_seconds", "timeout_seconds"), [(SHORT, 5), (5, SHORT)], ids=["connect timeout", "total timeout"]
)
def test_listener_that_accepts_nobody_is_a_connect_timeout(
    loop: Loop, connect_seconds: float, timeout_seconds: float
) -> None:
    async def run() -> SendResult:
        with socket.socket() as listener, socket.socket() as first, socket.socket() as second:
            listener.bind(("127.0.0.1", 0))
            listener.listen(0)
            for filler in (first, second):  # a backlog of 0 has room for one; the kernel ignores the others
                filler.setblocking(False)
                filler.connect_ex(listener.getsockname())
            async with open_sender(connect_timeout=timedelta(seconds=connect_seconds)) as sender:
                url = f"http://127.0.0.1:{listener.getsockname()[1]}"
                return await sender.send(outgoing(url, timeout_seconds=timeout_seconds))

    with asyncio.Runner(loop_factory=loop) as runner:
        assert runner.run(run()) == NoAnswer(error=AttemptError.CONNECT_TIMEOUT, detail="no connection in time")


@pytest.mark.parametrize("url", ["", "ftp://x.example/", "https://u:p@x.example/", "https://x.example/é", "https:///"])
async def test_url_that_breaks_a_rule_is_an_attempt_that_names_the_rule(url: str) -> None:
    async with open_sender() as sender:
        result = await sender.send(outgoing(url))

    assert isinstance(result, NoAnswer)
    assert result.error is AttemptError.BLOCKED_ADDRESS
    assert "x.example" not in result.detail
