"""What stands in a log for a phone number or a URL: a short keyed hash, so that the same one is recognised again and
none can be read back. Pure; holds the key.
"""

from __future__ import annotations

import re
import secrets
from functools import lru_cache
from hashlib import blake2b
from typing import Final

from router.domain.numbers import to_e164

HASH_BYTES: Final = 4
"""Enough to tell the numbers of one investigation apart, and nothing by itself: without the key, any number fits."""
MAX_KEY_BYTES: Final = 64
"""Of BLAKE2b's key; a longer one is hashed first."""
_NOT_DIGITS: Final = re.compile(r"\D")
_LAST_DIGITS: Final = 2
_PLAIN_HOST: Final = re.compile(
    r"https?://(?P<login>[^/?#\s@]*@)?(?P<host>(?:[\w.\-]+|\[[0-9a-f:.]+\])(?::\d{1,5})?)(?=[/?#]|$)", re.IGNORECASE
)


class Pseudonyms:
    """Names numbers and URLs by hashes under one key. Numbers are read as dialled in `country`, so that each way of
    writing one gets the same name.

    Without a key one is drawn: names then hold until the process ends.
    """

    def __init__(self, key: str | None = None, country: str = "FR") -> None:
        drawn = secrets.token_bytes(MAX_KEY_BYTES) if key is None else key.encode()
        self._key = drawn if len(drawn) <= MAX_KEY_BYTES else blake2b(drawn).digest()
        self._country = country
        self.number = lru_cache(maxsize=4096)(self._number)
        self.url = lru_cache(maxsize=4096)(self._url)

    def _number(self, text: str) -> str:
        """`pn:1f3a09c2:22`: the hash of the number, and its last two digits for people."""
        written = text.replace("%2B", "+").replace("%2b", "+")
        digits = _NOT_DIGITS.sub("", to_e164(written, self._country) or to_e164(f"+{written}", "ZZ") or written)
        return f"pn:{self._hash(digits)}:{digits[-_LAST_DIGITS:]}"

    def _url(self, text: str) -> str:
        """`url:1f3a09c2:crm.example.com`: path and query may be secrets, so they are in the hash alone.

        A URL that is a host and nothing else stays as it is.
        """
        parts = _PLAIN_HOST.match(text)
        # A password may hold what ends a host.
        if parts is None or "@" in text[parts.end() :]:
            return f"url:{self._hash(text)}:"
        if parts["login"] is None and text[parts.end() :] in {"", "/"}:
            return text
        return f"url:{self._hash(text)}:{parts['host']}"

    def _hash(self, text: str) -> str:
        return blake2b(text.encode("utf-8", "surrogatepass"), key=self._key, digest_size=HASH_BYTES).hexdigest()
