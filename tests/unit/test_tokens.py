"""Access tokens: how long one is used, who shares its fetching, what an answer of a token endpoint means."""

from __future__ import annotations

import asyncio
import json
from dataclasses import dataclass, field, replace
from typing import Any

import pytest

from router.adapters.http import tokens
from router.adapters.http.tokens import (
    FAILURE_SECONDS,
    MAX_TOKEN_LENGTH,
    MAX_TOKENS,
    REFUSED_SECONDS,
    Grant,
    TokenAnswer,
    Tokens,
    failure,
    read_token,
)
from router.domain.credentials import OAuth2Auth
from router.domain.delivery import AttemptError
from router.domain.outcome import LocalFault, NoAnswer
from router.domain.webhook import WebhookId

AUTH = OAuth2Auth(token_url="https://login.example.com/token", client_id="router", client_secret="hush")
CRM = WebhookId("wh_crm")
FAILED = failure(AttemptError.HTTP_STATUS, "answered 500")


@dataclass
class World:
    """Tokens over a clock and an endpoint of the test's own. The endpoint waits for `gate`."""

    answers: list[TokenAnswer] = field(default_factory=list)
    time: float = 1000.0
    fetched: int = 0

    def __post_init__(self) -> None:
        self.tokens = Tokens(lambda: self.time)
        self.gate = asyncio.Event()
        self.gate.set()

    async def fetch(self) -> TokenAnswer:
        self.fetched += 1
        number = self.fetched
        await self.gate.wait()
        return self.answers.pop(0) if self.answers else Grant(token=f"t-{number}", life_seconds=100)

    async def get(self, auth: OAuth2Auth = AUTH, webhook_id: str = CRM) -> TokenAnswer:
        return await self.tokens.get(WebhookId(webhook_id), auth, self.fetch)

    async def token(self, auth: OAuth2Auth = AUTH) -> str:
        answer = await self.get(auth)
        assert isinstance(answer, Grant)
        return answer.token


async def test_a_token_is_used_until_its_life_is_over() -> None:
    world = World()

    assert [await world.token(), await world.token()] == ["t-1", "t-1"]
    world.time += 99.9
    assert await world.token() == "t-1"
    world.time += 0.1
    assert await world.token() == "t-2"


async def test_however_many_wait_one_fetches() -> None:
    world = World()
    world.gate.clear()
    waiting = [asyncio.create_task(world.get()) for _ in range(50)]
    await asyncio.sleep(0)

    world.gate.set()

    assert {getattr(answer, "token", None) for answer in await asyncio.gather(*waiting)} == {"t-1"}
    assert world.fetched == 1


async def test_who_stops_waiting_does_not_stop_the_others() -> None:
    world = World()
    world.gate.clear()
    first, second = asyncio.create_task(world.get()), asyncio.create_task(world.get())
    await asyncio.sleep(0)

    first.cancel()
    await asyncio.wait({first})
    world.gate.set()

    assert isinstance(await second, Grant)
    assert world.fetched == 1


async def test_each_webhook_has_its_own() -> None:
    world = World()

    await world.get(webhook_id="wh_a")
    await world.get(webhook_id="wh_b")

    assert world.fetched == 2


async def test_another_definition_drops_the_token() -> None:
    world = World()
    assert await world.token() == "t-1"

    assert await world.token(replace(AUTH, client_secret="new")) == "t-2"
    assert await world.token() == "t-3"


async def test_a_failure_is_shared_for_a_moment() -> None:
    world = World([FAILED])

    assert [await world.get(), await world.get()] == [FAILED, FAILED]
    world.time += FAILURE_SECONDS
    assert await world.token() == "t-2"


async def test_a_fault_of_ours_is_not_kept() -> None:
    world = World([LocalFault(detail="no descriptors")])
    await world.get()

    assert await world.token() == "t-2"


async def test_a_refused_token_is_dropped_once() -> None:
    world = World()
    world.tokens.refused(CRM, await world.token())

    assert await world.token() == "t-2"
    # Attempts that were under way with the first token say nothing about the second.
    world.tokens.refused(CRM, "t-1")
    assert await world.token() == "t-2"
    # A server that refuses every token does not cost one for each attempt.
    world.tokens.refused(CRM, "t-2")
    assert await world.token() == "t-2"
    world.time += REFUSED_SECONDS
    world.tokens.refused(CRM, "t-2")
    assert await world.token() == "t-3"


