"""What the API shows, as its callers see it: a real server on a real port, a real MongoDB behind it."""

from __future__ import annotations

from base64 import b64encode
from typing import Any

from router.domain.delivery import DeliveryStatus
from router.domain.event import EventType
from router.domain.matching import Verdict
from router.domain.webhook import Suspension, SuspensionReason, TrackingNumberRestriction, UserRestriction
from router.ports import StoredAccount
from tests.support.api import Api, assert_problem
from tests.support.samples import ACCOUNT, NOON, at, dead_letter, delivery, event, webhook
from tests.support.stored import StoredThings

# --- accounts --------------------------------------------------------------------------------------


async def test_account_shows_its_switch_and_one_never_set_is_off(api: Api, stored: StoredThings) -> None:
    stored.add_account(StoredAccount(id=ACCOUNT, webhooks_enabled=True))

    assert (await api.get("/v1/accounts/1042")).json == {"id": "1042", "webhooks_enabled": True}
    assert (await api.get("/v1/accounts/9")).json == {"id": "9", "webhooks_enabled": False}


# --- webhooks --------------------------------------------------------------------------------------


async def test_webhook_is_shown_whole_but_for_its_secrets(api: Api, stored: StoredThings) -> None:
    stored.add_definition(
        {
            "_id": "wh_crm",
            "account_id": "1042",
            "name": "CRM",
            "url": "https://crm.example.com/hooks",
            "event_type": "call",
            "enabled": True,
            "restrict_to": {"tracking_numbers": ["0199001234", "+33 1 99 00 12 35"]},
            "secret": "whsec_c2VjcmV0LW9mLXRoZS13ZWJob29r",
            "headers": {"x-api-key": "k-123"},
            "created_at": NOON,
            "updated_at": at(0.001),
            "internal": "of the back office",
        }
    )
    received = event()
    for number, status in enumerate(DeliveryStatus):
        stored.add_delivery(delivery(received, id=f"dlv_{number}", status=status), received.key)

    answer = await api.get("/v1/webhooks/wh_crm")

    assert answer.status == 200
    assert answer.json == {
        "id": "wh_crm",
        "account_id": "1042",
        "name": "CRM",
        "url": "https://crm.example.com/hooks",
        "event_type": "call",
        "enabled": True,
        "restrict_to": {"tracking_numbers": ["+33199001234", "+33199001235"]},
        "headers": {"x-api-key": "***"},
        "auth": None,
        "client_certificate": None,
        "signing": {"secrets": [{"expires_at": None}], "public_key": None},
        "state": "active",
        "state_reason": None,
        "deliveries": {"total": 5, "delivered": 1, "failed": 3, "pending": 1},
        "created_at": "2026-03-01T12:00:00.000Z",
        "updated_at": "2026-03-01T12:00:00.001Z",
    }
    assert (await api.get("/v1/webhooks")).json == {"items": [answer.json], "next_cursor": None}


async def test_webhooks_are_shown_with_their_state_and_found_by_it(api: Api, stored: StoredThings) -> None:
    user = UserRestriction(user_id="u-17")
    stored.add_webhook(webhook("wh_active", event_type=EventType.USER, restriction=user))
    stored.add_webhook(webhook("wh_paused", enabled=False))
    stored.add_webhook(webhook("wh_gone", suspension=Suspension(since=NOON, reason=SuspensionReason.GONE)))
    stored.add_definition({"_id": "wh_wrong", "account_id": 1042, "url": "ftp://x", "created_at": NOON})

    shown = {item["id"]: item for item in (await api.get("/v1/webhooks", account_id="1042")).json["items"]}

    assert {identity: item["state"] for identity, item in shown.items()} == {
        "wh_active": "active",
        "wh_paused": "paused",
        "wh_gone": "suspended",
        "wh_wrong": "invalid",
    }
    assert shown["wh_active"]["restrict_to"] == {"user_id": "u-17"}
    assert shown["wh_gone"]["state_reason"] == "gone"
    assert "event_type" in shown["wh_wrong"]["state_reason"]
    for item in shown.values():
        found = await api.get("/v1/webhooks", state=item["state"], include_total="true")
        assert (found.ids, found.json["total"]) == ([item["id"]], 1)


