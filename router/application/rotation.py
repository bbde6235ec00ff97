"""New keys for a webhook's signatures: a secret beside the old ones, an ed25519 key in place of the old one.

Draws the keys, and applies them through the registry once that is written down.
"""

from __future__ import annotations

from datetime import datetime, timedelta

from router.application.audit import Auditor
from router.application.manage import Randomness
from router.domain.audit import AuditAction
from router.domain.errors import InvalidInput
from router.domain.signing import MAX_OVERLAP, SECRET_BYTES, SEED_BYTES, SigningKey, format_secret
from router.domain.version import ANY, Seen
from router.domain.webhook import WebhookId
from router.ports import Reader, Registry


async def rotate_secret(
    reader: Reader,
    registry: Registry,
    webhook_id: WebhookId,
    *,
    overlap: timedelta,
    randomness: Randomness,
    now: datetime,
    audit: Auditor,
    seen: Seen = ANY,
) -> str | None:
    """Give a webhook a new secret, beside which the old ones sign for `overlap` more; the secret, to be shown once.

    None where there is no such webhook. Raises InvalidInput for an overlap that is out of bounds, Outdated where the
    webhook is none of what was `seen`, Conflict where others rotate it at the same moment.
    """
    if not timedelta(0) <= overlap <= MAX_OVERLAP:
        longest = int(MAX_OVERLAP.total_seconds())
        raise InvalidInput("overlap_seconds", f"must be a number of seconds from 0 to {longest}")
    secret = format_secret(randomness(SECRET_BYTES))

    await audit.note_webhook(AuditAction.WEBHOOK_SECRET_ROTATED, webhook_id, reader, seen)
    is_there = await registry.rotate_secret(webhook_id, secret, at=now, overlap=overlap, seen=seen)
    return secret if is_there else None


async def renew_signing_key(
    reader: Reader,
    registry: Registry,
    webhook_id: WebhookId,
    *,
    randomness: Randomness,
    now: datetime,
    audit: Auditor,
    seen: Seen = ANY,
) -> bool:
    """Give a webhook a new ed25519 key, its first or in place of the old one. False where there is no such webhook.

    Raises like `rotate_secret`.
    """
    key = SigningKey(randomness(SEED_BYTES))

    await audit.note_webhook(AuditAction.WEBHOOK_SECRET_ROTATED, webhook_id, reader, seen)
    return await registry.set_signing_key(webhook_id, key, at=now, seen=seen)
