"""How deliveries are shown, found and paged by the API, on a real MongoDB."""

from __future__ import annotations

import pytest

from router.domain.delivery import DeliveryReason, DeliveryStatus
from router.domain.event import EventType
from router.domain.numbers import search_key
from tests.support.api import Api
from tests.support.samples import at, delivery, event
from tests.support.stored import StoredThings


async def test_delivery_is_shown_whole_with_the_exact_text_that_is_sent(api: Api, stored: StoredThings) -> None:
    payload = '{ "n": 36893488147419103232, "e": 1e3, "é": "\\u00e9", "a.b": {"$c": 1.10} }'
    received = event(matched=["wh_crm"], payload=payload.encode(), call_id="call-1", user_id="u-1")
    sent = delivery(received, status=DeliveryStatus.FAILED, reason=DeliveryReason.EXHAUSTED, completed_at=at(0.0015))
    stored.add_event(received)
    stored.add_delivery(sent, received.key)

    answer = await api.get(f"/v1/deliveries/{sent.id}")

    shown = {
        "id": sent.id,
        "account_id": "1042",
        "webhook_id": "wh_crm",
        "event_id": "evt-1",
        "event_type": "call",
        "event_name": "call.received",
        "call_id": "call-1",
        "user_id": "u-1",
        "status": "failed",
        "reason": "exhausted",
        "url": "https://crm.example.com/hooks",
        "attempt_count": 1,
        "attempts": [
            {
                "number": 1,
                "trigger": "schedule",
                "started_at": "2026-03-01T12:00:00.000Z",
                "duration_ms": 84,
                "status_code": 200,
                "error": None,
                "response_body": "thanks",
                "response_truncated": False,
                "error_detail": None,
            }
        ],
        "next_attempt_at": None,
        "created_at": "2026-03-01T12:00:00.000Z",
        "completed_at": "2026-03-01T12:00:00.001Z",
    }
    assert answer.json == {**shown, "payload": payload}
    assert (await api.get("/v1/deliveries")).json["items"] == [shown]


async def test_deliveries_are_paged_where_all_share_one_time(api: Api, stored: StoredThings) -> None:
    for number in range(8):
        received = event(f"evt-{number}")
        stored.add_delivery(delivery(received, id=f"dlv_{number}"), received.key)

    assert await api.all_ids("/v1/deliveries", limit=3) == [
        ["dlv_7", "dlv_6", "dlv_5"],
        ["dlv_4", "dlv_3", "dlv_2"],
        ["dlv_1", "dlv_0"],
    ]
    assert [len(page) for page in await api.all_ids("/v1/deliveries", limit=4, account_id="1042")] == [4, 4]


async def test_page_has_fifty_items_unless_more_are_asked_for(api: Api, stored: StoredThings) -> None:
    for number in range(60):
        received = event(f"evt-{number}")
        stored.add_delivery(delivery(received), received.key)

    assert [len(page) for page in await api.all_ids("/v1/deliveries")] == [50, 10]
    assert [len(page) for page in await api.all_ids("/v1/deliveries", limit=200)] == [60]


