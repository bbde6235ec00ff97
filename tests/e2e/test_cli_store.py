"""Commands as people type them: processes of their own, on a real store and a real broker."""

from __future__ import annotations

import json
import time
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import aio_pika
import pymongo
import pytest
from aio_pika import DeliveryMode, ExchangeType
from aio_pika.abc import AbstractQueue, AbstractRobustConnection
from pymongo.database import Database

from router.adapters.embedded.processes import free_ports
from tests.support.servers import Broker
from tests.support.shell import Shell, shell_for

NOWHERE_SECONDS = 8.0
"""About 5 s of patience, and starting Python on a busy machine."""


@pytest.fixture
def shell(tmp_path: Path, mongo_url: str, mongo_database: str) -> Shell:
    return shell_for(tmp_path, ROUTER_MONGO__URL=mongo_url, ROUTER_MONGO__DATABASE=mongo_database)


@pytest.fixture
def database(mongo_client: pymongo.MongoClient[dict[str, Any]], mongo_database: str) -> Database[dict[str, Any]]:
    return mongo_client[mongo_database]


def test_an_account_is_switched_on_and_off(shell: Shell, database: Database[dict[str, Any]]) -> None:
    assert shell.data("accounts", "enable", "1042") == {"id": "1042", "webhooks_enabled": True}
    assert list(database["accounts"].find()) == [{"_id": "1042", "webhooks_enabled": True}]

    assert shell.data("accounts", "disable", "1042")["webhooks_enabled"] is False
    assert shell.data("accounts", "show", "1042")["webhooks_enabled"] is False


def test_the_life_of_a_webhook(shell: Shell, database: Database[dict[str, Any]]) -> None:
    added = shell.data(
        *("webhooks", "add", "--account", "1042", "--name", "Écran", "--event-type", "call"),
        *("--url", "https://crm.example.com/hook", "--tracking-number", "01 99 00 12 34", "--header", "X-Team=sales"),
    )
    identity = added.pop("id")

    (stored,) = database["webhooks"].find()
    assert stored["_id"] == identity
    assert stored["secret"] == added.pop("secret")
    assert stored["restrict_to"] == {"tracking_numbers": ["+33199001234"]}
    assert stored["headers"] == {"X-Team": "sales"}
    assert shell.data("webhooks", "list", "--account", "1042")["items"] == [{"id": identity, **added}]
    assert shell.data("webhooks", "show", identity) == {"id": identity, **added}

    paused = shell.data("webhooks", "pause", identity)
    assert (paused["state"], paused["enabled"]) == ("paused", False)
    assert paused["updated_at"] > added["updated_at"]

    suspension = {"_id": identity, "suspended_at": datetime.now(UTC), "suspended_reason": "gone"}
    database["webhook_health"].insert_one(suspension)
    assert shell.data("webhooks", "resume", identity)["state"] == "active"

    assert shell.data("webhooks", "delete", identity)["deleted"] is True
    assert shell.run("webhooks", "show", identity).returncode == 1
    assert database["webhooks"].find_one() is None


def test_a_webhook_is_edited_and_shows_what_changes(shell: Shell, database: Database[dict[str, Any]]) -> None:
    draft = ("--account", "1042", "--name", "CRM", "--event-type", "call", "--url", "https://crm.example.com/hook")
    identity = shell.data("webhooks", "add", *draft, "--header", "X-Key=hush")["id"]
    changes = ("--name", "Écran", "--tracking-number", "01 99 00 12 34", "--header", "X-Team=sales", "--paused")

    would = shell.data("webhooks", "edit", identity, *changes, "--dry-run")
    (untouched,) = database["webhooks"].find()
    edited = shell.data("webhooks", "edit", identity, *changes)
    again = shell.data("webhooks", "edit", identity, *changes)

    assert would["changes"] == edited["changes"]
    assert edited["changes"]["name"] == {"before": "CRM", "after": "Écran"}
    assert set(edited["changes"]) == {"name", "enabled", "restrict_to", "headers"}
    assert untouched["name"] == "CRM"
    (stored,) = database["webhooks"].find()
    assert stored["headers"] == {"X-Key": "hush", "X-Team": "sales"}
    assert stored["restrict_to"] == {"tracking_numbers": ["+33199001234"]}
    assert (again["changes"], again["updated_at"]) == ({}, edited["updated_at"])
    actions = [entry["action"] for entry in shell.data("audit", "list")["items"]]
    assert sorted(actions) == ["webhook.created", "webhook.edited", "webhook.paused"]


