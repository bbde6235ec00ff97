"""Who is signed in to the console: opens sessions, recognises them, ends them.

A session is worth no more than the token that opened it, so the token is asked for again at each request.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field, replace
from datetime import datetime
from hmac import compare_digest

from router.application.manage import Randomness
from router.application.token_book import TokenBook
from router.domain.principal import ADMIN, Principal
from router.domain.session import (
    ID_BYTES,
    SEEN_PRECISION,
    Session,
    admin_proof,
    is_session_id,
    session_key,
    write_session_id,
)
from router.domain.token import TokenId
from router.ports import SessionStore


@dataclass(frozen=True, slots=True, kw_only=True)
class SignedIn:
    """A session that counts, and who has it."""

    id: str = field(repr=False)
    principal: Principal


class Sessions:
    """The sessions of one store. `admin_digest` is SHA-256 of the admin token; None where there is none."""

    def __init__(
        self,
        store: SessionStore,
        tokens: TokenBook,
        admin_digest: bytes | None,
        now: Callable[[], datetime],
        randomness: Randomness,
    ) -> None:
        self._store = store
        self._tokens = tokens
        self._admin_digest = admin_digest
        self._now = now
        self._randomness = randomness

    async def open(self, token_id: TokenId | None) -> str:
        """A new session for whoever has shown this token; None: the admin token. Its id, which is not kept."""
        session_id, now = write_session_id(self._randomness(ID_BYTES)), self._now()
        session = Session(
            key=session_key(session_id),
            token_id=token_id,
            admin_proof=self._proof(session_id) if token_id is None else None,
            created_at=now,
            seen_at=now,
        )
        await self._store.add(session)
        return session_id

    async def find(self, session_id: str) -> SignedIn | None:
        """Whose session it is; None where it is over, or the token that opened it. Raises DependencyUnavailable."""
        if not is_session_id(session_id):
            return None
        session, now = await self._store.find(session_key(session_id)), self._now()
        if session is None or session.is_over(now):
            return None
        principal = await self._principal(session_id, session)
        if principal is None:
            return None

        if now - session.seen_at >= SEEN_PRECISION:
            seen = replace(session, seen_at=now)
            await self._store.note_seen(seen.key, at=now, expire_at=seen.expire_at)
        return SignedIn(id=session_id, principal=principal)

    async def close(self, session_id: str) -> None:
        """End a session, where there is such a one."""
        if is_session_id(session_id):
            await self._store.remove(session_key(session_id))

    async def _principal(self, session_id: str, session: Session) -> Principal | None:
        if session.token_id is not None:
            found = await self._tokens.holder(session.token_id)
            return found if isinstance(found, Principal) else None
        # One that was changed or taken away since lets nobody in.
        kept, now = session.admin_proof, self._proof(session_id)
        return ADMIN if kept is not None and now is not None and compare_digest(kept, now) else None

    def _proof(self, session_id: str) -> str | None:
        return None if self._admin_digest is None else admin_proof(session_id, self._admin_digest)
