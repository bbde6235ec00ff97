"""Since when each webhook has been failing, when that suspends it, and when it delivers again. Writes only when
something changes, so a webhook that works, or goes on failing, costs nothing.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from typing import Final

import structlog

from router.application.definitions import DefinitionBook
from router.domain.announcement import RecoveredFrom, WebhookAnnouncement, webhook_recovered, webhook_suspended
from router.domain.delivery import Attempt, AttemptError, DeliveryReason, Trigger
from router.domain.retry import Again, End
from router.domain.webhook import Suspension, SuspensionReason, Webhook, WebhookId
from router.ports import Clock, DefinitionStore

log = structlog.get_logger("router.health")

SHOWN_WITHIN: Final = timedelta(seconds=10)
"""The definitions show what was written sooner than this; after it, they alone count."""


@dataclass(frozen=True, slots=True)
class _Health:
    """What is known of a webhook's health."""

    failing_since: datetime | None = None
    suspension: Suspension | None = None
    recovering_from: Suspension | None = None


@dataclass(frozen=True, slots=True)
class _Written:
    """What was written at `at`, while the definitions showed `instead_of`."""

    instead_of: Webhook
    at: datetime
    health: _Health


class WebhookHealth:
    """Judges webhooks by their attempts.

    What was just written is remembered until the definitions show it, which takes a moment: without that, a burst
    of failures would write the same thing once each. `announced` is called after something to announce became
    durable; without it, nothing is announced.
    """

    def __init__(
        self,
        book: DefinitionBook,
        definitions: DefinitionStore,
        clock: Clock,
        suspend_after: timedelta,
        *,
        recovered_after: timedelta,
        announced: Callable[[], None] | None = None,
    ) -> None:
        self._book = book
        self._definitions = definitions
        self._clock = clock
        self._suspend_after = suspend_after
        self._recovered_after = recovered_after
        self._announced = announced
        self._written: dict[WebhookId, _Written] = {}

    async def mind(self, webhook_id: WebhookId, attempt: Attempt, after: Again | End) -> None:
        """Take an attempt that was recorded into account. An address that we refuse says nothing of the webhook, and
        the failure of what somebody asked for is not held against it."""
        webhook = self._book.webhook(webhook_id)
        if webhook is None or attempt.error is AttemptError.BLOCKED_ADDRESS:
            return
        if attempt.error is None:
            await self._succeeded(webhook)
        elif attempt.trigger is Trigger.SCHEDULE:
            await self._failed(webhook, after)

    async def _succeeded(self, webhook: Webhook) -> None:
        now = self._clock.now()
        known = self._known(webhook, now)
        if known.failing_since is None and known.recovering_from is None:
            return
        recovery = self._recovery(webhook, known, now)
        await self._definitions.mark_healthy(webhook.id, recovery if self._announced else None)
        self._written[webhook.id] = _Written(webhook, now, _Health(suspension=known.suspension))
        if recovery is not None:
            reason = recovery.reason.value
            log.info("webhook_recovered", webhook_id=webhook.id, account_id=webhook.account_id, reason=reason)
            self._tell()

    def _recovery(self, webhook: Webhook, known: _Health, now: datetime) -> WebhookAnnouncement | None:
        """What is worth announcing of a success, if anything. One that was in flight lifts no suspension."""
        if known.suspension is not None:
            return None
        if known.recovering_from is not None:
            return webhook_recovered(webhook, now, RecoveredFrom.SUSPENDED, known.recovering_from.since)
        if known.failing_since is not None and now - known.failing_since >= self._recovered_after:
            return webhook_recovered(webhook, now, RecoveredFrom.FAILING, known.failing_since)
        return None

    async def _failed(self, webhook: Webhook, after: Again | End) -> None:
        now = self._clock.now()
        known = self._known(webhook, now)
        since = known.failing_since
        if since is None:
            await self._definitions.mark_failing(webhook.id, now)
            known = replace(known, failing_since=now)
            self._written[webhook.id] = _Written(webhook, now, known)
        if isinstance(after, End) and after.reason is DeliveryReason.GONE:
            await self._suspend(webhook, known, SuspensionReason.GONE)
        elif since is not None and now - since >= self._suspend_after:
            await self._suspend(webhook, known, SuspensionReason.FAILING)

    def _known(self, webhook: Webhook, now: datetime) -> _Health:
        """What the definitions show, unless they have not changed since we wrote something else."""
        written = self._written.get(webhook.id)
        if written is not None and written.instead_of is webhook and now - written.at <= SHOWN_WITHIN:
            return written.health
        self._written.pop(webhook.id, None)
        return _Health(webhook.failing_since, webhook.suspension, webhook.recovering_from)

    async def _suspend(self, webhook: Webhook, known: _Health, reason: SuspensionReason) -> None:
        if known.suspension is not None:
            return
        now = self._clock.now()
        suspension = Suspension(since=now, reason=reason)
        announcement = webhook_suspended(webhook, suspension, known.failing_since or now)
        await self._definitions.suspend(webhook.id, suspension, announcement if self._announced else None)
        self._written[webhook.id] = _Written(webhook, now, replace(known, suspension=suspension, recovering_from=None))
        log.warning("webhook_suspended", webhook_id=webhook.id, account_id=webhook.account_id, reason=reason.value)
        self._tell()

    def _tell(self) -> None:
        if self._announced is not None:
            self._announced()
