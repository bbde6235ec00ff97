"""What follows an attempt that was no success: the next one, with the same bytes, or an end with its reason."""

from __future__ import annotations

import itertools
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from email.utils import format_datetime
from pathlib import Path
from typing import Any

import pytest
import pytest_asyncio

from tests.support.events import make_event, rfc3339
from tests.support.http_server import (
    ScriptedServer,
    Step,
    answer,
    close_without_answer,
    head,
    never_answer,
    reset_without_answer,
    then_close,
)
from tests.support.router_process import Platform, RouterProcess, wait_for

LONG_DELAYS = [0.2, 60]
"""Of `user` events here: the second is the schedule's cap."""


@pytest.fixture(scope="module")
def router_settings() -> dict[str, str]:
    return {
        "ROUTER_DELIVERY__CALL__RETRY_DELAYS_SECONDS": "[0.2, 0.2, 0.2]",
        "ROUTER_DELIVERY__CDR__TIMEOUT_SECONDS": "1",
        "ROUTER_DELIVERY__USER__RETRY_DELAYS_SECONDS": str(LONG_DELAYS),
        "ROUTER_DELIVERY__SUSPEND_AFTER_SECONDS": "3",
        # Longer than an attempt may last, so that a connection that nobody accepts is told by its own limit.
        "ROUTER_DELIVERY__CONNECT_TIMEOUT_SECONDS": "0.5",
    }


async def sent(
    platform: Platform, router: RouterProcess, account: str, url: str, event_type: str = "cdr", **fields: Any
) -> str:
    """The id of an event that was published for one webhook at `url`."""
    platform.define_webhook(account, to=url, event_type=event_type)
    await router.takes_up_definitions()
    event = make_event(account, event_type, **fields)
    await platform.publish(event)
    return str(event["id"])


# --- again -----------------------------------------------------------------------------------------


async def test_failure_then_success_with_the_same_bytes_and_one_id(
    platform: Platform, router: RouterProcess, account: str
) -> None:
    async with ScriptedServer(answer(500, b"try later"), answer(429), answer(201)) as server:
        event_id = await sent(platform, router, account, server.url)
        first, second, third = await server.received(3)
        delivery = await router.delivery(event_id=event_id)

    assert first.body == second.body == third.body == delivery["payload"].encode()
    assert {request.header("webhook-id") for request in server.requests} == {event_id}
    assert {request.header("x-webhook-delivery") for request in server.requests} == {delivery["id"]}
    assert [request.header("x-webhook-attempt") for request in server.requests] == ["1", "2", "3"]
    assert (delivery["status"], delivery["reason"], delivery["attempt_count"]) == ("delivered", None, 3)
    attempts = [(each["number"], each["status_code"], each["error"]) for each in delivery["attempts"]]
    assert attempts == [(1, 500, "http_status"), (2, 429, "http_status"), (3, 201, None)]
    assert delivery["attempts"][0]["response_body"] == "try later"
    assert [each["trigger"] for each in delivery["attempts"]] == ["schedule"] * 3
    times = [datetime.fromisoformat(each["started_at"]) for each in delivery["attempts"]]
    # Each wait is drawn from ½ to 1 times 0.2 s.
    assert all(later - earlier >= timedelta(seconds=0.1) for earlier, later in itertools.pairwise(times))


async def test_a_pending_delivery_shows_when_it_is_tried_next(
    platform: Platform, router: RouterProcess, account: str
) -> None:
    async with ScriptedServer(answer(500)) as server:
        event_id = await sent(platform, router, account, server.url, "user")
        delivery = await router.delivery(event_id=event_id, is_so=lambda each: each["attempt_count"] == 2)

    assert (delivery["status"], delivery["reason"], delivery["completed_at"]) == ("pending", None, None)
    last = datetime.fromisoformat(delivery["attempts"][1]["started_at"])
    wait = datetime.fromisoformat(delivery["next_attempt_at"]) - last
    assert timedelta(seconds=30) <= wait <= timedelta(seconds=75)


async def test_it_is_given_up_after_the_last_attempt_of_the_schedule(
    platform: Platform, router: RouterProcess, account: str
) -> None:
    async with ScriptedServer(answer(503)) as server:
        event_id = await sent(platform, router, account, server.url, "call")
        delivery = await router.delivery(event_id=event_id)
        # One that comes later is delivered, and the first is not tried once more meanwhile.
        other = platform.enable_account()
        async with ScriptedServer() as healthy:
            await sent(platform, router, other, healthy.url)
            await healthy.received(1)

    assert (delivery["status"], delivery["reason"]) == ("failed", "exhausted")
    assert delivery["attempt_count"] == len(delivery["attempts"]) == len(server.requests) == 4
    assert delivery["next_attempt_at"] is None
    assert delivery["completed_at"] is not None
    assert {each["error"] for each in delivery["attempts"]} == {"http_status"}


