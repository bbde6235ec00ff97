"""An HTTP server that does exactly what a test says, and writes down every byte that clients send.

It works on bytes, so it can do what no HTTP library would: answer nonsense, lie about lengths, drip, reset, never
stop. Touches loopback sockets.

    async with ScriptedServer(answer(500), answer(200)) as server:  # one step per request; the last one stays
        ...  # send to server.url
    server.requests[0].header("webhook-id")

A step is bytes to send, or an async function of the `Exchange`. A request's body needs a `content-length`.
For a program that is not in this event loop:

    with in_thread(ScriptedServer()) as server: ...
"""

from __future__ import annotations

import asyncio
import gzip
import socket
import ssl
import struct
import threading
from collections.abc import Awaitable, Callable, Iterator, Mapping
from concurrent.futures import Future
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Literal, Self

_MAX_HEAD_BYTES = 1024 * 1024
_PIECE = b"x" * 16_384


@dataclass(frozen=True, slots=True, kw_only=True)
class Request:
    """One request, as it came. `headers` keep the order and the case of the wire."""

    method: str
    target: str
    version: str
    headers: tuple[tuple[str, str], ...]
    body: bytes
    raw_head: bytes
    connection: Connection
    nth_on_connection: int
    """From 1; more than 1 on a reused connection."""

    def header(self, name: str) -> str | None:
        """The first value of a header, by its name in any case."""
        return next((value for key, value in self.headers if key.lower() == name.lower()), None)


@dataclass(slots=True, kw_only=True, eq=False)
class Connection:
    """One TCP connection. `ended` says who closed it: the client (by FIN or RST) or this server."""

    number: int
    server_name: str | None = None
    """The host of the TLS handshake."""
    requests: list[Request] = field(default_factory=list)
    ended: Literal["client", "server"] | None = None
    closed: asyncio.Event = field(default_factory=asyncio.Event, repr=False)


@dataclass(slots=True, kw_only=True)
class Exchange:
    """A request that waits for its answer, and everything that a step can do about it."""

    request: Request
    _reader: asyncio.StreamReader
    _writer: asyncio.StreamWriter
    is_over: bool = False
    """The step ended the connection; otherwise it is kept alive for the next request."""

    async def send(self, data: bytes) -> None:
        """Raises ConnectionError once the client is gone."""
        self._writer.write(data)
        await self._writer.drain()

    def close(self) -> None:
        """End the connection in the ordinary way, by FIN."""
        self.is_over = True
        self._writer.close()

    def reset(self) -> None:
        """End the connection by RST, whatever is still under way."""
        self.is_over = True
        raw = self._writer.get_extra_info("socket")
        raw.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        self._writer.transport.abort()

    async def client_gone(self) -> None:
        """Wait until the client has closed the connection."""
        try:
            while await self._reader.read(65_536):
                pass
        finally:
            self.request.connection.ended = "client"
            self.is_over = True


Step = bytes | Callable[[Exchange], Awaitable[None]]


class ScriptedServer:
    """See the module. `steps` are used one after the other, over all connections; `route` chooses by request instead.

    `requests` and `connections` only grow, so any thread may read them.
    """

    def __init__(
        self,
        *steps: Step,
        route: Callable[[Request], Step] | None = None,
        tls: ssl.SSLContext | None = None,
        host: str = "127.0.0.1",
        port: int = 0,
    ) -> None:
        self.requests: list[Request] = []
        self.connections: list[Connection] = []
        self._steps = list(steps) or [answer()]
        self._route = route
        self._tls = tls
        self._host = host
        self._port = port
        self._tasks: set[asyncio.Task[None]] = set()
        self._arrived = asyncio.Condition()

    @property
    def port(self) -> int:
        return self._port

    @property
    def url(self) -> str:
        """The root of this server, without a slash at the end."""
        host = f"[{self._host}]" if ":" in self._host else self._host
        return f"{'https' if self._tls else 'http'}://{host}:{self._port}"

    async def received(self, count: int) -> list[Request]:
        """The requests, as soon as there are `count` of them. For the server's own event loop."""
        async with self._arrived:
            await self._arrived.wait_for(lambda: len(self.requests) >= count)
        return self.requests

    async def __aenter__(self) -> Self:
        self._server = await asyncio.start_server(
            self._serve, self._host, self._port, ssl=self._tls, limit=_MAX_HEAD_BYTES
        )
        self._port = self._server.sockets[0].getsockname()[1]
        return self

    async def __aexit__(self, *_: object) -> None:
        self._server.close()
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)
        connection = Connection(number=len(self.connections))
        self.connections.append(connection)
        try:
            while await self._serve_one(connection, reader, writer):
                pass
        except (ConnectionError, asyncio.IncompleteReadError, ssl.SSLError):
            connection.ended = "client"
        except asyncio.CancelledError:
            pass  # the server is being closed; not raised, since nobody waits for this task
        finally:
            connection.ended = connection.ended or "server"
            connection.closed.set()
            writer.close()

    async def _serve_one(
        self, connection: Connection, reader: asyncio.StreamReader, writer: asyncio.StreamWriter
    ) -> bool:
        request = await _read_request(connection, reader)
        connection.requests.append(request)
        step = self._route(request) if self._route else self._next_step()
        async with self._arrived:
            self.requests.append(request)
            self._arrived.notify_all()
        exchange = Exchange(request=request, _reader=reader, _writer=writer)
        if isinstance(step, bytes):
            await exchange.send(step)
        else:
            await step(exchange)
        return not exchange.is_over

    def _next_step(self) -> Step:
        return self._steps.pop(0) if len(self._steps) > 1 else self._steps[0]


