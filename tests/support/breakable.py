"""Servers for tests that break them: killed, stopped, frozen, told to fail.

Touches processes, and a store through its test commands.
"""

from __future__ import annotations

import asyncio
import os
import resource
import signal
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any, Final, Self, TypeVar

import pymongo

from router.adapters.embedded.store import EmbeddedStore

T = TypeVar("T")

ROUTERS_NAME: Final = "webhook-router"
"""The application name of a router's connections to the store."""

# A child is ended with the thread that started it, so that thread has to outlive every test.
_ATTENDANT: Final = ThreadPoolExecutor(1, "attendant")


async def apart(call: Callable[..., T], *arguments: object) -> T:
    """Run what blocks, such as the start of a broker, while this event loop goes on."""
    return await asyncio.get_running_loop().run_in_executor(_ATTENDANT, lambda: call(*arguments))


class BreakableStore:
    """An embedded store under a test's thumb. `url` stays the same over kills and starts."""

    def __init__(self, directory: Path, store: EmbeddedStore) -> None:
        self._directory = directory
        self._store: EmbeddedStore | None = store
        self.url = store.url

    @classmethod
    async def start_in(cls, directory: Path) -> Self:
        return cls(directory, await EmbeddedStore.open(directory, with_test_commands=True))

    @property
    def port(self) -> int:
        return int(self.url.rpartition(":")[2].partition("/")[0])

    @property
    def pid(self) -> int:
        assert self._store is not None
        assert self._store._server is not None
        return self._store._server.pid

    async def kill(self) -> None:
        """SIGKILL, and nobody starts it again."""
        assert self._store is not None
        os.kill(self.pid, signal.SIGKILL)
        await self._store.close()
        self._store = None

    async def start(self) -> None:
        """Again, on the same port with the same data."""
        self._store = await EmbeddedStore.open(self._directory, with_test_commands=True)
        assert self._store.url == self.url, "its port was taken meanwhile"

    def freeze(self) -> None:
        """SIGSTOP: connections stay open and nobody answers."""
        os.kill(self.pid, signal.SIGSTOP)

    def thaw(self) -> None:
        os.kill(self.pid, signal.SIGCONT)

    def fill_disk(self) -> None:
        """No file of it may be written any more, as on a full disk: it gives up, and only a start anew mends it."""
        _, hard = resource.prlimit(self.pid, resource.RLIMIT_FSIZE)
        resource.prlimit(self.pid, resource.RLIMIT_FSIZE, (0, hard))

    async def close(self) -> None:
        if self._store is not None:
            self.thaw()
            await self._store.close()

    # --- mongod's test commands ---

    def fail(
        self,
        *commands: str,
        times: int | None = None,
        skip: int = 0,
        application: str | None = ROUTERS_NAME,
        **data: Any,
    ) -> None:
        """Let commands fail as `data` says (errorCode, writeConcernError, closeConnection, blockTimeMS), always or
        `times` times, and of one application's connections only."""
        mode: Any = "alwaysOn"
        if times is not None:
            mode = {"times": times, "skip": skip} if skip else {"times": times}
        if "blockTimeMS" in data:
            data["blockConnection"] = True
        who = {} if application is None else {"appName": application}
        self._command({
            "configureFailPoint": "failCommand", "mode": mode, "data": {"failCommands": list(commands), **who, **data}
        })  # fmt: skip

    def stop_failing(self) -> None:
        self._command({"configureFailPoint": "failCommand", "mode": "off"})

    def step_down(self, seconds: int) -> None:
        """No longer primary for that long: writes are refused, reads work."""
        self._command({"replSetStepDown": seconds, "force": True})

    def _command(self, command: dict[str, Any]) -> None:
        with pymongo.MongoClient[dict[str, Any]](self.url) as client:
            client.admin.command(command)
