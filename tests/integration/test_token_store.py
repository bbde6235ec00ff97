"""What a store of tokens promises, in memory and on the real one with both of its drivers."""

from __future__ import annotations

from collections.abc import AsyncIterator
from dataclasses import replace
from datetime import timedelta
from typing import Any

import pytest
from motor.motor_asyncio import AsyncIOMotorClient

from router.adapters.mongo.driver import Database, open_database
from router.adapters.mongo.indexes import ensure_indexes
from router.adapters.mongo.tokens import MongoTokens
from router.domain.errors import DependencyUnavailable
from router.domain.event import AccountId
from router.domain.principal import Scope
from router.domain.token import TokenId
from router.ports import Position, TokenStore
from tests.support.fakes_manage import FakeStore
from tests.support.samples import NOON, at
from tests.support.tokens import new_token


@pytest.fixture(params=["memory", "motor", "pymongo"])
async def store(request: pytest.FixtureRequest, mongo_url: str, mongo_database: str) -> AsyncIterator[TokenStore]:
    if request.param == "memory":
        yield FakeStore().tokens
        return
    database = open_database(mongo_url, mongo_database, request.param)
    await ensure_indexes(database)
    yield MongoTokens(database)
    await database.close()


async def test_token_comes_back_whole(store: TokenStore) -> None:
    everything = replace(
        new_token(Scope.READ, Scope.REPLAY, account="1042", expires_at=at(60), revoked_at=at(1)).token,
        last_used_at=at(0.5),
    )

    for token in (everything, new_token().token):
        assert await store.add(token)
        assert await store.find(token.id) == token
    assert await store.find(TokenId("none")) is None


async def test_adding_it_again_changes_nothing_and_another_of_its_id_is_refused(store: TokenStore) -> None:
    token = new_token().token

    assert await store.add(token)
    assert await store.add(token)
    assert not await store.add(replace(new_token().token, id=token.id))
    assert await store.find(token.id) == token


async def test_list_is_newest_first_by_account_and_goes_on_after_a_position(store: TokenStore) -> None:
    tokens = [new_token(account="77" if number % 2 else None, created_at=at(number // 2)).token for number in range(6)]
    for token in tokens:
        await store.add(token)
    newest_first = sorted(tokens, key=lambda token: (token.created_at, token.id), reverse=True)
    own = [token for token in newest_first if token.account_id == "77"]

    first = await store.tokens(account_id=None, after=None, limit=4)
    rest = await store.tokens(account_id=None, after=Position(at=first[-1].created_at, id=first[-1].id), limit=4)

    assert [*first, *rest] == newest_first
    assert list(await store.tokens(account_id=AccountId("77"), after=None, limit=9)) == own
    assert await store.count_tokens(account_id=None) == 6
    assert await store.count_tokens(account_id=AccountId("77")) == 3


async def test_first_revocation_counts(store: TokenStore) -> None:
    token = new_token().token
    await store.add(token)

    for seconds in (1, 2):
        await store.revoke(token.id, at(seconds))
    await store.revoke(TokenId("none"), NOON)

    assert await store.find(token.id) == replace(token, revoked_at=at(1))


async def test_use_is_noted_once_a_minute(store: TokenStore) -> None:
    tokens = [new_token().token for _ in range(2)]
    for token in tokens:
        await store.add(token)

    await store.note_uses({token.id: NOON for token in tokens})
    await store.note_uses({tokens[0].id: NOON + timedelta(seconds=59), TokenId("none"): NOON})
    await store.note_uses({tokens[1].id: NOON + timedelta(seconds=60)})

    assert [await store.find(token.id) for token in tokens] == [
        replace(tokens[0], last_used_at=NOON),
        replace(tokens[1], last_used_at=NOON + timedelta(seconds=60)),
    ]


async def test_store_that_is_away_is_said_so_without_its_address() -> None:
    client: Any = AsyncIOMotorClient("mongodb://user:s3cret@127.0.0.1:1", serverSelectionTimeoutMS=50)
    store = MongoTokens(Database(client, "nowhere"))

    for call in (
        store.find(TokenId("none")),
        store.add(new_token().token),
        store.count_tokens(account_id=None),
        store.revoke(TokenId("none"), NOON),
        store.note_uses({TokenId("none"): NOON}),
    ):
        with pytest.raises(DependencyUnavailable, match=r"^MongoDB does not answer \(\w+\)$"):
            await call
    client.close()
