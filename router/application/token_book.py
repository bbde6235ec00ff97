"""Who sends a token: asks the store, remembers the answer for half a second, and notes when tokens are used.

A revocation counts in every process as soon as what it remembers is over, which is within a second.
"""

from __future__ import annotations

import asyncio
import time
from collections import OrderedDict
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from datetime import datetime
from typing import Final

from router.domain.errors import DependencyUnavailable
from router.domain.principal import Principal
from router.domain.token import Denial, Token, TokenId, admit, read_token, standing
from router.ports import TokenStore

FRESH_SECONDS: Final = 0.5
"""How long an answer of the store counts, from the moment of asking."""
MAX_ANSWERS: Final = 1_000
"""Answers kept, those that there is no such token among them. Who floods them costs the others one question more."""
NOTE_SECONDS: Final = 60.0
"""Between two times that uses are written."""
CLOSE_SECONDS: Final = 2.0
"""How long the last ones may take to be written."""


@dataclass(frozen=True, slots=True)
class _Question:
    asked_at: float
    answer: asyncio.Task[Token | DependencyUnavailable | None]


class TokenBook:
    """The tokens of one store. `now` is the store's time, `clock` gives monotonic seconds. A Service."""

    name = "token-uses"

    def __init__(
        self, store: TokenStore, now: Callable[[], datetime], clock: Callable[[], float] = time.monotonic
    ) -> None:
        self._store = store
        self._now = now
        self._clock = clock
        self._questions: OrderedDict[TokenId, _Question] = OrderedDict()
        self._running: set[asyncio.Task[Token | DependencyUnavailable | None]] = set()
        self._uses: dict[TokenId, datetime] = {}

    async def principal(self, text: str) -> Principal | Denial:
        """Who sends `text` as a token. Raises DependencyUnavailable where the store does not say."""
        written = read_token(text)
        if written is None:
            return Denial.UNKNOWN
        stored = await self._find(written.id)

        return self._noted(written.id, admit(written, stored, self._now()))

    async def holder(self, token_id: TokenId) -> Principal | Denial:
        """Who has a token that was shown before. Raises DependencyUnavailable where the store does not say."""
        stored = await self._find(token_id)

        return self._noted(token_id, standing(stored, self._now()))

    def _noted(self, token_id: TokenId, found: Principal | Denial) -> Principal | Denial:
        if isinstance(found, Principal):
            self._uses[token_id] = self._now()
        return found

    async def _find(self, token_id: TokenId) -> Token | None:
        """What the store has under an id. Requests that come together ask together."""
        now = self._clock()
        question = self._questions.get(token_id)
        if question is None or now - question.asked_at >= FRESH_SECONDS:
            question = _Question(now, asyncio.create_task(self._ask(token_id), name="token-lookup"))
            self._running.add(question.answer)
            question.answer.add_done_callback(self._running.discard)
            self._questions[token_id] = question
            self._questions.move_to_end(token_id)
            if len(self._questions) > MAX_ANSWERS:
                self._questions.popitem(last=False)
        # Shielded: whoever asked first may go away, and the others still wait.
        answer = await asyncio.shield(question.answer)
        if isinstance(answer, DependencyUnavailable):
            raise DependencyUnavailable(str(answer))
        return answer

    async def _ask(self, token_id: TokenId) -> Token | DependencyUnavailable | None:
        try:
            return await self._store.find(token_id)
        except DependencyUnavailable as error:
            return error

    # --- when they were used ---

    async def run(self) -> None:
        """Write uses down, every minute."""
        while True:
            await asyncio.sleep(NOTE_SECONDS)
            await self.write_uses()

    async def write_uses(self) -> None:
        """Write down what was used since the last time. What cannot be written now is written next time."""
        uses, self._uses = self._uses, {}
        if not uses:
            return
        try:
            await self._store.note_uses(uses)
        except DependencyUnavailable:
            self._uses = {**uses, **self._uses}

    async def close(self) -> None:
        """Write down the last uses, where that can be done soon."""
        with suppress(TimeoutError):
            async with asyncio.timeout(CLOSE_SECONDS):
                await self.write_uses()
