"""What people look up, in both languages: lists with their period and filters, one delivery, a call, the search box,
and the health of it all."""

from __future__ import annotations

import csv
import re
from collections.abc import Mapping
from io import StringIO
from pathlib import Path
from typing import Any

import pytest
import pytest_asyncio
from playwright.async_api import Page, expect

from router.domain.delivery import AttemptError, DeliveryStatus, Trigger
from router.domain.matching import Verdict
from tests.support import hostile
from tests.support.events import encode, make_event
from tests.support.router_process import Platform, RouterProcess
from tests.support.samples import dead_letter, delivery, event
from tests.support.servers import unique
from tests.support.showcase import ACCOUNT, CRM, MISSED_CALL, PAUSED, STATISTICS, SUSPENDED
from tests.support.stored import StoredThings
from tests.support.visitor import Visitor, with_and_without_scripts

FULL_NUMBER = re.compile(r"(?:\+|00)33[ \u202f]?[1-9](?:[ \u202f]?\d\d){4}|\b0[1-9](?:[ \u202f.]?\d\d){4}\b")


@pytest.fixture
def failed(platform: Platform, seeded: object) -> Mapping[str, Any]:
    """The delivery for which the CRM did not pop: the certificate of its server."""
    wanted = {"call_id": MISSED_CALL, "webhook_id": CRM, "event_name": "call.received"}
    found = platform.database.deliveries.find_one(wanted)
    assert found is not None
    return found


@pytest.fixture
def payload(platform: Platform, failed: Mapping[str, Any]) -> bytes:
    found = platform.database.events.find_one({"_id": failed["event"]})
    assert found is not None
    return bytes(found["payload"])


async def downloaded(page: Page, what: Any) -> tuple[str, bytes]:
    """The name and the bytes of the file that a click brings."""
    async with page.expect_download() as waiting:
        await what.click()
    file = await waiting.value
    return file.suggested_filename, Path(await file.path()).read_bytes()


# --- lists -----------------------------------------------------------------------------------------


@with_and_without_scripts
async def test_deliveries_are_narrowed_by_period_and_filters(visitor: Visitor) -> None:
    await visitor.open(f"/webhooks/{STATISTICS}")
    await visitor.link("All deliveries").click()
    await visitor.is_at(f"/webhooks/{STATISTICS}/deliveries")
    week = await visitor.rows.count()
    await visitor.link("Today").click()
    await visitor.page.wait_for_url("**period=today*")
    assert 0 <= await visitor.rows.count() < week
    await visitor.link("All").click()
    await visitor.page.wait_for_url("**period=all*")

    await visitor.field("Status").select_option(visitor.label(DeliveryStatus.PENDING))
    await visitor.button("Filter").click()
    await visitor.page.wait_for_url("**status=pending*")
    await expect(visitor.rows).to_have_count(2)
    await expect(visitor.rows.first).to_contain_text(visitor.label(DeliveryStatus.PENDING))
    await expect(visitor.field("Status")).to_have_value("pending")
    assert "period=all" in visitor.page.url


async def test_a_period_of_ones_own_is_taken_and_one_turned_around_is_refused(visitor: Visitor) -> None:
    await visitor.open(f"/deliveries?account={ACCOUNT}")
    await visitor.field("From").fill("2020-01-01T00:00")
    await visitor.field("To").fill("2020-01-02T00:00")
    await visitor.button("Show").click()
    await expect(visitor.heading("No delivery matches")).to_be_visible()
    await expect(visitor.field("From")).to_have_value("2020-01-01T00:00")
    await visitor.field("To").fill("2019-01-02T00:00")
    await visitor.button("Show").click()
    await expect(visitor.page.get_by_role("alert")).to_be_visible()
    await expect(visitor.field("To")).to_have_value("2019-01-02T00:00")


@with_and_without_scripts
async def test_the_list_has_pages(visitor: Visitor) -> None:
    await visitor.open(f"/deliveries?account={ACCOUNT}&period=all")
    await expect(visitor.rows).to_have_count(50)
    first = await visitor.rows.first.inner_text()
    await visitor.link("Older").click()
    await visitor.page.wait_for_url("**cursor=*")
    assert await visitor.rows.first.inner_text() != first
    await visitor.link("Newest").click()
    await visitor.page.wait_for_url(re.compile(r"^((?!cursor=).)*$"))
    await expect(visitor.rows.first).to_have_text(first, use_inner_text=True)


