"""Whatever strangers put into names, URLs, ids, payloads, answers and addresses is shown as text and does nothing. The
guard of every page looks on: no dialog, no violation of the policy, no request elsewhere, no error of the server."""

from __future__ import annotations

import time
import unicodedata
from collections.abc import Mapping
from urllib.parse import quote, urlencode

import pytest
from playwright.async_api import expect

from router.domain.delivery import Delivery
from router.domain.event import MAX_ID_LENGTH
from tests.support.browser import accessibility_flaws
from tests.support.hostile import ACCOUNT, TEXTS, webhook_id
from tests.support.router_process import ADMIN_TOKEN
from tests.support.visitor import Visitor

pytestmark = pytest.mark.parametrize("lang", ["fr"])

ODD = {"Cc", "Cf", "Cn", "Co", "Cs", "Zl", "Zp"}
LINKS = "[...document.querySelectorAll('a[href], area[href]')].map(link => new URL(link.href))"
FOREIGN_LINKS = f"{LINKS}.filter(url => url.origin !== location.origin || !url.protocol.startsWith('http')).map(String)"
FORMS = "[...document.forms].map(form => new URL(form.action).origin).filter(origin => origin !== location.origin)"


def as_shown(text: str) -> str:
    """What a reader must see: characters that nobody sees are named."""
    return "".join(f"U+{ord(char):04X}" if unicodedata.category(char) in ODD else char for char in text)


async def see_text(visitor: Visitor, text: str) -> None:
    """It is on the page, as text; and nothing on the page leads elsewhere or runs out of it."""
    content = visitor.page.locator("#content")
    await expect(content).to_contain_text(as_shown(text))
    await is_harmless(visitor)


async def is_harmless(visitor: Visitor) -> None:
    page = visitor.page
    assert await page.evaluate(FOREIGN_LINKS) == []
    assert await page.evaluate(FORMS) == []
    assert (
        await page.evaluate("document.querySelectorAll('#content iframe, #content script, #content img').length") == 0
    )
    assert await page.evaluate("document.documentElement.scrollWidth <= innerWidth")
    await expect(page.get_by_role("link", name="webhook-router", exact=True)).to_be_visible()


# --- what is stored --------------------------------------------------------------------------------


async def test_a_list_of_hostile_webhooks_is_a_list(visitor: Visitor, seeded: object) -> None:
    await visitor.open("/webhooks?" + urlencode({"account": ACCOUNT}))
    for text in TEXTS.values():
        await see_text(visitor, text)
    assert await accessibility_flaws(visitor.page) == []


@pytest.mark.parametrize("kind", TEXTS)
async def test_a_hostile_webhook_is_shown_and_edited_as_text(visitor: Visitor, seeded: object, kind: str) -> None:
    await visitor.open(f"/webhooks/{webhook_id(kind)}")
    await see_text(visitor, TEXTS[kind])
    await visitor.open(f"/webhooks/{webhook_id(kind)}/delete")
    await is_harmless(visitor)
    await visitor.open(f"/webhooks/{webhook_id(kind)}/edit")
    await is_harmless(visitor)
    # A field of one line drops line ends and, as HTML has it, knows no NUL.
    if kind != "controls":
        await expect(visitor.field("Name")).to_have_value(TEXTS[kind])


@pytest.mark.parametrize("kind", TEXTS)
async def test_a_hostile_delivery_and_its_call_are_shown_as_text(
    visitor: Visitor, seeded: Mapping[str, Delivery], kind: str
) -> None:
    await visitor.open(f"/deliveries/{seeded[kind].id}")
    await see_text(visitor, TEXTS[kind])
    # What holds a NUL, or is longer than an id may be, cannot be asked for.
    is_no_id = "\0" in TEXTS[kind] or len(TEXTS[kind]) > MAX_ID_LENGTH
    address = f"/calls/{quote(TEXTS[kind], safe='')}?" + urlencode({"account": ACCOUNT})
    await visitor.open(address, status=400 if is_no_id else 200)
    await (is_harmless(visitor) if is_no_id else see_text(visitor, TEXTS[kind]))


async def test_lists_of_hostile_deliveries_and_dead_letters_are_lists(visitor: Visitor, seeded: object) -> None:
    for path in ("/deliveries?" + urlencode({"account": ACCOUNT}), "/dead-letters", "/health", "/replays"):
        await visitor.open(path)
        await is_harmless(visitor)
        assert await accessibility_flaws(visitor.page) == []


@pytest.mark.parametrize("kind", ["answer of bytes", "answer of markup", "no UTF-8", "no JSON", "deep"])
async def test_a_payload_or_answer_that_is_no_text_is_shown(
    visitor: Visitor, seeded: Mapping[str, Delivery], kind: str
) -> None:
    await visitor.open(f"/deliveries/{seeded[kind].id}")
    await is_harmless(visitor)


async def test_a_payload_of_one_mib_leaves_the_page_usable(visitor: Visitor, seeded: Mapping[str, Delivery]) -> None:
    began = time.monotonic()
    await visitor.open(f"/deliveries/{seeded['one MiB'].id}")
    await is_harmless(visitor)
    assert time.monotonic() - began < 10
    assert await visitor.page.evaluate("document.querySelectorAll('*').length") < 20_000


# --- what is asked for -----------------------------------------------------------------------------


@pytest.mark.parametrize("kind", TEXTS)
async def test_whatever_is_searched_for_is_said_again_as_text(visitor: Visitor, kind: str) -> None:
    await visitor.open("/search?" + urlencode({"q": TEXTS[kind]}), status=400 if "\0" in TEXTS[kind] else 200)
    await is_harmless(visitor)


@pytest.mark.parametrize("kind", ["script", "handler", "override", "controls", "astral"])
async def test_addresses_that_nobody_meant_are_answered_with_a_page(visitor: Visitor, kind: str) -> None:
    text = TEXTS[kind]
    names = (
        "account",
        "webhook_id",
        "status",
        "event_type",
        "cursor",
        "period",
        "from",
        "to",
        "zone",
        "lang",
        "number",
    )
    for path in ("/webhooks", "/deliveries", "/dead-letters", "/replays", "/replays/new"):
        response = await visitor.page.goto(f"{path}?" + urlencode(dict.fromkeys(names, text)))
        assert response is not None
        assert response.status in {200, 400}
        await is_harmless(visitor)
    for path in ("/webhooks/{}", "/deliveries/{}", "/calls/{}", "/replays/{}", "/{}"):
        response = await visitor.page.goto(path.format(quote(text, safe="")))
        assert response is not None
        assert response.status in {200, 400, 404}
        await is_harmless(visitor)


@pytest.mark.parametrize(
    "target", ["//evil.example", "https://evil.example/", "javascript:alert(1)", "/\\evil.example", "/\t/evil.example"]
)
async def test_signing_in_leads_to_no_other_site(stranger: Visitor, target: str) -> None:
    await stranger.open("/sign-in?" + urlencode({"next": target}))
    await stranger.sign_in(ADMIN_TOKEN)
    await stranger.is_at("/webhooks")
