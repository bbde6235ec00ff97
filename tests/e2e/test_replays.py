"""What is sent again because somebody asked: one delivery, many, events that matched nothing, and tests."""

from __future__ import annotations

import asyncio
from collections import Counter
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest

from tests.support.events import make_event
from tests.support.http_server import ScriptedServer, Step, answer, never_answer
from tests.support.router_process import Platform, RouterProcess, wait_for


@pytest.fixture(scope="module")
def router_settings() -> dict[str, str]:
    return {"ROUTER_DELIVERY__CDR__TIMEOUT_SECONDS": "1", "ROUTER_DELIVERY__SUSPEND_AFTER_SECONDS": "1"}


class Customer(ScriptedServer):
    """A server that answers by `step`, whatever that is at the moment."""

    def __init__(self, step: Step) -> None:
        self.step = step
        super().__init__(route=lambda _: self.step)


async def sent(platform: Platform, router: RouterProcess, account: str, url: str, **hook: Any) -> tuple[str, str]:
    """The id of a webhook at `url`, and of an event that was published for it."""
    webhook_id = platform.define_webhook(account, to=url, **hook)
    await router.takes_up_definitions()
    event = make_event(account, hook.get("event_type", "cdr"))
    await platform.publish(event)
    return webhook_id, str(event["id"])


async def replayed(router: RouterProcess, delivery: dict[str, Any], status: str = "delivered") -> dict[str, Any]:
    """A delivery after it was replayed and has come to its end."""
    code, shown = await router.ask(f"/v1/deliveries/{delivery['id']}/replay")
    assert (code, shown["id"]) == (202, delivery["id"]), shown
    found: dict[str, Any] = await router.delivery(
        event_id=delivery["event_id"], is_so=lambda each: each["status"] == status
    )
    return found


async def finished(router: RouterProcess, replay_id: str) -> dict[str, Any]:
    async def is_over() -> Any:
        _, shown = await router.get(f"/v1/replays/{replay_id}")
        return shown if shown and shown["state"] != "running" else None

    found: dict[str, Any] = await wait_for(is_over)
    return found


async def many(
    platform: Platform, router: RouterProcess, account: str, url: str, count: int
) -> tuple[str, list[dict[str, Any]]]:
    """A webhook that its server has given up by a 410, and events whose deliveries to it have all failed since."""
    webhook_id = platform.define_webhook(account, to=url)
    await router.takes_up_definitions()
    events = [make_event(account) for _ in range(count)]
    await platform.publish(events[0])
    await wait_for(lambda: platform.database.webhook_health.find_one({"_id": webhook_id, "suspended_reason": "gone"}))
    await router.takes_up_definitions()
    await platform.publish(*events[1:])
    failed = {"webhook_id": webhook_id, "status": "failed"}
    await wait_for(lambda: platform.database.deliveries.count_documents(failed) == count)
    return webhook_id, events


# --- one -------------------------------------------------------------------------------------------


async def test_a_delivered_one_is_sent_again_with_the_same_bytes_and_id_and_marked(
    platform: Platform, router: RouterProcess, account: str, server: ScriptedServer
) -> None:
    _, event_id = await sent(platform, router, account, server.url)
    delivery = await router.delivery(event_id=event_id)

    after = await replayed(router, delivery)

    first, second = await server.received(2)
    assert first.body == second.body
    for header in ("webhook-id", "x-webhook-delivery", "x-webhook-event"):
        assert first.header(header) == second.header(header)
    assert [each.header("x-webhook-attempt") for each in (first, second)] == ["1", "2"]
    assert [each.header("x-webhook-replay") for each in (first, second)] == [None, "true"]
    assert [each["trigger"] for each in after["attempts"]] == ["schedule", "replay"]


async def test_a_replay_has_its_whole_schedule_again(platform: Platform, router: RouterProcess, account: str) -> None:
    async with Customer(answer(500)) as server:
        _, event_id = await sent(platform, router, account, server.url)
        delivery = await router.delivery(event_id=event_id)
        assert delivery["attempt_count"] == 3

        after = await replayed(router, delivery, "failed")

    assert (after["attempt_count"], after["reason"]) == (6, "exhausted")
    assert {request.header("x-webhook-replay") for request in server.requests[3:]} == {"true"}


async def test_a_call_that_is_long_over_is_replayed_all_the_same(
    platform: Platform, router: RouterProcess, account: str, server: ScriptedServer
) -> None:
    _, event_id = await sent(platform, router, account, server.url, event_type="call")
    delivery = await router.delivery(event_id=event_id)
    long_ago = datetime(2020, 1, 1, tzinfo=UTC)
    platform.database.deliveries.update_one({"event_id": event_id}, {"$set": {"not_after": long_ago}})

    assert (await replayed(router, delivery))["status"] == "delivered"


