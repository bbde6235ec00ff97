"""The contract of `ports.Reader`, on the fake and on MongoDB through both drivers; and that MongoDB answers every
question from an index.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from datetime import timedelta
from itertools import combinations
from typing import Any

import pytest
from bson import ObjectId
from motor.motor_asyncio import AsyncIOMotorClient

from router.adapters.mongo.driver import Database
from router.adapters.mongo.lookups import LISTED_ATTEMPTS
from router.adapters.mongo.reader import MongoReader, driving_index
from router.domain.delivery import DeliveryId, DeliveryStatus
from router.domain.errors import DependencyUnavailable
from router.domain.event import AccountId, EventType
from router.domain.matching import Verdict
from router.domain.numbers import search_key, search_prefix
from router.domain.webhook import (
    Suspension,
    SuspensionReason,
    TrackingNumberRestriction,
    WebhookId,
    WebhookState,
)
from router.ports import DeliveryCounts, DeliveryFilter, Position, Replayed, StoredAccount
from tests.support.reading import Client, RecordedReads, World, assert_from_indexes
from tests.support.samples import ACCOUNT, NOON, at, attempt, dead_letter, delivery, event, webhook
from tests.support.stored import StoredThings

# --- accounts and webhooks -------------------------------------------------------------------------


async def test_account_is_found_by_its_id(world: World) -> None:
    account = StoredAccount(id=ACCOUNT, webhooks_enabled=True)
    world.given.add_account(account)

    assert await world.reader.account(ACCOUNT) == account
    assert await world.reader.account(AccountId("9")) is None


async def test_webhook_is_found_whole(world: World) -> None:
    known = webhook(
        restriction=TrackingNumberRestriction(numbers=frozenset({"+33199001234"})),
        headers=(("x-api-key", "k"),),
        suspension=Suspension(since=NOON, reason=SuspensionReason.GONE),
    )
    world.given.add_webhook(known)

    assert await world.reader.webhook(known.id) == known
    assert await world.reader.webhook(WebhookId("wh_no")) is None


async def test_webhooks_by_id_are_those_that_exist(world: World) -> None:
    known = webhook()
    world.given.add_webhook(known)

    assert await world.reader.webhooks_by_id({known.id, WebhookId("wh_no")}) == {known.id: known}
    assert await world.reader.webhooks_by_id([]) == {}


async def test_webhooks_come_newest_first_and_undated_last(world: World) -> None:
    created = {"wh_a": at(1), "wh_b": None, "wh_c": at(2), "wh_d": None, "wh_e": at(1)}
    for identity, moment in created.items():
        world.given.add_webhook(webhook(identity, created_at=moment))

    found = await world.reader.webhooks(account_id=None, event_type=None, after=None, limit=10)

    assert [each.id for each in found] == ["wh_c", "wh_e", "wh_a", "wh_d", "wh_b"]


@pytest.mark.parametrize("limit", [1, 2, 3])
async def test_pages_of_webhooks_join_without_gap_or_repetition(world: World, limit: int) -> None:
    for number in range(7):
        world.given.add_webhook(webhook(f"wh_{number}", created_at=at(number // 3) if number < 5 else None))

    seen: list[str] = []
    after: Position | None = None
    while found := await world.reader.webhooks(account_id=ACCOUNT, event_type=None, after=after, limit=limit):
        seen += [each.id for each in found]
        after = Position(at=found[-1].created_at or NOON.min.replace(tzinfo=NOON.tzinfo), id=found[-1].id)

    assert seen == ["wh_4", "wh_3", "wh_2", "wh_1", "wh_0", "wh_6", "wh_5"]


async def test_webhooks_are_narrowed_and_counted(world: World) -> None:
    world.given.add_webhook(webhook("wh_a"))
    world.given.add_webhook(webhook("wh_b", event_type=EventType.CDR))
    world.given.add_webhook(webhook("wh_c", account_id=AccountId("9")))

    async def ids(account_id: AccountId | None, event_type: EventType | None) -> list[str]:
        found = await world.reader.webhooks(account_id=account_id, event_type=event_type, after=None, limit=10)
        assert await world.reader.count_webhooks(account_id=account_id, event_type=event_type) == len(found)
        return [each.id for each in found]

    assert await ids(None, None) == ["wh_c", "wh_b", "wh_a"]
    assert await ids(ACCOUNT, None) == ["wh_b", "wh_a"]
    assert await ids(ACCOUNT, EventType.CALL) == ["wh_a"]
    assert await ids(None, EventType.CALL) == ["wh_c", "wh_a"]
    assert await ids(AccountId("7"), None) == []


async def test_definitions_that_are_wrong_are_listed_with_their_problem(
    reader: MongoReader, stored: StoredThings
) -> None:
    identity = ObjectId("64b000000000000000000001")
    stored.add_definition({"_id": identity, "account_id": 1042, "created_at": "yesterday"})
    stored.add_definition({"_id": 7, "account_id": "1042", "event_type": "call", "enabled": True, "url": "nope"})
    stored.add_webhook(webhook("wh_right"))

    found = await reader.webhooks(account_id=ACCOUNT, event_type=None, after=None, limit=10)

    assert [(each.id, each.state) for each in found] == [
        ("wh_right", WebhookState.ACTIVE),
        ("7", WebhookState.INVALID),
        (str(identity), WebhookState.INVALID),
    ]
    assert await reader.count_webhooks(account_id=ACCOUNT, event_type=None) == 3
    for each in found:
        assert await reader.webhook(each.id) == each


async def test_account_stored_under_an_integer_is_the_account_of_its_digits(
    reader: MongoReader, stored: StoredThings
) -> None:
    stored.database["accounts"].insert_one({"_id": 1042, "webhooks_enabled": True})

    assert await reader.account(ACCOUNT) == StoredAccount(id=ACCOUNT, webhooks_enabled=True)
    assert await reader.account(AccountId("01042")) is None


# --- deliveries ------------------------------------------------------------------------------------


async def test_delivery_comes_with_the_payload_of_its_event(world: World) -> None:
    received = event(matched=["wh_crm"], payload=b'{"n":1e3}')
    sent = delivery(received)
    world.given.add_event(received)
    world.given.add_delivery(sent, received.key)

    assert await world.reader.delivery(sent.id) == (sent, b'{"n":1e3}')
    assert await world.reader.delivery(DeliveryId("dlv_no")) is None


@pytest.mark.parametrize("is_event_kept", [True, False])
async def test_payload_whose_retention_is_over_is_none(world: World, *, is_event_kept: bool) -> None:
    received = event(matched=["wh_crm"], payload=None)
    sent = delivery(received)
    if is_event_kept:
        world.given.add_event(received)
    world.given.add_delivery(sent, received.key)

    assert await world.reader.delivery(sent.id) == (sent, None)


async def test_counts_by_webhook(world: World) -> None:
    for number, status in enumerate(DeliveryStatus):
        received = event(f"evt-{number}")
        world.given.add_delivery(delivery(received, "wh_a", status=status), received.key)
    received = event("evt-x")
    world.given.add_delivery(delivery(received, "wh_b"), received.key)

    assert await world.reader.delivery_counts([WebhookId("wh_a"), WebhookId("wh_b"), WebhookId("wh_none")]) == {
        "wh_a": DeliveryCounts(total=5, delivered=1, failed=3, pending=1),
        "wh_b": DeliveryCounts(total=1, delivered=1),
        "wh_none": DeliveryCounts(),
    }
    assert await world.reader.delivery_counts([]) == {}


@pytest.mark.parametrize("limit", [1, 2, 5])
async def test_pages_of_deliveries_join_where_many_share_one_time(world: World, limit: int) -> None:
    for number in range(11):
        received = event(f"evt-{number}", received_at=at(number // 4))
        world.given.add_delivery(delivery(received, id=f"dlv_{number:02}"), received.key)

    seen: list[str] = []
    after: Position | None = None
    while found := await world.reader.deliveries(DeliveryFilter(account_id=ACCOUNT), after=after, limit=limit):
        seen += [each.id for each in found]
        after = Position(at=found[-1].created_at, id=found[-1].id)

    assert seen == [f"dlv_{number:02}" for number in reversed(range(11))]


# Each differs from the delivery that is looked for in what its name says, and is not to be found.
OTHERS: dict[str, dict[str, Any]] = {
    "account_id": {"account_id": "9"},
    "webhook_id": {"webhook_id": "wh_other"},
    "event_type": {"event_type": EventType.CDR},
    "status": {"status": DeliveryStatus.FAILED},
    "event_id": {"event_id": "evt-other"},
    "call_id": {"call_id": "call-other"},
    "user_id": {"user_id": "u-other"},
    "number_prefix": {},
    "from_": {"created_at": at(-1)},
    "to": {"created_at": at(60)},
}
WANTED: dict[str, Any] = {
    "account_id": ACCOUNT,
    "webhook_id": "wh_crm",
    "event_type": EventType.CALL,
    "status": DeliveryStatus.DELIVERED,
    "event_id": "evt-1",
    "call_id": "call-1",
    "user_id": "u-1",
    "number_prefix": search_prefix("06 39 98 11 22", "FR"),
    "from_": NOON,
    "to": at(60),
}


@pytest.mark.parametrize("names", [*combinations(WANTED, 1), tuple(WANTED)], ids=" ".join)
async def test_filter_finds_what_it_says_and_nothing_else(world: World, names: Sequence[str]) -> None:
    received = event("evt-1", call_id="call-1", user_id="u-1")
    wanted = delivery(received, id="dlv_wanted")
    number = [str(search_key("+33639981122", "FR"))]
    world.given.add_delivery(wanted, received.key, number)
    for name, difference in OTHERS.items():
        other = replace(wanted, id=DeliveryId(f"dlv_{name}"), **difference)
        world.given.add_delivery(other, received.key, ["4433221100"] if name == "number_prefix" else number)

    where = DeliveryFilter(**{name: WANTED[name] for name in names})
    found = {each.id for each in await world.reader.deliveries(where, after=None, limit=50)}

    left_out = {f"dlv_{name}" for name in names}
    assert found == {"dlv_wanted", *(f"dlv_{name}" for name in OTHERS)} - left_out
    assert await world.reader.count_deliveries(where) == len(found)


async def test_from_is_inclusive_and_to_exclusive(world: World) -> None:
    for number in range(3):
        received = event(f"evt-{number}", received_at=NOON + timedelta(milliseconds=number))
        world.given.add_delivery(delivery(received, id=f"dlv_{number}"), received.key)

    where = DeliveryFilter(from_=NOON + timedelta(milliseconds=1), to=NOON + timedelta(milliseconds=2))

    assert [each.id for each in await world.reader.deliveries(where, after=None, limit=9)] == ["dlv_1"]


async def test_position_after_the_end_of_the_span_changes_nothing(world: World) -> None:
    received = event(received_at=at(1))
    world.given.add_delivery(delivery(received, id="dlv_1"), received.key)

    where = DeliveryFilter(to=at(2))
    found = await world.reader.deliveries(where, after=Position(at=at(2), id="dlv_0"), limit=9)

    assert [each.id for each in found] == ["dlv_1"]


@pytest.mark.parametrize(
    ("text", "is_found"),
    [
        ("06 39 98 11 22", True),
        ("+33639981122", True),
        ("0033 6 39 98 11 22", True),
        ("33639981122", True),
        ("1122", True),
        ("981122", True),
        ("1123", False),
        ("0199", False),  # the end of neither number
    ],
)
async def test_number_is_found_in_any_format_or_by_its_end(world: World, text: str, *, is_found: bool) -> None:
    received = event()
    keys = [str(search_key(number, "FR")) for number in ("+33639981122", "+33199001234")]
    world.given.add_delivery(delivery(received), received.key, keys)

    where = DeliveryFilter(number_prefix=search_prefix(text, "FR"))

    assert await world.reader.count_deliveries(where) == is_found


async def test_lists_show_the_newest_attempts_and_one_delivery_shows_all(
    reader: MongoReader, stored: StoredThings
) -> None:
    received = event()
    attempts = tuple(attempt(number + 1, 503) for number in range(LISTED_ATTEMPTS + 5))
    sent = delivery(received, attempts=attempts, attempt_count=len(attempts))
    stored.add_delivery(sent, received.key)

    listed = await reader.deliveries(DeliveryFilter(), after=None, limit=1)
    assert listed == [replace(sent, attempts=attempts[5:])]
    assert await reader.delivery(sent.id) == (sent, None)


# --- events and calls ------------------------------------------------------------------------------


async def test_event_is_found_in_its_account_only(world: World) -> None:
    received = event(matched=["wh_crm"], not_matched=[("wh_off", Verdict.PAUSED)], call_id="call-1", sequence=2)
    world.given.add_event(received)

    assert await world.reader.event(ACCOUNT, "evt-1") == received
    assert await world.reader.event(AccountId("9"), "evt-1") is None


async def test_events_of_a_call_come_in_the_order_of_reception(world: World) -> None:
    for number in (2, 0, 1):
        world.given.add_event(event(f"evt-{number}", call_id="call-1", received_at=at(number)))
    world.given.add_event(event("evt-other", call_id="call-2"))
    world.given.add_event(event("evt-foreign", account_id="9", call_id="call-1"))

    found = await world.reader.events_of_call(ACCOUNT, "call-1", 10)

    assert [each.event_id for each in found] == ["evt-0", "evt-1", "evt-2"]
    assert len(await world.reader.events_of_call(ACCOUNT, "call-1", 2)) == 2


async def test_deliveries_of_events_follow_the_trace(world: World) -> None:
    first = event("evt-1", matched=["wh_b", "wh_gone", "wh_a"], not_matched=[("wh_off", Verdict.PAUSED)])
    second = event("evt-2", not_matched=[("wh_a", Verdict.EVENT_TYPE)])
    for to in ("wh_a", "wh_b"):
        world.given.add_delivery(delivery(first, to), first.key)

    found = await world.reader.deliveries_of_events([first, second])

    assert {key: [each.webhook_id for each in of_event] for key, of_event in found.items()} == {
        first.key: ["wh_b", "wh_a"],
        second.key: [],
    }
    assert await world.reader.deliveries_of_events([second]) == {second.key: []}


async def test_deliveries_that_a_replay_led_to_come_after_those_of_the_trace(world: World) -> None:
    later = tuple(Replayed(webhook_id=WebhookId(to), at=at(60), replay_id="rpl_1") for to in ("wh_new", "wh_off"))
    received = event("evt-1", matched=["wh_a"], not_matched=[("wh_off", Verdict.PAUSED)], replayed=later)
    world.given.add_event(received)
    for to in ("wh_off", "wh_a", "wh_new", "wh_other"):
        world.given.add_delivery(delivery(received, to), received.key)

    found = await world.reader.deliveries_of_events([received])

    assert [each.webhook_id for each in found[received.key]] == ["wh_a", "wh_new", "wh_off"]
    assert await world.reader.event(ACCOUNT, "evt-1") == received


# --- dead letters ----------------------------------------------------------------------------------


async def test_dead_letters_are_listed_without_and_shown_with_their_message(world: World) -> None:
    letter = dead_letter(body=b"\xff not JSON", requeued_at=NOON)
    world.given.add_dead_letter(letter)

    assert await world.reader.dead_letters(after=None, limit=5) == [replace(letter, raw=None)]
    assert await world.reader.dead_letter(letter.id) == letter
    assert await world.reader.dead_letter("dl_no") is None


async def test_pages_of_dead_letters_join(world: World) -> None:
    for number in range(5):
        world.given.add_dead_letter(dead_letter(f"dl_{number}", received_at=at(number // 2)))

    seen: list[str] = []
    after: Position | None = None
    while found := await world.reader.dead_letters(after=after, limit=2):
        seen += [each.id for each in found]
        after = Position(at=found[-1].received_at, id=found[-1].id)

    assert seen == ["dl_4", "dl_3", "dl_2", "dl_1", "dl_0"]
    assert await world.reader.count_dead_letters() == 5


# --- how MongoDB answers ---------------------------------------------------------------------------


async def _ask_everything(reader: MongoReader) -> None:
    """Every shape of question that the API can ask: filters alone and in pairs, first page and next, and counts."""
    after = Position(at=at(30), id="x")
    for names in [(), *combinations(WANTED, 1), *combinations(WANTED, 2)]:
        where = DeliveryFilter(**{name: WANTED[name] for name in names})
        await reader.deliveries(where, after=None, limit=50)
        await reader.deliveries(where, after=after, limit=50)
        await reader.count_deliveries(where)
    for account_id in (None, ACCOUNT):
        for event_type in (None, EventType.CALL):
            await reader.webhooks(account_id=account_id, event_type=event_type, after=None, limit=50)
            await reader.webhooks(account_id=account_id, event_type=event_type, after=after, limit=50)
            await reader.count_webhooks(account_id=account_id, event_type=event_type)
    received = event("evt-1", call_id="call-1", matched=["wh_crm"])
    await reader.account(ACCOUNT)
    await reader.webhooks_by_id([WebhookId("wh_crm"), WebhookId("wh_b")])
    await reader.delivery_counts([WebhookId("wh_crm"), WebhookId("wh_b")])
    await reader.delivery(delivery(received).id)
    await reader.event(ACCOUNT, "evt-1")
    await reader.events_of_call(ACCOUNT, "call-1", 10)
    await reader.deliveries_of_events([received])
    await reader.dead_letters(after=None, limit=50)
    await reader.dead_letters(after=after, limit=50)
    await reader.count_dead_letters()
    await reader.dead_letter("dl_1")


async def test_every_question_is_answered_from_an_index_and_bounded(
    mongo_url: str, mongo_client: Client, mongo_database: str, stored: StoredThings
) -> None:
    # Collections that do not exist have no plan at all.
    received = event("evt-1", call_id="call-1", user_id="u-1", matched=["wh_crm"])
    stored.add_account(StoredAccount(id=ACCOUNT, webhooks_enabled=True))
    stored.add_webhook(webhook(suspension=Suspension(since=NOON, reason=SuspensionReason.GONE)))
    stored.add_event(received)
    stored.add_delivery(delivery(received), received.key, ["22118993633"])
    stored.add_dead_letter(dead_letter())
    recorder = RecordedReads()
    client: Any = AsyncIOMotorClient(mongo_url, event_listeners=[recorder])

    await _ask_everything(MongoReader(Database(client, mongo_database), "FR"))

    client.close()
    assert len(recorder.commands) > 3 * 56
    assert_from_indexes(recorder.commands, mongo_client[mongo_database])


@pytest.mark.parametrize(
    ("names", "index"),
    [
        (set(WANTED), "search"),
        ({"webhook_id", "number_prefix"}, "search"),
        ({"account_id", "user_id"}, "search"),
        ({"webhook_id", "account_id", "status"}, "webhook"),
        ({"account_id", "status", "from_"}, "account"),
        ({"status", "event_type", "to"}, "newest"),
        (set(), "newest"),
    ],
)
def test_most_selective_filter_drives(names: set[str], index: str) -> None:
    assert driving_index(DeliveryFilter(**{name: WANTED[name] for name in names})) == index


async def test_store_that_is_away_is_said_to_be_away() -> None:
    client: Any = AsyncIOMotorClient("mongodb://127.0.0.1:1", serverSelectionTimeoutMS=50)
    with pytest.raises(DependencyUnavailable, match="MongoDB does not answer"):
        await MongoReader(Database(client, "nowhere"), "FR").count_dead_letters()
    client.close()
