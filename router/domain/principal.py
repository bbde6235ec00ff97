"""Who acts: a token with its scopes, for one account or for all of them. Values only."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum
from typing import Final

from router.domain.event import AccountId


class Scope(StrEnum):
    """What a token allows (contract, section 6). `admin` allows everything, tokens and privacy included."""

    READ = "read"
    REPLAY = "replay"
    MANAGE = "manage"
    ADMIN = "admin"


@dataclass(frozen=True, slots=True, kw_only=True)
class Principal:
    """Whoever sends a request. `name` is fit for logs and for the audit trail: `token:<id>`, `admin_token`,
    or `cli:<user>`."""

    name: str
    scopes: frozenset[Scope]
    account_id: AccountId | None = None
    """The only account that it sees; None: all of them."""

    def may(self, scope: Scope) -> bool:
        return Scope.ADMIN in self.scopes or scope in self.scopes

    def sees(self, account_id: str) -> bool:
        return self.account_id is None or self.account_id == account_id


ADMIN: Final = Principal(name="admin_token", scopes=frozenset({Scope.ADMIN}))
"""Whoever has `api.admin_token`."""
