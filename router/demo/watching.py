"""Asks the router, by its API, how it stands: for the screen while it runs, and for the reckoning at its end."""

from __future__ import annotations

import asyncio
import time
from typing import Final

from router.demo.api import Counts, ReadApi
from router.demo.board import Board
from router.demo.ledger import Ledger
from router.demo.process import RouterProcess
from router.demo.summary import Answers
from router.domain.delivery import DeliveryStatus
from router.domain.errors import DependencyUnavailable

POLL_SECONDS: Final = 1.0
_COST_SHARE: Final = 10
"""Asking takes at most about this part of the time: counts of a large log are work for the store."""
LATEST: Final = 10
QUIET_SECONDS: Final = 15.0
"""At the end, no progress for so long means that none is to be expected."""
PATIENCE_SECONDS: Final = 60.0
_LOOK_AGAIN_SECONDS: Final = 0.25


class Watch:
    """Brings a board up to date."""

    def __init__(self, api: ReadApi, board: Board) -> None:
        self._api = api
        self._board = board
        self._dead_hooks = [hook.id for customer in board.customers for hook in customer.hooks if hook.dead]

    async def run(self) -> None:
        """Until cancelled. What does not answer now may answer later."""
        while True:
            asked_at = time.monotonic()
            await self.look()
            await asyncio.sleep(max(POLL_SECONDS, _COST_SHARE * (time.monotonic() - asked_at)))

    async def look(self) -> None:
        """Ask once, and little: the store's time is the deliveries'. Without an answer the board keeps what it had."""
        board = self._board
        try:
            board.failed = await self._api.count(DeliveryStatus.FAILED)
            for hook_id in self._dead_hooks:
                board.show_unreachable(hook_id, await self._api.latest_deliveries(hook_id, LATEST))
            letters, board.dead_letters = await self._api.latest_dead_letters(LATEST)
            board.show_dead_letters(letters)
        except DependencyUnavailable:
            return

    async def settle(self, router: RouterProcess) -> None:
        """Wait, for a bounded time, until everything that was published has come to its end; say what is awaited."""
        started_at = progressed_at = time.monotonic()
        before: object = None
        while router.exit_code is None:
            await self.look()
            counts = await self._counts()
            awaited = awaited_texts(self._board.ledger, counts)
            if not awaited:
                return
            self._board.phase = f"waiting for {', '.join(awaited)}"
            state, now = (counts, self._board.ledger.requests), time.monotonic()
            if state != before:
                before, progressed_at = state, now
            if now - progressed_at > QUIET_SECONDS or now - started_at > PATIENCE_SECONDS:
                return
            await asyncio.sleep(_LOOK_AGAIN_SECONDS)

    async def _counts(self) -> Counts | None:
        try:
            return await self._api.counts()
        except DependencyUnavailable:
            return None

    async def answers(self) -> Answers | None:
        """What the router says in the end; None where it says nothing."""
        try:
            return Answers(counts=await self._api.counts(), hooks=await self._api.hook_counts())
        except DependencyUnavailable:
            return None


def awaited_texts(ledger: Ledger, counts: Counts | None) -> list[str]:
    """What has not come to its end yet, for people; empty when everything has."""
    texts: list[str] = []
    if ledger.waiting:
        texts.append(f"{ledger.waiting} to be taken")
    if counts is None:
        return [*texts, "the read API"]
    # The rest of what the router calls pending goes where nobody listens.
    unreachable = max(0, counts.pending - ledger.waiting)
    if unreachable:
        texts.append(f"{unreachable} to fail")
    unknown = ledger.expected.total() - counts.total - ledger.waiting
    if unknown > 0:
        texts.append(f"{unknown} to be recorded")
    letters = ledger.broken - counts.dead_letters
    if letters > 0:
        texts.append(f"{letters} dead letter{'s' if letters > 1 else ''}")
    return texts
