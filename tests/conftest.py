"""Fixtures for real servers, started once for a run. One that cannot be had fails the tests, it skips none."""

from collections.abc import AsyncIterator, Iterator

import pymongo
import pytest
import pytest_asyncio

from router.adapters.embedded.broker import RabbitNode
from tests.support.canaries import leaks_below
from tests.support.servers import Broker, own_vhost, running_broker, running_store, unique


@pytest.fixture(scope="session", autouse=True)
def no_log_tells(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """When all servers have ended, no log file that the session left may hold anything of a customer."""
    yield
    leaks = leaks_below(tmp_path_factory.getbasetemp())
    assert not leaks, "in the logs of this session:\n" + "\n".join(leaks)


@pytest.fixture(scope="session")
def rabbit(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Broker]:
    """The run's broker. Do not stop it: see `own_rabbit`."""
    with running_broker(tmp_path_factory.mktemp("rabbit")) as broker:
        yield broker


@pytest.fixture
def vhost(rabbit: Broker) -> Iterator[str]:
    """The URL of an empty vhost, for a test that uses the default names; costs a second."""
    with own_vhost(rabbit) as url:
        yield url


@pytest.fixture
def own_rabbit(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RabbitNode]:
    """A node that the test may stop, kill and restart; costs six seconds."""
    node = RabbitNode(directory=tmp_path_factory.mktemp("own-rabbit"))
    try:
        node.start()
        yield node
    finally:
        node.stop()


@pytest.fixture
def names() -> str:
    """A prefix for exchanges, queues and keys that no other test uses."""
    return unique("test-") + "."


@pytest_asyncio.fixture(scope="session", loop_scope="session")
async def mongo_url(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[str]:
    """The run's MongoDB."""
    async with running_store(tmp_path_factory.mktemp("mongo")) as url:
        yield url


@pytest.fixture(scope="session")
def mongo_client(mongo_url: str) -> Iterator["pymongo.MongoClient[dict[str, object]]"]:
    """A blocking client, for what a test prepares and inspects behind the back of the code."""
    with pymongo.MongoClient[dict[str, object]](mongo_url, tz_aware=True) as client:
        yield client


@pytest.fixture
def mongo_database(mongo_client: "pymongo.MongoClient[dict[str, object]]") -> Iterator[str]:
    """The name of a database that nobody else uses; dropped after the test."""
    name = unique("test_")
    yield name
    mongo_client.drop_database(name)
