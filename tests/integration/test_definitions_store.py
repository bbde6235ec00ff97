"""How definitions are followed on the real server."""

from __future__ import annotations

import asyncio
import sys
from collections.abc import AsyncIterator, Iterator, Sequence
from contextlib import aclosing, contextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pymongo
import pytest
import pytest_asyncio

from router.adapters.embedded.processes import free_ports, spawn, terminate
from router.adapters.mongo import definitions as module
from router.adapters.mongo.definitions import MongoDefinitions
from router.adapters.mongo.driver import DriverName, open_database
from router.adapters.mongo.resilience import Persistent, StoreHealth
from router.domain.event import AccountId
from router.domain.webhook import Suspension, SuspensionReason, WebhookId, WebhookState
from router.ports import DefinitionChange, DefinitionSnapshot

News = DefinitionSnapshot | Sequence[DefinitionChange]
NOW = datetime(2031, 1, 1, tzinfo=UTC)
DEFINITION: dict[str, Any] = {
    "account_id": "1042",
    "name": "CRM",
    "url": "https://crm.example/hook",
    "event_type": "call",
    "enabled": True,
    "restrict_to": {"tracking_numbers": ["01 99 00 12 34"]},
}


@pytest_asyncio.fixture(params=["motor", "pymongo"])
async def followed(
    request: pytest.FixtureRequest, mongo_url: str, mongo_database: str
) -> AsyncIterator[tuple[MongoDefinitions, AsyncIterator[News]]]:
    driver: DriverName = request.param
    database = open_database(mongo_url, mongo_database, driver)
    definitions = MongoDefinitions(database, Persistent(StoreHealth()), "FR")
    async with aclosing(definitions.follow()) as news:  # type: ignore[type-var]
        yield definitions, news
    await database.close()


async def heard(news: AsyncIterator[News]) -> News:
    async with asyncio.timeout(30):
        return await anext(news)


async def changes(news: AsyncIterator[News], count: int) -> list[DefinitionChange]:
    """The next `count` changes, in however many batches they come."""
    found: list[DefinitionChange] = []
    while len(found) < count:
        batch = await heard(news)
        assert not isinstance(batch, DefinitionSnapshot)
        found += batch
    return found


async def test_a_snapshot_comes_first_and_then_what_changes(
    followed: tuple[MongoDefinitions, AsyncIterator[News]], mongo_client: Any, mongo_database: str
) -> None:
    definitions, news = followed
    stored = mongo_client[mongo_database]
    stored.accounts.insert_one({"_id": "1042", "webhooks_enabled": True})
    stored.webhooks.insert_one({"_id": "wh_1", **DEFINITION})

    first = await heard(news)
    assert isinstance(first, DefinitionSnapshot)
    assert first.enabled_accounts == {"1042"}
    assert first.webhooks[WebhookId("wh_1")].state is WebhookState.ACTIVE

    stored.webhooks.update_one({"_id": "wh_1"}, {"$set": {"enabled": False}})
    (paused,) = await changes(news, 1)
    assert paused.webhook is not None
    assert paused.webhook.state is WebhookState.PAUSED

    stored.accounts.update_one({"_id": "1042"}, {"$set": {"webhooks_enabled": False}})
    (switched,) = await changes(news, 1)
    assert (switched.account_id, switched.webhooks_enabled) == (AccountId("1042"), False)

    await definitions.suspend(WebhookId("wh_1"), Suspension(since=NOW, reason=SuspensionReason.GONE))
    (suspended,) = await changes(news, 1)
    assert suspended.webhook is not None
    assert suspended.webhook.suspension == Suspension(since=NOW, reason=SuspensionReason.GONE)

    stored.webhooks.delete_one({"_id": "wh_1"})
    (deleted,) = await changes(news, 1)
    assert (deleted.webhook_id, deleted.webhook) == ("wh_1", None)


@pytest.mark.parametrize(
    "junk",
    [
        {"_id": 7},
        {"_id": {"a": 1}},
        {"_id": "x", "event_type": {"$gt": ""}, "headers": [1], "restrict_to": "all", "secret": 5, "enabled": "yes"},
        {"_id": "x", **DEFINITION, "restrict_to": {"user_id": "u-1"}},
        {"_id": "x", **DEFINITION, "url": "http://[::1"},
    ],
)
async def test_a_definition_that_is_wrong_is_told_with_its_problem_and_disturbs_no_other(
    followed: tuple[MongoDefinitions, AsyncIterator[News]], mongo_client: Any, mongo_database: str, junk: dict[str, Any]
) -> None:
    _, news = followed
    mongo_client[mongo_database].webhooks.insert_many([junk, {"_id": "good", **DEFINITION}])

    first = await heard(news)

    assert isinstance(first, DefinitionSnapshot)
    states = {str(key): each.state for key, each in first.webhooks.items()}
    assert states.pop("good") is WebhookState.ACTIVE
    assert list(states.values()) == [WebhookState.INVALID]


