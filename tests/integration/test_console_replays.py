"""Replays in the console: counted, begun, watched, cancelled; one delivery, a selection, a test. In both languages."""

from __future__ import annotations

import re
from collections.abc import AsyncIterator
from dataclasses import replace

import pytest
from prometheus_client import CollectorRegistry

from router.domain.delivery import DeliveryReason, DeliveryStatus
from router.domain.principal import Scope
from router.domain.replay import MAX_RUNNING, ReplayState
from router.web.console.pages.replays_one import MAX_SELECTED
from tests.support.api import Surroundings
from tests.support.console import Browser, console
from tests.support.samples import at, delivery, event, replay, webhook
from tests.support.stored import StoredThings
from tests.support.tokens import store_token

NEW = "/replays/new?webhook=wh_crm&from=2026-03-01T11:00&kind=deliveries"


@pytest.fixture
def things(stored: StoredThings) -> StoredThings:
    """A webhook, with one delivery that was taken and two that failed just before noon, UTC."""
    stored.add_webhook(webhook())
    for number, status in enumerate((DeliveryStatus.DELIVERED, DeliveryStatus.FAILED, DeliveryStatus.FAILED)):
        received = event(f"evt-{number}", matched=["wh_crm"], received_at=at(-number - 1))
        reason = DeliveryReason.EXHAUSTED if status is DeliveryStatus.FAILED else None
        stored.add_event(received)
        stored.add_delivery(delivery(received, id=f"dlv_{number}", status=status, reason=reason), received.key)
    return stored


@pytest.fixture(params=["fr", "en"])
async def browser(
    request: pytest.FixtureRequest, surroundings: Surroundings, things: StoredThings
) -> AsyncIterator[Browser]:
    async with console(surroundings, request.param) as browser:
        await browser.sign_in()
        yield browser


def said(browser: Browser, french: str, english: str) -> str:
    return french if browser.language == "fr" else english


# --- many ------------------------------------------------------------------------------------------


async def test_a_replay_is_counted_before_it_begins(browser: Browser, things: StoredThings) -> None:
    empty = await browser.get("/replays")
    assert said(browser, "Aucun rejeu", "No replay yet") in empty.text

    counted = await browser.get(f"{NEW}&count=1")
    assert counted.status == 200
    assert said(browser, "2 livraisons à renvoyer", "2 deliveries to send again") in counted.text
    assert things.database["replays"].count_documents({}) == 0

    form = {name: counted.value(name) for name in ("account_id", "webhook", "kind", "from", "to")}
    begun = await browser.post("/replays/new", {**form, "reason": "ticket 4711", "per_second": "2,5"})
    shown = await browser.follow(begun)
    assert said(browser, "Le rejeu a commencé.", "The replay has begun.") in shown.text
    assert "ticket 4711" in shown.text
    assert '<meta http-equiv="refresh"' in shown.html
    (kept,) = things.database["replays"].find()
    assert (kept["matched"], kept["per_second"], kept["reason"]) == (2, 2.5, "ticket 4711")
    # 11:00 on the reader's clock.
    assert kept["filter"]["from"] == at(-7200)


async def test_a_replay_that_is_over_stays_as_it_is_shown(browser: Browser, things: StoredThings) -> None:
    things.add_replay(replay())
    listed = await browser.get("/replays?account=1042")
    assert listed.html.count("/replays/rpl_1/cancel") == 1

    cancelled = await browser.follow(await browser.post("/replays/rpl_1/cancel"))

    assert said(browser, "Annulé", "Cancelled") in cancelled.text
    assert "http-equiv" not in cancelled.html
    assert "/replays/rpl_1/cancel" not in cancelled.html
    (kept,) = things.database["replays"].find()
    assert kept["state"] == ReplayState.CANCELLED


@pytest.mark.parametrize(
    ("query", "field"),
    [
        ("count=1", "webhook"),
        ("webhook=wh_none&count=1", "webhook"),
        ("webhook=wh_crm&from=2030-01-01T00:00&count=1", "from"),
        ("webhook=wh_crm&from=2020-01-01T00:00&count=1", "from"),
        ("webhook=wh_crm&from=yesterday&count=1", "from"),
        ("kind=missing&from=2026-03-01T11:00&count=1", "account_id"),
    ],
)
async def test_what_is_wrong_is_said_beside_the_field_and_what_was_typed_stays(
    browser: Browser, query: str, field: str
) -> None:
    screen = await browser.get(f"/replays/new?{query}")

    assert screen.status == 400
    assert screen.error(field)
    assert not re.search(r"needs one|must be", screen.error(field)) or browser.language == "en"
    assert screen.value("webhook") == ("wh_crm" if "wh_crm" in query else "wh_none" if "wh_none" in query else "")


async def test_a_reason_with_a_number_is_refused_and_nothing_begins(browser: Browser, things: StoredThings) -> None:
    await browser.get(f"{NEW}&count=1")

    screen = await browser.post("/replays/new", {"webhook": "wh_crm", "kind": "deliveries", "reason": "06 39 98 11 22"})

    assert screen.status == 400
    assert said(browser, "numéro de téléphone", "phone number") in screen.error("reason")
    assert things.database["replays"].count_documents({}) == 0


