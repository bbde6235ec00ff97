"""What managing definitions and dead letters calls. Types only."""

from __future__ import annotations

from datetime import datetime, timedelta
from typing import Protocol

from router.domain.edit import EditPlan
from router.domain.event import AccountId
from router.domain.signing import SigningKey
from router.domain.version import ANY, Seen
from router.domain.webhook import Webhook, WebhookId
from router.ports.delivering import MessageProperties


class Registry(Protocol):
    """Writes definitions as the back office would, and settles dead letters."""

    async def set_account(self, account_id: AccountId, *, webhooks_enabled: bool) -> None: ...

    async def add_webhook(self, webhook: Webhook, secret: str | None) -> str:
        """Its version. Raises InvalidInput where the id is taken."""

    async def edit_webhook(self, plan: EditPlan, *, at: datetime) -> bool:
        """Write the fields that `plan` changes, and `updated_at`, and nothing else. False where the definition is no
        longer the one that the plan was made for: then nothing is written."""

    async def rotate_secret(
        self, webhook_id: WebhookId, secret: str, *, at: datetime, overlap: timedelta, seen: Seen = ANY
    ) -> bool:
        """Put `secret` before the others, which end `overlap` after `at` (domain/signing.py, `rotate`). Of two at once
        none is lost: raises Conflict where others came first again and again. False where there is no such webhook,
        Outdated where it is none of what was `seen`."""

    async def set_signing_key(self, webhook_id: WebhookId, key: SigningKey, *, at: datetime, seen: Seen = ANY) -> bool:
        """Sign with `key` from now on, in place of any other. Answers and raises like `rotate_secret`."""

    async def unsuspend(self, webhook_id: WebhookId) -> bool:
        """Forget suspension and failures; False where there were none."""

    async def delete_webhook(self, webhook_id: WebhookId, *, seen: Seen = ANY) -> bool:
        """False where there was no such webhook. Raises like `rotate_secret`."""

    async def mark_requeued(self, letter_id: str, at: datetime) -> None: ...


class Publisher(Protocol):
    """Publishes to the broker with confirms; returns once the broker has taken the message."""

    async def publish(self, *, exchange: str, routing_key: str, body: bytes, properties: MessageProperties) -> None:
        """Raises DependencyUnavailable where the broker cannot be reached or no queue took the message."""
