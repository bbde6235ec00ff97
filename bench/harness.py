"""The processes that are measured and those around them. Touches processes."""

from __future__ import annotations

import argparse
import asyncio
import json
import os
import sys
import tempfile
import time
import urllib.request
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import asynccontextmanager, nullcontext
from dataclasses import dataclass, replace
from functools import wraps
from pathlib import Path
from typing import Any

import aio_pika
import psutil
from pymongo import AsyncMongoClient

from router.adapters.embedded.processes import free_ports
from router.adapters.embedded.store import EmbeddedStore

PATIENCE_SECONDS = 120
LOG = Path(tempfile.gettempdir()) / "router-bench.log"
SECRET = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw"
AS_MODULE = ("-m",)
"""What stands before the name of a module on Python's command line."""
BRIDGE_PYTHON = Path(__file__).parents[1] / ".venv-bridge" / "bin" / "python"
BRIDGE_LOG = Path(tempfile.gettempdir()) / "bridge-bench.log"


def say(text: str) -> None:
    print(text, file=sys.stderr, flush=True)


def get_json(port: int, path: str) -> dict[str, Any]:
    """What one of the bench's own servers answers."""
    with urllib.request.urlopen(f"http://127.0.0.1:{port}{path}", timeout=10) as answer:
        result: dict[str, Any] = json.load(answer)
    return result


@dataclass
class Bench:
    """The servers and the options of one run. `store_folder` is where the store keeps its files."""

    amqp_url: str
    receiver_port: int
    options: argparse.Namespace
    figures: dict[str, Any]
    mongo_url: str = ""
    store_pid: int = 0
    store_folder: Path = Path()

    @property
    def target(self) -> str:
        return f"http://127.0.0.1:{self.receiver_port}/hook"

    def receiver(self, path: str) -> dict[str, Any]:
        return get_json(self.receiver_port, path)


@dataclass(frozen=True, slots=True, kw_only=True)
class Router:
    """A router that is ready, the port of its API, and how long its start took."""

    pid: int
    port: int
    ready_seconds: float

    def metric(self, name: str) -> float:
        """A metric, with its labels as they are printed; 0 while it was never counted."""
        with urllib.request.urlopen(f"http://127.0.0.1:{self.port}/metrics", timeout=10) as answer:
            lines = answer.read().decode().splitlines()
        found = (float(line.rpartition(" ")[2]) for line in lines if line.startswith(f"webhook_router_{name} "))
        return next(found, 0.0)


# --- processes -------------------------------------------------------------------------------------


@asynccontextmanager
async def process(
    *arguments: str,
    ready: Callable[[], Awaitable[bool]] | None = None,
    log: Path | None = None,
    python: Path | str = sys.executable,
    **environment: str,
) -> AsyncIterator[int]:
    """A Python child that is ready, by its first line or by `ready`, with its stderr in `log`; yields its pid."""
    with log.open("wb") if log else nullcontext() as stderr:
        child = await asyncio.create_subprocess_exec(
            python,
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
                await asyncio.sleep(0.05)
        yield child.pid
    finally:
        if child.returncode is None:
            child.terminate()
        await child.wait()


@asynccontextmanager
async def fresh_store(bench: Bench) -> AsyncIterator[Bench]:
    """`bench` with an empty store: what others left behind would slow the embedded one down."""
    with tempfile.TemporaryDirectory() as folder:
        store = await EmbeddedStore.open(Path(folder))
        try:
            server = next(
                each for each in psutil.Process().children() if any(folder in word for word in each.cmdline())
            )
            yield replace(bench, mongo_url=store.url, store_pid=server.pid, store_folder=Path(folder))
        finally:
            await store.close()


def on_fresh_store(measure: Callable[[Bench], Awaitable[None]]) -> Callable[[Bench], Awaitable[None]]:
    """A measurement that gets a store of its own."""

    @wraps(measure)
    async def measured(bench: Bench) -> None:
        async with fresh_store(bench) as fresh:
            await measure(fresh)

    return measured


@asynccontextmanager
async def router(
    bench: Bench, database: str, *arguments: str, under: Sequence[str] = AS_MODULE, **environment: str
) -> AsyncIterator[Router]:
    """`webhook-router serve` on the bench's servers."""
    (port,) = free_ports(1)

    async def is_ready() -> bool:
        try:
            with urllib.request.urlopen(f"http://127.0.0.1:{port}/readyz", timeout=1):  # noqa: ASYNC210 - nothing else runs
                return True
        except OSError:
            return False

    usual = {
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
    began = time.monotonic()
    command = (*under, "router", "serve", *arguments)
    async with process(*command, ready=is_ready, log=LOG, **usual, **environment) as pid:
        yield Router(pid=pid, port=port, ready_seconds=round(time.monotonic() - began, 2))


@asynccontextmanager
async def bare(bench: Bench, *, under: Sequence[str] = AS_MODULE) -> AsyncIterator[int]:
    async with process(*under, "bench.bare", bench.amqp_url, "bench.bare", bench.target) as pid:
        yield pid


def has_bridge() -> bool:
    return BRIDGE_PYTHON.exists()


@asynccontextmanager
async def bridge(bench: Bench) -> AsyncIterator[int]:
    """The bare bridge, in its own environment. It declares its queue itself, and binds it to nothing."""
    command = ("-m", "bench.bridge", bench.amqp_url, "bench.bridge", bench.target)
    async with process(*command, python=BRIDGE_PYTHON, log=BRIDGE_LOG) as pid:
        connection = await aio_pika.connect(bench.amqp_url)
        channel = await connection.channel()
        exchange = await channel.declare_exchange("bench.bridge", aio_pika.ExchangeType.TOPIC, durable=True)
        await (await channel.get_queue("bench.bridge")).bind(exchange, "#")
        await connection.close()
        yield pid


async def publish(bench: Bench, exchange: str, count: int, rate: float = 0, *, spread: str = "", size: int = 0) -> None:
    """`count` events at `rate` per second (0: as fast as they are confirmed); `spread` and `size` as `bench.load` has
    them."""
    load = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "bench.load", bench.amqp_url, exchange, str(count), str(rate)),
        *("--spread", spread, "--size", str(size)),
    )
    if await load.wait() != 0:
        raise SystemExit("the load could not be published")


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
