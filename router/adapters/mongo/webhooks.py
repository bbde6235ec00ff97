"""Webhook documents in and out. A wrong one becomes a Webhook with its `problem`, never an exception: one bad
document must not blind the router to the others. The rules are the domain's; touches nothing.
"""

from __future__ import annotations

import re
from collections.abc import Collection
from dataclasses import replace
from datetime import datetime, timedelta
from typing import Any, Final, assert_never

from bson import ObjectId

from router.adapters.mongo.documents import Document, StoredDocument, optional_utc, utc
from router.adapters.mongo.sealing import opened
from router.domain.credentials import Auth, BasicAuth, BearerAuth, ClientCertificate, OAuth2Auth
from router.domain.definition import RawDefinition, read_definition
from router.domain.errors import InvalidInput
from router.domain.signing import format_signing_key, read_entries, rotate
from router.domain.webhook import (
    Suspension,
    SuspensionReason,
    TrackingNumberRestriction,
    UserRestriction,
    Webhook,
    WebhookId,
)
from router.ports import NO_KEYS, Vault

_INT64_MAX: Final = 2**63 - 1
_FIELD: Final = re.compile(r"[.\[]")
"""What follows the name of a field where only a part of it is meant."""
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


def parse_webhook(stored: StoredDocument, country: str, vault: Vault = NO_KEYS) -> Webhook:
    """A definition from its document. Never raises: what is wrong becomes the webhook's `problem`."""
    document, shut = opened(stored, vault)
    definition = read_definition(_raw_definition(document), country)
    problems = [*shut, *definition.problems]
    if not isinstance(document["_id"], str):
        problems.insert(0, InvalidInput("_id", "must be a string"))
    return Webhook(
        id=WebhookId(str(document["_id"])),
        account_id=definition.account_id,
        name=_text_or_empty(document.get("name")),
        url=definition.url,
        event_type=definition.event_type,
        enabled=definition.enabled,
        restriction=definition.restriction,
        secrets=definition.secrets,
        signing_key=definition.signing_key,
        headers=definition.headers,
        auth=definition.auth,
        client_certificate=definition.client_certificate,
        created_at=_time(document.get("created_at")),
        updated_at=_time(document.get("updated_at")),
        problem=str(problems[0]) if problems else None,
        wrong=frozenset(_FIELD.split(problem.field)[0] for problem in problems),
    )


def _raw_definition(document: StoredDocument) -> RawDefinition:
    return RawDefinition(
        account_id=document.get("account_id"),
        url=document.get("url"),
        event_type=document.get("event_type"),
        enabled=document.get("enabled"),
        restrict_to=document.get("restrict_to"),
        # These hold secrets.
        secret=document.get("secret"),
        signing_key=document.get("signing_key"),
        headers=document.get("headers"),
        auth=document.get("auth"),
        client_certificate=document.get("client_certificate"),
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
    return document | _secret_fields(webhook, secret)


def changed_fields(webhook: Webhook, names: Collection[str]) -> tuple[Document, Document]:
    """The fields of these names as the back office would write them, and those that it would take away."""
    document = webhook_document(webhook, None)
    return (
        {name: document[name] for name in names if name in document},
        {name: "" for name in names if name not in document},
    )


def _secret_fields(webhook: Webhook, secret: str | None) -> Document:
    """The fields that hold secrets, as far as the webhook has them."""
    fields: Document = {
        "secret": secret,
        "signing_key": format_signing_key(webhook.signing_key) if webhook.signing_key else None,
        "headers": dict(webhook.headers) or None,
        "auth": _auth_document(webhook.auth),
        "client_certificate": _certificate_document(webhook.client_certificate),
    }
    return {name: value for name, value in fields.items() if value is not None}


def _auth_document(auth: Auth | None) -> Document | None:
    match auth:
        case None:
            return None
        case BasicAuth():
            return {"type": "basic", "username": auth.username, "password": auth.password}
        case BearerAuth():
            return {"type": "bearer", "token": auth.token}
        case OAuth2Auth():
            return {
                "type": "oauth2",
                "token_url": auth.token_url,
                "client_id": auth.client_id,
                "client_secret": auth.client_secret,
                "scope": auth.scope,
                "client_authentication": auth.client_authentication.value,
            }
        case _:
            assert_never(auth)


def _certificate_document(certificate: ClientCertificate | None) -> Document | None:
    return None if certificate is None else {"certificate": certificate.certificate, "key": certificate.key}


# --- rotation --------------------------------------------------------------------------------------


def rotated_secret(stored: object, secret: str, *, now: datetime, overlap: timedelta) -> list[Document]:
    """The field `secret` after `secret` has become the newest. What is in `stored` moves as it is, sealed or not; what
    could never have signed is dropped."""
    try:
        entries = read_entries(stored)
    except ValueError:
        entries = []
    return [
        {"value": entry.value, "expires_at": entry.expires_at}
        for entry in rotate(entries, secret, now=now, overlap=overlap)
    ]
