"""Fulfils `ports.TokenStore`: the collection `tokens`, whose ids are the visible part of each token.

tokens        {_id, name, scopes, account_id, digest, created_at, created_by, expires_at, last_used_at, revoked_at}
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager
from datetime import datetime, timedelta
from typing import Final

from pymongo import DESCENDING, UpdateOne
from pymongo.errors import DuplicateKeyError, OperationFailure, PyMongoError

from router.adapters.mongo.documents import Document, StoredDocument, optional_utc, utc
from router.adapters.mongo.driver import MAX_READ_TIME_MS, Database
from router.adapters.mongo.indexes import TOKENS
from router.domain.errors import DependencyUnavailable
from router.domain.event import AccountId
from router.domain.principal import Scope
from router.domain.token import Token, TokenId
from router.ports import Position

MAX_CONCURRENT_LOOKUPS: Final = 4
"""Of tokens: the driver's threads are for the deliveries too."""
LOOKUP_TIMEOUT_SECONDS: Final = 10
"""For one call, waiting for a slot included."""
USE_PRECISION: Final = timedelta(minutes=1)
"""A last use is not written again within this time of the one that is known."""

_NEWEST_FIRST: Final = [("created_at", DESCENDING), ("_id", DESCENDING)]


class MongoTokens:
    """The tokens of one database."""

    def __init__(self, database: Database) -> None:
        self._tokens = database[TOKENS]
        self._slots = asyncio.Semaphore(MAX_CONCURRENT_LOOKUPS)

    async def add(self, token: Token) -> bool:
        async with self._asking():
            try:
                await self._tokens.insert_one(_document(token))
            except DuplicateKeyError:
                # The same one, after a lost reply; else the id is another token's.
                same = {"_id": token.id, "digest": token.digest}
                return bool(await self._tokens.count_documents(same, limit=1, maxTimeMS=MAX_READ_TIME_MS))
        return True

    async def find(self, token_id: TokenId) -> Token | None:
        async with self._asking():
            found = await self._tokens.find_one({"_id": token_id}, max_time_ms=MAX_READ_TIME_MS)
        return _token(found) if found is not None else None

    async def tokens(self, *, account_id: AccountId | None, after: Position | None, limit: int) -> Sequence[Token]:
        query = _of_account(account_id)
        if after is not None:
            before = [{"created_at": {"$lt": after.at}}, {"_id": {"$lt": after.id}}]
            query |= {"created_at": {"$lte": after.at}, "$or": before}
        async with self._asking():
            cursor = self._tokens.find(
                query, sort=_NEWEST_FIRST, limit=limit, batch_size=limit, max_time_ms=MAX_READ_TIME_MS
            )
            found = await cursor.to_list(limit)
        return [_token(document) for document in found]

    async def count_tokens(self, *, account_id: AccountId | None) -> int:
        async with self._asking():
            count: int = await self._tokens.count_documents(_of_account(account_id), maxTimeMS=MAX_READ_TIME_MS)
        return count

    async def revoke(self, token_id: TokenId, at: datetime) -> None:
        async with self._asking():
            await self._tokens.update_one({"_id": token_id, "revoked_at": None}, {"$set": {"revoked_at": at}})

    async def note_uses(self, uses: Mapping[TokenId, datetime]) -> None:
        # Of several processes that see a token in one minute, one writes.
        writes = [
            UpdateOne(
                {"_id": token_id, "$or": [{"last_used_at": None}, {"last_used_at": {"$lte": at - USE_PRECISION}}]},
                {"$set": {"last_used_at": at}},
            )
            for token_id, at in uses.items()
        ]
        async with self._asking():
            await self._tokens.bulk_write(writes, ordered=False)

    @asynccontextmanager
    async def _asking(self) -> AsyncIterator[None]:
        """Takes a slot, bounds the time, and makes the driver's exceptions ours, quoting no document."""
        try:
            async with asyncio.timeout(LOOKUP_TIMEOUT_SECONDS), self._slots:
                yield
        except PyMongoError as error:
            code = f", code {error.code}" if isinstance(error, OperationFailure) else ""
            raise DependencyUnavailable(f"MongoDB does not answer ({type(error).__name__}{code})") from error
        except TimeoutError as error:
            raise DependencyUnavailable(f"MongoDB did not answer within {LOOKUP_TIMEOUT_SECONDS} s") from error


def _of_account(account_id: AccountId | None) -> Document:
    return {} if account_id is None else {"account_id": account_id}


def _document(token: Token) -> Document:
    return {
        "_id": token.id,
        "name": token.name,
        "scopes": sorted(scope.value for scope in token.scopes),
        "account_id": token.account_id,
        "digest": token.digest,
        "created_at": token.created_at,
        "created_by": token.created_by,
        "expires_at": token.expires_at,
        "last_used_at": token.last_used_at,
        "revoked_at": token.revoked_at,
    }


def _token(document: StoredDocument) -> Token:
    account_id = document["account_id"]
    return Token(
        id=TokenId(document["_id"]),
        name=document["name"],
        scopes=frozenset(Scope(scope) for scope in document["scopes"]),
        account_id=None if account_id is None else AccountId(account_id),
        digest=document["digest"],
        created_at=utc(document["created_at"]),
        created_by=document["created_by"],
        expires_at=optional_utc(document["expires_at"]),
        last_used_at=optional_utc(document["last_used_at"]),
        revoked_at=optional_utc(document["revoked_at"]),
    )
