"""The four gates, each alone, and the restrictions: what is sent, what is not, and what the trace says why."""

from __future__ import annotations

from typing import Any

import pytest

from tests.support.events import TRACKING, USER, make_event, without
from tests.support.http_server import ScriptedServer
from tests.support.router_process import NO_DEFINITION, Platform, RouterProcess

OTHER_NUMBER = "+33465710042"
FORMATS = ["0199001234", "0033199001234", "+33 1 99 00 12 34", "+33199001234", "01 99 00 12 34", "01.99.00.12.34"]


@pytest.fixture(scope="module")
def router_settings() -> dict[str, str]:
    # The log as people read it; elsewhere it is JSON, at level debug.
    return {"ROUTER_LOG__FORMAT": "console", "ROUTER_LOG__LEVEL": "info"}


async def verdicts(router: RouterProcess, account: str, event: dict[str, Any]) -> dict[str, str]:
    """The trace of an event: a verdict by webhook."""
    trace = (await router.event(account, event["id"]))["trace"]
    return {line["webhook_id"]: line["verdict"] for line in trace}


async def assert_not_sent(
    platform: Platform, router: RouterProcess, server: ScriptedServer, account: str, event: dict[str, Any]
) -> None:
    """Publish an event that must not reach `server`; one that does, and comes after it, tells when to look."""
    fence_account = platform.enable_account()
    platform.define_webhook(fence_account, to=server.url)
    fence = make_event(fence_account)
    await router.takes_up_definitions()
    await platform.publish(event)
    await router.event(account, event["id"])
    await platform.publish(fence)
    (request,) = await server.received(1)

    assert request.header("webhook-id") == fence["id"]
    assert await router.deliveries(event_id=event["id"]) == []


# --- gates -----------------------------------------------------------------------------------------


async def test_gate_1_nothing_is_sent_for_an_account_that_is_off(
    platform: Platform, router: RouterProcess, server: ScriptedServer
) -> None:
    off, unknown = platform.enable_account(enabled=False), "acc-nobody-wrote-down"
    webhooks = {account: platform.define_webhook(account, to=server.url) for account in (off, unknown)}
    on = platform.enable_account()
    platform.define_webhook(on, to=server.url)
    await router.takes_up_definitions()
    events = {account: make_event(account) for account in (off, unknown)}
    await platform.publish(*events.values())

    for account, event in events.items():
        assert await verdicts(router, account, event) == {webhooks[account]: "account_disabled"}
        assert not (await router.event(account, event["id"]))["account_enabled"]
        assert await router.deliveries(account_id=account) == []
    await platform.publish(make_event(on))
    (request,) = await server.received(1)
    assert on.encode() in request.body


async def test_gate_2_nothing_is_sent_to_a_webhook_that_is_paused(
    platform: Platform, router: RouterProcess, account: str, server: ScriptedServer
) -> None:
    webhook_id = platform.define_webhook(account, to=server.url, enabled=False)
    event = make_event(account)

    await assert_not_sent(platform, router, server, account, event)
    assert (await verdicts(router, account, event))[webhook_id] == "paused"
    assert (await router.webhook(webhook_id))["state"] == "paused"


@pytest.mark.parametrize("event_type", ["call", "user"])
async def test_gate_3_nothing_is_sent_to_a_webhook_for_another_type(
    event_type: str, platform: Platform, router: RouterProcess, account: str, server: ScriptedServer
) -> None:
    webhook_id = platform.define_webhook(account, to=server.url, event_type=event_type)
    event = make_event(account, "cdr")

    await assert_not_sent(platform, router, server, account, event)
    assert (await verdicts(router, account, event))[webhook_id] == "event_type"


async def test_gate_4_tracking_number(
    platform: Platform, router: RouterProcess, account: str, server: ScriptedServer
) -> None:
    webhook_id = platform.define_webhook(account, to=server.url, restrict_to={"tracking_numbers": [OTHER_NUMBER]})
    event = make_event(account)

    await assert_not_sent(platform, router, server, account, event)
    assert (await verdicts(router, account, event))[webhook_id] == "tracking_number"


async def test_gate_4_user(platform: Platform, router: RouterProcess, account: str, server: ScriptedServer) -> None:
    webhook_id = platform.define_webhook(account, to=server.url, event_type="user", restrict_to={"user_id": USER + "0"})
    event = make_event(account, "user")

    await assert_not_sent(platform, router, server, account, event)
    assert (await verdicts(router, account, event))[webhook_id] == "user_id"


async def test_a_message_for_an_account_goes_to_no_other(
    platform: Platform, router: RouterProcess, account: str, server: ScriptedServer
) -> None:
    other = platform.enable_account()
    platform.define_webhook(account, to=server.url)
    async with ScriptedServer() as server_of_other:
        platform.define_webhook(other, to=server_of_other.url)
        await router.takes_up_definitions()
        await platform.publish(make_event(account), make_event(other))
        (mine,), (theirs,) = await server.received(1), await server_of_other.received(1)

    assert account.encode() in mine.body
    assert other.encode() in theirs.body


# --- restrictions ----------------------------------------------------------------------------------


