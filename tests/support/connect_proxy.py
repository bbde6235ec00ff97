"""A forward proxy with CONNECT, on loopback, that does what a test says and remembers whom it was asked for.

    async with ConnectProxy(hosts={"crm.example": "127.0.0.1"}) as proxy:
        HttpSender(policy, proxy=proxy.address())

Names that are not in `hosts` are 502, as with a proxy that cannot resolve them; ANY_HOST stands for all others.
`says` answers instead, with bytes for every target; SILENT says nothing at all.
"""

from __future__ import annotations

import asyncio
import ssl
from collections.abc import Mapping
from typing import Final, Self

from router.adapters.http.proxy import ProxyAddress

ANY_HOST: Final = "*"
SILENT: Final = b""


def refusing(status: int, *headers: str) -> bytes:
    """An answer to CONNECT that is no success."""
    return "\r\n".join([f"HTTP/1.1 {status} No", "content-length: 2", *headers, "", "no"]).encode()


class ConnectProxy:
    """See the module. `targets` and `heads` only grow."""

    def __init__(
        self,
        *,
        hosts: Mapping[str, str] | None = None,
        says: bytes | None = None,
        tls: ssl.SSLContext | None = None,
        port: int = 0,
    ) -> None:
        self.hosts = dict(hosts or {})
        self.says = says
        self.targets: list[str] = []
        self.heads: list[str] = []
        self.port = port
        self._tls = tls
        self._writers: set[asyncio.StreamWriter] = set()
        self._tasks: set[asyncio.Task[None]] = set()

    def address(self, host: str = "127.0.0.1", authorization: str | None = None) -> ProxyAddress:
        return ProxyAddress(
            scheme="https" if self._tls else "http", host=host, port=self.port, authorization=authorization
        )

    async def __aenter__(self) -> Self:
        await self.start()
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.stop()

    async def start(self) -> None:
        """Listen, after a stop on the same port as before."""
        self._server = await asyncio.start_server(self._accept, "127.0.0.1", self.port, ssl=self._tls)
        self.port = self._server.sockets[0].getsockname()[1]

    async def stop(self) -> None:
        """Listen no more, and cut every connection."""
        self._server.close()
        for writer in self._writers:
            writer.transport.abort()
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    def _accept(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.create_task(self._serve(reader, writer), name="proxy-connection")
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._writers.add(writer)
        try:
            await self._answer(reader, writer)
        except (OSError, asyncio.IncompleteReadError):
            pass
        finally:
            self._writers.discard(writer)
            writer.close()

    async def _answer(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        head = (await reader.readuntil(b"\r\n\r\n")).decode("ascii")
        target = head.split(" ")[1]
        self.heads.append(head)
        self.targets.append(target)
        if self.says == SILENT:
            await reader.read()
            return
        name, _, port = target.rpartition(":")
        host = self.hosts.get(name, self.hosts.get(ANY_HOST))
        if self.says is not None or host is None:
            writer.write(self.says or refusing(502))
            await writer.drain()
            return
        there = await asyncio.open_connection(host, int(port))
        self._writers.add(there[1])
        writer.write(b"HTTP/1.1 200 Connection established\r\n\r\n")
        try:
            async with asyncio.TaskGroup() as group:
                group.create_task(_pump(reader, there[1]))
                group.create_task(_pump(there[0], writer))
        finally:
            self._writers.discard(there[1])
            there[1].close()


async def _pump(source: asyncio.StreamReader, sink: asyncio.StreamWriter) -> None:
    try:
        while data := await source.read(65_536):
            sink.write(data)
            await sink.drain()
    except OSError:
        pass
    finally:
        sink.close()
