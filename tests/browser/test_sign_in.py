"""Signing in and out, in both languages, with JavaScript and without."""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Any

import pytest
from playwright.async_api import Browser, expect

from tests.support.browser import visiting
from tests.support.http_server import ScriptedServer, answer
from tests.support.router_process import ADMIN_TOKEN, Platform, RouterProcess
from tests.support.showcase import ACCOUNT, OTHER_ACCOUNT
from tests.support.visitor import Visitor, with_and_without_scripts


@with_and_without_scripts
async def test_a_token_opens_the_console_and_signing_out_closes_it(stranger: Visitor) -> None:
    await stranger.open("/")
    await stranger.is_at("/sign-in")
    await stranger.sign_in(ADMIN_TOKEN)
    await stranger.is_at("/webhooks")

    await stranger.button("Sign out").click()
    await stranger.is_at("/sign-in")
    await expect(stranger.page.get_by_role("status")).to_have_text(stranger.say("You are signed out."))
    await stranger.open("/webhooks")
    await stranger.is_at("/sign-in")


async def test_a_wrong_token_is_refused_beside_the_field(stranger: Visitor) -> None:
    await stranger.open("/sign-in?next=/webhooks/new")
    await stranger.field("Access token").fill("whr_wr0ng")
    await stranger.button("Sign in").click()
    field = stranger.field("Access token")
    await expect(field).to_have_attribute("aria-invalid", "true")
    await expect(field).to_have_accessible_description(
        stranger.has("This token is not known. Check that it was copied whole, from whr_ to the end.")
    )
    await stranger.sign_in(ADMIN_TOKEN)
    await stranger.is_at("/webhooks/new")


async def test_who_must_sign_in_comes_to_the_page_that_was_asked_for(stranger: Visitor) -> None:
    await stranger.open(f"/webhooks?account={ACCOUNT}")
    await stranger.is_at("/sign-in")
    await stranger.sign_in(ADMIN_TOKEN)
    await stranger.page.wait_for_url(f"**/webhooks?account={ACCOUNT}")


async def test_a_session_that_ended_returns_to_where_it_was(stranger: Visitor, platform: Platform) -> None:
    await stranger.open("/sign-in")
    await stranger.sign_in(ADMIN_TOKEN)
    await stranger.is_at("/webhooks")
    await stranger.end_session(platform.database)
    await stranger.link("Add a webhook").click()
    await stranger.is_at("/sign-in")
    await stranger.sign_in(ADMIN_TOKEN)
    await stranger.is_at("/webhooks/new")


async def test_the_cookie_of_a_session_is_kept_from_scripts_and_other_sites(stranger: Visitor) -> None:
    await stranger.open("/sign-in")
    await stranger.sign_in(ADMIN_TOKEN)
    (cookie,) = [cookie for cookie in await stranger.page.context.cookies() if "session" in cookie["name"]]
    assert cookie["name"].startswith("__Host-")
    assert (cookie["httpOnly"], cookie["secure"], cookie["sameSite"]) == (True, True, "Lax")
    assert (cookie["path"], cookie["expires"]) == ("/", -1)
    assert await stranger.page.evaluate("document.cookie") == ""


@pytest.mark.parametrize("lang", ["en"])
async def test_a_form_of_another_site_does_nothing(browser: Browser, router: RouterProcess, visitor: Visitor) -> None:
    form = f'<title>x</title><form method="post" action="{router.api_url}/sign-out"><button>Win</button></form>'
    page_of_theirs = answer(200, form.encode(), headers={"content-type": "text/html"})
    cookies = await visitor.page.context.cookies()
    async with (
        ScriptedServer(page_of_theirs) as theirs,
        visiting(browser, theirs.url, locale="en", cookies=cookies, origins=[router.api_url]) as page,
    ):
        await page.goto("/")
        await page.get_by_role("button").click()
        there = Visitor(page=page, language=visitor.language)
        await expect(there.heading("This form was not sent by our pages")).to_be_visible()
    await visitor.open("/webhooks")
    await visitor.is_at("/webhooks")


async def test_the_language_is_switched_and_remembered(stranger: Visitor, signed_in: Sequence[Any]) -> None:
    visitor = stranger
    await visitor.page.context.add_cookies(list(signed_in))
    await visitor.open("/webhooks")
    other = {"fr": "English", "en": "Français"}[visitor.language.code]
    await visitor.page.get_by_role("link", name=other).click()
    switched = {"fr": "en", "en": "fr"}[visitor.language.code]
    for path in ("/webhooks", "/webhooks/new"):
        await visitor.page.goto(path)
        await expect(visitor.page.locator("html")).to_have_attribute("lang", switched)


async def test_the_zone_of_times_is_chosen_and_remembered(stranger: Visitor, signed_in: Sequence[Any]) -> None:
    visitor = stranger
    await visitor.page.context.add_cookies(list(signed_in))
    await visitor.open("/webhooks")
    await visitor.field("Times in").select_option("Pacific/Noumea")
    await visitor.button("Change").click()
    await visitor.open("/webhooks/new")
    await expect(visitor.field("Times in")).to_have_value("Pacific/Noumea")


@pytest.mark.parametrize(
    "path", ["/nowhere", "/webhooks/wh_nowhere", "/deliveries/dlv_nowhere", "/replays/rpl_nowhere"]
)
async def test_an_unknown_address_is_a_page_that_helps(visitor: Visitor, path: str) -> None:
    await visitor.open(path, status=404)
    await expect(visitor.heading("There is nothing here")).to_be_visible()
    await visitor.link("To the webhooks").click()
    await visitor.is_at("/webhooks")


async def test_a_token_of_an_account_shows_that_account_and_no_other(
    stranger: Visitor, router: RouterProcess, platform: Platform
) -> None:
    made = await router.command(
        "tokens", "create", "--name", "a test", "--scope", "read", "--account", ACCOUNT, "--json"
    )
    token = json.loads(made)["token"]
    await stranger.open("/sign-in")
    await stranger.sign_in(token)
    await stranger.is_at("/webhooks")
    await expect(stranger.page.get_by_text("CRM – fiche d’appel")).to_be_visible()
    await stranger.open(f"/webhooks?account={OTHER_ACCOUNT}")
    await expect(stranger.page.get_by_text("Standard")).to_be_hidden()
    await stranger.open("/webhooks/wh_2077", status=404)
