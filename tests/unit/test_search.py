"""What a text that somebody pasted is taken for, and what is found by it."""

from __future__ import annotations

import pytest

from router.application.search import MAX_HITS, MAX_SEARCH_LENGTH, HitKind, SearchKind, Sources, search, understand
from router.domain.errors import InvalidInput, OutOfSight
from router.domain.event import AccountId
from router.domain.matching import Verdict
from router.ports import StoredAccount
from tests.support.fakes import FakeReader
from tests.support.fakes_replay import FakeReplays
from tests.support.samples import ACCOUNT, at, dead_letter, delivery, event, webhook

IDS = [SearchKind.CALL, SearchKind.EVENT, SearchKind.WEBHOOK, SearchKind.USER, SearchKind.ACCOUNT]
DELIVERY = "dlv_4e1f0c6f3b0c4d8f9a2b7c1d5e6f7a8b"


@pytest.mark.parametrize(
    ("text", "kinds", "value"),
    [
        (DELIVERY, [SearchKind.DELIVERY], DELIVERY),
        (f" «{DELIVERY}»,", [SearchKind.DELIVERY], DELIVERY),
        (f"https://console.example/deliveries/{DELIVERY}?tab=request", [SearchKind.DELIVERY], DELIVERY),
        ("dl_019c2f5a3b00a1b2c3d4e5f6", [SearchKind.DEAD_LETTER], "dl_019c2f5a3b00a1b2c3d4e5f6"),
        ("/replays/rpl_27wxpwlbc7ap", [SearchKind.REPLAY], "rpl_27wxpwlbc7ap"),
        ("06 39 98 11 22", [SearchKind.NUMBER], "22118993633"),
        ("+33 6.39.98.11.22", [SearchKind.NUMBER], "22118993633"),
        ("+33\u202f6\u202f39\u202f98\u202f11\u202f22", [SearchKind.NUMBER], "22118993633"),
        ("(0)6-39-98-11-22", [SearchKind.NUMBER], "22118993633"),
        ("tel:+33639981122", [SearchKind.NUMBER], "22118993633"),
        ("sip:%2B33639981122@pbx.example;user=phone", [SearchKind.NUMBER], "22118993633"),
        ("0033639981122", [SearchKind.NUMBER, *IDS], "22118993633"),
        ("1122", [SearchKind.NUMBER, *IDS], "2211"),
        ("112", IDS, "112"),  # too short for the end of a number
        ("c-7f3e0b5a-2c41", IDS, "c-7f3e0b5a-2c41"),
        ("evt_01JP2V8Q4S9T6C3M7K5N1R0XAB", IDS, "evt_01JP2V8Q4S9T6C3M7K5N1R0XAB"),
        ("Élodie/17 é", IDS, "Élodie/17 é"),
        ("https://crm.example.com/hooks?token=x", [SearchKind.HOST], "crm.example.com"),
        ("HTTPS://CRM.example.com:8443", [SearchKind.HOST], "crm.example.com:8443"),
        ("http://[2001:db8::1]:80/x", [SearchKind.HOST], "[2001:db8::1]:80"),
        ("https://", IDS, "https://"),
        ("crm.example.com", [SearchKind.HOST, *IDS], "crm.example.com"),
        ("crm.example.com/hooks", [SearchKind.HOST, *IDS], "crm.example.com"),
        ("192.0.2.14", [SearchKind.HOST, *IDS], "192.0.2.14"),
        ("call.received", [SearchKind.HOST, *IDS], "call.received"),  # could be one
        ("x" * 2_000, [], ""),
        ("$where", IDS, "$where"),
        ('{"$gt": ""}', IDS, '{"$gt": ""}'),
    ],
)
def test_text_is_taken_for_what_it_may_be(text: str, kinds: list[SearchKind], value: str) -> None:
    guesses = understand(text, "FR")

    assert [guess.kind for guess in guesses] == kinds
    assert not kinds or guesses[0].value == value


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "must not be empty"),
        (" \u200b« » ", "must not be empty"),
        ("a\0b", "must not hold control characters"),
        ("x" * (MAX_SEARCH_LENGTH + 1), "must be no longer than"),
    ],
)
def test_what_nothing_can_be_called_is_refused(text: str, message: str) -> None:
    with pytest.raises(InvalidInput, match=message):
        understand(text, "FR")


