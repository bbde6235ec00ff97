"""Webhooks managed by hand, in both languages: added, edited, tested, paused, resumed, given a new secret, deleted."""

from __future__ import annotations

import re
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from playwright.async_api import expect

from router.domain.event import AccountId, EventType
from router.domain.webhook import Suspension, SuspensionReason, WebhookState
from tests.support.events import TRACKING, make_event
from tests.support.http_server import ScriptedServer, answer
from tests.support.router_process import ADMIN_TOKEN, Platform, wait_for
from tests.support.samples import webhook
from tests.support.servers import unique
from tests.support.stored import StoredThings
from tests.support.visitor import Visitor, with_and_without_scripts

SECRET = re.compile(r"whsec_[\w+/=-]{20,}")


def stored(platform: Platform, webhook_id: str) -> dict[str, Any]:
    found = platform.database.webhooks.find_one({"_id": webhook_id})
    assert found is not None
    return found


# --- the account's switch --------------------------------------------------------------------------


@with_and_without_scripts
async def test_an_account_is_switched_on_and_off(visitor: Visitor, platform: Platform) -> None:
    account = unique("acc-")
    await visitor.open(f"/webhooks?account={account}")
    await visitor.button("Switch on").click()
    await visitor.is_told("Webhooks are switched on for account %(account)s.", account=account)
    await visitor.link("Switch off…").click()
    await expect(visitor.heading("Switch webhooks off for account %(account)s?", account=account)).to_be_visible()
    assert platform.database.accounts.find_one({"_id": account})["webhooks_enabled"]  # type: ignore[index]
    await visitor.button("Switch off").click()
    await visitor.is_told("Webhooks are switched off for account %(account)s.", account=account)
    assert not platform.database.accounts.find_one({"_id": account})["webhooks_enabled"]  # type: ignore[index]


# --- adding ----------------------------------------------------------------------------------------


@with_and_without_scripts
async def test_a_webhook_is_added_and_its_secret_shown_once(
    visitor: Visitor, platform: Platform, account: str, customer: ScriptedServer
) -> None:
    await visitor.open(f"/webhooks?account={account}")
    await visitor.link("Add the first webhook").click()
    await visitor.field("Name").fill("CRM – élan")
    await visitor.field("URL").fill(platform.hook_url(customer.url))
    await visitor.choice(EventType.CDR).check()
    await visitor.field("Tracking numbers").fill("01 99 00 12 34\n+33 4 65 71 00 42")
    await visitor.button("Add the webhook").click()

    secret = await visitor.page.locator("#secret").inner_text()
    assert SECRET.fullmatch(secret)
    await visitor.link("I have copied it: to the webhook").click()
    await expect(visitor.page.get_by_role("heading", level=1)).to_have_text("CRM – élan")
    await expect(visitor.content).to_contain_text(TRACKING)
    assert secret not in await visitor.page.content()

    (made,) = platform.database.webhooks.find({"account_id": account})
    assert (made["event_type"], made["enabled"]) == ("cdr", True)
    assert made["restrict_to"] == {"tracking_numbers": [TRACKING, "+33465710042"]}


async def test_what_is_wrong_is_said_beside_the_field_and_what_was_typed_is_kept(
    visitor: Visitor, account: str, platform: Platform
) -> None:
    await visitor.open(f"/webhooks/new?account={account}")
    typed = {
        "Name": "Une\u0007cloche",
        "URL": "ftp://crm.example/ici",
        "Tracking numbers": "01 99 00 12 34\npas un numéro",
    }
    for label, text in typed.items():
        await visitor.field(label).fill(text)
    await visitor.button("Add the webhook").click()

    await expect(visitor.page.get_by_role("alert")).to_contain_text(
        visitor.language.ngettext("One field needs a correction", "%(num)s fields need a correction", 3)
    )
    await expect(visitor.page.get_by_role("alert")).to_be_focused()
    for label, text in typed.items():
        field = visitor.field(label)
        await expect(field).to_have_value(text)
        await expect(field).to_have_attribute("aria-invalid", "true")
    await expect(visitor.field("URL")).to_have_accessible_description(
        visitor.has("a URL begins with https:// (or http://)")
    )
    await visitor.page.get_by_role("alert").get_by_role("link", name=visitor.has("URL")).click()
    await visitor.page.wait_for_url("**#url")
    assert platform.database.webhooks.count_documents({"account_id": account}) == 0

    await visitor.field("Name").fill("CRM")
    await visitor.field("URL").fill("https://crm.example.com/ici")
    await visitor.field("Tracking numbers").fill("01 99 00 12 34")
    await visitor.button("Add the webhook").click()
    await expect(visitor.page.locator("#secret")).to_have_text(SECRET)


