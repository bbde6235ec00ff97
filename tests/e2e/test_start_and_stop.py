"""How the router starts and ends: what it waits for, what it refuses and with which exit code, and a clean stop."""

from __future__ import annotations

import asyncio
import socket
from collections import Counter
from collections.abc import AsyncIterator
from datetime import datetime
from pathlib import Path

import aio_pika
import aiohttp
import pymongo
import pytest
import pytest_asyncio

from router.adapters.embedded.processes import free_ports
from tests.support.events import make_event
from tests.support.http_server import Exchange, ScriptedServer, answer, late
from tests.support.router_process import Platform, RouterProcess, wait_for
from tests.support.servers import Broker, own_vhost, unique

UNAVAILABLE, USAGE, CONFIGURATION = 69, 64, 78
PATIENCE_SECONDS = 30
"""How long the router waits for what it depends on."""


def nobody_listens() -> str:
    (port,) = free_ports(1)
    return f"127.0.0.1:{port}"


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def in_vain(
    rabbit: Broker,
    mongo_url: str,
    mongo_client: pymongo.MongoClient[dict[str, object]],
    tmp_path_factory: pytest.TempPathFactory,
) -> AsyncIterator[dict[str, RouterProcess]]:
    """Routers that wait for something that never comes. Started first and looked at last, so that nobody waits."""
    platform = Platform(amqp_url=rabbit.url, mongo_url=mongo_url, database=mongo_client[unique("test_")])
    routers = {
        "broker": RouterProcess(
            platform, tmp_path_factory.mktemp("no-broker"), ROUTER_AMQP__URL=f"amqp://guest:s3cret@{nobody_listens()}/"
        ),
        "store": RouterProcess(
            platform, tmp_path_factory.mktemp("no-store"), ROUTER_MONGO__URL=f"mongodb://{nobody_listens()}"
        ),
        "broker of workers": RouterProcess(
            platform,
            tmp_path_factory.mktemp("no-broker-of-workers"),
            arguments=("serve", "--workers", "2"),
            ROUTER_AMQP__URL=f"amqp://guest:s3cret@{nobody_listens()}/",
        ),
    }
    for router in routers.values():
        router.launch()
    yield routers
    for router in routers.values():
        await router.kill()
    await platform.close()


@pytest.fixture(autouse=True)
def _started_first(in_vain: dict[str, RouterProcess]) -> None:
    """Whatever test of this module comes first."""


async def test_it_lives_but_is_not_ready_while_it_waits_for_the_broker(in_vain: dict[str, RouterProcess]) -> None:
    """The first test: its router ends when its patience is over."""
    router = in_vain["broker"]
    await wait_for(lambda: is_answered(router, "/livez", 200))
    await wait_for(lambda: is_answered(router, "/readyz", 503))
    _, body = await router.get("/readyz")

    assert {check["name"] for check in body["checks"] if not check["ok"]} >= {
        *("consumer:call", "consumer:cdr", "consumer:user")
    }


async def is_answered(router: RouterProcess, path: str, status: int) -> bool:
    return (await router.get(path))[0] == status


# --- what is refused -------------------------------------------------------------------------------


async def refused(router: RouterProcess, code: int) -> str:
    """The log of a router that ends by itself with `code`, long before its patience is over."""
    router.launch()
    try:
        assert await router.ended(within_seconds=PATIENCE_SECONDS) == code, router.log
    finally:
        await router.kill()
    return router.log


@pytest.mark.parametrize(
    ("settings", "named"),
    [
        ({"ROUTER_AMPQ__URL": "amqp://localhost/"}, "ampq.url"),
        ({"ROUTER_API__PORT": "eighty"}, "api.port"),
        ({"ROUTER_SOURCES": '[{"name":"call","prefetch":0}]'}, "prefetch"),
        ({"ROUTER_SOURCES": "call"}, "sources"),
        ({"ROUTER_DELIVERY__CALL__RETRY_DELAYS_SECONDS": "[1, -1]"}, "delivery.call.retry_delays_seconds"),
        ({"ROUTER_NUMBERS__DEFAULT_COUNTRY": "XX"}, "numbers.default_country"),
        ({"ROUTER_AMQP__URL": "http://user:s3cret@127.0.0.1"}, "amqp.url"),
        ({"ROUTER_MONGO__URL": "mongodb://user:s3cret@"}, "mongo.url"),
        ({"WEBHOOK_ROUTER_KILLPOINT": "nowhere=kill"}, "before_insert"),
    ],
    ids=str,
)
async def test_wrong_settings_are_refused_by_name(
    settings: dict[str, str], named: str, own_platform: Platform, tmp_path: Path
) -> None:
    log = await refused(RouterProcess(own_platform, tmp_path, **settings), CONFIGURATION)

    assert named in log
    assert "s3cret" not in log
    assert "Traceback" not in log