async def test_total_counts_all_matches_on_every_page_and_only_when_asked_for(api: Api, stored: StoredThings) -> None:
    for number in range(5):
        received = event(f"evt-{number}", received_at=at(number))
        stored.add_delivery(delivery(received), received.key)

    first = await api.get("/v1/deliveries", limit=2, include_total="true", from_="2026-03-01T12:00:01Z")
    second = await api.get(
        "/v1/deliveries",
        limit=2,
        include_total="true",
        from_="2026-03-01T12:00:01Z",
        cursor=first.json["next_cursor"],
    )
    assert (first.json["total"], second.json["total"]) == (4, 4)
    for without in ({}, {"include_total": "false"}):
        assert (await api.get("/v1/deliveries", **without)).json.keys() == {"items", "next_cursor"}


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("account_id", "1042"),
        ("webhook_id", "wh_crm"),
        ("event_type", "call"),
        ("status", "delivered"),
        ("event_id", "evt-1"),
        ("call_id", "call-1"),
        ("user_id", "u-1"),
        ("number", "06 39 98 11 22"),
    ],
)
async def test_each_filter_of_deliveries(api: Api, stored: StoredThings, name: str, value: str) -> None:
    received = event("evt-1", call_id="call-1", user_id="u-1")
    other = event("evt-2", account_id="9", call_id="call-2", user_id="u-2", type=EventType.CDR)
    stored.add_delivery(delivery(received, id="dlv_wanted"), received.key, [str(search_key("+33639981122", "FR"))])
    stored.add_delivery(
        delivery(other, "wh_other", id="dlv_other", status=DeliveryStatus.PENDING),
        other.key,
        [str(search_key("+33639981123", "FR"))],
    )

    assert (await api.get("/v1/deliveries", **{name: value})).ids == ["dlv_wanted"]
    assert (await api.get("/v1/deliveries", **{name: value}, limit=1, include_total="true")).json["total"] == 1
    assert (await api.get("/v1/deliveries", **{name: value}, from_="2026-03-01T12:00:01Z")).ids == []


@pytest.mark.parametrize(
    "text", ["06 39 98 11 22", "0639981122", "+33639981122", "+33 6 39.98.11.22", "0033639981122", "1122", "81122"]
)
async def test_number_is_found_in_any_format_or_by_its_last_digits(api: Api, stored: StoredThings, text: str) -> None:
    received = event()
    keys = [str(search_key(number, "FR")) for number in ("+33199001234", "+33639981122", "+33755001122")]
    stored.add_delivery(delivery(received), received.key, keys)

    assert len((await api.get("/v1/deliveries", number=text, account_id="1042")).ids) == 1


@pytest.mark.parametrize(
    ("query", "found"),
    [
        ({"from_": "2026-03-01T12:00:00.001Z"}, ["dlv_2", "dlv_1"]),
        ({"to": "2026-03-01T12:00:00.001Z"}, ["dlv_0"]),
        ({"from_": "2026-03-01T12:00:00.001Z", "to": "2026-03-01T12:00:00.002Z"}, ["dlv_1"]),
        ({"from_": "2026-03-01T13:00:00.001+01:00"}, ["dlv_2", "dlv_1"]),
        ({"from_": "2026-03-01t12:00:00.001z"}, ["dlv_2", "dlv_1"]),
        ({"from_": "2026-03-01T12:00:00.000000001Z"}, ["dlv_2", "dlv_1"]),
        ({"to": "2026-03-01T12:00:00.0000001Z"}, ["dlv_0"]),
        ({"from_": "2026-03-01T12:00:01Z"}, []),
    ],
)
async def test_from_is_inclusive_and_to_exclusive(
    api: Api, stored: StoredThings, query: dict[str, str], found: list[str]
) -> None:
    for number in range(3):
        received = event(f"evt-{number}", received_at=at(number / 1000))
        stored.add_delivery(delivery(received, id=f"dlv_{number}"), received.key)

    assert (await api.get("/v1/deliveries", **query)).ids == found


async def test_ids_may_hold_whatever_a_url_can_carry(api: Api, stored: StoredThings) -> None:
    identity = "a/b?c#d%2F{e} é+&'\""
    received = event(identity, call_id=identity)
    stored.add_event(received)
    stored.add_delivery(delivery(received), received.key)

    def quoted(text: str) -> str:
        return "".join(f"%{byte:02X}" for byte in text.encode())

    assert (await api.request("GET", f"/v1/events/{quoted(identity)}?account_id=1042")).json["id"] == identity
    assert (await api.request("GET", f"/v1/calls/{quoted(identity)}?account_id=1042")).json["call_id"] == identity
    assert len((await api.request("GET", f"/v1/deliveries?event_id={quoted(identity)}")).ids) == 1
