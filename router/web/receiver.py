"""A small HTTP server for whoever plays the other side of webhooks, as the demo does: every POST goes to one function.

Touches one loopback port; decides nothing.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass, field
from typing import Final

from aiohttp import web

HOST: Final = "127.0.0.1"
CLOSE_SECONDS: Final = 1.0
"""How long answers that are under way may take when the server closes."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ReceivedRequest:
    """One POST, whole. Header names are in any case: look them up as they are documented."""

    path: str
    headers: Mapping[str, str]
    body: bytes


@dataclass(frozen=True, slots=True, kw_only=True)
class ReceiverAnswer:
    status: int
    body: str = ""
    headers: Mapping[str, str] = field(default_factory=dict)


class Receiver:
    """The server. `answer` is called with each request as soon as its body is there."""

    def __init__(self, answer: Callable[[ReceivedRequest], Awaitable[ReceiverAnswer]]) -> None:
        self._answer = answer
        self._runner: web.AppRunner | None = None
        self._port = 0

    @property
    def url(self) -> str:
        """Its root, without a slash at the end."""
        return f"http://{HOST}:{self._port}"

    async def start(self) -> None:
        """Listen on a free port."""
        app = web.Application(client_max_size=16 * 1024 * 1024)
        app.router.add_post("/{path:.*}", self._handle)
        self._runner = web.AppRunner(app, access_log=None, shutdown_timeout=CLOSE_SECONDS)
        await self._runner.setup()
        await web.TCPSite(self._runner, HOST, 0).start()
        self._port = self._runner.addresses[0][1]

    async def close(self) -> None:
        if self._runner is not None:
            await self._runner.cleanup()
            self._runner = None

    async def _handle(self, request: web.Request) -> web.Response:
        received = ReceivedRequest(path=request.path, headers=request.headers, body=await request.read())
        answer = await self._answer(received)
        return web.Response(status=answer.status, text=answer.body, headers=answer.headers)
