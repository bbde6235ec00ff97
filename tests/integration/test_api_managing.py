"""What the API changes, on a real MongoDB."""

from __future__ import annotations

import json
import re
from datetime import datetime, timedelta
from io import BytesIO
from typing import Any

import pytest
import trustme
from aiohttp import web
from aiohttp.test_utils import make_mocked_request

from router.adapters.mongo import registry
from router.domain.definition import check_new_url
from router.domain.egress import EgressPolicy
from router.domain.event import AccountId
from router.domain.principal import Principal, Scope
from router.domain.webhook import Suspension, SuspensionReason
from router.web.principal import PRINCIPAL
from router.web.problems import problems
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


def principal(account_id: AccountId | None) -> Principal:
    return Principal(name="whr_test", scopes=frozenset({Scope.MANAGE}), account_id=account_id)


@pytest.mark.parametrize(
    ("who", "message"),
    [
        (None, "the address is not public; egress.allow can permit its network"),
        (principal(None), "the address is not public; egress.allow can permit its network"),
        (principal(AccountId("1042")), "this address is not allowed"),
    ],
)
async def test_only_an_operator_is_told_of_the_setting_that_refuses_a_url(who: Principal | None, message: str) -> None:
    async def refuse(_: web.Request) -> web.StreamResponse:
        check_new_url("https://127.0.0.1/", EgressPolicy())
        raise AssertionError

    request = make_mocked_request("POST", "/v1/webhooks")
    if who is not None:
        request[PRINCIPAL] = who

    answer = await problems(request, refuse)

    assert answer.status == 400
    assert isinstance(answer, web.Response)
    assert json.loads(answer.text or "")["errors"] == [{"field": "url", "message": message}]


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
        "auth": None,
        "client_certificate": None,
        "signing": {"secrets": [{"expires_at": None}], "public_key": None},
        "state": "active",
        "state_reason": None,
        "deliveries": {"total": 0, "delivered": 0, "failed": 0, "pending": 0},
        "created_at": "2026-03-01T12:00:00.000Z",
        "updated_at": "2026-03-01T12:00:00.000Z",
    }
    assert (await api.get(f"/v1/webhooks/{shown['id']}")).json == shown


async def test_url_of_a_new_webhook_is_stored_and_shown_in_its_normal_form(api: Api) -> None:
    created = await api.request("POST", "/v1/webhooks", json={**DRAFT, "url": "HTTPS://CRM.example.com:443?a=1#b"})

    assert created.json["url"] == "https://crm.example.com/?a=1"
    assert (await api.get(f"/v1/webhooks/{created.json['id']}")).json["url"] == created.json["url"]


@pytest.mark.parametrize(
    ("change", "field_name"),
    [
        ({"account_id": ""}, "account_id"),
        ({"account_id": 1042}, "account_id"),
        ({"account_id": {"$ne": None}}, "account_id"),
        ({"name": ""}, "name"),
        ({"name": "two\nlines"}, "name"),
        ({"url": "ftp://x"}, "url"),
        ({"url": "http://crm.example.com/"}, "url"),
        ({"url": "https://127.0.0.1/"}, "url"),
        ({"url": "https://127.1/"}, "url"),
        ({"url": "https://[::ffff:127.0.0.1]/"}, "url"),
        ({"url": "https://localhost/"}, "url"),
        ({"url": "https://metadata.google.internal/"}, "url"),
        ({"url": "https://crm.example.com:22/"}, "url"),
        ({"event_type": "sms"}, "event_type"),
        ({"enabled": 1}, "enabled"),
        ({"restrict_to": {"user_id": "u-1"}}, "restrict_to.user_id"),
        ({"restrict_to": {"tracking_numbers": ["abc"]}}, "restrict_to.tracking_numbers[0]"),
        ({"headers": {"x-a": 1}}, "headers.x-a"),
        ({"headers": {"host": "x"}}, "headers"),
        ({"auth": "Bearer hush"}, "auth"),
        ({"auth": {"type": "bearer", "token": ""}}, "auth"),
        ({"auth": {"type": "bearer", "token": "hush"}, "headers": {"Authorization": "hush"}}, "auth"),
        ({"client_certificate": {"certificate": "hush", "key": "hush"}}, "client_certificate"),
        ({"asymmetric": 1}, "asymmetric"),
        ({"colour": "red"}, "colour"),
        ({"secret": "whsec_AAAA"}, "secret"),
    ],
)
async def test_wrong_field_of_a_new_webhook_is_a_400_that_names_it(
    api: Api, change: dict[str, Any], field_name: str
) -> None:
    answer = await api.request("POST", "/v1/webhooks", json={**DRAFT, **change})
    assert_names(answer, field_name)
    assert b"hush" not in answer.body
    assert (await api.get("/v1/webhooks")).ids == []


