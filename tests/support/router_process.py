"""The router as a process of its own, on real servers, looked at from outside only.

    platform = Platform(...)                         # exchanges, queues and a database of its own
    async with RouterProcess(platform, tmp_path) as router:
        webhook_id = platform.define_webhook(account, to=server.url)
        await router.takes_up_definitions()
        await platform.publish(make_event(account))
        await wait_for(lambda: server.requests)

`Platform` does what the telephony platform and its back office do: publish, and write definitions into MongoDB.
Whatever ends, ends with a look at the router's log: nothing of a customer may be in it.
"""

from __future__ import annotations

import asyncio
import inspect
import json
import os
import re
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Coroutine, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Final, Self, TypeVar, overload

import aio_pika
import aiohttp
from aio_pika.exceptions import AMQPError
from pymongo.database import Database

from router.adapters.embedded.processes import free_ports, log_tail, spawn
from router.telemetry.fields import FIELDS
from tests.support import events
from tests.support.servers import unique

T = TypeVar("T")

ADMIN_TOKEN: Final = "adm1n-t0ken-of-the-tests"
START_SECONDS: Final = 45.0
STOP_SECONDS: Final = 45.0
EVENT_TYPES: Final = ("call", "cdr", "user")
NO_DEFINITION: Final = object()

QUICK: Final[Mapping[str, str]] = {
    "ROUTER_DELIVERY__CALL__RETRY_DELAYS_SECONDS": "[0.2, 0.2]",
    "ROUTER_DELIVERY__CDR__RETRY_DELAYS_SECONDS": "[0.2, 0.2]",
    "ROUTER_DELIVERY__USER__RETRY_DELAYS_SECONDS": "[0.2, 0.2]",
}
"""Schedules that end while a test looks on."""


@overload
async def wait_for(condition: Callable[[], Coroutine[Any, Any, T]], *, within_seconds: float = 60) -> T: ...


@overload
async def wait_for(condition: Callable[[], T], *, within_seconds: float = 60) -> T: ...


async def wait_for(condition: Callable[[], Any], *, within_seconds: float = 60) -> Any:
    """The first true value of `condition`, plain or awaited. Fails when there is none in time."""
    deadline = time.monotonic() + within_seconds
    while True:
        value = condition()
        if inspect.isawaitable(value):
            value = await value
        if value:
            return value
        assert time.monotonic() < deadline, f"not within {within_seconds} s: {inspect.getsource(condition).strip()}"
        await asyncio.sleep(0.03)


# --- the outside world -----------------------------------------------------------------------------


