"""A TCP proxy on loopback that stands between two programs and does to their connections what networks do.

    async with FaultProxy.before(amqp_url, protocol=Protocol.AMQP) as proxy:
        ...                                    # connect to proxy.url instead of amqp_url
        proxy.black_hole()                     # open, and nothing moves
        proxy.heal()                           # what was held back moves on
        lost = proxy.lose_acks()               # the next basic.ack is swallowed, then RST
        await wait_for(lambda: lost.count)

Given the protocol, it cuts the stream into AMQP frames or MongoDB messages and can lose a particular one. Touches
loopback sockets. For its own event loop only.
"""

from __future__ import annotations

import asyncio
import re
import socket
import struct
from collections.abc import Callable, Collection, Iterator, Sequence
from dataclasses import dataclass, field
from enum import Enum, auto
from typing import Final, Self

from yarl import URL

LOOPBACK: Final = "127.0.0.1"
READ_BYTES: Final = 65_536
WRITES: Final = frozenset({"insert", "update", "delete", "findAndModify"})
_AMQP_HEAD_BYTES: Final = 7
_AMQP_METHOD_FRAME: Final = 1
_BASIC_DELIVER: Final = (60, 60)
_BASIC_ACK: Final = (60, 80)
_OP_MSG: Final = 2013
_OP_MSG_COMMAND: Final = 26
"""Where the name of a command begins: header 16, flags 4, section kind 1, length 4, type of the first element 1."""


class Direction(Enum):
    """UP goes to the server, DOWN to the client."""

    UP = auto()
    DOWN = auto()


class Protocol(Enum):
    """How the stream is cut into messages; RAW: as it comes."""

    RAW = auto()
    AMQP = auto()
    MONGO = auto()


class Verdict(Enum):
    """What becomes of a message. RESET swallows it and everything after it, and resets both sides."""

    PASS = auto()
    SWALLOW = auto()
    RESET = auto()


@dataclass(slots=True, eq=False)
class Link:
    """One proxied connection: both ends, and what rules remember of it."""

    client: asyncio.StreamWriter
    server: asyncio.StreamWriter
    awaited: set[int] = field(default_factory=set)
    """Ids of the MongoDB requests whose reply is to be lost."""
    is_forgotten: bool = False
    """Nothing moves on it any more, whatever heals."""

    def reset(self) -> None:
        for writer in (self.client, self.server):
            _reset(writer)


Rule = Callable[[Link, Direction, bytes], Verdict]


@dataclass(slots=True)
class Losses:
    """How many messages a rule has lost so far, of at most `limit`."""

    limit: int
    count: int = 0

    @property
    def is_over(self) -> bool:
        return self.count >= self.limit