async def test_the_first_suspension_and_the_first_failure_stand(
    followed: tuple[MongoDefinitions, AsyncIterator[News]], mongo_client: Any, mongo_database: str
) -> None:
    definitions, _ = followed
    webhook_id, later = WebhookId("wh_1"), datetime(2032, 1, 1, tzinfo=UTC)
    mongo_client[mongo_database].webhooks.insert_one({"_id": "wh_1", **DEFINITION})
    for moment in (NOW, later):
        await definitions.mark_failing(webhook_id, moment)
        await definitions.suspend(webhook_id, Suspension(since=moment, reason=SuspensionReason.FAILING))

    found = await definitions.fetch(webhook_id)
    assert found is not None
    assert found.failing_since == NOW
    assert found.suspension == Suspension(since=NOW, reason=SuspensionReason.FAILING)

    await definitions.mark_healthy(webhook_id)
    healthy = await definitions.fetch(webhook_id)
    assert healthy is not None
    assert healthy.failing_since is None


async def test_a_collection_that_is_dropped_is_read_anew(
    followed: tuple[MongoDefinitions, AsyncIterator[News]], mongo_client: Any, mongo_database: str
) -> None:
    _, news = followed
    mongo_client[mongo_database].webhooks.insert_one({"_id": "wh_1", **DEFINITION})
    await heard(news)

    mongo_client[mongo_database].webhooks.drop()

    while not isinstance(found := await heard(news), DefinitionSnapshot):
        continue
    assert found.webhooks == {}


async def test_changes_just_before_the_stream_ends_hide_no_reload(
    followed: tuple[MongoDefinitions, AsyncIterator[News]], mongo_client: Any, mongo_database: str
) -> None:
    """Both arrive together: what was changed is read, and the whole right after it."""
    _, news = followed
    stored = mongo_client[mongo_database]
    stored.webhooks.insert_one({"_id": "wh_1", **DEFINITION})
    await heard(news)

    stored.accounts.insert_one({"_id": "1042", "webhooks_enabled": True})
    stored.webhooks.drop()

    while not isinstance(found := await heard(news), DefinitionSnapshot):
        continue
    assert found.webhooks == {}
    assert found.enabled_accounts == {"1042"}


async def test_a_stream_whose_history_is_lost_ends_in_a_reload(
    followed: tuple[MongoDefinitions, AsyncIterator[News]], mongo_client: Any, mongo_database: str
) -> None:
    _, news = followed
    stored = mongo_client[mongo_database]
    assert isinstance(await heard(news), DefinitionSnapshot)

    with failing_commands(mongo_client, "getMore", 286):
        while not isinstance(found := await heard(news), DefinitionSnapshot):
            continue
    assert found.webhooks == {}

    stored.webhooks.insert_one({"_id": "wh_1", **DEFINITION})
    while not (isinstance(found, DefinitionSnapshot) and found.webhooks) and not _is_about(found, "wh_1"):
        found = await heard(news)


def _is_about(news: News, webhook_id: str) -> bool:
    return not isinstance(news, DefinitionSnapshot) and any(each.webhook_id == webhook_id for each in news)


@contextmanager
def failing_commands(client: Any, command: str, code: int) -> Iterator[None]:
    """The next commands of that name by a router fail with that code, until the end."""
    data = {"failCommands": [command], "errorCode": code, "appName": "webhook-router"}
    client.admin.command({"configureFailPoint": "failCommand", "mode": {"times": 3}, "data": data})
    try:
        yield
    finally:
        client.admin.command({"configureFailPoint": "failCommand", "mode": "off"})


async def test_a_server_without_change_streams_is_polled(tmp_path: Path) -> None:
    (port,) = free_ports(1)
    command = [
        sys.executable,
        "-m",
        "secantus",
        "--standalone",
        "--port",
        str(port),
        "--storage-path",
        str(tmp_path / "data"),
    ]
    server = spawn(command, log=tmp_path / "log")
    url = f"mongodb://127.0.0.1:{port}/?directConnection=true"
    try:
        with pymongo.MongoClient[dict[str, Any]](url) as client:
            client.t.webhooks.insert_one({"_id": "wh_1", **DEFINITION})
            database = open_database(url, "t", "pymongo")
            definitions = MongoDefinitions(database, Persistent(StoreHealth()), "FR")
            async with aclosing(definitions.follow()) as news:  # type: ignore[type-var]
                first = await heard(news)
                client.t.webhooks.delete_one({"_id": "wh_1"})
                second = await heard(news)
            await database.close()
    finally:
        terminate(server, timeout_seconds=10)

    assert isinstance(first, DefinitionSnapshot)
    assert isinstance(second, DefinitionSnapshot)
    assert (len(first.webhooks), len(second.webhooks)) == (1, 0)
    assert module.POLL_SECONDS < 5, "the contract's bound"
