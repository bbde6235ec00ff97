"""Changing what is there: accounts' switches, and webhooks that are edited, paused, resumed and deleted.

Gathers, decides and applies through ports, and writes down what is about to be done. What would change nothing is not
done, and leaves no entry.
"""

from __future__ import annotations

from collections.abc import Callable
from datetime import datetime
from functools import partial
from typing import Final

from router.application import queries
from router.application.audit import Auditor
from router.application.manage import typed_account_id
from router.domain.audit import AuditAction
from router.domain.edit import EditPlan, WebhookEdit, plan_edit, plan_switch
from router.domain.egress import EgressPolicy
from router.domain.errors import Conflict
from router.domain.version import ANY, Seen, check_seen
from router.domain.webhook import Webhook, WebhookId
from router.ports import Reader, Registry, StoredAccount

MAX_TRIES: Final = 5
"""Each lost one was somebody else's change."""


async def switch_account(
    reader: Reader,
    registry: Registry,
    account_id: object,
    *,
    webhooks_enabled: bool,
    audit: Auditor,
    seen: Seen = ANY,
) -> StoredAccount:
    """Switch an account's webhooks on or off.

    Raises InvalidInput for an id that is none, Outdated where the switch is none of what was `seen`.
    """
    wanted = StoredAccount(id=typed_account_id(account_id), webhooks_enabled=webhooks_enabled)
    stored = await queries.find_account(reader, wanted.id)
    check_seen(f"account {wanted.id}", stored.version, seen)

    # There are two states: whoever comes between reading and writing can only have done what is wanted here.
    if stored != wanted:
        await audit.note(
            AuditAction.ACCOUNT_SWITCHED, account_id=wanted.id, target=wanted.id, webhooks_enabled=webhooks_enabled
        )
        await registry.set_account(wanted.id, webhooks_enabled=webhooks_enabled)
    return wanted


async def edit_webhook(
    reader: Reader,
    registry: Registry,
    webhook_id: WebhookId,
    edit: WebhookEdit,
    *,
    country: str,
    egress: EgressPolicy,
    now: datetime,
    audit: Auditor,
    seen: Seen = ANY,
) -> tuple[str, ...] | None:
    """Change some fields of a webhook; the names of those that changed, none where it was like that already.

    None where there is no such webhook. A suspension stays: `resume_webhook` ends it. Raises InvalidInput for the first
    rule that the edit breaks, Outdated where the webhook is none of what was `seen`, Conflict where others change it
    again and again at the same moment.
    """

    def plan(webhook: Webhook) -> EditPlan:
        return plan_edit(webhook, edit, country=country, egress=egress, now=now)

    return await _change(reader, registry, webhook_id, plan, now=now, audit=audit, seen=seen)


async def pause_webhook(
    reader: Reader, registry: Registry, webhook_id: WebhookId, *, now: datetime, audit: Auditor, seen: Seen = ANY
) -> tuple[str, ...] | None:
    """Hold a webhook's deliveries until it is resumed. Answers and raises like `edit_webhook`."""
    plan = partial(plan_switch, enabled=False)
    return await _change(reader, registry, webhook_id, plan, now=now, audit=audit, seen=seen)


async def resume_webhook(
    reader: Reader, registry: Registry, webhook_id: WebhookId, *, now: datetime, audit: Auditor, seen: Seen = ANY
) -> bool:
    """Enable a webhook, and forget its suspension and failures. False where there is no such webhook.

    Raises Outdated and Conflict like `edit_webhook`.
    """
    if await audit.note_webhook(AuditAction.WEBHOOK_RESUMED, webhook_id, reader, seen) is None:
        return False

    # In this order a paused webhook never is enabled and suspended, which would fail the events of that moment.
    await registry.unsuspend(webhook_id)
    plan = partial(plan_switch, enabled=True)
    return await _change(reader, registry, webhook_id, plan, now=now, audit=None, seen=seen) is not None


async def delete_webhook(
    reader: Reader, registry: Registry, webhook_id: WebhookId, *, audit: Auditor, seen: Seen = ANY
) -> bool:
    """Delete a webhook; a running router then cancels what is pending. False where there is no such webhook.

    Raises Outdated where it is none of what was `seen`, Conflict like `edit_webhook`.
    """
    await audit.note_webhook(AuditAction.WEBHOOK_DELETED, webhook_id, reader, seen)
    return await registry.delete_webhook(webhook_id, seen=seen)


async def _change(
    reader: Reader,
    registry: Registry,
    webhook_id: WebhookId,
    plan_for: Callable[[Webhook], EditPlan],
    *,
    now: datetime,
    audit: Auditor | None,
    seen: Seen,
) -> tuple[str, ...] | None:
    """Plan a change on what is stored, and again on what others have made of it meanwhile.

    `audit` None: it is written down already.
    """
    for _ in range(MAX_TRIES):
        webhook = await reader.webhook(webhook_id)
        if webhook is None:
            return None
        # What is wrong in any case is said first (RFC 9110, 13.2.1).
        plan = plan_for(webhook)
        check_seen(f"webhook {webhook.id}", webhook.version, seen)

        if not plan.changed:
            return ()
        if audit is not None:
            await _note(plan, audit)
        if await registry.edit_webhook(plan, at=now):
            return plan.changed
    raise Conflict(f"webhook {webhook_id} is being changed by others; look at it, and try again")


async def _note(plan: EditPlan, audit: Auditor) -> None:
    """Who looks for pauses finds all of them, also those that came with other changes."""
    about = {"account_id": plan.after.account_id, "target": plan.after.id}
    others = [name for name in plan.changed if name != "enabled"]
    if others:
        await audit.note(AuditAction.WEBHOOK_EDITED, **about, fields=others)
    if "enabled" in plan.changed:
        await audit.note(AuditAction.WEBHOOK_RESUMED if plan.after.enabled else AuditAction.WEBHOOK_PAUSED, **about)
