"""Secrets at rest: text that is stored sealed, and bound to the place that it is stored in. Types, and the vault of
an installation that has no key.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Final, Protocol

from router.domain.event import AccountId
from router.domain.sealed import is_sealed, read_sealed
from router.domain.webhook import WebhookId


@dataclass(frozen=True, slots=True, kw_only=True)
class Place:
    """Where a secret belongs: a field of one webhook of one account, as `auth.token` or `headers.x-api-key`."""

    account_id: AccountId
    webhook_id: WebhookId
    field: str


class Vault(Protocol):
    """Seals texts with a key that the store does not have, and opens them at the place that they were sealed for."""

    @property
    def key_ids(self) -> Sequence[str]:
        """Ids of the keys that open; the first one seals. None of them: there is no key."""

    def seal(self, text: str, place: Place) -> str:
        """`text` sealed for `place`; as it is, where there is no key."""

    def open(self, stored: str, place: Place) -> str:
        """The text in `stored`; a text that is not sealed comes back as it is. Raises ValueError, which never quotes
        it, where its key is missing or it was sealed for another place."""


class _NoKeys:
    """A Vault without a key: nothing is sealed, and what is sealed stays shut."""

    key_ids: Sequence[str] = ()

    def seal(self, text: str, place: Place) -> str:
        return text

    def open(self, stored: str, place: Place) -> str:
        if not is_sealed(stored):
            return stored
        key_id, _ = read_sealed(stored)
        raise ValueError(f"is sealed with key {key_id!r}, and there is no key file")


NO_KEYS: Final[Vault] = _NoKeys()


@dataclass(frozen=True, slots=True, kw_only=True)
class SecretCounts:
    """How the secrets of all webhooks are stored, in values: a webhook can have several."""

    by_key: Mapping[str, int]
    """Sealed ones by the id of their key."""
    plain: int
    unopened: int
    """Values that say that they are sealed and that cannot be opened here."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Resealing:
    """What was sealed with the active key so far, in webhooks."""

    sealed: int = 0
    changed_meanwhile: int = 0
    """Somebody else wrote them first, so they were left as they are."""
    refused: int = 0
    """The store does not take the sealed form: a validator of the collection, or a document that is full."""

    def __add__(self, other: Resealing) -> Resealing:
        return Resealing(
            sealed=self.sealed + other.sealed,
            changed_meanwhile=self.changed_meanwhile + other.changed_meanwhile,
            refused=self.refused + other.refused,
        )


class SecretStore(Protocol):
    """The secrets of every webhook, for whoever keeps the keys."""

    @property
    def key_ids(self) -> Sequence[str]:
        """As those of the vault."""

    async def count(self) -> SecretCounts:
        """Raises DependencyUnavailable."""

    def reseal_all(self) -> AsyncIterator[Resealing]:
        """Seal what is plain or sealed with another key than the active one, batch by batch; each item is the sum so
        far. It may be broken off and repeated at any point. Raises DependencyUnavailable."""
