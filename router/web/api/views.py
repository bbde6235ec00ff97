"""How each JSON object of the API is made from what the application answers. Pure."""

from __future__ import annotations

from base64 import b64encode
from dataclasses import fields
from datetime import timedelta
from typing import Any, assert_never

from router.application.queries import (
    CallReport,
    EventReport,
    LaterLine,
    Page,
    TraceLine,
    WebhookReport,
    encode_cursor,
    state_reason,
)
from router.application.tokens import NewToken
from router.domain.credentials import Auth, BasicAuth, BearerAuth, ClientCertificate, OAuth2Auth
from router.domain.delivery import Attempt, Delivery, ErrorDetail
from router.domain.headers import HIDDEN
from router.domain.matching import Verdict
from router.domain.principal import Scope
from router.domain.token import Token
from router.domain.webhook import Restriction, TrackingNumberRestriction, UserRestriction
from router.ports import AuditRecord, Position, StoredAccount, StoredDeadLetter
from router.web.api.access_objects import AuditObject, AuditPage, TokenObject, TokenPage, TokenWithText
from router.web.api.event_objects import (
    CallObject,
    DeadLetterDetail,
    DeadLetterObject,
    DeadLetterPage,
    EventObject,
    LaterObject,
    OtherWebhookObject,
    TraceObject,
)
from router.web.api.objects import (
    AccountObject,
    AttemptObject,
    BasicAuthObject,
    BearerAuthObject,
    ClientCertificateObject,
    CountsObject,
    DeliveryDetail,
    DeliveryObject,
    DeliveryPage,
    ErrorDetailObject,
    OAuth2AuthObject,
    RotatedWebhook,
    SecretObject,
    SigningObject,
    TrackingNumbersObject,
    UserObject,
    WebhookObject,
    WebhookPage,
    WebhookWithSecret,
)

# --- accounts and webhooks ---


def account_object(account: StoredAccount) -> AccountObject:
    return AccountObject(id=account.id, webhooks_enabled=account.webhooks_enabled)


def webhook_page(page: Page[WebhookReport]) -> WebhookPage:
    items = [webhook_object(report) for report in page.items]
    return WebhookPage(items=items, next_cursor=_cursor(page.next), total=page.total)


def webhook_object(report: WebhookReport) -> WebhookObject:
    webhook, counts = report.webhook, report.deliveries
    return WebhookObject(
        id=webhook.id,
        account_id=webhook.account_id,
        name=webhook.name,
        url=webhook.url,
        event_type=webhook.event_type,
        enabled=webhook.enabled,
        restrict_to=_restrict_to(webhook.restriction),
        headers={name: HIDDEN for name, _ in webhook.headers},
        auth=_auth(webhook.auth),
        client_certificate=_client_certificate(webhook.client_certificate),
        signing=SigningObject(
            secrets=[SecretObject(expires_at=secret.expires_at) for secret in webhook.secrets],
            public_key=webhook.signing_key.public_key if webhook.signing_key else None,
        ),
        state=webhook.state,
        state_reason=state_reason(webhook),
        deliveries=CountsObject(
            total=counts.total, delivered=counts.delivered, failed=counts.failed, pending=counts.pending
        ),
        created_at=webhook.created_at,
        updated_at=webhook.updated_at,
    )


def webhook_with_secret(report: WebhookReport, secret: str) -> WebhookWithSecret:
    return WebhookWithSecret(**_values(webhook_object(report)), secret=secret)


def rotated_webhook(report: WebhookReport, secret: str | None) -> RotatedWebhook:
    return RotatedWebhook(**_values(webhook_object(report)), secret=secret)


def _auth(auth: Auth | None) -> BasicAuthObject | BearerAuthObject | OAuth2AuthObject | None:
    match auth:
        case None:
            return None
        case BasicAuth():
            return BasicAuthObject(username=auth.username)
        case BearerAuth():
            return BearerAuthObject()
        case OAuth2Auth():
            return OAuth2AuthObject(
                token_url=auth.token_url,
                client_id=auth.client_id,
                scope=auth.scope,
                client_authentication=auth.client_authentication,
            )
        case _:
            assert_never(auth)


def _client_certificate(certificate: ClientCertificate | None) -> ClientCertificateObject | None:
    if certificate is None:
        return None
    return ClientCertificateObject(subject=certificate.subject, not_after=certificate.not_after)


def _restrict_to(restriction: Restriction | None) -> TrackingNumbersObject | UserObject | None:
    match restriction:
        case None:
            return None
        case TrackingNumberRestriction(numbers=numbers):
            return TrackingNumbersObject(tracking_numbers=sorted(numbers))
        case UserRestriction(user_id=user_id):
            return UserObject(user_id=user_id)
        case _:
            assert_never(restriction)


# --- deliveries ---


def delivery_page(page: Page[Delivery]) -> DeliveryPage:
    items = [delivery_object(delivery) for delivery in page.items]
    return DeliveryPage(items=items, next_cursor=_cursor(page.next), total=page.total)


def delivery_object(delivery: Delivery) -> DeliveryObject:
    return DeliveryObject(
        id=delivery.id,
        account_id=delivery.account_id,
        webhook_id=delivery.webhook_id,
        event_id=delivery.event_id,
        event_type=delivery.event_type,
        event_name=delivery.event_name,
        call_id=delivery.call_id,
        user_id=delivery.user_id,
        status=delivery.status,
        reason=delivery.reason,
        url=delivery.url,
        attempt_count=delivery.attempt_count,
        attempts=[attempt_object(attempt) for attempt in delivery.attempts],
        next_attempt_at=delivery.next_attempt_at,
        created_at=delivery.created_at,
        completed_at=delivery.completed_at,
    )


