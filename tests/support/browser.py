"""A Chromium that tests drive, and a guard over every page in it. Touches a process and loopback sockets.

    async with running_browser() as browser, visiting(browser, base_url, locale="fr-FR") as page:
        await page.goto("/webhooks")

Whatever a test looks at, its visit fails when a page opened a dialog, broke its Content-Security-Policy, raised in a
script, asked another origin, or got an answer of 5xx.
"""

from __future__ import annotations

import os
from collections.abc import AsyncIterator, Iterable, Sequence
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any, Final, Literal, cast

from axe_playwright_python.base import AXE_SCRIPT
from playwright.async_api import Browser, BrowserContext, ConsoleMessage, Dialog, Page, WebError, async_playwright
from playwright.async_api import Request as PageRequest
from playwright.async_api import Response as PageResponse

BROWSER_VARIABLE: Final = "ROUTER_TEST_BROWSER"
DEBIANS_CHROMIUM: Final = "/usr/bin/chromium"

Scheme = Literal["light", "dark"]

# Nothing that the browser would do on its own account: no look-ups, no updates.
_FLAGS: Final = (
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
)
TIMEOUT_MS: Final = 10_000
"""For a page or an element to come, on a machine that has much else to do."""

_REPORT_VIOLATIONS: Final = """
addEventListener("securitypolicyviolation", e => console.error(`CSP: ${e.violatedDirective} ${e.blockedURI}`));
"""


@asynccontextmanager
async def running_browser() -> AsyncIterator[Browser]:
    """The browser of ROUTER_TEST_BROWSER, else Debian's, with a profile of its own that ends with it."""
    path = os.environ.get(BROWSER_VARIABLE) or DEBIANS_CHROMIUM
    assert Path(path).exists(), f"there is no {path}: run scripts/ensure-browser"
    async with async_playwright() as playwright:
        # Its own words, as those in a field for a date, are French too.
        environment: dict[str, str | float | bool] = {**os.environ, "LANGUAGE": "fr"}
        browser = await playwright.chromium.launch(executable_path=path, args=_FLAGS, env=environment)
        yield browser
        await browser.close()


@asynccontextmanager
async def visiting(
    browser: Browser,
    base_url: str,
    *,
    locale: str = "fr-FR",
    scheme: Scheme = "light",
    scripts: bool = True,
    cookies: Sequence[Any] = (),
    origins: Sequence[str] = (),
) -> AsyncIterator[Page]:
    """A page of somebody who was never here, but for `cookies`. `scripts` False is a browser without JavaScript;
    `origins` are others that may be asked too."""
    context = await new_context(browser, base_url, locale=locale, scheme=scheme, scripts=scripts, cookies=cookies)
    try:
        async with guarded_page(context, base_url, *origins) as page:
            yield page
    finally:
        await context.close()


async def new_context(
    browser: Browser, base_url: str, *, locale: str, scheme: Scheme, scripts: bool, cookies: Sequence[Any]
) -> BrowserContext:
    """A browser of somebody: cookies, cache and preferences of their own. Nothing looks at it yet."""
    context = await browser.new_context(
        base_url=base_url,
        locale=locale,
        timezone_id="Europe/Paris",
        color_scheme=scheme,
        # Nothing moves, so what a test looks at stands still.
        reduced_motion="reduce",
        java_script_enabled=scripts,
        viewport={"width": 1280, "height": 800},
        permissions=["clipboard-read", "clipboard-write"],
    )
    context.set_default_timeout(TIMEOUT_MS)
    await context.add_cookies(list(cookies))
    await context.add_init_script(_REPORT_VIOLATIONS)
    return context


@asynccontextmanager
async def guarded_page(context: BrowserContext, *origins: str) -> AsyncIterator[Page]:
    """A page of a context, closed at the end; fails when it, or one that it opened, did what no page may do."""
    guard = Guard(*origins)
    guard.watch(context)
    page = await context.new_page()
    try:
        yield page
    finally:
        guard.look_away(context)
        await page.close()
    assert not guard.seen, "what no page may do:\n" + "\n".join(guard.seen)


