"""A MongoDB-compatible server (SecantusDB) run as a child, and shared by the processes of one data directory.

Whoever holds the lock file owns the server; the others connect to the address that the owner wrote. When the
owner ends, one of the others takes over on the same port, and the drivers reconnect by themselves. Touches
processes and files under `<data_dir>/store`; speaks no MongoDB.
"""

import asyncio
import contextlib
import fcntl
import importlib.util
import os
import re
import subprocess
import sys
import time
from pathlib import Path
from typing import Self

from router.adapters.embedded.errors import EmbeddedError
from router.adapters.embedded.processes import LOOPBACK, log_tail, spawn

# To find what has expired, it reads every document of a collection in one go, and all others wait meanwhile: at its
# default of once a minute, a log of a few thousand deliveries is felt. What expires here has days to do so.
_CONFIGURATION = "[storage]\nttl_sweep_seconds = 3600\n"
_LISTENING = re.compile(rf"secantus listening on {re.escape(LOOPBACK)}:(\d+)")
_NOT_HELD = -1
_POLL_SECONDS = 0.05
_WATCH_SECONDS = 0.5
_STOP_TIMEOUT_SECONDS = 10  # it gives its own connections 5 s
# A Python process that is about to block on a lock sleeps through a signal until the next one: 1 stop in 10 here.
_SIGNAL_LOST_SECONDS = 0.5


