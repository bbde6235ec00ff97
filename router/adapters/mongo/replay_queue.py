"""Fulfils `ports.ReplayQueue`: running replays, leased for one step at a time, and the deliveries that a step releases.

A step writes down what it is about to release before it does; who comes after a crash begins with that. What bears the
replay's mark already is not released twice.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Collection, Mapping, Sequence
from datetime import datetime, timedelta
from functools import partial
from typing import Any, TypeVar

from pymongo import ASCENDING
from pymongo.errors import BulkWriteError

from router.adapters.mongo.documents import (
    Document,
    StoredDocument,
    delivery_document,
    exactly,
    optional_utc,
    read_event,
    utc,
)
from router.adapters.mongo.driver import MAX_READ_TIME_MS, Database
from router.adapters.mongo.indexes import DELIVERIES, EVENTS, REPLAYS
from router.adapters.mongo.replay_documents import as_replay, beyond, walk
from router.adapters.mongo.replays import Progress
from router.adapters.mongo.resilience import DUPLICATE_KEY, Persistent
from router.domain.delivery import DeliveryId, DeliveryStatus, Trigger, delivery_id
from router.domain.event import Event, EventKey
from router.domain.lease import LEASE
from router.domain.replay import ReplayState, Skip
from router.domain.webhook import Webhook, WebhookId
from router.ports import Candidate, Clock, MissedEvent, PlannedDelivery, PlannedEvent, Position, Replay, Turn

_T = TypeVar("_T")

_CANDIDATE_FIELDS = dict.fromkeys(
    ("event", "webhook_id", "status", "completed_at", "attempt_count", "lease", "replay", "replaying"), 1
)


class MongoReplayQueue:
    """The replays of one database as one worker sees them; `owner` is its name. What is over is kept for `keep`."""

    def __init__(self, database: Database, persistently: Persistent, clock: Clock, keep: timedelta, owner: str) -> None:
        self._database = database
        self._deliveries = database[DELIVERIES]
        self._events = database[EVENTS]
        self._replays = database[REPLAYS]
        self._persistently = persistently
        self._clock = clock
        self._keep = keep
        self._owner = owner
        self._progress = Progress(database)

    async def _once(self, call: Callable[[], Awaitable[_T]]) -> _T:
        return await self._persistently.once(call)

    # --- turns ---

    async def take(self) -> Turn | None:
        return await self._once(self._take)

    async def _take(self) -> Turn | None:
        now = self._clock.now()
        found = await self._replays.find_one(
            {"due_at": {"$lte": now}}, sort=[("due_at", ASCENDING)], max_time_ms=MAX_READ_TIME_MS
        )
        if found is None:
            return None
        fence = found["lease"]["fence"]
        taking = {"$set": {"lease.owner": self._owner, "due_at": now + LEASE}, "$inc": {"lease.fence": 1}}
        outcome = await self._replays.update_one({"_id": found["_id"], "lease.fence": exactly(fence)}, taking)
        if not outcome.matched_count:
            return None  # another worker was faster
        (replay,) = await self._progress.of([found])
        position = found["position"]
        return Turn(
            replay=replay,
            fence=fence + 1,
            position=Position(at=utc(position["at"]), id=position["id"]) if position else None,
            batch=tuple(found["batch"]),
            is_exhausted=found["exhausted"],
        )

    async def find(self, turn: Turn, limit: int) -> tuple[Sequence[str], Position | None]:
        replay = turn.replay
        collection, query, index, key = walk(replay.kind, replay.where, replay.created_at)
        found = await self._once(
            lambda: (
                self._database[collection]
                .find(
                    beyond(query, key, turn.position), {key: 1}, hint=index, limit=limit, max_time_ms=MAX_READ_TIME_MS
                )
                .sort([(key, ASCENDING), ("_id", ASCENDING)])
                .to_list(limit)
            )
        )
        last = found[-1] if found else None
        position = Position(at=utc(last[key]), id=last["_id"]) if last else turn.position
        return [document["_id"] for document in found], position

    async def begin(self, turn: Turn, batch: Sequence[str], position: Position | None, *, is_exhausted: bool) -> bool:
        changes: Document = {"batch": list(batch), "exhausted": is_exhausted}
        if position is not None:
            changes["position"] = {"at": position.at, "id": position.id}
        return await self._update(turn, {"$set": changes})

    async def advance(self, turn: Turn, *, released: int, skipped: Mapping[Skip, int], due_at: datetime) -> None:
        counts = {"released": released, **{f"skipped.{reason.value}": count for reason, count in skipped.items()}}
        await self._update(turn, {"$set": {"batch": [], "due_at": due_at, "lease.owner": None}, "$inc": counts})

    async def finish(self, turn: Turn) -> None:
        now, replay = self._clock.now(), turn.replay
        gone_through = replay.released + sum(replay.skipped.values())
        changes: Document = {
            "state": ReplayState.DONE.value,
            "finished_at": now,
            "matched": max(replay.matched, gone_through),
            "lease.owner": None,
            "expire_at": now + self._keep,
        }
        update: Document = {"$set": changes, "$unset": {"due_at": ""}}
        if replay.matched > gone_through:
            update["$inc"] = {f"skipped.{Skip.CHANGED.value}": replay.matched - gone_through}
        await self._update(turn, update)

    async def _update(self, turn: Turn, update: Document) -> bool:
        # Cancelling takes the next fence too, so it ends the turn.
        same = {"_id": turn.replay.id, "lease.fence": exactly(turn.fence)}
        outcome = await self._once(lambda: self._replays.update_one(same, update))
        return bool(outcome.matched_count)

    async def states(self) -> Mapping[ReplayState, int]:
        async def count(state: ReplayState) -> int:
            number: int = await self._replays.count_documents(
                {"state": state.value}, hint="state", maxTimeMS=MAX_READ_TIME_MS
            )
            return number

        return {state: await self._once(partial(count, state)) for state in ReplayState}

    # --- deliveries ---

    async def candidates(self, batch: Sequence[str], turn: Turn) -> Sequence[Candidate]:
        found = await self._find(self._deliveries, list(batch), _CANDIDATE_FIELDS)
        events = list({document["event"] for document in found})
        there = {"_id": {"$in": events}, "payload": {"$exists": True}}
        payloads = await self._once(
            lambda: self._events.find(there, {"_id": 1}, max_time_ms=MAX_READ_TIME_MS).to_list(None)
        )
        keys = {document["_id"] for document in payloads}
        return [_candidate(document, turn.replay, has_payload=document["event"] in keys) for document in found]

    async def release(self, chosen: Sequence[Candidate], turn: Turn) -> Collection[DeliveryId]:
        mark, now = turn.replay.id, self._clock.now()
        updates = [
            as_replay(
                each.delivery_id,
                fence=each.fence,
                attempt_count=each.attempt_count,
                is_pending=each.is_pending,
                at=now,
                more={"replay": mark, "replaying": mark},
            )
            for each in chosen
            if not each.is_ours
        ]
        if updates:
            await self._once(lambda: self._deliveries.bulk_write(updates, ordered=False))
        marked = await self._find(self._deliveries, [each.delivery_id for each in chosen], {"replay": 1})
        return {DeliveryId(document["_id"]) for document in marked if document.get("replay") == mark}

    # --- missing events ---

    async def missed(self, batch: Sequence[str], turn: Turn) -> Sequence[MissedEvent]:
        found = await self._find(self._events, list(batch), None)
        return [
            MissedEvent(
                key=EventKey(document["_id"]),
                event=_event(document) if "payload" in document else None,
                given_to={
                    WebhookId(entry["webhook_id"])
                    for entry in document.get("replayed", ())
                    if entry["replay"] == turn.replay.id
                },
            )
            for document in found
        ]

    async def give(self, event: Event, webhooks: Sequence[Webhook], turn: Turn) -> bool:
        mark, now = turn.replay.id, self._clock.now()
        for webhook in webhooks:
            # The event first: by it, erasing finds the delivery.
            entry = {"webhook_id": webhook.id, "at": now, "replay": mark}
            fresh = {"_id": event.key, "replayed.webhook_id": {"$ne": webhook.id}}
            note = {"$push": {"replayed": entry}}
            await self._once(partial(self._events.update_one, fresh, note))
        documents = [_given(event, webhook, mark, now) for webhook in webhooks]
        await self._once(lambda: self._insert(documents))
        ids = [document["_id"] for document in documents]
        marked = await self._find(self._deliveries, ids, {"replay": 1})
        return any(document.get("replay") == mark for document in marked)

    async def _insert(self, documents: list[Document]) -> None:
        try:
            await self._deliveries.insert_many(documents, ordered=False)
        except BulkWriteError as error:
            failures = (error.details or {}).get("writeErrors", ())
            if not failures or any(failure["code"] != DUPLICATE_KEY for failure in failures):
                raise

    async def _find(self, collection: Any, ids: list[Any], fields: Mapping[str, int] | None) -> list[StoredDocument]:
        found: list[StoredDocument] = await self._once(
            lambda: collection.find({"_id": {"$in": ids}}, fields, max_time_ms=MAX_READ_TIME_MS).to_list(None)
        )
        return found


def _candidate(document: StoredDocument, replay: Replay, *, has_payload: bool) -> Candidate:
    is_pending = document["status"] == DeliveryStatus.PENDING
    completed_at = optional_utc(document["completed_at"])
    if is_pending:
        is_free = document["lease"]["owner"] is None and "replaying" not in document
    else:
        is_free = completed_at is not None and completed_at <= replay.created_at
    return Candidate(
        delivery_id=DeliveryId(document["_id"]),
        webhook_id=WebhookId(document["webhook_id"]),
        is_ours=document.get("replay") == replay.id,
        is_pending=is_pending,
        is_free=is_free,
        has_payload=has_payload,
        fence=document["lease"]["fence"],
        attempt_count=document["attempt_count"],
    )


def _event(document: StoredDocument) -> Event:
    stored = read_event(document)
    return Event(
        account_id=stored.account_id,
        event_id=stored.event_id,
        type=stored.type,
        name=stored.name,
        occurred_at=stored.occurred_at,
        received_at=stored.received_at,
        call_id=stored.call_id,
        sequence=stored.sequence,
        tracking_number=stored.tracking_number,
        user_id=stored.user_id,
        number_keys=tuple(document.get("number_keys", ())),
        payload=stored.payload or b"",
        source=stored.source,
    )


def _given(event: Event, webhook: Webhook, mark: str, now: datetime) -> Document:
    planned = PlannedEvent(
        event=event, born_at=event.received_at, not_after=None, account_enabled=True, trace=(), deliveries=()
    )
    delivery = PlannedDelivery(webhook_id=webhook.id, url=webhook.url, leased=False)
    identity = delivery_id(event.key, webhook.id)
    document = delivery_document(identity, planned, delivery, now=now, lease={}, expire_at=now)
    return {**document, "trigger": Trigger.REPLAY.value, "attempts_before": 0, "replay": mark, "replaying": mark}
