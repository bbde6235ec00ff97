"""API tokens: how one is written, what is kept of it, and whether it counts. Values and rules only.

A token is `whr_<id>_<secret><checksum>`: an id of 8 characters, which may be seen, 32 random bytes, and a CRC-32 of
both, all in base 62. The checksum tells a mistyped or invented token before the store is asked.
"""

from __future__ import annotations

import re
from collections.abc import Collection
from dataclasses import dataclass, field
from datetime import datetime
from enum import StrEnum
from hashlib import sha256
from hmac import compare_digest
from string import ascii_lowercase, ascii_uppercase, digits
from typing import Final, NewType
from zlib import crc32

from router.domain.errors import InvalidInput
from router.domain.event import AccountId
from router.domain.principal import Principal, Scope

TokenId = NewType("TokenId", str)

PREFIX: Final = "whr_"
ID_BYTES: Final = 8
SECRET_BYTES: Final = 32
_DIGITS: Final = digits + ascii_uppercase + ascii_lowercase
_ID_LENGTH: Final = 8
_SECRET_LENGTH: Final = 43  # 62 ** 43 is just more than 256 ** 32
_CHECKSUM_LENGTH: Final = 6
_TOKEN: Final = re.compile(
    rf"{PREFIX}(?P<id>[0-9A-Za-z]{{{_ID_LENGTH}}})_(?P<secret>[0-9A-Za-z]{{{_SECRET_LENGTH}}})"
    rf"(?P<checksum>[0-9A-Za-z]{{{_CHECKSUM_LENGTH}}})"
)


class Denial(StrEnum):
    """Why a token lets nobody in."""

    UNKNOWN = "unknown"
    EXPIRED = "expired"
    REVOKED = "revoked"


@dataclass(frozen=True, slots=True, kw_only=True)
class Token:
    """What is kept of a token. `digest` is SHA-256 of its secret part, in hexadecimal."""

    id: TokenId
    name: str
    scopes: frozenset[Scope]
    account_id: AccountId | None
    digest: str = field(repr=False)
    created_at: datetime
    created_by: str
    """A `Principal.name`."""
    expires_at: datetime | None = None
    last_used_at: datetime | None = None
    revoked_at: datetime | None = None

    @property
    def prefix(self) -> str:
        """The part of the token that may be seen."""
        return PREFIX + self.id

    @property
    def principal(self) -> Principal:
        # Not `whr_…`, which logs take for the beginning of a secret.
        return Principal(name=f"token:{self.id}", scopes=self.scopes, account_id=self.account_id)


@dataclass(frozen=True, slots=True, kw_only=True)
class WrittenToken:
    """A token as somebody sends it: well formed, and nothing more is known of it."""

    id: TokenId
    secret: str = field(repr=False)


def new_token_id(random_bytes: bytes) -> TokenId:
    """An id from `ID_BYTES` random bytes."""
    return TokenId(_base62(int.from_bytes(random_bytes) % 62**_ID_LENGTH, _ID_LENGTH))


def new_secret(random_bytes: bytes) -> str:
    """The secret part from `SECRET_BYTES` random bytes."""
    return _base62(int.from_bytes(random_bytes), _SECRET_LENGTH)


def write_token(token_id: TokenId, secret: str) -> str:
    """The token as its owner sends it."""
    return f"{PREFIX}{token_id}_{secret}{_checksum(token_id, secret)}"


def read_token(text: str) -> WrittenToken | None:
    """The parts of a token; None for what no `write_token` made."""
    match = _TOKEN.fullmatch(text)
    if match is None or _checksum(match["id"], match["secret"]) != match["checksum"]:
        return None
    return WrittenToken(id=TokenId(match["id"]), secret=match["secret"])


def read_token_id(text: str) -> TokenId:
    """A token's id from what people type: the id, the visible prefix `whr_<id>`, or a whole token that was found."""
    return TokenId(text.removeprefix(PREFIX).partition("_")[0])


def digest(secret: str) -> str:
    return sha256(secret.encode()).hexdigest()


def admit(written: WrittenToken, stored: Token | None, now: datetime) -> Principal | Denial:
    """Who sends a token, given what is kept under its id. That it is over is told only to who has its secret."""
    # One comparison in every case, so that its time tells nothing.
    kept = stored.digest if stored is not None else digest("")
    if not compare_digest(kept, digest(written.secret)) or stored is None:
        return Denial.UNKNOWN
    return standing(stored, now)


def standing(stored: Token | None, now: datetime) -> Principal | Denial:
    """For whom a token counts, of which nobody has to show the secret now."""
    if stored is None:
        return Denial.UNKNOWN
    if stored.revoked_at is not None:
        return Denial.REVOKED
    if stored.expires_at is not None and stored.expires_at <= now:
        return Denial.EXPIRED
    return stored.principal


def check_scopes(scopes: Collection[object]) -> frozenset[Scope]:
    """Raises InvalidInput for none at all, and for one that is none."""
    known = {scope.value: scope for scope in Scope}
    found = [known.get(str(scope)) for scope in scopes]
    if not found or None in found:
        raise InvalidInput("scopes", f"must be one or more of {', '.join(known)}")
    return frozenset(scope for scope in found if scope is not None)


def _base62(number: int, length: int) -> str:
    text = ""
    for _ in range(length):
        number, place = divmod(number, 62)
        text = _DIGITS[place] + text
    return text


def _checksum(token_id: str, secret: str) -> str:
    return _base62(crc32(f"{token_id}_{secret}".encode()), _CHECKSUM_LENGTH)
