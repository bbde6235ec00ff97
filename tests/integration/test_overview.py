"""The contract of `ports.Overview`, on the fake and on MongoDB through both drivers; and that MongoDB answers every
question from an index, in a log of tens of thousands too.
"""

from __future__ import annotations

from datetime import timedelta
from typing import Any

import pytest
from motor.motor_asyncio import AsyncIOMotorClient

from router.adapters.mongo.driver import Database
from router.adapters.mongo.reader import MongoReader
from router.adapters.mongo.replays import MongoReplays
from router.application.overview import health_report
from router.application.search import Sources, search
from router.domain.delivery import DeliveryId, DeliveryStatus
from router.domain.event import AccountId
from router.domain.matching import Verdict
from router.domain.webhook import Suspension, SuspensionReason, WebhookId
from router.ports import MAX_BUCKETS, DeliveryBucket, DeliveryFilter, FoundEvent, LetterCount, StoredAccount
from tests.support.api import KEEP
from tests.support.reading import Client, RecordedReads, World, assert_from_indexes
from tests.support.samples import ACCOUNT, NOON, at, dead_letter, delivery, event, webhook
from tests.support.stored import StoredThings

CRM, FLYER = WebhookId("wh_crm"), WebhookId("wh_flyer")
HOUR = timedelta(hours=1)


# --- deliveries over time --------------------------------------------------------------------------


async def test_buckets_count_by_steps_of_time_and_leave_empty_ones_out(world: World) -> None:
    for number, (seconds, status) in enumerate([
        (-1, DeliveryStatus.DELIVERED),  # before
        (0, DeliveryStatus.DELIVERED),
        (3599.999, DeliveryStatus.EXPIRED),
        (7200, DeliveryStatus.PENDING),
        (7201, DeliveryStatus.DELIVERED),
    ]):  # fmt: skip
        received = event(f"evt-{number}", received_at=at(seconds))
        world.given.add_delivery(delivery(received, status=status), received.key)

    assert await world.reader.delivery_buckets([CRM, FLYER], NOON, HOUR) == {
        CRM: [
            DeliveryBucket(start=NOON, delivered=1, failed=1),
            DeliveryBucket(start=NOON + 2 * HOUR, delivered=1, pending=1),
        ],
        FLYER: [],
    }
    assert await world.reader.delivery_buckets([], NOON, HOUR) == {}


async def test_buckets_end(reader: MongoReader, stored: StoredThings) -> None:
    for number in (MAX_BUCKETS - 1, MAX_BUCKETS):
        received = event(f"evt-{number}", received_at=at(number))
        stored.add_delivery(delivery(received), received.key)

    (found,) = (await reader.delivery_buckets([CRM], NOON, timedelta(seconds=1))).values()

    assert [bucket.start for bucket in found] == [at(MAX_BUCKETS - 1)]


# --- by whatever was pasted ------------------------------------------------------------------------


async def test_delivery_is_summed_up_without_its_payload(world: World) -> None:
    received = event(matched=[CRM])
    sent = delivery(received)
    world.given.add_delivery(sent, received.key)

    assert await world.reader.delivery_summary(sent.id) == sent
    assert await world.reader.delivery_summary(DeliveryId("dlv_no")) is None


async def test_event_is_found_by_its_id_whether_it_matched_or_not(world: World) -> None:
    world.given.add_account(StoredAccount(id=ACCOUNT, webhooks_enabled=True))
    world.given.add_account(StoredAccount(id=AccountId("77"), webhooks_enabled=False))
    world.given.add_event(event(matched=[CRM], not_matched=[(FLYER, Verdict.PAUSED)], call_id="call-1"))
    world.given.add_event(event(account_id="77", not_matched=[(FLYER, Verdict.PAUSED)]))

    found = {each.account_id: each for each in await world.reader.find_events("evt-1", None, 9)}

    assert {account: each.is_matched for account, each in found.items()} == {"1042": True, "77": False}
    assert found[ACCOUNT] == FoundEvent(
        account_id=ACCOUNT,
        event_id="evt-1",
        type=event().type,
        name="call.received",
        call_id="call-1",
        received_at=NOON,
        is_matched=True,
    )
    assert await world.reader.find_events("evt-1", ACCOUNT, 9) == [found[ACCOUNT]]
    assert await world.reader.find_events("evt-2", None, 9) == []
    assert len(await world.reader.find_events("evt-1", None, 1)) == 1


async def test_events_of_a_call_are_found_over_all_accounts_or_in_one(world: World) -> None:
    for number, account in enumerate(["1042", "1042", "77"]):
        world.given.add_event(event(f"evt-{number}", account_id=account, call_id="call-1"))

    async def ids(account_id: AccountId | None) -> set[str]:
        return {each.event_id for each in await world.reader.find_events_of_call("call-1", account_id, 9)}

    assert await ids(None) == {"evt-0", "evt-1", "evt-2"}
    assert await ids(ACCOUNT) == {"evt-0", "evt-1"}
    assert await ids(AccountId("9")) == set()


async def test_webhooks_are_found_by_the_beginning_of_their_host(world: World) -> None:
    urls = {
        "wh_a": "https://crm.example.com/hooks?k=1",
        "wh_b": "http://crm.example.com:8080/",
        "wh_c": "https://crm.example.org/",
        "wh_d": "https://mycrm.example.com/",
    }
    for identity, url in urls.items():
        world.given.add_webhook(webhook(identity, url=url))
    world.given.add_webhook(webhook("wh_e", url=urls["wh_a"], account_id=AccountId("77")))

    async def ids(host: str, account_id: AccountId | None = None) -> set[str]:
        return {each.id for each in await world.reader.webhooks_at(host, account_id, 9)}

    assert await ids("crm.example.com") == {"wh_a", "wh_b", "wh_e"}
    assert await ids("crm.example.com", ACCOUNT) == {"wh_a", "wh_b"}
    assert await ids("crm.example.com:8080") == {"wh_b"}
    assert await ids("crm.exa") == {"wh_a", "wh_b", "wh_c", "wh_e"}
    assert await ids("example.com") == set()
    assert len(await world.reader.webhooks_at("crm", None, 2)) == 2


