"""`serve --workers N` and SIGHUP from outside: one port, one `/metrics` and one readiness for all processes."""

from __future__ import annotations

import asyncio
import json
import os
import re
import signal
from collections import Counter
from pathlib import Path
from typing import Any

import aio_pika
import aiohttp
import psutil
import pytest

from router.adapters.embedded.processes import free_ports
from tests.support.events import make_event
from tests.support.http_server import ScriptedServer
from tests.support.router_process import ADMIN_TOKEN, STOP_SECONDS, Platform, RouterProcess, wait_for

CONFIGURATION = 78
TWO = ("serve", "--workers", "2")


async def metric(router: RouterProcess, name: str) -> float:
    """One sample of `/metrics`, 0 where it is not there."""
    _, text = await router.get("/metrics")
    found = re.search(rf"(?m)^{re.escape(name)} (.*)$", text)
    return float(found[1]) if found else 0


async def failed_checks(router: RouterProcess) -> set[str]:
    _, body = await router.get("/readyz", verbose=1)
    return {check["name"] for check in body["checks"] if not check["ok"]}


async def delivered(router: RouterProcess, count: int) -> None:
    """Wait until the metrics of all processes say that so many deliveries are delivered, and see that no more are."""
    name = 'webhook_router_deliveries_total{status="delivered"}'

    async def are_delivered() -> bool:
        return await metric(router, name) >= count

    await wait_for(are_delivered)
    assert await metric(router, name) == count


# --- many processes, one router --------------------------------------------------------------------


async def test_metrics_readiness_and_log_speak_for_every_process(
    own_platform: Platform, tmp_path: Path, server: ScriptedServer
) -> None:
    account = own_platform.enable_account()
    own_platform.define_webhook(account, to=server.url)
    async with RouterProcess(own_platform, tmp_path, arguments=TWO) as router:
        await router.takes_up_definitions()
        await own_platform.publish(*(make_event(account) for _ in range(40)))
        await delivered(router, 40)
        workers_of_attempts = Counter(line["worker"] for line in router.lines("attempt"))
        assert sum(workers_of_attempts.values()) == 40
        assert set(workers_of_attempts) == {1, 2}, "one of the two had nothing to do"
        _, body = await router.get("/readyz", verbose=1)
        assert {"worker:1", "worker:2", "store", "moving"} <= {check["name"] for check in body["checks"]}

        # What the dead had counted stays in the sum; what it says once a second has been said by then.
        await asyncio.sleep(1.5)
        first = router.worker_pids[1]
        os.kill(first, signal.SIGKILL)
        await wait_for(lambda: router.worker_pids[1] != first)
        assert "worker:1" in await failed_checks(router)
        await wait_for(router.is_ready)
        await own_platform.publish(*(make_event(account) for _ in range(10)))
        await delivered(router, 50)

        assert await metric(router, 'webhook_router_worker_restarts_total{worker="1"}') == 1
        assert await metric(router, 'webhook_router_worker_up{worker="1"}') == 1
        _, text = await router.get("/metrics")
        samples = [line.rpartition(" ")[0] for line in text.splitlines() if not line.startswith("#")]
        assert len(samples) == len(set(samples)), "a series is there twice"


async def test_metrics_survive_a_reload_of_every_worker(
    own_platform: Platform, tmp_path: Path, server: ScriptedServer
) -> None:
    account = own_platform.enable_account()
    own_platform.define_webhook(account, to=server.url)
    async with RouterProcess(own_platform, tmp_path, arguments=TWO) as router:
        await router.takes_up_definitions()
        await own_platform.publish(*(make_event(account) for _ in range(20)))
        await delivered(router, 20)
        await router.reload()
        await own_platform.publish(*(make_event(account) for _ in range(20)))
        await delivered(router, 40)
        assert await metric(router, "webhook_router_in_flight") == 0


async def test_a_worker_that_always_crashes_is_seen_and_takes_the_other_with_it_never(
    own_platform: Platform, tmp_path: Path
) -> None:
    """It is started later and later; the other worker is the one from before."""
    async with RouterProcess(own_platform, tmp_path, arguments=TWO) as router:
        other = router.worker_pids[2]
        for count in (1, 2, 3):
            pid = router.worker_pids[1]
            os.kill(pid, signal.SIGKILL)
            await wait_for(lambda count=count: len(router.lines("worker_ended")) == count)  # type: ignore[misc]
            await wait_for(lambda pid=pid: router.worker_pids[1] != pid)  # type: ignore[misc]
        ends = [(line["failures"], line["again_in_seconds"]) for line in router.lines("worker_ended")]
        assert ends[0] == (1, 0)
        assert [count for count, _ in ends] == [1, 2, 3]
        await wait_for(router.is_ready)
        assert router.worker_pids[2] == other


