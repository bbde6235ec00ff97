"""The definitions in memory, and what a change of them means for deliveries that wait."""

from __future__ import annotations

import asyncio
from dataclasses import replace
from datetime import timedelta

import pytest

from router.application.definitions import DefinitionBook, DefinitionFollower
from router.domain.event import AccountId
from router.domain.webhook import Suspension, SuspensionReason, Webhook
from router.ports import DefinitionChange
from tests.support.fakes_delivery import (
    ACCOUNT,
    NOW,
    FakeDefinitions,
    FakeDeliveries,
    circuits,
    claim,
    snapshot,
    webhook,
)


def changed(now: Webhook) -> DefinitionChange:
    return DefinitionChange(webhook_id=now.id, webhook=now)


def test_an_account_sees_its_own_webhooks_and_no_others() -> None:
    book = DefinitionBook()
    other = replace(webhook("b"), account_id=AccountId("2077"))
    book.load(snapshot(webhook("a"), other))

    assert [each.id for each in book.account(ACCOUNT).webhooks] == ["a"]
    assert book.account(ACCOUNT).webhooks_enabled
    assert not book.account(AccountId("2077")).webhooks_enabled
    assert book.account(AccountId("unknown")).webhooks == ()


def test_changes_add_replace_move_and_remove() -> None:
    book = DefinitionBook()
    book.load(snapshot(webhook("a")))

    book.apply([changed(webhook("b")), changed(replace(webhook("a"), name="new"))])
    assert [(each.id, each.name) for each in book.account(ACCOUNT).webhooks] == [("a", "new"), ("b", "CRM")]

    book.apply([changed(replace(webhook("b"), account_id=AccountId("2077")))])
    assert [each.id for each in book.account(ACCOUNT).webhooks] == ["a"]
    assert [each.id for each in book.account(AccountId("2077")).webhooks] == ["b"]

    book.apply([DefinitionChange(webhook_id=webhook("a").id), DefinitionChange(webhook_id=webhook("b").id)])
    assert len(book) == 0
    assert book.account(AccountId("2077")).webhooks == ()
    assert book.account(ACCOUNT).webhooks_enabled, "the account is still there"


async def follow(*news: object) -> FakeDeliveries:
    """What a follower does to deliveries while it hears `news`."""
    deliveries, definitions = FakeDeliveries(), FakeDefinitions(news=list(news))  # type: ignore[arg-type]
    follower = DefinitionFollower(DefinitionBook(), definitions, deliveries, circuits())
    await follower._follow()
    assert follower.loaded.is_set()
    return deliveries


async def test_the_first_snapshot_wakes_what_was_enabled_while_no_router_ran() -> None:
    assert (await follow(snapshot(webhook()))).woken == [None]


@pytest.mark.parametrize(
    ("after", "wakes"),
    [
        (webhook(), True),
        (webhook(enabled=False), False),
        (webhook(problem="url: …"), False),
        # To end as failed/suspended, which a replay can send later.
        (webhook(suspension=Suspension(since=NOW, reason=SuspensionReason.GONE)), True),
    ],
)
async def test_a_webhook_that_may_send_again_wakes_its_deliveries(after: Webhook, wakes: bool) -> None:
    deliveries = await follow(snapshot(webhook(enabled=False)), [changed(after)])

    assert ("wh_1" in deliveries.woken) is wakes


async def test_what_waits_for_a_webhook_that_is_suspended_ends_without_resting_for_its_circuit() -> None:
    failing = webhook(failing_since=NOW)
    suspended = replace(failing, suspension=Suspension(since=NOW, reason=SuspensionReason.FAILING))
    known = circuits()
    known.failed(claim(), failing, after_seconds=0.1)
    definitions = FakeDefinitions(news=[snapshot(failing), [changed(suspended)]])

    await DefinitionFollower(DefinitionBook(), definitions, FakeDeliveries(), known)._follow()

    assert not known.is_failing(failing.id)


async def test_an_account_that_is_switched_on_wakes_its_webhooks_and_one_switched_off_none() -> None:
    switch_on = DefinitionChange(account_id=ACCOUNT, webhooks_enabled=True)
    switch_off = DefinitionChange(account_id=ACCOUNT, webhooks_enabled=False)

    on = await follow(snapshot(webhook("a"), webhook("b", enabled=False), enabled=False), [switch_on])
    off = await follow(snapshot(webhook("a")), [switch_off])

    assert on.woken == [None, "a"]
    assert off.woken == [None]


async def test_a_deleted_webhook_cancels_its_deliveries_also_when_only_a_reload_shows_it() -> None:
    by_change = await follow(snapshot(webhook()), [DefinitionChange(webhook_id=webhook().id)])
    by_reload = await follow(snapshot(webhook()), snapshot())

    assert by_change.cancelled == by_reload.cancelled == ["wh_1"]


async def test_a_reload_without_changes_does_nothing() -> None:
    deliveries = await follow(snapshot(webhook()), snapshot(webhook()))

    assert (deliveries.woken, deliveries.cancelled) == ([None], [])


async def test_a_follower_that_is_stopped_ends() -> None:
    class Quiet(FakeDefinitions):
        async def follow(self):  # type: ignore[no-untyped-def]
            yield snapshot()
            await asyncio.Event().wait()

    follower = DefinitionFollower(DefinitionBook(), Quiet(), FakeDeliveries(), circuits())
    running = asyncio.create_task(follower.run())
    await follower.loaded.wait()

    follower.stop()

    await running


def test_that_a_webhook_began_to_fail_is_no_news_for_deliveries_and_that_it_works_again_is() -> None:
    book = DefinitionBook()
    well, failing = webhook(), webhook(failing_since=NOW)
    book.load(snapshot(well))

    assert book.apply([changed(failing)]) == []
    assert book.webhook(well.id) == failing
    assert book.load(snapshot(replace(failing, failing_since=NOW + timedelta(1)))) == []
    assert book.apply([changed(replace(failing, enabled=False))]) == [(well.id, replace(failing, enabled=False))]
    assert book.apply([changed(failing)]) == [(well.id, failing)]
    assert book.apply([changed(well)]) == [(well.id, well)]
