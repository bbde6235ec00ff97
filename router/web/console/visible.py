"""Text of strangers, made fit to be looked at: what is invisible, or turns the text around, is shown by its number."""

from __future__ import annotations

import unicodedata
from typing import Final

from markupsafe import Markup, escape

_PLAIN: Final = frozenset("\n\t")
_ODD_CATEGORIES: Final = frozenset({"Cc", "Cf", "Cn", "Co", "Cs", "Zl", "Zp"})
"""Controls, formats (directions and joiners among them), what has no character, and line breaks of other kinds."""


def visible(text: str) -> Markup:
    """`text`, escaped; each character that nobody would see as `U+202E` in a mark of its own."""
    if text.isprintable():
        return escape(text)
    parts = [
        Markup('<b class="odd">U+%s</b>') % f"{ord(character):04X}"
        if character not in _PLAIN and unicodedata.category(character) in _ODD_CATEGORIES
        else escape(character)
        for character in text
    ]
    return Markup("").join(parts)
