"""Serves the web application on a TCP port, from `start` to `stop`."""

from __future__ import annotations

import os
from typing import Final

import structlog
from aiohttp import web

from router.domain.errors import ConfigurationRefused

log = structlog.get_logger("router.web")

SHUTDOWN_SECONDS: Final = 4.0
"""How long requests in flight may go on when the server stops."""


class WebServer:
    """Listens on `host` and `port`; port 0 takes any that is free."""

    def __init__(self, app: web.Application, host: str, port: int) -> None:
        self._app = app
        self._host = host
        self._port = port
        self._runner: web.AppRunner | None = None
        self.address = (host, port)
        """Where it listens: with the port that was taken, once it is started."""

    async def start(self) -> None:
        """Returns once it listens. Raises ConfigurationRefused where it cannot."""
        # Its access log costs a line per request that nobody reads, with the query in it: numbers of customers.
        runner = web.AppRunner(self._app, access_log=None, shutdown_timeout=SHUTDOWN_SECONDS)
        await runner.setup()
        try:
            await web.TCPSite(runner, self._host, self._port).start()
        except OSError as error:
            await runner.cleanup()
            # asyncio's own text says the address again; the resolver counts its errors below 0.
            number = error.errno or 0
            reason = os.strerror(number) if number > 0 else error.strerror
            raise ConfigurationRefused(
                f"the API cannot listen on {self._host} port {self._port} ({reason}): "
                "change api.host or api.port, or stop what listens there"
            ) from None
        self._runner = runner
        self.address = runner.addresses[0][:2]
        log.info("api_listening", host=self.address[0], port=self.address[1])

    async def stop(self) -> None:
        """Listen no more and let requests in flight finish. Does nothing where it is stopped."""
        runner, self._runner = self._runner, None
        if runner is not None:
            await runner.cleanup()
