"""The endpoints that change something: accounts' switches, webhooks, and dead letters that are sent again."""

from __future__ import annotations

from datetime import timedelta
from functools import partial
from typing import Final

from router.application import editing, manage, queries, rotation
from router.application.queries import WebhookReport
from router.domain.principal import Scope
from router.domain.webhook import WebhookId
from router.ports import DeliveryCounts
from router.web.api import views
from router.web.api.bodies import AccountSwitch, NewWebhook, Rotation, WebhookChange
from router.web.api.endpoints import Api, Call, Endpoint, Tagged, endpoint
from router.web.api.event_objects import DeadLetterObject
from router.web.api.objects import AccountObject, RotatedWebhook, WebhookObject, WebhookWithSecret
from router.web.api.params import NoQuery

_NO_WEBHOOK: Final = "no webhook has this id"


@endpoint("PUT", "/v1/accounts/{id}", Scope.MANAGE, conditional=True)
async def set_account(api: Api, call: Call[NoQuery, AccountSwitch]) -> Tagged[AccountObject]:
    """Switch an account's webhooks on or off."""
    account = await editing.switch_account(
        api.reader,
        api.registry,
        call.id,
        webhooks_enabled=call.body.webhooks_enabled,
        audit=call.audit,
        seen=call.seen,
    )
    return Tagged(answer=views.account_object(account), version=account.version)


@endpoint("POST", "/v1/webhooks", Scope.MANAGE, status=201)
async def create_webhook(api: Api, call: Call[NoQuery, NewWebhook]) -> Tagged[WebhookWithSecret]:
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
    report = WebhookReport(webhook=new.webhook, deliveries=DeliveryCounts())
    return Tagged(answer=views.webhook_with_secret(report, new.secret), version=new.webhook.version)


@endpoint("PATCH", "/v1/webhooks/{id}", Scope.MANAGE, missing=_NO_WEBHOOK, may_conflict=True, conditional=True)
async def change_webhook(api: Api, call: Call[NoQuery, WebhookChange]) -> Tagged[WebhookObject] | None:
    """Change some fields of a webhook.

    What is left out stays, null takes away. The same change twice is one change: `updated_at` moves once. A suspension
    stays, whatever is changed: `POST /v1/webhooks/{id}/resume` ends it.
    """
    await editing.edit_webhook(
        api.reader,
        api.registry,
        WebhookId(call.id),
        call.body.edit(),
        country=api.country,
        egress=api.egress,
        now=api.now(),
        audit=call.audit,
        seen=call.seen,
    )
    return await _shown(api, call.id)


@endpoint(
    "DELETE", "/v1/webhooks/{id}", Scope.MANAGE, status=204, missing=_NO_WEBHOOK, may_conflict=True, conditional=True
)
async def delete_webhook(api: Api, call: Call[NoQuery, None]) -> bool:
    """Delete a webhook.

    Its pending deliveries are cancelled; its log is kept. One that is gone already is a 404, and as deleted as before.
    """
    return await editing.delete_webhook(api.reader, api.registry, WebhookId(call.id), audit=call.audit, seen=call.seen)


@endpoint("POST", "/v1/webhooks/{id}/resume", Scope.MANAGE, missing=_NO_WEBHOOK, may_conflict=True, conditional=True)
async def resume_webhook(api: Api, call: Call[NoQuery, None]) -> Tagged[WebhookObject] | None:
    """Enable a webhook and forget its suspension."""
    await editing.resume_webhook(
        api.reader, api.registry, WebhookId(call.id), now=api.now(), audit=call.audit, seen=call.seen
    )
    return await _shown(api, call.id)


@endpoint(
    "POST", "/v1/webhooks/{id}/rotate-secret", Scope.MANAGE, missing=_NO_WEBHOOK, may_conflict=True, conditional=True
)
async def rotate_secret(api: Api, call: Call[NoQuery, Rotation]) -> Tagged[RotatedWebhook] | None:
    """Give a webhook a new secret.

    The answer shows it for the only time. Requests carry signatures of the old secrets too until the overlap is over.
    """
    chosen = call.body.overlap_seconds
    renew = (
        rotation.renew_signing_key
        if call.body.asymmetric
        else partial(
            rotation.rotate_secret, overlap=api.rotation_overlap if chosen is None else timedelta(seconds=chosen)
        )
    )
    made = await renew(
        api.reader,
        api.registry,
        WebhookId(call.id),
        randomness=api.randomness,
        now=api.now(),
        audit=call.audit,
        seen=call.seen,
    )
    report = await queries.find_webhook(api.reader, WebhookId(call.id))
    if report is None:
        return None
    secret = made if isinstance(made, str) else None
    return Tagged(answer=views.rotated_webhook(report, secret), version=report.webhook.version)


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


async def _shown(api: Api, webhook_id: str) -> Tagged[WebhookObject] | None:
    report = await queries.find_webhook(api.reader, WebhookId(webhook_id))
    return Tagged(answer=views.webhook_object(report), version=report.webhook.version) if report else None


MANAGING: Final[tuple[Endpoint, ...]] = (
    set_account,
    create_webhook,
    change_webhook,
    delete_webhook,
    resume_webhook,
    rotate_secret,
    requeue_dead_letter,
)
