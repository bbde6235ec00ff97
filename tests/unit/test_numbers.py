"""Phone numbers: whatever the way of writing, matching and searching find the same one."""

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from router.domain.numbers import search_key, search_prefix, to_e164


@pytest.mark.parametrize(
    ("number", "country", "e164"),
    [
        # contract, section 3: one number
        ("0199001234", "FR", "+33199001234"),
        ("0033199001234", "FR", "+33199001234"),
        ("+33 1 99 00 12 34", "FR", "+33199001234"),
        ("+33199001234", "FR", "+33199001234"),
        # other ways of writing it
        ("01.99.00.12.34", "FR", "+33199001234"),
        ("01-99-00-12-34", "FR", "+33199001234"),
        ("01/99/00/12/34", "FR", "+33199001234"),
        ("01\u00a099\u202f00 12 34", "FR", "+33199001234"),
        (" 0199001234 ", "FR", "+33199001234"),
        ("+33 (0)1 99 00 12 34", "FR", "+33199001234"),
        ("+330199001234", "FR", "+33199001234"),
        ("+33199001234", "US", "+33199001234"),
        # other countries
        ("(202) 555-0123", "US", "+12025550123"),
        ("+1 202 555 0123", "FR", "+12025550123"),
        ("011 33 1 99 00 12 34", "US", "+33199001234"),
        ("020 7946 0958", "GB", "+442079460958"),
        ("+39 06 698 83121", "FR", "+390669883121"),  # Italy keeps its zero
        # no phone numbers
        ("", "FR", None),
        (" ", "FR", None),
        ("+", "FR", None),
        ("112", "FR", None),
        ("3949", "FR", None),
        ("anonymous", "FR", None),
        ("0199001234 ext 5", "FR", None),
        ("tel:+33199001234", "FR", None),
        ("٠١٩٩٠٠١٢٣٤", "FR", None),
        ("+999999999999999999", "FR", None),
        ("0" * 1_000, "FR", None),
        ("0199001234", "ZZ", None),
    ],
)
def test_every_way_of_writing_is_one_number(number: str, country: str, e164: str | None) -> None:
    assert to_e164(number, country) == e164


@settings(deadline=None)
@given(st.text(max_size=100))
def test_any_text_has_an_answer(text: str) -> None:
    number = to_e164(text, "FR")

    assert number is None or to_e164(number, "FR") == number


@pytest.mark.parametrize(
    ("number", "key"),
    [
        ("0639981122", "22118993633"),
        ("+33 6 39 98 11 22", "22118993633"),
        ("3949", "9493"),
        ("sip:3949@pbx", "9493"),
        ("123", None),
        ("anonymous", None),
        ("", None),
        ("9" * 100, "9" * 64),
    ],
)
def test_search_key_is_the_digits_backwards(number: str, key: str | None) -> None:
    assert search_key(number, "FR") == key


@pytest.mark.parametrize(
    ("typed", "finds", "finds_not"),
    [
        ("06 39 98 11 22", ["0639981122", "+33639981122"], ["+49639981122", "0639981123"]),
        ("+33639981122", ["0639981122", "0033639981122"], ["+44639981122"]),
        ("33639981122", ["0639981122"], []),
        ("(06) 39.98.11.22", ["0639981122"], []),
        ("1122", ["0639981122", "0199001122", "1122"], ["0639981221"]),
        (" 98 11 22 ", ["0639981122"], ["0699112288"]),
        ("0022", ["0199000022"], ["0199002200"]),
    ],
)
def test_search_finds_whole_numbers_and_last_digits(typed: str, finds: list[str], finds_not: list[str]) -> None:
    prefix = search_prefix(typed, "FR")

    assert [number for number in finds + finds_not if (search_key(number, "FR") or "").startswith(prefix)] == finds


@pytest.mark.parametrize("typed", ["", "   ", "112", "+33", "abcd", "1122x", "٠١٩٩٠٠١٢٣٤"])
def test_search_needs_four_digits(typed: str) -> None:
    with pytest.raises(ValueError, match="last 4 digits"):
        search_prefix(typed, "FR")
