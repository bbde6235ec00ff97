"""Definitions that the back office writes while the router runs: taken up soon, and carried over to what is pending.

The contract's bound is a second with change streams; no test here measures it.
"""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

import pytest
from bson import Int64, ObjectId

from tests.support.events import make_event
from tests.support.http_server import ScriptedServer, answer
from tests.support.router_process import NO_DEFINITION, Platform, RouterProcess, wait_for

UNAVAILABLE = answer(503)


@pytest.fixture(scope="module")
def router_settings() -> dict[str, str]:
    # `cdr` retries from memory, `user` from the store; through the other driver than everywhere else.
    return {
        "ROUTER_MONGO__DRIVER": "pymongo",
        "ROUTER_DELIVERY__CDR__RETRY_DELAYS_SECONDS": str([0.5] * 50),
        "ROUTER_DELIVERY__USER__RETRY_DELAYS_SECONDS": "[600]",
    }


async def pending(
    platform: Platform, router: RouterProcess, account: str, webhook_id: str, event_type: str = "cdr"
) -> Any:
    """An event whose delivery has failed at least once and goes on being tried."""
    await router.takes_up_definitions()
    event = make_event(account, event_type)
    await platform.publish(event)
    await router.delivery(event_id=event["id"], webhook_id=webhook_id, is_so=lambda each: each["attempt_count"] >= 1)
    return event


# --- added -----------------------------------------------------------------------------------------


async def test_an_account_and_a_webhook_that_are_added_get_the_next_event(
    platform: Platform, router: RouterProcess, server: ScriptedServer
) -> None:
    account = "acc-added-while-running"

    async def is_delivered() -> bool:
        await platform.publish(make_event(account))
        return bool(server.requests)

    await platform.publish(make_event(account))
    platform.enable_account(account)
    platform.define_webhook(account, to=server.url)
    await wait_for(is_delivered)


async def test_an_account_that_is_switched_off_gets_nothing_more_until_it_is_on_again(
    platform: Platform, router: RouterProcess, account: str, server: ScriptedServer
) -> None:
    webhook_id = platform.define_webhook(account, to=server.url)
    platform.enable_account(account, enabled=False)
    await router.takes_up_definitions()
    missed = make_event(account)
    await platform.publish(missed)
    assert [line["verdict"] for line in (await router.event(account, missed["id"]))["trace"]] == ["account_disabled"]

    platform.enable_account(account)
    await router.takes_up_definitions()
    event = make_event(account)
    await platform.publish(event)
    (request,) = await server.received(1)

    assert request.header("webhook-id") == event["id"]
    assert await router.deliveries(event_id=missed["id"]) == []
    assert (await router.webhook(webhook_id))["deliveries"]["total"] == 1


async def test_nothing_pending_is_sent_for_an_account_that_is_switched_off(
    platform: Platform, router: RouterProcess, account: str
) -> None:
    replies = [UNAVAILABLE]
    async with ScriptedServer(route=lambda _: replies[-1]) as server:
        webhook_id = platform.define_webhook(account, to=server.url)
        event = await pending(platform, router, account, webhook_id)
        platform.enable_account(account, enabled=False)
        await router.takes_up_definitions()
        before = len(server.requests)

        # Meanwhile another account's delivery goes through several of the waits that this one would have.
        other = platform.enable_account()
        async with ScriptedServer(*[UNAVAILABLE] * 4, answer(200)) as flaky:
            platform.define_webhook(other, to=flaky.url)
            await router.takes_up_definitions()
            companion = make_event(other)
            await platform.publish(companion)
            await router.delivery(event_id=companion["id"])
        assert len(server.requests) == before

        replies.append(answer(200))
        platform.enable_account(account)
        assert (await router.delivery(event_id=event["id"]))["status"] == "delivered"


# --- edited ----------------------------------------------------------------------------------------


@pytest.mark.parametrize("event_type", ["cdr"])
async def test_pending_deliveries_go_to_the_url_that_is_edited_in(
    event_type: str, platform: Platform, router: RouterProcess, account: str, server: ScriptedServer
) -> None:
    async with ScriptedServer(UNAVAILABLE) as broken:
        webhook_id = platform.define_webhook(account, to=broken.url, event_type=event_type)
        event = await pending(platform, router, account, webhook_id, event_type)
        platform.edit_webhook(webhook_id, url=platform.hook_url(server.url))
        delivery = await router.delivery(event_id=event["id"])

    assert delivery["status"] == "delivered"
    assert delivery["url"].startswith(server.url)
    assert server.requests[-1].body == broken.requests[0].body
    assert server.requests[-1].header("webhook-id") == event["id"]
    assert server.requests[-1].header("x-webhook-attempt") == str(delivery["attempt_count"])


