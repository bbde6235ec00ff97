"""The customers' servers of the isolation measurement: a thousand endpoints, of which half are bad on request.

One process, since it has to cost little. `GET /stats` on the control port answers how many requests each kind of
endpoint got and, for each at a healthy one, when it was published and its latency. Touches sockets of loopback.
"""

from __future__ import annotations

import asyncio
import socket
import struct
import sys
import time
from collections import Counter
from functools import partial

import uvloop

from bench.endpoints import COUNT, Kind, host_of, kind_of
from bench.receiver import OK, PUBLISHED, HttpProtocol

SLOW_SECONDS = 9
_RESET = struct.pack("ii", 1, 0)  # SO_LINGER on, 0 s: close sends RST

receipts: list[tuple[int, float]] = []
requests: Counter[Kind] = Counter()


class Customer(HttpProtocol):
    def __init__(self, kind: Kind) -> None:
        self._kind = kind

    def answer(self, head: bytes, body: bytes) -> None:
        requests[self._kind] += 1
        match self._kind:
            case Kind.HEALTHY:
                published = PUBLISHED.search(body)
                assert published is not None, "the load puts it in"
                published_ns = int(published[1])
                receipts.append((published_ns, (time.monotonic_ns() - published_ns) / 1e6))
                self.transport.write(OK)
            case Kind.SLOW:
                asyncio.get_running_loop().call_later(SLOW_SECONDS, self._answer_late)
            case Kind.RESETTING:
                self.transport.get_extra_info("socket").setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _RESET)
                self.transport.abort()
            case Kind.SILENT | Kind.UNREACHABLE:
                pass

    def _answer_late(self) -> None:
        if not self.transport.is_closing():
            self.transport.write(OK)


class Control(HttpProtocol):
    def answer(self, head: bytes, body: bytes) -> None:
        self.answer_json(
            {"healthy": len(receipts), "requests": requests, "receipts": receipts if b" /stats" in head else []}
        )


def bound(host: str, port: int) -> socket.socket:
    listener = socket.socket()
    listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    listener.bind((host, port))
    return listener


def never_accepting(host: str, port: int) -> list[socket.socket]:
    """A listener whose backlog is full: the kernel drops what asks to connect. It lasts as long as these are kept."""
    listener = bound(host, port)
    listener.listen(0)
    return [listener, socket.create_connection((host, port))]


async def main(port: int, control_port: int, are_bad: bool) -> None:
    loop = asyncio.get_running_loop()
    kept: list[object] = []
    for endpoint in range(COUNT):
        kind = kind_of(endpoint) if are_bad else Kind.HEALTHY
        if kind is Kind.UNREACHABLE:
            kept += never_accepting(host_of(endpoint), port)
        else:
            kept.append(await loop.create_server(partial(Customer, kind), sock=bound(host_of(endpoint), port)))
    control = await loop.create_server(Control, "127.0.0.1", control_port)
    print("ready", flush=True)
    await control.serve_forever()


if __name__ == "__main__":
    uvloop.run(main(int(sys.argv[1]), int(sys.argv[2]), sys.argv[3] == "mixed"))
