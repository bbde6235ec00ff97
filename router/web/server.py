"""Serves the web application on a TCP port, from `start` to `stop`. What is no HTTP is answered here."""

from __future__ import annotations

import asyncio
import os
from typing import Final

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
        self._host = host
        self._port = port
        self._runner: web.AppRunner | None = None
        self._listening: asyncio.Server | None = None
        self.address = (host, port)
        """Where it listens: with the port that was taken, once it is started."""

    async def start(self) -> None:
        """Returns once it listens. Raises ConfigurationRefused where it cannot."""
        loop = asyncio.get_running_loop()
        runner = web.AppRunner(self._app, shutdown_timeout=SHUTDOWN_SECONDS)
        await runner.setup()
        server = runner.server
        assert server is not None  # noqa: S101  for mypy: it is there once it is set up
        try:
            self._listening = await loop.create_server(lambda: _Protocol(server), self._host, self._port)
        except OSError as error:
            await runner.cleanup()
            # asyncio's own text says the address again; the resolver counts its errors below 0.
            number = error.errno or 0
            reason = os.strerror(number) if number > 0 else error.strerror
            raise ConfigurationRefused(
                f"the API cannot listen on {self._host} port {self._port} ({reason}): "
                f"change api.host or {self._setting}, or stop what listens there"
            ) from None
        self._runner = runner
        self.address = self._listening.sockets[0].getsockname()[:2]
        log.info("api_listening", host=self.address[0], port=self.address[1])

    async def stop(self) -> None:
        """Listen no more and let requests in flight finish. Does nothing where it is stopped."""
        runner, self._runner = self._runner, None
        if runner is not None and self._listening is not None:
            self._listening.close()
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