async def test_all_that_is_wrong_is_said_at_once(own_platform: Platform, tmp_path: Path) -> None:
    wrong = {"ROUTER_API__PORT": "eighty", "ROUTER_LOG__LEVEL": "loud", "ROUTER_NO__SUCH": "1"}
    log = await refused(RouterProcess(own_platform, tmp_path, **wrong), CONFIGURATION)

    assert all(name in log for name in ("api.port", "log.level", "no.such"))


async def test_a_command_that_does_not_exist_is_wrong_usage(own_platform: Platform, tmp_path: Path) -> None:
    await refused(RouterProcess(own_platform, tmp_path, arguments=("serv",)), USAGE)
    await refused(RouterProcess(own_platform, tmp_path, arguments=("serve", "--role", "king")), USAGE)


@pytest.mark.parametrize(
    ("arguments", "named", "has", "wanted"),
    [
        ({"x-queue-type": "classic"}, "x-queue-type", "classic", "quorum"),
        ({"x-queue-type": "quorum", "x-max-length": 1000}, "x-max-length", "1000", "not set"),
        ({"x-queue-type": "quorum", "x-message-ttl": 5}, "x-message-ttl", "5", "not set"),
    ],
)
async def test_a_queue_with_other_arguments_is_named_with_what_it_has_and_what_was_wanted(
    arguments: dict[str, object], named: str, has: str, wanted: str, own_platform: Platform, tmp_path: Path
) -> None:
    async with await aio_pika.connect(own_platform.amqp_url) as connection:
        channel = await connection.channel()
        await channel.declare_queue(own_platform.queue("cdr"), durable=True, arguments=arguments)  # type: ignore[arg-type]
    log = await refused(RouterProcess(own_platform, tmp_path), CONFIGURATION)

    (line,) = [line for line in log.splitlines() if "configuration_refused" in line]
    assert all(text in line for text in (own_platform.queue("cdr"), named, f"is {has}", f"{wanted} was wanted"))


async def test_an_exchange_of_another_type_is_named(own_platform: Platform, tmp_path: Path) -> None:
    async with await aio_pika.connect(own_platform.amqp_url) as connection:
        channel = await connection.channel()
        await channel.declare_exchange(own_platform.exchange("call"), "fanout", durable=True)
    log = await refused(RouterProcess(own_platform, tmp_path), CONFIGURATION)

    (line,) = [line for line in log.splitlines() if "configuration_refused" in line]
    assert all(text in line for text in (own_platform.exchange("call"), "type", "fanout", "topic"))


@pytest.mark.parametrize("part", ["password", "virtual host"])
async def test_a_broker_that_refuses_us_is_no_reason_to_go_on_trying(
    part: str, own_platform: Platform, tmp_path: Path
) -> None:
    url = own_platform.amqp_url
    wrong = url.replace("guest:guest@", "guest:s3cret@") if part == "password" else url + "no-such-vhost"
    log = await refused(RouterProcess(own_platform, tmp_path, ROUTER_AMQP__URL=wrong), CONFIGURATION)

    assert part in log
    assert "s3cret" not in log
    assert "Traceback" not in log


async def test_a_port_that_is_taken_is_named(own_platform: Platform, tmp_path: Path) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = str(taken.getsockname()[1])
        log = await refused(RouterProcess(own_platform, tmp_path, ROUTER_API__PORT=port), CONFIGURATION)

    assert port in log


# --- the default topology --------------------------------------------------------------------------


