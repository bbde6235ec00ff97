"""Which keys have sealed something in this database: a record each, so that a start without one of them is refused
before it does harm. A record holds a text that only the very key opens, never the key.
"""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Final

from pymongo.errors import DuplicateKeyError, PyMongoError

from router.adapters.mongo.driver import MAX_READ_TIME_MS, Database
from router.adapters.mongo.indexes import SEALING_KEYS
from router.domain.errors import ConfigurationRefused, DependencyUnavailable
from router.domain.event import AccountId
from router.domain.webhook import WebhookId
from router.ports import Place, SecretStore, Vault

_CHECK: Final = Place(account_id=AccountId(""), webhook_id=WebhookId(""), field="key")
_KNOWN_TEXT: Final = "webhook-router"


class KeyRecords:
    """The records of one database, and the keys that this process has."""

    def __init__(self, database: Database, vault: Vault) -> None:
        self._records = database[SEALING_KEYS]
        self._vault = vault

    async def register(self) -> None:
        """Record the key that seals, before it does. Raises ConfigurationRefused where a key of the ring is not the
        one that was in use here under its id, and DependencyUnavailable."""
        if not self._vault.key_ids:
            return
        active = self._vault.key_ids[0]
        records = await self._read()
        if active not in records:
            async with _asking():
                try:
                    await self._records.insert_one({"_id": active, "check": self._vault.seal(_KNOWN_TEXT, _CHECK)})
                except DuplicateKeyError:  # another process was faster: is its key the same?
                    records = await self._read()
        for key_id in self._vault.key_ids:
            self._insist(key_id, records.get(key_id))

    async def missing(self) -> list[str]:
        """Keys on record that this process does not have; changes nothing. Raises ConfigurationRefused where one that
        it has is another one, and DependencyUnavailable."""
        records = await self._read()
        for key_id in self._vault.key_ids:
            self._insist(key_id, records.get(key_id))
        return sorted(records.keys() - set(self._vault.key_ids))

    def _insist(self, key_id: str, check: str | None) -> None:
        try:
            if check is not None:
                self._vault.open(check, _CHECK)
        except ValueError:
            raise ConfigurationRefused(
                f"key {key_id!r} of the key file (secrets.key_file) is not the key that has sealed secrets in this "
                "database under that id: put that one back, or give the new key an id of its own"
            ) from None

    async def demand(self, secrets: SecretStore) -> None:
        """Raises ConfigurationRefused where a secret is sealed with a key that this process does not have.

        Secrets are looked at only where a recorded key is missing; a record that no secret needs is dropped.
        """
        missing = (await self._read()).keys() - set(self._vault.key_ids)
        if not missing:
            return
        by_key = (await secrets.count()).by_key
        for key_id in sorted(missing):
            if by_key.get(key_id):
                raise ConfigurationRefused(self._complaint(key_id, by_key[key_id]))
            async with _asking():
                await self._records.delete_one({"_id": key_id})

    def _complaint(self, key_id: str, values: int) -> str:
        stored = f"webhooks have {values} secret value(s) sealed with key {key_id!r}"
        if self._vault.key_ids:
            return (
                f"{stored}, which is not in the key file: add its line to the file of secrets.key_file, after the first"
            )
        return f"{stored}, and there is no key file: set secrets.key_file to the file with that key"

    async def _read(self) -> dict[str, str]:
        async with _asking():
            found = self._records.find(max_time_ms=MAX_READ_TIME_MS)
            return {str(document["_id"]): str(document.get("check")) async for document in found}


@asynccontextmanager
async def _asking() -> AsyncIterator[None]:
    try:
        yield
    except PyMongoError as error:
        raise DependencyUnavailable(f"MongoDB does not answer ({type(error).__name__})") from None
