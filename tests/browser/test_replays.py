"""Sending again, in both languages: one delivery, a selection, what failed in a period, what matched nothing."""

from __future__ import annotations

from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from datetime import UTC, datetime, timedelta
from typing import Any
from zoneinfo import ZoneInfo

import pytest
from playwright.async_api import expect

from router.domain.delivery import DeliveryStatus
from router.domain.replay import ReplayState
from tests.support.customer import OK, Customer
from tests.support.events import make_event
from tests.support.http_server import ScriptedServer, answer
from tests.support.router_process import Platform, RouterProcess, wait_for
from tests.support.visitor import Visitor, with_and_without_scripts

FAILED = "What did not get through"
MISSING = "Events that matched nothing"
PARIS = ZoneInfo("Europe/Paris")


@asynccontextmanager
async def refusing() -> AsyncIterator[Customer]:
    """A customer whose server answers 500, until it is told otherwise."""
    customer = Customer(lambda _: answer(500))
    async with customer.server:
        yield customer


async def failed_deliveries(
    platform: Platform, router: RouterProcess, account: str, customer: Customer, count: int
) -> tuple[str, Sequence[dict[str, Any]]]:
    """A webhook and what failed of it, every attempt; afterwards its server answers with 200."""
    webhook_id = platform.define_webhook(account, to=customer.url, name="Tombé")
    await router.takes_up_definitions()
    await platform.publish(*(make_event(account) for _ in range(count)))

    async def failed() -> Sequence[dict[str, Any]]:
        found = await router.deliveries(account_id=account, status="failed")
        return found if len(found) == count else []

    found = await wait_for(failed)
    customer.behave = lambda _: OK
    return webhook_id, found


@pytest.fixture
def around_now() -> tuple[str, str]:
    """A period that has what was just received, as its fields take it."""
    now = datetime.now(UTC).astimezone(PARIS)
    return tuple((now + timedelta(hours=hours)).strftime("%Y-%m-%dT%H:%M") for hours in (-1, 1))  # type: ignore[return-value]


async def ask_for(visitor: Visitor, account: str, period: tuple[str, str], *, what: str) -> None:
    """Fill in the form and count."""
    await visitor.open("/replays")
    await visitor.link("New replay…").first.click()
    await visitor.field("Account").last.fill(account)
    await visitor.page.get_by_role("radio", name=visitor.has(what)).check()
    await visitor.field("From").fill(period[0])
    await visitor.field("To").fill(period[1])
    await visitor.button("Count").click()


@with_and_without_scripts
async def test_a_delivery_is_sent_again(
    visitor: Visitor, platform: Platform, router: RouterProcess, account: str
) -> None:
    async with refusing() as server:
        _, (one,) = await failed_deliveries(platform, router, account, server, 1)
        tried = len(server.requests)
        await visitor.open(f"/deliveries/{one['id']}")
        await visitor.button("Send again").click()
        await visitor.is_told("The delivery is sent again.")
        await wait_for(lambda: len(server.requests) > tried)
        request = server.requests[-1]
        assert (request.header("webhook-id"), request.header("x-webhook-replay")) == (one["event_id"], "true")
        await wait_for(lambda: _ended(router, one["id"]))
        await visitor.open(f"/deliveries/{one['id']}")
        await expect(visitor.content).to_contain_text(visitor.label(DeliveryStatus.DELIVERED))


@with_and_without_scripts
async def test_a_selection_is_sent_again(
    visitor: Visitor, platform: Platform, router: RouterProcess, account: str
) -> None:
    async with refusing() as server:
        _, three = await failed_deliveries(platform, router, account, server, 3)
        await visitor.open(f"/deliveries?account={account}")
        for box in (await visitor.rows.get_by_role("checkbox").all())[:2]:
            await box.check()
        await visitor.button("Send the selected again…").click()
        await visitor.field("Reason").fill("Serveur réparé")
        await visitor.button("Send again").click()
        await visitor.is_at("/deliveries")
        for delivery in three[:2]:
            await wait_for(lambda delivery=delivery: _ended(router, delivery["id"]))  # type: ignore[misc]
        assert [each["id"] for each in await router.deliveries(account_id=account, status="failed")] == [three[2]["id"]]


