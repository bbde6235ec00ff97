"""`doctor`, `topology`, `indexes` and `healthcheck` as operators type them, on a real broker and a real store."""

from __future__ import annotations

import asyncio
import json
import time
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import aio_pika
import pymongo
import pytest
from aiormq.exceptions import ChannelNotFoundEntity
from pymongo.database import Database

from router.adapters.embedded.broker import RabbitNode
from router.adapters.embedded.processes import free_ports
from tests.support.router_process import Platform, RouterProcess
from tests.support.shell import Shell, shell_for

QUEUES = ("webhook-router.call", "webhook-router.cdr", "webhook-router.user")
WHOLE_ROUND_SECONDS = 40
"""A group has 20 s; starting Python on a busy machine, and closing what hung, have the rest."""
LOOKED_AT = {
    ("configuration", "settings"),
    ("network", "name of RabbitMQ"),
    ("network", "name of MongoDB"),
    ("network", "TLS with RabbitMQ"),
    ("network", "customers' names"),
    ("network", "certificate authorities"),
    ("broker", "connection"),
    ("broker", "version"),
    ("broker", "exchanges"),
    ("broker", "queues"),
    ("broker", "bindings"),
    ("broker", "consumers"),
    ("broker", "policies"),
    ("broker", "dead letters"),
    ("store", "connection"),
    ("store", "version"),
    ("store", "topology"),
    ("store", "write concern"),
    ("store", "clock"),
    ("store", "schema"),
    ("store", "indexes"),
    ("store", "key ring"),
    ("store", "keys on record"),
    ("egress", "refused"),
    ("egress", "permitted"),
    ("egress", "own socket"),
    ("process", "router"),
    ("process", "descriptors"),
    ("process", "manager"),
}


@pytest.fixture
def database(mongo_client: pymongo.MongoClient[dict[str, Any]], mongo_database: str) -> Database[dict[str, Any]]:
    return mongo_client[mongo_database]


@pytest.fixture
def shell(tmp_path: Path, vhost: str, mongo_url: str, mongo_database: str) -> Shell:
    """On an empty virtual host and an empty database; no router runs."""
    return shell_for(
        tmp_path,
        ROUTER_AMQP__URL=vhost,
        ROUTER_MONGO__URL=mongo_url,
        ROUTER_MONGO__DATABASE=mongo_database,
        ROUTER_API__PORT=str(free_ports(1)[0]),
        PATH="/usr/bin:/bin",  # without rabbitmqctl
    )


def examined(shell: Shell, *arguments: str, code: int) -> dict[tuple[str, str], dict[str, Any]]:
    """The findings of a doctor that ends with `code`; of several of one name, the worst."""
    result = shell.run("doctor", "--json", *arguments)
    assert result.returncode == code, result.stdout + result.stderr
    report = json.loads(result.stdout)
    assert report["verdict"] == ("ok", "warn", "fail")[code]
    assert all((each["remedy"] is None) is (each["level"] == "ok") for each in report["findings"])
    mildest_first = sorted(report["findings"], key=lambda each: ("ok", "warn", "fail").index(each["level"]))
    return {(each["group"], each["name"]): each for each in mildest_first}


# --- the doctor -------------------------------------------------------------------------------------


async def test_a_router_that_runs_has_no_failure(own_platform: Platform, tmp_path: Path) -> None:
    async with RouterProcess(own_platform, tmp_path) as router:
        shell = shell_for(tmp_path, **router.environment() | {"PATH": "/usr/bin:/bin"})
        found = await asyncio.to_thread(examined, shell, code=1)

    assert found.keys() >= LOOKED_AT
    assert [each for each in found.values() if each["level"] == "fail"] == []
    for name in ("connection", "version", "exchanges", "queues", "consumers"):
        assert found["broker", name]["level"] == "ok"
    for name in ("connection", "write concern", "clock", "schema", "indexes", "keys on record"):
        assert found["store", name]["level"] == "ok"
    assert found["process", "router"]["seen"].startswith("ready")
    assert found["process", "descriptors"]["seen"].split()[1:5] == ["of", "the", "router", "that"]
    assert found["egress", "this host"]["level"] == "warn", "the tests permit 127.0.0.1"


