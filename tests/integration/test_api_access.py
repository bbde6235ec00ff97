"""Who gets in where: every operation of the OpenAPI document with no token, wrong ones, each scope, and the token of
another account. A new operation without a case fails here.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final

import pytest

from router.domain.delivery import delivery_id
from router.domain.event import EventType, event_key
from router.domain.principal import Scope
from router.domain.token import new_secret, write_token
from router.domain.webhook import WebhookId
from router.ports import StoredAccount
from router.web.api.openapi import openapi_document
from tests.support.api import Api, Surroundings, assert_problem
from tests.support.samples import ACCOUNT, at, dead_letter, delivery, event, replay, webhook
from tests.support.stored import StoredThings
from tests.support.tokens import OwnToken, new_token, store_token

OTHER: Final = "77"
"""An account that has nothing."""
DELIVERY_77: Final = delivery_id(event_key(OTHER, "evt-2"), WebhookId("wh_77"))
HOOK: Final[Mapping[str, Any]] = {
    "account_id": ACCOUNT,
    "name": "CRM",
    "url": "https://crm.example.com/hooks",
    "event_type": "call",
}


@dataclass(frozen=True, kw_only=True)
class Case:
    """One operation asked for what account 1042 has. `others` is what the token of another account gets, `own` what
    1042's own gets."""

    target: str
    scope: Scope
    status: int = 200
    json: Mapping[str, Any] | None = None
    others: int = 404
    own: int | None = None


CASES: Final[Mapping[str, Case]] = {
    "GET /v1/accounts/{id}": Case(target="/v1/accounts/1042", scope=Scope.READ),
    "PUT /v1/accounts/{id}": Case(target="/v1/accounts/1042", scope=Scope.MANAGE, json={"webhooks_enabled": False}),
    "GET /v1/webhooks": Case(target="/v1/webhooks?account_id=1042", scope=Scope.READ),
    "POST /v1/webhooks": Case(target="/v1/webhooks", scope=Scope.MANAGE, status=201, json=HOOK),
    "GET /v1/webhooks/{id}": Case(target="/v1/webhooks/wh_crm", scope=Scope.READ),
    "PATCH /v1/webhooks/{id}": Case(target="/v1/webhooks/wh_crm", scope=Scope.MANAGE, json={"enabled": False}),
    "DELETE /v1/webhooks/{id}": Case(target="/v1/webhooks/wh_crm", scope=Scope.MANAGE, status=204),
    "POST /v1/webhooks/{id}/resume": Case(target="/v1/webhooks/wh_crm/resume", scope=Scope.MANAGE),
    "POST /v1/webhooks/{id}/rotate-secret": Case(target="/v1/webhooks/wh_crm/rotate-secret", scope=Scope.MANAGE),
    "GET /v1/deliveries": Case(target="/v1/deliveries?account_id=1042", scope=Scope.READ),
    "GET /v1/deliveries/{id}": Case(target="/v1/deliveries/dlv_1", scope=Scope.READ),
    "POST /v1/deliveries/{id}/replay": Case(target="/v1/deliveries/dlv_1/replay", scope=Scope.REPLAY, status=202),
    "POST /v1/webhooks/{id}/test": Case(target="/v1/webhooks/wh_crm/test", scope=Scope.MANAGE, status=202),
    "POST /v1/replays": Case(
        target="/v1/replays", scope=Scope.REPLAY, status=202, json={"filter": {"account_id": "1042"}}
    ),
    "GET /v1/replays": Case(target="/v1/replays?account_id=1042", scope=Scope.REPLAY),
    "GET /v1/replays/{id}": Case(target="/v1/replays/rpl_1", scope=Scope.REPLAY),
    "POST /v1/replays/{id}/cancel": Case(target="/v1/replays/rpl_1/cancel", scope=Scope.REPLAY),
    "GET /v1/events/{id}": Case(target="/v1/events/evt-1?account_id=1042", scope=Scope.READ),
    "GET /v1/calls/{call_id}": Case(target="/v1/calls/call-1?account_id=1042", scope=Scope.READ),
    "GET /v1/search": Case(target="/v1/search?q=call-1&account_id=1042", scope=Scope.READ),
    "GET /v1/health": Case(target="/v1/health", scope=Scope.READ, own=404),
    "GET /v1/dead-letters": Case(target="/v1/dead-letters", scope=Scope.READ, own=404),
    "GET /v1/dead-letters/{id}": Case(target="/v1/dead-letters/dl_1", scope=Scope.READ, own=404),
    "POST /v1/dead-letters/{id}/requeue": Case(
        target="/v1/dead-letters/dl_1/requeue", scope=Scope.MANAGE, status=202, own=404
    ),
    "GET /v1/audit": Case(target="/v1/audit?account_id=1042", scope=Scope.ADMIN),
    "GET /v1/tokens": Case(target="/v1/tokens", scope=Scope.ADMIN, others=200),
    "POST /v1/tokens": Case(
        target="/v1/tokens", scope=Scope.ADMIN, status=201, json={"name": "x", "scopes": ["read"], "account_id": "1042"}
    ),
    "DELETE /v1/tokens/{id}": Case(target="/v1/tokens/{token}", scope=Scope.ADMIN, status=204),
}
OPEN: Final = {"GET /openapi.json", "GET /livez", "GET /readyz", "GET /metrics"}
"""Operations that need no token."""
DOCUMENTED: Final = {
    f"{method.upper()} {path}": operation
    for path, operations in openapi_document()["paths"].items()
    for method, operation in operations.items()
}