@pytest.mark.parametrize("state", ["paused", "suspended", "account off"])
async def test_it_is_sent_also_where_nothing_else_is(
    platform: Platform, router: RouterProcess, account: str, state: str
) -> None:
    async with Customer(answer(410) if state == "suspended" else answer(500)) as server:
        webhook_id, event_id = await sent(platform, router, account, server.url)
        delivery = await router.delivery(event_id=event_id)
        before = len(server.requests)
        match state:
            case "paused":
                platform.edit_webhook(webhook_id, enabled=False)
            case "account off":
                platform.enable_account(account, enabled=False)
            case _:
                assert delivery["reason"] == "gone"
        server.step = answer(200)

        after = await replayed(router, delivery)

    assert len(server.requests) == before + 1
    assert after["attempts"][-1]["trigger"] == "replay"
    if state == "suspended":
        _, webhook = await router.get(f"/v1/webhooks/{webhook_id}")
        assert webhook["state"] == "suspended"


@pytest.mark.parametrize("why", ["webhook", "payload"])
async def test_what_cannot_be_sent_is_a_conflict_that_says_why(
    platform: Platform, router: RouterProcess, account: str, server: ScriptedServer, why: str
) -> None:
    webhook_id, event_id = await sent(platform, router, account, server.url)
    delivery = await router.delivery(event_id=event_id)
    if why == "webhook":
        platform.delete_webhook(webhook_id)
    else:
        platform.database.events.update_one({"event_id": event_id}, {"$unset": {"payload": ""}})

    code, problem = await router.ask(f"/v1/deliveries/{delivery['id']}/replay")

    assert (code, why in problem["detail"]) == (409, True)
    assert len(server.requests) == 1


async def test_one_that_a_worker_holds_is_a_conflict(platform: Platform, router: RouterProcess, account: str) -> None:
    async with Customer(never_answer) as server:
        _, event_id = await sent(platform, router, account, server.url)
        await server.received(1)
        delivery = await router.delivery(event_id=event_id, is_so=lambda _: True)

        code, problem = await router.ask(f"/v1/deliveries/{delivery['id']}/replay")

    assert code == 409
    assert "holds it" in problem["detail"]


async def test_failed_replays_suspend_nobody(platform: Platform, router: RouterProcess, account: str) -> None:
    async with Customer(answer(200)) as server:
        webhook_id, event_id = await sent(platform, router, account, server.url)
        delivery = await router.delivery(event_id=event_id)
        server.step = answer(500)
        await replayed(router, delivery, "failed")
        await asyncio.sleep(1.2)  # longer than it takes to be suspended here
        server.step = answer(410)

        after = await replayed(router, delivery, "failed")

    assert after["reason"] == "gone"
    _, webhook = await router.get(f"/v1/webhooks/{webhook_id}")
    assert webhook["state"] == "active"
    health = platform.database.webhook_health.find_one({"_id": webhook_id}) or {}
    assert health.get("failing_since") is None


# --- a test ----------------------------------------------------------------------------------------


@pytest.mark.parametrize(("status", "ends"), [(200, "delivered"), (500, "failed")])
async def test_a_test_is_one_attempt_with_a_made_up_event(
    platform: Platform, router: RouterProcess, account: str, status: int, ends: str
) -> None:
    async with Customer(answer(status, b"hello")) as server:
        webhook_id = platform.define_webhook(account, to=server.url, event_type="call", enabled=False)
        await router.takes_up_definitions()

        code, shown = await router.ask(f"/v1/webhooks/{webhook_id}/test")
        assert (code, shown["webhook_id"]) == (202, webhook_id)
        delivery = await router.delivery(event_id=shown["event_id"])
        (request,) = await server.received(1)

    assert shown["event_id"].startswith("evt_test_")
    assert (delivery["status"], delivery["attempt_count"]) == (ends, 1)
    assert (delivery["attempts"][0]["trigger"], delivery["attempts"][0]["response_body"]) == ("test", "hello")
    assert request.header("x-webhook-replay") is None
    assert b'"test": true' in request.body


# --- many ------------------------------------------------------------------------------------------


async def test_everything_that_failed_is_sent_again_and_counted(
    platform: Platform, router: RouterProcess, account: str
) -> None:
    async with Customer(answer(410)) as server:
        webhook_id, events = await many(platform, router, account, server.url, 120)
        before = len(server.requests)
        server.step = answer(200)
        platform.edit_webhook(webhook_id, enabled=False)

        wanted = {"filter": {"webhook_id": webhook_id}, "per_second": 100, "reason": "CRM was down"}
        code, preview = await router.ask("/v1/replays", {**wanted, "dry_run": True})
        assert (code, preview["matched"]) == (200, 120)
        code, created = await router.ask("/v1/replays", wanted)
        assert (code, created["state"], created["matched"]) == (202, "running", 120)
        over = await finished(router, created["id"])

    again = server.requests[before:]
    assert (over["state"], over["done"], over["matched"], over["released"]) == ("done", 120, 120, 120)
    assert Counter(request.header("webhook-id") for request in again) == Counter(str(each["id"]) for each in events)
    assert {request.header("x-webhook-replay") for request in again} == {"true"}
    assert platform.database.deliveries.count_documents({"webhook_id": webhook_id, "status": "delivered"}) == 120
    assert platform.database.deliveries.count_documents({"replaying": {"$exists": True}}) == 0