def test_longest_text_is_understood() -> None:
    assert understand("https://crm.example.com/" + "x" * (MAX_SEARCH_LENGTH - 24), "FR")[0].value == "crm.example.com"


def sources(reader: FakeReader) -> Sources:
    return Sources(reader=reader, replays=FakeReplays([], lambda *_: False))


# --- finding ---------------------------------------------------------------------------------------


@pytest.fixture
def reader() -> FakeReader:
    """A call of account 1042 that went to its CRM, and the like in account 77 that went to nobody."""
    fake = FakeReader()
    fake.add_account(StoredAccount(id=ACCOUNT, webhooks_enabled=True))
    fake.add_webhook(webhook())
    mine = event("evt-1", matched=["wh_crm"], call_id="call-1", user_id="u-17")
    theirs = event("evt-1", account_id="77", not_matched=[("wh_77", Verdict.PAUSED)], call_id="call-1")
    fake.add_event(mine)
    fake.add_event(theirs)
    fake.add_delivery(delivery(mine, id="dlv_1"), mine.key, ["22118993633"])
    fake.add_dead_letter(dead_letter())
    return fake


@pytest.mark.parametrize(
    ("text", "account", "found"),
    [
        ("dlv_1", None, [(HitKind.DELIVERY, "dlv_1")]),
        ("dlv_1", "77", []),
        ("dlv_2", None, []),
        ("call-1", None, [(HitKind.CALL, "call-1"), (HitKind.CALL, "call-1")]),
        ("call-1", "77", [(HitKind.CALL, "call-1")]),
        ("evt-1", "1042", [(HitKind.EVENT, "evt-1")]),
        ("evt-1", "77", [(HitKind.EVENT, "evt-1")]),
        ("81122", None, [(HitKind.DELIVERY, "dlv_1")]),
        ("u-17", None, [(HitKind.DELIVERY, "dlv_1")]),
        ("wh_crm", None, [(HitKind.WEBHOOK, "wh_crm")]),
        ("wh_crm", "77", []),
        ("crm.example.com", None, [(HitKind.WEBHOOK, "wh_crm")]),
        ("1042", None, [(HitKind.ACCOUNT, "1042")]),
        ("1042", "77", []),
        ("dl_1", None, [(HitKind.DEAD_LETTER, "dl_1")]),
    ],
)
async def test_search_finds(
    reader: FakeReader, text: str, account: str | None, found: list[tuple[HitKind, str]]
) -> None:
    account_id = AccountId(account) if account else None
    report = await search(sources(reader), text, account_id=account_id, country="FR")

    assert [(hit.kind, hit.id) for group in report.groups for hit in group.hits] == found
    assert (report.sole_hit is not None) == (len(found) == 1)


async def test_event_that_matched_nothing_is_found_in_every_account(reader: FakeReader) -> None:
    reader.add_event(event("evt-2", account_id="9", not_matched=[("wh_9", Verdict.EVENT_TYPE)]))

    report = await search(sources(reader), "evt-2", account_id=None, country="FR")

    assert report.sole_hit is not None
    assert (report.sole_hit.account_id, report.sole_hit.status) == ("9", "unmatched")


async def test_account_without_a_switch_is_found_by_its_webhooks(reader: FakeReader) -> None:
    reader.add_webhook(webhook("wh_5", account_id=AccountId("5")))

    report = await search(sources(reader), "5", account_id=None, country="FR")

    assert report.sole_hit is not None
    assert (report.sole_hit.kind, report.sole_hit.status) == (HitKind.ACCOUNT, "disabled")


async def test_group_shows_so_many_and_says_that_there_are_more(reader: FakeReader) -> None:
    for number in range(MAX_HITS + 1):
        received = event(f"evt-{number + 10}", received_at=at(number))
        reader.add_delivery(delivery(received), received.key, ["99990000"])

    (group,) = (await search(sources(reader), "9999", account_id=None, country="FR")).groups

    assert (len(group.hits), group.has_more) == (MAX_HITS, True)
    assert group.hits[0].at == at(MAX_HITS)


async def test_account_that_may_not_be_seen_is_out_of_sight(reader: FakeReader) -> None:
    class Confined(FakeReader):
        async def account(self, account_id: AccountId) -> StoredAccount | None:
            raise OutOfSight

    with pytest.raises(OutOfSight):
        await search(sources(Confined()), "call-1", account_id=ACCOUNT, country="FR")
