"""JSON as coloured code: every character as it is, the invisible ones marked. Pure; a long text stays plain."""

from __future__ import annotations

from typing import Final

from markupsafe import Markup
from pygments.lexers.data import JsonLexer
from pygments.token import STANDARD_TYPES

from router.web.console.visible import visible

MAX_COLOURED_LENGTH: Final = 100_000
"""Characters; colours for more cost the reader's browser, and this process, more than they tell."""


def coloured_json(text: str) -> Markup:
    """For `ui.code`: `text`, escaped, its parts in spans with Pygments' short class names."""
    if len(text) > MAX_COLOURED_LENGTH:
        return visible(text)
    # The lexer neither strips nor completes: what is shown is what was sent.
    tokens = JsonLexer(stripnl=False, ensurenl=False).get_tokens(text)
    parts = [
        Markup('<span class="%s">%s</span>') % (name, visible(part))
        if (name := STANDARD_TYPES.get(kind))
        else visible(part)
        for kind, part in tokens
    ]
    return Markup("").join(parts)