class FaultProxy:
    """See the module. Faults add up until `heal`."""

    def __init__(self, server_port: int, *, protocol: Protocol = Protocol.RAW) -> None:
        self.server_port = server_port
        self.port = 0
        self.accepted = 0
        """Connections so far."""
        self._server_url: URL | None = None
        self._protocol = protocol
        self._listener: asyncio.Server | None = None
        self._links: set[Link] = set()
        self._tasks: set[asyncio.Task[None]] = set()
        self._open = {direction: asyncio.Event() for direction in Direction}
        self._budget: dict[Direction, int | None] = {}
        self._delay_seconds = 0.0
        self._bytes_per_second: float | None = None
        self._rules: list[Rule] = []
        self.heal()

    @classmethod
    def before(cls, server_url: str, *, protocol: Protocol = Protocol.RAW) -> Self:
        """A proxy before the server of a URL, to which `url` leads by way of it."""
        url = URL(server_url)
        assert url.port is not None
        proxy = cls(url.port, protocol=protocol)
        proxy._server_url = url
        return proxy

    @property
    def url(self) -> str:
        assert self._server_url is not None
        return str(self._server_url.with_port(self.port))

    # --- life ---

    async def __aenter__(self) -> Self:
        await self.accept()
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.refuse()
        await asyncio.sleep(0)  # what has just been accepted reaches _connected, and is closed with the rest
        while self._tasks:
            for task in self._tasks:
                task.cancel()
            await asyncio.gather(*self._tasks, return_exceptions=True)
            await asyncio.sleep(0)

    @property
    def links(self) -> Sequence[Link]:
        """Connections that are open now."""
        return list(self._links)

    # --- faults ---

    def heal(self) -> None:
        """As at first: everything passes. Connections that were held go on; a listener that refuses is not opened."""
        for event in self._open.values():
            event.set()
        self._budget = dict.fromkeys(Direction)
        self._delay_seconds = 0.0
        self._bytes_per_second = None
        self._rules.clear()

    def delay(self, seconds: float) -> None:
        """Every piece of every stream is kept for that long."""
        self._delay_seconds = seconds

    def throttle(self, bytes_per_second: float) -> None:
        """Each direction of each connection carries no more."""
        self._bytes_per_second = bytes_per_second

    def black_hole(self, *directions: Direction) -> None:
        """Connections stay open, or are accepted, and nothing moves; in both directions where none is named."""
        for direction in directions or Direction:
            self._open[direction].clear()

    def half_open(self) -> None:
        """The connections of now are forgotten on the way, as by a firewall: open at both ends, dead for ever. New
        ones pass."""
        for link in self._links:
            link.is_forgotten = True

    def cut_after(self, byte_count: int, direction: Direction) -> None:
        """Let that many bytes more pass, over all connections; the connection on which the next comes is reset."""
        self._budget[direction] = byte_count

    def reset(self) -> None:
        """RST on every connection, to both sides."""
        for link in list(self._links):
            link.reset()

    async def refuse(self) -> None:
        """No new connections, as where nobody listens; those that are open stay."""
        if self._listener is not None:
            self._listener.close()
            self._listener = None

    async def accept(self) -> None:
        """Listen, again on the same port."""
        if self._listener is None:
            self._listener = await asyncio.start_server(self._connected, LOOPBACK, self.port)
            self.port = self._listener.sockets[0].getsockname()[1]

    def add_rule(self, rule: Rule) -> None:
        """Ask `rule` about each message; the first verdict that is not PASS counts. Until `heal`."""
        self._rules.append(rule)

    def keep_messages_back(self) -> None:
        """Messages to the consumers of now are swallowed, with their header and body. Everything else passes."""
        links, swallowing = set(self._links), set[tuple[Link, bytes]]()

        def rule(link: Link, direction: Direction, frame: bytes) -> Verdict:
            if direction is Direction.UP or link not in links:
                return Verdict.PASS
            channel = (link, frame[1:3])
            method = amqp_method(frame)
            if method is not None:
                (swallowing.add if method == _BASIC_DELIVER else swallowing.discard)(channel)
            return Verdict.SWALLOW if channel in swallowing else Verdict.PASS

        self.add_rule(rule)

    def lose_acks(self, times: int = 1) -> Losses:
        """The next acknowledgements of a consumer do not arrive: swallowed, and the connection reset."""
        return self._lose_basic_ack(Direction.UP, times)

    def lose_confirms(self, times: int = 1) -> Losses:
        """The next confirmations to a publisher do not arrive: swallowed, and the connection reset."""
        return self._lose_basic_ack(Direction.DOWN, times)

    def lose_replies(
        self, times: int = 1, *, commands: Collection[str] = WRITES, collection: str | None = None
    ) -> Losses:
        """The next writes are applied, their replies lost: swallowed, and the connection reset."""
        losses = Losses(times)

        def rule(link: Link, direction: Direction, message: bytes) -> Verdict:
            if direction is Direction.UP:
                command = mongo_command(message)
                if command is not None and command[0] in commands and collection in (None, command[1]):
                    link.awaited.add(_int32(message, 4))
                return Verdict.PASS
            if losses.is_over or _int32(message, 8) not in link.awaited:
                return Verdict.PASS
            losses.count += 1
            return Verdict.RESET

        self.add_rule(rule)
        return losses

    def _lose_basic_ack(self, direction: Direction, times: int) -> Losses:
        losses = Losses(times)

        def rule(_: Link, its_direction: Direction, frame: bytes) -> Verdict:
            if its_direction is not direction or losses.is_over or amqp_method(frame) != _BASIC_ACK:
                return Verdict.PASS
            losses.count += 1
            return Verdict.RESET

        self.add_rule(rule)
        return losses

    # --- the streams ---

    def _connected(self, client_reader: asyncio.StreamReader, client: asyncio.StreamWriter) -> None:
        self.accepted += 1
        task = asyncio.create_task(self._serve(client_reader, client), name="proxy-connection")
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)
        # One that is cancelled before its first step closes nothing itself.
        task.add_done_callback(lambda task: _reset(client) if task.cancelled() else None)

    async def _serve(self, client_reader: asyncio.StreamReader, client: asyncio.StreamWriter) -> None:
        try:
            await self._open[Direction.UP].wait()
            server_reader, server = await asyncio.open_connection(LOOPBACK, self.server_port)
        except (OSError, asyncio.CancelledError):
            _reset(client)
            return
        link = Link(client, server)
        self._links.add(link)
        pumps = [
            asyncio.create_task(self._pump(link, Direction.UP, client_reader, server), name="proxy-up"),
            asyncio.create_task(self._pump(link, Direction.DOWN, server_reader, client), name="proxy-down"),
        ]
        try:
            await asyncio.wait(pumps)
        except asyncio.CancelledError:
            link.reset()  # the proxy is being closed; nobody waits for this task, nor for what is still to be sent
        finally:
            for pump in pumps:
                pump.cancel()
            await asyncio.gather(*pumps, return_exceptions=True)
            self._links.discard(link)
            link.client.close()
            link.server.close()

    async def _pump(
        self, link: Link, direction: Direction, reader: asyncio.StreamReader, writer: asyncio.StreamWriter
    ) -> None:
        cutter = Cutter(self._protocol)
        try:
            while data := await reader.read(self._piece_bytes()):
                if self._delay_seconds:
                    await asyncio.sleep(self._delay_seconds)
                if self._bytes_per_second:
                    await asyncio.sleep(len(data) / self._bytes_per_second)
                await self._open[direction].wait()
                if link.is_forgotten:
                    await asyncio.Event().wait()
                if not self._forward(link, direction, cutter.feed(data), writer):
                    link.reset()
                    return
                await writer.drain()
            await self._open[direction].wait()
            writer.write_eof()
        except OSError:
            link.reset()

    def _forward(
        self, link: Link, direction: Direction, messages: Iterator[bytes], writer: asyncio.StreamWriter
    ) -> bool:
        """Write what may pass. False where the connection ends here."""
        for message in messages:
            verdicts = (rule(link, direction, message) for rule in self._rules)
            verdict = next((each for each in verdicts if each is not Verdict.PASS), Verdict.PASS)
            if verdict is Verdict.RESET:
                return False
            if verdict is Verdict.SWALLOW:
                continue
            budget = self._budget[direction]
            writer.write(message[:budget])
            if budget is not None:
                self._budget[direction] = max(0, budget - len(message))
                if len(message) > budget:
                    return False
        return True

    def _piece_bytes(self) -> int:
        return READ_BYTES if self._bytes_per_second is None else max(1, int(self._bytes_per_second / 10))