def delivery_detail(delivery: Delivery, payload: bytes | None) -> DeliveryDetail:
    return DeliveryDetail(**_values(delivery_object(delivery)), payload=_text(payload))


def attempt_object(attempt: Attempt) -> AttemptObject:
    return AttemptObject(
        number=attempt.number,
        trigger=attempt.trigger,
        started_at=attempt.started_at,
        duration_ms=attempt.duration_ms,
        status_code=attempt.status_code,
        error=attempt.error,
        response_body=attempt.response_body,
        response_truncated=attempt.response_truncated,
        error_detail=_error_detail_object(attempt.error_detail),
    )


def _error_detail_object(detail: ErrorDetail | None) -> ErrorDetailObject | None:
    return None if detail is None else ErrorDetailObject(kind=detail.kind, host=detail.host, at=detail.at)


# --- events and calls ---


def event_object(report: EventReport) -> EventObject:
    event = report.event
    return EventObject(
        id=event.event_id,
        account_id=event.account_id,
        type=event.type,
        name=event.name,
        call_id=event.call_id,
        user_id=event.user_id,
        sequence=event.sequence,
        tracking_number=event.tracking_number,
        occurred_at=event.occurred_at,
        received_at=event.received_at,
        upstream_ms=_milliseconds(report.upstream),
        source=event.source,
        account_enabled=event.account_enabled,
        payload=_text(event.payload),
        trace=[_trace_object(line) for line in report.trace],
        trace_truncated=event.trace_truncated,
        other_webhooks=[
            OtherWebhookObject(webhook_id=other.id, webhook_name=other.name, created_at=other.created_at)
            for other in report.others
        ],
        deliveries=[
            *(delivery_object(line.delivery) for line in report.trace if line.delivery),
            *(delivery_object(line.delivery) for line in report.later if line.delivery),
        ],
        replayed=[_later_object(line) for line in report.later],
    )


def call_object(report: CallReport) -> CallObject:
    return CallObject(
        account_id=report.account_id,
        call_id=report.call_id,
        events=[event_object(event) for event in report.events],
        events_truncated=report.is_truncated,
    )


def _trace_object(line: TraceLine) -> TraceObject:
    return TraceObject(
        webhook_id=line.webhook_id,
        webhook_name=line.webhook.name if line.webhook else None,
        webhook_state=line.webhook.state if line.webhook else None,
        matched=line.verdict is Verdict.MATCHED,
        verdict=line.verdict,
        delivery_id=line.delivery.id if line.delivery else None,
        delay_ms=_milliseconds(line.delay),
    )


def _later_object(line: LaterLine) -> LaterObject:
    return LaterObject(
        webhook_id=line.replayed.webhook_id,
        webhook_name=line.webhook.name if line.webhook else None,
        at=line.replayed.at,
        replay_id=line.replayed.replay_id,
        delivery_id=line.delivery.id if line.delivery else None,
    )


# --- dead letters ---


def dead_letter_page(page: Page[StoredDeadLetter]) -> DeadLetterPage:
    items = [dead_letter_object(letter) for letter in page.items]
    return DeadLetterPage(items=items, next_cursor=_cursor(page.next), total=page.total)


def dead_letter_object(letter: StoredDeadLetter) -> DeadLetterObject:
    return DeadLetterObject(
        id=letter.id,
        received_at=letter.received_at,
        source=letter.source,
        reason=letter.reason,
        detail=letter.detail,
        size=letter.size,
        content_type=letter.content_type,
        head=letter.head,
        requeued_at=letter.requeued_at,
    )


def dead_letter_detail(letter: StoredDeadLetter) -> DeadLetterDetail:
    body = b64encode(letter.raw.body).decode("ascii") if letter.raw else None
    return DeadLetterDetail(**_values(dead_letter_object(letter)), body=body)


# --- the audit trail ---


def audit_page(page: Page[AuditRecord]) -> AuditPage:
    items = [audit_object(record) for record in page.items]
    return AuditPage(items=items, next_cursor=_cursor(page.next), total=page.total)


def audit_object(record: AuditRecord) -> AuditObject:
    entry = record.entry
    return AuditObject(
        id=record.id,
        at=entry.at,
        actor=entry.actor,
        action=entry.action,
        account_id=entry.account_id,
        target=entry.target,
        details={name: value if isinstance(value, str | int) else list(value) for name, value in entry.details.items()},
    )


# --- tokens ---


def token_page(page: Page[Token]) -> TokenPage:
    items = [token_object(token) for token in page.items]
    return TokenPage(items=items, next_cursor=_cursor(page.next), total=page.total)


def token_object(token: Token) -> TokenObject:
    return TokenObject(
        id=token.id,
        prefix=token.prefix,
        name=token.name,
        scopes=[scope for scope in Scope if scope in token.scopes],
        account_id=token.account_id,
        created_at=token.created_at,
        created_by=token.created_by,
        expires_at=token.expires_at,
        last_used_at=token.last_used_at,
        revoked_at=token.revoked_at,
    )


def token_with_text(new: NewToken) -> TokenWithText:
    return TokenWithText(**_values(token_object(new.token)), token=new.text)


# --- parts ---


def _cursor(position: Position | None) -> str | None:
    return None if position is None else encode_cursor(position)


def _milliseconds(duration: timedelta | None) -> int | None:
    return None if duration is None else round(duration / timedelta(milliseconds=1))


def _text(payload: bytes | None) -> str | None:
    # Only valid JSON is stored as an event, and JSON is UTF-8: nothing is replaced here.
    return None if payload is None else payload.decode("utf-8", "replace")


def _values(shape: Any) -> dict[str, Any]:
    """The fields of a dataclass as they are, for the larger shape that has them all."""
    return {field.name: getattr(shape, field.name) for field in fields(shape)}
