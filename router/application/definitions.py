"""The definitions in memory: by account for matching, by id for delivering. Follows the store and acts on what a
change means for deliveries that wait: a webhook enabled again wakes them, a deleted one cancels them.
"""

from __future__ import annotations

import asyncio
from collections.abc import Iterable, Sequence
from contextlib import aclosing
from dataclasses import replace
from typing import Final

import structlog

from router.application.circuits import Circuits
from router.domain.event import AccountId
from router.domain.webhook import Account, Webhook, WebhookId, WebhookState
from router.ports import DefinitionChange, DefinitionSnapshot, DefinitionStore, DeliveryStore

log = structlog.get_logger("router.definitions")

NO_ACCOUNT: Final = Account(id=AccountId(""), webhooks_enabled=False, webhooks=())


class DefinitionBook:
    """Every definition, in memory. Matching an event looks at its own account and at nothing else."""

    def __init__(self) -> None:
        self._webhooks: dict[WebhookId, Webhook] = {}
        self._accounts: dict[AccountId, Account] = {}

    def account(self, account_id: AccountId) -> Account:
        return self._accounts.get(account_id, NO_ACCOUNT)

    def webhook(self, webhook_id: WebhookId) -> Webhook | None:
        return self._webhooks.get(webhook_id)

    def is_open(self, webhook: Webhook) -> bool:
        """Whether its pending deliveries go on, be it to end as suspended; while not, they are held."""
        may_send = webhook.state not in (WebhookState.PAUSED, WebhookState.INVALID)
        return may_send and self.account(webhook.account_id).webhooks_enabled

    def __len__(self) -> int:
        return len(self._webhooks)

    @property
    def suspended(self) -> int:
        """How many webhooks are suspended, paused ones among them."""
        return sum(webhook.suspension is not None for webhook in self._webhooks.values())

    def load(self, snapshot: DefinitionSnapshot) -> list[tuple[WebhookId, Webhook | None]]:
        """Replace everything. Returns the webhooks that changed, or whose account was switched on, as they are now."""
        before, accounts_before = self._webhooks, self._accounts
        self._webhooks = dict(snapshot.webhooks)
        by_account: dict[AccountId, list[Webhook]] = {account_id: [] for account_id in snapshot.enabled_accounts}
        for webhook in self._webhooks.values():
            by_account.setdefault(webhook.account_id, []).append(webhook)
        self._accounts = {
            account_id: _account(account_id, account_id in snapshot.enabled_accounts, webhooks)
            for account_id, webhooks in by_account.items()
        }
        if not before and not accounts_before:
            return []  # nothing was known, so nothing waits for this
        now = self._webhooks
        changed = {each for each, webhook in before.items() if _concerns_deliveries(webhook, now.get(each))}
        for account_id in snapshot.enabled_accounts:
            if not accounts_before.get(account_id, NO_ACCOUNT).webhooks_enabled:
                changed.update(webhook.id for webhook in self.account(account_id).webhooks)
        return [(webhook_id, self._webhooks.get(webhook_id)) for webhook_id in changed]

    def apply(self, changes: Iterable[DefinitionChange]) -> list[tuple[WebhookId, Webhook | None]]:
        """Take in changes. Returns the webhooks that changed, and those of accounts that did, as they are now."""
        changed: list[tuple[WebhookId, Webhook | None]] = []
        for change in changes:
            if change.account_id is not None:
                account = self.account(change.account_id)
                self._put(_account(change.account_id, bool(change.webhooks_enabled), account.webhooks))
                changed += [(webhook.id, webhook) for webhook in account.webhooks]
            if change.webhook_id is not None:
                before = self._webhooks.get(change.webhook_id)
                self._replace(change.webhook_id, change.webhook)
                if _concerns_deliveries(before, change.webhook):
                    changed.append((change.webhook_id, change.webhook))
        return changed

    def _replace(self, webhook_id: WebhookId, webhook: Webhook | None) -> None:
        before = self._webhooks.pop(webhook_id, None)
        if before is not None:
            account = self.account(before.account_id)
            others = [other for other in account.webhooks if other.id != webhook_id]
            self._put(_account(before.account_id, account.webhooks_enabled, others))
        if webhook is not None:
            self._webhooks[webhook_id] = webhook
            account = self.account(webhook.account_id)
            self._put(_account(webhook.account_id, account.webhooks_enabled, [*account.webhooks, webhook]))

    def _put(self, account: Account) -> None:
        if account.webhooks or account.webhooks_enabled:
            self._accounts[account.id] = account
        else:
            self._accounts.pop(account.id, None)


def _concerns_deliveries(before: Webhook | None, after: Webhook | None) -> bool:
    """Whether deliveries that wait may go on or end now. That a webhook has begun to fail tells them nothing."""
    if before is None or after is None:
        return True
    is_failing = after.failing_since is not None
    return before != after and not (is_failing and replace(before, failing_since=after.failing_since) == after)


def _account(account_id: AccountId, enabled: bool, webhooks: Iterable[Webhook]) -> Account:
    ordered = tuple(sorted(webhooks, key=lambda webhook: webhook.id))
    return Account(id=account_id, webhooks_enabled=enabled, webhooks=ordered)


class DefinitionFollower:
    """Service: keeps a DefinitionBook equal to the store, and deliveries in step with it."""

    name = "definitions"

    def __init__(
        self, book: DefinitionBook, definitions: DefinitionStore, deliveries: DeliveryStore, circuits: Circuits
    ) -> None:
        self._book = book
        self._definitions = definitions
        self._deliveries = deliveries
        self._circuits = circuits
        self._stopping = asyncio.Event()
        self.loaded = asyncio.Event()
        """Set after the first snapshot: nothing may be matched before."""

    def stop(self) -> None:
        self._stopping.set()

    async def run(self) -> None:
        following = asyncio.create_task(self._follow(), name="definitions-follow")
        stopping = asyncio.create_task(self._stopping.wait(), name="definitions-stop")
        await asyncio.wait({following, stopping}, return_when=asyncio.FIRST_COMPLETED)
        stopping.cancel()
        following.cancel()
        try:
            await following
        except asyncio.CancelledError:
            if not self._stopping.is_set():
                raise

    async def _follow(self) -> None:
        async with aclosing(self._definitions.follow()) as news:  # type: ignore[type-var]
            async for item in news:
                if isinstance(item, DefinitionSnapshot):
                    changed = self._book.load(item)
                    if not self.loaded.is_set():
                        log.info("definitions_loaded", webhooks=len(self._book))
                        # Webhooks may have been enabled while no router ran.
                        await self._deliveries.wake(None)
                        self.loaded.set()
                else:
                    changed = self._book.apply(item)
                await self._carry_over(changed)

    async def _carry_over(self, changed: Sequence[tuple[WebhookId, Webhook | None]]) -> None:
        for webhook_id, webhook in changed:
            if webhook is None or webhook.failing_since is None or webhook.state is WebhookState.SUSPENDED:
                # It is gone, or it works: perhaps another worker found out. What waits for a suspended one is not
                # to be attempted, so it need not rest for its sake: it ends.
                self._circuits.forget(webhook_id)
            if webhook is None:
                cancelled = await self._deliveries.cancel(webhook_id)
                log.info("webhook_deleted", webhook_id=webhook_id, cancelled=cancelled)
            elif self._book.is_open(webhook):
                woken = await self._deliveries.wake(webhook_id)
                if woken:
                    log.info("webhook_resumed", webhook_id=webhook_id, woken=woken)