@with_and_without_scripts
async def test_the_form_shows_only_the_restriction_that_fits_the_type(visitor: Visitor, account: str) -> None:
    await visitor.open(f"/webhooks/new?account={account}")
    for kind, numbers, user in (
        (EventType.CALL, True, False),
        (EventType.CDR, True, False),
        (EventType.USER, False, True),
    ):
        await visitor.choice(kind).check()
        await expect(visitor.field("Tracking numbers")).to_be_visible(visible=numbers)
        await expect(visitor.field("User id")).to_be_visible(visible=user)


@pytest.mark.parametrize("lang", ["fr"])
async def test_a_session_that_ends_meanwhile_keeps_what_was_typed(
    stranger: Visitor, platform: Platform, account: str
) -> None:
    await stranger.open("/sign-in")
    await stranger.sign_in(ADMIN_TOKEN)
    await stranger.open(f"/webhooks/new?account={account}")
    await stranger.field("Name").fill("Saisi avant la fin")
    await stranger.field("URL").fill("https://crm.example.com/ici")
    await stranger.end_session(platform.database)
    await stranger.button("Add the webhook").click()
    await expect(stranger.text("Your session has ended")).to_be_visible()
    await stranger.sign_in(ADMIN_TOKEN)
    await stranger.button("Send what I typed").click()
    await expect(stranger.page.locator("#secret")).to_have_text(SECRET)
    (made,) = platform.database.webhooks.find({"account_id": account})
    assert made["name"] == "Saisi avant la fin"


# --- editing ---------------------------------------------------------------------------------------


@with_and_without_scripts
async def test_a_webhook_is_edited(visitor: Visitor, platform: Platform, account: str) -> None:
    webhook_id = platform.define_webhook(account, to="https://crm.example.com", event_type="call")
    await visitor.open(f"/webhooks?account={account}")
    await visitor.link("Edit %(name)s", name="CRM").click()
    await visitor.field("Name").fill("CRM de Lyon")
    await visitor.choice(EventType.USER).check()
    await visitor.field("User id").fill("u-17")
    await visitor.button("Save").click()
    await visitor.is_told("The webhook is saved.")
    await expect(visitor.page.get_by_role("heading", level=1)).to_have_text("CRM de Lyon")
    changed = stored(platform, webhook_id)
    assert (changed["event_type"], changed["restrict_to"]) == ("user", {"user_id": "u-17"})


async def test_nobody_overwrites_what_somebody_else_has_changed_meanwhile(
    visitor: Visitor, platform: Platform, account: str
) -> None:
    webhook_id = platform.define_webhook(account, to="https://crm.example.com")
    await visitor.open(f"/webhooks/{webhook_id}/edit")
    await visitor.field("Name").fill("Mon nom")
    platform.edit_webhook(webhook_id, name="Leur nom")
    await visitor.button("Save").click()
    await expect(visitor.text("Somebody else has changed this webhook since you opened the form")).to_be_visible()
    await expect(visitor.rows.filter(has_text="Leur nom")).to_contain_text("Mon nom")
    await expect(visitor.field("Name")).to_have_value("Mon nom")
    assert stored(platform, webhook_id)["name"] == "Leur nom"
    await visitor.button("Save").click()
    await visitor.is_told("The webhook is saved.")
    assert stored(platform, webhook_id)["name"] == "Mon nom"


# --- pausing, suspension, deleting -----------------------------------------------------------------


@with_and_without_scripts
async def test_a_webhook_is_paused_and_resumed_from_the_list(
    visitor: Visitor, platform: Platform, account: str
) -> None:
    webhook_id = platform.define_webhook(account, to="https://crm.example.com")
    await visitor.open(f"/webhooks?account={account}")
    await visitor.button("Pause %(name)s", name="CRM").click()
    await visitor.is_told("The webhook is paused.")
    await visitor.is_at("/webhooks")
    await expect(visitor.rows).to_contain_text(visitor.label(WebhookState.PAUSED))
    assert not stored(platform, webhook_id)["enabled"]
    await visitor.button("Resume %(name)s", name="CRM").click()
    await visitor.is_told("The webhook is active again.")
    await expect(visitor.rows).to_contain_text(visitor.label(WebhookState.ACTIVE))


