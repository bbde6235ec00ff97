"""Events on their way in, and the documents of their deliveries.

An event's document holds the plan: which webhooks matched, and until when the worker that inserted it has the first
attempts. Whoever is given the message again, after a crash or a lost connection, finds the plan, and completes what the
store lacks of it. Derived ids make every insert repeatable.
"""

from __future__ import annotations

import secrets
from collections.abc import Collection, Mapping, Sequence
from dataclasses import replace
from datetime import datetime
from typing import Any

from pymongo.errors import BulkWriteError

from router.adapters.mongo.documents import (
    FIRST_FENCE,
    Document,
    StoredDocument,
    delivery_document,
    event_document,
    first_claim,
    utc,
)
from router.adapters.mongo.driver import MAX_READ_TIME_MS, Database
from router.adapters.mongo.indexes import DELIVERIES, EVENTS
from router.adapters.mongo.resilience import DUPLICATE_KEY, Persistent
from router.adapters.mongo.results import ResultWriter
from router.adapters.mongo.retention import Retention
from router.domain.delivery import DeliveryId, delivery_id
from router.domain.event import EventKey
from router.domain.lease import LEASE
from router.domain.matching import Verdict
from router.domain.webhook import WebhookId
from router.ports import Clock, Draft, PlannedDelivery, PlannedEvent, Result


class Admission:
    """The part of `ports.DeliveryStore` that inserts."""

    def __init__(
        self,
        database: Database,
        persistently: Persistent,
        clock: Clock,
        *,
        retention: Retention,
        owner: str,
        writer: ResultWriter,
    ) -> None:
        self._events = database[EVENTS]
        self._deliveries = database[DELIVERIES]
        self._persistently = persistently
        self._clock = clock
        self._retention = retention
        self._owner = owner
        self._writer = writer

    # --- events ---

    async def admit(self, planned: Sequence[PlannedEvent]) -> Sequence[Draft]:
        # Of two events with one id in a batch, the first counts.
        fresh: dict[EventKey, PlannedEvent] = {}
        for plan in planned:
            fresh.setdefault(plan.event.key, plan)
        token = secrets.token_hex(8)
        try:
            leases = await self._admit(fresh, token)
        except Exception:
            await self._let_go(fresh, token)
            raise
        return [
            Draft(
                plan=plan,
                delivery=delivery,
                claim=first_claim(_id(plan, delivery), plan, delivery.webhook_id),
                lease_until=leases[key],
            )
            for key, plan in fresh.items()
            if key in leases
            for delivery in plan.deliveries
        ]

    async def _admit(self, planned: Mapping[EventKey, PlannedEvent], token: str) -> Mapping[EventKey, datetime]:
        """The ends of our leases; none for an event that was there before."""
        until, known = await self._persistently(lambda: self._insert_events(list(planned.values()), token))
        leases = dict.fromkeys(planned, until)
        if known:
            stored = await self._persistently(lambda: self._stored(known))
            # Where the reply to an insert was lost, its repetition finds what it inserted itself.
            ours = {key: utc(found["lease"]["until"]) for key, found in stored.items() if _token(found) == token}
            others = [planned[key] for key in known if key not in ours]
            await self._persistently(lambda: self._complete(others, stored))
            leases = dict.fromkeys(leases.keys() - set(known), until) | ours
        return leases

    async def _insert_events(self, planned: Sequence[PlannedEvent], token: str) -> tuple[datetime, Sequence[EventKey]]:
        """The end of the lease, and the events that were there before."""
        until = self._clock.now() + LEASE
        lease = {"owner": self._owner, "token": token, "until": until}
        documents = [
            event_document(
                plan,
                expire_at=plan.event.received_at + self._retention.log,
                payload_expires_at=plan.event.received_at + self._retention.payload,
            )
            | {"lease": lease}
            for plan in planned
        ]
        return until, [planned[position].event.key for position in await _insert(self._events, documents)]

    async def _let_go(self, keys: Collection[EventKey], token: str) -> None:
        """Events of a batch that the store refused for one of them: who admits them anew finds those that were
        inserted, and need not wait."""
        inserted = {"_id": {"$in": list(keys)}, "lease.token": token}
        update = {"$set": {"lease.until": self._clock.now()}}
        await self._persistently(lambda: self._events.update_many(inserted, update))

    async def _stored(self, keys: Sequence[EventKey]) -> Mapping[EventKey, StoredDocument]:
        wanted = {"trace": 1, "lease": 1, "erased_at": 1}
        cursor = self._events.find({"_id": {"$in": list(keys)}}, wanted, max_time_ms=MAX_READ_TIME_MS)
        return {document["_id"]: document async for document in cursor}

    async def _complete(self, planned: Sequence[PlannedEvent], stored: Mapping[EventKey, StoredDocument]) -> None:
        """Insert what the store lacks of the first plans of events.

        It is left to whoever finds it in the store: the payload that counts is there, and need not be this one. The
        worker that inserted the event may be at its first attempt, or have ended before it: its lease tells when that
        is over, and only then is what is inserted here due.
        """
        now = self._clock.now()
        documents = []
        for plan in planned:
            first = stored.get(plan.event.key, {})
            if "erased_at" in first:
                # The message may be older than the erasure: what is found by its numbers would stay.
                plan = replace(plan, event=replace(plan.event, number_keys=()))  # noqa: PLW2901
            lease = first.get("lease")  # another release inserts events without, and so does a replay
            for delivery in _first_plan(plan, first.get("trace", ())):
                document = self._document(_id(plan, delivery), plan, delivery, now, {})
                if lease is not None:
                    # As the worker would insert it: it can go on to hold it, and its result counts.
                    document["lease"] = {"owner": lease["owner"], "fence": FIRST_FENCE}
                    document["due_at"] = document["next_attempt_at"] = max(now, utc(lease["until"]))
                documents.append(document)
        if documents:
            await _insert(self._deliveries, documents)

    # --- deliveries ---

    async def insert(self, drafts: Sequence[Draft], results: Mapping[DeliveryId, Result]) -> Collection[DeliveryId]:
        return await self._persistently(lambda: self._insert_deliveries(drafts, results))

    async def _insert_deliveries(
        self, drafts: Sequence[Draft], results: Mapping[DeliveryId, Result]
    ) -> Collection[DeliveryId]:
        now = self._clock.now()
        lease = {"owner": self._owner, "fence": FIRST_FENCE}
        documents = []
        for draft in drafts:
            document = self._document(draft.claim.delivery_id, draft.plan, draft.delivery, now, lease)
            result = results.get(draft.claim.delivery_id)
            if result is not None:
                self._writer.put_into(document, result, now)
            documents.append(document)
        return {drafts[position].claim.delivery_id for position in await _insert(self._deliveries, documents)}

    def _document(
        self, identity: DeliveryId, plan: PlannedEvent, delivery: PlannedDelivery, now: datetime, lease: Document
    ) -> Document:
        expire_at = now + self._retention.log
        return delivery_document(identity, plan, delivery, now=now, lease=lease, expire_at=expire_at)


