"""The private RabbitMQ node with the real package: what it keeps, what it shares with nobody, what it leaves."""

import asyncio
import socket
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import aio_pika
import psutil
import pytest

from router.adapters.embedded.broker import RabbitNode, find_rabbitmq
from router.adapters.embedded.errors import EmbeddedError
from tests.support import eventually

PARENT = """
import pathlib, sys
from router.adapters.embedded.broker import RabbitNode

node = RabbitNode(directory=pathlib.Path(sys.argv[1]))
node.start()
print(node.url, flush=True)
sys.stdin.read()
"""


@pytest.fixture(scope="module")
def node(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RabbitNode]:
    node = RabbitNode(directory=tmp_path_factory.mktemp("node"))
    try:
        node.start()
        yield node
    finally:
        node.stop()


def processes_of(directory: Path) -> list[psutil.Process]:
    """Every process whose home is `directory`: the Erlang VM and what it started."""
    found = []
    for process in psutil.process_iter():
        try:
            if process.environ().get("HOME") == str(directory):
                found.append(process)
        except psutil.Error:
            continue
    return found


def epmds() -> set[int]:
    return {process.pid for process in psutil.process_iter(["name"]) if process.info["name"] == "epmd"}


async def publish(url: str, queue_name: str) -> None:
    async with await aio_pika.connect(url) as connection:
        channel = await connection.channel()
        await channel.declare_queue(queue_name, durable=True, arguments={"x-queue-type": "quorum"})
        message = aio_pika.Message(b"{}", delivery_mode=aio_pika.DeliveryMode.PERSISTENT)
        await channel.default_exchange.publish(message, routing_key=queue_name)


async def take(url: str, queue_name: str) -> bytes:
    async with await aio_pika.connect(url) as connection:
        channel = await connection.channel()
        queue = await channel.get_queue(queue_name)
        message = await queue.get(timeout=10)
        await message.ack()
        return message.body


async def test_a_started_node_accepts_connections_at_once(node: RabbitNode, names: str) -> None:
    await publish(node.url, names + "q")
    assert await take(node.url, names + "q") == b"{}"


async def test_a_restart_keeps_the_port_and_what_is_durable(node: RabbitNode, names: str) -> None:
    url = node.url
    await publish(url, names + "q")
    node.restart()
    assert node.url == url
    assert await take(url, names + "q") == b"{}"


async def test_a_killed_node_comes_back_with_what_was_confirmed(node: RabbitNode, names: str) -> None:
    url = node.url
    await publish(url, names + "q")
    await asyncio.sleep(1)  # a younger queue would be lost, see `kill`
    node.kill()
    assert not node.is_running
    node.start()
    assert await take(url, names + "q") == b"{}"


def test_everything_listens_on_loopback_only(node: RabbitNode) -> None:
    listening = [
        connection.laddr.ip
        for process in processes_of(node.directory)
        for connection in process.net_connections("tcp")
        if connection.status == psutil.CONN_LISTEN
    ]
    assert len(listening) == 2  # AMQP and Erlang distribution
    assert set(listening) == {"127.0.0.1"}


def test_ctl_returns_the_output_and_explains_a_failure(node: RabbitNode) -> None:
    assert "guest" in node.ctl("list_users")
    with pytest.raises(EmbeddedError, match=r"rabbitmqctl delete_vhost failed: .*nope"):
        node.ctl("delete_vhost", "nope")


def test_stop_leaves_no_process(tmp_path: Path) -> None:
    node = RabbitNode(directory=tmp_path)
    node.start()
    assert node._epmd is not None
    own = node._epmd.pid  # other nodes of this machine may come and go meanwhile
    assert own in epmds()
    node.stop()
    assert processes_of(tmp_path) == []
    assert own not in epmds()


async def test_a_node_dies_with_a_parent_that_was_killed(tmp_path: Path) -> None:
    with subprocess.Popen(
        [sys.executable, "-c", PARENT, tmp_path], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as parent:
        assert parent.stdout is not None
        assert parent.stdout.readline().startswith("amqp://")
        own = {child.pid for child in psutil.Process(parent.pid).children(recursive=True)} & epmds()
        assert own  # other nodes of this machine may come and go meanwhile
        parent.kill()
    await eventually(lambda: processes_of(tmp_path) == [] and not own & epmds())


def test_a_given_port_that_is_taken_is_an_error_with_the_log(tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as stranger:
        node = RabbitNode(directory=tmp_path, port=stranger.getsockname()[1])
        with pytest.raises(EmbeddedError, match=r"RabbitMQ did not start(.|\n)*eaddrinuse"):
            node.start()
    assert processes_of(tmp_path) == []


def test_a_missing_package_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("router.adapters.embedded.broker._DEBIAN_SERVER", tmp_path / "nothing")
    monkeypatch.setenv("PATH", str(tmp_path))
    assert find_rabbitmq() is None
    with pytest.raises(EmbeddedError, match="apt-get install rabbitmq-server"):
        RabbitNode(directory=tmp_path).start()
