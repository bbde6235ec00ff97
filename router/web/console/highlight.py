"""JSON as coloured code: every character as it is, the invisible ones marked. Pure; a long text stays plain."""

from __future__ import annotations

from typing import Final

from markupsafe import Markup
from pygments.lexers.data import JsonLexer
from pygments.token import STANDARD_TYPES, Whitespace

from router.web.console.visible import visible

MAX_COLOURED_LENGTH: Final = 16_384
"""Characters; colours for more cost this process, and the reader's browser, more than they tell."""
_PLAIN: Final = frozenset({STANDARD_TYPES[Whitespace], "p", ""})


def coloured_json(text: str) -> Markup:
    """For `ui.code`: `text`, escaped, its parts in spans with Pygments' short class names."""
    if len(text) > MAX_COLOURED_LENGTH:
        return visible(text)
    # Unprocessed: what is shown is what was sent, its line ends and a mark at its beginning included.
    tokens = JsonLexer().get_tokens_unprocessed(text)
    return Markup("").join(_coloured(STANDARD_TYPES.get(kind, ""), part) for _, kind, part in tokens)


def _coloured(name: str, part: str) -> Markup:
    shown = visible(part)
    return shown if name in _PLAIN else Markup(f'<span class="{name}">{shown}</span>')  # noqa: S704  Pygments' own names
