"""Secrets at rest: text that is stored sealed, and bound to the place that it is stored in. Types only."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol

from router.domain.event import AccountId
from router.domain.webhook import WebhookId


@dataclass(frozen=True, slots=True, kw_only=True)
class Place:
    """Where a secret belongs: a field of one webhook of one account, as `auth.token` or `headers.x-api-key`."""

    account_id: AccountId
    webhook_id: WebhookId
    field: str


class Vault(Protocol):
    """Seals texts with a key that the store does not have, and opens them at the place that they were sealed for."""

    def seal(self, text: str, place: Place) -> str:
        """`text` sealed for `place`; as it is, where there is no key."""

    def open(self, stored: str, place: Place) -> str:
        """The text in `stored`; a text that is not sealed comes back as it is. Raises ValueError, which never quotes
        it, where its key is missing or it was sealed for another place."""
