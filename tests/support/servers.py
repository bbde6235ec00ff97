"""The real servers that tests run against: given by URL, or started here. Touches processes."""

import os
import secrets
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager
from dataclasses import dataclass
from pathlib import Path

from router.adapters.embedded.broker import RabbitNode
from router.adapters.embedded.store import EmbeddedStore

AMQP_URL_VARIABLE = "ROUTER_TEST_AMQP_URL"
MONGO_URL_VARIABLE = "ROUTER_TEST_MONGO_URL"


@dataclass(frozen=True, slots=True, kw_only=True)
class Broker:
    """A RabbitMQ for tests. `node` is None when it was given by URL: then nobody may stop it."""

    url: str
    node: RabbitNode | None


def unique(prefix: str) -> str:
    """A name that no other test, worker or run uses."""
    return f"{prefix}{secrets.token_hex(4)}"


@contextmanager
def running_broker(directory: Path) -> Iterator[Broker]:
    """The broker of ROUTER_TEST_AMQP_URL, else a private node under `directory`."""
    given = os.environ.get(AMQP_URL_VARIABLE)
    if given:
        yield Broker(url=given, node=None)
        return
    node = RabbitNode(directory=directory)
    try:
        node.start()
        yield Broker(url=node.url, node=node)
    finally:
        node.stop()


@contextmanager
def own_vhost(broker: Broker) -> Iterator[str]:
    """The URL of a vhost that nobody else uses; of a given broker, which we cannot administer, its own."""
    if broker.node is None:
        yield broker.url
        return
    name = unique("test-")
    broker.node.ctl("add_vhost", name)
    broker.node.ctl("set_permissions", "--vhost", name, "guest", ".*", ".*", ".*")
    try:
        yield broker.url + name
    finally:
        broker.node.ctl("delete_vhost", name)


@asynccontextmanager
async def running_store(directory: Path) -> AsyncIterator[str]:
    """The URL of ROUTER_TEST_MONGO_URL, else of an embedded store that takes mongod's test commands."""
    given = os.environ.get(MONGO_URL_VARIABLE)
    if given:
        yield given
        return
    store = await EmbeddedStore.open(directory, with_test_commands=True)
    try:
        yield store.url
    finally:
        await store.close()
