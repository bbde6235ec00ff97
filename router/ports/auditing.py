"""The audit trail: who revealed, changed, replayed, exported or erased what. Types only."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Protocol

from router.domain.event import AccountId
from router.ports.reading import Position


@dataclass(frozen=True, slots=True, kw_only=True)
class AuditEntry:
    """One action. Holds no secret, number or payload: `details` are counts, ids and names of fields."""

    at: datetime
    actor: str
    """A `Principal.name`."""
    action: str
    """What was done, as `delivery.revealed` or `webhook.secret_rotated`: names from `docs/security.md`."""
    account_id: AccountId | None = None
    target: str | None = None
    """Id of what it was done to."""
    details: Mapping[str, str | int | bool | Sequence[str]] = field(default_factory=dict)


class AuditTrail(Protocol):
    """Where entries go, in order and for as long as `retention.audit_days` says."""

    async def write(self, entry: AuditEntry) -> None:
        """Store an entry durably. Raises DependencyUnavailable."""


@dataclass(frozen=True, slots=True, kw_only=True)
class AuditFilter:
    """Which entries to list; None leaves a dimension open. `from_` is inclusive and `to` exclusive."""

    account_id: AccountId | None = None
    action: str | None = None
    from_: datetime | None = None
    to: datetime | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class AuditRecord:
    """An entry as it is stored."""

    id: str
    entry: AuditEntry


class AuditReader(Protocol):
    """What people look up in the trail. Every method raises DependencyUnavailable."""

    async def entries(self, where: AuditFilter, *, after: Position | None, limit: int) -> Sequence[AuditRecord]:
        """Newest first."""

    async def count_entries(self, where: AuditFilter) -> int: ...


class AuditLog(AuditTrail, AuditReader, Protocol):
    """The trail, written and read."""
