"""What the API says of replays and tests, on a real MongoDB. Nobody works them off: see tests/e2e/test_replays.py."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from router.domain.delivery import DeliveryReason, DeliveryStatus
from router.domain.matching import Verdict
from router.domain.numbers import search_key
from router.domain.replay import MAX_RUNNING
from router.domain.webhook import WebhookId
from router.ports import Replayed
from tests.support.api import Answer, Api, Surroundings, assert_names, assert_problem
from tests.support.fakes_manage import FakeAudit
from tests.support.samples import at, delivery, event, replay, webhook
from tests.support.stored import StoredThings


@pytest.fixture
def things(stored: StoredThings) -> StoredThings:
    """A webhook, with one delivery that was taken and two that failed."""
    stored.add_webhook(webhook())
    for number, status in enumerate((DeliveryStatus.DELIVERED, DeliveryStatus.FAILED, DeliveryStatus.FAILED)):
        received = event(f"evt-{number}", matched=["wh_crm"], received_at=at(-number - 1))
        reason = DeliveryReason.EXHAUSTED if status is DeliveryStatus.FAILED else None
        stored.add_event(received)
        keys = [key for key in [search_key("+33639981122", "FR")] if key]
        stored.add_delivery(delivery(received, id=f"dlv_{number}", status=status, reason=reason), received.key, keys)
    return stored


async def post(api: Api, path: str, json: Any = None) -> Answer:
    return await api.request("POST", path, json=json)


def trail(stored: StoredThings) -> list[tuple[str, str | None, str | None]]:
    found = stored.database["audit"].find().sort("_id")
    return sorted((entry["action"], entry["account_id"], entry["target"]) for entry in found)


# --- one -------------------------------------------------------------------------------------------


async def test_a_replay_answers_with_the_delivery_and_is_written_down(api: Api, things: StoredThings) -> None:
    answer = await post(api, "/v1/deliveries/dlv_0/replay", {"reason": "ticket 4711"})

    assert answer.status == 202
    assert (answer.json["id"], answer.json["status"], answer.json["completed_at"]) == ("dlv_0", "pending", None)
    assert answer.json["next_attempt_at"] == "2026-03-01T12:00:00.000Z"
    assert trail(things) == [("delivery.replayed", "1042", "dlv_0")]
    assert (await api.request("POST", "/v1/deliveries/dlv_1/replay")).status == 202  # a reason is no must


async def test_what_cannot_be_replayed_is_a_conflict_that_is_not_written_down(api: Api, things: StoredThings) -> None:
    things.database["events"].update_one({"event_id": "evt-1"}, {"$unset": {"payload": ""}})
    gone = await post(api, "/v1/deliveries/dlv_1/replay")
    things.database["webhooks"].update_one({"_id": "wh_crm"}, {"$set": {"url": "ftp://crm.example.com"}})
    wrong = await post(api, "/v1/deliveries/dlv_0/replay")
    tested = await post(api, "/v1/webhooks/wh_crm/test")
    things.database["webhooks"].delete_one({"_id": "wh_crm"})
    deleted = await post(api, "/v1/deliveries/dlv_0/replay")

    for answer, why in [(gone, "payload is gone"), (wrong, "url"), (tested, "url"), (deleted, "was deleted")]:
        assert_problem(answer, 409, "conflict")
        assert why in answer.json["detail"]
    assert trail(things) == []


async def test_one_that_a_worker_holds_says_when_it_is_tried_next(api: Api, things: StoredThings) -> None:
    held = {"status": "pending", "next_attempt_at": at(60), "lease": {"owner": "w-1", "fence": 4}}
    things.database["deliveries"].update_one({"_id": "dlv_1"}, {"$set": held})

    answer = await post(api, "/v1/deliveries/dlv_1/replay")

    assert_problem(answer, 409, "conflict")
    assert "2026-03-01T12:01:00.000Z" in answer.json["detail"]


@pytest.mark.usefixtures("things")
async def test_there_is_nothing_to_replay_or_to_test_that_is_not_there(api: Api) -> None:
    for path in ("/v1/deliveries/dlv_none/replay", "/v1/webhooks/wh_none/test", "/v1/replays/rpl_none/cancel"):
        assert_problem(await post(api, path), 404, "not-found")
    unknown = await post(api, "/v1/replays", {"filter": {"webhook_id": "wh_none"}})
    assert_problem(unknown, 404, "not-found")


# --- a test ----------------------------------------------------------------------------------------


async def test_a_test_is_a_delivery_of_a_made_up_event_and_is_shown_as_such(api: Api, things: StoredThings) -> None:
    answer = await post(api, "/v1/webhooks/wh_crm/test")

    assert (answer.status, answer.json["status"], answer.json["webhook_id"]) == (202, "pending", "wh_crm")
    event_id = answer.json["event_id"]
    assert event_id.startswith("evt_test_")
    shown = (await api.get(f"/v1/events/{event_id}", account_id="1042")).json
    assert shown["source"] == "test"
    assert [line["delivery_id"] for line in shown["trace"]] == [answer.json["id"]]
    assert (await api.get("/v1/webhooks/wh_crm")).json["deliveries"]["total"] == 4
    assert ("webhook.tested", "1042", "wh_crm") in trail(things)


# --- many ------------------------------------------------------------------------------------------

PERIOD = {"from": "2026-03-01T11:00:00Z"}


async def test_a_replay_is_counted_then_created_shown_listed_and_cancelled(api: Api, things: StoredThings) -> None:
    wanted = {"filter": {"webhook_id": "wh_crm", "number": "06 39 98 11 22", **PERIOD}, "reason": "CRM was down"}

    preview = await post(api, "/v1/replays", {**wanted, "dry_run": True})
    created = await post(api, "/v1/replays", wanted)

    assert (preview.status, created.status) == (200, 202)
    shown = {
        **dict.fromkeys(("event_type", "status", "event_id", "call_id", "user_id")),
        "account_id": "1042",
        "webhook_id": "wh_crm",
        "number": "33639981122",
        "from": "2026-03-01T11:00:00.000Z",
        "to": "2026-03-01T12:00:00.000Z",
    }
    assert preview.json == {"filter": shown, "kind": "deliveries", "matched": 2}
    identity = created.json["id"]
    assert created.json == {
        **preview.json,
        "id": identity,
        "reason": "CRM was down",
        "per_second": 20.0,
        "released": 0,
        "skipped": {},
        "done": 0,
        "state": "running",
        "created_by": "admin_token",
        "created_at": "2026-03-01T12:00:00.000Z",
        "finished_at": None,
    }
    assert (await api.get(f"/v1/replays/{identity}")).json == created.json
    assert (await api.get("/v1/replays", account_id="1042", include_total="true")).json["total"] == 1
    cancelled = await post(api, f"/v1/replays/{identity}/cancel")
    assert (cancelled.status, cancelled.json["state"]) == (200, "cancelled")
    assert (await post(api, f"/v1/replays/{identity}/cancel")).json == cancelled.json
    assert trail(things) == [("replay.cancelled", "1042", identity), ("replay.started", "1042", identity)]


NOON_AND_LATER = {"webhook_id": "wh_crm", "from": "2026-03-01T13:00:00Z"}
ELEVEN_TO_ELEVEN = {"webhook_id": "wh_crm", "from": "2026-03-01T11:00:00Z", "to": "2026-03-01T11:00:00Z"}


@pytest.mark.parametrize(
    ("body", "field"),
    [
        ({}, "filter"),
        ({"filter": {}}, "filter"),
        ({"filter": {"webhook_id": "wh_crm", "status": "lost"}}, "filter.status"),
        ({"filter": {"webhook_id": "wh_crm", "limit": 5}}, "filter.limit"),
        ({"filter": {"webhook_id": {"$ne": None}}}, "filter.webhook_id"),
        ({"filter": {"webhook_id": "wh_crm", "number": "12"}}, "filter.number"),
        ({"filter": NOON_AND_LATER}, "filter.from"),
        ({"filter": {"webhook_id": "wh_crm", "from": "2020-03-01T13:00:00Z"}}, "filter.from"),
        ({"filter": ELEVEN_TO_ELEVEN}, "filter.from"),
        ({"filter": {"webhook_id": "wh_crm"}, "per_second": 0}, "per_second"),
        ({"filter": {"webhook_id": "wh_crm"}, "per_second": 100.1}, "per_second"),
        ({"filter": {"webhook_id": "wh_crm"}, "reason": "x" * 201}, "reason"),
        ({"filter": {"webhook_id": "wh_crm"}, "reason": "call 06 39 98 11 22"}, "reason"),
        ({"filter": {"webhook_id": "wh_crm"}, "all": True}, "all"),
        ({"filter": {"webhook_id": "wh_crm", "call_id": "c-1"}, "missing": True}, "filter.call_id"),
    ],
)
async def test_what_is_wrong_is_named(api: Api, things: StoredThings, body: Any, field: str) -> None:
    assert_names(await post(api, "/v1/replays", body), field)
    assert things.database["replays"].count_documents({}) == 0


async def test_an_account_has_so_many_replays_at_once(api: Api, things: StoredThings) -> None:
    for number in range(MAX_RUNNING - 1):
        things.add_replay(replay(f"rpl_{number}"))
    wanted = {"filter": {"webhook_id": "wh_crm"}}

    assert (await post(api, "/v1/replays", wanted)).status == 202
    assert_problem(await post(api, "/v1/replays", wanted), 409, "conflict")


@pytest.mark.usefixtures("things")
@pytest.mark.parametrize(
    ("path", "body"), [("/v1/replays", {"filter": {"webhook_id": "wh_crm"}}), ("/v1/webhooks/wh_crm/test", None)]
)
async def test_an_id_that_was_drawn_before_is_a_conflict(api: Api, path: str, body: Any) -> None:
    """Here every draw is the same."""
    assert (await post(api, path, body)).status == 202
    assert_problem(await post(api, path, body), 409, "conflict")


async def test_nothing_is_sent_again_that_nobody_wrote_down(surroundings: Surroundings, things: StoredThings) -> None:
    surroundings.audit = FakeAudit(is_away=True)
    async with surroundings.serving() as api:
        for path, body in [
            ("/v1/deliveries/dlv_1/replay", {"reason": None}),
            ("/v1/webhooks/wh_crm/test", None),
            ("/v1/replays", {"filter": {"webhook_id": "wh_crm"}}),
        ]:
            assert_problem(await post(api, path, body), 503, "unavailable")

    assert things.database["deliveries"].count_documents({"status": "pending"}) == 0
    assert things.database["replays"].count_documents({}) == 0


# --- missing events --------------------------------------------------------------------------------


async def test_an_event_shows_what_was_decided_and_what_a_replay_did(api: Api, things: StoredThings) -> None:
    later = (Replayed(webhook_id=WebhookId("wh_crm"), at=at(60), replay_id="rpl_1"),)
    missed = event("evt-missed", not_matched=[("wh_crm", Verdict.PAUSED)], replayed=later)
    things.add_event(missed)
    things.add_delivery(delivery(missed), missed.key)

    shown = (await api.get("/v1/events/evt-missed", account_id="1042")).json

    (line,) = shown["trace"]
    assert (line["verdict"], line["matched"], line["delivery_id"]) == ("paused", False, None)
    (sent,) = shown["deliveries"]
    assert shown["replayed"] == [
        {
            "webhook_id": "wh_crm",
            "webhook_name": "CRM",
            "at": "2026-03-01T12:01:00.000Z",
            "replay_id": "rpl_1",
            "delivery_id": sent["id"],
        }
    ]


async def test_events_that_matched_nothing_are_counted(api: Api, things: StoredThings) -> None:
    for number in range(3):
        missed = replace(event(f"evt-m{number}"), received_at=at(-60))
        things.add_event(missed)
        things.database["events"].update_one({"_id": missed.key}, {"$set": {"unmatched": "1042"}})

    wanted = {"filter": {"account_id": "1042", **PERIOD}, "missing": True, "dry_run": True}
    answer = await post(api, "/v1/replays", wanted)

    assert (answer.json["kind"], answer.json["matched"]) == ("missing", 3)
