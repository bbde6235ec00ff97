"""The receiving end of the bench: an HTTP server that answers 200 and keeps the latency of each event.

Speaks just enough HTTP/1.1 to cost little beside what is measured. `GET /stats` answers how many requests came and
their latencies since the last `GET /reset`.
"""

from __future__ import annotations

import asyncio
import json
import re
import sys
import time

import uvloop

_OK = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok"
_LENGTH = re.compile(rb"\r\ncontent-length: *(\d+)", re.IGNORECASE)
_PUBLISHED = re.compile(rb'"published_ns": ?(\d+)')

latencies: list[float] = []


class Receiver(asyncio.Protocol):
    """One connection."""

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        self._transport = transport
        self._buffer = b""

    def data_received(self, data: bytes) -> None:
        self._buffer += data
        while (end := self._buffer.find(b"\r\n\r\n")) >= 0:
            head = self._buffer[:end]
            length = _LENGTH.search(head)
            size = end + 4 + (int(length[1]) if length else 0)
            if len(self._buffer) < size:
                return
            body, self._buffer = self._buffer[end + 4 : size], self._buffer[size:]
            self._answer(head, body)

    def _answer(self, head: bytes, body: bytes) -> None:
        if head.startswith(b"POST"):
            published = _PUBLISHED.search(body)
            latencies.append((time.monotonic_ns() - int(published[1])) / 1e6 if published else 0.0)
            self._transport.write(_OK)
            return
        if head.startswith(b"GET /reset"):
            latencies.clear()
        text = json.dumps({"count": len(latencies), "latencies_ms": latencies if b" /stats" in head else []}).encode()
        self._transport.write(b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n%s" % (len(text), text))


async def main() -> None:
    server = await asyncio.get_running_loop().create_server(Receiver, "127.0.0.1", int(sys.argv[1]))
    print("ready", flush=True)
    await server.serve_forever()


uvloop.run(main())
