"""What is wrong with a configuration, in words for whoever wrote it, and how much of a value is shown.
Builds text; touches nothing.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Final

from pydantic import SecretStr

from router.domain.errors import RouterError
from router.settings.values import EMBEDDED

MASK: Final = "***"
HIDDEN: Final = "(hidden)"
MAX_SHOWN_LENGTH: Final = 100
"""Longer values are cut where they are shown: the place matters more than the whole."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Problem:
    """One thing to correct. `value` may be printed; `hint` says what would be right, and may be empty."""

    key: str
    value: str
    origin: str
    message: str
    hint: str


class SettingsError(RouterError):
    """The configuration cannot be used. `problems` are all that is wrong with it, not only the first."""

    def __init__(self, problems: Iterable[Problem]) -> None:
        self.problems = tuple(problems)
        super().__init__("; ".join(f"{problem.key} {problem.message}" for problem in self.problems))


def render_problems(error: SettingsError) -> str:
    """A block of plain text for stderr, without a newline at its end."""
    count = len(error.problems)
    lines = [f"The configuration has {count} problem{'s' if count > 1 else ''}:"]
    for problem in error.problems:
        lines += ["", f"  {problem.key}"]
        now = f"{problem.value}  ({problem.origin})" if problem.value else f"not set  ({problem.origin})"
        for label, text in (("is now", now), ("wrong", problem.message), ("right", problem.hint)):
            if text:
                lines.append(f"    {label:<7} {text}")
    return "\n".join(_printable(line) for line in lines)


# ------------------------------------------------------------------------------------- showing values

_SECRET_NAME = re.compile(r"(?i)token|secret|passw|pwd|credential|private|authorization|api_?key")
_SECRET_PARAMETER = re.compile(r"(?i)([?&][^=&]*(?:token|secret|passw|pwd)[^=&]*=)[^&]*")
_URL = re.compile(r"(?P<scheme>[A-Za-z][A-Za-z0-9+.-]{0,30}://)(?P<rest>.*)", re.DOTALL)


def looks_secret(name: str) -> bool:
    """Whether a key that we do not know is better not shown with its value."""
    return _SECRET_NAME.search(name) is not None


def mask_url(text: str) -> str:
    """A URL without its password, whatever the password holds; all of `text` if it is no URL.

    A URL that is wrong is the one that gets shown, so user and password end at the last '@', and not where
    a parser thinks that they do.
    """
    match = _URL.fullmatch(text.strip())
    if match is None:
        return HIDDEN
    user, separator, rest = match["rest"].rpartition("@")
    name, colon, _ = user.partition(":")
    login = f"{name}:{MASK}@" if colon else f"{MASK}@" if separator else ""
    return match["scheme"] + login + _SECRET_PARAMETER.sub(rf"\1{MASK}", rest)


def shown(value: object, *, secret: bool = False) -> str:
    """`value` on one line with its secrets masked: text as it is, everything else as JSON."""
    if isinstance(value, SecretStr):
        return shown(value.get_secret_value(), secret=True)
    if secret:
        # A secret that is no URL says nothing of itself, not even its length.
        return value if value == EMBEDDED else mask_url(value) if isinstance(value, str) else HIDDEN
    plain = _plain(value)
    return _printable(plain if isinstance(plain, str) else json.dumps(plain, ensure_ascii=False))


def cut(text: str) -> str:
    """The beginning of a long text, and how long it is."""
    return text if len(text) <= MAX_SHOWN_LENGTH else f"{text[:MAX_SHOWN_LENGTH]}… ({len(text)} characters)"


def _plain(value: object) -> object:
    """`value` as JSON can write it, keys that look secret without their values."""
    if isinstance(value, Mapping):
        return {str(key): MASK if looks_secret(str(key)) else _plain(inner) for key, inner in value.items()}
    if isinstance(value, list | tuple):
        return [_plain(inner) for inner in value]
    if isinstance(value, float):
        return int(value) if value.is_integer() else value
    if isinstance(value, int) or value is None:
        return value
    text = str(value)
    return mask_url(text) if "://" in text and "@" in text else text


def _printable(text: str) -> str:
    """Control characters as escapes, so that a value cannot write to the terminal what it likes."""
    return "".join(c if c.isprintable() else c.encode("unicode_escape").decode() for c in text)
