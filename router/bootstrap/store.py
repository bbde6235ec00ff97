"""Opens the store that the settings name: a MongoDB, or the embedded server as a child of this process."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass
from datetime import datetime
from typing import Final

import structlog

from router.adapters import systemd
from router.adapters.clock import StoreClock
from router.adapters.embedded.store import EmbeddedStore
from router.adapters.mongo.audit import MongoAuditTrail
from router.adapters.mongo.driver import Database, check_connection, open_database
from router.adapters.mongo.indexes import ensure_indexes
from router.adapters.mongo.keys import KeyRecords
from router.adapters.mongo.privacy import MongoPrivacy
from router.adapters.mongo.reader import MongoReader
from router.adapters.mongo.registry import MongoRegistry
from router.adapters.mongo.replays import MongoReplays
from router.adapters.mongo.resilience import Persistent, StoreHealth
from router.adapters.mongo.schema import MongoSchema
from router.adapters.mongo.secrets import MongoSecrets
from router.adapters.mongo.sessions import MongoSessions
from router.adapters.mongo.tokens import MongoTokens
from router.adapters.vault import read_key_ring
from router.bootstrap import convert
from router.domain.errors import DependencyUnavailable
from router.ports import (
    NO_KEYS,
    AuditLog,
    PrivacyStore,
    Reader,
    Registry,
    ReplayStore,
    SchemaStore,
    SessionStore,
    TokenStore,
    Vault,
)
from router.settings import EMBEDDED, KEYS_CREDENTIAL, Settings

log = structlog.get_logger("router.store")

COMMAND_PATIENCE_SECONDS: Final = 5.0
"""How long a command waits for a store that does not answer."""
RETRY_SECONDS: Final = 0.5
KEYS_CREDENTIALS: Final = ("webhook-router.keys", KEYS_CREDENTIAL, "keys")
"""What stands for `secrets.key_file`: a credential of its own, one of a directory, the file in that directory."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Store:
    """A store that answers, its clock in step. Ports are what people and programs may use; `secret_store` is what the
    keeper of the keys may."""

    database: Database
    url: str
    clock: StoreClock
    persistently: Persistent
    reader: Reader
    registry: Registry
    replays: ReplayStore
    vault: Vault
    keys: KeyRecords
    secret_store: MongoSecrets
    tokens: TokenStore
    sessions: SessionStore
    audit: AuditLog
    privacy: PrivacyStore
    schema: SchemaStore

    def now(self) -> datetime:
        return self.clock.now()

    async def pulse(self) -> float:
        """Keep time with the store. Returns by how many seconds this host's clock is ahead of it."""
        health = self.persistently.health
        try:
            ahead = await self.clock.sync()
        except DependencyUnavailable as error:
            health.failed(error)
            raise
        health.succeeded()
        return ahead.total_seconds()


@asynccontextmanager
async def open_store(settings: Settings, *, patience_seconds: float = COMMAND_PATIENCE_SECONDS) -> AsyncIterator[Store]:
    """The store, connected and with its indexes. Raises DependencyUnavailable when it does not answer in time, and
    ConfigurationRefused for a key file that cannot be used and for a store that is too new for this program."""
    async with store_url(settings) as url, connected_store(settings, url, patience_seconds) as store:
        yield store


@asynccontextmanager
async def store_url(settings: Settings) -> AsyncIterator[str]:
    """Where the store is; an embedded one runs as long as this."""
    url = settings.mongo.url.get_secret_value()
    if url != EMBEDDED:
        yield url
        return
    embedded = await EmbeddedStore.open(settings.data_dir)
    try:
        yield embedded.url
    finally:
        await embedded.close()


@asynccontextmanager
async def connected_store(settings: Settings, url: str, patience_seconds: float) -> AsyncIterator[Store]:
    """The store at `url`, in the way of `open_store`."""
    vault = open_vault(settings)
    database = open_database(url, settings.mongo.database, settings.mongo.driver)
    try:
        await wait_for(lambda: check_connection(database), patience_seconds)
        store = await _store(database, url, settings, vault)
        # Before anything is written: a newer router may have changed what we would bring back.
        await store.schema.read()
        await ensure_indexes(database)
        await store.keys.register()
        yield store
    finally:
        await database.close()


def open_vault(settings: Settings) -> Vault:
    """The keys of the settings, else those that the service manager hands over, else none."""
    named = (settings.secrets.key_file, *map(systemd.credential, KEYS_CREDENTIALS))
    path = next((path for path in named if path is not None), None)
    return read_key_ring(path) if path is not None else NO_KEYS


async def _store(database: Database, url: str, settings: Settings, vault: Vault) -> Store:
    clock = StoreClock(database.server_time)
    await clock.sync()
    persistently = Persistent(StoreHealth())
    return Store(
        database=database,
        url=url,
        clock=clock,
        persistently=persistently,
        reader=MongoReader(database, settings.numbers.default_country, vault),
        registry=MongoRegistry(database, vault),
        replays=MongoReplays(database, convert.retention(settings)),
        vault=vault,
        keys=KeyRecords(database, vault),
        secret_store=MongoSecrets(database, vault, persistently),
        tokens=MongoTokens(database),
        sessions=MongoSessions(database),
        privacy=MongoPrivacy(database, settings.numbers.default_country, convert.retention(settings).log),
        audit=MongoAuditTrail(database, convert.audit_retention(settings)),
        schema=MongoSchema(database, clock, convert.retention(settings).payload),
    )


async def wait_for(check: Callable[[], Awaitable[None]], patience_seconds: float) -> None:
    """Repeat `check` until it passes. Raises its DependencyUnavailable once patience is over, anything else at once."""
    deadline = time.monotonic() + patience_seconds
    told = False
    while True:
        try:
            return await check()
        except DependencyUnavailable as error:
            if time.monotonic() >= deadline:
                raise
            if not told:
                log.warning("waiting_for_store", error=str(error), patience_seconds=patience_seconds)
                told = True
        await asyncio.sleep(RETRY_SECONDS)
