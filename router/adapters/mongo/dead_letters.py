"""Stores messages that could not be understood, with their raw bytes and the reason."""

from __future__ import annotations

import secrets
from collections.abc import Sequence
from datetime import datetime
from hashlib import sha256
from typing import Final

from router.adapters.mongo.documents import DEAD_LETTER_HEAD_BYTES, Document, properties_document
from router.adapters.mongo.driver import MAX_READ_TIME_MS, Database
from router.adapters.mongo.indexes import DEAD_LETTERS
from router.adapters.mongo.resilience import Persistent
from router.adapters.mongo.retention import Retention
from router.ports import DeadLetter

MAX_KEPT_BODY_BYTES: Final = 15 * 1024 * 1024
"""A document holds at most 16 MiB. A longer message keeps its beginning, its true size, and cannot be requeued."""


class MongoDeadLetters:
    """Fulfils the dead-letter half of intake."""

    def __init__(self, database: Database, persistently: Persistent, retention: Retention) -> None:
        self._letters = database[DEAD_LETTERS]
        self._persistently = persistently
        self._retention = retention

    async def bury(self, letters: Sequence[DeadLetter]) -> None:
        documents = [self._document(letter) for letter in letters]
        known = await self._persistently(lambda: self._known(letters, documents))
        fresh = [document for document in documents if document["digest"] not in known]
        if fresh:
            ids = [document["_id"] for document in fresh]

            async def insert() -> None:
                # After a lost reply some are there already; the rest must follow.
                stored = self._letters.find({"_id": {"$in": ids}}, {"_id": 1}, max_time_ms=MAX_READ_TIME_MS)
                there = {document["_id"] async for document in stored}
                missing = [document for document in fresh if document["_id"] not in there]
                if missing:
                    await self._letters.insert_many(missing, ordered=False)

            await self._persistently(insert)

    async def _known(self, letters: Sequence[DeadLetter], documents: Sequence[Document]) -> set[str]:
        """Digests of redelivered messages that were buried before and not requeued since."""
        digests = [
            document["digest"] for letter, document in zip(letters, documents, strict=True) if letter.raw.redelivered
        ]
        if not digests:
            return set()
        query = {"digest": {"$in": digests}, "requeued_at": None}
        cursor = self._letters.find(query, {"digest": 1}, max_time_ms=MAX_READ_TIME_MS)
        return {document["digest"] async for document in cursor}

    def _document(self, letter: DeadLetter) -> Document:
        raw = letter.raw
        digest = sha256(b"%s\0%s\0%s" % (raw.source.encode(), (raw.properties.message_id or "").encode(), raw.body))
        return {
            "_id": f"dl_{_sortable(raw.received_at)}{secrets.token_hex(6)}",
            "digest": digest.hexdigest(),
            "received_at": raw.received_at,
            "source": raw.source,
            "exchange": raw.exchange,
            "routing_key": raw.routing_key,
            "reason": letter.rejection.reason.value,
            "detail": letter.rejection.detail,
            "size": len(raw.body),
            "head": raw.body[:DEAD_LETTER_HEAD_BYTES].decode("utf-8", "replace"),
            "properties": properties_document(raw.properties),
            "body": raw.body[:MAX_KEPT_BODY_BYTES],
            "payload_expires_at": raw.received_at + self._retention.payload,
            "expire_at": raw.received_at + self._retention.log,
        }


def _sortable(moment: datetime) -> str:
    return f"{int(moment.timestamp() * 1000):012x}"