WRONG_ANSWERS: dict[str, tuple[Step, str, int | None]] = {
    "400": (answer(400), "http_status", 400),
    "404": (answer(404), "http_status", 404),
    "429": (answer(429), "http_status", 429),
    "500": (answer(500), "http_status", 500),
    "301": (answer(301, headers={"location": "/elsewhere"}), "redirect", 301),
    "304": (then_close(head(304)), "redirect", 304),
    "307": (answer(307, headers={"location": "/elsewhere"}), "redirect", 307),
    "no answer": (never_answer, "timeout", None),
    "closed": (close_without_answer, "connection_reset", None),
    "reset": (reset_without_answer, "connection_reset", None),
    "no HTTP": (then_close(b"SSH-2.0-OpenSSH\r\n\r\n"), "protocol", None),
}


@pytest.mark.parametrize("name", WRONG_ANSWERS)
async def test_everything_but_2xx_is_a_failure_that_is_retried(
    name: str, platform: Platform, router: RouterProcess, account: str
) -> None:
    step, error, status = WRONG_ANSWERS[name]
    async with ScriptedServer(step, answer(200)) as server:
        event_id = await sent(platform, router, account, server.url)
        delivery = await router.delivery(event_id=event_id)

    assert delivery["status"] == "delivered"
    first = delivery["attempts"][0]
    assert (first["error"], first["status_code"]) == (error, status)
    # A redirect is not followed: the same path again.
    assert len({request.target for request in server.requests}) == 1
    assert {request.method for request in server.requests} == {"POST"}


async def test_a_server_that_is_down_is_a_refused_connection(
    platform: Platform, router: RouterProcess, account: str
) -> None:
    async with ScriptedServer() as server:
        url = server.url
    event_id = await sent(platform, router, account, url)
    delivery = await router.delivery(event_id=event_id)

    assert (delivery["status"], delivery["reason"]) == ("failed", "exhausted")
    assert [(each["error"], each["status_code"], each["response_body"]) for each in delivery["attempts"]] == [
        ("connection_refused", None, None)
    ] * 3


# --- Retry-After -----------------------------------------------------------------------------------


def after_seconds() -> str:
    return "20"


def at_a_date() -> str:
    return format_datetime(datetime.now(UTC) + timedelta(seconds=20), usegmt=True)


@pytest.mark.parametrize("status", [429, 503])
@pytest.mark.parametrize("wish", [after_seconds, at_a_date])
async def test_retry_after_is_honoured(
    status: int, wish: Callable[[], str], platform: Platform, router: RouterProcess, account: str
) -> None:
    """The schedule alone would wait 0.2 s."""
    async with ScriptedServer(answer(status, headers={"retry-after": wish()})) as server:
        event_id = await sent(platform, router, account, server.url, "user")
        delivery = await router.delivery(event_id=event_id, is_so=lambda each: each["attempt_count"] == 1)

    asked_for = datetime.fromisoformat(delivery["next_attempt_at"]) - datetime.fromisoformat(
        delivery["attempts"][0]["started_at"]
    )
    # A date has whole seconds and was fixed before the event was published, which may take a while.
    assert timedelta(seconds=5 if wish is at_a_date else 20) <= asked_for <= timedelta(seconds=40)


async def test_retry_after_is_capped_by_the_schedule(platform: Platform, router: RouterProcess, account: str) -> None:
    async with ScriptedServer(answer(503, headers={"retry-after": "86400"})) as server:
        event_id = await sent(platform, router, account, server.url, "user")
        delivery = await router.delivery(event_id=event_id, is_so=lambda each: each["attempt_count"] == 1)

    started = datetime.fromisoformat(delivery["attempts"][0]["started_at"])
    assert (
        timedelta(seconds=LONG_DELAYS[1])
        <= datetime.fromisoformat(delivery["next_attempt_at"]) - started
        <= timedelta(seconds=LONG_DELAYS[1] + 30)
    )


async def test_retry_after_of_another_answer_is_no_wish(
    platform: Platform, router: RouterProcess, account: str
) -> None:
    async with ScriptedServer(answer(500, headers={"retry-after": "60"}), answer(200)) as server:
        event_id = await sent(platform, router, account, server.url, "user")
        delivery = await router.delivery(event_id=event_id)

    assert delivery["attempt_count"] == 2


# --- ends ------------------------------------------------------------------------------------------


