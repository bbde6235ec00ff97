"""What a webhook that fails costs its own deliveries, and that it costs nobody else anything."""

from __future__ import annotations

import re
from collections import Counter
from pathlib import Path

import pytest

from tests.support.events import make_event
from tests.support.http_server import Exchange, Request, ScriptedServer, Step, answer
from tests.support.router_process import Platform, RouterProcess, wait_for

MANY_WAITS = "[" + ", ".join(["0.2"] * 40) + "]"
CIRCUIT_SETTINGS = {
    "ROUTER_DELIVERY__CIRCUIT_AFTER_SECONDS": "1",
    "ROUTER_DELIVERY__CDR__RETRY_DELAYS_SECONDS": MANY_WAITS,
}


async def metric(router: RouterProcess, name: str) -> float:
    """The value of one line of /metrics, with its labels."""
    text = (await router.get("/metrics"))[1]
    found = re.search(rf"(?m)^webhook_router_{re.escape(name)} (\S+)$", text)
    return float(found[1]) if found else 0.0


async def test_an_open_circuit_burns_no_attempts_and_lets_everything_through_when_it_closes(
    own_platform: Platform, tmp_path: Path
) -> None:
    account = own_platform.enable_account()
    is_well = False

    def choose(_request: Request) -> Step:
        return answer(200) if is_well else answer(500)

    async with (
        ScriptedServer(route=choose) as server,
        RouterProcess(own_platform, tmp_path, **CIRCUIT_SETTINGS) as router,
    ):
        webhook = own_platform.define_webhook(account, to=server.url)
        await router.takes_up_definitions()
        first = make_event(account)
        await own_platform.publish(first)

        async def is_open() -> bool:
            return await metric(router, 'circuits{state="open"}') == 1

        await wait_for(is_open)
        later = [make_event(account) for _ in range(30)]
        await own_platform.publish(*later)
        for event in later:
            await router.event(account, event["id"])
        unsent = Counter(request.header("webhook-id") for request in server.requests)
        assert sum(event["id"] in unsent for event in later) <= 1, "one of them may have been a probe"

        is_well = True

        async def all_are_delivered() -> bool:
            page = await router.api(
                "/v1/deliveries", webhook_id=webhook, status="delivered", limit=200, include_total=True
            )
            return bool(page["total"] == 31)

        await wait_for(all_are_delivered)
        deliveries = await router.deliveries(webhook_id=webhook, limit=200)
        counts = sorted(each["attempt_count"] for each in deliveries if each["event_id"] != first["id"])
        assert counts[-2:] in ([1, 1], [1, 2]), "the others came through at their first attempt"
        assert await metric(router, 'circuits{state="open"}') == 0


@pytest.mark.slow
async def test_webhooks_that_hang_leave_room_for_those_that_answer(own_platform: Platform, tmp_path: Path) -> None:
    """With 8 places in all, 20 webhooks that never answer have 4 of them once they are known."""
    accounts = [own_platform.enable_account() for _ in range(20)]
    good_account = own_platform.enable_account()

    async def hang(exchange: Exchange) -> None:
        await exchange.client_gone()

    async with (
        ScriptedServer(hang) as dead,
        ScriptedServer() as alive,
        RouterProcess(
            own_platform,
            tmp_path,
            ROUTER_DELIVERY__MAX_IN_FLIGHT="8",
            ROUTER_DELIVERY__CDR__TIMEOUT_SECONDS="2",
            ROUTER_DELIVERY__CDR__RETRY_DELAYS_SECONDS=MANY_WAITS,
        ) as router,
    ):
        for account in accounts:
            own_platform.define_webhook(account, to=dead.url)
        own_platform.define_webhook(good_account, to=alive.url)
        await router.takes_up_definitions()
        for _ in range(3):
            await own_platform.publish(*(make_event(account) for account in accounts))
        await wait_for(lambda: len({request.target for request in dead.requests}) == len(accounts))

        good = [make_event(good_account) for _ in range(50)]
        for event in good:
            await own_platform.publish(event)
        await wait_for(lambda: len(alive.requests) >= len(good))
        busy = await metric(router, "in_flight")

        assert Counter(request.header("webhook-id") for request in alive.requests) == Counter(
            event["id"] for event in good
        )
        assert busy <= 5, "4 in doubt, and perhaps a good one"
