"""Works bulk replays off: makes their deliveries due, a few at a time, so that they go the way of retries.

Gathers what a step is about, decides what is released and what is passed over, and lets the store do it. Sends nothing.
"""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from datetime import timedelta
from typing import Final

import structlog

from router.application.definitions import DefinitionBook
from router.domain.errors import DependencyUnavailable
from router.domain.matching import match
from router.domain.replay import MAX_ATTEMPTS, MAX_OUTSTANDING, ReplayKind, Skip, quota
from router.domain.webhook import Webhook, WebhookId
from router.ports import Candidate, Clock, DefinitionStore, MissedEvent, ReplayQueue, Turn
from router.telemetry.metrics import Metrics

log = structlog.get_logger("router.replays")

STEP_SECONDS: Final = 0.5
"""What one step releases is what the rate allows in so long. A cancellation is heeded before the next one."""
BUSY_SECONDS: Final = 0.1
IDLE_SECONDS: Final = 1.0
"""Between two looks at the queue, while replays run and while none does."""


class Replayer:
    """Service: takes one step after the other with whichever replay's is due. `may_release` says that there is room for
    what is no first attempt."""

    name = "replayer"

    def __init__(
        self,
        *,
        queue: ReplayQueue,
        book: DefinitionBook,
        definitions: DefinitionStore,
        clock: Clock,
        metrics: Metrics,
        may_release: Callable[[], bool],
    ) -> None:
        self._queue = queue
        self._book = book
        self._definitions = definitions
        self._clock = clock
        self._metrics = metrics
        self._may_release = may_release
        self._stopping = asyncio.Event()
        self.rounds = 0
        """Looks at the queue so far."""

    def stop(self) -> None:
        """Take no further step; `run` ends after the one that is under way."""
        self._stopping.set()

    async def run(self) -> None:
        while not self._stopping.is_set():
            is_busy = await self.step()
            self.rounds += 1
            try:
                async with asyncio.timeout(BUSY_SECONDS if is_busy else IDLE_SECONDS):
                    await self._stopping.wait()
            except TimeoutError:
                continue

    async def step(self) -> bool:
        """Take one step, if one is due. Whether one was."""
        if not self._may_release():
            return False
        try:
            turn = await self._queue.take()
            if turn is not None:
                await self._go_on(turn)
        except DependencyUnavailable:
            return False  # the store's health has recorded it; the turn's lease runs out
        return turn is not None

    async def gauge(self) -> None:
        """Show how many replays there are in each state. Raises DependencyUnavailable."""
        for state, count in (await self._queue.states()).items():
            self._metrics.replays.labels(state.value).set(count)

    # --- one step ---

    async def _go_on(self, turn: Turn) -> None:
        batch = turn.batch or await self._begin(turn)
        if batch is None:
            return
        if turn.replay.kind is ReplayKind.DELIVERIES:
            released, skipped = await self._release(batch, turn)
        else:
            released, skipped = await self._give(batch, turn)
        pause = timedelta(seconds=released / turn.replay.per_second)
        await self._queue.advance(turn, released=released, skipped=skipped, due_at=self._clock.now() + pause)
        self._metrics.replayed.labels(turn.replay.kind.value).inc(released)

    async def _begin(self, turn: Turn) -> Sequence[str] | None:
        """The next batch, written down; None where this turn has nothing to release, and is over."""
        replay = turn.replay
        if turn.is_exhausted and not replay.outstanding:
            await self._queue.finish(turn)
            log.info(
                "replay_done", replay_id=replay.id, account_id=replay.where.account_id, detail=_told(replay.skipped)
            )
            return None
        room = min(quota(replay.per_second, STEP_SECONDS), MAX_OUTSTANDING - replay.outstanding)
        if turn.position is None and not turn.is_exhausted:
            told = {"replay_id": replay.id, "account_id": replay.where.account_id, "kind": replay.kind.value}
            log.info("replay_started", matched=replay.matched, **told)
        batch: Sequence[str] = ()
        if room > 0 and not turn.is_exhausted:
            batch, position = await self._queue.find(turn, room)
            if not await self._queue.begin(turn, batch, position, is_exhausted=len(batch) < room):
                return None  # cancelled meanwhile
        if not batch:
            later = self._clock.now() + timedelta(seconds=STEP_SECONDS)
            await self._queue.advance(turn, released=0, skipped={}, due_at=later)
            return None
        return batch

    async def _release(self, batch: Sequence[str], turn: Turn) -> tuple[int, Mapping[Skip, int]]:
        # gather
        found = await self._queue.candidates(batch, turn)
        there = {webhook_id: await self._exists(webhook_id) for webhook_id in {each.webhook_id for each in found}}

        # decide
        verdicts = {each.delivery_id: judge(each, has_webhook=there[each.webhook_id]) for each in found}
        chosen = [each for each in found if verdicts[each.delivery_id] is None]

        # apply
        released = await self._queue.release(chosen, turn) if chosen else ()
        skipped = Counter(verdict for verdict in verdicts.values() if verdict is not None)
        # What is not there any more, or changed between the look and the update.
        skipped[Skip.CHANGED] += len(batch) - len(found) + len(chosen) - len(released)
        return len(released), +skipped

    async def _give(self, batch: Sequence[str], turn: Turn) -> tuple[int, Mapping[Skip, int]]:
        found = await self._queue.missed(batch, turn)
        skipped = Counter({Skip.CHANGED: len(batch) - len(found)})
        released = 0
        for missed in found:
            if missed.event is None:
                skipped[Skip.PAYLOAD_GONE] += 1
                continue
            webhooks = self._wanted(missed, turn.replay.where.webhook_id)
            if not webhooks:
                skipped[Skip.UNMATCHED] += 1
            elif await self._queue.give(missed.event, webhooks, turn):
                released += 1
            else:
                skipped[Skip.REPEATED] += 1
        return released, +skipped

    def _wanted(self, missed: MissedEvent, only: WebhookId | None) -> list[Webhook]:
        """The webhooks that an event goes to by today's definitions, or that this replay has begun to send it to."""
        if missed.event is None:
            return []
        matched = match(self._book.account(missed.event.account_id), missed.event)
        begun = [webhook for each in missed.given_to if (webhook := self._book.webhook(each)) is not None]
        wanted = {webhook.id: webhook for webhook in (*matched, *begun) if only in (None, webhook.id)}
        return list(wanted.values())

    async def _exists(self, webhook_id: WebhookId) -> bool:
        # What is not in memory may be newer than it.
        return self._book.webhook(webhook_id) is not None or await self._definitions.fetch(webhook_id) is not None


def judge(candidate: Candidate, *, has_webhook: bool) -> Skip | None:
    """Why a delivery is passed over; None where it is released."""
    if candidate.is_ours:
        return None
    if not has_webhook:
        return Skip.WEBHOOK_DELETED
    if not candidate.has_payload:
        return Skip.PAYLOAD_GONE
    if not candidate.is_free:
        return Skip.PENDING if candidate.is_pending else Skip.CHANGED
    return Skip.TOO_MANY_ATTEMPTS if candidate.attempt_count >= MAX_ATTEMPTS else None


def _told(skipped: Mapping[Skip, int]) -> str | None:
    """What was passed over and why, for the log; None where nothing was."""
    return ", ".join(f"{reason.value}: {count}" for reason, count in skipped.items() if count) or None
