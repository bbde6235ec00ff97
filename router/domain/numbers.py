"""Phone numbers: any way of writing one becomes E.164 for matching, and reversed digits for search.
Pure; delegates the numbering plans to `phonenumbers`.
"""

from __future__ import annotations

import re
from functools import lru_cache
from typing import Final

import phonenumbers

MIN_SEARCH_DIGITS: Final = 4
"""A search by last digits needs at least this many (contract, section 6)."""
MAX_NUMBER_LENGTH: Final = 64
"""Longer texts are no phone number and are not parsed."""

# E.164 as publishers send it. A zero right after a country code of one to three digits may be a
# trunk prefix that was kept by mistake (+330199…), so those take the slow way through the library.
_PLAIN_E164 = re.compile(r"\+[1-9][1-9]{3}[0-9]{4,11}")
_NOT_DIGITS = re.compile(r"\D")
_LOOKS_LIKE_NUMBER = re.compile(r"[+0-9 ().\-/\u00a0\u202f]+")


def to_e164(number: str, country: str) -> str | None:
    """`number` in E.164, read as dialled in `country` (ISO 3166 alpha-2); None when it is no phone number.

    `0199001234`, `0033199001234` and `+33 1 99 00 12 34` all give `+33199001234` for FR.
    """
    if _PLAIN_E164.fullmatch(number):
        return number
    return _parse(number, country)


@lru_cache(maxsize=16_384)
def _parse(number: str, country: str) -> str | None:
    if len(number) > MAX_NUMBER_LENGTH or not _LOOKS_LIKE_NUMBER.fullmatch(number):
        return None
    try:
        # The narrow space of French typography is the one separator that the library does not know.
        parsed = phonenumbers.parse(number.replace("\u202f", " "), country)
    except phonenumbers.NumberParseException:
        return None
    if not phonenumbers.is_possible_number(parsed):
        return None
    return phonenumbers.format_number(parsed, phonenumbers.PhoneNumberFormat.E164)


def search_key(number: str, country: str) -> str | None:
    """What a number is found by: its international digits, last digit first. None when it has too few digits.

    Reversed, a search by last digits is a range over an ordinary index.
    """
    digits = _NOT_DIGITS.sub("", to_e164(number, country) or number)[:MAX_NUMBER_LENGTH]
    return digits[::-1] if len(digits) >= MIN_SEARCH_DIGITS else None


def search_prefix(text: str, country: str) -> str:
    """The prefix of `search_key` that a person who typed `text` looks for.

    A number written with `+` or a leading 0 is looked for whole; other digits as the end of a number.
    Raises ValueError when fewer than four digits are given.
    """
    digits = _NOT_DIGITS.sub("", text)
    if len(digits) < MIN_SEARCH_DIGITS or not _LOOKS_LIKE_NUMBER.fullmatch(text.strip()):
        raise ValueError(f"a phone number, or at least its last {MIN_SEARCH_DIGITS} digits")
    whole = to_e164(text.strip(), country) if text.strip()[0] in "+0(" else None
    return (whole.removeprefix("+") if whole else digits)[::-1]
