"""What holds of every page: clean for axe-core in both colour schemes, narrow enough for a phone, walked by keyboard,
printed without the frame."""

from __future__ import annotations

from collections.abc import Mapping

import pytest
import pytest_asyncio
from playwright.async_api import expect

from tests.support.browser import accessibility_flaws, tab_stops
from tests.support.router_process import Platform
from tests.support.showcase import ACCOUNT, CRM, INVALID, MISSED_CALL, PAUSED, STATISTICS, SUSPENDED
from tests.support.visitor import Visitor

PAGES = {
    "webhooks": f"/webhooks?account={ACCOUNT}",
    "webhooks of all": "/webhooks",
    "new webhook": f"/webhooks/new?account={ACCOUNT}",
    "webhook": f"/webhooks/{CRM}",
    "paused webhook": f"/webhooks/{PAUSED}",
    "suspended webhook": f"/webhooks/{SUSPENDED}",
    "invalid webhook": f"/webhooks/{INVALID}",
    "edit": f"/webhooks/{CRM}/edit",
    "delete": f"/webhooks/{CRM}/delete",
    "rotate": f"/webhooks/{CRM}/rotate",
    "deliveries of a webhook": f"/webhooks/{STATISTICS}/deliveries",
    "deliveries": f"/deliveries?account={ACCOUNT}",
    "pending deliveries": f"/deliveries?account={ACCOUNT}&status=pending",
    "no deliveries": "/deliveries?account=nobody",
    "failed delivery": "/deliveries/{failed}",
    "delivered delivery": "/deliveries/{delivered}",
    "call": f"/calls/{MISSED_CALL}?account={ACCOUNT}",
    "search": "/search",
    "found": f"/search?q=06+39+98+11+22&account={ACCOUNT}",
    "nothing found": "/search?q=nothing-has-this-id",
    "health": "/health",
    "dead letters": "/dead-letters",
    "replays": "/replays",
    "new replay": "/replays/new",
    "not found": "/nowhere",
}
WIDTH_OF_A_PHONE = 320
"""CSS pixels (WCAG 2.2, 1.4.10)."""


@pytest_asyncio.fixture(scope="session", loop_scope="session")
async def ids(platform: Platform, seeded: object) -> Mapping[str, str]:
    """What stands for a name in braces."""
    of = platform.database.deliveries
    wanted = {
        "failed": {"call_id": MISSED_CALL, "webhook_id": CRM, "event_name": "call.received"},
        "delivered": {"webhook_id": CRM, "status": "delivered", "attempt_count": 2},
    }
    return {name: str((of.find_one(query) or {})["_id"]) for name, query in wanted.items()}


@pytest.mark.parametrize("name", PAGES)
async def test_a_page_is_accessible_in_light_and_dark_and_on_a_phone(
    visitor: Visitor, ids: Mapping[str, str], name: str
) -> None:
    page = visitor.page
    await visitor.open(PAGES[name].format(**ids), status=404 if name == "not found" else 200)
    assert await accessibility_flaws(page) == []
    if visitor.language.code == "fr":  # colours speak no language
        await page.emulate_media(color_scheme="dark")
        assert await accessibility_flaws(page, only=["color-contrast"]) == []

    await page.set_viewport_size({"width": WIDTH_OF_A_PHONE, "height": 640})
    assert await page.evaluate("document.documentElement.scrollWidth") <= WIDTH_OF_A_PHONE
    assert await page.evaluate("document.querySelectorAll('h1').length") == 1
    assert visitor.language.code == "en" or not await _english_words(visitor)


async def _english_words(visitor: Visitor) -> list[str]:
    """Texts of the catalogues' English side that are on a French page by themselves."""
    texts = await visitor.page.evaluate(
        """() => [...document.querySelectorAll("h1,h2,h3,label,button,th,dt,legend,nav a,.hint")].map(
            element => element.innerText.trim())"""
    )
    return [text for text in texts if visitor.language.messages.get(text, (text,))[0] != text]


@pytest.mark.parametrize("name", ["webhooks", "new webhook", "pending deliveries", "failed delivery", "call", "health"])
@pytest.mark.parametrize("lang", ["fr"])
async def test_the_keyboard_reaches_everything_and_shows_where_it_is(
    visitor: Visitor, ids: Mapping[str, str], name: str
) -> None:
    await visitor.open(PAGES[name].format(**ids))
    stops = await tab_stops(visitor.page)
    assert stops[0]["href"] == "#content"
    assert [stop for stop in stops if not (stop["shown"] and stop["ring"])] == []
    reachable = "a[href], button, input:not([type=hidden], [type=radio]), select, textarea"
    shown = await visitor.page.locator(reachable).locator("visible=true").count()
    radios = await visitor.page.evaluate(
        "new Set([...document.querySelectorAll('[type=radio]')].map(r => r.name)).size"
    )
    assert len([stop for stop in stops if stop["tag"] in {"a", "button", "input", "select", "textarea"}]) == (
        shown + radios
    )


async def test_the_skip_link_leads_past_the_navigation(visitor: Visitor) -> None:
    await visitor.open(PAGES["webhooks"])
    await visitor.page.keyboard.press("Tab")
    await expect(visitor.link("Skip to the content")).to_be_in_viewport()
    await visitor.page.keyboard.press("Enter")
    await visitor.page.keyboard.press("Tab")
    assert await visitor.page.evaluate("document.getElementById('content').contains(document.activeElement)")


@pytest.mark.parametrize("name", ["webhooks", "deliveries", "failed delivery", "call"])
@pytest.mark.parametrize("lang", ["fr"])
async def test_a_page_is_printed_without_what_nobody_can_press_on_paper(
    visitor: Visitor, ids: Mapping[str, str], name: str
) -> None:
    await visitor.open(PAGES[name].format(**ids))
    await visitor.page.emulate_media(media="print")
    await expect(visitor.page.get_by_role("heading", level=1)).to_be_visible()
    for gone in ("navigation", "search", "button"):
        await expect(visitor.page.get_by_role(gone).locator("visible=true")).to_have_count(0)
    assert (await visitor.page.pdf()).startswith(b"%PDF")
