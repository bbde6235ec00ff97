"""Fulfils `ports.Registry`: writes definitions as the back office would, and marks dead letters as requeued.

Somebody waits for each call, so a store that is down is reported at once and not waited for. Every write may be
repeated; all are acknowledged by a majority (the database handle's write concern).
"""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import datetime, timedelta
from typing import Any, Final

from pymongo.errors import DuplicateKeyError, OperationFailure, PyMongoError

from router.adapters.mongo.documents import Document
from router.adapters.mongo.driver import MAX_READ_TIME_MS, Database, is_transient
from router.adapters.mongo.indexes import ACCOUNTS, DEAD_LETTERS, WEBHOOK_HEALTH, WEBHOOKS
from router.adapters.mongo.sealing import opened, sealed
from router.adapters.mongo.webhooks import LIFTED, rotated_secret, spellings, webhook_document
from router.domain.errors import ConfigurationRefused, Conflict, DependencyUnavailable, InvalidInput
from router.domain.event import AccountId
from router.domain.signing import SigningKey, format_signing_key
from router.domain.webhook import Webhook, WebhookId
from router.ports import NO_KEYS, Vault

MAX_ROTATION_TRIES: Final = 5
"""Each lost one was somebody else's rotation."""


class MongoRegistry:
    """The definitions and dead letters of one database, for whoever manages them. Secrets are written sealed."""

    def __init__(self, database: Database, vault: Vault = NO_KEYS) -> None:
        self._vault = vault
        self._accounts = database[ACCOUNTS]
        self._webhooks = database[WEBHOOKS]
        self._health = database[WEBHOOK_HEALTH]
        self._letters = database[DEAD_LETTERS]

    async def set_account(self, account_id: AccountId, *, webhooks_enabled: bool) -> None:
        update = {"$set": {"webhooks_enabled": webhooks_enabled}}
        async with _store_errors():
            # A second document beside one with an integer id would be a switch that the back office does not know.
            result = await self._accounts.update_many({"_id": {"$in": spellings(account_id)}}, update)
            if not result.matched_count:
                await self._accounts.update_one({"_id": account_id}, update, upsert=True)

    async def add_webhook(self, webhook: Webhook, secret: str | None) -> None:
        document = webhook_document(webhook, secret)
        to_store = sealed(document, self._vault)
        async with _store_errors():
            try:
                await self._webhooks.insert_one(to_store)
            except DuplicateKeyError:
                if not await self._is_stored(document):
                    raise InvalidInput("id", f"{webhook.id} is taken by another webhook") from None
            # A deleted webhook of the same id may have left its suspension behind.
            await self._forget_health(webhook.id)

    async def _is_stored(self, document: Document) -> bool:
        """Whether this very definition is there: then adding it is a repetition after a lost reply."""
        same = {key: document[key] for key in ("_id", "created_at", "account_id")}
        stored = await self._webhooks.find_one(same, max_time_ms=MAX_READ_TIME_MS)
        # The same secret sealed twice does not look the same.
        return stored is not None and opened(stored, self._vault)[0].get("secret") == document.get("secret")

    async def set_enabled(self, webhook_id: WebhookId, *, enabled: bool, at: datetime) -> bool:
        update = {"$set": {"enabled": enabled, "updated_at": at}}
        async with _store_errors():
            result = await self._webhooks.update_one({"_id": {"$in": spellings(webhook_id)}}, update)
        return bool(result.matched_count)

    async def rotate_secret(self, webhook_id: WebhookId, secret: str, *, at: datetime, overlap: timedelta) -> bool:
        async with _store_errors():
            for _ in range(MAX_ROTATION_TRIES):
                document = await self._find(webhook_id, "secret")
                if document is None:
                    return False
                stored = document.get("secret")
                unchanged = {"_id": document["_id"], "secret": _exactly(stored)}
                entries = rotated_secret(stored, self._sealed(document, "secret", secret), now=at, overlap=overlap)
                result = await self._webhooks.update_one(unchanged, {"$set": {"secret": entries, "updated_at": at}})
                if result.matched_count:
                    return True
        raise Conflict(f"the secret of {webhook_id} is being changed by others; look at it, and try again")

    async def set_signing_key(self, webhook_id: WebhookId, key: SigningKey, *, at: datetime) -> bool:
        async with _store_errors():
            document = await self._find(webhook_id)
            if document is None:
                return False
            text = self._sealed(document, "signing_key", format_signing_key(key))
            # Sealed for this account: should the back office move the webhook meanwhile, nothing is written.
            same = {"_id": document["_id"], "account_id": document.get("account_id")}
            result = await self._webhooks.update_one(same, {"$set": {"signing_key": text, "updated_at": at}})
        return bool(result.matched_count)

    async def _find(self, webhook_id: WebhookId, *fields: str) -> Document | None:
        found: Document | None = await self._webhooks.find_one(
            {"_id": {"$in": spellings(webhook_id)}},
            dict.fromkeys(("account_id", *fields), 1),
            max_time_ms=MAX_READ_TIME_MS,
        )
        return found

    def _sealed(self, document: Document, field: str, text: str) -> str:
        """`text` as it is to be stored in `field` of the webhook that `document` is of."""
        of = {"_id": document["_id"], "account_id": document.get("account_id")}
        written: str = sealed({**of, field: text}, self._vault)[field]
        return written

    async def unsuspend(self, webhook_id: WebhookId) -> bool:
        # The router leaves an empty record behind when a webhook recovers: that was no suspension.
        blemished = {"$or": [{"suspended_at": {"$ne": None}}, {"failing_since": {"$ne": None}}]}
        # What was lifted stays known until the first success, and what is in the outbox stays there.
        lifted = {"suspended_at": f"{LIFTED}.since", "suspended_reason": f"{LIFTED}.reason"}
        update = {"$rename": lifted, "$unset": {"failing_since": ""}}
        async with _store_errors():
            result = await self._health.update_one({"_id": webhook_id, **blemished}, update)
        return bool(result.matched_count)

    async def delete_webhook(self, webhook_id: WebhookId) -> bool:
        async with _store_errors():
            result = await self._webhooks.delete_one({"_id": {"$in": spellings(webhook_id)}})
            await self._forget_health(webhook_id)
        return bool(result.deleted_count)

    async def _forget_health(self, webhook_id: WebhookId) -> None:
        """Delete the router's record of a webhook, but not what is still to be announced."""
        await self._health.delete_one({"_id": webhook_id, "announce": None})
        known = ("suspended_at", "suspended_reason", "failing_since", LIFTED)
        await self._health.update_one({"_id": webhook_id}, {"$unset": dict.fromkeys(known, "")})

    async def mark_requeued(self, letter_id: str, at: datetime) -> None:
        async with _store_errors():
            await self._letters.update_one({"_id": letter_id}, {"$set": {"requeued_at": at}})


def _exactly(value: Any) -> Any:
    """A condition that only this very value meets: a plain text would also be found inside a list."""
    return value if isinstance(value, list) else {"$eq": value, "$not": {"$type": "array"}}


@asynccontextmanager
async def _store_errors() -> AsyncIterator[None]:
    """The driver's exceptions as ours, in one sentence that quotes neither document nor URL."""
    try:
        yield
    except PyMongoError as error:
        code = f", code {error.code}" if isinstance(error, OperationFailure) else ""
        if is_transient(error):
            raise DependencyUnavailable(f"MongoDB did not confirm the write ({type(error).__name__}{code})") from error
        raise ConfigurationRefused(f"MongoDB refuses the write ({type(error).__name__}{code})") from error