@pytest.mark.parametrize("event_type", ["call", "cdr"])
async def test_an_event_of_the_tracking_number_matches_and_one_of_another_does_not(
    event_type: str, platform: Platform, router: RouterProcess, account: str, server: ScriptedServer
) -> None:
    platform.define_webhook(
        *(account,),
        to=server.url,
        event_type=event_type,
        restrict_to={"tracking_numbers": [OTHER_NUMBER, TRACKING]},
    )
    await router.takes_up_definitions()
    wrong = make_event(account, event_type, tracking_number={"id": "tn-1", "number": "+33199001235", "label": "x"})
    right = make_event(account, event_type)
    await platform.publish(wrong)
    await router.event(account, wrong["id"])
    await platform.publish(right)
    (request,) = await server.received(1)

    assert request.header("webhook-id") == right["id"]


async def test_an_event_of_the_user_matches_exactly(
    platform: Platform, router: RouterProcess, account: str, server: ScriptedServer
) -> None:
    webhook_id = platform.define_webhook(account, to=server.url, event_type="user", restrict_to={"user_id": USER})
    await router.takes_up_definitions()
    near_misses = [make_event(account, "user", user_id=user) for user in ("U-17", "u-1", " u-17", "u-170")]
    right = make_event(account, "user")
    await platform.publish(*near_misses)
    for event in near_misses:
        assert await verdicts(router, account, event) == {webhook_id: "user_id"}
    await platform.publish(right)
    (request,) = await server.received(1)

    assert request.header("webhook-id") == right["id"]


@pytest.mark.parametrize("where", ["definition", "event"])
async def test_a_number_is_one_number_in_every_format(
    where: str, platform: Platform, router: RouterProcess, account: str
) -> None:
    async with ScriptedServer() as server:
        if where == "definition":
            for number in FORMATS:
                platform.define_webhook(account, to=server.url, restrict_to={"tracking_numbers": [number]})
            sent = [make_event(account)]
        else:
            platform.define_webhook(account, to=server.url, restrict_to={"tracking_numbers": [TRACKING]})
            sent = [make_event(account, tracking_number={"id": "tn-1", "number": number}) for number in FORMATS]
        await router.takes_up_definitions()
        await platform.publish(*sent)
        requests = await server.received(len(FORMATS))

    assert len(requests) == len(FORMATS)


@pytest.mark.parametrize("event_type", ["cdr", "user"])
@pytest.mark.parametrize("how", ["null", "left out", "something else"])
async def test_an_event_without_the_restricted_field_does_not_match(
    event_type: str, how: str, platform: Platform, router: RouterProcess, account: str, server: ScriptedServer
) -> None:
    field = "user_id" if event_type == "user" else "tracking_number"
    restriction = {"user_id": USER} if event_type == "user" else {"tracking_numbers": [TRACKING]}
    webhook_id = platform.define_webhook(account, to=server.url, event_type=event_type, restrict_to=restriction)
    event = make_event(account, event_type)
    match how:
        case "null":
            event = {**event, field: None}
        case "left out":
            event = without(event, field)
        case _:
            event = {**event, field: ["u-17", TRACKING]}

    await assert_not_sent(platform, router, server, account, event)
    assert (await verdicts(router, account, event))[webhook_id] == field


async def test_a_restriction_that_is_left_out_restricts_nothing(
    platform: Platform, router: RouterProcess, account: str, server: ScriptedServer
) -> None:
    platform.define_webhook(account, to=server.url, restrict_to=NO_DEFINITION)
    await router.takes_up_definitions()
    event = make_event(account, tracking_number=None)
    await platform.publish(event)
    (request,) = await server.received(1)

    assert request.header("webhook-id") == event["id"]


async def test_the_page_of_a_call_tells_the_whole_story(
    platform: Platform, router: RouterProcess, account: str, server: ScriptedServer
) -> None:
    """What support asks: was it received, which webhooks matched, which did not and why, each delivery."""
    for_calls = platform.define_webhook(account, to=server.url, event_type="call")
    for_records = platform.define_webhook(account, to=server.url, event_type="cdr")
    paused = platform.define_webhook(account, to=server.url, event_type="cdr", enabled=False)
    await router.takes_up_definitions()
    ringing = make_event(account, "call", sequence=1)
    ended = make_event(account, "cdr", call_id=ringing["call_id"], sequence=2)
    await platform.publish(ringing)
    await server.received(1)
    await platform.publish(ended)
    await server.received(2)
    await router.delivery(event_id=ringing["id"])
    await router.delivery(event_id=ended["id"])

    story = await router.api(f"/v1/calls/{ringing['call_id']}", account_id=account)

    assert [event["id"] for event in story["events"]] == [ringing["id"], ended["id"]]
    first, second = story["events"]
    assert {line["webhook_id"]: line["verdict"] for line in first["trace"]} == {
        for_calls: "matched",
        for_records: "event_type",
        paused: "paused",
    }
    assert [(delivery["webhook_id"], delivery["status"]) for delivery in second["deliveries"]] == [
        (for_records, "delivered")
    ]
    matched = next(line for line in second["trace"] if line["matched"])
    assert matched["delivery_id"] == second["deliveries"][0]["id"]
    assert (await router.get(f"/v1/calls/{ringing['call_id']}", account_id="another"))[0] == 404
    assert (await router.get(f"/v1/events/{ended['id']}", account_id="another"))[0] == 404