operations = pytest.mark.parametrize("operation", CASES)


@dataclass(frozen=True)
class World:
    """What account 1042 has, and the API over it."""

    api: Api
    surroundings: Surroundings
    stored: StoredThings
    token: OwnToken
    """One of 1042, to be listed and revoked."""

    async def ask(self, operation: str, headers: Mapping[str, str]) -> Any:
        case = CASES[operation]
        target = case.target.replace("{token}", self.token.id)
        method = operation.partition(" ")[0]
        return await self.api.request(method, target, headers=dict(headers), json=case.json)

    def contents(self) -> dict[str, list[Any]]:
        """All that is stored. What was refused leaves no trace of having been done, in the audit trail either."""
        names = self.stored.database.list_collection_names()
        return {name: sorted(self.stored.database[name].find(), key=lambda each: str(each["_id"])) for name in names}


@pytest.fixture
async def world(api: Api, surroundings: Surroundings, stored: StoredThings) -> World:
    received = event(matched=["wh_crm"], call_id="call-1")
    stored.add_account(StoredAccount(id=ACCOUNT, webhooks_enabled=True))
    stored.add_webhook(webhook())
    stored.add_event(received)
    stored.add_delivery(delivery(received, id="dlv_1"), received.key)
    stored.add_dead_letter(dead_letter())
    stored.add_replay(replay())
    return World(api, surroundings, stored, await store_token(surroundings.tokens, Scope.READ, account=ACCOUNT))


# --- every operation -------------------------------------------------------------------------------


def test_every_operation_of_the_document_has_a_case() -> None:
    assert {*CASES, *OPEN} == set(DOCUMENTED)


@pytest.mark.parametrize("operation", DOCUMENTED)
def test_document_says_the_scope_and_how_one_is_refused(operation: str) -> None:
    described = DOCUMENTED[operation]
    if operation in OPEN:
        assert described["security"] == []
        return
    scope = CASES[operation].scope.value
    assert described["security"] == [{"token": [scope]}]
    assert f"scope `{scope}`" in described["description"]
    assert {"401", "403", "404", "429", "503"} <= set(described["responses"])


