"""API tokens: made and revoked. A principal of one account sees and makes those of its account only."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass, field
from datetime import datetime
from typing import Final

from router.application.manage import Randomness, typed_account_id
from router.domain.audit import AuditAction
from router.domain.definition import check_name
from router.domain.errors import DependencyUnavailable, InvalidInput, OutOfSight
from router.domain.principal import Principal
from router.domain.token import (
    ID_BYTES,
    SECRET_BYTES,
    Token,
    TokenId,
    check_scopes,
    digest,
    new_secret,
    new_token_id,
    write_token,
)
from router.ports import AuditEntry, AuditTrail, TokenStore

_TRIES: Final = 5
"""Ids that are drawn before one is free: with a million tokens, one in 200 million is taken."""


@dataclass(frozen=True, slots=True, kw_only=True)
class TokenDraft:
    """A token that somebody wants, as it was written; nothing of it is checked yet. `account_id` None: of the account
    of whoever makes it, and global where that is."""

    name: object
    scopes: Collection[object]
    account_id: object = None
    expires_at: datetime | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class NewToken:
    """A token that was stored, and its text in the only moment in which it may be shown."""

    token: Token
    text: str = field(repr=False)


async def create_token(
    store: TokenStore, audit: AuditTrail, by: Principal, draft: TokenDraft, *, randomness: Randomness, now: datetime
) -> NewToken:
    """Store a new token. Raises InvalidInput for the first rule that the draft breaks, OutOfSight for the account of
    others."""
    secret = new_secret(randomness(SECRET_BYTES))
    account_id = by.account_id if draft.account_id is None else typed_account_id(draft.account_id)
    if by.account_id not in (None, account_id):
        raise OutOfSight
    if draft.expires_at is not None and draft.expires_at <= now:
        raise InvalidInput("expires_at", "must be in the future")
    for _ in range(_TRIES):
        token = Token(
            id=new_token_id(randomness(ID_BYTES)),
            name=check_name(draft.name),
            scopes=check_scopes(draft.scopes),
            account_id=account_id,
            digest=digest(secret),
            created_at=now,
            created_by=by.name,
            expires_at=draft.expires_at,
        )
        # First, as with everything that is audited: nothing that may fail stands between storing and showing it.
        await audit.write(_entry(AuditAction.TOKEN_CREATED, token, by, now))
        if await store.add(token):
            return NewToken(token=token, text=write_token(token.id, secret))
    raise DependencyUnavailable("no id is free for a new token")


async def revoke_token(
    store: TokenStore, audit: AuditTrail, by: Principal, token_id: TokenId, *, now: datetime
) -> Token | None:
    """End a token; one that is revoked stays so. The token as it was; None where the principal sees no such one."""
    token = await store.find(token_id)
    if token is None or (by.account_id is not None and token.account_id != by.account_id):
        return None

    if token.revoked_at is None:
        await audit.write(_entry(AuditAction.TOKEN_REVOKED, token, by, now))
        await store.revoke(token_id, now)
    return token


def _entry(action: AuditAction, token: Token, by: Principal, now: datetime) -> AuditEntry:
    details = {"scopes": sorted(scope.value for scope in token.scopes)}
    return AuditEntry(
        at=now, actor=by.name, action=action.value, account_id=token.account_id, target=token.id, details=details
    )
