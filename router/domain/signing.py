"""Standard Webhooks signatures (v1, v1a): which bytes are signed, with which keys, how keys are written and how they
follow one another. Pure.

Source: https://github.com/standard-webhooks/standard-webhooks/blob/main/spec/standard-webhooks.md
"""

from __future__ import annotations

import binascii
from base64 import b64decode, b64encode
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from hashlib import sha256
from hmac import compare_digest, digest
from typing import Final

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

SECRET_PREFIX: Final = "whsec_"  # noqa: S105  no secret: it says what the rest is
SECRET_BYTES: Final = 32
"""Random bytes in a secret that we create; the specification asks for 24 to 64."""
MAX_SECRETS: Final = 5
"""Secrets that sign side by side during a rotation."""
MAX_LISTED_SECRETS: Final = 20
"""Entries of a list of secrets, those whose time is over among them."""
MAX_OVERLAP: Final = timedelta(days=30)
"""The longest that an old secret signs beside a new one."""

PRIVATE_PREFIX: Final = "whsk_"
PUBLIC_PREFIX: Final = "whpk_"
SEED_BYTES: Final = 32
"""Of an ed25519 key (RFC 8032)."""


# --- keys ------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Secret:
    """A v1 key, and when it ceases to sign; None: not before it is replaced."""

    key: bytes = field(repr=False)
    expires_at: datetime | None = None

    def signs_at(self, now: datetime) -> bool:
        return self.expires_at is None or now < self.expires_at


@dataclass(frozen=True, slots=True)
class SigningKey:
    """A v1a key: the 32 bytes of an ed25519 seed."""

    seed: bytes = field(repr=False)
    public_key: str = field(init=False)
    """`whpk_` + base64: what signatures are verified with."""
    _key: Ed25519PrivateKey = field(init=False, repr=False, compare=False)  # made here once, and not for each delivery

    def __post_init__(self) -> None:
        key = Ed25519PrivateKey.from_private_bytes(self.seed)
        object.__setattr__(self, "_key", key)
        object.__setattr__(self, "public_key", PUBLIC_PREFIX + _base64(key.public_key().public_bytes_raw()))

    def sign(self, signed: bytes) -> bytes:
        return self._key.sign(signed)


def current(secrets: Sequence[Secret], now: datetime) -> list[Secret]:
    """The secrets that sign at `now`, the newest first."""
    return [secret for secret in secrets if secret.signs_at(now)][:MAX_SECRETS]


def sign(
    secrets: Iterable[bytes], webhook_id: str, timestamp: int, body: bytes, signing_key: SigningKey | None = None
) -> str | None:
    """The header `webhook-signature`: a `v1,<base64>` per secret, in order, then `v1a,<base64>`; None without keys."""
    signed = b"%s.%d.%s" % (webhook_id.encode("ascii"), timestamp, body)
    entries = [f"v1,{_base64(digest(key, signed, sha256))}" for key in secrets]
    if signing_key is not None:
        entries.append(f"v1a,{_base64(signing_key.sign(signed))}")
    return " ".join(entries) or None


# --- as text ---------------------------------------------------------------------------------------


def parse_secret(text: str) -> bytes:
    """The key in a secret as stored: `whsec_` + base64, or base64 alone.

    Raises ValueError where it is neither; the text of the error never holds the secret.
    """
    try:
        key = b64decode(text.removeprefix(SECRET_PREFIX), validate=True)
    except (binascii.Error, ValueError):
        raise ValueError(f"a secret is {SECRET_PREFIX!r} followed by base64") from None
    if not key:
        raise ValueError("a secret must not be empty")
    return key


def format_secret(key: bytes) -> str:
    return SECRET_PREFIX + _base64(key)


def parse_signing_key(text: object) -> SigningKey:
    """The key in `whsk_` + base64 of the seed, with the public key behind it or without.

    Raises ValueError for anything else; the text of the error never holds the key.
    """
    if not isinstance(text, str) or not text.startswith(PRIVATE_PREFIX):
        raise ValueError(f"a signing key begins with {PRIVATE_PREFIX!r}")
    try:
        raw = b64decode(text.removeprefix(PRIVATE_PREFIX), validate=True)
    except (binascii.Error, ValueError):
        raise ValueError(f"a signing key is {PRIVATE_PREFIX!r} followed by base64") from None
    if len(raw) not in (SEED_BYTES, 2 * SEED_BYTES):
        raise ValueError(f"a signing key has {SEED_BYTES} bytes, or {2 * SEED_BYTES} with its public key")
    key = SigningKey(raw[:SEED_BYTES])
    if raw[SEED_BYTES:] and not compare_digest(key.public_key, PUBLIC_PREFIX + _base64(raw[SEED_BYTES:])):
        raise ValueError("the public key in the signing key is that of another key")
    return key


def format_signing_key(key: SigningKey) -> str:
    """`whsk_` + base64 of seed and public key, which is how other programs of the specification write it."""
    return PRIVATE_PREFIX + _base64(key.seed + b64decode(key.public_key.removeprefix(PUBLIC_PREFIX)))


def _base64(raw: bytes) -> str:
    return b64encode(raw).decode("ascii")


# --- rotation --------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class SecretEntry:
    """A secret as it is stored: `value` may be sealed, so nothing is known of it but when it ends."""

    value: str = field(repr=False)
    expires_at: datetime | None = None


def read_entries(stored: object) -> list[SecretEntry]:
    """The entries of the field `secret`: a text, or a list of texts and of {value, expires_at}.

    Raises ValueError for anything else; its text never holds a secret.
    """
    if stored is None:
        return []
    items = stored if isinstance(stored, list | tuple) else [stored]
    entries = [_read_entry(item) for item in items]
    endless = sum(entry.expires_at is None for entry in entries)
    if len(entries) > MAX_LISTED_SECRETS or endless > MAX_SECRETS:
        raise ValueError(f"holds at most {MAX_SECRETS} secrets, and {MAX_LISTED_SECRETS} with those that expire")
    return entries


def _read_entry(item: object) -> SecretEntry:
    if isinstance(item, str):
        return SecretEntry(item)
    if isinstance(item, Mapping) and set(item) <= {"value", "expires_at"}:
        value, expires_at = item.get("value"), item.get("expires_at")
        if isinstance(value, str) and (expires_at is None or isinstance(expires_at, datetime)):
            return SecretEntry(value, expires_at and _in_utc(expires_at))
    raise ValueError("must be a string, or a list of strings and of {value: string, expires_at: date or null}")


def _in_utc(moment: datetime) -> datetime:
    """Stores keep UTC and may leave the offset out."""
    return moment.replace(tzinfo=UTC) if moment.tzinfo is None else moment.astimezone(UTC)


def rotate(entries: Sequence[SecretEntry], value: str, *, now: datetime, overlap: timedelta) -> list[SecretEntry]:
    """The entries after `value` has become the newest: the old ones sign for `overlap` more, or until the end that
    they had already. What is over goes, and beyond MAX_SECRETS the oldest."""
    end = now + overlap
    old = (SecretEntry(entry.value, min(entry.expires_at or end, end)) for entry in entries)
    remaining = [entry for entry in old if entry.expires_at is not None and entry.expires_at > now]
    return [SecretEntry(value), *remaining][:MAX_SECRETS]