async def test_what_is_remembered_is_bounded_and_the_longest_unused_goes(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tokens, "MAX_TOKENS", 2)
    world = World()
    for webhook_id in ("wh_a", "wh_b", "wh_a", "wh_c"):
        await world.get(webhook_id=webhook_id)
    assert world.fetched == 3

    await world.get(webhook_id="wh_a")
    await world.get(webhook_id="wh_b")

    assert world.fetched == 4
    assert MAX_TOKENS >= 10_000, "not fewer than attempts at once"


async def test_closing_ends_what_is_under_way() -> None:
    world = World()
    world.gate.clear()
    waiting = asyncio.create_task(world.get())
    await asyncio.sleep(0)

    await world.tokens.close()

    await asyncio.wait({waiting})
    assert waiting.cancelled()


# --- answers ---------------------------------------------------------------------------------------


def answer(**changes: Any) -> bytes:
    content = {"access_token": "abc", "token_type": "Bearer", "expires_in": 3600} | changes
    return json.dumps({name: value for name, value in content.items() if value is not ...}).encode()


@pytest.mark.parametrize(
    ("body", "life_seconds"),
    [
        (answer(), 3570),
        (answer(token_type=...), 3570),
        (answer(token_type="bearer"), 3570),
        (answer(expires_in="3600"), 3570),
        (answer(expires_in=60), 30),
        (answer(expires_in=10), 5),
        (answer(expires_in=0), 0),
        (answer(expires_in=-5), 0),
        (answer(expires_in=...), 270),
        (answer(expires_in=None), 270),
        (answer(expires_in="soon"), 270),
        (answer(expires_in=True), 270),
        (answer(expires_in=float("nan")), 270),
        (answer(expires_in=[]), 270),
        (answer(expires_in=10**400), 270),
        (answer(expires_in=1e300), 86_370),
    ],
)
def test_the_life_of_a_token(body: bytes, life_seconds: float) -> None:
    assert read_token(200, body, complete=True) == Grant(token="abc", life_seconds=life_seconds)


@pytest.mark.parametrize(
    ("status", "body", "error", "note"),
    [
        (401, b'{"error": "invalid_client"}', AttemptError.HTTP_STATUS, "answered 401, invalid_client"),
        (400, b'{"error": "hush"}', AttemptError.HTTP_STATUS, "answered 400"),
        (400, b'{"error": ["hush"]}', AttemptError.HTTP_STATUS, "answered 400"),
        (500, b"hush", AttemptError.HTTP_STATUS, "answered 500"),
        (302, b"", AttemptError.REDIRECT, "answered 302"),
        (200, b"hush", AttemptError.PROTOCOL, "access_token"),
        (200, b"[]", AttemptError.PROTOCOL, "access_token"),
        (200, b"[" * 100_000, AttemptError.PROTOCOL, "access_token"),
        (200, answer(access_token=...), AttemptError.PROTOCOL, "access_token"),
        (200, answer(access_token="hush\r\nx: y"), AttemptError.PROTOCOL, "access_token"),
        (200, answer(access_token="a" * (MAX_TOKEN_LENGTH + 1)), AttemptError.PROTOCOL, "access_token"),
        (200, answer(token_type="mac"), AttemptError.PROTOCOL, "no bearer token"),
        (200, answer(token_type=7), AttemptError.PROTOCOL, "no bearer token"),
    ],
)
def test_an_answer_without_a_token_says_what_failed_and_quotes_nothing(
    status: int, body: bytes, error: AttemptError, note: str
) -> None:
    found = read_token(status, body, complete=True)

    assert isinstance(found, NoAnswer)
    assert found.error is error
    assert note in found.detail
    assert found.note == found.detail
    assert "hush" not in found.detail


def test_an_answer_that_is_too_long_is_none() -> None:
    found = read_token(200, answer(), complete=False)

    assert isinstance(found, NoAnswer)
    assert found.error is AttemptError.PROTOCOL


def test_a_grant_does_not_show_its_token() -> None:
    assert "abc" not in repr(read_token(200, answer(), complete=True))
