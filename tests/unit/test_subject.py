"""A number is found in whatever way it was written, and no other number is taken for it."""

from __future__ import annotations

import json
import re
import time

import phonenumbers
import pytest
from hypothesis import given
from hypothesis import strategies as st
from phonenumbers import PhoneNumberFormat

from router.domain.errors import InvalidInput
from router.domain.numbers import search_key
from router.domain.subject import subject_of

FICTIONAL = st.integers(0, 9999).map(lambda end: f"+3363998{end:04}") | st.integers(0, 9999).map(
    lambda end: f"+3319900{end:04}"
)
FORMATS = st.sampled_from(
    [PhoneNumberFormat.E164, PhoneNumberFormat.INTERNATIONAL, PhoneNumberFormat.NATIONAL, PhoneNumberFormat.RFC3966]
)
SEPARATORS = st.sampled_from(["", " ", ".", "-", "/", "\u00a0", "\u202f", " - ", ") ("])


def written(number: str, form: int, separator: str) -> str:
    text = phonenumbers.format_number(phonenumbers.parse(number), form)
    return re.sub("[ -]", lambda _: separator, text)


@given(number=FICTIONAL, form=FORMATS, separator=SEPARATORS, is_ascii=st.booleans())
def test_a_number_is_found_however_it_is_written(number: str, form: int, separator: str, is_ascii: bool) -> None:
    body = json.dumps({"id": 1741684447, "data": {"note": f"é: {written(number, form, separator)}, 3"}})

    subject = subject_of(written(number, form, "").removeprefix("tel:"), "FR")

    assert subject.e164 == number
    assert subject.is_in(json.dumps(json.loads(body), ensure_ascii=is_ascii).encode())


@given(number=FICTIONAL, other=FICTIONAL, form=FORMATS, separator=SEPARATORS)
def test_another_number_is_not_taken_for_it(number: str, other: str, form: int, separator: str) -> None:
    is_found = subject_of(number, "FR").is_in(written(other, form, separator).encode())

    assert is_found == (number == other)


@pytest.mark.parametrize(
    "text",
    [
        "0639981122", "06 39 98 11 22", "+33 (0)6 39 98 11 22", "0033639981122", "00 33 6 39 98 11 22", "33639981122",
        "639981122", '{"n": 33639981122}', "06\\/39\\/98\\/11\\/22", "06\\u00a039\\u00a098\\u00a011\\u00a022",
        "?number=%2B33639981122&x", "tel:+33-6-39-98-11-22", "x0639981122x", "06.39.98.11.22.", "33 06 39 98 11 22",
    ],
)  # fmt: skip
def test_spellings_that_are_found(text: str) -> None:
    assert subject_of("06 39 98 11 22", "FR").is_in(text.encode())


@pytest.mark.parametrize(
    "text",
    [
        "06399811220", "10639981122", "0639981123", "063998112", "+34639981122", "0639 981 ... 122", "1639981122",
        "44639981122",
    ],
)  # fmt: skip
def test_longer_and_other_rows_of_digits_are_not(text: str) -> None:
    assert not subject_of("06 39 98 11 22", "FR").is_in(text.encode())


@pytest.mark.parametrize(("number", "text"), [("+1 202 555 0143", "(202) 555-0143"), ("+447700900123", "07700 900123")])
def test_other_countries_have_their_own_trunk_prefix(number: str, text: str) -> None:
    assert subject_of(number, "FR").is_in(text.encode())


@pytest.mark.parametrize("text", ["", "1122", "anonymous", "0639", "+33", "a" * 100])
def test_what_is_no_whole_number_is_refused(text: str) -> None:
    with pytest.raises(InvalidInput) as caught:
        subject_of(text, "FR")
    assert caught.value.field == "number"


def test_the_search_key_is_that_of_deliveries() -> None:
    assert subject_of("06 39 98 11 22", "FR").search_key == search_key("+33639981122", "FR")


def test_bytes_that_are_no_text_are_searched_too() -> None:
    assert subject_of("0639981122", "FR").is_in(b"\xff\x00+33639981122\xfe")


@pytest.mark.parametrize("unit", ["0", "06", "0 6 ", "6399811", "33 ", "   ", "0 - ", "\\u0030"])
def test_hostile_bodies_take_linear_time(unit: str) -> None:
    body = (unit * 1_000_000)[:1_000_000].encode()
    begin = time.process_time()
    subject_of("0639981122", "FR").is_in(body)
    assert time.process_time() - begin < 3