async def test_a_restriction_that_is_edited_in_holds_for_the_next_event(
    platform: Platform, router: RouterProcess, account: str, server: ScriptedServer
) -> None:
    webhook_id = platform.define_webhook(account, to=server.url)
    await router.takes_up_definitions()
    platform.edit_webhook(webhook_id, restrict_to={"tracking_numbers": ["+33465710042"]})
    await router.takes_up_definitions()
    event = make_event(account)
    await platform.publish(event)

    assert [line["verdict"] for line in (await router.event(account, event["id"]))["trace"]] == ["tracking_number"]


# --- paused and resumed ----------------------------------------------------------------------------


async def test_pausing_holds_what_is_pending_and_lets_pass_what_comes(
    platform: Platform, router: RouterProcess, account: str
) -> None:
    replies = [UNAVAILABLE]
    async with ScriptedServer(route=lambda _: replies[-1]) as server:
        webhook_id = platform.define_webhook(account, to=server.url)
        held = await pending(platform, router, account, webhook_id)
        platform.edit_webhook(webhook_id, enabled=False)
        await router.takes_up_definitions()
        missed = make_event(account)
        await platform.publish(missed)
        trace = (await router.event(account, missed["id"]))["trace"]

        async def rests() -> bool:
            document = platform.database.deliveries.find_one({"event_id": held["id"]})
            return bool(document and document["lease"]["owner"] is None)

        await wait_for(rests)
        attempts = len(server.requests)
        assert [line["verdict"] for line in trace] == ["paused"]
        assert await router.deliveries(event_id=missed["id"]) == []
        delivery = await router.delivery(event_id=held["id"], is_so=lambda _: True)
        assert (delivery["status"], delivery["reason"]) == ("pending", None)

        replies.append(answer(200))
        platform.edit_webhook(webhook_id, enabled=True)
        delivery = await router.delivery(event_id=held["id"])
        assert delivery["status"] == "delivered"
        assert len(server.requests) == delivery["attempt_count"] == attempts + 1

        await router.takes_up_definitions()
        following = make_event(account)
        await platform.publish(following)
        await router.delivery(event_id=following["id"])

    ids = {request.header("webhook-id") for request in server.requests}
    assert ids == {held["id"], following["id"]}


# --- deleted ---------------------------------------------------------------------------------------


@pytest.mark.parametrize("event_type", ["cdr", "user"])
async def test_deleting_cancels_what_is_pending_and_keeps_the_log(
    event_type: str, platform: Platform, router: RouterProcess, account: str
) -> None:
    """Pending in memory (`cdr`) and in the store (`user`)."""
    async with ScriptedServer(answer(200), UNAVAILABLE) as server:
        webhook_id = platform.define_webhook(account, to=server.url, event_type=event_type)
        await router.takes_up_definitions()
        past = make_event(account, event_type)
        await platform.publish(past)
        await router.delivery(event_id=past["id"])
        event = await pending(platform, router, account, webhook_id, event_type)

        platform.delete_webhook(webhook_id)
        delivery = await router.delivery(event_id=event["id"])
        await router.takes_up_definitions()
        following = make_event(account, event_type)
        await platform.publish(following)
        story = await router.event(account, following["id"])

    assert (delivery["status"], delivery["reason"]) == ("cancelled", "webhook_deleted")
    assert delivery["next_attempt_at"] is None
    assert delivery["attempt_count"] == len(delivery["attempts"]) >= 1
    assert story["trace"] == []
    statuses = {each["event_id"]: each["status"] for each in await router.deliveries(webhook_id=webhook_id)}
    assert statuses == {past["id"]: "delivered", event["id"]: "cancelled"}
    assert (await router.get(f"/v1/webhooks/{webhook_id}"))[0] == 404


# --- wrong -----------------------------------------------------------------------------------------