async def test_webhooks_are_filtered_and_paged(api: Api, stored: StoredThings) -> None:
    numbers = TrackingNumberRestriction(numbers=frozenset({"+33199001234"}))
    for number in range(7):
        stored.add_webhook(webhook(f"wh_{number}", created_at=at(number // 4), restriction=numbers))
    stored.add_webhook(webhook("wh_cdr", event_type=EventType.CDR, created_at=None))
    stored.add_webhook(webhook("wh_other", account_id="9"))

    pages = await api.all_ids("/v1/webhooks", account_id="1042", limit=3)
    assert pages == [["wh_6", "wh_5", "wh_4"], ["wh_3", "wh_2", "wh_1"], ["wh_0", "wh_cdr"]]
    pages = await api.all_ids("/v1/webhooks", account_id="1042", event_type="call", state="active", limit=3)
    assert pages == [["wh_6", "wh_5", "wh_4"], ["wh_3", "wh_2", "wh_1"], ["wh_0"]]
    answer = await api.get("/v1/webhooks", account_id="1042", limit=1, include_total="true")
    assert answer.json["total"] == 8


# --- events and calls ------------------------------------------------------------------------------


async def test_event_tells_what_was_received_and_why_each_webhook_matched_or_not(
    api: Api, stored: StoredThings
) -> None:
    received = event(
        matched=["wh_crm"],
        not_matched=[("wh_off", Verdict.PAUSED), ("wh_deleted", Verdict.EVENT_TYPE)],
        tracking_number="+33199001234",
        sequence=2,
        call_id="call-1",
        payload=b'{"n":1e3}',
    )
    sent = delivery(received)
    stored.add_webhook(webhook("wh_crm"))
    stored.add_webhook(webhook("wh_off", name="Dialler", enabled=False))
    stored.add_webhook(webhook("wh_new", name="Newer", created_at=at(60)))
    stored.add_event(received)
    stored.add_delivery(sent, received.key)

    told = (await api.get("/v1/events/evt-1", account_id="1042")).json

    assert told == {
        "id": "evt-1",
        "account_id": "1042",
        "type": "call",
        "name": "call.received",
        "call_id": "call-1",
        "user_id": None,
        "sequence": 2,
        "tracking_number": "+33199001234",
        "occurred_at": "2026-03-01T12:00:00.000Z",
        "received_at": "2026-03-01T12:00:00.000Z",
        "upstream_ms": 0,
        "source": "call",
        "account_enabled": True,
        "payload": '{"n":1e3}',
        "trace": [
            trace("wh_crm", "CRM", "active", "matched", sent.id),
            trace("wh_off", "Dialler", "paused", "paused", None),
            trace("wh_deleted", None, None, "event_type", None),
        ],
        "trace_truncated": False,
        "other_webhooks": [{"webhook_id": "wh_new", "webhook_name": "Newer", "created_at": "2026-03-01T12:01:00.000Z"}],
        "deliveries": [(await api.get("/v1/deliveries")).json["items"][0]],
        "replayed": [],
    }
    assert (await api.get("/v1/calls/call-1", account_id="1042")).json == {
        "account_id": "1042",
        "call_id": "call-1",
        "events": [told],
        "events_truncated": False,
    }


def trace(webhook_id: str, name: str | None, state: str | None, verdict: str, delivery_id: str | None) -> Any:
    return {
        "webhook_id": webhook_id,
        "webhook_name": name,
        "webhook_state": state,
        "matched": verdict == "matched",
        "verdict": verdict,
        "delivery_id": delivery_id,
        "delay_ms": 0 if delivery_id else None,
    }


async def test_event_and_call_of_another_account_are_a_404(api: Api, stored: StoredThings) -> None:
    stored.add_event(event(call_id="call-1"))

    for path in ("/v1/events/evt-1", "/v1/calls/call-1"):
        assert (await api.get(path, account_id="1042")).status == 200
        assert_problem(await api.get(path, account_id="9"), 404, "not-found")


# --- dead letters ----------------------------------------------------------------------------------


async def test_dead_letter_is_listed_and_shown_with_its_bytes(api: Api, stored: StoredThings) -> None:
    letter = dead_letter(body=b"\xff\x00 not JSON")
    stored.add_dead_letter(letter)

    listed = (await api.get("/v1/dead-letters")).json["items"]
    assert listed == [
        {
            "id": "dl_1",
            "received_at": "2026-03-01T12:00:00.000Z",
            "source": "call",
            "reason": "not_json",
            "detail": "the body is not JSON",
            "size": 11,
            "content_type": "text/plain",
            "head": "\ufffd\x00 not JSON",
            "requeued_at": None,
        }
    ]
    shown = (await api.get("/v1/dead-letters/dl_1")).json
    assert shown == {**listed[0], "body": b64encode(b"\xff\x00 not JSON").decode()}


async def test_dead_letters_are_paged(api: Api, stored: StoredThings) -> None:
    for number in range(5):
        stored.add_dead_letter(dead_letter(f"dl_{number}"))

    assert await api.all_ids("/v1/dead-letters", limit=2) == [["dl_4", "dl_3"], ["dl_2", "dl_1"], ["dl_0"]]
    assert (await api.get("/v1/dead-letters", limit=1, include_total="true")).json["total"] == 5
