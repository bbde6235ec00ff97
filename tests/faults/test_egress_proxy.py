"""The egress proxy fails: nobody is to blame but us, so nobody's attempts are counted, and it goes on by itself."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from router.application.brake import SILENCE_SECONDS
from tests.faults.conftest import MakeTrial
from tests.support.connect_proxy import ANY_HOST, ConnectProxy, refusing
from tests.support.fault_checker import Trial
from tests.support.http_server import then_close
from tests.support.router_process import RouterProcess, wait_for

WANTS_OTHERS = refusing(407, 'proxy-authenticate: Basic realm="egress"')
PASSWORD = "pr0xy-passw0rd"
FAULTS_METRIC = "webhook_router_egress_proxy_faults_total"
ALL_CLOSE = then_close(b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\nconnection: close\r\n\r\nOK")
"""No connection is kept, so every attempt asks the proxy."""


def through(proxy: ConnectProxy, trial: Trial) -> dict[str, str]:
    """The settings of a router whose only way out is `proxy`."""
    trial.platform.private.add(PASSWORD)
    return {
        "ROUTER_EGRESS__PROXY_URL": f"http://router:{PASSWORD}@127.0.0.1:{proxy.port}",
        "ROUTER_EGRESS__ALLOW": "[]",
        "ROUTER_DELIVERY__SUSPEND_AFTER_SECONDS": str(SILENCE_SECONDS),
    }


def webhook_at(trial: Trial, host: str) -> str:
    return trial.define_webhook(url=trial.platform.hook_url(f"http://{host}:{trial.customer.server.port}"))


def attempt_counts(trial: Trial, **where: Any) -> set[int]:
    return {each["attempt_count"] for each in trial.platform.database.deliveries.find(where)}


async def faults(router: RouterProcess, kind: str) -> float:
    """How many connections the proxy did not give, of one kind."""
    lines = str(await router.api("/metrics")).splitlines()
    wanted = f'{FAULTS_METRIC}{{kind="{kind}"}} '
    return next((float(line.removeprefix(wanted)) for line in lines if line.startswith(wanted)), 0)


@pytest.mark.fault(52, "egress proxy dead: {how}, two customers; then back")
@pytest.mark.parametrize("how", ["nobody listens", "it hangs up", "it wants other credentials"])
async def test_dead_proxy_costs_no_attempt_however_few_the_customers(make_trial: MakeTrial, how: str) -> None:
    trial = await make_trial()
    kind = "credentials" if "credentials" in how else "unreachable"
    says = {"it hangs up": b"HTTP/1.1 ", "it wants other credentials": WANTS_OTHERS}.get(how)
    trial.customer.behave = lambda _: ALL_CLOSE
    async with ConnectProxy(hosts={ANY_HOST: "127.0.0.1"}, says=says) as proxy:
        if how == "nobody listens":
            await proxy.stop()
        webhooks = [webhook_at(trial, f"crm-{number}.example") for number in range(2)]
        router = await trial.start_router(**through(proxy, trial))
        assert '"event":"egress_policy"' in router.log
        await trial.publish(20)
        await asyncio.sleep(2 * SILENCE_SECONDS)
        assert attempt_counts(trial) == {0}
        assert await faults(router, kind) > 0
        assert await router.is_ready()
        assert {(await router.webhook(webhook))["state"] for webhook in webhooks} == {"active"}
        assert trial.customer.requests == []
        proxy.says = None
        if how == "nobody listens":
            await proxy.start()
        trial.heal()
        await trial.settled()
        assert attempt_counts(trial) == {1}
        assert {target.partition(":")[0] for target in proxy.targets} == {"crm-0.example", "crm-1.example"}
        await trial.check()


@pytest.mark.fault(52, "egress proxy answers 502 for every target, eight customers; then as before")
async def test_proxy_that_connects_nobody_is_a_brake_and_no_attempt(make_trial: MakeTrial) -> None:
    trial = await make_trial()
    trial.customer.behave = lambda _: ALL_CLOSE
    async with ConnectProxy(says=refusing(502)) as proxy:
        webhooks = [webhook_at(trial, f"crm-{number}.example") for number in range(8)]
        router = await trial.start_router(
            **through(proxy, trial), ROUTER_DELIVERY__CDR__RETRY_DELAYS_SECONDS=str([1] * 40)
        )
        await asyncio.sleep(SILENCE_SECONDS)
        await trial.publish(1)
        await wait_for(lambda: '"egress_brake_on"' in router.log)
        later = {"event_id": {"$in": [event["id"] for event in await trial.publish(20)]}}
        await asyncio.sleep(2 * SILENCE_SECONDS)
        assert attempt_counts(trial, **later) == {0}
        assert await faults(router, "no_connection") > 0
        assert {(await router.webhook(webhook))["state"] for webhook in webhooks} == {"active"}
        proxy.says, proxy.hosts = None, {ANY_HOST: "127.0.0.1"}
        trial.heal()
        await trial.settled()
        assert attempt_counts(trial, **later) <= {1, 2}
        await trial.check()


@pytest.mark.quick
@pytest.mark.fault(52, "egress proxy answers 502 for one customer and serves another")
async def test_customer_whom_the_proxy_cannot_reach_is_no_fault_of_ours(make_trial: MakeTrial) -> None:
    trial = await make_trial()
    async with ConnectProxy(hosts={"good.example": "127.0.0.1"}) as proxy:
        good, bad = webhook_at(trial, "good.example"), webhook_at(trial, "bad.example")
        settings = through(proxy, trial) | {"ROUTER_DELIVERY__SUSPEND_AFTER_SECONDS": "60"}
        await trial.start_router(**settings)
        await trial.publish(5)
        await trial.settled()
        assert attempt_counts(trial, webhook_id=good) == {1}
        assert attempt_counts(trial, webhook_id=bad) == {3}
        trial.heal()
        await trial.check(statuses={"failed": 5})
