"""Fulfils `ports.SessionStore`: the collection `sessions`, which the server empties of what is over.

sessions      {_id, token_id, admin_proof, created_at, seen_at, expire_at}
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import datetime
from typing import Final

from pymongo.errors import OperationFailure, PyMongoError

from router.adapters.mongo.documents import utc
from router.adapters.mongo.driver import MAX_READ_TIME_MS, Database
from router.adapters.mongo.indexes import SESSIONS
from router.domain.errors import DependencyUnavailable
from router.domain.session import Session
from router.domain.token import TokenId
from router.ports import SessionStore

MAX_CONCURRENT_CALLS: Final = 4
"""For sessions: the driver's threads are for the deliveries too."""
CALL_TIMEOUT_SECONDS: Final = 10
"""For one call, waiting for a slot included."""


class MongoSessions(SessionStore):
    """The sessions of one database."""

    def __init__(self, database: Database) -> None:
        self._sessions = database[SESSIONS]
        self._slots = asyncio.Semaphore(MAX_CONCURRENT_CALLS)

    async def add(self, session: Session) -> None:
        document = {
            "_id": session.key,
            "token_id": session.token_id,
            "admin_proof": session.admin_proof,
            "created_at": session.created_at,
            "seen_at": session.seen_at,
            "expire_at": session.expire_at,
        }
        async with self._asking():
            await self._sessions.insert_one(document)

    async def find(self, key: str) -> Session | None:
        async with self._asking():
            found = await self._sessions.find_one({"_id": key}, max_time_ms=MAX_READ_TIME_MS)
        if found is None:
            return None
        return Session(
            key=found["_id"],
            token_id=None if found["token_id"] is None else TokenId(found["token_id"]),
            admin_proof=found["admin_proof"],
            created_at=utc(found["created_at"]),
            seen_at=utc(found["seen_at"]),
        )

    async def note_seen(self, key: str, *, at: datetime, expire_at: datetime) -> None:
        async with self._asking():
            await self._sessions.update_one({"_id": key}, {"$max": {"seen_at": at, "expire_at": expire_at}})

    async def remove(self, key: str) -> None:
        async with self._asking():
            await self._sessions.delete_one({"_id": key})

    @asynccontextmanager
    async def _asking(self) -> AsyncIterator[None]:
        """Takes a slot, bounds the time, and makes the driver's exceptions ours, quoting no document."""
        try:
            async with asyncio.timeout(CALL_TIMEOUT_SECONDS), self._slots:
                yield
        except PyMongoError as error:
            code = f", code {error.code}" if isinstance(error, OperationFailure) else ""
            raise DependencyUnavailable(f"MongoDB does not answer ({type(error).__name__}{code})") from error
        except TimeoutError as error:
            raise DependencyUnavailable(f"MongoDB did not answer within {CALL_TIMEOUT_SECONDS} s") from error
