"""Fulfils `ports.Registry`: writes definitions as the back office would, and marks dead letters as requeued.

Somebody waits for each call, so a store that is down is reported at once and not waited for. Every write may be
repeated; all are acknowledged by a majority (the database handle's write concern).
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable, Collection
from contextlib import asynccontextmanager
from datetime import datetime, timedelta
from typing import Final

from pymongo.errors import DuplicateKeyError, OperationFailure, PyMongoError

from router.adapters.mongo.documents import Document
from router.adapters.mongo.driver import MAX_READ_TIME_MS, Database, is_transient
from router.adapters.mongo.indexes import ACCOUNTS, DEAD_LETTERS, WEBHOOK_HEALTH, WEBHOOKS
from router.adapters.mongo.sealing import opened, sealed
from router.adapters.mongo.versions import DEFINED, WEBHOOK_FIELDS, as_it_is, version_of
from router.adapters.mongo.webhooks import LIFTED, changed_fields, rotated_secret, spellings, webhook_document
from router.domain.edit import EditPlan
from router.domain.errors import ConfigurationRefused, Conflict, DependencyUnavailable, InvalidInput, Outdated
from router.domain.event import AccountId
from router.domain.signing import SigningKey, format_signing_key
from router.domain.version import ANY, Seen, check_seen
from router.domain.webhook import Webhook, WebhookId
from router.ports import NO_KEYS, Vault

MAX_TRIES: Final = 5
"""Each lost one was somebody else's change."""


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

    async def add_webhook(self, webhook: Webhook, secret: str | None) -> str:
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
        return version_of(to_store, self._vault)

    async def _is_stored(self, document: Document) -> bool:
        """Whether this very definition is there: then adding it is a repetition after a lost reply."""
        same = {key: document[key] for key in ("_id", "created_at", "account_id")}
        stored = await self._webhooks.find_one(same, max_time_ms=MAX_READ_TIME_MS)
        # The same secret sealed twice does not look the same.
        return stored is not None and opened(stored, self._vault)[0].get("secret") == document.get("secret")

    async def edit_webhook(self, plan: EditPlan, *, at: datetime) -> bool:
        written, gone = changed_fields(plan.after, plan.changed)

        def update(document: Document) -> Document:
            return {"$set": {**self._sealed(document, written), "updated_at": at}} | ({"$unset": gone} if gone else {})

        try:
            return await self._update(plan.before.id, update, DEFINED, seen=(plan.before.version,))
        except Outdated:
            return False

    async def rotate_secret(
        self, webhook_id: WebhookId, secret: str, *, at: datetime, overlap: timedelta, seen: Seen = ANY
    ) -> bool:
        def update(document: Document) -> Document:
            new = self._sealed(document, {"secret": secret})["secret"]
            entries = rotated_secret(document.get("secret"), new, now=at, overlap=overlap)
            return {"$set": {"secret": entries, "updated_at": at}}

        return await self._update(webhook_id, update, ("account_id", "secret"), seen=seen)

    async def set_signing_key(self, webhook_id: WebhookId, key: SigningKey, *, at: datetime, seen: Seen = ANY) -> bool:
        def update(document: Document) -> Document:
            return {"$set": {**self._sealed(document, {"signing_key": format_signing_key(key)}), "updated_at": at}}

        # Sealed for this account: should the back office move the webhook meanwhile, it is sealed again.
        return await self._update(webhook_id, update, ("account_id",), seen=seen)

    async def _update(
        self,
        webhook_id: WebhookId,
        update: Callable[[Document], Document],
        relied_on: Collection[str],
        *,
        seen: Seen,
    ) -> bool:
        """Write what `update` makes of the document, as long as what it relied on is as it was read; again on what
        others have made of it, unless it is then none of what was `seen`."""
        async with _store_errors():
            for _ in range(MAX_TRIES):
                document = await self._find(webhook_id, seen)
                if document is None:
                    return False
                unchanged = as_it_is(document, DEFINED if seen else relied_on)
                result = await self._webhooks.update_one(unchanged, update(document))
                if result.matched_count:
                    return True
        raise _overtaken(webhook_id)

    async def _find(self, webhook_id: WebhookId, seen: Seen) -> Document | None:
        """The webhook as it is stored; None where there is none. Raises Outdated where it is none of what was seen."""
        query = {"_id": {"$in": spellings(webhook_id)}}
        cursor = self._webhooks.find(query, WEBHOOK_FIELDS, max_time_ms=MAX_READ_TIME_MS)
        found: list[Document] = await cursor.to_list(len(query["_id"]["$in"]))
        if not seen:
            return found[0] if found else None
        # Two documents may be shown as one id: a number, and the same number as text.
        versions = {version_of(document, self._vault): document for document in found}
        for version in versions.keys() & set(seen):
            return versions[version]
        for version in versions:
            check_seen(f"webhook {webhook_id}", version, seen)
        return None

    def _sealed(self, document: Document, fields: Document) -> Document:
        """`fields` as they are to be stored in the webhook that `document` is of."""
        of = {"_id": document["_id"], "account_id": document.get("account_id")}
        written = sealed({**of, **fields}, self._vault)
        return {name: written[name] for name in fields}

    async def unsuspend(self, webhook_id: WebhookId) -> bool:
        # The router leaves an empty record behind when a webhook recovers: that was no suspension.
        blemished = {"$or": [{"suspended_at": {"$ne": None}}, {"failing_since": {"$ne": None}}]}
        # What was lifted stays known until the first success, and what is in the outbox stays there.
        lifted = {"suspended_at": f"{LIFTED}.since", "suspended_reason": f"{LIFTED}.reason"}
        update = {"$rename": lifted, "$unset": {"failing_since": ""}}
        async with _store_errors():
            result = await self._health.update_one({"_id": webhook_id, **blemished}, update)
        return bool(result.matched_count)

    async def delete_webhook(self, webhook_id: WebhookId, *, seen: Seen = ANY) -> bool:
        async with _store_errors():
            was_there = await self._delete(webhook_id, seen)
            await self._forget_health(webhook_id)
        return was_there

    async def _delete(self, webhook_id: WebhookId, seen: Seen) -> bool:
        if not seen:
            result = await self._webhooks.delete_one({"_id": {"$in": spellings(webhook_id)}})
            return bool(result.deleted_count)
        for _ in range(MAX_TRIES):
            document = await self._find(webhook_id, seen)
            if document is None:
                return False
            result = await self._webhooks.delete_one(as_it_is(document))
            if result.deleted_count:
                return True
        raise _overtaken(webhook_id)

    async def _forget_health(self, webhook_id: WebhookId) -> None:
        """Delete the router's record of a webhook, but not what is still to be announced."""
        await self._health.delete_one({"_id": webhook_id, "announce": None})
        known = ("suspended_at", "suspended_reason", "failing_since", LIFTED)
        await self._health.update_one({"_id": webhook_id}, {"$unset": dict.fromkeys(known, "")})

    async def mark_requeued(self, letter_id: str, at: datetime) -> None:
        async with _store_errors():
            await self._letters.update_one({"_id": letter_id}, {"$set": {"requeued_at": at}})


def _overtaken(webhook_id: WebhookId) -> Conflict:
    return Conflict(f"webhook {webhook_id} is being changed by others; look at it, and try again")


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
