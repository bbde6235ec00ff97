"""What every look-up in MongoDB has in common: it is bounded in time, rows and concurrency, and fails in our words.

Reads only. All look-ups share a few slots, because Motor runs each call in a thread of a small pool that the
delivering side of the same process needs too.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Iterable, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import replace
from typing import Any, Final

from pymongo.errors import ExecutionTimeout, OperationFailure, PyMongoError

from router.adapters.mongo.documents import Document
from router.adapters.mongo.driver import MAX_READ_TIME_MS, Database
from router.adapters.mongo.indexes import WEBHOOK_HEALTH, WEBHOOKS
from router.adapters.mongo.versions import WEBHOOK_FIELDS, version_of
from router.adapters.mongo.webhooks import parse_webhook, with_health
from router.domain.errors import DependencyUnavailable
from router.domain.webhook import Webhook, WebhookId
from router.ports import NO_KEYS, Vault

MAX_CONCURRENT_READS: Final = 4
READ_TIMEOUT_SECONDS: Final = 12
"""For one look-up, waiting for a slot included."""
LISTED_ATTEMPTS: Final = 20
"""The newest attempts that a delivery shows in a list: more than a schedule has, but replays have no end."""

DELIVERY_FIELDS: Final[Document] = dict.fromkeys(
    (
        *("account_id", "webhook_id", "event_id", "event_type", "event_name", "call_id", "user_id", "status", "reason"),
        *("url", "attempt_count", "attempts", "next_attempt_at", "created_at", "completed_at", "search"),
    ),
    1,
)
LISTED_DELIVERY_FIELDS: Final[Document] = DELIVERY_FIELDS | {"attempts": {"$slice": -LISTED_ATTEMPTS}}


class Lookups:
    """Asks one database. Numbers in webhooks' restrictions are read as dialled in `country`."""

    def __init__(self, database: Database, country: str, vault: Vault = NO_KEYS) -> None:
        self._database = database
        self._country = country
        self._vault = vault
        self._slots = asyncio.Semaphore(MAX_CONCURRENT_READS)

    async def _webhooks(self, ids: Sequence[Any]) -> dict[WebhookId, Webhook]:
        """Webhooks by their `_id` as stored, with the router's own record of each."""
        if not ids:
            return {}
        documents = await self._find(WEBHOOKS, {"_id": {"$in": list(ids)}}, WEBHOOK_FIELDS, limit=len(ids))
        webhooks = [
            replace(parse_webhook(document, self._country, self._vault), version=version_of(document, self._vault))
            for document in documents
        ]
        keys = [webhook.id for webhook in webhooks]
        records = await self._find(WEBHOOK_HEALTH, {"_id": {"$in": keys}}, limit=len(ids)) if keys else []
        health = {record["_id"]: record for record in records}
        return {webhook.id: with_health(webhook, health.get(webhook.id)) for webhook in webhooks}

    async def _find(
        self,
        collection: str,
        query: Document,
        fields: Mapping[str, Any] | None = None,
        *,
        limit: int,
        sort: Iterable[tuple[str, int]] | None = None,
        hint: str | None = None,
    ) -> list[Document]:
        async with self._asking():
            cursor = self._database[collection].find(
                query,
                fields,
                sort=sort,
                hint=hint,
                limit=limit,
                batch_size=limit,  # one round trip
                max_time_ms=MAX_READ_TIME_MS,
            )
            found: list[Document] = await cursor.to_list(limit)
        return found

    async def _count(self, collection: str, query: Document, index: str, *, limit: int | None = None) -> int:
        bound = {} if limit is None else {"limit": limit}
        async with self._asking():
            # The hint makes it count keys of the index; without one, an open filter reads every document.
            count: int = await self._database[collection].count_documents(
                query, hint=index, maxTimeMS=MAX_READ_TIME_MS, **bound
            )
        return count

    @asynccontextmanager
    async def _asking(self) -> AsyncIterator[None]:
        """Takes a slot, bounds the time, and makes the driver's exceptions ours, quoting neither query nor URL."""
        try:
            async with asyncio.timeout(READ_TIMEOUT_SECONDS), self._slots:
                yield
        except ExecutionTimeout as error:
            raise DependencyUnavailable("MongoDB did not finish in time: narrow the search down") from error
        except PyMongoError as error:
            code = f", code {error.code}" if isinstance(error, OperationFailure) else ""
            raise DependencyUnavailable(f"MongoDB does not answer ({type(error).__name__}{code})") from error
        except TimeoutError as error:
            raise DependencyUnavailable(f"MongoDB did not answer within {READ_TIMEOUT_SECONDS} s") from error