async def test_it_changes_nothing(shell: Shell, database: Database[dict[str, Any]]) -> None:
    found = await asyncio.to_thread(examined, shell, code=1)

    assert found.keys() >= LOOKED_AT
    assert found["broker", "queues"]["seen"].startswith("3 of 3 not there")
    assert database.name not in database.client.list_database_names()
    async with await aio_pika.connect(shell.environment["ROUTER_AMQP__URL"]) as connection:
        for name in (*QUEUES, "webhook-router.returned"):
            async with await connection.channel() as channel:
                with pytest.raises(ChannelNotFoundEntity):
                    await channel.declare_queue(name, passive=True)
        for name in ("call", "webhook-router", "webhook-router.returned"):
            async with await connection.channel() as channel:
                with pytest.raises(ChannelNotFoundEntity):
                    await channel.declare_exchange(name, passive=True)


@asynccontextmanager
async def black_hole() -> AsyncIterator[str]:
    """Host and port of a server that accepts and never answers."""

    async def swallow(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            while await reader.read(4096):
                pass
        finally:
            writer.close()

    async with await asyncio.start_server(swallow, "127.0.0.1", 0) as server:
        yield f"127.0.0.1:{server.sockets[0].getsockname()[1]}"


@pytest.mark.slow
async def test_servers_that_never_answer_hold_up_nobody_else(shell: Shell) -> None:
    async with black_hole() as nobody:
        hung = {
            "ROUTER_AMQP__URL": f"amqp://router:hush@{nobody}/",
            "ROUTER_MONGO__URL": f"mongodb://{nobody}/",
            "ROUTER_API__PORT": nobody.rpartition(":")[2],
        }
        began = time.monotonic()
        found = await asyncio.to_thread(examined, replace(shell, environment={**shell.environment, **hung}), code=2)
        took = time.monotonic() - began

    assert took < WHOLE_ROUND_SECONDS
    assert found.keys() >= LOOKED_AT
    assert {key for key, each in found.items() if each["level"] == "fail"} == {
        ("broker", "connection"),
        ("store", "connection"),
    }
    assert found["egress", "refused"]["level"] == "ok"
    assert "hush" not in str(found)


def test_settings_that_are_wrong_are_findings_too(shell: Shell) -> None:
    wrong = {"ROUTER_API__PORT": "eighty", "ROUTER_LOG__LEVEL": "loud"}
    found = examined(replace(shell, environment={**shell.environment, **wrong}), code=2)

    assert {("configuration", "api.port"), ("configuration", "log.level")} <= found.keys()


def test_people_read_groups_with_a_remedy_below_each_line_that_wants_one(shell: Shell) -> None:
    away = {"ROUTER_AMQP__URL": f"amqp://router:hush@127.0.0.1:{free_ports(1)[0]}/"}
    result = replace(shell, environment={**shell.environment, **away}).run("doctor")

    assert result.returncode == 2
    lines = result.stdout.splitlines()
    place = next(number for number, line in enumerate(lines) if line.startswith("  fail  connection"))
    assert "Connection refused" in lines[place]
    assert lines[place + 1].strip() == "-> Start RabbitMQ, or correct amqp.url."
    assert "the rest" in lines[place + 2], "what could not be looked at is said once"
    assert result.stderr.rstrip().endswith("1 fail")
    assert "hush" not in result.stdout + result.stderr


def test_an_embedded_store_is_not_started(shell: Shell) -> None:
    found = examined(replace(shell, environment={**shell.environment, "ROUTER_MONGO__URL": "embedded"}), code=1)

    assert "does not run" in found["store", "connection"]["seen"]
    assert not (shell.directory / ".run").exists()


# --- topology ---------------------------------------------------------------------------------------


def presences(shell: Shell, *arguments: str) -> dict[str, set[str]]:
    """How each kind of thing was found."""
    found: dict[str, set[str]] = {}
    for item in json.loads(shell.run("topology", "plan", "--json", *arguments).stdout)["items"]:
        found.setdefault(item["kind"], set()).add(item["found"])
    return found


def test_topology_is_planned_tried_and_applied(shell: Shell) -> None:
    assert shell.run("topology", "plan").returncode == 1
    assert len(shell.data("topology", "apply", "--dry-run")["declared"]) == 10
    assert presences(shell)["queue"] == {"missing"}

    assert len(shell.data("topology", "apply")["declared"]) == 10

    planned = shell.run("topology", "plan")
    assert planned.returncode == 0, planned.stdout
    assert presences(shell) == {
        "exchange": {"present"},
        "queue": {"present"},
        "binding": {"unseen"},
        "policy": {"unseen"},
    }


async def test_a_queue_that_differs_is_named_and_nothing_is_declared_beside_it(shell: Shell) -> None:
    async with await aio_pika.connect(shell.environment["ROUTER_AMQP__URL"]) as connection:
        channel = await connection.channel()
        arguments: Any = {"x-queue-type": "quorum", "x-max-length": 1000}
        await channel.declare_queue("webhook-router.cdr", durable=True, arguments=arguments)

        applied = await asyncio.to_thread(shell.run, "topology", "apply")
        found = await asyncio.to_thread(examined, shell, code=2)

        with pytest.raises(ChannelNotFoundEntity):
            await channel.declare_queue("webhook-router.call", passive=True)
    assert applied.returncode == 1
    for text in (applied.stderr, found["broker", "queues"]["seen"]):
        assert "x-max-length is 1000 on the broker, not set was wanted" in text


def from_elsewhere(shell: Shell, node: RabbitNode) -> Shell:
    return replace(shell, environment={**shell.environment, "ROUTER_AMQP__URL": node.url})


def on_its_host(shell: Shell, node: RabbitNode) -> Shell:
    """Where rabbitmqctl finds the node."""
    tools = {**node.environment(), "PATH": f"{node.tools}:/usr/bin:/bin"}
    return replace(shell, environment={**shell.environment, **tools, "ROUTER_AMQP__URL": node.url})


@contextmanager
def management_of(node: RabbitNode) -> Iterator[str]:
    """The URL of a management API on the node, on a port of its own."""
    (port,) = free_ports(1)
    node.ctl("eval", f'application:set_env(rabbitmq_management, tcp_config, [{{port, {port}}}, {{ip, "127.0.0.1"}}]).')
    node.plugins("enable", "rabbitmq_management")
    yield f"http://127.0.0.1:{port}"


async def seen_within(shell: Shell, expected: str, *arguments: str) -> None:
    """Wait until policies are found so: the broker tells its management API every 5 s."""
    async with asyncio.timeout(30):
        while presences(shell, *arguments)["policy"] != {expected}:
            await asyncio.sleep(0.5)


@pytest.mark.slow
async def test_policies_and_bindings_are_seen_through_rabbitmqctl_and_the_management_api(
    own_rabbit: RabbitNode, shell: Shell, tmp_path: Path
) -> None:
    remote, local = from_elsewhere(shell, own_rabbit), on_its_host(shell, own_rabbit)
    shell_only = presences(remote)
    assert local.run("topology", "apply").returncode == 0

    assert shell_only["policy"] == {"unseen"}
    assert presences(local) == {
        "exchange": {"present"},
        "queue": {"present"},
        "binding": {"present"},
        "policy": {"missing"},
    }
    assert examined(local, code=1)["broker", "dead letters"]["seen"].startswith("no dead-letter exchange")

    file = tmp_path / "policies.json"
    file.write_text(local.run("topology", "policies").stdout, encoding="utf-8")
    own_rabbit.ctl("import_definitions", str(file))

    assert presences(local)["policy"] == {"present"}
    assert examined(local, code=1)["broker", "dead letters"]["level"] == "ok"
    assert presences(remote)["policy"] == {"unseen"}, "and neither is asked from elsewhere"

    with management_of(own_rabbit) as url:
        await seen_within(remote, "present", "--management-url", url)
        assert presences(remote, "--management-url", url)["binding"] == {"present"}
        found = examined(remote, "--management-url", url, code=1)
        assert found["broker", "dead letters"]["level"] == "ok"

        own_rabbit.ctl("set_user_tags", "guest")
        refused = examined(remote, "--management-url", url, code=1)
        assert "does not let the user of amqp.url in" in refused["broker", "policies"]["seen"]


@pytest.mark.slow
async def test_dead_letters_that_lead_nowhere_are_a_failure(own_rabbit: RabbitNode, shell: Shell) -> None:
    local = on_its_host(shell, own_rabbit)
    assert local.run("topology", "apply").returncode == 0
    policy = json.dumps({"dead-letter-exchange": "nobody", "delivery-limit": 5})
    own_rabbit.ctl("set_policy", "half", "^webhook-router", policy, "--apply-to", "queues")

    found = examined(local, code=2)

    assert found["broker", "dead letters"]["seen"] == "exchange nobody leads to no queue"
    assert "overflow is not set" in found["broker", "policies"]["seen"]


# --- indexes ----------------------------------------------------------------------------------------


def test_indexes_are_planned_tried_and_applied(shell: Shell, database: Database[dict[str, Any]]) -> None:
    assert {each["found"] for each in json.loads(shell.run("indexes", "plan", "--json").stdout)} == {"missing"}
    wanted = len(shell.data("indexes", "apply", "--dry-run")["created"])
    assert database.list_collection_names() == []

    assert len(shell.data("indexes", "apply")["created"]) == wanted
    assert {each["found"] for each in shell.data("indexes", "plan")} == {"present"}
    assert shell.data("indexes", "apply")["created"] == []


def test_an_index_that_differs_is_named_with_both_shapes_and_none_is_touched(
    shell: Shell, database: Database[dict[str, Any]]
) -> None:
    database["deliveries"].create_index("due_at", name="due")
    database["events"].create_index("expire_at", name="expire_at", expireAfterSeconds=60)
    database["tokens"].create_index("owner", name="mine")

    planned = {each["index"]: each for each in json.loads(shell.run("indexes", "plan", "--json").stdout)}
    assert planned["deliveries.due"]["detail"] == "is on due_at 1; wanted: due_at 1, sparse"
    assert planned["events.expire_at"]["found"] == "different"
    assert (planned["tokens.mine"]["found"], planned["tokens.newest"]["found"]) == ("extra", "missing")

    applied = shell.run("indexes", "apply")
    assert applied.returncode == 1
    assert "deliveries.due" in applied.stderr
    assert set(database["tokens"].index_information()) == {"_id_", "mine"}


# --- healthcheck ------------------------------------------------------------------------------------


async def test_healthcheck_asks_the_router_of_the_settings(own_platform: Platform, tmp_path: Path) -> None:
    router = RouterProcess(own_platform, tmp_path)
    shell = shell_for(tmp_path, **router.environment())
    unanswered = await asyncio.to_thread(shell.run, "healthcheck")
    async with router:
        ready = await asyncio.to_thread(shell.run, "healthcheck", "--ready", "--json")
        live = await asyncio.to_thread(shell.run, "healthcheck")

    assert (unanswered.returncode, unanswered.stdout) == (1, "/livez unanswered: Connection refused\n")
    assert (live.returncode, live.stdout) == (0, '/livez 200: {"status":"ok"}\n')
    assert ready.returncode == 0
    assert json.loads(ready.stdout)["status"] == 200
