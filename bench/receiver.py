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
from typing import Any

import uvloop

OK = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok"
_LENGTH = re.compile(rb"\r\ncontent-length: *(\d+)", re.IGNORECASE)
PUBLISHED = re.compile(rb'"published_ns": ?(\d+)')

latencies: list[float] = []


class HttpProtocol(asyncio.Protocol):
    """One connection; `answer` is called with each request."""

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        self.transport = transport
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
            self.answer(head, body)

    def answer(self, head: bytes, body: bytes) -> None:
        raise NotImplementedError

    def answer_json(self, value: Any) -> None:
        text = json.dumps(value).encode()
        self.transport.write(b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n%s" % (len(text), text))


class Receiver(HttpProtocol):
    def answer(self, head: bytes, body: bytes) -> None:
        if head.startswith(b"POST"):
            published = PUBLISHED.search(body)
            latencies.append((time.monotonic_ns() - int(published[1])) / 1e6 if published else 0.0)
            self.transport.write(OK)
            return
        if head.startswith(b"GET /reset"):
            latencies.clear()
        self.answer_json({"count": len(latencies), "latencies_ms": latencies if b" /stats" in head else []})


async def main() -> None:
    server = await asyncio.get_running_loop().create_server(Receiver, "127.0.0.1", int(sys.argv[1]))
    print("ready", flush=True)
    await server.serve_forever()


if __name__ == "__main__":
    uvloop.run(main())
