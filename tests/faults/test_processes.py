"""A router of several worker processes, and a router that takes up another configuration, both under load: a worker is
killed, stands still or is replaced, and nobody outside notices.
"""

from __future__ import annotations

import asyncio
import os
import signal
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import aio_pika
import pytest

from tests.faults.conftest import MakeTrial
from tests.support.fault_checker import Trial
from tests.support.http_server import late
from tests.support.router_process import RouterProcess, wait_for

TWO = "serve --workers 2"
PER_SECOND = 80
HTTP_ALLOWED = "[egress]\nrequire_https = false\n"
"""Every trial's customer speaks http; the settings of these routers leave it to the file."""
FROM_FILE = {"ROUTER_EGRESS__REQUIRE_HTTPS": ""}
WRONG = {
    "no TOML": "[egress\n",
    "an unknown key": "[egress]\nrequire_http = false\n",
    "a wrong value": '[delivery.cdr]\ntimeout_seconds = "soon"\n',
    "a file cut off": HTTP_ALLOWED + '[amqp]\nurl = "amqp://gue',
    "a key file that is not there": HTTP_ALLOWED + '[secrets]\nkey_file = "no-such-file"\n',
}


async def start(trial: Trial, command: str, **settings: str) -> RouterProcess:
    router = trial.add_router(command=command, **FROM_FILE, **settings)
    router.configure(HTTP_ALLOWED)
    await router.start()
    return router


@asynccontextmanager
async def never_without_a_consumer(trial: Trial) -> AsyncIterator[None]:
    """Fails where the queue of the load was without a consumer at any look, of which there are 20 a second."""
    seen: list[int] = []

    async def look() -> None:
        async with await aio_pika.connect(trial.platform.amqp_url) as connection:
            channel = await connection.channel()
            while True:
                queue = await channel.declare_queue(trial.platform.queue("cdr"), passive=True)
                seen.append(queue.declaration_result.consumer_count or 0)
                await asyncio.sleep(0.05)

    task = asyncio.create_task(look())
    try:
        yield
    finally:
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)
    assert len(seen) > 10
    assert min(seen) >= 1


# --- 30: one of several processes ------------------------------------------------------------------


@pytest.mark.fault(30, "a router of two worker processes, one of them killed (SIGKILL) under load")
async def test_worker_process_that_is_killed_is_replaced_and_takes_nobody_with_it(make_trial: MakeTrial) -> None:
    trial = await make_trial()
    trial.customer.behave = lambda _: late(0.2)
    trial.define_webhook()
    router = await trial.start_router(command=TWO)
    before = router.worker_pids
    async with trial.stream(per_second=PER_SECOND):
        await trial.accepted_count(50)
        os.kill(before[1], signal.SIGKILL)
        unrecorded = await trial.unrecorded()
        trial.heal()
        await wait_for(lambda: router.worker_pids[1] != before[1])
        await trial.until_ready(router)
    assert router.worker_pids[2] == before[2]
    (ended,) = router.lines("worker_ended")
    assert (ended["worker"], ended["exit_code"]) == (1, -signal.SIGKILL)
    _, metrics = await router.get("/metrics")
    assert 'webhook_router_worker_restarts_total{worker="1"} 1.0' in metrics
    await trial.check(duplicates_allowed=unrecorded)


@pytest.mark.fault(30, "a router of two worker processes, one of them frozen (SIGSTOP) for good")
async def test_worker_process_that_stands_still_is_replaced(make_trial: MakeTrial) -> None:
    trial = await make_trial()
    trial.define_webhook()
    router = await trial.start_router(command=TWO)
    before = router.worker_pids
    async with trial.stream(per_second=20):
        await trial.accepted_count(20)
        os.kill(before[2], signal.SIGSTOP)
        unrecorded = await trial.unrecorded()
        await wait_for(lambda: router.worker_pids[2] != before[2], within_seconds=90)
        trial.heal()
    assert router.lines("worker_silent")
    await trial.check(duplicates_allowed=unrecorded)


@pytest.mark.fault(30, "a router of two worker processes whose parent is killed (SIGKILL); started again")
async def test_worker_processes_do_not_outlive_their_parent(make_trial: MakeTrial) -> None:
    trial = await make_trial()
    trial.customer.behave = lambda _: late(0.2)
    trial.define_webhook()
    router = await trial.start_router(command=TWO)
    pids = router.worker_pids.values()
    async with trial.stream(per_second=PER_SECOND):
        await trial.accepted_count(50)
        await router.kill()
        await wait_for(lambda: not any(Path(f"/proc/{pid}").exists() for pid in pids))
        trial.heal()
        await router.start()
    await trial.check()


# --- 49: reloads -----------------------------------------------------------------------------------


@pytest.mark.parametrize("command", [pytest.param("serve", marks=pytest.mark.quick), TWO])
@pytest.mark.fault(49, "`{command}`: SIGHUP under load, with a good configuration")
async def test_reload_under_load_loses_and_doubles_nothing(make_trial: MakeTrial, command: str) -> None:
    trial = await make_trial()
    trial.customer.behave = lambda _: late(0.2)
    trial.define_webhook()
    router = await start(trial, command)
    before = router.worker_pids
    async with trial.stream(per_second=PER_SECOND), never_without_a_consumer(trial):
        await trial.accepted_count(50)
        router.configure(HTTP_ALLOWED + "[delivery.cdr]\ntimeout_seconds = 9\n")
        trial.heal()
        await router.reload()
        assert await router.is_ready()
        await trial.accepted_count(len(trial.customer.accepted) + 50)
    assert router.lines("reloaded")[-1]["changed"] == ["delivery.cdr.timeout_seconds"]
    assert not set(router.worker_pids.values()) & set(before.values())
    assert not router.lines("worker_ended")
    await trial.check()


@pytest.mark.parametrize("command", [pytest.param("serve", marks=pytest.mark.quick), TWO])
@pytest.mark.fault(49, "`{command}`: SIGHUP under load, with five wrong configurations")
async def test_wrong_configuration_is_refused_and_the_old_one_goes_on(make_trial: MakeTrial, command: str) -> None:
    trial = await make_trial()
    trial.customer.behave = lambda _: late(0.2)
    trial.define_webhook()
    router = await start(trial, command)
    before = router.worker_pids
    async with trial.stream(per_second=PER_SECOND), never_without_a_consumer(trial):
        await trial.accepted_count(50)
        for what, toml in WRONG.items():
            router.configure(toml)
            await router.reload(outcome="reload_refused")
            refusal = router.lines("reload_refused")[-1]
            assert refusal["error"], what
            assert refusal["problems"] or what.startswith("a key file"), what
        _, metrics = await router.get("/metrics")
        assert "webhook_router_config_last_reload_success 0.0" in metrics
        assert router.worker_pids == before
        router.configure(HTTP_ALLOWED)
        await router.reload()
        _, metrics = await router.get("/metrics")
        assert "webhook_router_config_last_reload_success 1.0" in metrics
        trial.heal()
    await trial.check()