async def test_the_default_topology_is_declared_and_consumed(
    rabbit: Broker,
    mongo_url: str,
    mongo_client: pymongo.MongoClient[dict[str, object]],
    tmp_path: Path,
    server: ScriptedServer,
) -> None:
    """Three topic exchanges, three quorum queues, bound with `#`; nothing configured but where the servers are."""
    with own_vhost(rabbit) as url:
        platform = Platform(amqp_url=url, mongo_url=mongo_url, database=mongo_client[unique("test_")], prefix="")
        account = platform.enable_account()
        for kind in ("call", "cdr", "user"):
            platform.define_webhook(account, to=server.url, event_type=kind)
        async with RouterProcess(platform, tmp_path, ROUTER_SOURCES="") as router:
            events = [make_event(account, kind) for kind in ("call", "cdr", "user")]
            for event in events:
                await platform.publish(event, routing_key=f"{event['name']}.{account}")
            await server.received(3)
            async with await aio_pika.connect(url) as connection:
                channel = await connection.channel()
                for kind in ("call", "cdr", "user"):
                    await channel.declare_exchange(kind, "topic", durable=True)
                    await channel.declare_queue(
                        f"webhook-router.{kind}", durable=True, arguments={"x-queue-type": "quorum"}
                    )
            assert await router.is_ready()
        await platform.close()

    assert {request.header("webhook-id") for request in server.requests} == {event["id"] for event in events}


async def test_what_was_declared_before_with_the_same_arguments_is_taken(
    own_platform: Platform, tmp_path: Path
) -> None:
    async with RouterProcess(own_platform, tmp_path) as router:
        await router.restart()


async def test_roles_run_apart(own_platform: Platform, tmp_path: Path, server: ScriptedServer) -> None:
    """A worker without an API, and an API that delivers nothing."""
    account = own_platform.enable_account()
    own_platform.define_webhook(account, to=server.url)
    event = make_event(account)
    worker = RouterProcess(own_platform, tmp_path, arguments=("serve", "--role", "worker"))
    async with RouterProcess(own_platform, tmp_path, arguments=("serve", "--role", "api")) as api:
        worker.launch()
        try:
            await wait_for(lambda: '"ready"' in worker.log)
            await own_platform.publish(event)
            delivery = await api.delivery(event_id=event["id"])
            assert await worker.get("/livez") == (0, None)
        finally:
            assert await worker.ask_to_stop() == 0
    worker.assert_log_is_clean()

    assert delivery["status"] == "delivered"
    assert '"attempt"' not in api.log


# --- probes ----------------------------------------------------------------------------------------


async def test_probes_and_description_need_no_token(platform: Platform, router: RouterProcess) -> None:
    assert await router.get("/livez", token="none") == (200, {"status": "ok"})
    assert await router.get("/readyz", token="none") == (200, {"status": "ready"})
    status, metrics = await router.get("/metrics", token="none")
    assert status == 200
    assert "webhook_router_store_up 1.0" in metrics
    assert 'webhook_router_consumer_alive{source="cdr"} 1.0' in metrics
    status, document = await router.get("/openapi.json", token="none")
    assert (status, document["openapi"][:2]) == (200, "3.")


@pytest.mark.parametrize(
    "arguments", [("--role", "worker"), ("--workers", "2"), ("--role", "worker", "--workers", "2")]
)
async def test_a_port_for_probes_answers_machines_and_nothing_else(
    arguments: tuple[str, ...], own_platform: Platform, tmp_path: Path
) -> None:
    (probes,) = free_ports(1)
    router = RouterProcess(own_platform, tmp_path, arguments=("serve", *arguments), ROUTER_API__PROBES_PORT=str(probes))

    async def statuses(*paths: str) -> list[int]:
        async with aiohttp.ClientSession(f"http://127.0.0.1:{probes}") as session:
            return [(await session.get(path)).status for path in paths]

    async def is_ready() -> bool:
        return '"event":"ready","logger":"router.serve"' in router.log and await statuses("/readyz") == [200]

    router.launch()
    try:
        await wait_for(is_ready)
        assert await statuses("/livez", "/metrics", "/v1/deliveries", "/openapi.json") == [200, 200, 404, 404]
        assert (await router.command("healthcheck", "--ready")).startswith("/readyz 200")
        assert (await router.get("/livez"))[0] == (0 if "worker" in arguments else 200)
    finally:
        assert await router.ask_to_stop() == 0
    router.assert_log_is_clean()


# --- the stop --------------------------------------------------------------------------------------


async def test_stop_under_load_loses_nothing_and_doubles_nothing(own_platform: Platform, tmp_path: Path) -> None:
    account = own_platform.enable_account()
    async with ScriptedServer(route=lambda _: late(0.1)) as server:
        for kind in ("cdr", "user"):
            own_platform.define_webhook(account, to=server.url, event_type=kind)
        events = [make_event(account, kind) for kind in ("cdr", "user") for _ in range(150)]
        async with RouterProcess(own_platform, tmp_path) as router:
            publishing = asyncio.create_task(own_platform.publish(*events))
            await server.received(20)
            await router.stop()
            stopped_at = len(server.requests)
            await publishing
            await router.start()

            async def all_over() -> bool:
                page = await router.api("/v1/deliveries", status="delivered", limit=1, include_total=True)
                return bool(page["total"] == len(events))

            await wait_for(all_over)

    assert stopped_at < len(events), "it was no stop under load"
    assert Counter(request.header("webhook-id") for request in server.requests) == Counter(
        event["id"] for event in events
    )


