"""Tokens for tests, stored as the router stores them."""

from __future__ import annotations

import secrets
from dataclasses import dataclass
from datetime import datetime

from router.domain.event import AccountId
from router.domain.principal import Scope
from router.domain.token import (
    ID_BYTES,
    SECRET_BYTES,
    Token,
    TokenId,
    digest,
    new_secret,
    new_token_id,
    write_token,
)
from router.ports import TokenStore
from tests.support.samples import NOON


@dataclass(frozen=True, slots=True)
class OwnToken:
    """A stored token, and what its owner sends."""

    token: Token
    text: str

    @property
    def id(self) -> TokenId:
        return self.token.id

    @property
    def headers(self) -> dict[str, str]:
        return {"Authorization": f"Bearer {self.text}"}


def new_token(
    *scopes: Scope,
    account: str | None = None,
    created_at: datetime = NOON,
    expires_at: datetime | None = None,
    revoked_at: datetime | None = None,
) -> OwnToken:
    """A token that is not stored yet; without scopes it has them all."""
    secret = new_secret(secrets.token_bytes(SECRET_BYTES))
    token = Token(
        id=new_token_id(secrets.token_bytes(ID_BYTES)),
        name="a test",
        scopes=frozenset(scopes or {Scope.ADMIN}),
        account_id=None if account is None else AccountId(account),
        digest=digest(secret),
        created_at=created_at,
        created_by="cli:tests",
        expires_at=expires_at,
        revoked_at=revoked_at,
    )
    return OwnToken(token, write_token(token.id, secret))


async def store_token(
    store: TokenStore,
    *scopes: Scope,
    account: str | None = None,
    expires_at: datetime | None = None,
    revoked_at: datetime | None = None,
) -> OwnToken:
    own = new_token(*scopes, account=account, expires_at=expires_at, revoked_at=revoked_at)
    assert await store.add(own.token)
    return own
