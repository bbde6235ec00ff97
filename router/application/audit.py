"""Writes down who did what. An entry goes before the act that it tells of: nothing happens that nobody wrote down."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import datetime

from router.domain.audit import AuditAction
from router.domain.event import AccountId
from router.domain.version import ANY, Seen, check_seen
from router.domain.webhook import Webhook, WebhookId
from router.ports import AuditEntry, AuditTrail, Reader


@dataclass(frozen=True, slots=True, kw_only=True)
class Auditor:
    """Writes into `trail` what one actor does. `actor` is the name of a principal."""

    trail: AuditTrail
    actor: str
    now: Callable[[], datetime]

    async def note(
        self,
        action: AuditAction,
        *,
        account_id: str | None = None,
        target: str | None = None,
        **details: str | int | bool | Sequence[str],
    ) -> None:
        """Returns once the entry is durable. Raises DependencyUnavailable, and then the act must not follow."""
        entry = AuditEntry(
            at=self.now(),
            actor=self.actor,
            action=action.value,
            account_id=AccountId(account_id) if account_id is not None else None,
            target=target,
            details=details,
        )
        await self.trail.write(entry)

    async def note_webhook(
        self, action: AuditAction, webhook_id: WebhookId, reader: Reader, seen: Seen = ANY
    ) -> Webhook | None:
        """Note what is about to be done to a webhook, and return it; None where it is not there: then nothing happens.

        Raises Outdated where it is none of what was `seen`.
        """
        webhook = await reader.webhook(webhook_id)
        if webhook is not None:
            check_seen(f"webhook {webhook.id}", webhook.version, seen)
            await self.note(action, account_id=webhook.account_id, target=webhook.id)
        return webhook
