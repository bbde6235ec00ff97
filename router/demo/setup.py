"""Enters the demo's customers into the store, the way an administrator would. Touches the store by its ports."""

from __future__ import annotations

import secrets
from collections.abc import Sequence
from datetime import datetime

from router.application import manage
from router.application.audit import Auditor
from router.application.manage import WebhookDraft
from router.demo.customers import Customer, Hook
from router.domain.egress import EgressPolicy
from router.domain.event import AccountId
from router.ports import Registry


async def enrol(
    registry: Registry,
    customers: Sequence[Customer],
    *,
    live_url: str,
    dead_url: str,
    country: str,
    egress: EgressPolicy,
    audit: Auditor,
    now: datetime,
) -> dict[str, str]:
    """Store every account and webhook; the secret of each webhook, as its customer is shown it once."""
    shown: dict[str, str] = {}
    for customer in customers:
        await registry.set_account(AccountId(customer.account_id), webhooks_enabled=customer.enabled)
        for hook in customer.hooks:
            draft = WebhookDraft(
                id=hook.id,
                account_id=customer.account_id,
                name=hook.name,
                url=f"{dead_url if hook.dead else live_url}/hooks/{hook.id}",
                event_type=hook.event_type,
                enabled=not hook.paused,
                restrict_to=_restrict_to(hook),
            )
            new = await manage.add_webhook(
                registry,
                draft,
                country=country,
                egress=egress,
                randomness=secrets.token_bytes,
                now=now,
                audit=audit,
            )
            shown[hook.id] = new.secret
    return shown


def _restrict_to(hook: Hook) -> dict[str, object] | None:
    if hook.numbers is not None:
        return {"tracking_numbers": list(hook.written_numbers)}
    if hook.user_id is not None:
        return {"user_id": hook.user_id}
    return None


def describe(customers: Sequence[Customer]) -> str:
    """The customers in one line, for the screen."""
    hooks = [hook for customer in customers for hook in customer.hooks]
    parts = [
        _count(sum(hook.numbers is not None or hook.user_id is not None for hook in hooks), "restricted"),
        _count(sum(hook.paused for hook in hooks), "paused"),
        _count(sum(hook.dead for hook in hooks), "to a dead port"),
    ]
    off = sum(not customer.enabled for customer in customers)
    accounts = _plural(len(customers), "account") + (f", {off} switched off" if off else "")
    details = ", ".join(part for part in parts if part)
    return f"{accounts}; {_plural(len(hooks), 'webhook')}" + (f": {details}" if details else "")


def _count(number: int, what: str) -> str:
    return f"{number} {what}" if number else ""


def _plural(number: int, what: str) -> str:
    return f"{number} {what}" if number == 1 else f"{number} {what}s"