async def test_410_ends_the_delivery_and_suspends_the_webhook(
    platform: Platform, router: RouterProcess, account: str
) -> None:
    async with ScriptedServer(answer(410, b"gone")) as server:
        webhook_id = platform.define_webhook(account, to=server.url)
        await router.takes_up_definitions()
        event = make_event(account)
        await platform.publish(event)
        delivery = await router.delivery(event_id=event["id"])

        assert (delivery["status"], delivery["reason"], delivery["attempt_count"]) == ("failed", "gone", 1)
        assert delivery["attempts"][0]["status_code"] == 410

        async def is_suspended() -> bool:
            return bool((await router.webhook(webhook_id))["state"] == "suspended")

        await wait_for(is_suspended)
        assert (await router.webhook(webhook_id))["state_reason"] == "gone"
        assert platform.database.webhooks.find_one({"_id": webhook_id}, {"enabled": 1}) == {
            "_id": webhook_id,
            "enabled": True,
        }

        async def is_known_to_the_worker() -> bool:
            return "webhook_router_webhooks_suspended 1.0" in await router.api("/metrics")

        await wait_for(is_known_to_the_worker)
        following = make_event(account)
        await platform.publish(following)
        withheld = await router.delivery(event_id=following["id"])

    assert (withheld["status"], withheld["reason"], withheld["attempts"]) == ("failed", "suspended", [])
    assert withheld["completed_at"] is not None
    assert len(server.requests) == 1


async def test_a_suspended_webhook_that_is_resumed_is_sent_to_again(
    platform: Platform, router: RouterProcess, account: str
) -> None:
    async with ScriptedServer(answer(410), answer(200)) as server:
        webhook_id = platform.define_webhook(account, to=server.url)
        await router.takes_up_definitions()
        gone = make_event(account)
        await platform.publish(gone)
        await router.delivery(event_id=gone["id"])

        async def is_in_state(state: str) -> bool:
            return bool((await router.webhook(webhook_id))["state"] == state)

        await wait_for(lambda: is_in_state("suspended"))
        await router.command("webhooks", "resume", webhook_id)
        await wait_for(lambda: is_in_state("active"))
        await router.takes_up_definitions()
        following = make_event(account)
        await platform.publish(following)
        delivery = await router.delivery(event_id=following["id"])

    assert delivery["status"] == "delivered"
    assert (await router.webhook(webhook_id))["deliveries"] == {"total": 2, "delivered": 1, "failed": 1, "pending": 0}


async def test_a_webhook_with_nothing_but_failures_is_suspended(
    platform: Platform, router: RouterProcess, account: str
) -> None:
    """After 5 days by default, after 3 s here."""
    async with ScriptedServer(answer(500)) as server:
        webhook_id = platform.define_webhook(account, to=server.url)
        await router.takes_up_definitions()

        async def is_suspended() -> bool:
            await platform.publish(make_event(account))
            return bool((await router.webhook(webhook_id))["state"] == "suspended")

        await wait_for(is_suspended)

    assert (await router.webhook(webhook_id))["state_reason"] == "failing"


async def test_a_success_forgets_the_failures_before_it(
    platform: Platform, router: RouterProcess, account: str
) -> None:
    """One failure now and then, each followed by a success, for longer than a webhook may fail."""
    flaky = [answer(500), answer(200)] * 30
    async with ScriptedServer(*flaky) as server:
        webhook_id = platform.define_webhook(account, to=server.url)
        await router.takes_up_definitions()
        started = datetime.now(UTC)

        async def has_lasted() -> bool:
            event = make_event(account)
            await platform.publish(event)
            assert (await router.delivery(event_id=event["id"]))["status"] == "delivered"
            return datetime.now(UTC) - started > timedelta(seconds=4)

        await wait_for(has_lasted)

    assert (await router.webhook(webhook_id))["state"] == "active"


async def test_a_forbidden_address_is_not_connected_to(platform: Platform, router: RouterProcess, account: str) -> None:
    async with ScriptedServer(host="127.0.0.2") as canary:
        event_id = await sent(platform, router, account, canary.url)
        delivery = await router.delivery(event_id=event_id)
        assert canary.connections == []

    assert (delivery["status"], delivery["reason"], delivery["attempt_count"]) == ("failed", "blocked_address", 1)
    (attempt,) = delivery["attempts"]
    assert (attempt["error"], attempt["status_code"], attempt["response_body"]) == ("blocked_address", None, None)