async def test_when_no_worker_can_start_their_exit_code_is_the_routers(own_platform: Platform, tmp_path: Path) -> None:
    async with await aio_pika.connect(own_platform.amqp_url) as connection:
        channel = await connection.channel()
        await channel.declare_queue(
            own_platform.queue("cdr"), durable=True, arguments={"x-queue-type": "quorum", "x-max-length": 1000}
        )
    router = RouterProcess(own_platform, tmp_path, arguments=TWO)
    router.launch()
    try:
        assert await router.ended(within_seconds=STOP_SECONDS) == CONFIGURATION, router.log
    finally:
        await router.kill()
    assert any("x-max-length" in line["error"] and "worker" in line for line in router.lines("configuration_refused"))


async def test_hang_up_of_a_worker_process_is_nobodys_business(own_platform: Platform, tmp_path: Path) -> None:
    """`pkill -HUP` finds the worker processes too, and a service manager may send SIGTERM to all of them."""
    async with RouterProcess(own_platform, tmp_path, arguments=TWO) as router:
        before = router.worker_pids
        for pid in before.values():
            os.kill(pid, signal.SIGHUP)
        await asyncio.sleep(1)
        assert await router.is_ready()
        assert router.worker_pids == before
        for pid in before.values():
            os.kill(pid, signal.SIGTERM)
            os.kill(pid, signal.SIGTERM)
        await router.stop()
        assert not router.lines("shutdown_step_cut_short")


# --- the stop --------------------------------------------------------------------------------------


def processes_of(router: RouterProcess) -> list[psutil.Process]:
    return [psutil.Process(router.pid), *psutil.Process(router.pid).children(recursive=True)]


@pytest.mark.parametrize("moment", ["starting", "replacing", "waiting_to_start_again"])
async def test_stop_at_any_moment_is_clean_and_leaves_no_process(
    moment: str, own_platform: Platform, tmp_path: Path
) -> None:
    router = RouterProcess(own_platform, tmp_path, arguments=TWO)
    if moment == "starting":
        router.launch()
        await wait_for(lambda: len(router.worker_pids) == 2)
    else:
        await router.start()
    if moment == "replacing":
        before = router.worker_pids[1]
        router.hang_up()
        await wait_for(lambda: router.worker_pids[1] != before)
    elif moment == "waiting_to_start_again":
        for count in range(1, 4):
            os.kill(router.worker_pids[1], signal.SIGKILL)
            await wait_for(lambda count=count: len(router.lines("worker_ended")) == count)  # type: ignore[misc]
            if count < 3:
                await wait_for(lambda count=count: len(router.lines("worker_started")) == 2 + count)  # type: ignore[misc]
    processes = processes_of(router)
    await router.stop()

    assert [process for process in processes if process.is_running() and process.status() != "zombie"] == []
    assert not router.lines("shutdown_step_cut_short")


# --- reload ----------------------------------------------------------------------------------------


@pytest.mark.parametrize("arguments", [("serve",), TWO], ids=["one process", "two workers"])
async def test_no_caller_of_the_api_is_turned_away_by_a_reload(
    arguments: tuple[str, ...], own_platform: Platform, tmp_path: Path
) -> None:
    """Each request on a connection of its own: the port is listened on at every moment."""
    answers: Counter[int] = Counter()

    async def ask(router: RouterProcess) -> None:
        while True:
            async with aiohttp.ClientSession() as session, session.get(router.api_url + "/readyz") as answer:
                answers[answer.status] += 1

    async with RouterProcess(own_platform, tmp_path, arguments=arguments) as router:
        callers = [asyncio.create_task(ask(router)) for _ in range(4)]
        await router.reload()
        await wait_for(lambda: answers.total() > 100)
        for caller in callers:
            caller.cancel()
        outcomes: list[Any] = await asyncio.gather(*callers, return_exceptions=True)

    assert [type(outcome) for outcome in outcomes] == [asyncio.CancelledError] * 4
    assert set(answers) == {200}


