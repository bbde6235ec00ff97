"""Sessions of the console over real HTTP: how one begins and ends, and what no other site can do with it."""

from __future__ import annotations

from tests.support.console import Browser


async def test_signing_in_leads_to_the_webhooks(browser: Browser) -> None:
    screen = await browser.get("/webhooks")
    assert (screen.status, screen.heading) == (200, "Webhooks")
