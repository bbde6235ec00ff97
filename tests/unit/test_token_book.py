"""What is remembered of tokens, and for how long, on a clock that the test moves."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping, Sequence
from datetime import datetime

import pytest

from router.application.token_book import FRESH_SECONDS, MAX_ANSWERS, TokenBook
from router.domain.errors import DependencyUnavailable
from router.domain.event import AccountId
from router.domain.principal import Principal
from router.domain.token import Denial, Token, TokenId
from router.ports import Position
from tests.support.fakes_manage import FakeStore, FakeTokens
from tests.support.samples import NOON, at
from tests.support.tokens import OwnToken, new_token


class WatchedTokens:
    """A store of tokens that counts what it is asked, and that may be away or slow."""

    def __init__(self) -> None:
        self.kept = FakeTokens(FakeStore())
        self.asked: list[TokenId] = []
        self.noted: list[Mapping[TokenId, datetime]] = []
        self.is_away = False
        self.may_answer = asyncio.Event()
        self.may_answer.set()

    async def find(self, token_id: TokenId) -> Token | None:
        self.asked.append(token_id)
        await self.may_answer.wait()
        self._must_be_there()
        return await self.kept.find(token_id)

    async def note_uses(self, uses: Mapping[TokenId, datetime]) -> None:
        self._must_be_there()
        self.noted.append(uses)

    def _must_be_there(self) -> None:
        if self.is_away:
            raise DependencyUnavailable("MongoDB does not answer")

    async def add(self, token: Token) -> bool:
        return await self.kept.add(token)

    async def tokens(self, *, account_id: AccountId | None, after: Position | None, limit: int) -> Sequence[Token]:
        return await self.kept.tokens(account_id=account_id, after=after, limit=limit)

    async def count_tokens(self, *, account_id: AccountId | None) -> int:
        return await self.kept.count_tokens(account_id=account_id)

    async def revoke(self, token_id: TokenId, at: datetime) -> None:
        await self.kept.revoke(token_id, at)


class Desk:
    """A book, its store, and both of its clocks."""

    def __init__(self) -> None:
        self.store = WatchedTokens()
        self.seconds = 0.0
        self.time = NOON
        self.book = TokenBook(self.store, lambda: self.time, lambda: self.seconds)

    async def issue(self) -> OwnToken:
        own = new_token()
        await self.store.add(own.token)
        return own


@pytest.fixture
async def desk() -> Desk:
    return Desk()


async def test_answer_counts_for_half_a_second(desk: Desk) -> None:
    own = await desk.issue()

    assert isinstance(await desk.book.principal(own.text), Principal)
    await desk.store.revoke(own.id, NOON)
    desk.seconds = FRESH_SECONDS - 0.001
    assert isinstance(await desk.book.principal(own.text), Principal)
    desk.seconds = FRESH_SECONDS
    assert await desk.book.principal(own.text) is Denial.REVOKED
    assert desk.store.asked == [own.id] * 2


async def test_age_of_an_answer_counts_from_the_question(desk: Desk) -> None:
    own = await desk.issue()
    desk.store.may_answer.clear()
    first = asyncio.create_task(desk.book.principal(own.text))
    await asyncio.sleep(0)
    desk.seconds = FRESH_SECONDS
    second = asyncio.create_task(desk.book.principal(own.text))
    await asyncio.sleep(0)
    desk.store.may_answer.set()

    assert all(isinstance(found, Principal) for found in await asyncio.gather(first, second))
    assert len(desk.store.asked) == 2


async def test_requests_that_come_together_ask_once_even_if_the_first_goes_away(desk: Desk) -> None:
    own = await desk.issue()
    desk.store.may_answer.clear()
    requests = [asyncio.create_task(desk.book.principal(own.text)) for _ in range(5)]
    await asyncio.sleep(0)
    requests[0].cancel()
    await asyncio.sleep(0)
    desk.store.may_answer.set()

    assert all(isinstance(found, Principal) for found in await asyncio.gather(*requests[1:]))
    assert desk.store.asked == [own.id]


async def test_what_is_no_token_asks_nobody(desk: Desk) -> None:
    for text in ("", "whr_", "a-guess", new_token().text[:-1], "whr_" + "a" * 58):
        assert await desk.book.principal(text) is Denial.UNKNOWN
    assert desk.store.asked == []


async def test_wrong_secret_under_a_known_id_asks_no_more_than_the_right_one(desk: Desk) -> None:
    own = await desk.issue()
    await desk.book.principal(own.text)

    assert await desk.book.principal(own.text[:13] + new_token().text[13:]) is Denial.UNKNOWN
    assert desk.store.asked == [own.id]


async def test_strangers_cannot_fill_the_memory_nor_lock_others_out(desk: Desk) -> None:
    own = await desk.issue()
    await desk.book.principal(own.text)

    for _ in range(MAX_ANSWERS + 10):
        assert await desk.book.principal(new_token().text) is Denial.UNKNOWN

    assert len(desk.book._questions) == MAX_ANSWERS
    assert isinstance(await desk.book.principal(own.text), Principal)


async def test_store_that_is_away_is_asked_again_when_it_is_back(desk: Desk) -> None:
    own = await desk.issue()
    desk.store.is_away = True

    for _ in range(2):
        with pytest.raises(DependencyUnavailable):
            await desk.book.principal(own.text)
    assert len(desk.store.asked) == 1

    desk.store.is_away = False
    desk.seconds = FRESH_SECONDS
    assert isinstance(await desk.book.principal(own.text), Principal)


async def test_expiry_needs_no_answer_of_the_store(desk: Desk) -> None:
    own = new_token(expires_at=at(1))
    await desk.store.add(own.token)

    assert isinstance(await desk.book.principal(own.text), Principal)
    desk.time = at(1)
    assert await desk.book.principal(own.text) is Denial.EXPIRED
    assert len(desk.store.asked) == 1


async def test_uses_are_written_together_and_not_lost_to_an_outage(desk: Desk) -> None:
    first, second = await desk.issue(), await desk.issue()
    await desk.book.principal(first.text)
    assert desk.store.noted == []

    desk.store.is_away = True
    await desk.book.write_uses()
    desk.store.is_away = False
    desk.time = at(10)
    await desk.book.principal(first.text)
    await desk.book.principal(second.text)
    await desk.book.principal(new_token().text)
    await desk.book.close()
    await desk.book.write_uses()

    assert desk.store.noted == [{first.id: at(10), second.id: at(10)}]
