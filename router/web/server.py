"""Serves the web application on a TCP port, from `start` to `stop`. What is no HTTP is answered here."""

from __future__ import annotations

import asyncio
import os
import socket
from collections.abc import Sequence
from typing import Any, Final

import structlog
from aiohttp import web

from router.domain.errors import ConfigurationRefused
from router.web.problems import unreadable

log = structlog.get_logger("router.web")

SHUTDOWN_SECONDS: Final = 4.0
"""How long requests in flight may go on when the server stops."""
MAX_HEAD_LINE_BYTES: Final = 8190
"""Of the request line, and of each header."""


class WebServer:
    """Listens on `host` and `port`; port 0 takes any that is free. `setting` is where the port is configured."""

    def __init__(self, app: web.Application, host: str, port: int, setting: str = "api.port") -> None:
        self._app = app
        self._setting = setting
        self._place = (host, port)
        self._runner: web.AppRunner | None = None
        self._listening: list[asyncio.Server] = []
        self.address = (host, port)
        """Where it listens: with the port that was taken, once it is bound."""

    async def start(self) -> None:
        """Returns once it listens. Raises ConfigurationRefused where it cannot."""
        await self.bind()
        await self.open()

    async def bind(self, predecessors: Sequence[WebServer] = ()) -> None:
        """Take the port and accept nothing yet. Raises ConfigurationRefused where it is not to be had.

        What one of the predecessors listens on at the same place is shared: no caller is turned away between the two.
        """
        self._runner = web.AppRunner(self._app, shutdown_timeout=SHUTDOWN_SECONDS)
        await self._runner.setup()
        try:
            shared = [each for server in predecessors if self._has_place_of(server) for each in server._shared()]
            for each in shared:
                await self._listen(sock=each)
            if not shared:
                host, port = self._place
                await self._listen(host=host, port=port)
        except OSError as error:
            await self.stop()
            # asyncio's own text says the address again; the resolver counts its errors below 0.
            number = error.errno or 0
            reason = os.strerror(number) if number > 0 else error.strerror
            raise ConfigurationRefused(
                f"the API cannot listen on {self._place[0]} port {self._place[1]} ({reason}): "
                f"change api.host or {self._setting}, or stop what listens there"
            ) from None
        self.address = self._listening[0].sockets[0].getsockname()[:2]

    def _has_place_of(self, other: WebServer) -> bool:
        # Port 0 is another port for each setting.
        return self._place == other._place and (self._place[1] != 0 or self._setting == other._setting)

    async def _listen(self, **where: Any) -> None:
        server = self._runner.server if self._runner is not None else None
        assert server is not None  # noqa: S101  for mypy: it is there once it is set up
        listening = await asyncio.get_running_loop().create_server(
            lambda: _Protocol(server), start_serving=False, **where
        )
        self._listening.append(listening)

    def _shared(self) -> list[socket.socket]:
        return [socket.socket(fileno=os.dup(each.fileno())) for server in self._listening for each in server.sockets]

    async def open(self) -> None:
        """Accept requests."""
        for listening in self._listening:
            await listening.start_serving()
        log.info("api_listening", host=self.address[0], port=self.address[1])

    async def stop(self) -> None:
        """Listen no more and let requests in flight finish. Does nothing where it is stopped."""
        runner, self._runner = self._runner, None
        if runner is not None:
            for listening in self._listening:
                listening.close()
            await runner.cleanup()


class _Protocol(web.RequestHandler):
    """One connection. What cannot be read gets an answer like every other error.

    aiohttp's own quotes the bytes, in the answer and in the log: numbers of customers, or a token.
    """

    def __init__(self, server: web.Server) -> None:
        # Its access log costs a line per request that nobody reads, with the query in it. None switches it off.
        super().__init__(
            server,
            loop=asyncio.get_running_loop(),
            access_log=None,  # type: ignore[arg-type]
            auto_decompress=False,
            max_line_size=MAX_HEAD_LINE_BYTES,
            max_field_size=MAX_HEAD_LINE_BYTES,
        )

    def handle_error(
        self,
        request: web.BaseRequest,
        status: int = 500,
        exc: BaseException | None = None,
        message: str | None = None,
    ) -> web.StreamResponse:
        if request.writer.output_size > 0:
            raise ConnectionError("an answer has begun, so there is no room for another")
        return unreadable(request, status, exc)
