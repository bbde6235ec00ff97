"""A customer whose server does what a test says, and who remembers what it said yes to. Touches loopback sockets."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Final

from tests.support.http_server import Exchange, Request, ScriptedServer, Step, answer

OK: Final = answer(200)


class Customer:
    """A customer's server in a thread of its own, which remembers what it said yes to.

    `behave` chooses the step by request and may be replaced at any time. A step that is a function runs in the
    server's thread: what it shares with the test is to be a flag or a threading.Event.
    """

    def __init__(self, behave: Callable[[Request], Step] = lambda _: OK) -> None:
        self.behave = behave
        self.accepted: list[Request] = []
        """Requests that were answered with 2xx, in order."""
        self.server = ScriptedServer(route=self._route)

    @property
    def url(self) -> str:
        return self.server.url

    @property
    def requests(self) -> list[Request]:
        return self.server.requests

    def _route(self, request: Request) -> Step:
        step = self.behave(request)

        async def watched(exchange: Exchange) -> None:
            watching: Any = _Watching(exchange, lambda: self.accepted.append(request))
            if isinstance(step, bytes):
                await watching.send(step)
            else:
                await step(watching)

        return watched


class _Watching:
    """An Exchange that notices a 2xx."""

    def __init__(self, exchange: Exchange, accepted: Callable[[], None]) -> None:
        self._exchange = exchange
        self._accepted = accepted

    def __getattr__(self, name: str) -> Any:
        return getattr(self._exchange, name)

    async def send(self, data: bytes) -> None:
        if data.startswith((b"HTTP/1.1 2", b"HTTP/1.0 2")):
            self._accepted()
        await self._exchange.send(data)
