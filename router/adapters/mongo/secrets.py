"""Seals the secrets of stored webhooks: what the back office wrote plain, and what an old key has sealed.

Every write is conditional on what was read: whoever changes a definition meanwhile wins, and is looked at again
at the next occasion. Nothing but the secrets is written.
"""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from typing import Any, Final

import structlog
from bson.codec_options import CodecOptions, DatetimeConversion
from bson.raw_bson import RawBSONDocument
from pymongo import UpdateOne
from pymongo.errors import BulkWriteError, PyMongoError

from router.adapters.mongo.documents import StoredDocument
from router.adapters.mongo.driver import MAX_LOAD_TIME_MS, MAX_READ_TIME_MS, Database
from router.adapters.mongo.indexes import WEBHOOKS
from router.adapters.mongo.resilience import Persistent, is_passing
from router.adapters.mongo.sealing import SEALED_FIELDS, opened, resealed, secrets_in
from router.adapters.mongo.versions import as_it_is
from router.domain.errors import ConfigurationRefused, DependencyUnavailable
from router.domain.sealed import is_sealed, read_sealed
from router.ports import Resealing, SecretCounts, Vault

log = structlog.get_logger("router.secrets")

BATCH: Final = 200
"""Webhooks that are read and written at once."""
PASSES: Final = 3
"""Over all webhooks, as long as somebody else writes some of them between our reading and our writing."""
_FIELDS: Final = dict.fromkeys(("account_id", *SEALED_FIELDS), 1)
# Raw, so that what is compared is what is stored, dates and odd texts included.
_RAW: Final = CodecOptions(
    document_class=RawBSONDocument,
    datetime_conversion=DatetimeConversion.DATETIME_CLAMP,
    unicode_decode_error_handler="replace",
)


class MongoSecrets:
    """Fulfils `ports.SecretStore`."""

    def __init__(self, database: Database, vault: Vault, persistently: Persistent) -> None:
        self._webhooks = database[WEBHOOKS].with_options(codec_options=_RAW)
        self._vault = vault
        self._persistently = persistently

    @property
    def key_ids(self) -> Sequence[str]:
        return self._vault.key_ids

    async def count(self) -> SecretCounts:
        by_key: Counter[str] = Counter()
        plain = unopened = 0
        async for documents in self._batches():
            for document in documents:
                unopened += len(opened(document, self._vault)[1])
                for _, text in secrets_in(document):
                    if not is_sealed(text):
                        plain += 1
                    elif (key_id := _key_id(text)) is not None:
                        by_key[key_id] += 1
        return SecretCounts(by_key=dict(by_key), plain=plain, unopened=unopened)

    async def reseal_all(self) -> AsyncIterator[Resealing]:
        done = Resealing()
        for _ in range(PASSES):
            before = done
            async for documents in self._batches():
                done += await self._reseal(documents, self._once, plain_only=False)
                yield done
            if done.changed_meanwhile == before.changed_meanwhile:
                return

    async def seal_plain(self, keys: list[Any]) -> Resealing:
        """Seal what is plain in the webhooks with these `_id`s, BATCH at most; waits for a store that is away."""

        async def read() -> list[RawBSONDocument]:
            cursor = self._webhooks.find({"_id": {"$in": keys}}, _FIELDS, max_time_ms=MAX_READ_TIME_MS)
            found: list[RawBSONDocument] = await cursor.to_list(len(keys))
            return found

        return await self._reseal(await self._persistently(read), self._persistently, plain_only=True)

    async def _batches(self) -> AsyncIterator[list[RawBSONDocument]]:
        """All webhooks. Raises DependencyUnavailable."""
        cursor = self._webhooks.find({}, _FIELDS, batch_size=BATCH, max_time_ms=MAX_LOAD_TIME_MS)
        try:
            while documents := await self._once(lambda: cursor.to_list(BATCH)):
                yield documents
                await asyncio.sleep(0)
        finally:
            await cursor.close()

    @staticmethod
    async def _once(call: Callable[[], Awaitable[Any]]) -> Any:
        try:
            return await call()
        except PyMongoError as error:
            if is_passing(error):
                raise DependencyUnavailable(f"MongoDB did not answer ({type(error).__name__})") from None
            if isinstance(error, BulkWriteError):
                raise
            raise ConfigurationRefused(f"MongoDB refuses to be asked for secrets ({type(error).__name__})") from None

    async def _reseal(
        self,
        documents: Sequence[StoredDocument],
        calling: Callable[[Callable[[], Awaitable[Any]]], Awaitable[Any]],
        *,
        plain_only: bool,
    ) -> Resealing:
        updates = [
            UpdateOne(as_it_is(document, ("account_id", *changed)), {"$set": changed})
            for document in documents
            if (changed := resealed(document, self._vault, plain_only=plain_only))
        ]
        if not updates:
            return Resealing()
        refused = 0
        try:
            result = await calling(lambda: self._webhooks.bulk_write(updates, ordered=False))
            matched: int = result.matched_count
        except BulkWriteError as error:  # of the document itself: everything else was translated
            details = error.details or {}
            matched, refused = details.get("nMatched", 0), len(details.get("writeErrors", ()))
        return Resealing(sealed=matched, changed_meanwhile=len(updates) - matched - refused, refused=refused)


def _key_id(text: str) -> str | None:
    try:
        return read_sealed(text)[0]
    except ValueError:
        return None


class FirstSight:
    """Service: seals plain secrets as soon as a worker has loaded a definition that has some."""

    name = "first-sight"

    def __init__(self, secrets: MongoSecrets) -> None:
        self._secrets = secrets
        # By text: an `_id` may be of any type, a mapping included.
        self._noticed: dict[str, Any] = {}
        self._news = asyncio.Event()
        self._stopping = False

    def notice(self, key: Any) -> None:
        """The webhook with this `_id` has a plain secret."""
        self._noticed[repr(key)] = key
        self._news.set()

    def stop(self) -> None:
        self._stopping = True
        self._news.set()

    async def run(self) -> None:
        while True:
            await self._news.wait()
            if self._stopping:
                return
            self._news.clear()
            await self.seal_noticed()

    async def seal_noticed(self) -> None:
        """Seal all that was noticed, and say in one line what came of it."""
        done = Resealing()
        while self._noticed and not self._stopping:
            keys = [self._noticed.pop(text) for text in list(self._noticed)[:BATCH]]
            try:
                done += await self._secrets.seal_plain(keys)
            except PyMongoError as error:  # whatever it is, deliveries go on, and the secrets with them
                log.error("secrets_not_sealed", webhooks=len(keys), error=type(error).__name__)
        if done.sealed:
            log.info("secrets_sealed", webhooks=done.sealed, changed_meanwhile=done.changed_meanwhile)
        if done.refused:
            log.error("secrets_not_sealed", webhooks=done.refused, error="refused")