# --- what fails, and what waits --------------------------------------------------------------------


async def test_failing_webhooks_come_by_how_long_and_suspended_ones_by_how_lately(
    reader: MongoReader, stored: StoredThings
) -> None:
    records: list[dict[str, Any]] = [
        {"_id": "wh_a", "failing_since": at(2)},
        {"_id": "wh_b", "failing_since": at(1), "suspended_at": at(9), "suspended_reason": "failing"},
        {"_id": "wh_c"},
        {"_id": "wh_d", "suspended_at": at(10), "suspended_reason": "gone"},
    ]
    stored.database["webhook_health"].insert_many(records)

    assert await reader.failing_webhooks(9) == ["wh_b", "wh_a"]
    assert await reader.failing_webhooks(1) == ["wh_b"]
    assert await reader.suspended_webhooks(9) == ["wh_d", "wh_b"]


async def test_dead_letters_are_counted_by_reason(world: World) -> None:
    world.given.add_dead_letter(dead_letter("dl_1", received_at=at(1)))
    world.given.add_dead_letter(dead_letter("dl_2", received_at=at(2), requeued_at=at(3)))
    world.given.add_dead_letter(dead_letter("dl_3", reason="no_account"))

    assert await world.reader.dead_letter_counts() == [
        LetterCount(reason="no_account", total=1, open=1, newest_at=NOON),
        LetterCount(reason="not_json", total=2, open=1, newest_at=at(2)),
    ]
    summary = await world.reader.dead_letter_summary("dl_3")
    assert summary is not None
    assert (summary.reason, summary.raw) == ("no_account", None)
    assert await world.reader.dead_letter_summary("dl_4") is None


async def test_pending_deliveries_are_counted_with_the_oldest(world: World) -> None:
    assert (await world.reader.pending(at(0))).count == 0
    waits = {"dlv_a": (at(0), at(900)), "dlv_b": (at(5), at(50)), "dlv_c": (at(9), at(20))}
    for identity, (received_at, due_at) in waits.items():
        received = event(f"evt-{identity}", received_at=received_at)
        sent = delivery(received, id=identity, status=DeliveryStatus.PENDING, next_attempt_at=due_at)
        world.given.add_delivery(sent, received.key)

    found = await world.reader.pending(at(50))

    assert (found.count, found.due, found.due_since) == (3, 2, at(20))
    assert found.oldest is not None
    assert found.oldest.id == "dlv_a"
    assert (await world.reader.pending(at(19))).due_since is None


# --- how MongoDB answers ---------------------------------------------------------------------------

LOG = 20_000


def fill(stored: StoredThings) -> None:
    """A log that is large for a trial server, written as the router writes it."""
    received = event("evt-1", call_id="call-1", user_id="u-1", matched=[CRM])
    stored.add_account(StoredAccount(id=ACCOUNT, webhooks_enabled=True))
    for number in range(50):
        stored.add_webhook(webhook(f"wh_{number}", url=f"https://crm-{number}.example.com/hooks"))
    suspension = Suspension(since=at(LOG), reason=SuspensionReason.GONE)
    stored.add_webhook(webhook(suspension=suspension))
    stored.add_event(received)
    stored.add_delivery(delivery(received, id="dlv_1"), received.key, ["22118993633"])
    (sample,) = stored.database["deliveries"].find()
    stored.database["deliveries"].insert_many(
        {
            **sample,
            "_id": f"dlv_{number:06}",
            "webhook_id": f"wh_{number % 50}",
            "created_at": at(number),
            "search": [f"event:evt-{number}", f"call:c-{number}", f"number:{number:06}89933"],
            **({"due_at": at(number), "status": "pending"} if number % 100 == 0 else {}),
        }
        for number in range(2, LOG)
    )
    stored.database["webhook_health"].insert_one({"_id": "wh_1", "failing_since": NOON})
    stored.add_dead_letter(dead_letter())


@pytest.mark.slow
async def test_every_question_is_answered_from_an_index_and_bounded(
    mongo_url: str, mongo_client: Client, mongo_database: str, stored: StoredThings
) -> None:
    fill(stored)
    recorder = RecordedReads()
    client: Any = AsyncIOMotorClient(mongo_url, event_listeners=[recorder])
    database = Database(client, mongo_database)
    reader = MongoReader(database, "FR")
    sources = Sources(reader=reader, replays=MongoReplays(database, KEEP))

    for text in ("1042", "dlv_1", "dl_1", "evt-1", "evt-none", "call-1", "u-1", "wh_crm", "crm-7.example.com"):
        for account_id in (None, ACCOUNT):
            report = await search(sources, text, account_id=account_id, country="FR")
            assert bool(report.groups) == (text != "evt-none"), text
    assert (await search(sources, "06 39 98 11 22", account_id=None, country="FR")).sole_hit is not None
    health = await health_report(reader, {}, at(LOG))
    await reader.delivery_buckets([CRM, FLYER], NOON, HOUR)
    await reader.deliveries(DeliveryFilter(webhook_id=CRM, to=at(LOG)), after=None, limit=50)

    client.close()
    assert (health.pending.count, len(health.failing.items), len(health.suspended.items)) == (LOG // 100 - 1, 1, 1)
    assert_from_indexes(recorder.commands, mongo_client[mongo_database])
