"""How results look: tables for people, aligned text for pipes, JSON for programs. Writes to stdout, talks on stderr.

Texts from outside are shown with their control characters escaped, so that none can write to the terminal what
it likes.
"""

from __future__ import annotations

import json
import os
import sys
import unicodedata
from collections.abc import Iterable, Mapping, Sequence
from datetime import UTC, datetime
from typing import Any, Final

import click

Row = Sequence[str]

NOTHING: Final = "-"
"""Stands in a table for a value that is not there."""
_ESCAPED_CATEGORIES: Final = frozenset({"Cc", "Cf", "Cs", "Co", "Zl", "Zp"})
_STYLES: Final[Mapping[str, str]] = {
    "active": "green",
    "cancelled": "dim",
    "delivered": "green",
    "expired": "red",
    "failed": "red",
    "invalid": "red",
    "paused": "yellow",
    "pending": "yellow",
    "suspended": "red",
}
"""Colours of words in tables; the word itself always says the same."""


def note(text: str) -> None:
    """A sentence for the person who typed the command."""
    click.echo(text, err=True)


def shown(value: object) -> str:
    """A value as tables show it: times in UTC to the second, nothing as a dash, texts made harmless."""
    match value:
        case None | "":
            return NOTHING
        case bool():
            return "yes" if value else "no"
        case datetime():
            return value.astimezone(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
        case _:
            return harmless(str(value))


def harmless(text: str, *, keep: str = "") -> str:
    """`text` with control, formatting and other invisible characters as escapes, but for those in `keep`."""
    return "".join(
        character.encode("unicode_escape").decode("ascii")
        if unicodedata.category(character) in _ESCAPED_CATEGORIES and character not in keep
        else character
        for character in text
    )


# --- JSON ------------------------------------------------------------------------------------------


def print_json(value: object) -> None:
    click.echo(to_json(value, indent=2))


def to_json(value: object, *, indent: int | None = None) -> str:
    # A stream that cannot carry every character gets escapes, which are the same JSON.
    encoding = (getattr(sys.stdout, "encoding", None) or "").lower().replace("-", "")
    return json.dumps(value, ensure_ascii=encoding != "utf8", indent=indent)


# --- tables ----------------------------------------------------------------------------------------


def print_record(fields: Iterable[tuple[str, object]]) -> None:
    """One thing, a line for each field."""
    rows = [(name, shown(value)) for name, value in fields]
    width = max(len(name) for name, _ in rows)
    for name, text in rows:
        label = click.style(f"{name:<{width}}", dim=True) if _is_coloured() else f"{name:<{width}}"
        click.echo(f"{label}  {text}")


def print_table(columns: Row, rows: Sequence[Row], *, with_header: bool = True) -> None:
    """Rows under their columns. A list that goes on leaves the header away: scripts want it once."""
    if sys.stdout.isatty():
        _print_rich(columns, rows, with_header=with_header)
    else:
        _print_plain(columns, rows, with_header=with_header)


def styled(text: str, **style: Any) -> str:
    """`text` in a colour or weight where stdout shows such things; the word itself says the same."""
    return click.style(text, **style) if _is_coloured() else text


def _is_coloured() -> bool:
    return sys.stdout.isatty() and not os.environ.get("NO_COLOR") and os.environ.get("TERM") != "dumb"


def _print_rich(columns: Row, rows: Sequence[Row], *, with_header: bool) -> None:
    from rich.console import Console  # noqa: PLC0415  takes as long to load as the rest of the command line
    from rich.table import Table  # noqa: PLC0415
    from rich.text import Text  # noqa: PLC0415

    table = Table(box=None, pad_edge=False, header_style="bold", show_header=with_header)
    for column in columns:
        table.add_column(column, overflow="fold")
    for row in rows:
        # Text, not str: rich would read [brackets] in a name as markup.
        table.add_row(*(Text(cell, style=_STYLES.get(cell, "")) for cell in row))
    # Of its own accord rich honours NO_COLOR for colours only, and goes on with bold.
    Console(color_system="auto" if _is_coloured() else None).print(table)


def _print_plain(columns: Row, rows: Sequence[Row], *, with_header: bool) -> None:
    widths = [max(map(len, cells)) for cells in zip(columns, *rows, strict=True)]
    for row in (columns, *rows) if with_header else rows:
        cells = (f"{cell:<{width}}" for cell, width in zip(row, widths, strict=True))
        click.echo("  ".join(cells).rstrip())
