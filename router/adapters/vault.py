"""Fulfils `ports.Vault`: AES-256-GCM-SIV with the keys of one file. Reads that file; the store never sees a key.

The place of a secret (account, webhook, field) and the key's id are authenticated with it: a sealed value that is
copied elsewhere in the database does not open there. GCM-SIV (RFC 8452) bears a nonce that is drawn twice.
"""

from __future__ import annotations

import binascii
import json
import os
import stat
from base64 import b64decode
from collections.abc import Callable, Mapping
from contextlib import suppress
from pathlib import Path
from typing import Final

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCMSIV

from router.domain.errors import ConfigurationRefused
from router.domain.sealed import KEY_BYTES, format_sealed, is_key_id, is_sealed, read_sealed
from router.ports import Place

NONCE_BYTES: Final = 12
MAX_FILE_BYTES: Final = 65_536
SCHEME: Final = "webhook-router/1"
"""First of what is authenticated: another scheme could never open what this one has sealed."""


class KeyRing:
    """Keys by id. The first one seals; all of them open.

    `look_again` is asked for the keys of today where one is missing, so that a router that runs opens what another
    process has sealed with a key that was added since. It goes on sealing with its own.
    """

    def __init__(self, keys: Mapping[str, bytes], look_again: Callable[[], Mapping[str, bytes]] | None = None) -> None:
        self.key_ids = tuple(keys)
        self._ciphers = {key_id: AESGCMSIV(key) for key_id, key in keys.items()}
        self._look_again = look_again

    def seal(self, text: str, place: Place) -> str:
        active, nonce = self.key_ids[0], os.urandom(NONCE_BYTES)
        return format_sealed(
            active, nonce + self._ciphers[active].encrypt(nonce, text.encode(), _bound_to(place, active))
        )

    def open(self, stored: str, place: Place) -> str:
        if not is_sealed(stored):
            return stored
        key_id, box = read_sealed(stored)
        cipher = self._ciphers.get(key_id) or self._added_since(key_id)
        if cipher is None:
            raise ValueError(f"is sealed with key {key_id!r}, which is not in the key file")
        try:
            return cipher.decrypt(box[:NONCE_BYTES], box[NONCE_BYTES:], _bound_to(place, key_id)).decode()
        except (InvalidTag, ValueError):  # ValueError: too short for a nonce
            raise ValueError(
                f"does not open with key {key_id!r}: it was sealed for another place, or it is damaged"
            ) from None

    def _added_since(self, key_id: str) -> AESGCMSIV | None:
        keys = self._look_again() if self._look_again is not None else {}
        if key_id not in keys:
            return None
        return self._ciphers.setdefault(key_id, AESGCMSIV(keys[key_id]))


def _bound_to(place: Place, key_id: str) -> bytes:
    # JSON, so that no two places are spelled alike: an id may hold any character.
    return json.dumps([SCHEME, place.account_id, place.webhook_id, place.field, key_id]).encode()


# --- the key file ----------------------------------------------------------------------------------


def read_key_ring(path: Path) -> KeyRing:
    """The keys of a file. Raises ConfigurationRefused with what to do; never quotes a line."""
    keys, seen = _read_file(path)

    def look_again() -> Mapping[str, bytes]:
        nonlocal keys, seen
        with suppress(ConfigurationRefused, OSError):
            if _version(path.stat()) != seen:
                keys, seen = _read_file(path)
        return keys

    return KeyRing(keys, look_again)


def _read_file(path: Path) -> tuple[dict[str, bytes], tuple[int, ...]]:
    """The keys, and the version of the file that they are in."""
    try:
        # At once: a pipe that nobody writes to would keep the start waiting.
        with os.fdopen(os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC), "rb") as file:
            status = os.fstat(file.fileno())
            _check_access(status)
            content = file.read(MAX_FILE_BYTES + 1)
    except OSError as error:
        raise _refused(f"cannot be read ({error.strerror})") from None
    if len(content) > MAX_FILE_BYTES:
        raise _refused(f"is larger than {MAX_FILE_BYTES} bytes: it holds one short line for each key")
    return _read_keys(content), _version(status)


def _version(status: os.stat_result) -> tuple[int, ...]:
    return status.st_dev, status.st_ino, status.st_mtime_ns, status.st_size


def _check_access(status: os.stat_result) -> None:
    """Nobody but its owner may read the file, or root's group where it is root's: systemd and Kubernetes hand
    credentials over so."""
    if not stat.S_ISREG(status.st_mode):
        raise _refused("is no regular file")
    allowed = 0o740 if status.st_uid == 0 else 0o700
    if stat.S_IMODE(status.st_mode) & 0o777 & ~allowed:
        raise _refused("can be read or written by others: chmod 0400 it (0440 where it belongs to root)")


def _read_keys(content: bytes) -> dict[str, bytes]:
    keys: dict[str, bytes] = {}
    for number, raw in enumerate(content.splitlines(), start=1):
        line = raw.decode("ascii", "replace").strip()
        if not line or line.startswith("#"):
            continue
        key_id, _, encoded = line.partition(":")
        key = _decoded(encoded.strip())
        if not is_key_id(key_id) or key is None:
            raise _refused(f"has a line {number} that is not '<key id>:<base64 of {KEY_BYTES} bytes>'")
        if key_id in keys or key in keys.values():
            raise _refused(f"has a line {number} whose id or key was there before: each key has its own id")
        keys[key_id] = key
    if not keys:
        raise _refused("holds no key: `webhook-router secrets new-key` makes one")
    return keys


def _decoded(encoded: str) -> bytes | None:
    try:
        key = b64decode(encoded, validate=True)
    except (binascii.Error, ValueError):
        return None
    return key if len(key) == KEY_BYTES else None


def _refused(problem: str) -> ConfigurationRefused:
    return ConfigurationRefused(f"the key file (secrets.key_file) {problem}")