async def test_port_token_and_log_level_follow_the_file(own_platform: Platform, tmp_path: Path) -> None:
    from_file = {"ROUTER_API__PORT": "", "ROUTER_API__ADMIN_TOKEN": "", "ROUTER_LOG__LEVEL": ""}
    router = RouterProcess(own_platform, tmp_path, **from_file)
    old, new = (int(router.api_url.rpartition(":")[2]), *free_ports(1))
    router.configure(f'[api]\nport = {old}\nadmin_token = "{ADMIN_TOKEN}"\n[log]\nlevel = "warning"\n')
    router.launch()
    await wait_for(router.is_ready)
    try:
        assert not router.lines("ready")
        router.configure(f'[api]\nport = {new}\nadmin_token = "an0ther-t0ken-of-the-tests"\n[log]\nlevel = "info"\n')
        await router.reload()
        assert router.lines("reloaded")[-1]["changed"] == ["api.admin_token", "api.port", "log.level"]
        router.api_url = f"http://127.0.0.1:{new}"
        assert (await router.get("/v1/webhooks"))[0] == 401
        assert (await router.get("/v1/webhooks", token="an0ther-t0ken-of-the-tests"))[0] == 200
        with pytest.raises(aiohttp.ClientConnectionError):
            async with aiohttp.ClientSession() as session, session.get(f"http://127.0.0.1:{old}/livez"):
                pass
    finally:
        await router.stop()


@pytest.mark.parametrize("arguments", [("serve",), TWO], ids=["one process", "two workers"])
async def test_ports_of_api_and_probes_change_places(
    arguments: tuple[str, ...], own_platform: Platform, tmp_path: Path
) -> None:
    """Neither is free at any moment: each takes over what the other listens on."""
    router = RouterProcess(own_platform, tmp_path, arguments=arguments, ROUTER_API__PORT="")
    one, (other,) = int(router.api_url.rpartition(":")[2]), free_ports(1)

    async def has_api(port: int) -> bool | None:
        """None where nobody listens."""
        try:
            async with (
                aiohttp.ClientSession() as session,
                session.get(f"http://127.0.0.1:{port}/v1/webhooks") as answer,
            ):
                return answer.status == 401
        except aiohttp.ClientConnectionError:
            return None

    router.configure(f"[api]\nport = {one}\nprobes_port = {other}\n")
    async with router:
        assert (await has_api(one), await has_api(other)) == (True, False)
        router.configure(f"[api]\nport = {other}\nprobes_port = {one}\n")
        await router.reload()
        assert (await has_api(one), await has_api(other)) == (False, True)
        assert await router.is_ready()
        router.configure(f"[api]\nport = {one}\n")
        await router.reload()
        assert (await has_api(one), await has_api(other)) == (True, None)


async def test_a_crash_after_a_refused_reload_goes_on_with_what_was_accepted(
    own_platform: Platform, tmp_path: Path
) -> None:
    async with RouterProcess(own_platform, tmp_path, arguments=TWO) as router:
        router.configure("[nonsense\n")
        await router.reload(outcome="reload_refused")
        (refusal,) = router.lines("reload_refused")
        assert "router.toml" in json.dumps(refusal)
        before = router.worker_pids[1]
        os.kill(before, signal.SIGKILL)
        await wait_for(lambda: router.worker_pids[1] != before)
        await wait_for(router.is_ready)
        assert len(router.lines("worker_ended")) == 1


async def test_workers_share_an_embedded_store_that_outlives_a_reload(
    own_platform: Platform, tmp_path: Path, server: ScriptedServer
) -> None:
    """The parent owns it, and no reload moves it."""
    embedded = {"ROUTER_MONGO__URL": "", "ROUTER_DATA_DIR": str(tmp_path / "data")}
    router = RouterProcess(own_platform, tmp_path, arguments=TWO, **embedded)
    router.configure('[mongo]\nurl = "embedded"\n')
    async with router:
        await router.command("accounts", "enable", "acc-1")
        url = own_platform.hook_url(server.url)
        await router.command(
            "webhooks", "add", "--account", "acc-1", "--name", "CRM", "--event-type", "cdr", "--url", url
        )
        (store,) = [each for each in processes_of(router) if "secantus" in each.cmdline()]
        await wait_for(lambda: len(router.lines("definitions_loaded")) == 2)
        await asyncio.sleep(2)  # until the change is known, also where the server is asked for it
        await own_platform.publish(*(make_event("acc-1") for _ in range(5)))
        await delivered(router, 5)
        await router.reload()
        await own_platform.publish(*(make_event("acc-1") for _ in range(5)))
        await delivered(router, 10)
        assert store.is_running()

        router.configure('[mongo]\nurl = "mongodb://127.0.0.1:1"\n')
        await router.reload(outcome="reload_refused")
        assert "by a restart only" in router.lines("reload_refused")[-1]["error"]