async def test_stop_lets_an_attempt_in_flight_finish(own_platform: Platform, tmp_path: Path) -> None:
    account = own_platform.enable_account()
    is_asked_to_stop = asyncio.Event()

    async def when_asked_to_stop(exchange: Exchange) -> None:
        await is_asked_to_stop.wait()
        await exchange.send(answer(200))

    async with ScriptedServer(when_asked_to_stop) as server:
        own_platform.define_webhook(account, to=server.url)
        async with RouterProcess(own_platform, tmp_path) as router:
            await own_platform.publish(make_event(account))
            await server.received(1)
            stopping = asyncio.create_task(router.stop())
            await wait_for(lambda: '"stopping"' in router.log)
            is_asked_to_stop.set()
            await stopping
            await router.start()
            delivery = await router.delivery(account_id=account)

    assert (delivery["status"], delivery["attempt_count"], len(server.requests)) == ("delivered", 1, 1)


async def test_stop_brings_no_retry_forward(own_platform: Platform, tmp_path: Path) -> None:
    """A retry that was held in memory keeps its time."""
    account = own_platform.enable_account()
    async with ScriptedServer(answer(503), answer(200)) as server:
        own_platform.define_webhook(account, to=server.url)
        async with RouterProcess(
            own_platform, tmp_path, ROUTER_DELIVERY__CDR__RETRY_DELAYS_SECONDS="[4.9, 4.9]"
        ) as router:
            await own_platform.publish(make_event(account))
            failed = await router.delivery(account_id=account, is_so=lambda each: each["attempt_count"] == 1)
            await router.restart()
            delivery = await router.delivery(account_id=account)

    planned = datetime.fromisoformat(failed["next_attempt_at"])
    assert delivery["attempt_count"] == 2
    assert datetime.fromisoformat(delivery["attempts"][1]["started_at"]) >= planned


@pytest.mark.parametrize("signals", [1, 2])
async def test_stop_while_it_starts_is_a_clean_one(signals: int, own_platform: Platform, tmp_path: Path) -> None:
    router = RouterProcess(own_platform, tmp_path, ROUTER_AMQP__URL=f"amqp://guest:guest@{nobody_listens()}/")
    router.launch()
    await wait_for(lambda: "consumer_unavailable" in router.log)
    for _ in range(signals - 1):
        router.terminate()
    assert await router.ask_to_stop() == 0
    router.assert_log_is_clean()


async def test_a_second_signal_cuts_attempts_short_and_loses_nothing(own_platform: Platform, tmp_path: Path) -> None:
    account = own_platform.enable_account()
    replies = iter(range(1000))

    async def never_at_first(exchange: Exchange) -> None:
        await (exchange.client_gone() if next(replies) == 0 else exchange.send(answer(200)))

    async with ScriptedServer(route=lambda _: never_at_first) as server:
        own_platform.define_webhook(account, to=server.url)
        async with RouterProcess(own_platform, tmp_path, ROUTER_DELIVERY__CDR__TIMEOUT_SECONDS="60") as router:
            await own_platform.publish(make_event(account))
            await server.received(1)
            router.terminate()
            await wait_for(lambda: '"stopping"' in router.log)
            await router.stop()
            await router.start()
            delivery = await router.delivery(account_id=account)

    # Ours was the fault: what was cut short is no attempt of the customer's server.
    assert (delivery["status"], delivery["attempt_count"]) == ("delivered", 1)


# --- what never comes; last, for these have been waiting all the while -------------------------------


@pytest.mark.parametrize("part", ["broker", "store", "broker of workers"])
async def test_what_does_not_come_within_its_patience_ends_the_start(
    part: str, in_vain: dict[str, RouterProcess]
) -> None:
    router = in_vain[part]

    assert await router.ended(within_seconds=3 * PATIENCE_SECONDS) == UNAVAILABLE, router.log
    assert ("MongoDB" if part == "store" else "RabbitMQ") in router.log
    assert "s3cret" not in router.log
    assert "Traceback" not in router.log