async def _read_request(connection: Connection, reader: asyncio.StreamReader) -> Request:
    head = await reader.readuntil(b"\r\n\r\n")
    first, *lines = head.decode("latin-1").split("\r\n")[:-2]
    method, target, version = first.split(" ", 2)
    pairs = (line.partition(":") for line in lines)
    headers = tuple((name, value.strip()) for name, _, value in pairs)
    length = next((int(value) for name, value in headers if name.lower() == "content-length"), 0)
    return Request(
        method=method,
        target=target,
        version=version,
        headers=headers,
        body=await reader.readexactly(length),
        raw_head=head,
        connection=connection,
        nth_on_connection=len(connection.requests) + 1,
    )


@contextmanager
def in_thread(server: ScriptedServer) -> Iterator[ScriptedServer]:
    """Run a server in a thread and an event loop of its own, so that a test may block."""
    started: Future[Callable[[], object]] = Future()

    async def serve() -> None:
        loop, stop = asyncio.get_running_loop(), asyncio.Event()
        try:
            async with server:
                started.set_result(lambda: loop.call_soon_threadsafe(stop.set))
                await stop.wait()
        except OSError as exc:
            started.set_exception(exc)

    thread = threading.Thread(target=asyncio.run, args=(serve(),), name="scripted-server")
    thread.start()
    stop = started.result()
    try:
        yield server
    finally:
        stop()
        thread.join()


# --- what to answer --------------------------------------------------------------------------------


def head(status: int | str = 200, headers: Mapping[str, str] | None = None, *, version: str = "1.1") -> bytes:
    """Status line and headers, nothing added; `status` may hold a reason."""
    lines = [f"HTTP/{version} {status}", *(f"{name}: {value}" for name, value in (headers or {}).items())]
    return "\r\n".join([*lines, "", ""]).encode("latin-1")


def answer(status: int | str = 200, body: bytes = b"OK", headers: Mapping[str, str] | None = None) -> bytes:
    """A correct answer, after which the connection stays open."""
    return head(status, {"content-length": str(len(body)), **(headers or {})}) + body


def gzip_bomb(mebibytes: int = 10) -> bytes:
    """A correct answer that is small on the wire and large when unpacked."""
    return answer(200, gzip.compress(bytes(mebibytes * 1024 * 1024)), {"content-encoding": "gzip"})


def late(seconds: float) -> Step:
    """A correct answer, after a while."""

    async def step(exchange: Exchange) -> None:
        await asyncio.sleep(seconds)
        await exchange.send(answer())

    return step


def then_close(data: bytes) -> Step:
    """Send, then FIN."""

    async def step(exchange: Exchange) -> None:
        await exchange.send(data)
        exchange.close()

    return step


def then_hang(data: bytes) -> Step:
    """Send, then nothing more until the client gives up."""

    async def step(exchange: Exchange) -> None:
        await exchange.send(data)
        await exchange.client_gone()

    return step


def then_reset(data: bytes) -> Step:
    """Send, then RST. What is on its way over loopback is still read."""

    async def step(exchange: Exchange) -> None:
        await exchange.send(data)
        exchange.reset()

    return step


def in_pieces(*pieces: bytes, seconds_between: float = 0.01) -> Step:
    """Send piece by piece, so that they arrive as segments of their own; the connection stays open."""

    async def step(exchange: Exchange) -> None:
        for piece in pieces:
            await exchange.send(piece)
            await asyncio.sleep(seconds_between)

    return step


def for_ever(first: bytes, again: bytes = _PIECE, *, seconds_between: float = 0) -> Step:
    """Send `first`, then `again` without end, until the client closes the connection."""

    async def step(exchange: Exchange) -> None:
        await exchange.send(first)
        while True:
            await exchange.send(again)
            await asyncio.sleep(seconds_between)

    return step


async def close_without_answer(exchange: Exchange) -> None:
    exchange.close()


async def reset_without_answer(exchange: Exchange) -> None:
    exchange.reset()


async def never_answer(exchange: Exchange) -> None:
    await exchange.client_gone()


def endless_body() -> Step:
    """2xx, then a body without length and end, as fast as the client reads."""
    return for_ever(head(200))


def dripping_body() -> Step:
    """2xx, then one byte of the body at a time."""
    return for_ever(head(200, {"content-length": "1000000"}), b"x", seconds_between=0.02)


def endless_interim() -> Step:
    """103 Early Hints for ever."""
    return for_ever(head(103), head(103) * 50, seconds_between=0.005)
