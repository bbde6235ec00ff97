"""Tokens over the API: made, shown once, listed, revoked; what is written down; how often one may ask."""

from __future__ import annotations

import re
import secrets
from collections.abc import AsyncIterator
from ipaddress import ip_network
from typing import Any

import pytest
from motor.motor_asyncio import AsyncIOMotorClient

from router.adapters.mongo.driver import Database
from router.application.limits import Rate
from router.application.token_book import TokenBook
from router.domain.principal import Principal, Scope
from tests.support.api import AUTHORIZED, Api, Surroundings, assert_names, assert_problem
from tests.support.samples import NOON, at
from tests.support.stored import StoredThings
from tests.support.tokens import new_token, store_token

DRAFT: dict[str, Any] = {"name": "support desk", "scopes": ["read", "replay"]}


@pytest.fixture
async def api(surroundings: Surroundings) -> AsyncIterator[Api]:
    surroundings.randomness = secrets.token_bytes
    async with surroundings.serving() as client:
        yield client


# --- making, listing, revoking ---------------------------------------------------------------------


async def test_token_is_shown_once_and_kept_as_a_hash(api: Api, stored: StoredThings) -> None:
    created = await api.request("POST", "/v1/tokens", json={**DRAFT, "expires_at": "2026-06-01T00:00:00+02:00"})

    assert created.status == 201
    shown = dict(created.json)
    text = shown.pop("token")
    assert re.fullmatch(r"whr_[0-9A-Za-z]{8}_[0-9A-Za-z]{49}", text)
    assert shown == {
        "id": text[4:12],
        "prefix": text[:12],
        "name": "support desk",
        "scopes": ["read", "replay"],
        "account_id": None,
        "created_at": "2026-03-01T12:00:00.000Z",
        "created_by": "admin_token",
        "expires_at": "2026-05-31T22:00:00.000Z",
        "last_used_at": None,
        "revoked_at": None,
    }
    assert (await api.get("/v1/tokens")).json["items"] == [shown]
    assert (await api.request("GET", "/v1/webhooks", headers={"Authorization": f"Bearer {text}"})).status == 200
    assert text[13:] not in repr([list(stored.database[name].find()) for name in ("tokens", "audit")])


async def test_tokens_are_listed_in_pages_the_newest_first(api: Api, surroundings: Surroundings) -> None:
    for second in range(5):
        own = new_token(created_at=at(second))
        assert await surroundings.tokens.add(own.token)

    pages = await api.all_ids("/v1/tokens", limit=2)

    listed = (await api.get("/v1/tokens", include_total="true")).json
    assert [len(page) for page in pages] == [2, 2, 1]
    assert [item["id"] for item in listed["items"]] == [token for page in pages for token in page]
    assert listed["items"][0]["created_at"] == "2026-03-01T12:00:04.000Z"
    assert listed["total"] == 5


@pytest.mark.parametrize(
    ("change", "field_name"),
    [
        ({"name": ""}, "name"),
        ({"name": 5}, "name"),
        ({"name": "two\nlines"}, "name"),
        ({"scopes": []}, "scopes"),
        ({"scopes": ["root"]}, "scopes[0]"),
        ({"scopes": "read"}, "scopes"),
        ({"scopes": {"$ne": 1}}, "scopes"),
        ({"account_id": ""}, "account_id"),
        ({"account_id": 1042}, "account_id"),
        ({"account_id": {"$ne": None}}, "account_id"),
        ({"expires_at": "tomorrow"}, "expires_at"),
        ({"expires_at": "2026-03-01T12:00:00Z"}, "expires_at"),
        ({"token": "whr_mine"}, "token"),
    ],
)
async def test_wrong_field_of_a_token_is_a_400_that_names_it(
    api: Api, stored: StoredThings, change: dict[str, Any], field_name: str
) -> None:
    assert_names(await api.request("POST", "/v1/tokens", json={**DRAFT, **change}), field_name)
    assert list(stored.database["tokens"].find()) == []


async def test_token_of_one_account_makes_tokens_of_that_account_only(api: Api, surroundings: Surroundings) -> None:
    admin = await store_token(surroundings.tokens, Scope.ADMIN, account="77")

    created = await api.request("POST", "/v1/tokens", headers=admin.headers, json=DRAFT)
    named = await api.request("POST", "/v1/tokens", headers=admin.headers, json={**DRAFT, "account_id": "77"})

    assert [answer.json["account_id"] for answer in (created, named)] == ["77", "77"]
    assert created.json["created_by"] == f"token:{admin.id}"


async def test_revoked_token_stays_in_the_list_and_may_be_revoked_again(api: Api, surroundings: Surroundings) -> None:
    own = await store_token(surroundings.tokens)

    answers = [await api.request("DELETE", f"/v1/tokens/{name}") for name in (own.id, own.token.prefix, "none")]

    assert [answer.status for answer in answers] == [204, 204, 404]
    assert [item["revoked_at"] for item in (await api.get("/v1/tokens")).json["items"]] == ["2026-03-01T12:00:00.000Z"]


async def test_who_made_and_who_revoked_a_token_is_written_down(api: Api, stored: StoredThings) -> None:
    made = (await api.request("POST", "/v1/tokens", json={**DRAFT, "account_id": "1042"})).json["id"]
    for _ in range(2):
        await api.request("DELETE", f"/v1/tokens/{made}")

    entries = [
        (each["action"], each["actor"], each["target"], each["account_id"]) for each in stored.database["audit"].find()
    ]
    assert entries == [
        ("token.created", "admin_token", made, "1042"),
        ("token.revoked", "admin_token", made, "1042"),
    ]


