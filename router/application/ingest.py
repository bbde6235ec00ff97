"""From a batch of messages to durable events, and to deliveries that are attempted: gather the account's webhooks,
decide, store.

The event with its plan is stored first, then its deliveries are attempted; the message is acknowledged when they are
stored as well (`settling.py`). Whatever arrives while one batch is being stored forms the next, so an idle router waits
for nothing and a busy one writes few, large batches.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import replace
from datetime import datetime
from functools import partial
from typing import Final

import structlog

from router.application.budget import RetryBudget
from router.application.circuits import Circuits
from router.application.definitions import DefinitionBook
from router.application.lanes import Lanes
from router.application.record import Recorder
from router.application.settling import Settling, Unsettled
from router.application.turns import Turns
from router.domain.delivery import DeliveryReason, DeliveryStatus
from router.domain.event import Event, EventType, Rejection, RejectionReason
from router.domain.lease import LEASE, RENEW_BELOW
from router.domain.matching import Verdict, explain
from router.domain.retry import End, Schedule, is_too_old
from router.domain.trace import trace_id_of
from router.domain.webhook import Webhook, WebhookState
from router.ports import (
    NOT_TRACED,
    Clock,
    DeadLetter,
    DeadLetterStore,
    DeliveryStore,
    Intake,
    PlannedDelivery,
    PlannedEvent,
    Source,
    Tracing,
)
from router.telemetry.metrics import Metrics
from router.telemetry.pace import Pace
from router.telemetry.redact import place_of

log = structlog.get_logger("router.ingest")

MAX_BATCH: Final = 200
CATCH_UP_SECONDS: Final = 1.0
"""How long a reader waits for what the store does not have yet."""
HANDLER_TRIES: Final = 3
"""How often the planning of one event may raise before its message is a dead letter."""
_REFUSED: Final = Rejection(reason=RejectionReason.HANDLER_ERROR, detail="the store refused the event; see the log")


class Ingest:
    """Service: the only way in."""

    name = "ingest"

    def __init__(
        self,
        *,
        source: Source,
        deliveries: DeliveryStore,
        dead_letters: DeadLetterStore,
        book: DefinitionBook,
        lanes: Lanes,
        recorder: Recorder,
        circuits: Circuits,
        budget: RetryBudget,
        clock: Clock,
        schedules: Mapping[EventType, Schedule],
        metrics: Metrics,
        turns: Turns,
        tracing: Tracing = NOT_TRACED,
        pace: Pace | None = None,
    ) -> None:
        self._source = source
        self._deliveries = deliveries
        self._dead_letters = dead_letters
        self._book = book
        self._lanes = lanes
        self._recorder = recorder
        self._circuits = circuits
        self._budget = budget
        self._clock = clock
        self._schedules = schedules
        self._metrics = metrics
        self._turns = turns
        self._settling = Settling(source, partial(self._park, rejection=_REFUSED))
        self._tracing = tracing
        self._pace = pace or Pace()

    async def run(self) -> None:
        """Work until the source has been stopped and emptied, and everything is settled."""
        async with asyncio.TaskGroup() as group:
            group.create_task(self._settling.run(), name="settle")
            await self._take_in()
            self._settling.close()

    async def catch_up(self) -> None:
        """Make durable at once what was taken in so far: somebody reads, and may know of it by its attempt. Returns
        after `CATCH_UP_SECONDS` at the latest."""
        self._recorder.hurry()
        with suppress(TimeoutError):
            async with asyncio.timeout(CATCH_UP_SECONDS):
                await self._settling.durable()

    async def _take_in(self) -> None:
        while await self._source.arrival():
            await self._take_turn()
            # When the store falls behind, what is in hand is finished first; the broker keeps the rest.
            await self._recorder.room()

    async def _take_turn(self) -> None:
        # A call of its own: nothing here keeps a batch, of large messages perhaps, while the next is waited for.
        async with self._turns.turn(of_events=True):
            # Taken only now: what arrived while we waited is written with it. What is gone since is not waited for:
            # nobody else would have a turn meanwhile.
            batch = await self._source.take(MAX_BATCH)
            if batch:
                await self._ingest(batch)
        self._budget.took_in(len(batch))

    async def _ingest(self, batch: Sequence[Intake]) -> None:
        # gather and decide
        trace = self._tracing.received(batch, self._clock.now())
        letters: list[DeadLetter] = []
        planned: list[PlannedEvent] = []
        for item in batch:
            content = item.content
            if isinstance(content, Event):
                self._metrics.events_received.labels(content.type.value).inc()
            parent = trace.parent(item)
            plan = content if isinstance(content, Rejection) else self._try_to_plan(content, item.born_at, parent)
            if isinstance(plan, Rejection):
                trace.rejected(item, plan.reason.value)
                letters.append(DeadLetter(raw=item.raw, rejection=plan))
            else:
                planned.append(plan)

        # apply
        unsettled = self._settling.begin(batch, trace)
        if letters:
            await self._bury(letters)
        if planned:
            await self._store(planned, unsettled)
        unsettled.complete()

    def _try_to_plan(self, event: Event, born_at: datetime, trace_parent: str | None) -> PlannedEvent | Rejection:
        """The plan; a rejection where it raises each time, so that one event does not stop those beside it."""
        for tried in range(1, HANDLER_TRIES + 1):
            try:
                return self._plan(event, born_at, trace_parent)
            except Exception as error:
                log.error("handler_raised", tried=tried, source=event.source, **_of(error))
        return Rejection(
            reason=RejectionReason.HANDLER_ERROR, detail=f"planning it raised {HANDLER_TRIES} times; see the log"
        )

    def _plan(self, event: Event, born_at: datetime, trace_parent: str | None) -> PlannedEvent:
        account = self._book.account(event.account_id)
        verdicts = explain(account, event)
        max_age = self._schedules[event.type].max_age
        not_after = born_at + max_age if max_age is not None else None
        is_stale = is_too_old(not_after, self._clock.now())
        return PlannedEvent(
            event=event,
            born_at=born_at,
            not_after=not_after,
            account_enabled=account.webhooks_enabled,
            trace=[(webhook.id, verdict) for webhook, verdict in verdicts],
            deliveries=self._plan_deliveries(
                event, [webhook for webhook, verdict in verdicts if verdict is Verdict.MATCHED], is_stale=is_stale
            ),
            trace_parent=trace_parent,
        )

    def _plan_deliveries(self, event: Event, webhooks: Sequence[Webhook], *, is_stale: bool) -> list[PlannedDelivery]:
        planned: list[PlannedDelivery] = []
        try:
            for webhook in webhooks:
                # A comprehension would leave nothing to undo below.
                planned.append(self._plan_delivery(event, webhook, is_stale=is_stale))  # noqa: PERF401
        except Exception:
            for delivery in planned:
                if delivery.leased:
                    self._lanes.unreserve(delivery.webhook_id)
            raise
        return planned

    def _plan_delivery(self, event: Event, webhook: Webhook, *, is_stale: bool) -> PlannedDelivery:
        ended = rests_until = None
        leased = False
        if is_stale:
            ended = End(status=DeliveryStatus.EXPIRED, reason=DeliveryReason.TOO_OLD)
        elif webhook.state is WebhookState.SUSPENDED:
            ended = End(status=DeliveryStatus.FAILED, reason=DeliveryReason.SUSPENDED)
        else:
            rests_until = self._circuits.rests_until(webhook)
            leased = rests_until is None and self._lanes.reserve(webhook, len(event.payload))
            if not leased and rests_until is None and self._circuits.is_hanging(webhook.id):
                rests_until = self._circuits.put_off_until(webhook.id)
        return PlannedDelivery(
            webhook_id=webhook.id, url=webhook.url, leased=leased, rests_until=rests_until, ended=ended
        )

    async def _store(self, planned: Sequence[PlannedEvent], unsettled: Unsettled) -> None:
        began = time.monotonic()
        await self._admit(planned, unsettled)
        seconds = time.monotonic() - began
        self._metrics.store_write.labels("events").observe(seconds)
        unsettled.trace.stored(len(planned), seconds)

    async def _admit(self, planned: Sequence[PlannedEvent], unsettled: Unsettled) -> None:
        reserved = [delivery.webhook_id for plan in planned for delivery in plan.deliveries if delivery.leased]
        try:
            drafts = await self._deliveries.admit(planned)
        except Exception as error:
            for webhook_id in reserved:
                self._lanes.unreserve(webhook_id)
            log.error("batch_refused", events=len(planned), **_of(error))
            if len(planned) == 1:
                await self._park(planned[0].event, unsettled.batch, _REFUSED)
            else:
                for plan in planned:
                    again = self._try_to_plan(plan.event, plan.born_at, plan.trace_parent)
                    if isinstance(again, Rejection):
                        await self._park(plan.event, unsettled.batch, again)
                    else:
                        await self._admit([again], unsettled)
            return
        now = self._clock.now()
        for plan in planned:
            self._count(plan)
            self._tell(plan, now)
        for draft in drafts:
            if draft.delivery.leased and draft.lease_until - now > RENEW_BELOW:
                reserved.remove(draft.delivery.webhook_id)
                age = LEASE - (draft.lease_until - now)
                self._lanes.offer(draft.claim, now=time.monotonic() - age.total_seconds(), reserved=True)
                self._recorder.keep(draft, unsettled)
            else:
                # Also where the store was slow, and little is left of the lease: any worker finds it.
                unleased = replace(draft.delivery, leased=False)
                self._recorder.keep(replace(draft, delivery=unleased), unsettled)
        # What was there before, as a duplicate, gives its place back.
        for webhook_id in reserved:
            self._lanes.unreserve(webhook_id)

    def _count(self, plan: PlannedEvent) -> None:
        self._metrics.events_stored.labels(plan.event.type.value).inc()
        for delivery in plan.deliveries:
            if delivery.ended is not None:
                self._metrics.deliveries.labels(delivery.ended.status.value).inc()
        if not plan.deliveries:
            self._metrics.events_unmatched.labels(plan.event.type.value).inc()

    def _tell(self, plan: PlannedEvent, now: datetime) -> None:
        """One wide line for each event; no number or payload."""
        event = plan.event
        age = (event.received_at - plan.born_at).total_seconds()
        self._metrics.event_age.labels(event.type.value).observe(max(0.0, age))
        suppressed = self._pace.admit()
        if suppressed is None:
            return
        line = {
            "account_id": event.account_id,
            "event_id": event.event_id,
            "event_type": event.type.value,
            "event_name": event.name,
            "source": event.source,
            "size": len(event.payload),
            "age_ms": round(age * 1000),
            "duration_ms": round((now - event.received_at).total_seconds() * 1000),
            "webhooks": len(plan.trace),
            "deliveries": len(plan.deliveries),
            "trace_id": trace_id_of(plan.trace_parent),
            "suppressed": suppressed or None,
        }
        log.info("event_stored", **{name: value for name, value in line.items() if value is not None})

    async def _bury(self, letters: Sequence[DeadLetter]) -> None:
        await self._dead_letters.bury(letters)
        for letter in letters:
            reason = letter.rejection.reason.value
            self._metrics.dead_letters.labels(reason).inc()
            log.warning(
                "dead_letter",
                source=letter.raw.source,
                reason=reason,
                detail=letter.rejection.detail,
                size=len(letter.raw.body),
            )

    async def _park(self, event: Event, batch: Sequence[Intake], rejection: Rejection) -> None:
        """An event that cannot be handled for what it is must not stop the others: it becomes a dead letter."""
        raw = next(item.raw for item in batch if item.content is event)
        await self._bury([DeadLetter(raw=raw, rejection=rejection)])


def _of(error: Exception) -> dict[str, str]:
    """What is logged of an exception that was raised over events, whose text may quote them."""
    return {"error": type(error).__name__, "where": place_of(error)}
