"""PATCH of a webhook, and versions: nobody changes through the API what they have not seen."""

from __future__ import annotations

import re
from datetime import timedelta
from typing import Any

import pytest

from router.adapters.mongo.driver import Database
from router.adapters.mongo.registry import MongoRegistry
from router.domain.edit import EditPlan
from router.domain.webhook import Suspension, SuspensionReason
from tests.support.api import AUTHORIZED, Answer, Api, Surroundings, assert_names, assert_problem
from tests.support.samples import NOON, webhook
from tests.support.stored import StoredThings

CRM = "/v1/webhooks/wh_crm"
NUMBERS = {"tracking_numbers": ["+33199001234"]}
LATER = "2026-03-01T13:00:00.000Z"


@pytest.fixture(autouse=True)
def crm(stored: StoredThings, surroundings: Surroundings) -> None:
    """A webhook of noon; it is one o'clock."""
    stored.add_definition(
        {
            "_id": "wh_crm",
            "account_id": "1042",
            "name": "CRM",
            "url": "https://crm.example.com/hooks",
            "event_type": "call",
            "enabled": True,
            "restrict_to": NUMBERS,
            "headers": {"x-api-key": "hush", "x-team": "sales"},
            "secret": "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw",
            "created_at": NOON,
            "updated_at": NOON,
        }
    )
    surroundings.now = lambda: NOON + timedelta(hours=1)


async def patch(api: Api, change: dict[str, Any], **headers: str) -> Answer:
    named = {name.replace("_", "-"): value for name, value in headers.items()}
    return await api.request("PATCH", CRM, json=change, headers={**AUTHORIZED, **named})


def document(stored: StoredThings) -> dict[str, Any]:
    return stored.database["webhooks"].find_one({"_id": "wh_crm"}) or {}


# --- what changes ----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("change", "shown"),
    [
        ({"name": " CRM Lyon "}, {"name": "CRM Lyon"}),
        ({"url": "HTTPS://crm.example.com:443/new"}, {"url": "https://crm.example.com/new"}),
        ({"enabled": False}, {"enabled": False, "state": "paused"}),
        ({"event_type": "cdr"}, {"event_type": "cdr"}),
        ({"restrict_to": None}, {"restrict_to": None}),
        (
            {"restrict_to": {"tracking_numbers": ["04 65 71 00 42", "+33 1 99 00 12 34", "0033199001234"]}},
            {"restrict_to": {"tracking_numbers": ["+33199001234", "+33465710042"]}},
        ),
        (
            {"event_type": "user", "restrict_to": {"user_id": "u-17"}},
            {"event_type": "user", "restrict_to": {"user_id": "u-17"}},
        ),
        ({"headers": {"X-Api-Key": "***"}}, {"headers": {"X-Api-Key": "***"}}),
        ({"headers": None}, {"headers": {}}),
        ({"auth": {"type": "bearer", "token": "hush"}}, {"auth": {"type": "bearer"}}),
    ],
)
async def test_what_is_said_changes_and_the_rest_stays(api: Api, change: dict[str, Any], shown: dict[str, Any]) -> None:
    before = await api.get(CRM)

    changed = await patch(api, change)

    assert changed.status == 200
    assert changed.json == {**before.json, **shown, "updated_at": LATER}
    read = await api.get(CRM)
    assert (read.json, read.headers["ETag"]) == (changed.json, changed.headers["ETag"])
    assert changed.headers["ETag"] != before.headers["ETag"]
    assert b"hush" not in changed.body


async def test_a_header_whose_value_is_hidden_stays_as_it_is(api: Api, stored: StoredThings) -> None:
    shown = (await api.get(CRM)).json["headers"]

    await patch(api, {"headers": {**shown, "x-team": "support"}})
    assert document(stored)["headers"] == {"x-api-key": "hush", "x-team": "support"}

    await patch(api, {"headers": None, "restrict_to": None})
    assert "headers" not in document(stored)
    assert document(stored)["restrict_to"] is None