async def _insert(collection: Any, documents: list[Document]) -> Collection[int]:
    """Insert what is not there yet. Returns the positions of what was."""
    try:
        await collection.insert_many(documents, ordered=False)
    except BulkWriteError as error:
        details = error.details or {}
        failures = details.get("writeErrors", ())
        if details.get("writeConcernErrors") or any(failure["code"] != DUPLICATE_KEY for failure in failures):
            raise
        return {failure["index"] for failure in failures}
    return ()


def _id(plan: PlannedEvent, delivery: PlannedDelivery) -> DeliveryId:
    return delivery_id(plan.event.key, delivery.webhook_id)


def _token(event: StoredDocument) -> str | None:
    token: str | None = event.get("lease", {}).get("token")
    return token


def _first_plan(plan: PlannedEvent, trace: Sequence[StoredDocument]) -> Sequence[PlannedDelivery]:
    """The deliveries that the event's first reception decided on."""
    matched = [WebhookId(entry["webhook_id"]) for entry in trace if entry["verdict"] == Verdict.MATCHED]
    urls = {delivery.webhook_id: delivery.url for delivery in plan.deliveries}
    # A definition that has changed since matches no more; its URL is filled in by the attempt.
    return [PlannedDelivery(webhook_id=each, url=urls.get(each, ""), leased=False) for each in matched]
