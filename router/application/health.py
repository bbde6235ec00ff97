"""Since when each webhook has been failing, and when that suspends it. Writes only when something changes, so a
webhook that works, or goes on failing, costs nothing.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Final

import structlog

from router.application.definitions import DefinitionBook
from router.domain.delivery import Attempt, AttemptError, DeliveryReason
from router.domain.retry import Again, End
from router.domain.webhook import Suspension, SuspensionReason, Webhook, WebhookId
from router.ports import Clock, DefinitionStore

log = structlog.get_logger("router.health")

SHOWN_WITHIN: Final = timedelta(seconds=10)
"""The definitions show what was written sooner than this; after it, they alone count."""


@dataclass(frozen=True, slots=True)
class _Written:
    """What was written at `at`, while the definitions showed `instead_of`."""

    instead_of: Webhook
    at: datetime
    failing_since: datetime | None


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
        self._written: dict[WebhookId, _Written] = {}

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
        now = self._clock.now()
        if self._failing_since(webhook, now) is not None:
            await self._definitions.mark_healthy(webhook.id)
            self._written[webhook.id] = _Written(webhook, now, None)

    async def _failed(self, webhook: Webhook, after: Again | End) -> None:
        now = self._clock.now()
        since = self._failing_since(webhook, now)
        if since is None:
            await self._definitions.mark_failing(webhook.id, now)
            self._written[webhook.id] = _Written(webhook, now, now)
        if isinstance(after, End) and after.reason is DeliveryReason.GONE:
            await self._suspend(webhook, SuspensionReason.GONE)
        elif since is not None and now - since >= self._suspend_after:
            await self._suspend(webhook, SuspensionReason.FAILING)

    def _failing_since(self, webhook: Webhook, now: datetime) -> datetime | None:
        """What the definitions show, unless they have not changed since we wrote something else."""
        written = self._written.get(webhook.id)
        if written is None:
            return webhook.failing_since
        if written.instead_of is not webhook or now - written.at > SHOWN_WITHIN:
            del self._written[webhook.id]
            return webhook.failing_since
        return written.failing_since

    async def _suspend(self, webhook: Webhook, reason: SuspensionReason) -> None:
        if webhook.suspension is None:
            await self._definitions.suspend(webhook.id, Suspension(since=self._clock.now(), reason=reason))
            log.warning("webhook_suspended", webhook_id=webhook.id, account_id=webhook.account_id, reason=reason.value)
