"""One platform and one router process for each module; a module may override `router_settings`."""

from __future__ import annotations

from collections.abc import AsyncIterator

import pymongo
import pytest
import pytest_asyncio

from tests.support.http_server import ScriptedServer
from tests.support.router_process import Platform, RouterProcess
from tests.support.servers import Broker, unique


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def platform(
    rabbit: Broker, mongo_url: str, mongo_client: pymongo.MongoClient[dict[str, object]]
) -> AsyncIterator[Platform]:
    platform = Platform(amqp_url=rabbit.url, mongo_url=mongo_url, database=mongo_client[unique("test_")])
    yield platform
    await platform.close()


@pytest_asyncio.fixture
async def own_platform(
    rabbit: Broker, mongo_url: str, mongo_client: pymongo.MongoClient[dict[str, object]]
) -> AsyncIterator[Platform]:
    """For a test whose router is stopped, killed or set up in its own way."""
    platform = Platform(amqp_url=rabbit.url, mongo_url=mongo_url, database=mongo_client[unique("test_")])
    yield platform
    await platform.close()


@pytest.fixture(scope="module")
def router_settings() -> dict[str, str]:
    """Environment variables of the module's router."""
    return {}


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def router(
    platform: Platform, router_settings: dict[str, str], tmp_path_factory: pytest.TempPathFactory
) -> AsyncIterator[RouterProcess]:
    async with RouterProcess(platform, tmp_path_factory.mktemp("router"), **router_settings) as router:
        yield router


@pytest.fixture
def account(platform: Platform) -> str:
    """An account that is switched on and that no other test uses."""
    return platform.enable_account()


@pytest_asyncio.fixture
async def server() -> AsyncIterator[ScriptedServer]:
    """A customer's server that answers 200 to everything."""
    async with ScriptedServer() as server:
        yield server
