"""Where API tokens are kept. Types only."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Protocol

from router.domain.event import AccountId
from router.domain.token import Token, TokenId
from router.ports.reading import Position


class TokenStore(Protocol):
    """Tokens by id. Every method raises DependencyUnavailable where the store does not answer in time."""

    async def add(self, token: Token) -> bool:
        """Store a new token. False where its id is taken."""

    async def find(self, token_id: TokenId) -> Token | None: ...

    async def tokens(self, *, account_id: AccountId | None, after: Position | None, limit: int) -> Sequence[Token]:
        """Newest first, those that are over too; `account_id` None: those of every account, and global ones."""

    async def count_tokens(self, *, account_id: AccountId | None) -> int: ...

    async def revoke(self, token_id: TokenId, at: datetime) -> None:
        """End a token, where there is such a one that has not ended before."""

    async def note_uses(self, uses: Mapping[TokenId, datetime]) -> None:
        """Remember when tokens were last used. One whose last use is known to be within a minute stays as it is."""
