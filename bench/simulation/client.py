"""One worker's hand on the modelled store: fulfils `ports.DeliveryStore` and `ports.DefinitionStore`, with the waits,
the repetitions and the memory of outages of the real adapter. A worker that was killed gets no answer any more.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Collection, Mapping, Sequence
from dataclasses import replace
from datetime import datetime
from functools import partial
from typing import Any, Final, TypeVar

from bench.simulation.costs import MICROSECOND
from bench.simulation.store import Admitted, Operation, Stored, StoreModel
from router.adapters.mongo.documents import StoredDocument, first_claim
from router.adapters.mongo.due import share_out
from router.adapters.mongo.resilience import Persistent, StoreHealth
from router.application.turns import Portion, Turns
from router.domain.announcement import WebhookAnnouncement
from router.domain.delivery import Claim, DeliveryId, delivery_id
from router.domain.event import AccountId
from router.domain.lease import LEASE
from router.domain.matching import Verdict
from router.domain.retry import Again, End
from router.domain.webhook import Suspension, Webhook, WebhookId
from router.ports import (
    Claimed,
    Clock,
    DefinitionChange,
    DefinitionSnapshot,
    Draft,
    Due,
    PlannedDelivery,
    PlannedEvent,
    Ration,
    Rest,
    Result,
)

T = TypeVar("T")

NEWS_SECONDS: Final = 0.2
"""From a change of a definition to the worker that follows it."""


class Lifeline:
    """Whether a worker lives. One that was killed waits at its next call, for ever."""

    def __init__(self) -> None:
        self.is_cut = False

    async def hold_on(self) -> None:
        if self.is_cut:
            await asyncio.get_running_loop().create_future()


class StoreClient:
    """`owner` is the worker's name in leases."""

    def __init__(self, store: StoreModel, clock: Clock, owner: str, lifeline: Lifeline, turns: Turns) -> None:
        self._turns = turns
        self._portion = Portion()
        self._store = store
        self._costs = store.costs
        self._clock = clock
        self._owner = owner
        self._lifeline = lifeline
        self.health = StoreHealth(asyncio.get_running_loop().time)
        self._persistently = Persistent(self.health)

    async def _do(self, call: Callable[[], Awaitable[T]], *, once: bool = False) -> T:
        await self._lifeline.hold_on()
        result = await (self._persistently.once(call) if once else self._persistently(call))
        await self._lifeline.hold_on()
        return result

    async def _write(self, operations: Sequence[Operation], *, once: bool = False) -> list[Any]:
        return await self._do(lambda: self._store.write(operations), once=once) if operations else []

    def _update(self, key: str, effect: Callable[[], Any]) -> Operation:
        return Operation(key, self._costs.update_us * MICROSECOND, effect)

    # --- storing what arrived ---

    async def admit(self, planned: Sequence[PlannedEvent]) -> Sequence[Draft]:
        firsts = await self._do(lambda: self._insert_events(planned))
        # A call whose reply was lost has inserted ours already.
        known = [first for first, plan in zip(firsts, planned, strict=True) if first.plan is not plan]
        await self._write([each for first in known for each in self._completion(first)])
        return [
            self._draft(first, delivery)
            for first, plan in zip(firsts, planned, strict=True)
            if first.plan is plan
            for delivery in plan.deliveries
        ]

    async def _insert_events(self, planned: Sequence[PlannedEvent]) -> Sequence[Admitted]:
        """What the store has of these events now."""
        cost, until = self._costs.insert_event_us * MICROSECOND, self._clock.now() + LEASE
        admissions = [Admitted(plan=plan, owner=self._owner, until=until) for plan in planned]
        return await self._store.write(
            [Operation(each.plan.event.key, cost, partial(self._store.insert_event, each)) for each in admissions]
        )

    def _draft(self, admitted: Admitted, delivery: PlannedDelivery) -> Draft:
        plan = admitted.plan
        claim = first_claim(delivery_id(plan.event.key, delivery.webhook_id), plan, delivery.webhook_id)
        return Draft(plan=plan, delivery=delivery, claim=claim, lease_until=admitted.until)

    def _completion(self, first: Admitted) -> Sequence[Operation]:
        """What the store may lack of an event that is there, for whoever finds it."""
        due_at = max(self._clock.now(), first.until)
        matched = [webhook_id for webhook_id, verdict in first.plan.trace if verdict is Verdict.MATCHED]
        drafts = [self._draft(first, PlannedDelivery(webhook_id=each, url="", leased=False)) for each in matched]
        return [
            self._insertion(each.claim.delivery_id, Stored(first=each.claim, due_at=due_at, owner=first.owner, fence=1))
            for each in drafts
        ]

    async def insert(self, drafts: Sequence[Draft], results: Mapping[DeliveryId, Result]) -> Collection[DeliveryId]:
        stored = {draft.claim.delivery_id: self._as_stored(draft) for draft in drafts}
        there = await self._write([self._insertion(identity, each) for identity, each in stored.items()])
        taken = {identity for identity, found in zip(stored, there, strict=True) if found is not stored[identity]}
        for identity, result in results.items():
            if identity in stored and identity not in taken:
                self._record(result)
        return taken

    def _as_stored(self, draft: Draft) -> Stored:
        delivery, now = draft.delivery, self._clock.now()
        due_at = delivery.rests_until or (now + LEASE if delivery.leased else now)
        stored = Stored(first=draft.claim, due_at=due_at, owner=self._owner if delivery.leased else None)
        stored.fence = 0 if stored.owner is None else 1
        stored.held = delivery.rests_until is not None
        if delivery.ended is not None:
            stored.status, stored.due_at, stored.held = delivery.ended.status, None, False
        return stored

    def _insertion(self, identity: DeliveryId, stored: Stored) -> Operation:
        cost = self._costs.insert_delivery_us * MICROSECOND
        return Operation(identity, cost, partial(self._store.insert_delivery, identity, stored))

    # --- claiming what is due ---

    async def claim(
        self, limit: int, *, except_for: Collection[WebhookId], ration: Callable[[Due], Ration | None]
    ) -> Claimed:
        store, counts = self._store, self._store.counts
        counts.polls += 1
        await self._do(lambda: store.ask_all(self._costs.find_us * MICROSECOND), once=True)
        found = [
            _as_found(each, store.deliveries[each]) for each in store.find_due(self._clock.now(), limit, except_for)
        ]
        if not found:
            return Claimed(claims=(), drained=True)
        taken, put_off = share_out(found, ration)
        operations = [
            *(self._update(each["_id"], partial(self._take, each)) for each in taken),
            *(self._update(each["_id"], partial(self._put_off, each, at)) for each, at in put_off),
        ]
        claims: list[Claim] = []
        while operations:
            now, operations = operations[: self._portion.size], operations[self._portion.size :]
            async with self._turns.turn():
                began = asyncio.get_running_loop().time()
                claims += [each for each in await self._write(now, once=True) if each is not None]
                self._portion.wrote(len(now), asyncio.get_running_loop().time() - began)
        counts.claimed += len(claims)
        counts.wasted += len(taken) - len(claims)
        return Claimed(claims=claims, drained=len(found) < limit)

    def _take(self, found: StoredDocument) -> Claim | None:
        stored = self._unchanged(found)
        if stored is None:
            return None
        if stored.owner is not None:
            counts, orphaned = self._store.counts, self._clock.now() - found["due_at"]
            counts.expired += 1
            counts.longest_orphan = max(counts.longest_orphan, orphaned.total_seconds())
        stored.owner, stored.fence = self._owner, stored.fence + 1
        self._store.let_go(found["_id"], stored)
        self._store.make_due(found["_id"], stored, self._clock.now() + LEASE)
        return replace(stored.first, fence=stored.fence, attempt_count=stored.attempt_count)

    def _put_off(self, found: StoredDocument, until: datetime) -> None:
        stored = self._unchanged(found)
        if stored is not None:
            self._store.hold(found["_id"], stored)
            self._store.make_due(found["_id"], stored, _no_later(until, stored))

    def _unchanged(self, found: StoredDocument) -> Stored | None:
        stored = self._store.deliveries[found["_id"]]
        return stored if (stored.fence, stored.due_at) == (found["fence"], found["due_at"]) else None

    # --- recording, leases ---

    async def record(self, results: Sequence[Result]) -> Sequence[Result]:
        await self._write([self._update(result.claim.delivery_id, partial(self._record, result)) for result in results])
        lost = [each for each in results if self._store.deliveries[each.claim.delivery_id].fence != each.claim.fence]
        self._store.counts.results_late += len(lost)
        return lost

    def _record(self, result: Result) -> None:
        claim, stored = result.claim, self._store.deliveries[result.claim.delivery_id]
        if (stored.fence, stored.attempt_count, stored.due_at is None) != (claim.fence, claim.attempt_count, False):
            return
        stored.attempt_count += result.attempt is not None
        match result.next:
            case Again(at=at):
                stored.owner = self._owner if result.keep_lease else None
                self._store.make_due(claim.delivery_id, stored, at + LEASE if result.keep_lease else at)
            case End(status=status):
                self._store.end(claim.delivery_id, stored, status)

    async def renew(self, claims: Sequence[Claim]) -> Sequence[Claim]:
        ours = await self._write(
            [self._update(each.delivery_id, partial(self._renew, each.delivery_id)) for each in claims]
        )
        return [claim for claim, is_ours in zip(claims, ours, strict=True) if is_ours]

    def _renew(self, identity: DeliveryId) -> bool:
        stored = self._store.deliveries.get(identity)
        if stored is None or stored.owner != self._owner or stored.due_at is None:
            return False
        self._store.make_due(identity, stored, self._clock.now() + LEASE)
        return True

    async def release(self, claims: Sequence[Claim]) -> None:
        await self.hold([Rest(claim=claim, until=self._clock.now()) for claim in claims])

    async def hold(self, rests: Sequence[Rest]) -> None:
        await self._write([self._update(rest.claim.delivery_id, partial(self._rest, rest)) for rest in rests])

    def _rest(self, rest: Rest) -> None:
        stored = self._store.deliveries[rest.claim.delivery_id]
        if stored.fence == rest.claim.fence and stored.due_at is not None:
            stored.owner = None
            self._store.hold(rest.claim.delivery_id, stored)
            self._store.make_due(rest.claim.delivery_id, stored, _no_later(rest.until, stored))

    async def wake(self, webhook_id: WebhookId | None) -> int:
        await self._do(lambda: self._store.ask_all(self._costs.find_us * MICROSECOND))
        resting = self._store.resting(webhook_id)
        await self._write([self._update(each, partial(self._wake, each)) for each in resting])
        return len(resting)

    def _wake(self, identity: DeliveryId) -> None:
        stored = self._store.deliveries[identity]
        if stored.held:
            self._store.let_go(identity, stored)
            self._store.make_due(identity, stored, self._clock.now())

    async def cancel(self, webhook_id: WebhookId) -> int:
        raise NotImplementedError("no webhook is deleted here")

    # --- definitions ---

    async def follow(self) -> AsyncIterator[DefinitionSnapshot | Sequence[DefinitionChange]]:
        news: asyncio.Queue[WebhookId] = asyncio.Queue()
        self._store.followers.append(news)
        webhooks = dict(self._store.webhooks)
        accounts = frozenset[AccountId](webhook.account_id for webhook in webhooks.values())
        yield DefinitionSnapshot(enabled_accounts=accounts, webhooks=webhooks)
        while True:
            changed = dict.fromkeys([await news.get()])
            await asyncio.sleep(NEWS_SECONDS)
            while not news.empty():
                changed[news.get_nowait()] = None
            await self._lifeline.hold_on()
            yield [DefinitionChange(webhook_id=each, webhook=self._store.webhooks[each]) for each in changed]

    async def fetch(self, webhook_id: WebhookId) -> Webhook | None:
        return self._store.webhooks.get(webhook_id)

    async def suspend(
        self, webhook_id: WebhookId, suspension: Suspension, announcement: WebhookAnnouncement | None = None
    ) -> None:
        await self._change(webhook_id, lambda webhook: replace(webhook, suspension=suspension))

    async def mark_failing(self, webhook_id: WebhookId, since: datetime) -> None:
        await self._change(webhook_id, lambda webhook: replace(webhook, failing_since=webhook.failing_since or since))

    async def mark_healthy(self, webhook_id: WebhookId, announcement: WebhookAnnouncement | None = None) -> None:
        await self._change(webhook_id, lambda webhook: replace(webhook, failing_since=None))

    async def _change(self, webhook_id: WebhookId, change: Callable[[Webhook], Webhook]) -> None:
        def effect() -> None:
            before = self._store.webhooks[webhook_id]
            after = change(before)
            if after != before:
                self._store.change(after)

        await self._write([self._update(webhook_id, effect)])


def _as_found(identity: DeliveryId, stored: Stored) -> StoredDocument:
    first = stored.first
    return {
        "_id": identity,
        "webhook_id": first.webhook_id,
        "account_id": first.account_id,
        "event_type": first.event_type.value,
        "fence": stored.fence,
        "due_at": stored.due_at,
    }


def _no_later(until: datetime, stored: Stored) -> datetime:
    not_after = stored.first.not_after
    return until if not_after is None else min(until, not_after)