@dataclass(slots=True, kw_only=True)
class Platform:
    """Exchanges, queues and a database that no other test uses, and what the platform does with them."""

    amqp_url: str
    mongo_url: str
    database: Database[dict[str, Any]]
    prefix: str = field(default_factory=lambda: unique("test-") + ".")
    source_settings: dict[str, Any] = field(default_factory=dict)
    """Added to each source of the configuration."""
    private: set[str] = field(
        default_factory=lambda: {
            *(ADMIN_TOKEN, events.NOTE),
            *(number[3:] for number in (events.TRACKING, events.CALLER, events.REDIRECTION)),
        }
    )
    """What must not be in any log."""

    # --- names ---

    def exchange(self, event_type: str) -> str:
        return self.prefix + event_type

    def queue(self, event_type: str) -> str:
        return f"{self.prefix}webhook-router.{event_type}"

    @property
    def events_exchange(self) -> str:
        """Where the router publishes its own events."""
        return self.prefix + "webhook-router"

    def environment(self) -> dict[str, str]:
        """What tells a router of this platform where everything is."""
        sources = [
            {"name": kind, "exchange": self.exchange(kind), "queue": self.queue(kind), **self.source_settings}
            for kind in EVENT_TYPES
        ]
        return {
            "ROUTER_AMQP__URL": self.amqp_url,
            "ROUTER_AMQP__EVENTS_EXCHANGE": self.events_exchange,
            "ROUTER_MONGO__URL": self.mongo_url,
            "ROUTER_MONGO__DATABASE": self.database.name,
            "ROUTER_SOURCES": json.dumps(sources),
            "ROUTER_API__ADMIN_TOKEN": ADMIN_TOKEN,
            # One address of loopback, so that the others stay forbidden.
            "ROUTER_EGRESS__ALLOW": '["127.0.0.1/32"]',
            "ROUTER_EGRESS__REQUIRE_HTTPS": "false",
            "ROUTER_LOG__FORMAT": "json",
            "ROUTER_LOG__LEVEL": "debug",
        }

    # --- the back office ---

    def enable_account(self, account_id: str | None = None, *, enabled: bool = True) -> str:
        """The id of an account that is switched on."""
        account_id = account_id or unique("acc-")
        document = {"_id": account_id, "webhooks_enabled": enabled}
        self.database.accounts.replace_one({"_id": account_id}, document, upsert=True)
        return account_id

    def define_webhook(self, account_id: str, *, to: str, event_type: str = "cdr", **fields: Any) -> str:
        """The id of a webhook at a path of its own on the server `to`; `fields` go into its document as they are."""
        webhook_id = unique("wh_")
        now = datetime.now(UTC)
        document = {
            "_id": webhook_id,
            "account_id": account_id,
            "name": "CRM",
            "url": self.hook_url(to),
            "event_type": event_type,
            "enabled": True,
            "restrict_to": None,
            "created_at": now,
            "updated_at": now,
        } | fields
        secrets: Any = document.get("secret") or []
        self.private.update(secret for secret in ([secrets] if isinstance(secrets, str) else secrets))
        self.database.webhooks.insert_one({key: value for key, value in document.items() if value is not NO_DEFINITION})
        return webhook_id

    def hook_url(self, server_url: str) -> str:
        """A URL of its own on a server; its path must not be logged."""
        path = unique("hook-path-")
        self.private.add(path)
        return f"{server_url}/{path}"

    def edit_webhook(self, webhook_id: str, **fields: Any) -> None:
        changes = {"updated_at": datetime.now(UTC)} | fields
        assert self.database.webhooks.update_one({"_id": webhook_id}, {"$set": changes}).matched_count == 1

    def delete_webhook(self, webhook_id: str) -> None:
        assert self.database.webhooks.delete_one({"_id": webhook_id}).deleted_count == 1

    # --- the publisher ---

    async def publish(
        self, *bodies: bytes | Mapping[str, Any], to: str | None = None, routing_key: str = "", **properties: Any
    ) -> None:
        """Publish and wait for the broker's confirms. A mapping is encoded; it goes to the exchange of its type, or
        to the one of `to`."""
        async with await aio_pika.connect(self.amqp_url) as connection:
            channel = await connection.channel(publisher_confirms=True, on_return_raises=True)
            await asyncio.gather(*(_publish(self, channel, body, to, routing_key, properties) for body in bodies))

    async def drop_queue(self, event_type: str) -> None:
        """Delete a queue under its consumers."""
        async with await aio_pika.connect(self.amqp_url) as connection:
            channel = await connection.channel()
            await channel.queue_delete(self.queue(event_type))

    async def messages_ready(self, event_type: str) -> int:
        """How many messages wait in a queue, those that a consumer holds left out."""
        async with await aio_pika.connect(self.amqp_url) as connection:
            channel = await connection.channel()
            queue = await channel.declare_queue(self.queue(event_type), passive=True)
            return queue.declaration_result.message_count or 0

    async def close(self) -> None:
        """Take away what a given broker and store would keep."""
        self.database.client.drop_database(self.database.name)
        with suppress(AMQPError, OSError):
            async with await aio_pika.connect(self.amqp_url) as connection:
                channel = await connection.channel()
                await channel.exchange_delete(self.events_exchange)
                for kind in EVENT_TYPES:
                    await channel.queue_delete(self.queue(kind))
                    await channel.exchange_delete(self.exchange(kind))


async def _publish(
    platform: Platform,
    channel: Any,
    body: bytes | Mapping[str, Any],
    to: str | None,
    routing_key: str,
    properties: Mapping[str, Any],
) -> None:
    kind = to or (body["type"] if isinstance(body, Mapping) else "cdr")
    exchange = await channel.get_exchange(platform.exchange(kind), ensure=False)
    message = aio_pika.Message(
        body if isinstance(body, bytes) else events.encode(body),
        **{
            "content_type": "application/json",
            "delivery_mode": aio_pika.DeliveryMode.PERSISTENT,
            "app_id": "telephony-platform",
            **properties,
        },
    )
    await exchange.publish(message, routing_key or f"{kind}.created", mandatory=True)


def unknown_fields(log: str) -> set[str]:
    """Fields of the JSON lines of a log that are not in the closed list."""
    lines = (json.loads(line) for line in log.splitlines() if line.startswith('{"ts":') and line.endswith("}"))
    return {field for line in lines for field in line} - FIELDS.keys()


# --- the router ------------------------------------------------------------------------------------


