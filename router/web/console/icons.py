"""Icons, drawn for the console: 16 by 16, strokes in the colour of the text. They stand beside words. Pure."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

from markupsafe import Markup

_PATHS: Final[Mapping[str, str]] = {
    "webhook": '<circle cx="4" cy="11.5" r="2.2"/><circle cx="12" cy="11.5" r="2.2"/><circle cx="8" cy="4.2" r="2.2"/>'
    '<path d="M9 6.2l2.2 3.4M6.9 6.1L5 9.6M6.2 11.5h3.6"/>',
    "deliveries": '<path d="M2 4.5h7M2 8h5M2 11.5h7"/><path d="M10.5 5l3 3-3 3"/>',
    "search": '<circle cx="7" cy="7" r="4.4"/><path d="M10.4 10.4L14 14"/>',
    "replay": '<path d="M3 8a5 5 0 105-5c-1.7 0-3.2.8-4.2 2"/><path d="M3.4 2.2v3h3"/>',
    "health": '<path d="M1.5 8.5h3l1.8-5 3 9 1.9-4h3.3"/>',
    "good": '<circle cx="8" cy="8" r="6.2"/><path d="M5.2 8.2l2 2 3.6-4.2"/>',
    "bad": '<circle cx="8" cy="8" r="6.2"/><path d="M5.8 5.8l4.4 4.4M10.2 5.8l-4.4 4.4"/>',
    "warn": '<path d="M8 2.2l6.2 11H1.8z"/><path d="M8 6.6v3M8 11.4v.2"/>',
    "wait": '<circle cx="8" cy="8" r="6.2"/><path d="M8 4.6V8l2.4 1.6"/>',
    "idle": '<circle cx="8" cy="8" r="6.2"/><path d="M5.2 8h5.6"/>',
    "pause": '<circle cx="8" cy="8" r="6.2"/><path d="M6.4 5.8v4.4M9.6 5.8v4.4"/>',
    "info": '<circle cx="8" cy="8" r="6.2"/><path d="M8 7.4v3.4M8 5v.2"/>',
    "play": '<path d="M5 3.2l7.6 4.8L5 12.8z"/>',
    "plus": '<path d="M8 3v10M3 8h10"/>',
    "edit": '<path d="M3 13l.7-2.9L10.8 3l2.2 2.2-7.1 7.1z"/><path d="M9.4 4.4l2.2 2.2"/>',
    "trash": '<path d="M2.8 4.5h10.4M6 4.5V2.8h4v1.7M4.2 4.5l.6 8.7h6.4l.6-8.7M6.8 7v3.8M9.2 7v3.8"/>',
    "key": '<circle cx="5" cy="11" r="2.8"/><path d="M7 9l6-6M10.6 5.4l2 2"/>',
    "send": '<path d="M2 8l12-5.5L10.5 14 8 9z"/><path d="M8 9l6-6.5"/>',
    "copy": '<rect x="5.5" y="5.5" width="8" height="8" rx="1.4"/><path d="M10.5 3.5v-1h-8v8h1"/>',
    "download": '<path d="M8 2.5v7.5M4.8 7L8 10.2 11.2 7M3 13.2h10"/>',
    "refresh": '<path d="M13 8a5 5 0 01-9.3 2.5M3 8a5 5 0 019.3-2.5"/><path d="M12.6 2.4v3.2H9.4M3.4 13.6v-3.2h3.2"/>',
    "back": '<path d="M13 8H3.5M7 4.2L3.2 8 7 11.8"/>',
    "next": '<path d="M3 8h9.5M9 4.2L12.8 8 9 11.8"/>',
    "account": '<circle cx="8" cy="5.4" r="2.8"/><path d="M2.6 13.6c.7-2.8 2.8-4 5.4-4s4.7 1.2 5.4 4"/>',
    "sign-out": '<path d="M6.5 2.8H3v10.4h3.5M7 8h6.5M10.8 5.2L13.6 8l-2.8 2.8"/>',
    "call": '<path d="M3.4 2.6l2.4-.4 1.1 3-1.4 1.2a8 8 0 004 4l1.2-1.4 3 1.1-.4 2.4c-.2.7-.8 1.1-1.5 1A11 11 0 012.4 '
    '4.100c-.1-.7.3-1.300 1-1.500z"/>',
    "lock": '<rect x="3" y="7" width="10" height="6.8" rx="1.4"/><path d="M5.2 7V5a2.8 2.8 0 015.6 0v2"/>',
}


def icon(name: str) -> Markup:
    """An icon that says nothing to who does not see it: the text beside it does."""
    return Markup(  # noqa: S704  of the table above, and of nothing else
        f'<svg class="icon" viewBox="0 0 16 16" width="16" height="16" aria-hidden="true" focusable="false">'
        f"{_PATHS[name]}</svg>"
    )
