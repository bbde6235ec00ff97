"""What the API changes, on a real MongoDB."""

from __future__ import annotations

import re
from io import BytesIO
from typing import Any

import pytest

from router.domain.webhook import Suspension, SuspensionReason
from tests.support.api import AUTHORIZED, Api, Surroundings, assert_names, assert_problem
from tests.support.samples import NOON, dead_letter, webhook
from tests.support.stored import StoredThings


async def test_account_is_switched(api: Api) -> None:
    for enabled in (True, False, False):
        answer = await api.request("PUT", "/v1/accounts/1042", json={"webhooks_enabled": enabled})
        assert (answer.status, answer.json) == (200, {"id": "1042", "webhooks_enabled": enabled})
        assert (await api.get("/v1/accounts/1042")).json == answer.json


DRAFT: dict[str, Any] = {
    "account_id": "1042",
    "name": "CRM",
    "url": "https://crm.example.com/hooks",
    "event_type": "call",
}


async def test_webhook_is_created_and_shows_its_secret_once(api: Api) -> None:
    wanted = {**DRAFT, "restrict_to": {"tracking_numbers": ["01 99 00 12 34"]}, "headers": {"x-api-key": "k-123"}}

    created = await api.request("POST", "/v1/webhooks", json=wanted)

    assert created.status == 201
    shown = dict(created.json)
    assert re.fullmatch(r"whsec_[A-Za-z0-9+/]{43}=", shown.pop("secret"))
    assert shown == {
        **DRAFT,
        "id": shown["id"],
        "enabled": True,
        "restrict_to": {"tracking_numbers": ["+33199001234"]},
        "headers": {"x-api-key": "***"},
        "state": "active",
        "state_reason": None,
        "deliveries": {"total": 0, "delivered": 0, "failed": 0, "pending": 0},
        "created_at": "2026-03-01T12:00:00.000Z",
        "updated_at": "2026-03-01T12:00:00.000Z",
    }
    assert (await api.get(f"/v1/webhooks/{shown['id']}")).json == shown


@pytest.mark.parametrize(
    ("change", "field_name"),
    [
        ({"account_id": ""}, "account_id"),
        ({"account_id": 1042}, "account_id"),
        ({"account_id": {"$ne": None}}, "account_id"),
        ({"name": ""}, "name"),
        ({"name": "two\nlines"}, "name"),
        ({"url": "ftp://x"}, "url"),
        ({"event_type": "sms"}, "event_type"),
        ({"enabled": 1}, "enabled"),
        ({"restrict_to": {"user_id": "u-1"}}, "restrict_to.user_id"),
        ({"restrict_to": {"tracking_numbers": ["abc"]}}, "restrict_to.tracking_numbers[0]"),
        ({"headers": {"x-a": 1}}, "headers.x-a"),
        ({"headers": {"host": "x"}}, "headers"),
        ({"colour": "red"}, "colour"),
        ({"secret": "whsec_AAAA"}, "secret"),
    ],
)
async def test_wrong_field_of_a_new_webhook_is_a_400_that_names_it(
    api: Api, change: dict[str, Any], field_name: str
) -> None:
    assert_names(await api.request("POST", "/v1/webhooks", json={**DRAFT, **change}), field_name)
    assert (await api.get("/v1/webhooks")).ids == []


@pytest.mark.parametrize("body", [b"", b"{", b"[]", b"null", b'"x"', b"\xff", b"[" * 100_000])
async def test_body_that_is_no_json_object_is_a_400(api: Api, body: bytes) -> None:
    headers = {**AUTHORIZED, "Content-Type": "application/json"}

    assert_names(await api.request("POST", "/v1/webhooks", data=body, headers=headers), "body")


async def test_body_of_another_type_is_a_415_and_one_too_long_a_413(api: Api) -> None:
    as_form = await api.request("POST", "/v1/webhooks", data={"account_id": "1042"})
    too_long = await api.request(
        "POST",
        "/v1/webhooks",
        data=BytesIO(b" " * (1024 * 1024 + 1)),
        headers={**AUTHORIZED, "Content-Type": "application/json"},
    )

    assert_problem(as_form, 415, "unsupported-media-type")
    assert_problem(too_long, 413, "too-large")


async def test_webhook_is_paused_resumed_and_deleted(api: Api, stored: StoredThings) -> None:
    stored.add_webhook(webhook(suspension=Suspension(since=NOON, reason=SuspensionReason.FAILING)))

    paused = await api.request("PATCH", "/v1/webhooks/wh_crm", json={"enabled": False})
    assert (paused.status, paused.json["state"]) == (200, "paused")
    enabled = await api.request("PATCH", "/v1/webhooks/wh_crm", json={"enabled": True})
    assert (enabled.json["state"], enabled.json["state_reason"]) == ("suspended", "failing")
    resumed = await api.request("POST", "/v1/webhooks/wh_crm/resume")
    assert (resumed.status, resumed.json["state"]) == (200, "active")

    deleted = await api.request("DELETE", "/v1/webhooks/wh_crm")
    assert (deleted.status, deleted.body) == (204, b"")
    for method, target in [
        ("GET", "/v1/webhooks/wh_crm"),
        ("DELETE", "/v1/webhooks/wh_crm"),
        ("POST", "/v1/webhooks/wh_crm/resume"),
    ]:
        assert_problem(await api.request(method, target), 404, "not-found")
    gone = await api.request("PATCH", "/v1/webhooks/wh_crm", json={"enabled": True})
    assert_problem(gone, 404, "not-found")


async def test_dead_letter_is_requeued_as_it_came(api: Api, stored: StoredThings, surroundings: Surroundings) -> None:
    stored.add_dead_letter(dead_letter(body=b"\xff"))

    answer = await api.request("POST", "/v1/dead-letters/dl_1/requeue")

    assert (answer.status, answer.json["requeued_at"]) == (202, "2026-03-01T12:00:00.000Z")
    [(exchange, routing_key, body, properties)] = surroundings.publications.published
    assert (exchange, routing_key, body) == ("", "webhook-router.call", b"\xff")
    assert properties.headers["x-origin"] == "pbx"
    assert (await api.get("/v1/dead-letters/dl_1")).json["requeued_at"] == "2026-03-01T12:00:00.000Z"
    assert_problem(await api.request("POST", "/v1/dead-letters/dl_2/requeue"), 404, "not-found")


async def test_dead_letter_of_a_source_that_is_gone_cannot_be_requeued(api: Api, stored: StoredThings) -> None:
    stored.add_dead_letter(dead_letter(source="old"))

    assert_names(await api.request("POST", "/v1/dead-letters/dl_1/requeue"), "source")
