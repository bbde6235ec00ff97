"""The endpoints that change something: accounts' switches, webhooks, and dead letters that are sent again."""

from __future__ import annotations

from datetime import timedelta
from typing import Final

from router.application import manage, queries, rotation
from router.application.queries import WebhookReport
from router.domain.audit import AuditAction
from router.domain.event import AccountId
from router.domain.principal import Scope
from router.domain.webhook import WebhookId
from router.ports import DeliveryCounts
from router.web.api import views
from router.web.api.bodies import AccountSwitch, NewWebhook, Rotation, WebhookChange
from router.web.api.endpoints import Api, Call, Endpoint, endpoint
from router.web.api.objects import AccountObject, DeadLetterObject, RotatedWebhook, WebhookObject, WebhookWithSecret
from router.web.api.params import NoQuery

_NO_WEBHOOK: Final = "no webhook has this id"


@endpoint("PUT", "/v1/accounts/{id}", Scope.MANAGE)
async def set_account(api: Api, call: Call[NoQuery, AccountSwitch]) -> AccountObject:
    """Switch an account's webhooks on or off."""
    enabled = call.body.webhooks_enabled
    await call.audit.note(AuditAction.ACCOUNT_SWITCHED, account_id=call.id, target=call.id, webhooks_enabled=enabled)
    return views.account_object(await manage.set_account(api.registry, AccountId(call.id), webhooks_enabled=enabled))


@endpoint("POST", "/v1/webhooks", Scope.MANAGE, status=201)
async def create_webhook(api: Api, call: Call[NoQuery, NewWebhook]) -> WebhookWithSecret:
    """Create a webhook.

    The answer shows its `secret`, with which requests are signed, for the only time.
    """
    new = await manage.add_webhook(
        api.registry,
        call.body.draft(),
        country=api.country,
        egress=api.egress,
        randomness=api.randomness,
        now=api.now(),
        audit=call.audit,
    )
    return views.webhook_with_secret(WebhookReport(webhook=new.webhook, deliveries=DeliveryCounts()), new.secret)


@endpoint("PATCH", "/v1/webhooks/{id}", Scope.MANAGE, missing=_NO_WEBHOOK)
async def change_webhook(api: Api, call: Call[NoQuery, WebhookChange]) -> WebhookObject | None:
    """Pause a webhook, or end its pause."""
    action = AuditAction.WEBHOOK_RESUMED if call.body.enabled else AuditAction.WEBHOOK_PAUSED
    await call.audit.note_webhook(action, WebhookId(call.id), api.reader)
    await api.registry.set_enabled(WebhookId(call.id), enabled=call.body.enabled, at=api.now())
    return await _shown(api, call.id)


@endpoint("DELETE", "/v1/webhooks/{id}", Scope.MANAGE, status=204, missing=_NO_WEBHOOK)
async def delete_webhook(api: Api, call: Call[NoQuery, None]) -> bool:
    """Delete a webhook.

    Its pending deliveries are cancelled; its log is kept.
    """
    await call.audit.note_webhook(AuditAction.WEBHOOK_DELETED, WebhookId(call.id), api.reader)
    return await manage.delete_webhook(api.registry, WebhookId(call.id))


@endpoint("POST", "/v1/webhooks/{id}/resume", Scope.MANAGE, missing=_NO_WEBHOOK)
async def resume_webhook(api: Api, call: Call[NoQuery, None]) -> WebhookObject | None:
    """Enable a webhook and forget its suspension."""
    await call.audit.note_webhook(AuditAction.WEBHOOK_RESUMED, WebhookId(call.id), api.reader)
    await manage.resume_webhook(api.registry, WebhookId(call.id), now=api.now())
    return await _shown(api, call.id)


@endpoint("POST", "/v1/webhooks/{id}/rotate-secret", Scope.MANAGE, missing=_NO_WEBHOOK, may_conflict=True)
async def rotate_secret(api: Api, call: Call[NoQuery, Rotation]) -> RotatedWebhook | None:
    """Give a webhook a new secret.

    The answer shows it for the only time. Requests carry signatures of the old secrets too until the overlap is over.
    """
    webhook_id, body, secret = WebhookId(call.id), call.body, None
    await call.audit.note_webhook(AuditAction.WEBHOOK_SECRET_ROTATED, webhook_id, api.reader)
    if body.asymmetric:
        await rotation.renew_signing_key(api.registry, webhook_id, randomness=api.randomness, now=api.now())
    else:
        chosen = body.overlap_seconds
        overlap = api.rotation_overlap if chosen is None else timedelta(seconds=chosen)
        secret = await rotation.rotate_secret(
            api.registry, webhook_id, overlap=overlap, randomness=api.randomness, now=api.now()
        )
    report = await queries.find_webhook(api.reader, webhook_id)
    return views.rotated_webhook(report, secret) if report else None


@endpoint("POST", "/v1/dead-letters/{id}/requeue", Scope.MANAGE, status=202, missing="no dead letter has this id")
async def requeue_dead_letter(api: Api, call: Call[NoQuery, None]) -> DeadLetterObject | None:
    """Send a dead letter, byte for byte, to the queue that it came from."""
    letter = await manage.requeue_dead_letter(
        api.reader,
        api.registry,
        api.publisher,
        call.id,
        queue_of_source=api.queue_of_source,
        now=api.now(),
        audit=call.audit,
    )
    return views.dead_letter_object(letter) if letter else None


async def _shown(api: Api, webhook_id: str) -> WebhookObject | None:
    report = await queries.find_webhook(api.reader, WebhookId(webhook_id))
    return views.webhook_object(report) if report else None


MANAGING: Final[tuple[Endpoint, ...]] = (
    set_account,
    create_webhook,
    change_webhook,
    delete_webhook,
    resume_webhook,
    rotate_secret,
    requeue_dead_letter,
)
