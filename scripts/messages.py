"""Brings the console's catalogues up to date with its texts: one .po file for each group of pages.

A text that is new comes in untranslated, one that is gone is dropped; tests/unit/test_console_catalogues.py then says
what has to be translated. Reads templates and modules, writes router/web/console/locale.
"""

from __future__ import annotations

import sys
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Final

from babel.messages.catalog import Catalog
from babel.messages.extract import extract_from_file
from babel.messages.pofile import read_po, write_po

from router.web.console.language import LOCALES, NAMES

CONSOLE: Final = LOCALES.parent
COMMON: Final = "common"
KEYWORDS: Final = {"_": None, "N_": None, "gettext": None, "ngettext": (1, 2)}
TRANSLATED: Final = [code for code in NAMES if code != "en"]
"""English is what the texts are written in."""

Message = str | tuple[str, str]


def group_of(path: Path) -> str:
    """The catalogue of a file: pages/webhooks.py, pages/webhooks_forms.py and templates/webhooks/ share one."""
    parts = path.relative_to(CONSOLE).parts
    if parts[0] == "pages" and path.stem != "__init__":
        return path.stem.partition("_")[0]
    return parts[1] if parts[0] == "templates" and len(parts) > 2 else COMMON


def texts_of(path: Path) -> Iterator[Message]:
    method = "jinja2.ext:babel_extract" if path.suffix == ".html" else "python"
    options = {"trimmed": "true", "silent": "false"} if path.suffix == ".html" else {}
    for _, message, _, _ in extract_from_file(method, path, keywords=KEYWORDS, options=options):
        yield message if isinstance(message, str) else (message[0], message[1])


def collect() -> dict[str, set[Message]]:
    """The texts of each group. What the common parts say is in their catalogue alone."""
    found: dict[str, set[Message]] = {COMMON: set()}
    for path in sorted([*CONSOLE.rglob("*.py"), *CONSOLE.rglob("*.html")]):
        found.setdefault(group_of(path), set()).update(texts_of(path))
    return {
        group: texts if group == COMMON else texts - found[COMMON]
        for group, texts in found.items()
        if group == COMMON or texts - found[COMMON]
    }


def catalogue(code: str, group: str, texts: set[Message]) -> Catalog:
    """The texts of a group with the translations that there are."""
    path = LOCALES / code / f"{group}.po"
    old = Catalog(locale=code)
    if path.exists():
        with path.open("rb") as file:
            old = read_po(file, locale=code)
    # No dates and places: they would differ in every branch.
    new = Catalog(locale=code, header_comment=f"# The console's texts: {group}.")
    for text in texts:
        known = old.get(text if isinstance(text, str) else text[0])
        new.add(text, known.string if known else None)
    return new


def is_translated(forms: str | Iterable[str] | None) -> bool:
    return bool(forms) and all([forms] if isinstance(forms, str) else forms or [])


def update() -> int:
    """Write every catalogue; the number of texts without a translation."""
    missing = 0
    collected = collect()
    for code in TRANSLATED:
        (LOCALES / code).mkdir(exist_ok=True)
        for path in (LOCALES / code).glob("*.po"):
            if path.stem not in collected:
                path.unlink()
        for group, texts in sorted(collected.items()):
            new = catalogue(code, group, texts)
            path = LOCALES / code / f"{group}.po"
            with path.open("wb") as file:
                write_po(file, new, width=120, no_location=True, sort_output=True, omit_header=True)
            untranslated = sum(not is_translated(each.string) for each in new if each.id)
            missing += untranslated
            print(f"{path.relative_to(CONSOLE)}: {len(new)} texts, {untranslated} not translated")
    return missing


if __name__ == "__main__":
    sys.exit(1 if update() else 0)