@with_and_without_scripts
async def test_what_failed_in_a_period_is_counted_then_sent_again(
    visitor: Visitor, platform: Platform, router: RouterProcess, account: str, around_now: tuple[str, str]
) -> None:
    async with refusing() as server:
        await failed_deliveries(platform, router, account, server, 3)
        tried = len(server.requests)
        await ask_for(visitor, account, around_now, what=FAILED)
        await expect(visitor.page.get_by_role("status")).to_contain_text(
            visitor.language.ngettext("%(num)s delivery to send again", "%(num)s deliveries to send again", 3)
        )
        assert len(server.requests) == tried
        await visitor.field("Reason").fill("Panne de 14 h à 16 h")
        await visitor.button("Send again").click()
        await visitor.is_told("The replay has begun.")
        # The page loads itself until it is over.
        await expect(visitor.heading(visitor.label(ReplayState.DONE))).to_be_visible(timeout=20_000)
        await expect(visitor.content).to_contain_text("Panne de 14 h à 16 h")
        await expect(visitor.text("%(done)s of %(matched)s", done="3", matched="3")).to_be_visible()
        await wait_for(lambda: len(server.requests) == tried + 3)


async def test_a_replay_that_goes_on_is_cancelled(
    visitor: Visitor, platform: Platform, router: RouterProcess, account: str, around_now: tuple[str, str]
) -> None:
    async with refusing() as server:
        await failed_deliveries(platform, router, account, server, 5)
        tried = len(server.requests)
        await ask_for(visitor, account, around_now, what=FAILED)
        await visitor.field("How many a second").fill("0,1")
        await visitor.button("Send again").click()
        await visitor.is_told("The replay has begun.")
        await expect(visitor.page.get_by_role("heading", name=visitor.label(ReplayState.RUNNING))).to_be_visible()
        await visitor.button("Cancel the replay").click()
        await visitor.is_told("The replay is cancelled. What was released already is sent.")
        await expect(visitor.page.get_by_role("heading", name=visitor.label(ReplayState.CANCELLED))).to_be_visible()
        assert len(server.requests) < tried + 5


async def test_events_that_matched_nothing_are_tried_on_todays_definitions(
    visitor: Visitor, platform: Platform, router: RouterProcess, account: str, around_now: tuple[str, str]
) -> None:
    async with ScriptedServer() as server:
        came = make_event(account)
        await platform.publish(came)
        await router.event(account, came["id"])
        platform.define_webhook(account, to=server.url)
        await router.takes_up_definitions()
        await ask_for(visitor, account, around_now, what=MISSING)
        await visitor.button("Send again").click()
        await visitor.is_told("The replay has begun.")
        await wait_for(lambda: len(server.requests) == 1)
        await visitor.open(f"/calls/{came['call_id']}?account={account}")
        await expect(visitor.text("Sent later, by a replay")).to_be_visible()


async def test_a_period_that_is_too_long_or_turned_around_is_said_beside_the_field(
    visitor: Visitor, account: str
) -> None:
    await ask_for(visitor, account, ("2020-01-02T00:00", "2020-01-01T00:00"), what=FAILED)
    await expect(visitor.page.get_by_role("alert")).to_be_visible()
    await expect(visitor.field("From")).to_have_attribute("aria-invalid", "true")
    await expect(visitor.field("To")).to_have_value("2020-01-01T00:00")


@pytest.mark.parametrize("lang", ["fr"])
async def test_nothing_to_send_again_is_said(visitor: Visitor, account: str, around_now: tuple[str, str]) -> None:
    await ask_for(visitor, account, around_now, what=FAILED)
    await expect(visitor.heading("Nothing to send again")).to_be_visible()
    await expect(visitor.button("Send again")).to_have_count(0)


async def _ended(router: RouterProcess, delivery_id: str) -> bool:
    return bool((await router.api(f"/v1/deliveries/{delivery_id}"))["status"] == "delivered")
