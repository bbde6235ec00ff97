"""Standard Webhooks signatures (v1): which bytes are signed, with which key, and how a secret is written. Pure.

Source: https://github.com/standard-webhooks/standard-webhooks/blob/main/spec/standard-webhooks.md
"""

from __future__ import annotations

import binascii
from base64 import b64decode, b64encode
from collections.abc import Iterable
from hashlib import sha256
from hmac import digest
from typing import Final

SECRET_PREFIX: Final = "whsec_"  # noqa: S105  no secret: it says what the rest is
SECRET_BYTES: Final = 32
"""Random bytes in a secret that we create; the specification asks for 24 to 64."""
MAX_SECRETS: Final = 5
"""Secrets that sign side by side during a rotation."""


def sign(secrets: Iterable[bytes], webhook_id: str, timestamp: int, body: bytes) -> str | None:
    """The `webhook-signature` header: one `v1,<base64>` per secret, in order; None without a secret."""
    signed = b"%s.%d.%s" % (webhook_id.encode("ascii"), timestamp, body)
    return " ".join(f"v1,{b64encode(digest(key, signed, sha256)).decode('ascii')}" for key in secrets) or None


def parse_secret(text: str) -> bytes:
    """The signing key in a secret as stored: `whsec_` + base64, or base64 alone.

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
    return SECRET_PREFIX + b64encode(key).decode("ascii")
