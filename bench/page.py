"""Writes what was measured into docs/performance.md, each between its two marks. Touches that file only."""

from __future__ import annotations

import shlex
from collections.abc import Mapping, Sequence

END = "<!-- /bench -->"


def mark_of(name: str) -> str:
    return f"<!-- bench:{name} -->"


def filled(page: str, tables: Mapping[str, Sequence[str]], *, command: str, machine: str) -> str:
    """The page with these tables in the place of those that it had. What it has no marks for is left out."""
    for name, lines in tables.items():
        mark = mark_of(name)
        block = "\n".join([mark, f"`{command}`, {machine}:", "", "```text", *lines, "```", END])
        before, found, rest = page.partition(mark)
        page = before + block + rest.partition(END)[2] if found else page
    return page


def command_of(arguments: Sequence[str]) -> str:
    """What to type to measure that again."""
    words, rest = [], list(arguments)
    while rest:
        word = rest.pop(0)
        if word == "--write":
            rest.pop(0)
        elif not word.startswith("--write="):
            words.append(word)
    return f'make bench ARGS="{shlex.join(words)}"' if words else "make bench"
