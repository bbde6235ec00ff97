"""Writes deliveries and what attempts changed, in batches, and carries on from there: near retries, the health of
webhooks.

Whatever finished while the last batch was being written forms the next one. A result is acted upon only after it
is durable. The first result of a delivery is inserted with it where it came soon enough (`drafts.py`).
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Callable, Collection, Iterable, Iterator, Mapping, Sequence
from contextlib import asynccontextmanager, contextmanager
from dataclasses import dataclass, replace
from datetime import timedelta
from typing import Final

import structlog

from router.application.circuits import Circuits
from router.application.definitions import DefinitionBook
from router.application.drafts import Drafts, Waiting
from router.application.health import WebhookHealth
from router.application.lanes import Lanes
from router.application.settling import Unsettled
from router.application.timers import Timers
from router.application.turns import Portion, Turns
from router.domain.announcement import is_announced
from router.domain.delivery import Claim, DeliveryId
from router.domain.retry import Again, End
from router.domain.webhook import WebhookId
from router.ports import Clock, DeliveryStore, Draft, Rest, Result
from router.telemetry.metrics import Metrics
from router.telemetry.redact import place_of

log = structlog.get_logger("router.deliveries")

MAX_BATCH: Final = 50
"""Results that are seen to at once, and deliveries that are inserted beside them."""
GATHER_SECONDS: Final = 0.03
"""How long the first result of a batch waits for others: nobody is kept waiting by it, and the store is spared."""
MAX_UNRECORDED: Final = 200
"""Results that may wait for the store: then no attempt begins and no event is taken in. A crash resends them."""
ENOUGH_UNRECORDED: Final = MAX_UNRECORDED // 2
"""So few of them let both begin again, together, so that the lanes have room for what is taken in."""


@dataclass(slots=True)
class _Writing:
    seconds: float = 0.0


class Recorder:
    """Service: the only writer of deliveries and results. `announced` is called for each result that is in the outbox,
    once it is durable."""

    name = "recorder"

    def __init__(
        self,
        *,
        deliveries: DeliveryStore,
        health: WebhookHealth,
        book: DefinitionBook,
        circuits: Circuits,
        lanes: Lanes,
        timers: Timers,
        clock: Clock,
        metrics: Metrics,
        turns: Turns,
        announced: Callable[[], None] | None = None,
    ) -> None:
        self._deliveries = deliveries
        self._health = health
        self._book = book
        self._circuits = circuits
        self._lanes = lanes
        self._timers = timers
        self._clock = clock
        self._metrics = metrics
        self._turns = turns
        self._announced = announced
        self._drafts = Drafts()
        self._finished: list[Result] = []
        self._held_back: list[Rest] = []
        self._something_finished = asyncio.Event()
        self._has_room = asyncio.Event()
        self._has_room.set()
        self._stopping = False
        self._writing = 0
        self._portion = Portion()
        self.recorded = 0
        """Results and claims so far that were written, or found to be another worker's."""

    @property
    def unrecorded(self) -> int:
        """Deliveries, results and claims that wait to be written, or are being written."""
        return len(self._drafts) + len(self._finished) + len(self._held_back) + self._writing

    @property
    def has_room(self) -> bool:
        """Whether `room` would return at once."""
        return self._has_room.is_set()

    @property
    def is_behind(self) -> bool:
        """Whether more than half as many results wait as may. What can be left to the store should be."""
        return len(self._finished) > ENOUGH_UNRECORDED

    def keep(self, draft: Draft, unsettled: Unsettled) -> None:
        """Hand over a delivery, which is durable some time later: with the result that is `put` for it soon, or
        without."""
        in_doubt = self._circuits.is_failing(draft.delivery.webhook_id)
        self._drafts.add(draft, unsettled, now=self._clock.now(), in_doubt=in_doubt)
        self._something_finished.set()

    def begin(self, claim: Claim) -> None:
        """An attempt begins."""
        self._drafts.begin(claim.delivery_id, now=self._clock.now())

    def hurry(self) -> None:
        """Write every delivery that waits for a result, at once and without."""
        if self._drafts:
            self._drafts.hurry_all()
            self._something_finished.set()

    def put(self, result: Result) -> None:
        """Hand over a result; it is durable some time later."""
        self._finished.append(result)
        self._drafts.end(result.claim.delivery_id)
        if result.attempt is not None:
            took = timedelta(milliseconds=result.attempt.duration_ms)
            self._drafts.answered(result.claim.webhook_id, within=took)
        self._something_finished.set()
        if len(self._finished) >= MAX_UNRECORDED:
            self._has_room.clear()

    async def room(self) -> None:
        """Wait while the store is so far behind that no further attempt should begin."""
        await self._has_room.wait()

    def hold(self, rest: Rest) -> None:
        """Hand over a claim that is not to be attempted now, to rest in the store."""
        self._drafts.hurry([rest.claim.delivery_id])
        self._held_back.append(rest)
        self._something_finished.set()

    def stop(self) -> None:
        """Write what was handed over so far, then end."""
        self._stopping = True
        self._something_finished.set()

    async def run(self) -> None:
        while True:
            await self._something_finished.wait()
            if not self._stopping:
                await self._clock.sleep(GATHER_SECONDS)
            self._something_finished.clear()
            await self._write_all()
            if self._finished or self._held_back or self._drafts:
                self._something_finished.set()  # they wait for others, as the first did
            elif self._stopping:
                return

    async def _write_all(self) -> None:
        """Write what waits by now, in portions."""
        if self._stopping:
            self._drafts.hurry_all()
        # What comes meanwhile is left to the next round: a stream of the one would else hold up the other for ever.
        left, ready = len(self._finished), self._drafts.look(self._clock.now())
        while left > 0 or ready > 0:
            left -= await self._write_some(max(0, left))
            ready -= MAX_BATCH
        while await self._write_rests():
            pass

    async def _write_some(self, waiting: int) -> int:
        """Write some results of `waiting` ones, or else some deliveries without. Returns how many results it were."""
        count = min(waiting, MAX_BATCH)
        results: Sequence[Result] = self._finished[:count]
        del self._finished[:count]
        ended = [result.claim.delivery_id for result in results]
        drafts = self._drafts.take(ended, MAX_BATCH)
        with self._being_written(len(results) + len(drafts)):
            if drafts:
                async with self._writing_turn("deliveries"):
                    results = await self._insert(drafts, results)
            while results:
                size = self._portion.of(len(results))
                now, results = results[:size], results[size:]
                async with self._writing_turn("results") as writing:
                    await self._record(now)
                self._portion.wrote(len(now), writing.seconds)
        if len(self._finished) <= ENOUGH_UNRECORDED:
            self._has_room.set()
        return count

    @asynccontextmanager
    async def _writing_turn(self, what: str) -> AsyncIterator[_Writing]:
        writing = _Writing()
        async with self._turns.turn():
            began = time.monotonic()
            yield writing
            writing.seconds = time.monotonic() - began
        self._metrics.store_write.labels(what).observe(writing.seconds)

    async def _write_rests(self) -> bool:
        """Put some claims to rest. Whether there were any."""
        # A claim whose delivery is not inserted yet comes after it.
        there = [rest for rest in self._held_back if rest.claim.delivery_id not in self._drafts]
        held = there[: self._portion.of(len(there))]
        taken = {id(rest) for rest in held}
        self._held_back = [rest for rest in self._held_back if id(rest) not in taken]
        if held:
            with self._being_written(len(held)):
                async with self._turns.turn():
                    await self._hold(held)
        return bool(held)

    @contextmanager
    def _being_written(self, count: int) -> Iterator[None]:
        self._writing = count
        yield
        self._writing = 0
        self.recorded += count

    # --- deliveries ---

    async def _insert(self, drafts: Sequence[Waiting], results: Sequence[Result]) -> Sequence[Result]:
        """Insert deliveries, those that have ended with their results. Returns the results that are still to be
        recorded."""
        first = {result.claim.delivery_id: result for result in results}
        left = await self._try_to_insert(drafts, first)
        await self._give_back([each.draft for each in drafts if each.draft.claim.delivery_id not in first])
        rested = {each.draft.delivery.webhook_id for each in drafts if each.draft.delivery.rests_until is not None}
        await self._wake(each for each in rested if not self._circuits.keeps_back(each))
        inserted = {each.draft.claim.delivery_id for each in drafts}.difference(left)
        await self._carry_on([result for result in results if result.claim.delivery_id in inserted], ())
        return [result for result in results if result.claim.delivery_id not in inserted]

    async def _try_to_insert(
        self, drafts: Sequence[Waiting], results: Mapping[DeliveryId, Result]
    ) -> Collection[DeliveryId]:
        """Those that were not inserted: somebody else had, or the store refuses them."""
        try:
            left = await self._deliveries.insert([each.draft for each in drafts], results)
        except Exception as error:
            # One that the store refuses for what it is must not take the others with it.
            log.error("deliveries_refused", deliveries=len(drafts), error=type(error).__name__, where=place_of(error))
            if len(drafts) > 1:
                return [each for one in drafts for each in await self._try_to_insert([one], results)]
            refused = drafts[0].draft
            drafts[0].unsettled.one_is_refused(refused)
            return [refused.claim.delivery_id]
        for each in drafts:
            each.unsettled.one_is_durable()
        return left

    async def _give_back(self, drafts: Sequence[Draft]) -> None:
        """Those whose lease ended before they were inserted, with which they got another: nobody would use it."""
        now = time.monotonic()
        claims = [draft.claim for draft in drafts if draft.delivery.leased]
        lost = [claim for claim in claims if self._lanes.has_lost(claim, now=now)]
        if lost:
            await self._deliveries.release(lost)

    # --- results ---

    async def _record(self, batch: Sequence[Result]) -> None:
        batch = [replace(result, claim=self._lanes.current(result.claim)) for result in batch]
        try:
            lost = await self._deliveries.record(batch)
        except Exception as error:
            # One that the store refuses for what it is must not take the others with it.
            log.error("results_refused", results=len(batch), error=type(error).__name__, where=place_of(error))
            if len(batch) == 1:
                self._lanes.forget(batch[0].claim)  # its lease runs out, and it is attempted again
            else:
                for result in batch:
                    await self._record([result])
            return
        await self._carry_on(batch, lost)

    async def _hold(self, held: Sequence[Rest]) -> None:
        held = [replace(rest, claim=self._lanes.current(rest.claim)) for rest in held]
        await self._deliveries.hold(held)
        for rest in held:
            self._lanes.forget(rest.claim)
        rested = {rest.claim.webhook_id for rest in held}
        await self._wake(each for each in rested if not self._circuits.is_open(each))

    async def _wake(self, webhook_ids: Iterable[WebhookId]) -> None:
        """A webhook that was enabled, or worked again, while we wrote has had its wake-up call already."""
        for webhook_id in webhook_ids:
            webhook = self._book.webhook(webhook_id)
            if webhook is not None and self._book.is_open(webhook):
                await self._deliveries.wake(webhook_id)

    async def _carry_on(self, batch: Sequence[Result], lost: Sequence[Result]) -> None:
        taken_over = {id(result) for result in lost}
        for result in batch:
            if id(result) in taken_over:
                if self._lanes.current(result.claim).fence != result.claim.fence:
                    self.put(result)  # it was ourselves who claimed it, while this was being written
                    continue
                self._lanes.forget(result.claim)
                self._metrics.results_lost.inc()
                log.warning("result_lost", delivery_id=result.claim.delivery_id)
                continue
            if isinstance(result.next, Again) and result.keep_lease:
                self._rest(result, result.next)
            else:
                self._lanes.forget(result.claim)
            if isinstance(result.next, End):
                self._metrics.deliveries.labels(result.next.status.value).inc()
                if self._announced is not None and is_announced(result.next, result.claim.trigger):
                    self._announced()
            if result.attempt is not None:
                await self._health.mind(result.claim.webhook_id, result.attempt, result.next)

    def _rest(self, result: Result, again: Again) -> None:
        number = result.claim.attempt_count if result.attempt is None else result.attempt.number
        # Negative where recording took long: the store's lease counts from the time of the retry, and so does ours.
        delay = (again.at - self._clock.now()).total_seconds()
        self._timers.add(result.claim, attempt_count=number, at=time.monotonic() + delay)