async def test_the_same_change_twice_is_one_change(api: Api, surroundings: Surroundings, stored: StoredThings) -> None:
    change = {"name": "CRM Lyon", "restrict_to": {"tracking_numbers": ["04 65 71 00 42"]}, "headers": {"x-a": "b"}}
    first = await patch(api, change)
    before = document(stored)
    surroundings.now = lambda: NOON + timedelta(hours=2)

    second = await patch(api, change)

    assert (second.status, second.json) == (200, first.json)
    assert second.headers["ETag"] == first.headers["ETag"]
    assert document(stored) == before
    entries = (await api.get("/v1/audit")).json["items"]
    assert [(entry["action"], entry["details"]) for entry in entries] == [
        ("webhook.edited", {"fields": ["name", "restrict_to", "headers"]})
    ]
    assert "465710042" not in str(entries)


async def test_a_change_of_nothing_is_no_change(api: Api) -> None:
    before = await api.get(CRM)

    answer = await patch(api, {})

    assert (answer.status, answer.json, answer.headers["ETag"]) == (200, before.json, before.headers["ETag"])
    assert_problem(await api.request("PATCH", CRM), 415, "unsupported-media-type")


@pytest.mark.parametrize(
    ("change", "field_name", "rule"),
    [
        ({"name": ""}, "name", "must not be empty"),
        ({"name": None}, "name", "must be a valid string"),
        ({"name": "two\nlines"}, "name", "one line"),
        ({"url": "https://10.0.0.1/"}, "url", "not public"),
        ({"url": None}, "url", "must be a valid string"),
        ({"event_type": "fax"}, "event_type", "call"),
        ({"event_type": "user"}, "restrict_to.tracking_numbers", "goes with call and cdr"),
        ({"restrict_to": {"user_id": "u-17"}}, "restrict_to.user_id", "goes with user"),
        ({"restrict_to": {"tracking_numbers": ["0199001234", "12"]}}, "restrict_to.tracking_numbers[1]", "phone"),
        ({"enabled": None}, "enabled", "boolean"),
        ({"headers": {"host": "x"}}, "headers", "cannot be set"),
        ({"headers": {"x-new": "***"}}, "headers", "x-new has none"),
        ({"auth": {"type": "basic", "username": "u"}}, "auth", "password"),
        ({"account_id": "77"}, "account_id", "is no field"),
        ({"id": "wh_2"}, "id", "is no field"),
        ({"secret": "whsec_AAAA"}, "secret", "is no field"),
    ],
)
async def test_a_wrong_field_is_a_400_that_names_it_and_the_rule(
    api: Api, stored: StoredThings, change: dict[str, Any], field_name: str, rule: str
) -> None:
    before = document(stored)

    answer = await patch(api, {"name": "CRM Lyon", **change})

    assert_names(answer, field_name)
    assert rule in answer.json["errors"][0]["message"]
    assert document(stored) == before
    assert (await api.get("/v1/audit")).json["items"] == []


async def test_a_new_webhook_cannot_have_a_value_that_is_hidden(api: Api) -> None:
    draft = {"account_id": "1", "name": "CRM", "url": "https://crm.example.com/", "event_type": "call"}

    assert_names(await api.request("POST", "/v1/webhooks", json={**draft, "headers": {"x-key": "***"}}), "headers")


async def test_what_a_back_office_wrote_wrongly_is_mended_field_by_field(api: Api, stored: StoredThings) -> None:
    stored.database["webhooks"].update_one(
        {}, {"$set": {"url": "crm.example.com", "enabled": "yes", "restrict_to": {"user_id": "u-17"}}}
    )
    seen = []

    for change in ({"enabled": True}, {"url": "https://crm.example.com/"}, {"restrict_to": None}):
        answer = await patch(api, change)
        seen.append((answer.json["state"], (answer.json["state_reason"] or "").partition(":")[0]))

    assert seen == [("invalid", "url"), ("invalid", "restrict_to.user_id"), ("active", "")]


