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
_API: Final = re.compile(r"(?:\$API|http://127\.0\.0\.1:8080)(?=/)")
_OPTIONS_OF_CURL: Final = {"-s": 0, "-H": 1, "-X": 1, "-d": 1, "-o": 1, "-D": 1}
"""Those that the pages use, each with the number of its values."""
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


@dataclass(frozen=True, slots=True, kw_only=True)
class Call:
    """A request that a `curl` makes. `address` begins with the path."""

    method: str
    address: str
    headers: dict[str, str]
    body: str | None


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


def call_of(words: list[str]) -> Call:
    """What a `curl` with these words after its name asks of the API. Raises ValueError where it asks something else."""
    options: dict[str, list[str]] = {"-H": [], "-X": [], "-d": []}
    urls = []
    rest = iter(words)
    for word in rest:
        if word.startswith("-") and word not in _OPTIONS_OF_CURL:
            raise ValueError(f"curl {word}: tell this parser what it does")
        if word in _OPTIONS_OF_CURL:
            options.setdefault(word, []).extend(next(rest) for _ in range(_OPTIONS_OF_CURL[word]))
        else:
            urls.append(word)
    (url,) = urls
    if (ours := _API.match(url)) is None:
        raise ValueError(f"no address of our API: {url}")
    body = "".join(options["-d"]) or None
    (method,) = options["-X"] or ["POST" if body else "GET"]
    headers = dict(header.split(": ", 1) for header in options["-H"])
    return Call(method=method, address=url[ours.end() :], headers=headers, body=body)
