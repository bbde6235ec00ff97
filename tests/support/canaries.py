"""What must be in no log of ours: the numbers, notes, tokens, secrets and paths that tests work with. A session ends
with a look at every log file below its folder, each test with one at what it printed (`tests/conftest.py`).

A canary is a value that only a customer's data or a setting holds, so that wherever it turns up, it leaked.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Final

from tests.support import events

# What is reserved for fiction is all that tests and the demo publish, in whichever spelling.
_FICTION: Final = ("63998", "19900", "26191", "35301", "46571", "53649")
_GAP: Final = r"[ .()/\-\\\u00a0\u202f]{0,3}"
_STARTS: Final = "|".join(_GAP.join(digits) for digits in _FICTION)
_PATTERNS: Final = {
    # No letter beside it: ids are of hex digits.
    "number": re.compile(
        rf"(?:(?<!\w)|(?<=%2[bB]))(?:(?:00)?33{_GAP})?0?{_GAP}(?:{_STARTS})(?:{_GAP}\d){{4}}(?!\w)", re.ASCII
    ),
    "note of a payload": re.compile(re.escape(events.NOTE)),
    "admin token": re.compile(r"adm1n-t0ken-of-the-tests|t0ken-of-the-tests"),
    "path of a URL": re.compile(r"hook-path-[0-9a-f]{8}"),
    "secret": re.compile(r"wh(?:sec|sk|r)_[\w+/=\-]{8}"),
    "bearer token": re.compile(r"[Bb]earer [\w\-.=+/]{12}"),
    "password": re.compile(r"\bhush\b|\bhunter2\b"),
}
MAX_LINE: Final = 200


def leaks_in(text: str) -> list[str]:
    """Which canaries are in a text, and where: the kind and the line, the canary itself taken out of it."""
    found: list[str] = []
    for kind, pattern in _PATTERNS.items():
        match = pattern.search(text)
        if match is not None:
            start, end = text.rfind("\n", 0, match.start()) + 1, text.find("\n", match.end())
            line = text[start : end if end >= 0 else None]
            found.append(f"{kind}: {pattern.sub('<canary>', line)[:MAX_LINE]}")
    return found


def logs_below(directory: Path) -> Iterable[Path]:
    """The log files that a session left: of routers, their workers, commands, the demo, and the servers we start."""
    return sorted(path for path in directory.rglob("*.log") if path.is_file())


def leaks_below(directory: Path) -> Sequence[str]:
    """Every leak in every log, with the file that has it."""
    return [
        f"{path.relative_to(directory)}: {leak}"
        for path in logs_below(directory)
        for leak in leaks_in(path.read_text(encoding="utf-8", errors="replace"))
    ]
