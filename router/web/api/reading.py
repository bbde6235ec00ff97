"""The endpoints that look things up. They change nothing."""

from __future__ import annotations

from typing import Final

from router.application import queries
from router.domain.audit import AuditAction
from router.domain.delivery import DeliveryId
from router.domain.event import AccountId
from router.domain.principal import Scope
from router.domain.webhook import WebhookId
from router.web.api import views
from router.web.api.access_objects import AuditPage
from router.web.api.endpoints import Api, Call, Endpoint, Tagged, endpoint
from router.web.api.event_objects import CallObject, DeadLetterDetail, DeadLetterPage, EventObject
from router.web.api.objects import AccountObject, DeliveryDetail, DeliveryPage, WebhookObject, WebhookPage
from router.web.api.params import AccountQuery, AuditQuery, DeliveryQuery, NoQuery, PageQuery, WebhookQuery


@endpoint("GET", "/v1/accounts/{id}", Scope.READ)
async def get_account(api: Api, call: Call[NoQuery, None]) -> Tagged[AccountObject]:
    """Whether an account's webhooks are switched on.

    The platform keeps the accounts, the router only their switch: one that was never set is off, and no error.
    """
    account = await queries.find_account(api.reader, AccountId(call.id))
    return Tagged(answer=views.account_object(account), version=account.version)


@endpoint("GET", "/v1/webhooks", Scope.READ)
async def list_webhooks(api: Api, call: Call[WebhookQuery, None]) -> WebhookPage:
    """List webhooks, the newest first.

    Those whose creation has no date come last.
    """
    return views.webhook_page(await queries.list_webhooks(api.reader, call.query.filter(), call.query.page()))


@endpoint("GET", "/v1/webhooks/{id}", Scope.READ, missing="no webhook has this id")
async def get_webhook(api: Api, call: Call[NoQuery, None]) -> Tagged[WebhookObject] | None:
    """Show a webhook, its state and how its deliveries went."""
    report = await queries.find_webhook(api.reader, WebhookId(call.id))
    return Tagged(answer=views.webhook_object(report), version=report.webhook.version) if report else None


@endpoint("GET", "/v1/deliveries", Scope.READ)
async def list_deliveries(api: Api, call: Call[DeliveryQuery, None]) -> DeliveryPage:
    """List deliveries, the newest first."""
    where = call.query.filter(api.country)
    return views.delivery_page(await queries.list_deliveries(api.reader, where, call.query.page()))


@endpoint("GET", "/v1/deliveries/{id}", Scope.READ, missing="no delivery has this id")
async def get_delivery(api: Api, call: Call[NoQuery, None]) -> DeliveryDetail | None:
    """Show a delivery with its payload and every attempt."""
    found = await api.reader.delivery(DeliveryId(call.id))
    if found is None:
        return None
    delivery, payload = found
    await call.audit.note(AuditAction.DELIVERY_REVEALED, account_id=delivery.account_id, target=delivery.id)
    return views.delivery_detail(delivery, payload)


@endpoint("GET", "/v1/events/{id}", Scope.READ, missing="the account has no event with this id")
async def get_event(api: Api, call: Call[AccountQuery, None]) -> EventObject | None:
    """Show an event: what was received, which webhooks matched, which did not and why, and each delivery."""
    report = await queries.event_report(api.reader, AccountId(call.query.account_id), call.id)
    if report is None:
        return None
    await call.audit.note(AuditAction.EVENT_REVEALED, account_id=call.query.account_id, target=call.id)
    return views.event_object(report)


@endpoint("GET", "/v1/calls/{call_id}", Scope.READ, missing="the account has no event of this call")
async def get_call(api: Api, call: Call[AccountQuery, None]) -> CallObject | None:
    """Show a conversation: its events in the order of reception, each with its webhooks and deliveries."""
    report = await queries.call_report(api.reader, AccountId(call.query.account_id), call.id)
    if report is None:
        return None
    await call.audit.note(
        AuditAction.CALL_REVEALED, account_id=call.query.account_id, target=call.id, events=len(report.events)
    )
    return views.call_object(report)


@endpoint("GET", "/v1/dead-letters", Scope.READ)
async def list_dead_letters(api: Api, call: Call[PageQuery, None]) -> DeadLetterPage:
    """List the messages that could not be understood, the newest first."""
    page = await queries.list_dead_letters(api.reader, call.query.page())
    if page.items:  # each shows the beginning of its message
        await call.audit.note(AuditAction.DEAD_LETTER_REVEALED, listed=len(page.items))
    return views.dead_letter_page(page)


@endpoint("GET", "/v1/dead-letters/{id}", Scope.READ, missing="no dead letter has this id")
async def get_dead_letter(api: Api, call: Call[NoQuery, None]) -> DeadLetterDetail | None:
    """Show a dead letter with the message itself."""
    letter = await api.reader.dead_letter(call.id)
    if letter is None:
        return None
    await call.audit.note(AuditAction.DEAD_LETTER_REVEALED, target=letter.id)
    return views.dead_letter_detail(letter)


@endpoint("GET", "/v1/audit", Scope.ADMIN)
async def list_audit(api: Api, call: Call[AuditQuery, None]) -> AuditPage:
    """List who saw or changed what, the newest first."""
    where = call.query.filter()
    return views.audit_page(await queries.list_audit(api.audit, where, call.query.page()))


READING: Final[tuple[Endpoint, ...]] = (
    get_account,
    list_webhooks,
    get_webhook,
    list_deliveries,
    get_delivery,
    get_event,
    get_call,
    list_dead_letters,
    get_dead_letter,
    list_audit,
)
