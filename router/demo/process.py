"""The router itself, as the demo runs it: a child process with settings of its own, its log in a file.

Touches processes, files under the demo's folder, and ports of loopback.
"""

from __future__ import annotations

import asyncio
import json
import os
import secrets
import socket
import subprocess
import sys
import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

from router.adapters.embedded.processes import LOOPBACK, log_tail, spawn, terminate
from router.demo.api import ReadApi
from router.domain.errors import RouterError

START_SECONDS: Final = 60.0
"""Longer than the router waits for what it depends on; then it says itself what is missing."""
STOP_SECONDS: Final = 45.0
"""Longer than the router's own shutdown may take."""
PREFERRED_PORT: Final = 8080
_PORTS_TRIED: Final = 20
_POLL_SECONDS: Final = 0.1
_NOT_INHERITED: Final = ("ROUTER_", "NOTIFY_SOCKET", "WATCHDOG_")
_CONFIG: Final = """\
# Written by `webhook-router demo` for one run; the next one writes it anew. With it, other commands look at the
# same data: webhook-router --config {path} deliveries list
data_dir = {data_dir}
{amqp}
[mongo]
url = "embedded"
database = "webhook_router_demo"

[api]
port = {port}

# The demo's customers are on this machine. Elsewhere both are a hole.
[egress]
allow = ["127.0.0.0/8"]
require_https = false

# Short, so that one sees how a retry goes and how a delivery is given up.
[delivery.cdr]
retry_delays_seconds = [1, 2, 3]

[delivery.user]
retry_delays_seconds = [1, 2, 3]

[log]
format = "json"
"""


class RouterDidNotStartError(RouterError):
    """The router ended, or never got ready; the text is its own word. `exit_code` is what the demo ends with."""

    def __init__(self, message: str, exit_code: int) -> None:
        super().__init__(message)
        self.exit_code = exit_code


@dataclass(slots=True, kw_only=True)
class RouterProcess:
    """`webhook-router serve` under `directory`. Made with `prepare`; dies with this process, however that ends."""

    directory: Path
    amqp_url: str = field(repr=False)
    port: int
    token: str = field(repr=False)
    _process: subprocess.Popen[bytes] | None = field(default=None, repr=False)

    @classmethod
    def prepare(cls, directory: Path, amqp_url: str, *, url_is_secret: bool) -> RouterProcess:
        """Choose a port and a token, and write the configuration, which holds no secret."""
        process = cls(
            directory=directory,
            amqp_url=amqp_url,
            port=free_port(PREFERRED_PORT),
            token=f"demo-{secrets.token_urlsafe(9)}",
        )
        amqp = "" if url_is_secret else f"\n[amqp]\nurl = {json.dumps(amqp_url)}\n"
        content = _CONFIG.format(
            path=process.config, data_dir=json.dumps(str(directory.absolute())), amqp=amqp, port=process.port
        )
        process.config.write_text(content, encoding="utf-8")
        return process

    @property
    def config(self) -> Path:
        return self.directory / "router.toml"

    @property
    def log(self) -> Path:
        return self.directory / "router.log"

    @property
    def api(self) -> ReadApi:
        return ReadApi(self.port, self.token)

    @property
    def pid(self) -> int:
        return self._process.pid if self._process else 0

    @property
    def exit_code(self) -> int | None:
        """None while it runs; negative is the signal that ended it."""
        return self._process.poll() if self._process else None

    def environment(self) -> dict[str, str]:
        """This process's environment with the demo's settings in place of whatever it says about a router."""
        inherited = {name: value for name, value in os.environ.items() if not name.startswith(_NOT_INHERITED)}
        return inherited | {
            "ROUTER_CONFIG": str(self.config),
            "ROUTER_AMQP__URL": self.amqp_url,
            "ROUTER_API__ADMIN_TOKEN": self.token,
        }

    def start(self) -> None:
        """Call it on the main thread, with whose end the kernel ends the child."""
        self._process = spawn([sys.executable, "-m", "router", "serve"], log=self.log, env=self.environment())

    async def wait_until_ready(self) -> float:
        """How long it took, in seconds. Raises RouterDidNotStartError with the router's own message."""
        started_at = time.monotonic()
        while not await self.api.is_ready():
            code = self.exit_code
            if code is not None:
                raise RouterDidNotStartError(self.explain(), code if code in {69, 78} else 1)
            if time.monotonic() - started_at > START_SECONDS:
                raise RouterDidNotStartError(
                    f"the router was not ready after {START_SECONDS:.0f} s; see {self.log}", 69
                )
            await asyncio.sleep(_POLL_SECONDS)
        return time.monotonic() - started_at

    def explain(self) -> str:
        """Why it ended: its last error in its own words, else its last line, and where the rest is."""
        said = last_error(log_tail(self.log, lines=30)) or log_tail(self.log, lines=1) or "it said nothing"
        return f"the router ended with exit code {self.exit_code}: {said} (log: {self.log})"

    async def stop(self) -> int:
        """Ask it to stop in order, then make it; its exit code."""
        if self._process is None:
            return 0
        await asyncio.to_thread(terminate, self._process, timeout_seconds=STOP_SECONDS)
        return self._process.wait()


def last_error(log: str) -> str:
    """The last thing that went wrong in a log of JSON lines, for people; empty where there is none."""
    for text in reversed(log.splitlines()):
        line = _parse(text)
        if line.get("level") in {"error", "critical"}:
            event, detail = line.get("event", ""), line.get("error") or line.get("exception")
            return f"{event}: {detail}" if detail else str(event)
    return ""


def _parse(text: str) -> Mapping[str, object]:
    try:
        line = json.loads(text)
    except ValueError:
        return {}
    return line if isinstance(line, dict) else {}


def free_port(preferred: int) -> int:
    """`preferred`, or the next one that nobody listens on, or any; another process may take it meanwhile."""
    for port in (*range(preferred, preferred + _PORTS_TRIED), 0):
        with socket.socket() as probe:
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            try:
                probe.bind((LOOPBACK, port))
            except OSError:
                continue
            return int(probe.getsockname()[1])
    raise RouterError("no port of loopback is free")