LEAF = trustme.CA().issue_cert("client.example.com", common_name="router")
PEMS = {"certificate": LEAF.cert_chain_pems[0].bytes().decode(), "key": LEAF.private_key_pem.bytes().decode()}
OAUTH2 = {"type": "oauth2", "token_url": "https://login.example.com/t", "client_id": "c", "client_secret": "hush"}


@pytest.mark.parametrize(
    ("auth", "shown"),
    [
        ({"type": "basic", "username": "u", "password": "hush"}, {"type": "basic", "username": "u"}),
        ({"type": "bearer", "token": "hush"}, {"type": "bearer"}),
        (
            OAUTH2,
            {
                "type": "oauth2",
                "token_url": "https://login.example.com/t",
                "client_id": "c",
                "scope": None,
                "client_authentication": "client_secret_basic",
            },
        ),
    ],
)
async def test_credentials_can_be_written_and_never_read(
    api: Api, stored: StoredThings, auth: dict[str, str], shown: dict[str, Any]
) -> None:
    wanted = {**DRAFT, "auth": auth, "client_certificate": PEMS, "asymmetric": True}

    created = await api.request("POST", "/v1/webhooks", json=wanted)

    assert created.status == 201
    webhook = created.json
    assert webhook["auth"] == shown
    assert "router" in webhook["client_certificate"]["subject"]
    assert re.fullmatch(r"whpk_[A-Za-z0-9+/]{43}=", webhook["signing"]["public_key"])
    read = await api.get(f"/v1/webhooks/{webhook['id']}")
    assert read.json == {name: value for name, value in webhook.items() if name != "secret"}
    for answer in (created, read, await api.get("/v1/webhooks")):
        assert not re.search(rb"hush|PRIVATE|BEGIN|whsk_", answer.body)
    document = stored.database["webhooks"].find_one({}) or {}
    assert document["auth"].items() >= auth.items()
    assert document["client_certificate"] == PEMS
    assert document["signing_key"].startswith("whsk_")


async def test_a_certificate_that_has_expired_is_not_taken(api: Api) -> None:
    past = datetime(2020, 1, 1)  # noqa: DTZ001  trustme wants it naive
    leaf = trustme.CA().issue_cert("old.example.com", not_before=past, not_after=past + timedelta(days=1))
    pems = {"certificate": leaf.cert_chain_pems[0].bytes().decode(), "key": leaf.private_key_pem.bytes().decode()}

    answer = await api.request("POST", "/v1/webhooks", json={**DRAFT, "client_certificate": pems})

    assert_names(answer, "client_certificate")


# --- rotation --------------------------------------------------------------------------------------

ROTATE = "/v1/webhooks/wh_crm/rotate-secret"