async def test_a_cancelled_replay_stops_within_what_was_released(
    platform: Platform, router: RouterProcess, account: str
) -> None:
    async with Customer(answer(410)) as server:
        webhook_id, _ = await many(platform, router, account, server.url, 60)
        before = len(server.requests)
        server.step = answer(200)
        _, created = await router.ask("/v1/replays", {"filter": {"webhook_id": webhook_id}, "per_second": 4})
        await server.received(before + 3)

        code, cancelled = await router.ask(f"/v1/replays/{created['id']}/cancel")

        assert (code, cancelled["state"]) == (200, "cancelled")
        await wait_for(lambda: not platform.database.deliveries.count_documents({"replaying": created["id"]}))
        _, over = await router.get(f"/v1/replays/{created['id']}")
        sent_again = len(server.requests) - before
        await asyncio.sleep(1.5)

    assert len(server.requests) - before == sent_again
    assert 3 <= over["done"] == over["released"] == sent_again < 60


async def test_a_replay_goes_on_after_a_crash_and_doubles_nothing_but_what_was_in_flight(
    own_platform: Platform, tmp_path: Path
) -> None:
    async with RouterProcess(own_platform, tmp_path) as router, Customer(answer(410)) as server:
        account = own_platform.enable_account()
        # So many at once that they are a backlog, which a replay waits behind: and nothing follows that would end it.
        webhook_id, events = await many(own_platform, router, account, server.url, 80)
        before = len(server.requests)
        server.step = answer(200)
        _, created = await router.ask("/v1/replays", {"filter": {"webhook_id": webhook_id}, "per_second": 40})
        await server.received(before + 10)
        await router.kill()
        in_doubt = own_platform.database.deliveries.count_documents({"replaying": created["id"]})

        await router.start()
        over = await finished(router, created["id"])

    again = Counter(request.header("webhook-id") for request in server.requests[before:])
    assert (over["state"], over["done"]) == ("done", 80)
    assert set(again) == {str(each["id"]) for each in events}
    assert again.total() <= 80 + in_doubt


async def test_a_replay_to_a_dead_endpoint_delays_no_first_attempt_of_others(
    platform: Platform, router: RouterProcess, account: str, server: ScriptedServer
) -> None:
    async with Customer(answer(410)) as dead:
        webhook_id, _ = await many(platform, router, account, dead.url, 60)
        dead.step = never_answer
        other = platform.enable_account()
        platform.define_webhook(other, to=server.url)
        await router.takes_up_definitions()
        _, created = await router.ask("/v1/replays", {"filter": {"webhook_id": webhook_id}, "per_second": 100})
        waiting = {"replaying": created["id"]}
        await wait_for(lambda: platform.database.deliveries.count_documents(waiting))

        await platform.publish(*(make_event(other) for _ in range(20)))
        await server.received(20)

        # All of them came while the replay still waited for its first attempts.
        assert platform.database.deliveries.count_documents(waiting)
        await router.ask(f"/v1/replays/{created['id']}/cancel")


# --- missing events --------------------------------------------------------------------------------


async def test_events_that_matched_nothing_are_matched_with_todays_definitions(
    platform: Platform, router: RouterProcess, account: str, server: ScriptedServer
) -> None:
    paused = platform.define_webhook(account, to=server.url, enabled=False)
    await router.takes_up_definitions()
    events = [make_event(account) for _ in range(5)]
    other = make_event(account, "user")
    await platform.publish(*events, other)
    for event in (*events, other):
        await router.event(account, str(event["id"]))
    platform.edit_webhook(paused, enabled=True)
    new = platform.define_webhook(account, to=server.url)
    await router.takes_up_definitions()

    code, created = await router.ask("/v1/replays", {"filter": {"account_id": account}, "missing": True})
    assert (code, created["kind"], created["matched"] >= 6) == (202, "missing", True)
    over = await finished(router, created["id"])

    assert over["done"] == over["matched"]
    assert (over["released"], over["skipped"]["unmatched"] >= 1) == (5, True)
    requests = await server.received(10)
    assert Counter(each.header("webhook-id") for each in requests) == {str(each["id"]): 2 for each in events}
    shown = await router.event(account, str(events[0]["id"]))
    assert {line["verdict"] for line in shown["trace"]} == {"paused"}
    assert {line["webhook_id"] for line in shown["replayed"]} == {paused, new}
    assert {line["status"] for line in shown["deliveries"]} == {"delivered"}

    _, again = await router.ask("/v1/replays", {"filter": {"account_id": account}, "missing": True})
    assert (await finished(router, again["id"]))["skipped"]["repeated"] == 5
    assert len(server.requests) == 10
