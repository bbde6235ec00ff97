"""The processes that are measured and those around them, and what the kernel says of a process. Touches processes."""

from __future__ import annotations

import argparse
import asyncio
import json
import os
import sys
import tempfile
import urllib.request
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager, nullcontext
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pymongo import AsyncMongoClient

from router.adapters.embedded.processes import free_ports

TICKS = os.sysconf("SC_CLK_TCK")
PATIENCE_SECONDS = 120
LOG = Path(tempfile.gettempdir()) / "router-bench.log"
SECRET = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw"


def say(text: str) -> None:
    print(text, file=sys.stderr, flush=True)


def get_json(port: int, path: str) -> dict[str, Any]:
    """What one of the bench's own servers answers."""
    with urllib.request.urlopen(f"http://127.0.0.1:{port}{path}", timeout=10) as answer:
        result: dict[str, Any] = json.load(answer)
    return result


@dataclass
class Bench:
    """The servers and the options of one run."""

    amqp_url: str
    mongo_url: str
    receiver_port: int
    options: argparse.Namespace
    figures: dict[str, Any]

    @property
    def target(self) -> str:
        return f"http://127.0.0.1:{self.receiver_port}/hook"

    def receiver(self, path: str) -> dict[str, Any]:
        return get_json(self.receiver_port, path)


# --- processes -------------------------------------------------------------------------------------


@asynccontextmanager
async def process(
    *arguments: str, ready: Callable[[], Awaitable[bool]] | None = None, log: Path | None = None, **environment: str
) -> AsyncIterator[int]:
    """A Python child that is ready, by its first line or by `ready`, with its stderr in `log`; yields its pid."""
    with log.open("wb") if log else nullcontext() as stderr:
        child = await asyncio.create_subprocess_exec(
            sys.executable,
            *arguments,
            stdout=asyncio.subprocess.PIPE,
            stderr=stderr,
            env={**os.environ, **environment},
        )
    assert child.stdout is not None
    try:
        async with asyncio.timeout(PATIENCE_SECONDS):
            while not (await ready() if ready else await child.stdout.readline()):
                if child.returncode is not None or ready is None:
                    raise SystemExit(f"{' '.join(arguments)} did not start" + (f"; its log is {log}" if log else ""))
                await asyncio.sleep(0.1)
        yield child.pid
    finally:
        if child.returncode is None:
            child.terminate()
        await child.wait()


@asynccontextmanager
async def router(bench: Bench, database: str) -> AsyncIterator[int]:
    """`webhook-router serve` on the bench's servers."""
    (port,) = free_ports(1)

    async def is_ready() -> bool:
        try:
            with urllib.request.urlopen(f"http://127.0.0.1:{port}/readyz", timeout=1):  # noqa: ASYNC210 - nothing else runs
                return True
        except OSError:
            return False

    environment = {
        "ROUTER_AMQP__URL": bench.amqp_url,
        "ROUTER_MONGO__URL": bench.mongo_url,
        "ROUTER_MONGO__DATABASE": database,
        "ROUTER_API__PORT": str(port),
        "ROUTER_EGRESS__ALLOW": '["127.0.0.0/8"]',
        "ROUTER_EGRESS__REQUIRE_HTTPS": "false",
        "ROUTER_LOG__FORMAT": "json",
        **({"ROUTER_MONGO__DRIVER": bench.options.driver} if bench.options.driver else {}),
    }
    # The log goes to a file, as in production; it is part of what is measured.
    async with process("-m", "router", "serve", ready=is_ready, log=LOG, **environment) as pid:
        yield pid


@asynccontextmanager
async def bare(bench: Bench) -> AsyncIterator[int]:
    async with process("-m", "bench.bare", bench.amqp_url, "bench.bare", bench.target) as pid:
        yield pid


async def publish(bench: Bench, exchange: str, count: int, rate: float, *spread: str) -> None:
    """`count` events at `rate` per second (0: as fast as they are confirmed), `spread` as `bench.load` has it."""
    load = await asyncio.create_subprocess_exec(
        sys.executable, "-m", "bench.load", bench.amqp_url, exchange, str(count), str(rate), *spread
    )
    if await load.wait() != 0:
        raise SystemExit("the load could not be published")


# --- what the kernel says ----------------------------------------------------------------------------


def cpu_seconds(pid: int) -> float:
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / TICKS


# --- definitions -----------------------------------------------------------------------------------


async def define(bench: Bench, database: str, accounts: list[str], webhooks: list[dict[str, Any]]) -> None:
    """A fresh database with these accounts, switched on, and these webhooks."""
    client: AsyncMongoClient[dict[str, Any]] = AsyncMongoClient(bench.mongo_url)
    try:
        await client.drop_database(database)
        await client[database]["accounts"].insert_many([{"_id": each, "webhooks_enabled": True} for each in accounts])
        for start in range(0, len(webhooks), 5_000):
            await client[database]["webhooks"].insert_many(webhooks[start : start + 5_000])
    finally:
        await client.close()


def webhook(identity: str, account: str, url: str, number: str = "+33199001234") -> dict[str, Any]:
    """The document of a webhook for every cdr of one tracking number."""
    return {
        "_id": identity,
        "account_id": account,
        "name": "CRM",
        "url": url,
        "event_type": "cdr",
        "enabled": True,
        "restrict_to": {"tracking_numbers": [number]},
        "secret": SECRET,
    }
