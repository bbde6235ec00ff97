"""Where a publisher puts each logical field: paths into a JSON document, AMQP headers and properties.
Parses paths and follows them; knows no field by name and touches nothing.

Grammar of a path:

    path     = "@header." key | "@property." key | step *("." step / index)
    step     = bare / "'" any text "'"          a quoted key may hold dots, dashes and spaces
    index    = "[" digits "]"                   an array element, from 0
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from enum import Enum
from typing import Final

MAX_PATH_STEPS: Final = 16


class Origin(Enum):
    """The part of a delivery in which a path is followed."""

    BODY = "body"
    HEADER = "header"
    PROPERTY = "property"


@dataclass(frozen=True, slots=True)
class Path:
    """A parsed path: keys are strings, array positions are integers."""

    origin: Origin
    steps: tuple[str | int, ...]

    def follow(self, root: object) -> object | None:
        """The value at this path inside `root`, made of dicts and lists; None where any step is missing."""
        for step in self.steps:
            if isinstance(root, dict):
                root = root.get(step)
            elif isinstance(root, list) and isinstance(step, int) and step < len(root):
                root = root[step]
            else:
                return None
        return root


_STEP = re.compile(r"'(?P<quoted>[^']+)'|(?P<bare>[^.\[\]'@\s][^.\[\]']*)")
_INDEX = re.compile(r"\[(?P<index>\d{1,6})\]")
_OUTSIDE_BODY = {"@header.": Origin.HEADER, "@property.": Origin.PROPERTY}


def parse_path(text: str) -> Path:
    """Parse a path as written in the configuration. Raises ValueError that says where it went wrong."""
    for prefix, origin in _OUTSIDE_BODY.items():
        if text.startswith(prefix):
            key = text.removeprefix(prefix).strip("'")
            if not key:
                raise ValueError(f"a name is missing after {prefix!r}")
            return Path(origin, (key,))
    if text.startswith("@"):
        raise ValueError("a path that begins with '@' is '@header.NAME' or '@property.NAME'")
    return Path(Origin.BODY, tuple(_parse_steps(text)))


def _parse_steps(text: str) -> list[str | int]:
    steps: list[str | int] = []
    position = 0
    while True:
        step = _STEP.match(text, position)
        if step is None:
            raise ValueError(f"a key is expected at character {position + 1} of {text!r}")
        steps.append(step["quoted"] or step["bare"])
        position = step.end()
        while index := _INDEX.match(text, position):
            steps.append(int(index["index"]))
            position = index.end()
        if len(steps) > MAX_PATH_STEPS:
            raise ValueError(f"a path has at most {MAX_PATH_STEPS} steps")
        if position == len(text):
            return steps
        if text[position] != ".":
            raise ValueError(f"'.' or '[' is expected at character {position + 1} of {text!r}")
        position += 1