@pytest.mark.parametrize("number", ["06 39 98 11 22", "+33639981122", "0033 6 39 98 11 22", "81122"])
@pytest.mark.parametrize("lang", ["fr"])
async def test_a_number_is_found_in_any_format_and_shown_masked(visitor: Visitor, number: str) -> None:
    await visitor.open(f"/deliveries?account={ACCOUNT}")
    await visitor.field("Number").fill(number)
    await visitor.button("Filter").click()
    await visitor.page.wait_for_url("**number=*")
    assert 3 <= await visitor.rows.count() < 50
    for row in await visitor.rows.all():
        assert "…22" in await row.inner_text()
        assert not FULL_NUMBER.search(await row.inner_text())


async def test_what_is_no_number_is_said_beside_the_field(visitor: Visitor) -> None:
    await visitor.open(f"/deliveries?account={ACCOUNT}")
    await visitor.field("Number").fill("12")
    await visitor.button("Filter").click()
    await expect(visitor.field("Number")).to_have_accessible_description(
        visitor.has("Type a phone number in any format, or at least its last 4 digits.")
    )
    await expect(visitor.field("Number")).to_have_value("12")


async def test_what_is_filtered_is_downloaded_as_csv(visitor: Visitor) -> None:
    await visitor.open(f"/deliveries?account={ACCOUNT}&period=all&status=failed")
    for link, delimiter in (("CSV", ","), ("CSV with semicolons", ";")):
        name, body = await downloaded(visitor.page, visitor.link(link))
        assert name.endswith(".csv")
        head, *rows = csv.reader(StringIO(body.decode("utf-8-sig")), delimiter=delimiter)
        assert visitor.say("Event type") in head
        assert len(rows) > 50
        assert {row[head.index(visitor.say("Status"))] for row in rows} == {visitor.label(DeliveryStatus.FAILED)}


@pytest.mark.parametrize("lang", ["fr"])
async def test_a_spreadsheet_gets_no_formula(visitor: Visitor, seeded: object) -> None:
    await visitor.open(
        f"/deliveries?account={hostile.ACCOUNT}&webhook={hostile.webhook_id('csv')}&period=all".replace('"', "%22")
    )
    _, body = await downloaded(visitor.page, visitor.link("CSV"))
    _, *rows = csv.reader(StringIO(body.decode("utf-8-sig")))
    cells = [cell for row in rows for cell in row]
    assert any("HYPERLINK" in cell for cell in cells)
    assert not [cell for cell in cells if cell.startswith(("=", "+", "-", "@"))]


async def test_a_list_is_refreshed_on_demand_and_keeps_what_is_typed(
    visitor: Visitor, platform: Platform, account: str
) -> None:
    things = StoredThings(platform.database)
    await visitor.open(f"/deliveries?account={account}&period=all")
    await visitor.page.evaluate("window.still = 'here'")
    await visitor.page.get_by_role("search").get_by_role("searchbox").fill("à moitié ta")
    came = event(unique("evt_"), account_id=account)
    things.add_event(came)
    things.add_delivery(delivery(came), came.key)
    await visitor.link("Refresh").click()
    await expect(visitor.rows).to_have_count(1)
    assert await visitor.page.evaluate("window.still") == "here"
    await expect(visitor.page.get_by_role("search").get_by_role("searchbox")).to_have_value("à moitié ta")
    await expect(visitor.link("Refresh")).to_be_focused()


# --- one delivery ----------------------------------------------------------------------------------