async def test_no_change_lifts_a_suspension(api: Api, stored: StoredThings) -> None:
    stored.add_webhook(webhook("wh_2", enabled=False, suspension=Suspension(since=NOON, reason=SuspensionReason.GONE)))

    for change in ({"url": "https://crm.example.com/new"}, {"enabled": True}):
        await api.request("PATCH", "/v1/webhooks/wh_2", json=change)
    suspended = await api.get("/v1/webhooks/wh_2")
    resumed = await api.request("POST", "/v1/webhooks/wh_2/resume")

    assert (suspended.json["state"], suspended.json["state_reason"]) == ("suspended", "gone")
    assert resumed.json["state"] == "active"
    assert resumed.headers["ETag"] == suspended.headers["ETag"], "a suspension is no part of the definition"


# --- ETag and If-Match -----------------------------------------------------------------------------


async def test_every_answer_that_is_one_webhook_has_its_version(api: Api) -> None:
    draft = {"account_id": "1", "name": "CRM", "url": "https://crm.example.com/", "event_type": "call"}

    created = await api.request("POST", "/v1/webhooks", json={**draft, "headers": {"x-key": "k"}})
    own = f"/v1/webhooks/{created.json['id']}"
    read = await api.get(own)
    tags = [created.headers["ETag"]]
    for method, path, body in (
        ("PATCH", own, {"enabled": False}),
        ("POST", f"{own}/resume", None),
        ("POST", f"{own}/rotate-secret", None),
        ("POST", f"{own}/rotate-secret", {"asymmetric": True}),
    ):
        answer = await api.request(method, path, json=body)
        assert answer.headers["ETag"] == (await api.get(own)).headers["ETag"]
        tags.append(answer.headers["ETag"])

    assert read.headers["ETag"] == tags[0]
    assert all(re.fullmatch(r'"[0-9a-f]{32}"', tag) for tag in tags)
    assert len(set(tags[:2] + tags[3:])) == 4, "each change of the definition has a version of its own"
    assert (await api.request("HEAD", own)).headers["ETag"] == tags[-1]
    assert "ETag" not in (await api.get("/v1/webhooks")).headers


ACTS = [
    ("PATCH", CRM, {"name": "CRM Lyon"}, 200),
    ("POST", f"{CRM}/resume", None, 200),
    ("POST", f"{CRM}/rotate-secret", None, 200),
    ("POST", f"{CRM}/rotate-secret", {"asymmetric": True}, 200),
    ("DELETE", CRM, None, 204),
]
acts = pytest.mark.parametrize(("method", "path", "body", "status"), ACTS)


@acts
async def test_stale_version_is_a_412_that_says_what_to_do_and_a_fresh_one_counts(
    api: Api, stored: StoredThings, method: str, path: str, body: object, status: int
) -> None:
    stale = (await api.get(CRM)).headers["ETag"]
    # As a back office writes: without a word.
    stored.database["webhooks"].update_one({}, {"$set": {"url": "https://crm.example.com/moved", "enabled": False}})
    before = document(stored)

    refused = await api.request(method, path, json=body, headers={**AUTHORIZED, "If-Match": stale})

    assert_problem(refused, 412, "precondition-failed")
    assert "read it again" in refused.json["detail"]
    assert document(stored) == before
    assert (await api.get("/v1/audit")).json["items"] == []

    fresh = (await api.get(CRM)).headers["ETag"]
    done = await api.request(method, path, json=body, headers={**AUTHORIZED, "If-Match": f"{stale} , {fresh}"})
    assert done.status == status
    assert method == "DELETE" or document(stored)["url"] == "https://crm.example.com/moved"


async def test_what_is_wrong_in_any_case_is_said_first(api: Api) -> None:
    assert_names(await patch(api, {"url": "https://10.0.0.1/"}, If_Match='"8f3c"'), "url")