# --- messages --------------------------------------------------------------------------------------


class Cutter:
    """Cuts one direction of one connection into messages."""

    def __init__(self, protocol: Protocol) -> None:
        self._protocol = protocol
        self._buffer = b""
        self._is_first = True

    def feed(self, data: bytes) -> Iterator[bytes]:
        """The messages that `data` completes."""
        if self._protocol is Protocol.RAW:
            yield data
            return
        self._buffer += data
        while (length := self._length()) is not None and len(self._buffer) >= length:
            message, self._buffer = self._buffer[:length], self._buffer[length:]
            self._is_first = False
            yield message

    def _length(self) -> int | None:
        if self._protocol is Protocol.MONGO:
            return _int32(self._buffer, 0) if len(self._buffer) >= 4 else None
        if self._is_first and self._buffer[:4] == b"AMQP":
            return 8
        if len(self._buffer) < _AMQP_HEAD_BYTES:
            return None
        return _AMQP_HEAD_BYTES + int.from_bytes(self._buffer[3:7]) + 1


def amqp_method(frame: bytes) -> tuple[int, int] | None:
    """Class and method of a method frame (AMQP 0-9-1, 2.3.5.1)."""
    if frame[:4] == b"AMQP" or frame[0] != _AMQP_METHOD_FRAME:
        return None
    return int.from_bytes(frame[7:9]), int.from_bytes(frame[9:11])


def mongo_command(message: bytes) -> tuple[str, str] | None:
    """Name of a request's command and of its collection, "" where it has none."""
    if _int32(message, 12) != _OP_MSG:
        return None
    found = re.match(rb"(\w+)\0(....)([^\0]*)\0", message[_OP_MSG_COMMAND:], re.DOTALL)
    is_text = message[_OP_MSG_COMMAND - 1] == 2
    return (found[1].decode(), found[3].decode("utf-8", "replace") if is_text else "") if found else None


def _int32(data: bytes, offset: int) -> int:
    return int.from_bytes(data[offset : offset + 4], "little", signed=True)


def _reset(writer: asyncio.StreamWriter) -> None:
    raw = writer.get_extra_info("socket")
    if raw is not None and not writer.transport.is_closing():
        raw.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    writer.transport.abort()
