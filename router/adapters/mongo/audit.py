"""Fulfils `ports.AuditLog`: the collection `audit`, which is only ever added to, and leaves by its TTL index.

audit         {_id, at, actor, action, account_id, target, details, expire_at}
"""

from __future__ import annotations

import secrets
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from datetime import datetime, timedelta
from typing import Final

from pymongo import DESCENDING
from pymongo.errors import DuplicateKeyError, OperationFailure, PyMongoError

from router.adapters.mongo.documents import Document, StoredDocument, utc
from router.adapters.mongo.driver import MAX_READ_TIME_MS, Database
from router.adapters.mongo.indexes import AUDIT
from router.adapters.mongo.resilience import is_passing
from router.domain.errors import DependencyUnavailable
from router.domain.event import AccountId
from router.ports import AuditEntry, AuditFilter, AuditRecord, Position

DEFAULT_KEEP: Final = timedelta(days=365)
_NEWEST_FIRST: Final = [("at", DESCENDING), ("_id", DESCENDING)]


class MongoAuditTrail:
    """The trail of one database; entries are kept for `keep`."""

    def __init__(self, database: Database, keep: timedelta = DEFAULT_KEEP) -> None:
        self._entries = database[AUDIT]
        self._keep = keep

    async def write(self, entry: AuditEntry) -> None:
        document: Document = {
            "_id": f"au_{int(entry.at.timestamp() * 1000):012x}{secrets.token_hex(6)}",
            "at": entry.at,
            "actor": entry.actor,
            "action": entry.action,
            "account_id": entry.account_id,
            "target": entry.target,
            "details": {name: _plain(value) for name, value in entry.details.items()},
            "expire_at": entry.at + self._keep,
        }
        async with _asking("did not write the audit trail"):
            try:
                await self._insert(document)
            except PyMongoError as error:
                if not is_passing(error):
                    raise
                # Once more, for an election or a connection that idled too long: somebody waits.
                await self._insert(document)

    async def _insert(self, document: Document) -> None:
        try:
            await self._entries.insert_one(document)
        except DuplicateKeyError:
            return  # the reply to the first try was lost

    async def entries(self, where: AuditFilter, *, after: Position | None, limit: int) -> Sequence[AuditRecord]:
        cursor = self._entries.find(
            _query(where, after), sort=_NEWEST_FIRST, limit=limit, batch_size=limit, max_time_ms=MAX_READ_TIME_MS
        )
        async with _asking("did not read the audit trail"):
            found = await cursor.to_list(limit)
        return [_read(document) for document in found]

    async def count_entries(self, where: AuditFilter) -> int:
        async with _asking("did not count the audit trail"):
            count: int = await self._entries.count_documents(_query(where), maxTimeMS=MAX_READ_TIME_MS)
        return count


def _plain(value: str | int | bool | Sequence[str]) -> str | int | bool | list[str]:
    return value if isinstance(value, str | int) else list(value)


def _query(where: AuditFilter, after: Position | None = None) -> Document:
    query: Document = {}
    if where.account_id is not None:
        query["account_id"] = where.account_id
    if where.action is not None:
        query["action"] = where.action
    bounds: list[Document] = []
    if where.from_ is not None:
        bounds.append({"at": {"$gte": where.from_}})
    if where.to is not None:
        bounds.append({"at": {"$lt": where.to}})
    if after is not None:
        bounds += [{"at": {"$lte": after.at}}, {"$or": [{"at": {"$lt": after.at}}, {"_id": {"$lt": after.id}}]}]
    return query | {"$and": bounds} if bounds else query


def _read(document: StoredDocument) -> AuditRecord:
    at: datetime = document["at"]
    return AuditRecord(
        id=document["_id"],
        entry=AuditEntry(
            at=utc(at),
            actor=document["actor"],
            action=document["action"],
            account_id=None if document["account_id"] is None else AccountId(document["account_id"]),
            target=document["target"],
            details=document["details"],
        ),
    )


@asynccontextmanager
async def _asking(failure: str) -> AsyncIterator[None]:
    """The driver's exceptions as ours, in one sentence that quotes no document."""
    try:
        yield
    except PyMongoError as error:
        code = f", code {error.code}" if isinstance(error, OperationFailure) else ""
        raise DependencyUnavailable(f"MongoDB {failure} ({type(error).__name__}{code})") from error