async def test_nothing_but_refused_addresses_suspends_nobody(
    platform: Platform, router: RouterProcess, account: str
) -> None:
    """For longer than a webhook may fail here."""
    webhook_id = platform.define_webhook(account, to="http://127.0.0.2:9")
    await router.takes_up_definitions()
    started = datetime.now(UTC)

    async def has_lasted() -> bool:
        event = make_event(account)
        await platform.publish(event)
        delivery = await router.delivery(event_id=event["id"])
        assert (delivery["reason"], delivery["attempt_count"]) == ("blocked_address", 1)
        return datetime.now(UTC) - started > timedelta(seconds=4)

    await wait_for(has_lasted)

    assert (await router.webhook(webhook_id))["state"] == "active"
    assert 'webhook_router_egress_refusals_total{rule="not_public"}' in await router.api("/metrics")


@pytest.mark.parametrize("host", ["localhost", "[::1]", "[::ffff:127.0.0.1]", "127.0.0.3", "0.0.0.0"])
async def test_no_way_of_writing_a_forbidden_address_gets_through(
    host: str, platform: Platform, router: RouterProcess, account: str
) -> None:
    """Of the hosts here only 127.0.0.1 may be dialled, where nothing listens."""
    async with ScriptedServer(host="127.0.0.2") as canary:
        event_id = await sent(platform, router, account, f"http://{host}:{canary.port}")
        delivery = await router.delivery(event_id=event_id)
        assert canary.connections == []

    assert delivery["status"] == "failed"
    # The name leads to an allowed address.
    assert delivery["reason"] == ("exhausted" if host == "localhost" else "blocked_address")
    if host != "localhost":
        assert (delivery["attempt_count"], (await router.webhook(delivery["webhook_id"]))["state"]) == (1, "active")


# --- age -------------------------------------------------------------------------------------------


@pytest_asyncio.fixture
async def _measured(platform: Platform, router: RouterProcess) -> None:
    """The publisher's clock is known to be right: a live event has shown it."""
    account = platform.enable_account()
    event = make_event(account, "call")
    await platform.publish(event)
    await router.event(account, event["id"])


@pytest.mark.usefixtures("_measured")
async def test_a_call_that_is_too_old_expires_without_an_attempt(
    platform: Platform, router: RouterProcess, account: str, server: ScriptedServer
) -> None:
    old = await sent(platform, router, account, server.url, "call", occurred_at=rfc3339(seconds_ago=60))
    delivery = await router.delivery(event_id=old)
    recent = make_event(account, "call", occurred_at=rfc3339(seconds_ago=2))
    await platform.publish(recent)
    (request,) = await server.received(1)

    assert request.header("webhook-id") == recent["id"]
    assert (delivery["status"], delivery["reason"], delivery["attempts"]) == ("expired", "too_old", [])
    assert delivery["next_attempt_at"] is None


@pytest.mark.usefixtures("_measured")
@pytest.mark.parametrize("event_type", ["cdr", "user"])
async def test_records_and_actions_are_never_too_old(
    event_type: str, platform: Platform, router: RouterProcess, account: str, server: ScriptedServer
) -> None:
    days = 86_400 * 9
    event_id = await sent(*(platform, router, account, server.url, event_type), occurred_at=rfc3339(seconds_ago=days))

    assert (await router.delivery(event_id=event_id))["status"] == "delivered"


@pytest.mark.parametrize("seconds_behind", [120, 4_000, -120, -90_000])
async def test_a_clock_that_is_off_expires_no_call(
    seconds_behind: int, own_platform: Platform, tmp_path: Path, server: ScriptedServer
) -> None:
    """Once it was measured, which takes one event."""
    account = own_platform.enable_account()
    own_platform.define_webhook(account, to=server.url, event_type="call")
    async with RouterProcess(own_platform, tmp_path) as router:
        measured = make_event(account, "call", occurred_at=rfc3339(seconds_ago=seconds_behind))
        await own_platform.publish(measured)
        await router.delivery(event_id=measured["id"])
        for _ in range(3):
            event = make_event(account, "call", occurred_at=rfc3339(seconds_ago=seconds_behind))
            await own_platform.publish(event)
            assert (await router.delivery(event_id=event["id"]))["status"] == "delivered"
    assert len(server.requests) >= 3


async def test_a_backlog_after_an_outage_expires_what_is_stale(
    own_platform: Platform, tmp_path: Path, server: ScriptedServer
) -> None:
    account = own_platform.enable_account()
    own_platform.define_webhook(account, to=server.url, event_type="call")
    async with RouterProcess(own_platform, tmp_path) as router:
        await router.stop()
        stale = [make_event(account, "call", occurred_at=rfc3339(seconds_ago=90)) for _ in range(3)]
        fresh = make_event(account, "call")
        await own_platform.publish(*stale)
        await own_platform.publish(fresh)
        await router.start()
        ends = [await router.delivery(event_id=event["id"]) for event in [*stale, fresh]]

    assert [end["status"] for end in ends] == ["expired"] * 3 + ["delivered"]
    assert len(server.requests) == 1