@acts
async def test_star_is_whatever_is_there(api: Api, method: str, path: str, body: object, status: int) -> None:
    headers = {**AUTHORIZED, "If-Match": "*"}

    assert (await api.request(method, path, json=body, headers=headers)).status == status
    gone = await api.request(method, path.replace("wh_crm", "wh_none"), json=body, headers=headers)
    assert_problem(gone, 404, "not-found")


@acts
@pytest.mark.parametrize("value", ['W/"8f3c"', "8f3c", '"8f3c', '"8f3c" "9"', '"8f3c",', '*, "8f3c"', '"a b"', "W/*"])
async def test_version_that_is_none_is_a_400(
    api: Api, stored: StoredThings, method: str, path: str, body: object, status: int, value: str
) -> None:
    before = document(stored)

    assert_names(await api.request(method, path, json=body, headers={**AUTHORIZED, "If-Match": value}), "If-Match")

    assert document(stored) == before


async def test_a_webhook_that_is_gone_is_a_404_whatever_was_seen(api: Api) -> None:
    headers = {**AUTHORIZED, "If-Match": (await api.get(CRM)).headers["ETag"]}

    assert (await api.request("DELETE", CRM, headers=headers)).status == 204
    for method, path, body, _ in ACTS:
        assert_problem(await api.request(method, path, json=body, headers=headers), 404, "not-found")


async def test_an_account_is_switched_as_it_was_seen(api: Api, stored: StoredThings) -> None:
    path = "/v1/accounts/77"
    off = (await api.get(path)).headers["ETag"]

    async def switch(seen: str, *, on: bool) -> Answer:
        headers = {**AUTHORIZED, "If-Match": seen}
        return await api.request("PUT", path, json={"webhooks_enabled": on}, headers=headers)

    switched = await switch(off, on=True)
    assert (switched.status, switched.json["webhooks_enabled"]) == (200, True)
    assert switched.headers["ETag"] == (await api.get(path)).headers["ETag"] != off
    assert_problem(await switch(off, on=False), 412, "precondition-failed")
    assert_names(await switch(f"W/{off}", on=False), "If-Match")

    stored.database["accounts"].update_one({"_id": "77"}, {"$set": {"webhooks_enabled": False}})
    assert_problem(await switch(switched.headers["ETag"], on=False), 412, "precondition-failed")
    assert (await switch("*", on=False)).headers["ETag"] == off
    assert [entry["action"] for entry in (await api.get("/v1/audit")).json["items"]] == ["account.switched"]


# --- others at the same moment ---------------------------------------------------------------------


class Overtaken(MongoRegistry):
    """Before each edit the back office writes."""

    times = 0
    written = 0

    def __init__(self, database: Database, stored: StoredThings) -> None:
        super().__init__(database)
        self._stored = stored

    async def edit_webhook(self, plan: EditPlan, *, at: Any) -> bool:
        if self.times:
            self.times, self.written = self.times - 1, self.written + 1
            url = f"https://crm.example.com/{self.written}"
            self._stored.database["webhooks"].update_one({}, {"$set": {"url": url}})
        return await super().edit_webhook(plan, at=at)


@pytest.mark.parametrize(("times", "status"), [(1, 200), (5, 409)])
async def test_what_others_write_at_the_same_moment_is_kept(
    surroundings: Surroundings, stored: StoredThings, times: int, status: int
) -> None:
    others = Overtaken(surroundings.database, stored)
    surroundings.registry = others
    async with surroundings.serving() as api:
        seen = (await api.get(CRM)).headers["ETag"]
        others.times = times
        answer = await patch(api, {"name": "CRM Lyon"})
        others.times = 1
        with_version = await patch(api, {"name": "CRM Rhône"}, If_Match=(await api.get(CRM)).headers["ETag"])
        stale = await patch(api, {"name": "CRM Rhône"}, If_Match=seen)

    assert answer.status == status
    assert document(stored)["url"] == f"https://crm.example.com/{times + 1}"
    assert document(stored)["name"] == ("CRM Lyon" if status == 200 else "CRM")
    assert_problem(with_version, 412, "precondition-failed")
    assert_problem(stale, 412, "precondition-failed")