async def test_a_rotation_shows_the_new_secret_once_and_the_end_of_the_old(api: Api, stored: StoredThings) -> None:
    stored.add_definition({**DRAFT, "_id": "wh_crm", "enabled": True, "secret": "whsec_c2VjcmV0"})

    rotated = await api.request("POST", ROTATE)

    assert rotated.status == 200
    shown = dict(rotated.json)
    secret = shown.pop("secret")
    assert re.fullmatch(r"whsec_[A-Za-z0-9+/]{43}=", secret)
    assert shown["signing"]["secrets"] == [{"expires_at": None}, {"expires_at": "2026-03-02T12:00:00.000Z"}]
    read = await api.get("/v1/webhooks/wh_crm")
    assert read.json == shown
    assert not re.search(rb"whsec_|c2VjcmV0", read.body)
    document = stored.database["webhooks"].find_one({}) or {}
    assert [entry["value"] for entry in document["secret"]] == [secret, "whsec_c2VjcmV0"]


@pytest.mark.parametrize(
    ("body", "ends"),
    [
        ({}, ["2026-03-02T12:00:00.000Z"]),
        ({"overlap_seconds": 60}, ["2026-03-01T12:01:00.000Z"]),
        ({"overlap_seconds": 2_592_000}, ["2026-03-31T12:00:00.000Z"]),
        ({"overlap_seconds": 0}, []),
    ],
)
async def test_the_overlap_can_be_chosen(api: Api, stored: StoredThings, body: dict[str, int], ends: list[str]) -> None:
    stored.add_definition({**DRAFT, "_id": "wh_crm", "enabled": True, "secret": "whsec_c2VjcmV0"})

    rotated = await api.request("POST", ROTATE, json=body)

    assert rotated.json["signing"]["secrets"] == [{"expires_at": None}, *({"expires_at": end} for end in ends)]


async def test_an_ed25519_key_is_renewed_and_the_secret_stays(api: Api, stored: StoredThings) -> None:
    stored.add_definition({**DRAFT, "_id": "wh_crm", "enabled": True, "secret": "whsec_c2VjcmV0"})

    renewed = await api.request("POST", ROTATE, json={"asymmetric": True})

    assert (renewed.status, renewed.json["secret"]) == (200, None)
    assert renewed.json["signing"]["secrets"] == [{"expires_at": None}]
    assert renewed.json["signing"]["public_key"].startswith("whpk_")
    assert b"whsk_" not in renewed.body


@pytest.mark.parametrize(
    ("body", "field_name"),
    [
        ({"overlap_seconds": -1}, "overlap_seconds"),
        ({"overlap_seconds": 2_592_001}, "overlap_seconds"),
        ({"overlap_seconds": "60"}, "overlap_seconds"),
        ({"overlap_seconds": 1.5}, "overlap_seconds"),
        ({"asymmetric": "yes"}, "asymmetric"),
        ({"asymmetric": True, "overlap_seconds": 60}, "body"),
        ({"secret": "whsec_AAAA"}, "secret"),
        ([], "body"),
    ],
)
async def test_a_wrong_rotation_changes_nothing(api: Api, stored: StoredThings, body: object, field_name: str) -> None:
    stored.add_definition({**DRAFT, "_id": "wh_crm", "enabled": True, "secret": "whsec_c2VjcmV0"})

    assert_names(await api.request("POST", ROTATE, json=body), field_name)

    assert (stored.database["webhooks"].find_one({}) or {})["secret"] == "whsec_c2VjcmV0"


async def test_a_rotation_that_others_overtake_is_a_409(
    api: Api, stored: StoredThings, monkeypatch: pytest.MonkeyPatch
) -> None:
    stored.add_definition({**DRAFT, "_id": "wh_crm", "enabled": True, "secret": "whsec_c2VjcmV0"})
    monkeypatch.setattr(registry, "MAX_TRIES", 0)  # all of them were lost

    assert_problem(await api.request("POST", ROTATE), 409, "conflict")


async def test_nobody_has_no_secret(api: Api) -> None:
    assert_problem(await api.request("POST", ROTATE), 404, "not-found")
    assert_problem(await api.request("POST", ROTATE, json={"asymmetric": True}), 404, "not-found")
    assert_problem(await api.request("POST", ROTATE, headers={}), 401, "unauthorized")


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