def test_many_webhooks_and_accounts_are_switched_at_once(shell: Shell, database: Database[dict[str, Any]]) -> None:
    for number in range(3):
        database["webhooks"].insert_one(
            {
                "_id": f"wh_{number}",
                "account_id": "1042",
                "name": "CRM",
                "url": "https://crm.example.com/",
                "event_type": "call",
                "enabled": True,
            }
        )

    refused = shell.run("webhooks", "pause", "--account", "1042")
    paused = shell.run("webhooks", "pause", "--account", "1042", "--yes")
    deleted = shell.data("webhooks", "delete", "wh_0", "wh_1", "--yes")
    switched = shell.data("accounts", "enable", "1042", "77", "--yes")

    assert refused.returncode == 64
    assert (paused.returncode, paused.stdout) == (0, "")
    assert paused.stderr.splitlines() == ["3 webhooks to pause.", "3 paused, 0 not."]
    assert deleted["deleted"] == ["wh_0", "wh_1"]
    assert [(stored["_id"], stored["enabled"]) for stored in database["webhooks"].find()] == [("wh_2", False)]
    assert switched["enabled"] == ["1042", "77"]
    assert database["accounts"].count_documents({"webhooks_enabled": True}) == 2


def test_deliveries_are_listed(shell: Shell, database: Database[dict[str, Any]]) -> None:
    now = datetime.now(UTC)
    database["events"].insert_one({"_id": "ev_1", "payload": b'{"id": "evt_1"}'})
    database["deliveries"].insert_many(
        {
            "_id": f"dlv_{number}",
            "event": "ev_1",
            "account_id": "1042",
            "webhook_id": "wh_crm",
            "event_id": "evt_1",
            "event_type": "call",
            "event_name": "call.received",
            "status": "delivered" if number else "failed",
            "reason": None if number else "exhausted",
            "url": "https://crm.example.com/hook",
            "attempt_count": 0,
            "attempts": [],
            "next_attempt_at": None,
            "created_at": now,
            "completed_at": now,
        }
        for number in range(3)
    )

    listed = shell.data("deliveries", "list", "--account", "1042", "--limit", "2")
    rest = shell.data("deliveries", "list", "--account", "1042", "--cursor", listed["next_cursor"])

    assert [item["id"] for item in (*listed["items"], *rest["items"])] == ["dlv_2", "dlv_1", "dlv_0"]
    assert rest["next_cursor"] is None
    assert shell.data("deliveries", "list", "--status", "failed", "--from", "1h")["items"][0]["id"] == "dlv_0"
    assert shell.data("deliveries", "show", "dlv_0")["payload"] == '{"id": "evt_1"}'
    assert "dlv_0" in shell.run("deliveries", "list", "--status", "failed").stdout


# --- with the broker -------------------------------------------------------------------------------


@pytest.fixture
def sources(rabbit: Broker, shell: Shell, names: str) -> Shell:
    """The shell, with one source whose exchange and queue are not there yet."""
    settings = [{"name": "calls", "exchange": names + "call", "queue": names + "queue", "event_type": "call"}]
    broker = {"ROUTER_AMQP__URL": rabbit.url, "ROUTER_SOURCES": json.dumps(settings)}
    return replace(shell, environment={**shell.environment, **broker})


async def queue_of(rabbit: Broker, names: str) -> tuple[AbstractRobustConnection, AbstractQueue]:
    """The source's queue, bound to its exchange, as the router declares them."""
    connection = await aio_pika.connect_robust(rabbit.url)
    channel = await connection.channel()
    exchange = await channel.declare_exchange(names + "call", ExchangeType.TOPIC, durable=True)
    queue = await channel.declare_queue(names + "queue", durable=True, arguments={"x-queue-type": "quorum"})
    await queue.bind(exchange, "#")
    return connection, queue


async def test_an_event_is_published_to_the_sources_exchange(sources: Shell, rabbit: Broker, names: str) -> None:
    connection, queue = await queue_of(rabbit, names)
    async with connection:
        published = sources.data("events", "publish", "--sample", "call", "--account", "1042")

        message = await queue.get()
        assert message is not None
        assert json.loads(message.body)["id"] == published["event_id"]
        assert (message.exchange, message.routing_key) == (names + "call", "call.received")
        assert message.delivery_mode is DeliveryMode.PERSISTENT


