"""Since when each webhook has been failing, and when that suspends it. Writes only when something changes, so a
webhook that works, or goes on failing, costs nothing.
"""

from __future__ import annotations

from datetime import timedelta

import structlog

from router.application.definitions import DefinitionBook
from router.domain.delivery import Attempt, AttemptError, DeliveryReason
from router.domain.retry import Again, End
from router.domain.webhook import Suspension, SuspensionReason, Webhook, WebhookId
from router.ports import Clock, DefinitionStore

log = structlog.get_logger("router.health")


class WebhookHealth:
    """Judges webhooks by their attempts.

    What was just written is remembered until the definitions show it, which takes a moment: without that, a burst
    of failures would write the same thing once each.
    """

    def __init__(
        self, book: DefinitionBook, definitions: DefinitionStore, clock: Clock, suspend_after: timedelta
    ) -> None:
        self._book = book
        self._definitions = definitions
        self._clock = clock
        self._suspend_after = suspend_after
        self._marked_failing: set[WebhookId] = set()
        self._marked_healthy: set[WebhookId] = set()

    async def mind(self, webhook_id: WebhookId, attempt: Attempt, after: Again | End) -> None:
        """Take an attempt that was recorded into account. An address that we refuse says nothing of the webhook."""
        webhook = self._book.webhook(webhook_id)
        if webhook is None or attempt.error is AttemptError.BLOCKED_ADDRESS:
            return
        if attempt.error is None:
            await self._succeeded(webhook)
        else:
            await self._failed(webhook, after)

    async def _succeeded(self, webhook: Webhook) -> None:
        seems_failing = webhook.failing_since is not None or webhook.id in self._marked_failing
        if seems_failing and webhook.id not in self._marked_healthy:
            await self._definitions.mark_healthy(webhook.id)
            self._marked_healthy.add(webhook.id)
        self._marked_failing.discard(webhook.id)

    async def _failed(self, webhook: Webhook, after: Again | End) -> None:
        now = self._clock.now()
        since = None if webhook.id in self._marked_healthy else webhook.failing_since
        self._marked_healthy.discard(webhook.id)
        if since is None and webhook.id not in self._marked_failing:
            await self._definitions.mark_failing(webhook.id, now)
            self._marked_failing.add(webhook.id)
        if isinstance(after, End) and after.reason is DeliveryReason.GONE:
            await self._suspend(webhook, SuspensionReason.GONE)
        elif since is not None and now - since >= self._suspend_after:
            await self._suspend(webhook, SuspensionReason.FAILING)

    async def _suspend(self, webhook: Webhook, reason: SuspensionReason) -> None:
        if webhook.suspension is None:
            await self._definitions.suspend(webhook.id, Suspension(since=self._clock.now(), reason=reason))
            log.warning("webhook_suspended", webhook_id=webhook.id, account_id=webhook.account_id, reason=reason.value)
