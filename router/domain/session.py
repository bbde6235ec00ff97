"""Sessions of the console: what is kept of one, and when it is over. Values and rules only.

A session id is 32 random bytes that only the browser has. What is kept is its hash, so whoever reads the store can
neither use a session nor forge the token of its forms, which is derived from the id.
"""

from __future__ import annotations

import re
from base64 import urlsafe_b64encode
from dataclasses import dataclass
from datetime import datetime, timedelta
from hashlib import sha256
from hmac import compare_digest
from hmac import digest as keyed_digest
from typing import Final

from router.domain.token import TokenId

ID_BYTES: Final = 32
LONGEST: Final = timedelta(hours=12)
"""From sign-in, whatever is done meanwhile."""
IDLE: Final = timedelta(hours=1)
"""Without a request."""
SEEN_PRECISION: Final = timedelta(minutes=1)
"""A request is not written down again within this time of the last one that was."""

_ID: Final = re.compile(r"[A-Za-z0-9_-]{43}")


@dataclass(frozen=True, slots=True, kw_only=True)
class Session:
    """What is kept of a session. `key` is the hash of its id.

    `token_id` is the token that it was opened with, None for the admin token; of that one `admin_proof` holds a hash
    keyed with the session's id, which nobody can search for the token with.
    """

    key: str
    token_id: TokenId | None
    admin_proof: str | None
    created_at: datetime
    seen_at: datetime

    @property
    def expire_at(self) -> datetime:
        return min(self.created_at + LONGEST, self.seen_at + IDLE)

    def is_over(self, now: datetime) -> bool:
        return self.expire_at <= now


def write_session_id(random_bytes: bytes) -> str:
    """The id, as the browser keeps it, from `ID_BYTES` random bytes."""
    return urlsafe_b64encode(random_bytes).decode("ascii").rstrip("=")


def is_session_id(text: str) -> bool:
    return _ID.fullmatch(text) is not None


def session_key(session_id: str) -> str:
    """Under what a session is kept."""
    return sha256(session_id.encode()).hexdigest()


def form_token(session_id: str) -> str:
    """What every form of this session holds, and no other page can know."""
    return keyed_digest(session_id.encode(), b"form", "sha256").hex()


def is_form_token(text: str, session_id: str) -> bool:
    return compare_digest(text.encode(errors="surrogateescape"), form_token(session_id).encode())


def admin_proof(session_id: str, admin_digest: bytes) -> str:
    """That the admin token was shown when this session began; another admin token makes another proof."""
    return keyed_digest(session_id.encode(), b"admin" + admin_digest, "sha256").hex()