def test_an_event_without_an_exchange_ends_with_69_and_its_name(sources: Shell, names: str) -> None:
    result = sources.run("events", "publish", "--sample", "call", "--account", "1042")

    assert (result.returncode, result.stdout) == (69, "")
    assert "Traceback" not in result.stderr
    assert f"there is no exchange '{names}call'" in result.stderr


async def test_a_dead_letter_goes_back_to_its_queue(
    sources: Shell, database: Database[dict[str, Any]], rabbit: Broker, names: str
) -> None:
    body = b"\x00not json\xff"
    database["dead_letters"].insert_one(
        {
            "_id": "dl_1",
            "received_at": datetime.now(UTC),
            "source": "calls",
            "exchange": names + "call",
            "routing_key": "call.received",
            "reason": "not_json",
            "detail": "",
            "size": len(body),
            "head": "not json",
            "body": body,
            "properties": {
                "content_type": "text/plain",
                "content_encoding": None,
                "message_id": "m-1",
                "type": "call",
                "timestamp": None,
                "headers": [["schema", "1"]],
            },
        }
    )
    connection, queue = await queue_of(rabbit, names)
    async with connection:
        assert sources.data("dead-letters", "requeue", "--all", "--dry-run")["count"] == 1
        assert await queue.get(fail=False) is None

        assert sources.data("dead-letters", "requeue", "--all", "--yes")["requeued"] == ["dl_1"]

        message = await queue.get()
        assert message is not None
        assert message.body == body
        assert (message.message_id, message.type, message.headers["schema"]) == ("m-1", "call", "1")
        assert sources.data("dead-letters", "list")["items"][0]["requeued_at"] is not None


# --- how commands end ------------------------------------------------------------------------------


def test_text_goes_to_stdout_and_talk_to_stderr(shell: Shell) -> None:
    result = shell.run("accounts", "enable", "1042")

    assert result.returncode == 0
    assert result.stdout.splitlines() == ["account           1042", "webhooks enabled  yes"]
    assert result.stderr.splitlines() == ["Webhooks are on for account 1042."]


def test_wrong_usage_ends_with_64(shell: Shell) -> None:
    result = shell.run(
        *("webhooks", "add", "--account", "1042", "--name", "CRM", "--event-type", "call", "--url", "crm.example.com")
    )

    assert (result.returncode, result.stdout) == (64, "")
    assert "--url: a URL begins with https://" in result.stderr


def test_what_is_not_there_ends_with_1(shell: Shell) -> None:
    result = shell.run("deliveries", "show", "dlv_nobody")

    assert (result.returncode, result.stdout) == (1, "")
    assert result.stderr.startswith("Error: there is no delivery dlv_nobody;")


def test_a_store_that_is_not_there_ends_with_69_and_soon(tmp_path: Path) -> None:
    (port,) = free_ports(1)
    shell = shell_for(tmp_path, ROUTER_MONGO__URL=f"mongodb://router:hush@127.0.0.1:{port}/")

    started_at = time.monotonic()
    result = shell.run("webhooks", "list")

    assert time.monotonic() - started_at < NOWHERE_SECONDS
    assert (result.returncode, result.stdout) == (69, "")
    assert result.stderr.startswith("Error: MongoDB cannot be reached")
    assert "Traceback" not in result.stderr
    assert "hush" not in result.stderr


def test_a_broker_that_is_not_there_ends_with_69(shell: Shell) -> None:
    (port,) = free_ports(1)
    broker = {"ROUTER_AMQP__URL": f"amqp://router:hush@127.0.0.1:{port}/"}

    result = replace(shell, environment={**shell.environment, **broker}).run(
        "events", "publish", "--sample", "call", "--account", "1042"
    )

    assert (result.returncode, result.stdout) == (69, "")
    assert result.stderr.startswith("Error: RabbitMQ cannot be reached")
    assert "hush" not in result.stderr


def test_a_wrong_configuration_ends_with_78(tmp_path: Path) -> None:
    shell = shell_for(tmp_path, ROUTER_MONGO__URL="http://127.0.0.1/", ROUTER_API__PORT="high")

    result = shell.run("webhooks", "list")

    assert (result.returncode, result.stdout) == (78, "")
    assert "mongo.url" in result.stderr
    assert "api.port" in result.stderr
