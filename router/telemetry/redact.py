"""Takes secrets, phone numbers and URLs out of what is logged, by the name of a field and by the look of a value.
Pure, over plain values; touches nothing.

This is the last line of defence and not the first, which is not to log such a value at all.
"""

from __future__ import annotations

import re
import traceback
from collections.abc import Iterable, Mapping, Set
from datetime import UTC, datetime
from enum import Enum
from functools import lru_cache
from typing import Final

from router.telemetry.pseudonyms import Pseudonyms

MASK: Final = "***"
MAX_TEXT_LENGTH: Final = 16_384
"""Characters of one text that are kept; the middle of a longer one is left out."""
MAX_DEPTH: Final = 8
"""Levels of nesting that are kept."""
MIN_NUMBER_DIGITS: Final = 8
"""Fewer digits are no full phone number: extensions, short codes, counters."""


def place_of(error: BaseException) -> str:
    """Where an exception was raised, as a traceback has it, without its text: that of one raised over an event or a
    document may quote it."""
    return "".join(traceback.format_tb(error.__traceback__))


# What every match of the pattern below holds some part of: nearly all texts end here, in a third of the time.
_SUSPECT = re.compile(r"://|[?#+]|%2|wh[sr]|[eE](?:arer|ARER) |[aA](?:sic|SIC) |0[\d .\-\u00a0\u202f]{9}|33[1-9]\d{8}")

# No branch gives back more than a bounded number of characters to take them again: the time stays
# proportional to the length of the text, whoever wrote it.
_SENSITIVE = re.compile(
    r"""
      (?P<token> wh(?:sec|sk|r)_ ) [\w+/=.\-]+                          # signing secrets and keys, API tokens
    | (?P<bearer> [Bb](?:earer|EARER)[ ]+ ) [^\s"',;]{8,}
    | (?P<basic> [Bb](?:asic|ASIC)[ ]+ ) (?=[a-z]{0,64}[A-Z0-9+/=]) [\w+/=\-]{4,}   # base64, and no word of a sentence
    | (?P<url> [hH][tT][tT][pP][sS]?:// [^\s"'<>\\]* [^\s"'<>\\.,;:)\]}] )
    | (?P<login> ://) (?: [^\s/?\#"'<>\\]* | [^\s/?\#"'<>\\@:]{1,64} : [^\s"'<>\\@]{1,256} ) @
    | (?P<query> [?\#] ) (?: (?<=[^\s?]\?) | (?=[\w.\-]+=) ) [^\s"'<>\\]+   # ?anything after a text, #key=value
    | (?P<international> (?:\+|%2[Bb]) \d (?:[ .()/\-\u00a0\u202f]{0,2}\d){7,} )
    | (?P<dialled> 00 (?<![\w.]00) [ .\-]? [1-9] (?:[ .\-\u00a0\u202f]?\d){7,13} (?!\w) )
    | (?P<national> 0 (?<![\w.]0) [1-9] (?:[ .\-\u00a0\u202f]?\d\d){4} (?!\w) )     # France: 0X XX XX XX XX
    | (?P<bare> 33 (?<![\w.\-]33) [1-9] \d{8} (?![\w\-]) )              # France without its plus
    """,
    re.VERBOSE,
)

_SECRET_NAME = re.compile(
    r"(?:secret|token|passwor[dt]|passwd|passphrase|pwd|authorization|cookie|credential"
    r"|api[_-]?key|private[_-]?key|signing[_-]?key)s?$",
    re.IGNORECASE,
)
_NUMBER_NAME = re.compile(r"(?:number|phone|caller|callee|msisdn)s?$", re.IGNORECASE)
_DIGIT = re.compile(r"\d")


@lru_cache(maxsize=4096)
def _kind_of_name(name: str) -> str:
    """What a field of this name holds: `secret`, `number`, or nothing special."""
    if _SECRET_NAME.search(name):
        return "secret"
    return "number" if _NUMBER_NAME.search(name) else ""


class Redactor:
    """What takes out what must not be logged; numbers and URLs leave their pseudonym behind."""

    def __init__(self, pseudonyms: Pseudonyms) -> None:
        self._pseudonyms = pseudonyms

    def text(self, text: str) -> str:
        """`text` without secrets, numbers and the paths of URLs."""
        if _SUSPECT.search(text):
            text = _SENSITIVE.sub(self._mask_match, text)
        # Only now: a cut through the middle of a secret would hide it from the pattern.
        if len(text) > MAX_TEXT_LENGTH:
            half = MAX_TEXT_LENGTH // 2
            return f"{text[:half]}…({len(text) - 2 * half} characters)…{text[-half:]}"
        return text

    def _mask_match(self, match: re.Match[str]) -> str:
        kind = match.lastgroup
        if kind in {"token", "bearer", "basic", "query"}:
            return match[kind] + MASK
        if kind == "login":
            return f"://{MASK}@"
        return self._pseudonyms.url(match[0]) if kind == "url" else self._pseudonyms.number(match[0])

    def field(self, name: str, value: object, depth: int = 0) -> object:
        """The value of a field as `value` gives it, or less where the name says what it is."""
        kind = _kind_of_name(name)
        if kind == "secret" and value is not None and not isinstance(value, int | float):
            return MASK
        if kind == "number" and isinstance(value, str | int):
            # Publishers send numbers without a plus, and as JSON integers.
            text = str(value)
            if len(_DIGIT.findall(text)) >= MIN_NUMBER_DIGITS:
                return self._pseudonyms.number(text)
        return self.value(value, depth)

    def value(self, value: object, depth: int = 0) -> object:
        """`value` as text, number, list or dict, whatever it was, with everything in it redacted."""
        if type(value) is str:  # the exact class first: nearly every value is one
            return self.text(value)
        if value is None or isinstance(value, bool | float):
            return value
        if isinstance(value, int) and -(2**63) <= value < 2**64:
            return int(value)
        if isinstance(value, Mapping | list | tuple | Set):
            return self._container(value, depth + 1) if depth < MAX_DEPTH else "…"
        return self.text(_text_of(value))

    def _container(self, value: Mapping[object, object] | Iterable[object], depth: int) -> object:
        if isinstance(value, Mapping):
            return {self.text(str(name)): self.field(str(name), inner, depth) for name, inner in value.items()}
        return [self.value(inner, depth) for inner in value]


def _text_of(value: object) -> str:
    """Anything else as text; integers beyond 64 bits too, at which JSON writers stop and publishers do not."""
    if isinstance(value, Enum):
        return str(value.value)
    if isinstance(value, datetime) and value.tzinfo is not None:
        return value.astimezone(UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")
    if isinstance(value, bytes | bytearray):
        return value.decode("utf-8", "backslashreplace")
    return str(value)
