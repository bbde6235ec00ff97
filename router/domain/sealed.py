"""How a secret looks that is stored sealed: `sealed:<key id>:<base64>`. Decides on texts; knows no cipher."""

from __future__ import annotations

import binascii
import re
from base64 import b64decode, b64encode
from typing import Final

SEALED_PREFIX: Final = "sealed:"
KEY_BYTES: Final = 32
KEY_ID_RULE: Final = "must be 1 to 64 letters, digits, '.', '_' or '-', a letter or digit first"

_KEY_ID: Final = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,63}")
_FORM: Final = re.compile(rf"{SEALED_PREFIX}({_KEY_ID.pattern}):([A-Za-z0-9+/]+={{0,2}})")


def is_key_id(text: str) -> bool:
    return _KEY_ID.fullmatch(text) is not None


def is_sealed(text: str) -> bool:
    """Whether `text` says that it is sealed, be it well formed or not: such a text is never taken for a secret."""
    return text.startswith(SEALED_PREFIX)


def format_sealed(key_id: str, box: bytes) -> str:
    """The stored form of `box`, the bytes that the key of that id has sealed."""
    return f"{SEALED_PREFIX}{key_id}:{b64encode(box).decode('ascii')}"


def read_sealed(stored: str) -> tuple[str, bytes]:
    """Key id and box of a sealed text. Raises ValueError, which never quotes it, where it is not well formed."""
    parts = _FORM.fullmatch(stored)
    if parts is None:
        raise ValueError("begins like a sealed value and is none")
    try:
        return parts[1], b64decode(parts[2], validate=True)
    except binascii.Error:
        raise ValueError("begins like a sealed value and is none") from None