class EmbeddedStore:
    """The store of one data directory, ours or another process's. Made by `open`."""

    def __init__(self, data_dir: Path, *, with_test_commands: bool) -> None:
        self._directory = data_dir.absolute() / "store"
        self._with_test_commands = with_test_commands
        self._lock = _NOT_HELD  # the lock file's descriptor while we are the owner
        self._server: subprocess.Popen[bytes] | None = None
        self._port = 0
        self._watch: asyncio.Task[None] | None = None

    @classmethod
    async def open(cls, data_dir: Path, *, timeout_seconds: float = 30, with_test_commands: bool = False) -> Self:
        """Start the server of `data_dir`, or find the running one; returns once it answers.

        Call it on the main thread: the server is ended with the thread that started it (see `spawn`).
        Raises EmbeddedError when SecantusDB is missing or nothing answers in time.
        """
        if not _is_installed():
            raise EmbeddedError(
                "mongo.url is 'embedded' but SecantusDB is not installed: pip install 'webhook-router[embedded]'"
            )
        store = cls(data_dir, with_test_commands=with_test_commands)
        try:
            store._directory.mkdir(parents=True, exist_ok=True, mode=0o700)
            await store._join(time.monotonic() + timeout_seconds)
        except OSError as error:
            await store.close()
            reason = error.strerror or type(error).__name__
            raise EmbeddedError("data_dir cannot hold the embedded store", seen=reason) from None
        except BaseException:
            await store.close()
            raise
        store._watch = asyncio.create_task(store._stay_available(), name="embedded-store-watch")
        return store

    @classmethod
    async def running_url(cls, data_dir: Path) -> str | None:
        """Where the server of `data_dir` is, if some process runs it; starts nothing and writes nothing."""
        store = cls(data_dir, with_test_commands=False)
        store._port = store._read_address()
        return store.url if store._port and await _is_answering(store._port) else None

    @property
    def url(self) -> str:
        """Where to connect. Direct: there is one member, whatever name it announces. Without the driver's repetition of
        writes: at each of them, the server goes through all that it remembers for that, up to 10,000 writes."""
        return f"mongodb://{LOOPBACK}:{self._port}/?directConnection=true&retryWrites=false"

    @property
    def is_owner(self) -> bool:
        return self._lock != _NOT_HELD

    @property
    def log(self) -> Path:
        """The server's output since it was last started."""
        return self._directory / "log"

    async def close(self) -> None:
        """Leave the store; the owner stops the server, and another process of this directory takes over."""
        if self._watch is not None:
            self._watch.cancel()
            await asyncio.wait([self._watch])
            self._watch = None
        await self._stop_server()
        self._release_lock()

    async def _join(self, deadline: float) -> None:
        """Become the owner with a running server, or find the owner's server answering."""
        while True:
            if self._take_lock():
                await self._start_server(deadline)
                return
            port = self._read_address()
            if port != 0 and await _is_answering(port):
                self._port = port
                return
            if time.monotonic() > deadline:
                raise EmbeddedError(f"another process holds {self._directory / 'lock'} but its store does not answer")
            await asyncio.sleep(_POLL_SECONDS)

    async def _stay_available(self) -> None:
        """Own the server when its owner is gone, and start it again when it died; until cancelled."""
        while True:
            await asyncio.sleep(_WATCH_SECONDS)
            needs_start = self._has_died() if self.is_owner else self._take_lock()
            if needs_start:
                # A failure is seen by everyone who uses the store; here it only means to try again.
                with contextlib.suppress(EmbeddedError, OSError):
                    await self._start_server(time.monotonic() + 30)

    def _has_died(self) -> bool:
        return self._server is None or self._server.poll() is not None

    def _take_lock(self) -> bool:
        """Try to become the owner. The server inherits the lock, so it is free only when no server is left."""
        descriptor = os.open(self._directory / "lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            os.close(descriptor)
            return False
        self._lock = descriptor
        return True

    def _release_lock(self) -> None:
        if self.is_owner:
            os.close(self._lock)
            self._lock = _NOT_HELD

    async def _start_server(self, deadline: float) -> None:
        """Start on the directory's usual port, else on any, and publish the address. We hold the lock."""
        usual_port = self._read_address() or self._port
        self._address.unlink(missing_ok=True)  # nobody may connect to what listens there meanwhile
        for port in dict.fromkeys((usual_port, 0)):
            started = await self._launch(port, deadline)
            if started is not None:
                self._port = started
                self._write_address(started)
                return
        raise EmbeddedError(f"the embedded store did not start; the end of {self.log}:\n{log_tail(self.log)}")

    async def _launch(self, port: int, deadline: float) -> int | None:
        """Run the server; the port that it listens on, or None if it ended or was too slow and was ended."""
        (self._directory / "secantusd.toml").write_text(_CONFIGURATION)
        self._server = spawn(self._command(port), log=self.log, keep_fds=[self._lock])
        while self._server.poll() is None and time.monotonic() < deadline:
            # Its own word, not a connect: on a taken port somebody else would answer.
            listening = _LISTENING.search(log_tail(self.log))
            if listening:
                return int(listening[1])
            await asyncio.sleep(_POLL_SECONDS)
        await self._stop_server()
        return None

    async def _stop_server(self) -> None:
        """Ask the server to end, then make it."""
        if self._server is None:
            return
        self._server.terminate()
        asked_at = time.monotonic()
        deadline = asked_at + _STOP_TIMEOUT_SECONDS
        while self._server.poll() is None and time.monotonic() < deadline:
            # The connection wakes its accept loop, which would sleep through the first 2 s of the stop.
            is_unaware = await _is_answering(self._port)
            if is_unaware and time.monotonic() - asked_at > _SIGNAL_LOST_SECONDS:
                self._server.terminate()
                asked_at = time.monotonic()
            await asyncio.sleep(_POLL_SECONDS)
        self._server.kill()
        self._server.wait()
        self._server = None

    def _command(self, port: int) -> list[str | Path]:
        command: list[str | Path] = [
            *(sys.executable, "-P", "-m", "secantus"),
            *("--config", self._directory / "secantusd.toml"),  # else it takes one up from $HOME or /etc
            *("--host", LOOPBACK, "--port", str(port)),
            *("--storage-path", self._directory / "data"),
        ]
        return [*command, "--enable-test-commands"] if self._with_test_commands else command

    @property
    def _address(self) -> Path:
        return self._directory / "address"

    def _read_address(self) -> int:
        """The published port; 0 if there is none."""
        try:
            return int(self._address.read_text().rpartition(":")[2])
        except (OSError, ValueError):
            return 0

    def _write_address(self, port: int) -> None:
        draft = self._directory / "address.new"
        draft.write_text(f"{LOOPBACK}:{port}\n")
        draft.replace(self._address)


def _is_installed() -> bool:
    return importlib.util.find_spec("secantus") is not None


async def _is_answering(port: int) -> bool:
    """Whether something accepts connections there; the server listens only once it is ready."""
    try:
        _, writer = await asyncio.open_connection(LOOPBACK, port)
    except OSError:
        return False
    writer.close()
    with contextlib.suppress(OSError):
        await writer.wait_closed()
    return True