async def test_too_many_replays_at_once_are_told(browser: Browser, things: StoredThings) -> None:
    for number in range(MAX_RUNNING):
        things.add_replay(replay(f"rpl_{number}"))
    await browser.get(f"{NEW}&count=1")

    screen = await browser.post("/replays/new", {"webhook": "wh_crm", "kind": "deliveries"})

    assert screen.status == 409
    assert said(browser, "Trop de rejeux", "So many replays") in screen.text


async def test_missing_events_are_counted(browser: Browser, things: StoredThings) -> None:
    missed = replace(event("evt-m"), received_at=at(-60))
    things.add_event(missed)
    things.database["events"].update_one({"_id": missed.key}, {"$set": {"unmatched": "1042"}})

    screen = await browser.get("/replays/new?account_id=1042&kind=missing&count=1")

    assert said(browser, "1 événement sans destinataire", "1 event matched nothing") in screen.text


# --- one, and a few --------------------------------------------------------------------------------


async def test_one_delivery_is_sent_again_and_where_it_cannot_be_the_page_says_why(
    browser: Browser, things: StoredThings
) -> None:
    asked = await browser.get("/deliveries/dlv_1/replay")
    assert said(browser, "Renvoyer cette livraison ?", "Send this delivery again?").replace(" ?", "") in (
        asked.heading.replace("\u202f", " ").replace("\xa0", " ")
    )
    done = await browser.post("/deliveries/dlv_1/replay", {"reason": "ticket 4711"})
    assert (done.status, done.location) == (303, "/deliveries/dlv_1")

    things.database["events"].update_one({"event_id": "evt-2"}, {"$unset": {"payload": ""}})
    refused = await browser.post("/deliveries/dlv_2/replay", {"reason": "ticket 4711"})
    assert refused.status == 409
    assert said(browser, "son contenu n’existe plus", "its payload is gone") in refused.text
    assert refused.value("reason") == "ticket 4711"
    assert (await browser.get("/deliveries/dlv_none/replay")).status == 404


async def test_a_selection_is_asked_about_and_then_sent_again(browser: Browser, things: StoredThings) -> None:
    await browser.get("/replays")
    nothing = await browser.post("/replays/selection", {"back": "/webhooks"})
    assert nothing.location == "/webhooks"

    asked = await browser.post("/replays/selection", {"id": ["dlv_1", "dlv_2", "dlv_1"], "back": "/webhooks"})
    assert asked.html.count('name="id"') == 2
    assert things.database["deliveries"].count_documents({"status": "pending"}) == 0

    done = await browser.post("/replays/selection", {"id": ["dlv_1", "dlv_2"], "back": "/webhooks", "sure": "1"})
    assert done.location == "/webhooks"
    assert things.database["deliveries"].count_documents({"status": "pending"}) == 2

    things.database["events"].delete_one({"event_id": "evt-0"})
    some = await browser.post("/replays/selection", {"id": ["dlv_0", "dlv_2"], "back": "//elsewhere", "sure": "1"})
    assert "dlv_0" in some.text
    assert "elsewhere" not in some.html
    many = await browser.post("/replays/selection", {"id": [f"dlv_{number}" for number in range(MAX_SELECTED + 1)]})
    assert many.status == 400


# --- a test ----------------------------------------------------------------------------------------


async def test_a_test_leads_to_the_webhook_that_waits_for_its_answer(browser: Browser, things: StoredThings) -> None:
    await browser.get("/webhooks/wh_crm")

    sent = await browser.post("/webhooks/wh_crm/test")

    assert re.fullmatch(r"/webhooks/wh_crm\?test=dlv_\w+", sent.location)
    assert things.database["deliveries"].count_documents({"trigger": "test"}) == 1


# --- who may ---------------------------------------------------------------------------------------


async def test_one_account_sees_its_replays_only_and_only_with_the_scope(
    surroundings: Surroundings, things: StoredThings
) -> None:
    things.add_replay(replay())
    other = await store_token(surroundings.tokens, Scope.REPLAY, Scope.READ, account="77")
    reader = await store_token(surroundings.tokens, Scope.READ, account="1042")
    async with console(surroundings) as browser:
        await browser.sign_in(other.text)
        assert "rpl_1" not in (await browser.get("/replays")).html
        assert (await browser.get("/replays/rpl_1")).status == 404
        assert (await browser.post("/replays/rpl_1/cancel")).status == 404
        assert (await browser.get(f"{NEW}&count=1")).status == 400
    surroundings.metrics = CollectorRegistry()
    async with console(surroundings) as browser:
        await browser.sign_in(reader.text)
        assert (await browser.get("/replays")).status == 403
        assert (await browser.post("/deliveries/dlv_1/replay")).status == 403

    (kept,) = things.database["replays"].find()
    assert kept["state"] == ReplayState.RUNNING
    assert things.database["deliveries"].count_documents({"status": "pending"}) == 0