@operations
async def test_nobody_gets_in_without_a_token_that_counts(world: World, operation: str) -> None:
    before = world.contents()
    living = await store_token(world.surroundings.tokens)
    dead = {
        "the token has expired": await store_token(world.surroundings.tokens, expires_at=at(0)),
        "the token was revoked": await store_token(world.surroundings.tokens, revoked_at=at(-1)),
    }

    for headers in ({}, {"Authorization": "Bearer"}, {"Authorization": f"Basic {living.text}"}):
        answer = await world.ask(operation, headers)
        assert_problem(answer, 401, "unauthorized")
        assert answer.headers["WWW-Authenticate"] == "Bearer"
    mistyped = living.text[:-1] + ("a" if living.text[-1] != "a" else "b")
    guessed = write_token(living.id, new_secret(b"guessed"))
    for wrong in (new_token().text, guessed, mistyped, "whr_", "é", "x" * 5_000, living.text + "x"):
        answer = await world.ask(operation, {"Authorization": f"Bearer {wrong}"})
        assert_problem(answer, 401, "unauthorized")
        assert answer.headers["WWW-Authenticate"] == 'Bearer error="invalid_token"'
        assert answer.json["detail"] == "the token is not known"
    for detail, own in dead.items():
        answer = await world.ask(operation, own.headers)
        assert_problem(answer, 401, "unauthorized")
        assert answer.headers["WWW-Authenticate"] == 'Bearer error="invalid_token"'
        assert answer.json["detail"] == detail
    for own in (living, *dead.values()):
        world.stored.database["tokens"].delete_one({"_id": own.id})
    assert world.contents() == before


@operations
async def test_only_its_scope_and_admin_allow_it(world: World, operation: str) -> None:
    case = CASES[operation]
    others = [scope for scope in Scope if scope not in {case.scope, Scope.ADMIN}]

    for scopes in (*([scope] for scope in others), others):
        own = await store_token(world.surroundings.tokens, *scopes)
        answer = await world.ask(operation, own.headers)
        assert_problem(answer, 403, "forbidden")
        assert f"the scope {case.scope.value}" in answer.json["detail"]
        challenge = f'Bearer error="insufficient_scope", scope="{case.scope.value}"'
        assert answer.headers["WWW-Authenticate"] == challenge
    allowed = await world.ask(operation, (await store_token(world.surroundings.tokens, case.scope)).headers)
    assert allowed.status == case.status
    admin = await world.ask(operation, (await store_token(world.surroundings.tokens, Scope.ADMIN)).headers)
    assert admin.status not in {401, 403}


@operations
async def test_token_of_another_account_finds_nothing_and_changes_nothing(world: World, operation: str) -> None:
    other = await store_token(world.surroundings.tokens, account=OTHER)
    before = world.contents()

    answer = await world.ask(operation, other.headers)

    assert answer.status == CASES[operation].others
    if answer.status == 200:
        assert answer.ids == [other.id]
    else:
        assert_problem(answer, 404, "not-found")
    assert world.contents() == before


@operations
async def test_token_of_the_account_itself_is_let_in(world: World, operation: str) -> None:
    own = await store_token(world.surroundings.tokens, CASES[operation].scope, account=ACCOUNT)

    answer = await world.ask(operation, own.headers)

    assert answer.status == (CASES[operation].own or CASES[operation].status)


# --- what one account sees -------------------------------------------------------------------------


@pytest.fixture
async def two_accounts(world: World) -> World:
    """The other account has the like of everything, under other ids."""
    received = event("evt-2", matched=["wh_77"], call_id="call-1", account_id=OTHER)
    world.stored.add_webhook(webhook("wh_77", account_id=OTHER))
    world.stored.add_event(received)
    world.stored.add_delivery(delivery(received, "wh_77"), received.key)
    world.stored.add_replay(replay("rpl_77", account_id=OTHER))
    return world


