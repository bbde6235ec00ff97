"""Fulfils `ports.DefinitionStore`: follows accounts, webhooks and the router's record of their health.

A change stream for each of them only says which documents changed; they are then read as they are now. So a change
that comes twice, late or out of order does no harm, and there is no resume token to lose: whatever interrupts a
stream ends in a full reload. Servers without change streams are polled.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Collection, Mapping, Sequence
from contextlib import AbstractAsyncContextManager, AsyncExitStack
from datetime import datetime
from functools import partial
from hashlib import blake2b
from typing import Any, Final

import structlog
from bson.codec_options import CodecOptions, DatetimeConversion
from bson.raw_bson import RawBSONDocument
from pymongo import UpdateOne
from pymongo.errors import OperationFailure, PyMongoError

from router.adapters.mongo.documents import StoredDocument
from router.adapters.mongo.driver import MAX_LOAD_TIME_MS, MAX_READ_TIME_MS, Database
from router.adapters.mongo.indexes import ACCOUNTS, WEBHOOK_HEALTH, WEBHOOKS
from router.adapters.mongo.outbox import webhook_entry
from router.adapters.mongo.resilience import DUPLICATE_KEY, FIRST_WAIT_SECONDS, Persistent
from router.adapters.mongo.sealing import secrets_in
from router.adapters.mongo.webhooks import LIFTED, parse_webhook, with_health
from router.domain.announcement import RecoveredFrom, WebhookAnnouncement
from router.domain.event import AccountId
from router.domain.sealed import is_sealed
from router.domain.webhook import Suspension, Webhook, WebhookId
from router.ports import NO_KEYS, DefinitionChange, DefinitionSnapshot, Vault

log = structlog.get_logger("router.definitions")

POLL_SECONDS: Final = 4.0
"""Between reloads where the server has no change streams; the contract promises 5 s."""
GATHER_SECONDS: Final = 0.02
"""How long the first change waits for others, so that a bulk of them is read at once."""
BACKSTOP_SECONDS: Final = 60.0
"""Between reloads beside a change stream, should it ever miss something."""
AWAIT_CHANGE_MS: Final = 1_000
PAUSE_SECONDS: Final = 0.2
"""After an answer without changes: a server may answer at once, again and again, while others write."""
NO_CHANGE_STREAMS: Final = frozenset({40573, 59, 303})
"""Not a replica set; unknown command; not supported."""
_RAW: Final = CodecOptions(
    document_class=RawBSONDocument,
    datetime_conversion=DatetimeConversion.DATETIME_CLAMP,
    unicode_decode_error_handler="replace",
)
_FOLLOWED: Final = (ACCOUNTS, WEBHOOKS, WEBHOOK_HEALTH)
RELOAD_STEP: Final = 500
"""Documents parsed between two turns of the event loop during a reload."""


class _Changed:
    """Keys of documents that changed and were not read yet, by collection."""

    def __init__(self) -> None:
        self._keys: dict[str, set[Any]] = {ACCOUNTS: set(), WEBHOOKS: set()}
        self._news = asyncio.Event()
        self._has_ended = False

    def add(self, collection: str, key: Any) -> None:
        # A webhook's health is read together with it, and has its key.
        self._keys[ACCOUNTS if collection == ACCOUNTS else WEBHOOKS].add(key)
        self._news.set()

    def end(self) -> None:
        """Nothing more will come, so nobody need wait for it."""
        self._has_ended = True
        self._news.set()

    async def wait(self, seconds: float) -> bool:
        """Whether there is something, after `seconds` at most."""
        try:
            async with asyncio.timeout(seconds):
                await self._news.wait()
        except TimeoutError:
            return False
        return any(self._keys.values())

    def take(self) -> Mapping[str, Collection[Any]]:
        taken, self._keys = self._keys, {ACCOUNTS: set(), WEBHOOKS: set()}
        if not self._has_ended:
            self._news.clear()
        return taken


async def _read(stream: Any, changed: _Changed) -> None:
    """Note what changes, until the stream ends or a collection is dropped, renamed or the stream invalidated."""
    try:
        while stream.alive:
            change = await stream.try_next()
            if change is None:
                await asyncio.sleep(PAUSE_SECONDS)
            elif "documentKey" in change:
                changed.add(change["ns"]["coll"], change["documentKey"]["_id"])
            else:
                return
    finally:
        changed.end()


class MongoDefinitions:
    """The definitions in one database. Numbers in restrictions are read as dialled in `country`; `owner` names the
    worker in what it puts into the outbox. `notice` is told the `_id` of each definition that has a plain secret."""

    def __init__(
        self,
        database: Database,
        persistently: Persistent,
        country: str,
        owner: str = "",
        *,
        vault: Vault = NO_KEYS,
        notice: Callable[[Any], None] | None = None,
    ) -> None:
        self._database = database
        self._accounts = database[ACCOUNTS]
        self._webhooks = database[WEBHOOKS]
        self._health = database[WEBHOOK_HEALTH]
        self._persistently = persistently
        self._country = country
        self._owner = owner
        self._vault = vault
        self._notice = notice
        # By digest of the raw document: a reload parses only what changed since the last one.
        self._parsed: dict[bytes, Webhook] = {}

    # --- following ---

    async def follow(self) -> AsyncIterator[DefinitionSnapshot | Sequence[DefinitionChange]]:
        while True:
            try:
                async for news in self._stream():
                    yield news
            except OperationFailure as error:
                if error.code in NO_CHANGE_STREAMS:
                    async for snapshot in self._poll():
                        yield snapshot
                log.warning("definitions_stream_lost", code=error.code)
            except PyMongoError as error:
                self._persistently.health.failed(error)
                log.warning("definitions_stream_lost", error=type(error).__name__)
            await asyncio.sleep(FIRST_WAIT_SECONDS)

    async def _stream(self) -> AsyncIterator[DefinitionSnapshot | Sequence[DefinitionChange]]:
        async with AsyncExitStack() as resources:
            streams = [await resources.enter_async_context(self._watch(name)) for name in _FOLLOWED]
            # The streams stand before the load, so nothing falls between the two.
            yield await self._persistently(self._load)
            changed = _Changed()
            readers = {asyncio.create_task(_read(each, changed), name="definitions-stream") for each in streams}
            try:
                while True:
                    if await changed.wait(BACKSTOP_SECONDS):
                        await asyncio.sleep(GATHER_SECONDS)
                        yield await self._persistently(partial(self._changes, changed.take()))
                    elif ended := [reader for reader in readers if reader.done()]:
                        await ended[0]  # raises what ended it
                        return
                    else:
                        yield await self._persistently(self._load)
            finally:
                for reader in readers:
                    reader.cancel()
                await asyncio.wait(readers)

    def _watch(self, collection: str) -> AbstractAsyncContextManager[Any]:
        # One of the whole database would be simpler, but the server would look at every delivery for it.
        pipeline = [{"$project": {"operationType": 1, "ns": 1, "documentKey": 1}}]
        return self._database.watch(collection, pipeline, max_await_time_ms=AWAIT_CHANGE_MS)

    async def _poll(self) -> AsyncIterator[DefinitionSnapshot]:
        log.info("definitions_polled", every_seconds=POLL_SECONDS)
        while True:
            yield await self._persistently(self._load)
            await asyncio.sleep(POLL_SECONDS)

    async def _load(self) -> DefinitionSnapshot:
        enabled = self._accounts.find({"webhooks_enabled": True}, {"_id": 1}, max_time_ms=MAX_LOAD_TIME_MS)
        enabled_accounts = frozenset([AccountId(str(document["_id"])) async for document in enabled])
        health = {document["_id"]: document async for document in self._health.find(max_time_ms=MAX_LOAD_TIME_MS)}

        raw_webhooks = self._webhooks.with_options(codec_options=_RAW)
        parsed: dict[bytes, Webhook] = {}
        count = 0
        async for document in raw_webhooks.find(max_time_ms=MAX_LOAD_TIME_MS):
            digest = blake2b(document.raw, digest_size=16).digest()
            parsed[digest] = self._parsed.get(digest) or self._parse(document)
            count += 1
            if count % RELOAD_STEP == 0:
                await asyncio.sleep(0)
        self._parsed = parsed
        return DefinitionSnapshot(
            enabled_accounts=enabled_accounts,
            webhooks={
                webhook.id: with_health(webhook, health[webhook.id]) if webhook.id in health else webhook
                for webhook in parsed.values()
            },
        )

    async def _changes(self, changed: Mapping[str, Collection[Any]]) -> Sequence[DefinitionChange]:
        accounts = {
            document["_id"]: document
            async for document in self._accounts.find(
                {"_id": {"$in": [*changed[ACCOUNTS]]}}, max_time_ms=MAX_READ_TIME_MS
            )
        }
        webhooks = {webhook.id: webhook for webhook in await self._read_webhooks([*changed[WEBHOOKS]])}
        return [
            *(
                DefinitionChange(
                    account_id=AccountId(str(key)),
                    webhooks_enabled=accounts.get(key, {}).get("webhooks_enabled") is True,
                )
                for key in changed[ACCOUNTS]
            ),
            *(
                DefinitionChange(webhook_id=WebhookId(str(key)), webhook=webhooks.get(WebhookId(str(key))))
                for key in changed[WEBHOOKS]
            ),
        ]

    async def _read_webhooks(self, keys: Sequence[Any]) -> list[Webhook]:
        health = {
            document["_id"]: document
            async for document in self._health.find({"_id": {"$in": keys}}, max_time_ms=MAX_READ_TIME_MS)
        }
        return [
            with_health(self._parse(document), health.get(document["_id"]))
            async for document in self._webhooks.find({"_id": {"$in": keys}}, max_time_ms=MAX_READ_TIME_MS)
        ]

    def _parse(self, document: StoredDocument) -> Webhook:
        if self._notice is not None and any(not is_sealed(text) for _, text in secrets_in(document)):
            self._notice(document["_id"])
        return parse_webhook(document, self._country, self._vault)

    async def fetch(self, webhook_id: WebhookId) -> Webhook | None:
        found = await self._persistently(lambda: self._read_webhooks([webhook_id]))
        return found[0] if found else None

    # --- the router's own record ---

    async def suspend(
        self, webhook_id: WebhookId, suspension: Suspension, announcement: WebhookAnnouncement | None = None
    ) -> None:
        update: dict[str, Any] = {
            "$set": {"suspended_at": suspension.since, "suspended_reason": suspension.reason.value},
            "$unset": {LIFTED: ""},
        }
        if announcement is not None:
            update["$push"] = {"announce": webhook_entry(announcement, self._owner)}
        # The first suspension stands: a second 410 that was in flight neither moves its time nor announces it again.
        await self._upsert({"_id": webhook_id, "suspended_at": None}, update)

    async def mark_failing(self, webhook_id: WebhookId, since: datetime) -> None:
        await self._upsert({"_id": webhook_id, "failing_since": None}, {"$set": {"failing_since": since}})

    async def mark_healthy(self, webhook_id: WebhookId, announcement: WebhookAnnouncement | None = None) -> None:
        healthy = {"$unset": {"failing_since": "", LIFTED: ""}}
        updates = [UpdateOne({"_id": webhook_id}, healthy)]
        if announcement is not None:
            told = healthy | {"$push": {"announce": webhook_entry(announcement, self._owner)}}
            updates.insert(0, UpdateOne({"_id": webhook_id, "suspended_at": None, **_what_is_over(announcement)}, told))
        await self._persistently(lambda: self._health.bulk_write(updates))

    async def _upsert(self, where: dict[str, Any], update: dict[str, Any]) -> None:
        async def write() -> None:
            try:
                await self._health.update_one(where, update, upsert=True)
            except OperationFailure as error:
                # The document is there and does not match `where`: somebody else was first.
                if error.code != DUPLICATE_KEY:
                    raise

        await self._persistently(write)


def _what_is_over(recovery: WebhookAnnouncement) -> dict[str, Any]:
    """What a health document holds as long as nobody has announced this recovery."""
    if recovery.reason is RecoveredFrom.SUSPENDED:
        return {f"{LIFTED}.since": recovery.since}
    return {"failing_since": {"$lte": recovery.since}}
