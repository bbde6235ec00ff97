"""Fulfils `ports.SchemaStore`: one record, `{_id: "schema", done, needs, run}` in the collection `meta`, and a walk
over a collection for each change.

`run` is the lease of whoever makes a change, and his bookmark: `{number, token, until, after, seen, written}`. A walk
that was broken off is taken up behind the bookmark, by anybody, once its lease is over.
"""

from __future__ import annotations

import asyncio
import secrets
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, replace
from datetime import timedelta
from typing import Any, Final

from pymongo import ASCENDING
from pymongo.errors import DuplicateKeyError, OperationFailure, PyMongoError

from router.adapters.mongo.changes import Work, works
from router.adapters.mongo.documents import Document, StoredDocument, utc
from router.adapters.mongo.driver import MAX_READ_TIME_MS, Database
from router.adapters.mongo.indexes import DEAD_LETTERS, DELIVERIES, EVENTS, META
from router.domain.errors import ConfigurationRefused, DependencyUnavailable
from router.domain.schema import EMPTY_STORE, FIRST_RELEASE, KNOWN, Change, Schema
from router.ports import Clock, Migration

BATCH: Final = 100
"""Documents that are looked at, and written at most, in one step."""
PAUSE_SECONDS: Final = 0.02
"""Between two steps: what is being delivered goes first."""
LEASE: Final = timedelta(seconds=30)
_RECORD: Final = "schema"
_NO_INDEX: Final = 27


@dataclass(frozen=True, slots=True, kw_only=True)
class _Run:
    """A change that is being made: whose it is, and how far it is."""

    number: int
    token: str
    after: Any
    seen: int
    written: int

    def document(self, until: Any) -> Document:
        return {
            "number": self.number,
            "token": self.token,
            "until": until,
            "after": self.after,
            "seen": self.seen,
            "written": self.written,
        }


class MongoSchema:
    """The schema of one database."""

    def __init__(self, database: Database, clock: Clock, payload_retention: timedelta) -> None:
        self._database = database
        self._meta = database[META]
        self._clock = clock
        self._works = works(payload_retention)

    # --- the record ---

    async def read(self) -> Schema:
        async with _asking():
            record = await self._record()
            if record is None:
                record = await self._first_record()
        schema = _read(record)
        demand_known(schema)
        return schema

    async def _record(self) -> StoredDocument | None:
        return await _find_record(self._database)

    async def _first_record(self) -> StoredDocument:
        """Of a store that no router with a schema has seen: it is empty, or of the first release."""
        names = (EVENTS, DELIVERIES, DEAD_LETTERS)
        found = [await self._database[name].find_one({}, {"_id": 1}, max_time_ms=MAX_READ_TIME_MS) for name in names]
        schema = EMPTY_STORE if found == [None] * len(names) else FIRST_RELEASE
        record = {"_id": _RECORD, "done": sorted(schema.done), "needs": schema.needs}
        try:
            await self._meta.insert_one(record)
        except DuplicateKeyError:  # another process was faster
            return await self._record() or record
        return record

    # --- changes ---

    async def size(self, change: Change) -> int:
        async with _asking():
            collection = self._database[self._works[change.number].collection]
            count: int = await collection.estimated_document_count(maxTimeMS=MAX_READ_TIME_MS)
        return count

    async def apply(self, change: Change) -> AsyncIterator[Migration]:
        work = self._works[change.number]
        async with _asking():
            run = await self._begin(change)
        while run is not None:
            async with _asking():
                run, is_over = await self._step(work, run)
                if run is None:
                    return
                if is_over:
                    await self._drop_indexes(work)
                    is_over = await self._finish(change, run)
            yield Migration(change=change, seen=run.seen, written=run.written, done=is_over)
            if is_over:
                return
            await asyncio.sleep(PAUSE_SECONDS)

    async def _begin(self, change: Change) -> _Run | None:
        """Take the lease; None where somebody has it, or the change is made."""
        record = await self._record() or {}
        before = record.get("run") or {}
        now = self._clock.now()
        if change.number in record.get("done", ()) or (before and utc(before["until"]) > now):
            return None
        run = _Run(number=change.number, token=secrets.token_hex(8), after=None, seen=0, written=0)
        if before.get("number") == change.number:
            run = replace(run, after=before["after"], seen=before["seen"], written=before["written"])
        unchanged = {"_id": _RECORD, "run.token": before.get("token")}
        taken = await self._meta.update_one(unchanged, {"$set": {"run": run.document(now + LEASE)}})
        return run if taken.matched_count else None

    async def _step(self, work: Work, run: _Run) -> tuple[_Run | None, bool]:
        """One batch behind the bookmark, and the bookmark moved; None where the lease was lost. True after the last."""
        behind = {"_id": {"$gt": run.after}} if run.after is not None else {}
        collection = self._database[work.collection]
        cursor = collection.find(behind, dict.fromkeys(work.fields, 1), max_time_ms=MAX_READ_TIME_MS)
        documents = [document async for document in cursor.sort([("_id", ASCENDING)]).limit(BATCH)]
        updates = [update for document in documents for update in work.updates(document)]
        written = 0
        if updates:
            written = (await collection.bulk_write(updates, ordered=False)).modified_count
        last = documents[-1]["_id"] if documents else run.after
        run = replace(run, after=last, seen=run.seen + len(documents), written=run.written + written)
        kept = await self._meta.update_one(
            {"_id": _RECORD, "run.token": run.token}, {"$set": {"run": run.document(self._clock.now() + LEASE)}}
        )
        return (run if kept.matched_count else None), len(documents) < BATCH

    async def _drop_indexes(self, work: Work) -> None:
        for name in work.old_indexes:
            try:
                await self._database[work.collection].drop_index(name)
            except OperationFailure as error:
                if error.code != _NO_INDEX:
                    raise

    async def _finish(self, change: Change, run: _Run) -> bool:
        needs = FIRST_RELEASE.after(change).needs
        update = {"$addToSet": {"done": change.number}, "$max": {"needs": needs}, "$unset": {"run": ""}}
        result = await self._meta.update_one({"_id": _RECORD, "run.token": run.token}, update)
        return bool(result.matched_count)


# --- for those who only look -----------------------------------------------------------------------


async def recorded_schema(database: Database) -> Schema | None:
    """What the store has had; None where no router has written it down. Raises DependencyUnavailable."""
    async with _asking():
        record = await _find_record(database)
    return None if record is None else _read(record)


def demand_known(schema: Schema) -> None:
    """Raises ConfigurationRefused for a store that is too new for this program."""
    if schema.is_too_new():
        raise ConfigurationRefused(
            f"this database has been changed by a newer router (schema {schema.version}): it needs one that knows "
            f"schema {schema.needs}, and this one knows {KNOWN}. Install the newer release again; the way back is "
            "a backup from before its `webhook-router migrate apply`"
        )


async def _find_record(database: Database) -> StoredDocument | None:
    found: StoredDocument | None = await database[META].find_one({"_id": _RECORD}, max_time_ms=MAX_READ_TIME_MS)
    return found


def _read(record: StoredDocument) -> Schema:
    return Schema(done=frozenset(record["done"]), needs=record["needs"])


@asynccontextmanager
async def _asking() -> AsyncIterator[None]:
    try:
        yield
    except PyMongoError as error:
        raise DependencyUnavailable(f"MongoDB does not answer ({type(error).__name__})") from None
