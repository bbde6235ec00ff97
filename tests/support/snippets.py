"""The code blocks of the documentation, and the commands in them. Reads pages; knows no rule about what they hold."""

from __future__ import annotations

import re
import shlex
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from textwrap import dedent
from typing import Final

ROOT: Final = Path(__file__).parents[2]
PAGES: Final = sorted({
    *ROOT.glob("*.md"), *(ROOT / "docs").rglob("*.md"), *(ROOT / "examples").rglob("*.md"),
    *(ROOT / "config").rglob("*.md"),
})  # fmt: skip

_FENCE: Final = re.compile(r"(?ms)^(?P<indent> *)```(?P<language>[^\n`]*)\n(?P<text>.*?)^(?P=indent)```$")
_SEPARATORS: Final = {"(", ")", ";", "|", "&", "&&", "||"}
_REDIRECTS: Final = {">", ">>", "<"}
_ASSIGNMENT: Final = re.compile(r"[A-Z_]+=")


@dataclass(frozen=True, slots=True, kw_only=True)
class Fence:
    """One code block of a page."""

    page: Path
    line: int
    language: str
    text: str

    def __str__(self) -> str:
        return f"{self.page.relative_to(ROOT)}:{self.line}"


@dataclass(frozen=True, slots=True, kw_only=True)
class Line:
    """One command line as it is typed, and what the page shows as its output."""

    page: Path
    typed: str
    output: str = ""

    def __str__(self) -> str:
        return f"{self.page.relative_to(ROOT)}: {self.typed[:60]}"


def fences(page: Path) -> Iterator[Fence]:
    text = page.read_text(encoding="utf-8")
    for found in _FENCE.finditer(text):
        line = text.count("\n", 0, found.start()) + 1
        yield Fence(page=page, line=line, language=found["language"], text=dedent(found["text"]))


def lines(fence: Fence) -> Iterator[Line]:
    """In a `console`, what follows a prompt (`$`, or `#` for root); in a `sh`, every line."""
    if fence.language == "sh":
        for typed in fence.text.replace("\\\n", " ").splitlines():
            yield Line(page=fence.page, typed=typed)
        return
    for typed, output in re.findall(r"(?ms)^[$#] ((?:[^\n]*\\\n)*[^\n]*)\n(.*?)(?=^[$#] |\Z)", fence.text):
        yield Line(page=fence.page, typed=typed.replace("\\\n", " "), output=output)


def commands(typed: str) -> Iterator[list[str]]:
    """The programs of a line with their arguments, without variables before them and files after them."""
    lexer = shlex.shlex(typed.replace("$(", " ( "), posix=True, punctuation_chars=True)
    lexer.whitespace_split = True
    words: list[str] = []
    tokens = iter([*lexer, ";"])
    for token in tokens:
        if token in _REDIRECTS:
            next(tokens)
        elif token not in _SEPARATORS:
            words.append(token)
        elif words:
            while words and _ASSIGNMENT.match(words[0]):
                words.pop(0)
            if words:
                yield words
            words = []
