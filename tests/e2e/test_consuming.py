"""The router as a process while the broker refuses what it allowed or says nothing: it stays, tells why, goes on."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from typing import Any

import pymongo
import pytest
import pytest_asyncio
from yarl import URL

from router.adapters.embedded.broker import RabbitNode
from tests.support.events import make_event
from tests.support.fault_proxy import FaultProxy
from tests.support.http_server import ScriptedServer
from tests.support.router_process import Platform, RouterProcess, wait_for
from tests.support.servers import unique

USER = "platform"


@pytest.fixture(scope="module")
def node(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RabbitNode]:
    """A broker with a user whose password may change."""
    node = RabbitNode(directory=tmp_path_factory.mktemp("consuming-node"))
    try:
        node.start()
        node.ctl("add_user", USER, "right-password")
        node.ctl("set_permissions", USER, ".*", ".*", ".*")
        yield node
    finally:
        node.stop()


@pytest_asyncio.fixture
async def here(
    node: RabbitNode, mongo_url: str, mongo_client: pymongo.MongoClient[dict[str, object]]
) -> AsyncIterator[Platform]:
    platform = Platform(amqp_url=node.url, mongo_url=mongo_url, database=mongo_client[unique("test_")])
    yield platform
    await platform.close()


async def check(router: RouterProcess, name: str) -> bool | None:
    """What readiness says of one check; None while it says nothing."""
    _, answer = await router.get("/readyz?verbose")
    found: list[Any] = [each["ok"] for each in (answer or {}).get("checks", ()) if each["name"] == name]
    return found[0] if found else None


async def is_check(router: RouterProcess, name: str, expected: bool) -> bool:
    return await check(router, name) is expected


async def delivered(router: RouterProcess, platform: Platform, account: str) -> None:
    event = make_event(account)
    await platform.publish(event)
    assert (await router.delivery(event_id=event["id"], account_id=account))["status"] == "delivered"


@pytest.mark.slow
async def test_a_password_that_changes_while_the_router_runs_ends_nothing(
    here: Platform, node: RabbitNode, tmp_path: Path, server: ScriptedServer
) -> None:
    account = here.enable_account()
    here.define_webhook(account, to=server.url)
    here.private.add("right-password")
    url = str(URL(node.url).with_user(USER).with_password("right-password"))
    async with RouterProcess(here, tmp_path, ROUTER_AMQP__URL=url) as router:
        await delivered(router, here, account)

        await asyncio.to_thread(node.ctl, "change_password", USER, "another")
        await asyncio.to_thread(node.ctl, "close_all_connections", "maintenance")
        await wait_for(lambda: "RabbitMQ refuses the user or password" in router.log)
        await wait_for(lambda: is_check(router, "consumer:cdr", False))
        assert (await router.get("/livez"))[0] == 200

        await asyncio.to_thread(node.ctl, "change_password", USER, "right-password")
        await wait_for(router.is_ready)
        await delivered(router, here, account)


@pytest.mark.slow
async def test_a_half_open_connection_turns_readiness_red_and_is_replaced(
    here: Platform, node: RabbitNode, tmp_path: Path, server: ScriptedServer
) -> None:
    account = here.enable_account()
    here.define_webhook(account, to=server.url)
    async with (
        FaultProxy.before(node.url) as proxy,
        RouterProcess(here, tmp_path, ROUTER_AMQP__URL=proxy.url) as router,
    ):
        await delivered(router, here, account)
        proxy.black_hole()
        await wait_for(lambda: is_check(router, "consumer:cdr", False))
        assert '"reason": "no_answer"' in router.log or '"reason":"no_answer"' in router.log

        event = make_event(account)
        await here.publish(event)
        proxy.heal()
        assert (await router.delivery(event_id=event["id"], account_id=account))["status"] == "delivered"
        await wait_for(router.is_ready)


@pytest.mark.slow
async def test_a_process_that_was_stopped_for_a_while_tells_it_and_is_not_stalled(
    here: Platform, tmp_path: Path, server: ScriptedServer
) -> None:
    account = here.enable_account()
    here.define_webhook(account, to=server.url)
    async with RouterProcess(here, tmp_path) as router:
        router.pause()
        await asyncio.sleep(4)
        router.go_on()

        await wait_for(lambda: "event_loop_stalled" in router.log)
        assert (await router.get("/livez"))[0] == 200
        await delivered(router, here, account)
        _, metrics = await router.get("/metrics")
        assert "webhook_router_stalled 0.0" in metrics
        assert "webhook_router_event_loop_stalls_total 0.0" not in metrics
        assert "consumer_lost" not in router.log


@pytest.mark.slow
async def test_a_start_without_an_answer_of_one_queue_names_the_source_and_what_is_wrong(
    here: Platform, tmp_path: Path
) -> None:
    here.source_settings = {"declare": "passive"}
    router = RouterProcess(here, tmp_path)
    router.launch()
    try:
        assert await router.ended(within_seconds=60) == 69
    finally:
        await router.kill()
    assert "not consuming after 30 s" in router.log
    assert f"exchange '{here.exchange('call')}' of source 'call' does not exist" in router.log


async def test_metrics_tell_what_came_and_what_is_durable(
    platform: Platform, router: RouterProcess, account: str, server: ScriptedServer
) -> None:
    platform.define_webhook(account, to=server.url)
    await router.takes_up_definitions()
    await delivered(router, platform, account)

    _, metrics = await router.get("/metrics")

    lines = dict(line.rsplit(" ", 1) for line in metrics.splitlines() if not line.startswith("#"))
    received = float(lines['webhook_router_events_received_total{type="cdr"}'])
    assert received >= 1
    assert received == float(lines['webhook_router_events_stored_total{type="cdr"}'])
    assert float(lines["process_resident_memory_bytes"]) > 0
    assert float(lines["process_open_fds"]) > 0
    assert {name: float(lines[name]) for name in ("webhook_router_deliveries_due", "webhook_router_stalled")} == {
        "webhook_router_deliveries_due": 0,
        "webhook_router_stalled": 0,
    }
