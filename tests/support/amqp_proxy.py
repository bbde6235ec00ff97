"""A proxy before a broker that can fall silent, or keep the messages back and let everything else through.

Touches sockets of loopback only.
"""

from __future__ import annotations

import asyncio
import struct
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from typing import Any, Final, Self

from yarl import URL

_METHOD, _HEADER, _BODY = 1, 2, 3
_DELIVER: Final = b"\x00\x3c\x00\x3c"
_FRAME_HEAD: Final = struct.Struct(">BHI")


class AmqpProxy:
    """`url` is that of the broker by way of the proxy."""

    def __init__(self, url: str) -> None:
        self._broker = URL(url)
        self._is_open = asyncio.Event()
        self._is_open.set()
        self.keeps_messages_back = False
        self._server: asyncio.Server | None = None
        self._pumps: set[asyncio.Task[None]] = set()
        self._served: set[asyncio.Task[Any]] = set()

    @classmethod
    @asynccontextmanager
    async def before(cls, url: str) -> AsyncIterator[Self]:
        proxy = cls(url)
        proxy._server = await asyncio.start_server(proxy._serve, "127.0.0.1", 0)
        try:
            yield proxy
        finally:
            proxy._server.close()
            for pump in list(proxy._pumps):
                pump.cancel()
            await asyncio.gather(*proxy._served, return_exceptions=True)

    @property
    def url(self) -> str:
        assert self._server is not None
        return str(self._broker.with_port(self._server.sockets[0].getsockname()[1]))

    def freeze(self) -> None:
        """Half-open: connections stay, new ones are accepted, and nothing passes."""
        self._is_open.clear()

    def thaw(self) -> None:
        self._is_open.set()

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        assert self._broker.host is not None
        serving = asyncio.current_task()
        assert serving is not None
        self._served.add(serving)
        to_broker, from_broker = await asyncio.open_connection(self._broker.host, self._broker.port)
        up = asyncio.create_task(self._pump(reader, from_broker), name="proxy-up")
        down = asyncio.create_task(self._pump_frames(to_broker, writer), name="proxy-down")
        self._pumps |= {up, down}
        await asyncio.wait({up, down}, return_when=asyncio.FIRST_COMPLETED)
        for pump in (up, down):
            pump.cancel()
            self._pumps.discard(pump)
        await asyncio.gather(up, down, return_exceptions=True)
        for each in (writer, from_broker):
            each.transport.abort()
            with suppress(OSError):
                await each.wait_closed()
        self._served.discard(serving)

    async def _pump(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with suppress(OSError):
            while data := await reader.read(65536):
                await self._is_open.wait()
                writer.write(data)

    async def _pump_frames(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        dropping: set[int] = set()
        with suppress(OSError, asyncio.IncompleteReadError):
            while True:
                head = await reader.readexactly(_FRAME_HEAD.size)
                kind, channel, size = _FRAME_HEAD.unpack(head)
                rest = await reader.readexactly(size + 1)
                await self._is_open.wait()
                if kind == _METHOD:
                    dropping.discard(channel)
                    if self.keeps_messages_back and rest.startswith(_DELIVER):
                        dropping.add(channel)
                if channel not in dropping or kind not in (_METHOD, _HEADER, _BODY):
                    writer.write(head + rest)
