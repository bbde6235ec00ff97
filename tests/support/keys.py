"""Key files for tests. The keys in them protect nothing."""

from __future__ import annotations

from base64 import b64encode
from pathlib import Path

from router.adapters.vault import KeyRing


def key_of(key_id: str) -> bytes:
    """The key that every test means by this id."""
    return key_id.encode().ljust(32, b".")


def ring(*key_ids: str) -> KeyRing:
    return KeyRing({key_id: key_of(key_id) for key_id in key_ids})


def key_line(key_id: str) -> str:
    return f"{key_id}:{b64encode(key_of(key_id)).decode()}"


def key_file(path: Path, *key_ids: str) -> Path:
    """A file with these keys, the first one active; only its owner can read it."""
    path.write_text("# keys\n" + "".join(f"{key_line(key_id)}\n" for key_id in key_ids), encoding="utf-8")
    path.chmod(0o600)
    return path