async def test_lists_are_narrowed_to_the_account(two_accounts: World) -> None:
    api, other = two_accounts.api, await store_token(two_accounts.surroundings.tokens, account=OTHER)

    for target, ids in [
        ("/v1/webhooks", ["wh_77"]),
        ("/v1/webhooks?account_id=77", ["wh_77"]),
        ("/v1/webhooks?state=active", ["wh_77"]),
        ("/v1/deliveries", [DELIVERY_77]),
        ("/v1/deliveries?call_id=call-1", [DELIVERY_77]),
        ("/v1/deliveries?webhook_id=wh_crm", []),
        ("/v1/deliveries?event_id=evt-1", []),
        ("/v1/replays", ["rpl_77"]),
        ("/v1/replays?account_id=77", ["rpl_77"]),
        ("/v1/tokens", [other.id]),
    ]:
        separator = "&" if "?" in target else "?"
        answer = await api.request("GET", f"{target}{separator}include_total=true", headers=other.headers)
        assert answer.ids == ids, target
        assert answer.json["total"] == len(answer.ids), target


async def test_events_and_calls_of_the_account_are_whole(two_accounts: World) -> None:
    api, other = two_accounts.api, await store_token(two_accounts.surroundings.tokens, account=OTHER)

    seen = await api.request("GET", "/v1/events/evt-2?account_id=77", headers=other.headers)
    call = await api.request("GET", "/v1/calls/call-1?account_id=77", headers=other.headers)

    assert [line["webhook_name"] for line in seen.json["trace"]] == ["CRM"]
    assert [each["id"] for each in seen.json["deliveries"]] == [DELIVERY_77]
    assert [each["id"] for each in call.json["events"]] == ["evt-2"]


async def test_webhook_that_has_left_the_account_is_not_named_in_its_traces(two_accounts: World) -> None:
    other = await store_token(two_accounts.surroundings.tokens, account=OTHER)
    two_accounts.stored.database["webhooks"].update_one({"_id": "wh_77"}, {"$set": {"account_id": ACCOUNT}})

    seen = await two_accounts.api.request("GET", "/v1/events/evt-2?account_id=77", headers=other.headers)

    assert [line["webhook_name"] for line in seen.json["trace"]] == [None]


async def test_answer_does_not_tell_anothers_object_from_none(two_accounts: World) -> None:
    api, other = two_accounts.api, await store_token(two_accounts.surroundings.tokens, account=OTHER)

    for anothers, nobodys in [
        ("/v1/webhooks/wh_crm", "/v1/webhooks/wh_none"),
        ("/v1/deliveries/dlv_1", "/v1/deliveries/dlv_none"),
        ("/v1/events/evt-1?account_id=1042", "/v1/events/evt-1?account_id=9"),
        ("/v1/accounts/1042", "/v1/accounts/9"),
        ("/v1/webhooks?account_id=1042", "/v1/webhooks?account_id=9"),
        ("/v1/dead-letters/dl_1", "/v1/dead-letters/dl_none"),
        ("/v1/replays/rpl_1", "/v1/replays/rpl_none"),
    ]:
        first, second = [await api.request("GET", target, headers=other.headers) for target in (anothers, nobodys)]
        assert (first.status, first.body) == (second.status, second.body), anothers


async def test_webhook_of_the_account_is_managed_by_its_token(two_accounts: World) -> None:
    api = two_accounts.api
    other = await store_token(two_accounts.surroundings.tokens, Scope.MANAGE, Scope.READ, account=OTHER)

    paused = await api.request("PATCH", "/v1/webhooks/wh_77", headers=other.headers, json={"enabled": False})
    resumed = await api.request("POST", "/v1/webhooks/wh_77/resume", headers=other.headers)
    switched = await api.request("PUT", "/v1/accounts/77", headers=other.headers, json={"webhooks_enabled": True})
    created = await api.request("POST", "/v1/webhooks", headers=other.headers, json={**HOOK, "account_id": OTHER})
    deleted = await api.request("DELETE", "/v1/webhooks/wh_77", headers=other.headers)

    assert (paused.json["state"], resumed.json["state"]) == ("paused", "active")
    assert resumed.json["deliveries"]["total"] == 1
    assert (switched.json, created.status, deleted.status) == ({"id": OTHER, "webhooks_enabled": True}, 201, 204)
    assert created.json["event_type"] == EventType.CALL