async def test_a_suspended_webhook_says_why_and_is_resumed_by_one_click(
    visitor: Visitor, platform: Platform, account: str
) -> None:
    webhook_id = unique("wh_")
    since = datetime.now(UTC) - timedelta(days=2)
    suspension = Suspension(since=since, reason=SuspensionReason.GONE)
    StoredThings(platform.database).add_webhook(
        webhook(webhook_id, account_id=AccountId(account), suspension=suspension)
    )
    await visitor.open(f"/webhooks/{webhook_id}")
    await expect(visitor.content).to_contain_text(visitor.label(SuspensionReason.GONE))
    await visitor.button("Resume now").click()
    await visitor.is_told("The webhook is active again.")
    await expect(visitor.content.get_by_text(visitor.label(WebhookState.ACTIVE), exact=True)).to_be_visible()


@with_and_without_scripts
async def test_a_webhook_is_deleted_after_it_was_asked_for_again(
    visitor: Visitor, platform: Platform, account: str
) -> None:
    webhook_id = platform.define_webhook(account, to="https://crm.example.com", name="À jeter")
    await visitor.open(f"/webhooks/{webhook_id}")
    await visitor.link("Delete…").click()
    await visitor.link("Cancel").click()
    await visitor.is_at(f"/webhooks/{webhook_id}")
    await visitor.link("Delete…").click()
    await expect(visitor.heading("Delete the webhook “%(name)s”?", name="À jeter")).to_be_visible()
    await visitor.button("Delete the webhook").click()
    await visitor.is_told("The webhook “%(name)s” is deleted.", name="À jeter")
    await visitor.open(f"/webhooks/{webhook_id}", status=404)


# --- secrets and tests -----------------------------------------------------------------------------


async def test_a_new_secret_is_shown_once_and_copied(visitor: Visitor, platform: Platform, account: str) -> None:
    webhook_id = platform.define_webhook(account, to="https://crm.example.com")
    await visitor.open(f"/webhooks/{webhook_id}")
    await visitor.link("New secret…").click()
    await visitor.page.get_by_label(visitor.say("not at all: it has leaked")).check()
    await visitor.button("Make the new secret").click()
    secret = await visitor.page.locator("#secret").inner_text()
    assert SECRET.fullmatch(secret)
    await visitor.button("Copy the secret").click()
    await expect(visitor.button("Copied")).to_be_visible()
    assert await visitor.page.evaluate("navigator.clipboard.readText()") == secret
    await visitor.link("I have copied it: to the webhook").click()
    await expect(visitor.text("Secret (v1)")).to_be_visible()
    assert secret not in await visitor.page.content()


@with_and_without_scripts
async def test_a_test_says_at_once_what_the_customers_server_answered(
    visitor: Visitor, platform: Platform, account: str
) -> None:
    async with ScriptedServer(answer(200), answer(500, "<b>cassé</b>".encode())) as server:
        webhook_id = platform.define_webhook(account, to=server.url)
        await visitor.open(f"/webhooks/{webhook_id}")
        await visitor.button("Send a test").click()
        await expect(visitor.text("The test was delivered")).to_be_visible()
        await expect(visitor.content).to_contain_text("200")
        await visitor.button("Send a test").click()
        await expect(visitor.text("The test failed")).to_be_visible()
        await expect(visitor.content).to_contain_text("<b>cassé</b>")
        assert len(server.requests) == 2


async def test_an_event_goes_to_a_webhook_that_was_added_by_hand(
    visitor: Visitor, platform: Platform, account: str, customer: ScriptedServer
) -> None:
    await visitor.open(f"/webhooks/new?account={account}")
    await visitor.field("Name").fill("Tout")
    await visitor.field("URL").fill(platform.hook_url(customer.url))
    await visitor.choice(EventType.USER).check()
    await visitor.button("Add the webhook").click()
    await expect(visitor.page.locator("#secret")).to_have_text(SECRET)
    await wait_for(lambda: _arrives(platform, account, customer))


async def _arrives(platform: Platform, account: str, customer: ScriptedServer) -> bool:
    """Definitions are taken up within a second or so; events before that match nothing."""
    await platform.publish(make_event(account, "user"))
    return bool(customer.requests)