class RouterProcess:
    """`python -m router serve` on a platform. `settings` are environment variables and go over those of `QUICK`."""

    def __init__(self, platform: Platform, directory: Path, *, arguments: Sequence[str] = (), **settings: str) -> None:
        self.platform = platform
        self._directory = directory
        self._arguments = arguments
        (port,) = free_ports(1)
        self.api_url = f"http://127.0.0.1:{port}"
        self._settings = {"ROUTER_API__PORT": str(port), **settings}
        self._runs = 0
        self._process: subprocess.Popen[bytes] | None = None

    # --- life ---

    async def __aenter__(self) -> Self:
        await self.start()
        return self

    async def __aexit__(self, kind: object, *_: object) -> None:
        if kind is None and self.is_running:
            await self.stop()
        await self.kill()
        if kind is None:
            self.assert_log_is_clean()

    async def start(self, **settings: str) -> None:
        """Start and wait until it is ready; `settings` stay for the starts that follow."""
        self.launch(**settings)
        await wait_for(self._is_ready_or_ended, within_seconds=START_SECONDS)
        assert self.is_running, f"the router ended by itself:\n{self.log[-4000:]}"

    def launch(self, **settings: str) -> None:
        """Start and wait for nothing."""
        assert not self.is_running
        self._settings |= settings
        self._runs += 1
        self._process = spawn(
            [sys.executable, "-m", "router", *(self._arguments or ("serve",))],
            log=self._log_files[-1],
            env=self.environment(),
        )

    async def stop(self) -> None:
        """Ask for an orderly stop, and insist on a clean one."""
        code = await self.ask_to_stop()
        assert code == 0, f"exit code {code}:\n{self.log[-4000:]}"

    async def ask_to_stop(self) -> int:
        """SIGTERM; the exit code."""
        self.terminate()
        return await self.ended(within_seconds=STOP_SECONDS)

    def terminate(self) -> None:
        """SIGTERM, and no waiting."""
        os.kill(self.pid, signal.SIGTERM)

    async def ended(self, *, within_seconds: float) -> int:
        """The exit code, once the process has ended."""
        process = self._process
        assert process is not None
        await wait_for(lambda: process.poll() is not None, within_seconds=within_seconds)
        assert process.returncode is not None
        return process.returncode

    async def kill(self) -> None:
        """SIGKILL, if it still runs."""
        if self._process is not None and self.is_running:
            self._process.kill()
            self._process.wait()

    def pause(self) -> None:
        """SIGSTOP: as a host that hangs."""
        os.kill(self.pid, signal.SIGSTOP)

    def go_on(self) -> None:
        os.kill(self.pid, signal.SIGCONT)

    def configure(self, toml: str) -> None:
        """What the configuration file holds; the settings of this router go over it."""
        self._file.write_text(toml)

    def hang_up(self) -> None:
        """SIGHUP: read the configuration again."""
        os.kill(self.pid, signal.SIGHUP)

    async def reload(self, *, outcome: str = "reloaded") -> None:
        """SIGHUP, and wait for the line in the log that says what came of it."""
        before = self.lines(outcome)
        self.hang_up()
        await wait_for(lambda: len(self.lines(outcome)) > len(before), within_seconds=STOP_SECONDS)

    @property
    def worker_pids(self) -> dict[int, int]:
        """The newest process of each worker, by its number."""
        return {line["worker"]: line["pid"] for line in self.lines("worker_started")}

    async def restart(self, **settings: str) -> None:
        await self.stop()
        await self.start(**settings)

    @property
    def is_running(self) -> bool:
        return self._process is not None and self._process.poll() is None

    @property
    def pid(self) -> int:
        assert self._process is not None
        return self._process.pid

    def environment(self) -> dict[str, str]:
        inherited = {name: value for name, value in os.environ.items() if not name.startswith("ROUTER_")}
        self._file.touch()
        return (
            inherited | {"ROUTER_CONFIG": str(self._file)} | self.platform.environment() | dict(QUICK) | self._settings
        )

    @property
    def _file(self) -> Path:
        return self._directory / "router.toml"

    async def command(self, *arguments: str) -> str:
        """What another `webhook-router` command prints, run with the settings of this router."""
        process = await asyncio.create_subprocess_exec(
            *(sys.executable, "-m", "router", *arguments),
            env=self.environment(),
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
        )
        output, errors = await process.communicate()
        # Beside the router's logs, where the look at all of them finds it.
        with (self._directory / "commands.log").open("ab") as log:
            log.write(errors)
        assert process.returncode == 0, errors.decode()
        return output.decode()

    # --- its log ---

    @property
    def _log_files(self) -> list[Path]:
        return [self._directory / f"router-{self.api_url[-5:]}-{run}.log" for run in range(1, self._runs + 1)]

    @property
    def log(self) -> str:
        """The lines of every run so far."""
        return "".join(file.read_text(encoding="utf-8", errors="replace") for file in self._log_files)

    def lines(self, event: str) -> list[dict[str, Any]]:
        """Those of an event."""
        return [json.loads(line) for line in self.log.splitlines() if f'"event":"{event}"' in line]

    @property
    def last_words(self) -> str:
        return log_tail(self._log_files[-1], lines=20)

    def assert_log_is_clean(self) -> None:
        """Nothing of a customer, no secret and no phone number is in any line, at any level."""
        log = self.log
        assert unknown_fields(log) == set(), "router/telemetry/fields.py does not list them"
        leaked = [word for word in self.platform.private if word in log]
        assert not leaked, f"in the log: {leaked}"
        assert not re.search(r"whsec_\w{8}", log)

    # --- its API ---

    async def get(self, path: str, *, token: str = ADMIN_TOKEN, **parameters: Any) -> tuple[int, Any]:
        """Status and JSON of a GET, by default with the admin's token; (0, None) while nobody listens."""
        headers = {"Authorization": f"Bearer {token}"}
        query = {
            name.rstrip("_"): str(value).lower() if isinstance(value, bool) else str(value)
            for name, value in parameters.items()
        }
        try:
            async with (
                aiohttp.ClientSession(headers=headers) as session,
                session.get(self.api_url + path, params=query) as answer,
            ):
                is_json = answer.content_type.endswith("json")
                return answer.status, await (answer.json(content_type=None) if is_json else answer.text())
        except aiohttp.ClientConnectionError:
            return 0, None

    async def post(self, path: str) -> int:
        """Status of a POST without a body, with the admin's token."""
        headers = {"Authorization": f"Bearer {ADMIN_TOKEN}"}
        async with aiohttp.ClientSession(headers=headers) as session, session.post(self.api_url + path) as answer:
            return answer.status

    async def ask(self, path: str, body: object = None) -> tuple[int, Any]:
        """Status and JSON of a POST, with the admin's token."""
        headers = {"Authorization": f"Bearer {ADMIN_TOKEN}"}
        async with (
            aiohttp.ClientSession(headers=headers) as session,
            session.post(self.api_url + path, json=body) as answer,
        ):
            return answer.status, await answer.json(content_type=None)

    async def api(self, path: str, **parameters: Any) -> Any:
        """What the API answers; fails where it is no 200. `from_` is the parameter `from`."""
        status, body = await self.get(path, **parameters)
        assert status == 200, body
        return body

    async def is_ready(self) -> bool:
        return (await self.get("/readyz"))[0] == 200

    async def _is_ready_or_ended(self) -> bool:
        return not self.is_running or await self.is_ready()

    async def event(self, account_id: str, event_id: str) -> Any:
        """An event with its trace and deliveries, as soon as it was received."""

        async def received() -> Any:
            status, body = await self.get(f"/v1/events/{event_id}", account_id=account_id)
            return body if status == 200 else None

        return await wait_for(received)

    async def deliveries(self, **filters: Any) -> list[Any]:
        """Deliveries, the newest first, at most a page."""
        items: list[Any] = (await self.api("/v1/deliveries", **filters))["items"]
        return items

    async def delivery(
        self, *, is_so: Callable[[Any], bool] = lambda delivery: delivery["status"] != "pending", **filters: Any
    ) -> Any:
        """The one delivery that the filters leave, whole, as soon as it `is_so`: by default once it is over."""

        async def found() -> Any:
            items = await self.deliveries(**filters)
            assert len(items) <= 1, items
            return items[0] if items and is_so(items[0]) else None

        return await self.api(f"/v1/deliveries/{(await wait_for(found))['id']}")

    async def webhook(self, webhook_id: str) -> Any:
        return await self.api(f"/v1/webhooks/{webhook_id}")

    async def takes_up_definitions(self) -> None:
        """Wait until this router knows every definition that was written so far.

        Accounts are taken up in the order in which they were written, and so are webhooks. So one more of each, which
        no test looks at, shows by its trace that those before it are known. Only for a router that has the queues for
        itself.
        """
        account_id = self.platform.enable_account(unique("acc-lookout-"))
        webhook_id = self.platform.define_webhook(account_id, to="http://127.0.0.1:9", event_type="cdr")

        async def is_known() -> bool:
            probe = events.make_event(account_id, "user")
            await self.platform.publish(probe)
            event = await self.event(account_id, probe["id"])
            # Of another type than the webhook, and the verdict says so only once the account is on.
            return any(line["webhook_id"] == webhook_id for line in event["trace"]) and event["account_enabled"]

        await wait_for(is_known)