class Guard:
    """What a page did that none may ever do, whatever it was made to show."""

    def __init__(self, *origins: str) -> None:
        self.seen: list[str] = []
        self._ours = ("data:", *(f"{scheme}{origin}/" for origin in origins for scheme in ("", "blob:")))

    def watch(self, context: BrowserContext) -> None:
        """Look at every page of the context from now on."""
        for event, handler in self._handlers():
            context.on(event, handler)

    def look_away(self, context: BrowserContext) -> None:
        for event, handler in self._handlers():
            context.remove_listener(event, handler)

    def _handlers(self) -> Sequence[tuple[Any, Any]]:
        return (
            ("dialog", self._dialog),
            ("console", self._console),
            ("weberror", self._raised),
            ("request", self._request),
            ("response", self._response),
        )

    async def _dialog(self, dialog: Dialog) -> None:
        self.seen.append(f"dialog {dialog.type}: {dialog.message}")
        await dialog.dismiss()

    def _console(self, message: ConsoleMessage) -> None:
        # A page that is not found or not allowed is a page like any other.
        is_answer = message.text.startswith("Failed to load resource: the server responded with a status of 4")
        if message.type == "error" and not is_answer:
            self.seen.append(f"console: {message.text}")

    def _raised(self, error: WebError) -> None:
        self.seen.append(f"script: {error.error}")

    def _request(self, request: PageRequest) -> None:
        if not request.url.startswith(self._ours):
            self.seen.append(f"request to another origin: {request.url}")

    def _response(self, response: PageResponse) -> None:
        if response.status >= 500:
            self.seen.append(f"answer {response.status} of {response.url}")


# --- what a page is like ---------------------------------------------------------------------------

_WCAG: Final = ["wcag2a", "wcag2aa", "wcag21a", "wcag21aa", "wcag22aa"]

_FOCUSED: Final = """(count) => {
    const at = document.activeElement;
    if (!at || at === document.body) return null;
    at.dataset.stop ??= count;
    const style = getComputedStyle(at), box = at.getBoundingClientRect();
    const ring = style.outlineStyle !== "none" && parseFloat(style.outlineWidth) > 0;
    return {
        nth: Number(at.dataset.stop),
        tag: at.tagName.toLowerCase(),
        name: (at.getAttribute("aria-label") || at.labels?.[0]?.innerText || at.innerText || at.value || "").trim(),
        href: at.getAttribute("href"),
        shown: box.width > 0 && box.height > 0 && box.bottom > 0 && box.right > 0
            && box.top < innerHeight && box.left < innerWidth,
        ring: ring || style.boxShadow !== "none",
    };
}"""


async def accessibility_flaws(page: Page, *, only: Sequence[str] = ()) -> Sequence[str]:
    """What axe-core finds against WCAG 2.2 A and AA, each with where it is; or against the rules `only`."""
    if not await page.evaluate("'axe' in window"):
        await page.evaluate(AXE_SCRIPT)
    run_only = {"type": "rule", "values": list(only)} if only else {"type": "tag", "values": _WCAG}
    options = {"runOnly": run_only, "resultTypes": ["violations"]}
    result = await page.evaluate("options => axe.run(options)", options)
    return [
        f"{flaw['id']} ({flaw['help']}): {node['target']} {node['html'][:200]} {_reasons(node)}"
        for flaw in result["violations"]
        for node in flaw["nodes"]
    ]


def _reasons(node: Any) -> Iterable[str]:
    return [check["message"] for kind in ("any", "all", "none") for check in node[kind]]


async def tab_stops(page: Page, limit: int = 200) -> Sequence[dict[str, Any]]:
    """What Tab leads to, from the top of the page until it comes round: each with tag, name, href, and whether it is
    on the screen (`shown`) with its focus to be seen (`ring`)."""
    await page.evaluate("() => { document.activeElement?.blur(); scrollTo(0, 0); }")
    stops: list[dict[str, Any]] = []
    for _ in range(limit):
        await page.keyboard.press("Tab")
        stop = await page.evaluate(_FOCUSED, len(stops))
        if stop is None or stop["nth"] < len(stops) - 1:
            return stops
        # Some fields have stops within: the day, the month, the year of a date.
        if stop["nth"] == len(stops):
            stops.append(cast("dict[str, Any]", stop))
    raise AssertionError(f"more than {limit} stops: the focus is caught, or the page is very long")