# --- the store -------------------------------------------------------------------------------------


async def test_while_the_store_is_away_the_admins_token_is_known_and_others_are_a_503() -> None:
    client: Any = AsyncIOMotorClient("mongodb://127.0.0.1:1", serverSelectionTimeoutMS=50)
    async with Surroundings(database=Database(client, "nowhere")).serving() as api:
        admin = await api.request("GET", "/v1/nothing", headers=AUTHORIZED)
        stored = await api.request("GET", "/v1/webhooks", headers=new_token().headers)
        invented = await api.request("GET", "/v1/webhooks", headers={"Authorization": "Bearer whr_abc"})
    client.close()

    assert admin.status == 404
    assert_problem(stored, 503, "unavailable")
    assert int(stored.headers["Retry-After"]) > 0
    assert invented.status == 401


async def test_last_use_is_kept_to_the_minute(surroundings: Surroundings) -> None:
    own = await store_token(surroundings.tokens)
    moment = [NOON]
    book = TokenBook(surroundings.tokens, lambda: moment[0])

    seen = []
    for seconds in (0, 30, 61):
        moment[0] = at(seconds)
        assert isinstance(await book.principal(own.text), Principal)
        await book.close()
        token = await surroundings.tokens.find(own.id)
        seen.append(token and token.last_used_at)

    assert seen == [at(0), at(0), at(61)]


# --- how often -------------------------------------------------------------------------------------


@pytest.fixture
def slow(surroundings: Surroundings) -> list[float]:
    """Twenty requests at once, two a second afterwards, and 2 failures; the clock that a test moves."""
    clock = [0.0]
    surroundings.rate = Rate(per_second=2, burst=20)
    surroundings.clock = lambda: clock[0]
    surroundings.trusted_proxies = (ip_network("127.0.0.0/8"),)
    return clock


async def ask(api: Api, text: str, *, address: str, times: int = 1, path: str = "/v1/webhooks") -> list[Any]:
    headers = {"Authorization": f"Bearer {text}", "X-Forwarded-For": address}
    return [await api.request("GET", path, headers=headers) for _ in range(times)]


async def test_one_address_may_ask_so_often_whatever_its_tokens(surroundings: Surroundings, slow: list[float]) -> None:
    tokens = [await store_token(surroundings.tokens) for _ in range(3)]
    async with surroundings.serving() as api:
        answers = [answer for own in tokens for answer in await ask(api, own.text, address="192.0.2.1", times=8)]
        assert [answer.status for answer in answers] == [200] * 20 + [429] * 4
        assert_problem(answers[-1], 429, "too-many-requests")
        assert answers[-1].headers["Retry-After"] == "1"
        assert (await ask(api, tokens[0].text, address="192.0.2.2"))[0].status == 200
        assert (await ask(api, tokens[0].text, address="192.0.2.1", path="/openapi.json"))[0].status == 429

        slow[0] = 1.0
        again = await ask(api, tokens[0].text, address="192.0.2.1", times=3)
    assert [answer.status for answer in again] == [200, 200, 429]
    assert set(surroundings.denied) == {"address_rate"}


async def test_one_token_may_ask_so_often_from_wherever(surroundings: Surroundings, slow: list[float]) -> None:
    own = await store_token(surroundings.tokens)
    async with surroundings.serving() as api:
        answers = [(await ask(api, own.text, address=f"192.0.2.{number}"))[0] for number in range(22)]
        other = await ask(api, (await store_token(surroundings.tokens)).text, address="192.0.2.1")

    assert [answer.status for answer in answers] == [200] * 20 + [429] * 2
    assert other[0].status == 200
    assert set(surroundings.denied) == {"token_rate"}


async def test_who_guesses_is_made_to_wait_even_with_the_right_token(
    surroundings: Surroundings, slow: list[float]
) -> None:
    own = await store_token(surroundings.tokens)
    async with surroundings.serving() as api:
        guesses = await ask(api, "a-guess", address="192.0.2.1", times=3)
        right = await ask(api, own.text, address="192.0.2.1")
        elsewhere = await ask(api, own.text, address="192.0.2.2")
        slow[0] = 5.0
        later = await ask(api, own.text, address="192.0.2.1")

    assert [answer.status for answer in (*guesses, *right)] == [401, 401, 429, 429]
    assert right[0].headers["Retry-After"] == "5"
    assert [answer.status for answer in (*elsewhere, *later)] == [200, 200]
    assert surroundings.denied == ["unknown", "unknown", "failures", "failures"]


async def test_forwarded_address_of_no_trusted_proxy_is_not_believed(
    surroundings: Surroundings, slow: list[float]
) -> None:
    surroundings.trusted_proxies = ()
    own = await store_token(surroundings.tokens)
    async with surroundings.serving() as api:
        answers = [(await ask(api, own.text, address=f"192.0.2.{number}"))[0] for number in range(21)]

    assert [answer.status for answer in answers] == [200] * 20 + [429]
    assert surroundings.denied == ["address_rate"]


@pytest.mark.parametrize("path", ["/livez", "/readyz", "/metrics"])
async def test_probes_are_never_made_to_wait(surroundings: Surroundings, slow: list[float], path: str) -> None:
    async with surroundings.serving() as api:
        answers = await ask(api, "", address="192.0.2.1", times=25, path=path)

    assert {answer.status for answer in answers} == {200}
