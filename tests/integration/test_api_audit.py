"""Who saw or changed what is written down before it happens, on a real MongoDB."""

from __future__ import annotations

import pytest

from router.adapters.mongo.audit import MongoAuditTrail
from router.domain.event import AccountId
from router.ports import AuditEntry
from tests.support.api import Api, Surroundings, assert_names, assert_problem
from tests.support.fakes_manage import FakeAudit
from tests.support.samples import at, dead_letter, delivery, event, webhook
from tests.support.stored import StoredThings

RECEIVED = event(matched=["wh_crm"], payload=b'{"caller": "+33639981122"}', call_id="call-1")
SENT = delivery(RECEIVED)
REVEALS = [
    (f"/v1/deliveries/{SENT.id}", "delivery.revealed", "1042", SENT.id),
    ("/v1/events/evt-1?account_id=1042", "event.revealed", "1042", "evt-1"),
    ("/v1/calls/call-1?account_id=1042", "call.revealed", "1042", "call-1"),
    ("/v1/dead-letters/dl_1", "dead_letter.revealed", None, "dl_1"),
    ("/v1/dead-letters", "dead_letter.revealed", None, None),
]


@pytest.fixture(autouse=True)
def things(stored: StoredThings) -> None:
    stored.add_webhook(webhook())
    stored.add_event(RECEIVED)
    stored.add_delivery(SENT, RECEIVED.key)
    stored.add_dead_letter(dead_letter())


@pytest.mark.parametrize(("path", "action", "account_id", "target"), REVEALS)
async def test_every_payload_that_is_shown_is_written_down(
    path: str, action: str, account_id: str | None, target: str | None, api: Api
) -> None:
    assert (await api.request("GET", path)).status == 200

    (entry,) = (await api.get("/v1/audit")).json["items"]
    shown = (entry["actor"], entry["action"], entry["account_id"], entry["target"])
    assert shown == ("admin_token", action, account_id, target)
    assert entry["at"] == "2026-03-01T12:00:00.000Z"


@pytest.mark.parametrize(("path", "action", "account_id", "target"), REVEALS)
async def test_what_cannot_be_written_down_is_not_shown(
    path: str, action: str, account_id: str | None, target: str | None, surroundings: Surroundings
) -> None:
    surroundings.audit = FakeAudit()
    surroundings.audit.is_away = True
    async with surroundings.serving() as api:
        answer = await api.request("GET", path)

    assert_problem(answer, 503, "unavailable")
    assert b"3399811" not in answer.body
    assert b"not JSON" not in answer.body


@pytest.mark.parametrize(
    "path", ["/v1/deliveries/dlv_none", "/v1/events/evt-2?account_id=1042", "/v1/dead-letters/dl_2", "/v1/deliveries"]
)
async def test_what_shows_no_payload_leaves_no_entry(path: str, api: Api) -> None:
    await api.request("GET", path)

    assert (await api.get("/v1/audit", include_total="true")).json == {"items": [], "next_cursor": None, "total": 0}


async def test_every_change_is_written_down(api: Api) -> None:
    await api.request("PUT", "/v1/accounts/1042", json={"webhooks_enabled": True})
    draft = {"account_id": "7", "name": "CRM", "url": "https://crm.example.com/hooks", "event_type": "call"}
    created = (await api.request("POST", "/v1/webhooks", json=draft)).json["id"]
    await api.request("PATCH", "/v1/webhooks/wh_crm", json={"enabled": False})
    await api.request("PATCH", "/v1/webhooks/wh_crm", json={"enabled": True})
    await api.request("POST", "/v1/webhooks/wh_crm/resume")
    await api.request("DELETE", "/v1/webhooks/wh_crm")
    await api.request("POST", "/v1/dead-letters/dl_1/requeue")
    # What is not there is not changed.
    await api.request("DELETE", "/v1/webhooks/wh_none")
    await api.request("POST", "/v1/dead-letters/dl_none/requeue")

    entries = (await api.get("/v1/audit")).json["items"]
    # All at one moment of this test's clock, so in any order.
    assert {(entry["action"], entry["account_id"], entry["target"]) for entry in entries} == {
        ("account.switched", "1042", "1042"),
        ("webhook.created", "7", created),
        ("webhook.paused", "1042", "wh_crm"),
        ("webhook.resumed", "1042", "wh_crm"),
        ("webhook.deleted", "1042", "wh_crm"),
        ("dead_letter.requeued", None, "dl_1"),
    }
    assert len(entries) == 7
    by_action = {entry["action"]: entry for entry in entries}
    assert by_action["account.switched"]["details"] == {"webhooks_enabled": True}
    assert "crm.example.com" not in str(entries)


async def test_nothing_is_changed_that_cannot_be_written_down(surroundings: Surroundings, stored: StoredThings) -> None:
    surroundings.audit = FakeAudit()
    surroundings.audit.is_away = True
    draft = {"account_id": "7", "name": "CRM", "url": "https://crm.example.com/hooks", "event_type": "call"}
    async with surroundings.serving() as api:
        for method, path, body in (
            ("PUT", "/v1/accounts/1042", {"webhooks_enabled": True}),
            ("POST", "/v1/webhooks", draft),
            ("PATCH", "/v1/webhooks/wh_crm", {"enabled": False}),
            ("POST", "/v1/webhooks/wh_crm/resume", None),
            ("DELETE", "/v1/webhooks/wh_crm", None),
            ("POST", "/v1/dead-letters/dl_1/requeue", None),
        ):
            assert_problem(await api.request(method, path, json=body), 503, "unavailable")

    assert stored.database["accounts"].find_one() is None
    (left,) = stored.database["webhooks"].find()
    assert left["enabled"] is True
    assert surroundings.publications.published == []


async def test_the_trail_is_filtered_and_paged(api: Api, surroundings: Surroundings) -> None:
    trail = MongoAuditTrail(surroundings.database)
    for number in range(5):
        account_id = AccountId("1042" if number % 2 else "7")
        entry = AuditEntry(at=at(number), actor="cli:a", action="delivery.revealed", account_id=account_id)
        await trail.write(entry)

    assert [len(page) for page in await api.all_ids("/v1/audit", limit=2)] == [2, 2, 1]
    assert len((await api.get("/v1/audit", account_id="7", action="delivery.revealed")).ids) == 3
    assert (await api.get("/v1/audit", action="webhook.deleted")).ids == []
    assert_names(await api.get("/v1/audit", from_="2026-03-01T12:00:05Z", to="2026-03-01T12:00:04Z"), "from")
