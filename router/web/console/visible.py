"""Text of strangers, made fit to be looked at: what is invisible, or turns the text around, is shown by its number."""

from __future__ import annotations

import re
import unicodedata
from typing import Final

from markupsafe import Markup, escape

_ODD_CATEGORIES: Final = frozenset({"Cc", "Cf", "Cn", "Co", "Cs", "Zl", "Zp"})
"""Controls, formats (directions and joiners among them), what has no character, and line breaks of other kinds."""
_PERHAPS_ODD: Final = re.compile(r"[^\n\t\x20-\x7e]")
_NO_UTF8: Final = range(0xDC80, 0xDD00)
"""Where `surrogateescape` puts bytes that are no UTF-8."""


def visible(text: str) -> Markup:
    """`text`, escaped; each character that nobody would see as `U+202E` in a mark of its own, and each byte that was no
    UTF-8 (decoded with `surrogateescape`) as `0xFF`."""
    # Escaping leaves only ASCII behind where it touches anything, so the marks can be set after it.
    return Markup(_PERHAPS_ODD.sub(_marked, str(escape(text))))  # noqa: S704  escaped, and marks of ours


def _marked(found: re.Match[str]) -> str:
    character = found[0]
    if unicodedata.category(character) not in _ODD_CATEGORIES:
        return character
    code = ord(character)
    return f'<b class="odd">0x{code - 0xDC00:02X}</b>' if code in _NO_UTF8 else f'<b class="odd">U+{code:04X}</b>'
