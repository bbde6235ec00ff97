"""What people look up: pages, cursors, webhooks by state, and the story of an event."""

from __future__ import annotations

from base64 import urlsafe_b64encode
from collections.abc import Sequence

import pytest

from router.application import queries
from router.application.queries import PageRequest, WebhookFilter, decode_cursor, encode_cursor
from router.domain.errors import InvalidInput
from router.domain.event import AccountId, EventType
from router.domain.matching import Verdict
from router.domain.webhook import Suspension, SuspensionReason, Webhook, WebhookId, WebhookState
from router.ports import UNDATED, DeliveryCounts, DeliveryFilter, Position, StoredAccount
from tests.support.fakes import FakeReader
from tests.support.samples import ACCOUNT, NOON, at, dead_letter, delivery, event, webhook

# --- cursors ---------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "position",
    [
        Position(at=NOON, id="dlv_1"),
        Position(at=at(0.001), id=""),
        Position(at=at(-1e9), id="é:\n/\0"),
        Position(at=UNDATED, id="wh_1"),
    ],
)
def test_cursor_carries_a_position_and_fits_into_a_url(position: Position) -> None:
    cursor = encode_cursor(position)

    assert decode_cursor(cursor) == position
    assert cursor.replace("-", "").replace("_", "").isalnum()


@pytest.mark.parametrize(
    "cursor",
    [
        "",
        "!",
        "é",
        "AAAA",
        "MTox\n",  # blanks are dropped by lenient decoders
        "MTox=",
        encode_cursor(Position(at=NOON, id="x"))[:-1] + "é",
        urlsafe_b64encode(b"1:\xff").decode().rstrip("="),
        urlsafe_b64encode(b"999999999999999:x").decode().rstrip("="),  # after the year 9999
        urlsafe_b64encode(b"01:x").decode().rstrip("="),
        urlsafe_b64encode(b"1.5:x").decode().rstrip("="),
    ],
)
def test_what_no_page_gave_is_no_cursor(cursor: str) -> None:
    with pytest.raises(InvalidInput, match="cursor: must be the next_cursor"):
        decode_cursor(cursor)


# --- pages -----------------------------------------------------------------------------------------