@with_and_without_scripts
async def test_a_delivery_tells_its_attempts_and_what_to_do(visitor: Visitor, failed: Mapping[str, Any]) -> None:
    await visitor.open(f"/deliveries?account={ACCOUNT}&call={MISSED_CALL}")
    await visitor.rows.locator(f"a[href='/deliveries/{failed['_id']}']").click()
    await visitor.is_at(f"/deliveries/{failed['_id']}")
    steps = visitor.content.locator(".timeline li")
    await expect(steps).to_have_count(1 + failed["attempt_count"])
    last = steps.last
    await expect(last).to_contain_text(visitor.say("Attempt %(number)s", number=failed["attempt_count"]))
    await expect(last).to_contain_text(visitor.label(AttemptError.TLS))
    await expect(last).to_contain_text(visitor.label(Trigger.SCHEDULE))
    # The remedy names whose server it is.
    await expect(visitor.content.locator(".alert.bad")).to_contain_text("crm.example")

    await visitor.link("Answer").click()
    await visitor.page.wait_for_url("**tab=answer")
    await expect(visitor.text("No answer came.").first).to_be_visible()
    await visitor.link("Request").click()
    await visitor.page.wait_for_url("**tab=request")
    await expect(visitor.content).to_contain_text(f"x-webhook-delivery: {failed['_id']}")


async def test_a_payload_is_copied_and_downloaded_byte_for_byte(
    visitor: Visitor, failed: Mapping[str, Any], payload: bytes
) -> None:
    await visitor.open(f"/deliveries/{failed['_id']}?tab=request")
    _, body = await downloaded(visitor.page, visitor.link("Download, byte for byte"))
    assert body == payload
    await visitor.content.locator("summary", has_text=visitor.say("Exact text, to be copied")).click()
    await expect(visitor.field("Exact text, to be copied")).to_have_value(payload.decode())
    await visitor.page.locator("button[data-copy=exact]").click()
    await expect(visitor.button("Copied")).to_be_visible()
    assert await visitor.page.evaluate("navigator.clipboard.readText()") == payload.decode()
    await visitor.page.locator("button[data-copy=payload]").click()
    copied = await visitor.page.evaluate("navigator.clipboard.readText()")
    assert "google_ads" in copied


async def test_a_request_is_copied_as_curl(visitor: Visitor, failed: Mapping[str, Any], payload: bytes) -> None:
    await visitor.open(f"/deliveries/{failed['_id']}?tab=request")
    await visitor.page.locator("button[data-copy=curl]").click()
    copied = await visitor.page.evaluate("navigator.clipboard.readText()")
    assert copied.startswith("curl -X POST 'https://crm.example/appels'")
    assert payload.decode() in copied
    assert "webhook-signature" not in copied


# --- calls -----------------------------------------------------------------------------------------


@with_and_without_scripts
async def test_a_call_tells_what_came_which_webhooks_wanted_it_and_why_the_others_did_not(visitor: Visitor) -> None:
    await visitor.open(f"/calls/{MISSED_CALL}?account={ACCOUNT}")
    headings = await visitor.page.get_by_role("heading", level=2).all_inner_texts()
    assert [heading.split("· ")[-1] for heading in headings] == ["call.received", "call.answered", "cdr.created"]
    ringing, _, record = await visitor.content.get_by_role("table").all()
    said = {
        PAUSED: Verdict.PAUSED,
        STATISTICS: Verdict.EVENT_TYPE,
        CRM: Verdict.MATCHED,
    }
    for webhook_id, verdict in said.items():
        row = ringing.get_by_role("row").filter(has=visitor.page.locator(f"a[href='/webhooks/{webhook_id}']"))
        await expect(row).to_contain_text(visitor.label(verdict))
    row = record.get_by_role("row").filter(has=visitor.page.locator(f"a[href='/webhooks/{SUSPENDED}']"))
    await expect(row).to_contain_text(visitor.label(DeliveryStatus.FAILED))
    await expect(
        visitor.text("Some of it was not delivered").or_(visitor.text("Nothing was delivered"))
    ).to_be_visible()


async def test_an_event_that_nobody_wanted_says_so(visitor: Visitor, platform: Platform, account: str) -> None:
    call_id = unique("c-")
    platform.define_webhook(account, to="https://crm.example.com", enabled=False, name="En pause")
    webhook_id = platform.database.webhooks.find_one({"account_id": account})["_id"]  # type: ignore[index]
    came = event(unique("evt_"), account_id=account, call_id=call_id, not_matched=[(webhook_id, Verdict.PAUSED)])
    StoredThings(platform.database).add_event(came)
    await visitor.open(f"/calls/{call_id}?account={account}")
    await expect(visitor.text("No webhook matched, so nothing was sent")).to_be_visible()
    await expect(visitor.rows).to_contain_text(visitor.say("Events that come during a pause are not delivered later."))


