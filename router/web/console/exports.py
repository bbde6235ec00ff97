"""What readers take away: rows as CSV, a request as a curl command. Pure text; nothing secret goes in."""

from __future__ import annotations

import csv
from collections.abc import Iterable, Mapping, Sequence
from io import StringIO
from typing import Final

FORMULA_STARTS: Final = ("=", "+", "-", "@", "\t", "\r")
"""A cell that begins so is a formula to spreadsheets, whoever wrote it."""
MAX_QUOTED_BODY_BYTES: Final = 8_192
"""A longer body is read from a file by the command, as is one that no shell can hold."""


def csv_file(columns: Sequence[str], rows: Iterable[Sequence[str]], delimiter: str = ",") -> bytes:
    """RFC 4180, UTF-8 with the mark that spreadsheets know it by."""
    text = StringIO()
    writer = csv.writer(text, delimiter=delimiter)
    writer.writerow(columns)
    writer.writerows([_harmless(cell) for cell in row] for row in rows)
    return text.getvalue().encode("utf-8-sig", "replace")


def _harmless(cell: str) -> str:
    return f"'{cell}" if cell.startswith(FORMULA_STARTS) else cell


def shell_quoted(text: str) -> str:
    """One word of a POSIX shell, whatever is in it."""
    return "'" + text.replace("'", "'\\''") + "'"


def curl_command(url: str, headers: Mapping[str, str], body: bytes, file_name: str) -> str:
    """The request for a shell. A body that is long, or not plain text, comes from `file_name`."""
    try:
        text: str | None = body.decode()
    except UnicodeDecodeError:
        text = None
    is_plain = (
        text is not None
        and len(body) <= MAX_QUOTED_BODY_BYTES
        and all(character.isprintable() or character in "\n\t" for character in text)
    )
    data = shell_quoted(text) if is_plain and text is not None and not text.startswith("@") else f"@{file_name}"
    parts = [f"curl -X POST {shell_quoted(url)}"]
    parts += [f"-H {shell_quoted(f'{name}: {value}')}" for name, value in headers.items()]
    parts.append(f"--data-binary {data}")
    return " \\\n  ".join(parts)
