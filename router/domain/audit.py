"""What the audit trail tells of: the actions of people and programs that see or change something. Values only."""

from __future__ import annotations

from enum import StrEnum


class AuditAction(StrEnum):
    """What was done; `docs/security.md` says when each is written."""

    DELIVERY_REVEALED = "delivery.revealed"
    EVENT_REVEALED = "event.revealed"
    CALL_REVEALED = "call.revealed"
    DEAD_LETTER_REVEALED = "dead_letter.revealed"
    DEAD_LETTER_REQUEUED = "dead_letter.requeued"
    DELIVERY_REPLAYED = "delivery.replayed"
    REPLAY_STARTED = "replay.started"
    REPLAY_CANCELLED = "replay.cancelled"
    EVENT_PUBLISHED = "event.published"
    ACCOUNT_SWITCHED = "account.switched"
    WEBHOOK_CREATED = "webhook.created"
    WEBHOOK_EDITED = "webhook.edited"
    WEBHOOK_PAUSED = "webhook.paused"
    WEBHOOK_RESUMED = "webhook.resumed"
    WEBHOOK_DELETED = "webhook.deleted"
    WEBHOOK_TESTED = "webhook.tested"
    WEBHOOK_SECRET_ROTATED = "webhook.secret_rotated"  # noqa: S105  no secret: what was done to one
    SECRETS_RESEALED = "secrets.resealed"
    SCHEMA_MIGRATED = "schema.migrated"
    TOKEN_CREATED = "token.created"  # noqa: S105
    TOKEN_REVOKED = "token.revoked"  # noqa: S105
    SESSION_OPENED = "session.opened"
    SESSION_CLOSED = "session.closed"
    PRIVACY_EXPORTED = "privacy.exported"
    PRIVACY_ERASED = "privacy.erased"