# --- the search ------------------------------------------------------------------------------------


@pytest_asyncio.fixture(scope="session", loop_scope="session")
async def findable(platform: Platform, seeded: object) -> Mapping[str, tuple[str, str]]:
    """For each kind of thing: what is pasted, and the address that it leads to."""
    found = platform.database.deliveries.find_one(
        {"call_id": MISSED_CALL, "webhook_id": CRM, "event_name": "call.received"}
    )
    letter = platform.database.dead_letters.find_one({"reason": "no_account"})
    assert found is not None
    assert letter is not None
    one = f"/deliveries/{found['_id']}"
    return {
        "call": (MISSED_CALL, f"/calls/{MISSED_CALL}"),
        "event": (found["event_id"], f"/events/{found['event_id']}"),
        "delivery": (f"  {found['_id']}\n", one),
        "number": ("06 39 98 11 22", one),
        "number with a plus": ("+33 6 39 98 11 22", one),
        "last digits": ("1122", one),
        "webhook": (CRM, f"/webhooks/{CRM}"),
        "URL": ("https://erp.example/cdr", f"/webhooks/{SUSPENDED}"),
        "host": ("erp.example", f"/webhooks/{SUSPENDED}"),
        "user": ("u-31", "/events/"),
        "account": (ACCOUNT, "/webhooks"),
        "dead letter": (letter["_id"], f"/dead-letters/{letter['_id']}"),
    }


@pytest.mark.parametrize("lang", ["fr"])
@pytest.mark.parametrize(
    "kind",
    [
        "call",
        "event",
        "delivery",
        "number",
        "number with a plus",
        "last digits",
        "webhook",
        "URL",
        "host",
        "account",
        "dead letter",
    ],
)
async def test_the_box_finds_whatever_is_pasted(
    visitor: Visitor, findable: Mapping[str, tuple[str, str]], kind: str
) -> None:
    text, address = findable[kind]
    await visitor.open("/webhooks")
    box = visitor.page.get_by_role("search").get_by_role("searchbox")
    await box.fill(text)
    await box.press("Enter")
    await visitor.page.wait_for_url(lambda url: "/search?" in url or address in url)
    if address not in visitor.page.url:
        await expect(visitor.content.locator(f"a[href^='{address}']").first).to_be_visible()


@with_and_without_scripts
async def test_what_cannot_be_found_is_said_with_what_was_looked_for(visitor: Visitor) -> None:
    await visitor.open("/search")
    await visitor.field("What do you have?").fill("c-nulle-part")
    await visitor.content.get_by_role("button", name=visitor.say("Search")).click()
    await expect(visitor.heading("Nothing was found")).to_be_visible()
    await expect(visitor.field("What do you have?")).to_have_value("c-nulle-part")


# --- health ----------------------------------------------------------------------------------------


async def test_health_shows_what_fails_since_when_and_what_was_rejected(visitor: Visitor) -> None:
    await visitor.open("/health")
    suspended = visitor.page.get_by_role("region", name=visitor.say("Suspended webhooks"))
    await expect(suspended.get_by_role("row").filter(has_text="ERP")).to_be_visible()
    await expect(visitor.text("Consuming")).to_be_visible()
    await expect(visitor.text("Answers")).to_be_visible()
    await visitor.link("Look at them").click()
    await visitor.is_at("/dead-letters")
    assert await visitor.rows.count() >= 3


@with_and_without_scripts
async def test_a_rejected_message_is_sent_to_its_queue_again(
    visitor: Visitor, platform: Platform, router: RouterProcess, account: str
) -> None:
    came = make_event(account, "cdr")
    letter = dead_letter(unique("dl_"), encode(came), source="cdr", exchange=platform.exchange("cdr"))
    StoredThings(platform.database).add_dead_letter(letter)
    await visitor.open(f"/dead-letters/{letter.id}")
    await visitor.button("Send to its queue again").click()
    await visitor.is_told("The message was sent to the queue of “%(source)s” again.", source="cdr")
    assert (await router.event(account, came["id"]))["account_id"] == account
