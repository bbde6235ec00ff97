"""The languages of the console: catalogues read at start-up, and which of them a request gets. Reads package data.

Message ids are the English texts. Each group of pages has one catalogue file, so people can work on them side by side.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

from babel import Locale
from babel.messages.catalog import Catalog
from babel.messages.pofile import read_po
from babel.numbers import format_decimal

LOCALES: Final = Path(__file__).parent / "locale"
DEFAULT: Final = "fr"
NAMES: Final = {"fr": "Français", "en": "English"}
"""The languages that there are, each by its own name; the first is for those who ask for none of them."""

_NARROW: Final = "\u202f"
_NO_BREAK: Final = "\u00a0"
_ACCEPTED: Final = re.compile(r"\s*([A-Za-z]{1,8})(?:-[A-Za-z0-9-]*)?\s*(?:;\s*q\s*=\s*([01](?:\.\d{0,3})?)\s*)?")


def N_(message: str) -> str:  # noqa: N802  what gettext tools look for
    """Marks a text for the catalogues; it is translated where it is shown."""
    return message


@dataclass(frozen=True, slots=True, kw_only=True)
class Language:
    """One language. `messages` are forms by message id: one, or singular and plural."""

    code: str
    locale: Locale
    messages: Mapping[str, tuple[str, ...]] = field(repr=False)

    def gettext(self, message: str, /, **values: object) -> str:
        """`message` in this language; `%(name)s` in it stands for values, and a per cent sign is written twice."""
        forms = self.messages.get(message, (message,))
        return forms[0] % self._shown(values)

    def ngettext(self, one: str, many: str, count: int, /, **values: object) -> str:
        """The form that fits a count, which is `%(num)s` in it."""
        forms = self.messages.get(one, (one, many))
        form = forms[0] if self.locale.plural_form(count) == "one" else forms[-1]
        return form % self._shown({"num": count, **values})

    def _shown(self, values: Mapping[str, object]) -> Mapping[str, object]:
        return {
            name: format_decimal(value, locale=self.locale)
            if isinstance(value, int | float) and not isinstance(value, bool)
            else value
            for name, value in values.items()
        }


def load_languages() -> Mapping[str, Language]:
    """Every language by its code."""
    return {code: Language(code=code, locale=Locale.parse(code), messages=_messages(code)) for code in NAMES}


def read_catalogue(path: Path, code: str) -> Catalog:
    with path.open("rb") as file:
        return read_po(file, locale=code, abort_invalid=True)


def catalogue_files(code: str) -> list[Path]:
    return sorted((LOCALES / code).glob("*.po"))


def _messages(code: str) -> dict[str, tuple[str, ...]]:
    found: dict[str, tuple[str, ...]] = {}
    for path in catalogue_files(code):
        for message in read_catalogue(path, code):
            key = message.id if isinstance(message.id, str) else message.id[0]
            forms = (message.string,) if isinstance(message.string, str) else tuple(message.string or ())
            if key and all(forms):
                found[key] = tuple(with_french_spaces(form) if code == "fr" else form for form in forms)
    return found


def with_french_spaces(text: str) -> str:
    """Spaces that do not break, before the signs that French sets apart. Translators type plain ones."""
    text = re.sub(r" ([;!?»])", rf"{_NARROW}\1", text)
    return text.replace(" :", f"{_NO_BREAK}:").replace("« ", f"«{_NARROW}").replace(" %%", f"{_NO_BREAK}%%")


def choose_language(asked: str | None, remembered: str | None, accepted: str) -> str:
    """The language that was switched to, else the one of the header Accept-Language, else French."""
    for code in (asked, remembered):
        if code in NAMES:
            return code
    wanted: list[tuple[float, int, str]] = []
    for part in accepted[:500].split(","):
        match = _ACCEPTED.fullmatch(part)
        quality = float(match[2] or 1) if match else 0.0
        if match and quality and match[1].lower() in NAMES:
            wanted.append((-quality, len(wanted), match[1].lower()))
    return min(wanted)[2] if wanted else DEFAULT