def reader_with_deliveries(count: int) -> FakeReader:
    reader = FakeReader()
    for number in range(count):
        received = event(f"evt-{number}", received_at=at(number // 3))
        reader.add_delivery(delivery(received, id=f"dlv_{number:02}"), received.key)
    return reader


async def test_last_page_has_no_next_even_where_it_is_full() -> None:
    reader = reader_with_deliveries(4)

    first = await queries.list_deliveries(reader, DeliveryFilter(), PageRequest(limit=2))
    last = await queries.list_deliveries(reader, DeliveryFilter(), PageRequest(limit=2, after=first.next))

    assert [each.id for each in (*first.items, *last.items)] == ["dlv_03", "dlv_02", "dlv_01", "dlv_00"]
    assert first.next is not None
    assert last.next is None


async def test_empty_list_is_one_empty_page() -> None:
    page = await queries.list_deliveries(FakeReader(), DeliveryFilter(), PageRequest(with_total=True))

    assert (page.items, page.next, page.total) == ([], None, 0)


async def test_total_counts_all_matches_and_not_the_page() -> None:
    reader = reader_with_deliveries(5)
    first = await queries.list_deliveries(reader, DeliveryFilter(), PageRequest(limit=2, with_total=True))

    second = await queries.list_deliveries(
        reader, DeliveryFilter(), PageRequest(limit=2, after=first.next, with_total=True)
    )

    assert (first.total, second.total) == (5, 5)


async def test_total_is_counted_only_where_it_is_asked_for() -> None:
    page = await queries.list_deliveries(reader_with_deliveries(1), DeliveryFilter(), PageRequest())

    assert page.total is None


async def test_dead_letters_are_paged() -> None:
    reader = FakeReader()
    for number in range(3):
        reader.add_dead_letter(dead_letter(f"dl_{number}"))

    first = await queries.list_dead_letters(reader, PageRequest(limit=2, with_total=True))
    last = await queries.list_dead_letters(reader, PageRequest(limit=2, after=first.next))

    assert [each.id for each in (*first.items, *last.items)] == ["dl_2", "dl_1", "dl_0"]
    assert first.total == 3


# --- accounts and webhooks -------------------------------------------------------------------------


async def test_account_that_was_never_set_is_off() -> None:
    reader = FakeReader()
    reader.add_account(StoredAccount(id=ACCOUNT, webhooks_enabled=True))

    assert await queries.find_account(reader, ACCOUNT) == StoredAccount(id=ACCOUNT, webhooks_enabled=True)
    assert not (await queries.find_account(reader, AccountId("9"))).webhooks_enabled


GONE = Suspension(since=NOON, reason=SuspensionReason.GONE)


@pytest.mark.parametrize(
    ("changed", "state", "reason"),
    [
        (webhook(), WebhookState.ACTIVE, None),
        (webhook(enabled=False), WebhookState.PAUSED, None),
        (webhook(suspension=GONE), WebhookState.SUSPENDED, "gone"),
        (webhook(enabled=False, suspension=GONE), WebhookState.PAUSED, None),
        (webhook(problem="url: is none", suspension=GONE), WebhookState.INVALID, "url: is none"),
    ],
)
async def test_webhook_is_reported_with_its_state_and_the_reason(
    changed: Webhook, state: WebhookState, reason: str | None
) -> None:
    reader = FakeReader()
    reader.add_webhook(changed)

    report = await queries.find_webhook(reader, changed.id)

    assert report is not None
    assert report.webhook.state is state
    assert queries.state_reason(report.webhook) == reason


async def test_webhook_is_reported_with_its_counts() -> None:
    reader = FakeReader()
    reader.add_webhook(webhook())
    received = event()
    reader.add_delivery(delivery(received), received.key)

    report = await queries.find_webhook(reader, WebhookId("wh_crm"))
    page = await queries.list_webhooks(reader, WebhookFilter(), PageRequest())

    assert report is not None
    assert report.deliveries == DeliveryCounts(total=1, delivered=1)
    assert page.items == [report]
    assert await queries.find_webhook(reader, WebhookId("wh_no")) is None


async def all_pages(reader: FakeReader, where: WebhookFilter, limit: int) -> tuple[list[str], int]:
    """Ids over all pages, and how many pages there were."""
    ids: list[str] = []
    after: Position | None = None
    pages = 0
    while True:
        page = await queries.list_webhooks(reader, where, PageRequest(limit=limit, after=after))
        ids += [report.webhook.id for report in page.items]
        pages += 1
        if page.next is None:
            return ids, pages
        after = page.next


@pytest.mark.parametrize("limit", [1, 2, 3, 200])
async def test_webhooks_in_one_state_are_paged_without_gap(limit: int) -> None:
    reader = FakeReader()
    for number in range(9):
        reader.add_webhook(webhook(f"wh_{number}", created_at=at(number // 2), enabled=number % 3 == 0))

    assert (await all_pages(reader, WebhookFilter(state=WebhookState.ACTIVE), limit))[0] == ["wh_6", "wh_3", "wh_0"]
    page = await queries.list_webhooks(
        reader, WebhookFilter(state=WebhookState.PAUSED), PageRequest(limit=1, with_total=True)
    )
    assert page.total == 6


async def test_search_for_a_rare_state_ends_its_page_early_and_leads_on() -> None:
    reader = FakeReader()
    for number in range(queries.MAX_SCANNED + 1):
        reader.add_webhook(webhook(f"wh_{number}", created_at=at(number), enabled=number > 0))
    paused = WebhookFilter(state=WebhookState.PAUSED)

    page = await queries.list_webhooks(reader, paused, PageRequest(with_total=True))

    assert (page.items, page.total) == ([], 1)
    assert page.next is not None
    assert await all_pages(reader, paused, 5) == (["wh_0"], 2)


async def test_webhooks_are_narrowed_by_account_and_type() -> None:
    reader = FakeReader()
    reader.add_webhook(webhook("wh_a"))
    reader.add_webhook(webhook("wh_b", event_type=EventType.CDR))
    reader.add_webhook(webhook("wh_c", account_id=AccountId("9")))

    async def ids(where: WebhookFilter) -> Sequence[str]:
        page = await queries.list_webhooks(reader, where, PageRequest(with_total=True))
        assert page.total == len(page.items)
        return [report.webhook.id for report in page.items]

    assert await ids(WebhookFilter(account_id=ACCOUNT)) == ["wh_b", "wh_a"]
    assert await ids(WebhookFilter(account_id=ACCOUNT, event_type=EventType.CDR)) == ["wh_b"]
    assert await ids(WebhookFilter(event_type=EventType.CALL, state=WebhookState.ACTIVE)) == ["wh_c", "wh_a"]


# --- events and calls ------------------------------------------------------------------------------


async def test_event_is_told_with_every_webhook_of_its_account() -> None:
    reader = FakeReader()
    received = event(matched=["wh_crm"], not_matched=[("wh_off", Verdict.PAUSED), ("wh_gone", Verdict.TRACKING_NUMBER)])
    sent = delivery(received)
    reader.add_webhook(webhook("wh_crm"))
    reader.add_webhook(webhook("wh_off", name="Off then, on now"))
    reader.add_event(received)
    reader.add_delivery(sent, received.key)

    report = await queries.event_report(reader, ACCOUNT, "evt-1")

    assert report is not None
    assert report.event == received
    told = [
        (line.webhook_id, line.verdict, line.webhook.name if line.webhook else None, line.delivery)
        for line in report.trace
    ]
    assert told == [
        ("wh_crm", Verdict.MATCHED, "CRM", sent),
        ("wh_off", Verdict.PAUSED, "Off then, on now", None),
        ("wh_gone", Verdict.TRACKING_NUMBER, None, None),
    ]


async def test_event_of_another_account_is_not_told() -> None:
    reader = FakeReader()
    reader.add_event(event())

    assert await queries.event_report(reader, AccountId("9"), "evt-1") is None


async def test_call_is_told_in_the_order_of_reception() -> None:
    reader = FakeReader()
    for number in (1, 0):
        received = event(f"evt-{number}", call_id="call-1", received_at=at(number), matched=["wh_crm"])
        reader.add_event(received)
        reader.add_delivery(delivery(received), received.key)

    report = await queries.call_report(reader, ACCOUNT, "call-1")

    assert report is not None
    assert [each.event.event_id for each in report.events] == ["evt-0", "evt-1"]
    assert [line.delivery.event_id for each in report.events for line in each.trace if line.delivery] == [
        "evt-0",
        "evt-1",
    ]
    assert not report.is_truncated


async def test_call_with_more_events_than_are_told_says_so() -> None:
    reader = FakeReader()
    for number in range(queries.MAX_EVENTS_OF_CALL + 1):
        reader.add_event(event(f"evt-{number}", call_id="call-1"))

    report = await queries.call_report(reader, ACCOUNT, "call-1")

    assert report is not None
    assert len(report.events) == queries.MAX_EVENTS_OF_CALL
    assert report.is_truncated


async def test_call_without_events_is_unknown() -> None:
    assert await queries.call_report(FakeReader(), ACCOUNT, "call-1") is None
