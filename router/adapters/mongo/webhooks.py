"""Webhook documents in and out. A wrong one becomes a Webhook with its `problem`, never an exception: one bad
document must not blind the router to the others. The rules are the domain's; touches nothing.
"""

from __future__ import annotations

from dataclasses import replace
from datetime import datetime
from typing import Any, Final

from bson import ObjectId

from router.adapters.mongo.documents import Document, StoredDocument, optional_utc, utc
from router.domain.definition import RawDefinition, read_definition
from router.domain.webhook import (
    Suspension,
    SuspensionReason,
    TrackingNumberRestriction,
    UserRestriction,
    Webhook,
    WebhookId,
)

_INT64_MAX: Final = 2**63 - 1
LIFTED: Final = "recovering"
"""Field of a health document: the suspension that was lifted, until the first success."""


def spellings(identity: str) -> list[Any]:
    """Every `_id` that is shown as this text: back offices write integers and ObjectIds too."""
    found: list[Any] = [identity]
    if identity.isascii() and identity.isdigit() and len(identity) < 20 and str(int(identity)) == identity:
        found += [int(identity)] if int(identity) <= _INT64_MAX else []
    if ObjectId.is_valid(identity):
        found.append(ObjectId(identity))
    return found


def parse_webhook(document: StoredDocument, country: str) -> Webhook:
    """A definition from its document. Never raises: what is wrong becomes the webhook's `problem`."""
    definition = read_definition(_raw_definition(document), country)
    problems = [str(problem) for problem in definition.problems]
    if not isinstance(document["_id"], str):
        problems.insert(0, "_id: must be a string")
    return Webhook(
        id=WebhookId(str(document["_id"])),
        account_id=definition.account_id,
        name=_text_or_empty(document.get("name")),
        url=definition.url,
        event_type=definition.event_type,
        enabled=definition.enabled,
        restriction=definition.restriction,
        secrets=definition.secrets,
        headers=definition.headers,
        created_at=_time(document.get("created_at")),
        updated_at=_time(document.get("updated_at")),
        problem=problems[0] if problems else None,
    )


def _raw_definition(document: StoredDocument) -> RawDefinition:
    return RawDefinition(
        account_id=document.get("account_id"),
        url=document.get("url"),
        event_type=document.get("event_type"),
        enabled=document.get("enabled"),
        restrict_to=document.get("restrict_to"),
        secret=document.get("secret"),
        headers=document.get("headers"),
    )


def with_health(webhook: Webhook, health: StoredDocument | None) -> Webhook:
    """The definition with the router's own record of it: suspensions and failures."""
    if health is None:
        return webhook
    return replace(
        webhook,
        suspension=_suspension(health.get("suspended_at"), health.get("suspended_reason")),
        failing_since=optional_utc(health.get("failing_since")),
        recovering_from=_suspension(*(health.get(LIFTED, {}).get(key) for key in ("since", "reason"))),
    )


def _suspension(since: datetime | None, reason: str | None) -> Suspension | None:
    if since is None or reason is None:
        return None
    return Suspension(since=utc(since), reason=SuspensionReason(reason))


def _text_or_empty(value: object) -> str:
    return value if isinstance(value, str) else ""


def _time(value: object) -> datetime | None:
    return utc(value) if isinstance(value, datetime) else None


def webhook_document(webhook: Webhook, secret: str | None) -> Document:
    """A new definition as the back office would write it."""
    restrict_to: dict[str, Any] | None
    match webhook.restriction:
        case TrackingNumberRestriction(numbers=numbers):
            restrict_to = {"tracking_numbers": sorted(numbers)}
        case UserRestriction(user_id=user_id):
            restrict_to = {"user_id": user_id}
        case None:
            restrict_to = None
    document: Document = {
        "_id": webhook.id,
        "account_id": webhook.account_id,
        "name": webhook.name,
        "url": webhook.url,
        "event_type": webhook.event_type.value if webhook.event_type else None,
        "enabled": webhook.enabled,
        "restrict_to": restrict_to,
        "created_at": webhook.created_at,
        "updated_at": webhook.updated_at,
    }
    if webhook.headers:
        document["headers"] = dict(webhook.headers)
    if secret is not None:
        document["secret"] = secret
    return document
