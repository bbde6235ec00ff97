"""A person's number as somebody asks for all that is held about it: how to find it in the search keys and in a text.
Pure; delegates the numbering plans to `phonenumbers`.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Final

import phonenumbers

from router.domain.errors import InvalidInput
from router.domain.numbers import search_key, to_e164

MIN_BARE_DIGITS: Final = 7
"""A national number without its trunk prefix is looked for only when it has as many: fewer are any number."""
# What people and programs put between digits, up to three of it: a bound, so that the time stays linear.
_BETWEEN: Final = r"[ .()/\-\\\t\u00a0\u2009\u202f\u2010-\u2013]{0,3}"
_ESCAPE: Final = re.compile(r"\\u([0-9a-fA-F]{4})")


@dataclass(frozen=True, slots=True, kw_only=True)
class Subject:
    """One number, whoever wrote it how. `search_key` finds it among the keys of deliveries."""

    e164: str
    search_key: str
    pattern: re.Pattern[str]

    def is_in(self, body: bytes) -> bool:
        """Whether the number is anywhere in a body: text, or JSON with its escapes. What is compressed or encoded
        again inside of it is not seen."""
        text = body.decode("utf-8", "replace")
        if "\\u" in text:
            text = _ESCAPE.sub(lambda match: chr(int(match[1], 16)), text)
        return self.pattern.search(text) is not None

    def is_number(self, number: str | None, country: str) -> bool:
        """Whether `number`, as dialled in `country`, is this one."""
        return number is not None and to_e164(number, country) == self.e164


def subject_of(number: str, country: str) -> Subject:
    """The subject that somebody typed, as dialled in `country`. Raises InvalidInput for what is no whole number."""
    e164 = to_e164(number.strip(), country)
    key = search_key(e164, country) if e164 else None
    if e164 is None or key is None:
        raise InvalidInput("number", "must be a whole phone number, like 06 39 98 11 22 or +33639981122")
    return Subject(e164=e164, search_key=key, pattern=_pattern(e164))


def _pattern(e164: str) -> re.Pattern[str]:
    """Every way of writing the number, and no longer row of digits that holds it."""
    parsed = phonenumbers.parse(e164)
    code, national = str(parsed.country_code), phonenumbers.national_significant_number(parsed)
    dialled = re.sub(r"\D", "", phonenumbers.format_number(parsed, phonenumbers.PhoneNumberFormat.NATIONAL))
    trunk = dialled.removesuffix(national)
    prefixes = {code, f"00{code}", f"011{code}", f"{code}0", f"00{code}0", trunk}
    if len(national) < MIN_BARE_DIGITS:
        prefixes.discard("")
    else:
        prefixes.add("")
    before = "|".join(_spaced(prefix) for prefix in sorted(prefixes, key=len, reverse=True))
    # Of %2B33… the digit of the escape stands before ours.
    return re.compile(rf"(?:(?<!\d)|(?<=%2[bB]))(?:{before}){_spaced(national, last=True)}(?!\d)", re.ASCII)


def _spaced(digits: str, *, last: bool = False) -> str:
    return _BETWEEN.join(digits) + ("" if last or not digits else _BETWEEN)