WRONG: dict[str, tuple[dict[str, Any], str]] = {
    "no url": ({"url": NO_DEFINITION}, "url"),
    "url of another scheme": ({"url": "ftp://crm.example/x"}, "url"),
    "url with a password": ({"url": "https://user:pass@crm.example/"}, "url"),
    "url with an address as one number": ({"url": "http://2130706433:9000/"}, "url"),
    "url with an address in hex": ({"url": "http://0x7f.1:9000/"}, "url"),
    "url with wide digits": ({"url": "http://①②⑦.⓪.⓪.①:9000/"}, "url"),
    "url with an encoded host": ({"url": "http://%31%32%37.0.0.1:9000/"}, "url"),
    "url with a zone": ({"url": "http://[fe80::1%25lo]:9000/"}, "url"),
    "url no text": ({"url": 17}, "url"),
    "unknown type": ({"event_type": "sms"}, "event_type"),
    "no type": ({"event_type": None}, "event_type"),
    "enabled as text": ({"enabled": "yes"}, "enabled"),
    "restriction of another type": ({"restrict_to": {"user_id": "u-17"}}, "restrict_to"),
    "unknown restriction": ({"restrict_to": {"campaign": "x"}}, "restrict_to"),
    "no number": ({"restrict_to": {"tracking_numbers": ["not a number"]}}, "restrict_to"),
    "no numbers": ({"restrict_to": {"tracking_numbers": []}}, "restrict_to"),
    "secret no base64": ({"secret": "whsec_***"}, "secret"),
    "forbidden header": ({"headers": {"Host": "x"}}, "headers"),
    "header with a line break": ({"headers": {"X-A": "b\r\nX-C: d"}}, "headers"),
}


@pytest.mark.parametrize("name", WRONG)
async def test_a_wrong_definition_is_skipped_with_a_reason_and_disturbs_no_other(
    name: str, platform: Platform, router: RouterProcess, account: str, server: ScriptedServer
) -> None:
    fields, field = WRONG[name]
    wrong = platform.define_webhook(account, to=server.url, **fields)
    right = platform.define_webhook(account, to=server.url)
    await router.takes_up_definitions()
    event = make_event(account)
    await platform.publish(event)
    (request,) = await server.received(1)

    delivery = await router.delivery(event_id=event["id"])
    verdicts = {line["webhook_id"]: line["verdict"] for line in (await router.event(account, event["id"]))["trace"]}
    shown = await router.webhook(wrong)

    assert request.header("webhook-id") == event["id"]
    assert delivery["webhook_id"] == right
    assert verdicts == {wrong: "invalid", right: "matched"}
    assert shown["state"] == "invalid"
    assert field in shown["state_reason"]
    assert str(fields.get(field)) not in shown["state_reason"]
    invalid = (await router.api("/v1/webhooks", account_id=account, state="invalid"))["items"]
    assert [each["id"] for each in invalid] == [wrong]


@pytest.mark.parametrize("identity", [17, ObjectId("0123456789abcdef01234567"), "wh/é 1"], ids=str)
async def test_odd_ids_disturb_no_other(
    identity: Any, platform: Platform, router: RouterProcess, account: str, server: ScriptedServer
) -> None:
    platform.database.webhooks.insert_one({"_id": identity, "account_id": account})
    platform.define_webhook(account, to=server.url)
    await router.takes_up_definitions()
    event = make_event(account)
    await platform.publish(event)

    assert (await router.delivery(event_id=event["id"]))["status"] == "delivered"
    platform.database.webhooks.delete_one({"_id": identity})


async def test_a_wrong_definition_that_is_put_right_is_used(
    platform: Platform, router: RouterProcess, account: str, server: ScriptedServer
) -> None:
    webhook_id = platform.define_webhook(account, to=server.url, event_type="CDR")
    await router.takes_up_definitions()
    assert (await router.webhook(webhook_id))["state"] == "invalid"
    platform.edit_webhook(webhook_id, event_type="cdr")
    await router.takes_up_definitions()
    event = make_event(account)
    await platform.publish(event)
    (request,) = await server.received(1)

    assert request.header("webhook-id") == event["id"]
    assert (await router.webhook(webhook_id))["state_reason"] is None


async def test_fields_that_the_router_does_not_know_do_no_harm(
    platform: Platform, router: RouterProcess, account: str, server: ScriptedServer
) -> None:
    webhook_id = platform.define_webhook(
        *(account,),
        to=server.url,
        crm={"vendor": "x", "ids": [1, Int64(2**40), None], "at": datetime(2025, 3, 11, tzinfo=UTC)},
        description="é" * 10_000,
        __v=3,
        created_at=NO_DEFINITION,
        updated_at="yesterday",
        name=None,
    )
    await router.takes_up_definitions()
    await platform.publish(make_event(account))
    await server.received(1)
    shown = await router.webhook(webhook_id)

    assert (shown["state"], shown["name"], shown["created_at"], shown["updated_at"]) == ("active", "", None, None)
