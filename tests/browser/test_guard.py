"""The guard itself: it sees what it is for, and nothing else. On pages that break the rules on purpose."""

from __future__ import annotations

import pytest
from playwright.async_api import Browser

from tests.support.browser import accessibility_flaws, tab_stops, visiting
from tests.support.http_server import ScriptedServer, answer

STRICT = {"Content-Security-Policy": "default-src 'none'; script-src 'self'; img-src 'self'"}
NONE: dict[str, str] = {}
GOOD = '<!doctype html><html lang="en"><title>t</title><main><h1>A page</h1><a href="/x">A link</a></main></html>'


def page_with(body: str, *, status: int = 200, headers: dict[str, str] = STRICT) -> bytes:
    fields = {"Content-Type": "text/html; charset=utf-8"} | headers
    return answer(status, GOOD.replace("</main>", body + "</main>").encode(), headers=fields)


async def visit(browser: Browser, first: bytes, *more: bytes) -> None:
    async with ScriptedServer(first, *more) as server, visiting(browser, server.url) as page:
        await page.goto("/", wait_until="networkidle")


@pytest.mark.parametrize(
    ("body", "policy", "seen"),
    [
        ("<script>1</script>", STRICT, "Content Security Policy"),
        ('<img src="/x" onerror="alert(1)">', STRICT, "Content Security Policy"),
        ('<img alt="" src="https://elsewhere.example/x">', STRICT, "Content Security Policy"),
        ("<script>alert(1)</script>", NONE, "dialog alert: 1"),
        ("<script>nowhere()</script>", NONE, "nowhere is not defined"),
        ('<img src="http://127.0.0.1:9/x">', NONE, "request to another origin"),
    ],
)
async def test_a_page_that_breaks_a_rule_fails_its_visit(
    browser: Browser, body: str, policy: dict[str, str], seen: str
) -> None:
    with pytest.raises(AssertionError, match=seen):
        await visit(browser, page_with(body, headers=policy), answer(404))


async def test_a_server_error_fails_the_visit_and_a_page_not_found_does_not(browser: Browser) -> None:
    await visit(browser, page_with("", status=404))
    with pytest.raises(AssertionError, match="answer 503"):
        await visit(browser, page_with("", status=503))


@pytest.fixture
def flawed() -> bytes:
    return page_with('<img src="/x"><input><button>Save</button>')


async def test_axe_finds_the_flaws_of_a_page(browser: Browser, flawed: bytes) -> None:
    async with ScriptedServer(page_with(""), flawed) as server, visiting(browser, server.url) as page:
        await page.goto("/")
        assert await accessibility_flaws(page) == []
        await page.goto("/flawed")
        flaws = [flaw.split()[0] for flaw in await accessibility_flaws(page)]
    assert sorted(flaws) == ["image-alt", "label"]


async def test_a_walk_by_keyboard_comes_to_every_stop_once(browser: Browser, flawed: bytes) -> None:
    async with ScriptedServer(flawed) as server, visiting(browser, server.url) as page:
        await page.goto("/")
        stops = await tab_stops(page)
    assert [(stop["tag"], stop["name"]) for stop in stops] == [("a", "A link"), ("input", ""), ("button", "Save")]
    assert all(stop["ring"] and stop["shown"] for stop in stops)
