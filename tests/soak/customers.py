"""The customers' servers of the soak: one per account, well-behaved or not, that write down what they got.

They can be closed all at once and opened again on the same ports. Touches sockets of loopback.
"""

from __future__ import annotations

import asyncio
import random
import re
import socket
import time
import zlib
from collections.abc import Collection, Sequence
from dataclasses import dataclass
from enum import StrEnum
from functools import partial

from bench.receiver import OK, HttpProtocol

HOST = "127.0.0.1"
_UNAVAILABLE = b"HTTP/1.1 503 Service Unavailable\r\nContent-Length: 0\r\n\r\n"
_BROKEN = b"HTTP/1.1 500 Internal Server Error\r\nContent-Length: 0\r\n\r\n"
_DELIVERY = re.compile(rb"\r\nx-webhook-delivery: *(\S+)", re.IGNORECASE)
_ATTEMPT = re.compile(rb"\r\nx-webhook-attempt: *(\d+)", re.IGNORECASE)


class Mood(StrEnum):
    HEALTHY = "healthy"
    FLAKY = "flaky"
    """503 to three of ten requests."""
    FAILING = "failing"
    """500 to every request."""
    HANGING = "hanging"
    """No answer, ever."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Receipt:
    """One request. `at` in monotonic seconds; `is_taken`: it was answered 200."""

    at: float
    delivery_id: str
    attempt: int
    is_taken: bool


class Customers:
    """See the module. `receipts` only grows, so any thread may read it; the methods belong to one event loop."""

    def __init__(self, moods: Sequence[Mood]) -> None:
        self.moods = list(moods)
        self.receipts: list[Receipt] = []
        self.taken: set[str] = set()
        """Deliveries that were answered 200."""
        self._ports = [quiet_port() for _ in moods]
        self._servers: list[asyncio.Server] = []
        self.connections: dict[asyncio.Transport, int] = {}
        """Each with the number of its server."""

    @property
    def urls(self) -> Sequence[str]:
        return [f"http://{HOST}:{port}" for port in self._ports]

    async def open(self) -> None:
        loop = asyncio.get_running_loop()
        for number, port in enumerate(self._ports):
            self._servers.append(await loop.create_server(partial(_Connection, self, number), HOST, port))

    async def close(self) -> None:
        """Refuse connections and break off those that there are."""
        for server in self._servers:
            server.close()
        self._servers.clear()
        self._break_off(self.moods)

    async def heal(self) -> None:
        """From now on everybody answers 200, and nobody waits for an answer that was not to come."""
        self._break_off([Mood.HANGING])
        self.moods = [Mood.HEALTHY] * len(self.moods)

    def _break_off(self, moods: Collection[Mood]) -> None:
        for transport, number in list(self.connections.items()):
            if self.moods[number] in moods:
                transport.abort()

    def answer(self, number: int, head: bytes) -> bytes | None:
        """What a request is answered; None for nothing."""
        found_delivery, found_attempt = _DELIVERY.search(head), _ATTEMPT.search(head)
        if found_delivery is None or found_attempt is None:
            return _BROKEN
        delivery_id, attempt = found_delivery[1].decode(), int(found_attempt[1])
        reply = _reply(self.moods[number], zlib.crc32(f"{delivery_id}{attempt}".encode()) % 10)
        is_taken = reply == OK
        if is_taken:
            self.taken.add(delivery_id)
        receipt = Receipt(at=time.monotonic(), delivery_id=delivery_id, attempt=attempt, is_taken=is_taken)
        self.receipts.append(receipt)
        return reply


def _reply(mood: Mood, chance: int) -> bytes | None:
    match mood:
        case Mood.HANGING:
            return None
        case Mood.FAILING:
            return _BROKEN
        case Mood.FLAKY:
            return _UNAVAILABLE if chance < 3 else OK
        case Mood.HEALTHY:
            return OK


class _Connection(HttpProtocol):
    def __init__(self, customers: Customers, number: int) -> None:
        self._customers = customers
        self._number = number

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        super().connection_made(transport)
        self._customers.connections[transport] = self._number

    def connection_lost(self, exc: Exception | None) -> None:
        self._customers.connections.pop(self.transport, None)

    def answer(self, head: bytes, body: bytes) -> None:
        reply = self._customers.answer(self._number, head)
        if reply is not None:
            self.transport.write(reply)


def quiet_port() -> int:
    """A free port below those that the kernel gives to outgoing connections: it can be taken again after a pause.

    Nor can a client that dials it meanwhile get connected to itself.
    """
    while True:
        port = random.randrange(20_000, 32_000)
        with socket.socket() as probe:
            try:
                probe.bind((HOST, port))
            except OSError:
                continue
            return port
