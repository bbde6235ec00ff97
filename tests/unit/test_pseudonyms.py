"""The names that numbers and URLs have in logs: the same for each way of writing one, another under another key."""

from __future__ import annotations

import re

import phonenumbers
import pytest
from hypothesis import given
from hypothesis import strategies as st
from phonenumbers import PhoneNumberFormat

from router.telemetry.pseudonyms import Pseudonyms

KEYED = Pseudonyms("a key of the tests", "FR")
FICTIONAL = st.integers(0, 9999).map(lambda end: f"+3363998{end:04}") | st.integers(0, 9999).map(
    lambda end: f"+3319900{end:04}"
)
FORMATS = st.sampled_from(
    [PhoneNumberFormat.E164, PhoneNumberFormat.INTERNATIONAL, PhoneNumberFormat.NATIONAL, PhoneNumberFormat.RFC3966]
)


@given(number=FICTIONAL, written_as=FORMATS)
def test_a_number_has_one_name_however_it_is_written(number: str, written_as: int) -> None:
    written = phonenumbers.format_number(phonenumbers.parse(number), written_as).removeprefix("tel:")

    assert KEYED.number(written) == KEYED.number(number)
    assert KEYED.number(number[1:]) == KEYED.number(number)
    assert KEYED.number(f"%2B{number[1:]}") == KEYED.number(number)


def test_the_name_of_a_number_is_a_hash_and_two_digits() -> None:
    assert re.fullmatch(r"pn:[0-9a-f]{8}:22", KEYED.number("06 39 98 11 22"))


def test_without_the_key_nobody_can_name_a_number() -> None:
    assert Pseudonyms("a key of the tests").number("0639981122") == KEYED.number("0639981122")
    assert len({Pseudonyms(key).number("0639981122") for key in ("a", "b", "a" * 64, "a" * 65, None, None)}) == 6


@pytest.mark.parametrize(
    ("url", "name"),
    [
        ("https://crm.example.com/hook", r"url:[0-9a-f]{8}:crm\.example\.com"),
        ("https://crm.example.com:8443?token=hush", r"url:[0-9a-f]{8}:crm\.example\.com:8443"),
        ("http://u:p@crm.example.com/", r"url:[0-9a-f]{8}:crm\.example\.com"),
        ("https://[fd00::5]:8443/hook", r"url:[0-9a-f]{8}:\[fd00::5\]:8443"),
        ("https://crm.example.com/", r"https://crm\.example\.com/"),
        # A password that looks like the end of a host: nothing is shown.
        ("https://u:pa/ss@crm.example.com/", r"url:[0-9a-f]{8}:"),
        ("https://u:pa?ss@crm.example.com/", r"url:[0-9a-f]{8}:"),
        ("https://u%40x y@crm.example.com/", r"url:[0-9a-f]{8}:"),
    ],
)
def test_the_name_of_a_url_is_a_hash_and_its_host(url: str, name: str) -> None:
    assert re.fullmatch(name, KEYED.url(url))


def test_two_paths_of_one_host_have_two_names() -> None:
    assert KEYED.url("https://crm.example.com/a") != KEYED.url("https://crm.example.com/b")
