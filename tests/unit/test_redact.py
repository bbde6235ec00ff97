"""What the log takes out: secrets by name and by look, phone numbers down to their last two digits."""

from __future__ import annotations

import enum
import re
import time
from datetime import UTC, datetime, timedelta, timezone

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from router.telemetry.pseudonyms import Pseudonyms
from router.telemetry.redact import _SENSITIVE, _SUSPECT, MAX_TEXT_LENGTH, Redactor

PSEUDONYMS = Pseudonyms("a key of the tests", "FR")
REDACTOR = Redactor(PSEUDONYMS)
redact_text, redact_field, redact = REDACTOR.text, REDACTOR.field, REDACTOR.value


CALLER = PSEUDONYMS.number("+33639981122")


def named(text: str) -> str:
    """`text` with the real pseudonyms of what stands in « » of it."""
    return re.sub("«(.*?)»", lambda match: pseudonym(match[1]), text)


def pseudonym(of: str) -> str:
    return PSEUDONYMS.url(of) if of.lower().startswith("http") else PSEUDONYMS.number(of)


@pytest.mark.parametrize(
    ("text", "redacted"),
    [
        # signing secrets, keys, tokens
        ("secret whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw=, kept", "secret whsec_***, kept"),
        ("whsk_abc/+=", "whsk_***"),
        ("token=whr_12345678_abcDEF", "token=whr_***"),
        ("authorization: Bearer abc.def-ghi_jkl", "authorization: Bearer ***"),
        ("BEARER  0123456789abcdef;", "BEARER  ***;"),
        ("authorization: Basic dTpodXNo", "authorization: Basic ***"),
        ("BASIC dTpodXNoaHVzaA==;", "BASIC ***;"),
        ("signs with whsk_6Xb/dCcHpPea21PS1N9VY== now", "signs with whsk_*** now"),
        # URLs: user, password, query, fragment
        ("amqp://guest:hunter2@rabbit:5672/", "amqp://***@rabbit:5672/"),
        ("mongodb://u:p@ss@a,b/?replicaSet=rs0", "mongodb://***@a,b/?***"),
        ("amqp://u:hun/ter2@rabbit/", "amqp://***@rabbit/"),
        (
            "cannot reach https://crm.example.com/hook?key=s3cr3t now",
            "cannot reach «https://crm.example.com/hook?key=s3cr3t» now",
        ),
        ("https://crm.example.com/hook?s3cr3t", "«https://crm.example.com/hook?s3cr3t»"),
        ("(see https://crm.example.com:8443/t0ken/hook).", "(see «https://crm.example.com:8443/t0ken/hook»)."),
        ("HTTPS://u:p@crm.example.com", "«HTTPS://u:p@crm.example.com»"),
        ("https://crm.example.com/#access_token=s3cr3t", "«https://crm.example.com/#access_token=s3cr3t»"),
        ("GET /v1/deliveries?number=%2B33639981122 HTTP/1.1", "GET /v1/deliveries?*** HTTP/1.1"),
        # phone numbers: each way of writing one has one name
        ("+33639981122", "«+33639981122»"),
        ("<sip:+33639981122@10.0.0.1>", "<sip:«+33639981122»@10.0.0.1>"),
        ("+33 6 39 98 11 22.", "«+33639981122»."),
        ("+33 (0)6.39.98.11.22", "«+33639981122»"),
        ("+44 7700 900123", "«+447700900123»"),
        ("%2B33639981122", "«+33639981122»"),
        ("called 06 39 98 11 22, then 0199001234!", "called «+33639981122», then «+33199001234»!"),
        ("06.39.98.11.22 06-39-98-11-22", "«+33639981122» «+33639981122»"),
        ("0033639981122", "«+33639981122»"),
        ("00 33 6 39 98 11 22", "«+33639981122»"),
        ("from 33639981122: busy", "from «+33639981122»: busy"),
        ("+12345678", "«+12345678»"),
        ("+123456789012345", "«+123456789012345»"),
    ],
)
def test_sensitive_text_is_masked(text: str, redacted: str) -> None:
    assert redact_text(text) == named(redacted)
    assert redact_text(named(redacted)) == named(redacted)


@pytest.mark.parametrize(
    "text",
    [
        "", "delivery attempted", "basic authentication was refused", "Basic auth",
        "evt_01JP2V8Q4S9T6C3M7K5N1R0XAB", "c-7f3e0b5a-2c41-4c0e-9a57-1d1f6a2b9c10",
        "2025-03-11T09:14:07.412Z", "2025-03-11T09:14:07+01:00", "https://hooks.crm.example.com:8443/", "https://[fd00::5]:8443",
        "127.0.0.1:5672", "+1234567", "0.0612345678", "dl_0612345678", "06123456789",
        "33612345678-0", "x-33612345678", "336123456789", "1741684447", "1042",
        "wh_01JP2V8Q4S9T6C3M7K5N1R0XAB", "why? because", "#42 is done", "a+b", "bearer of news", "Élodie",
    ],
)  # fmt: skip
def test_innocent_text_is_left_alone(text: str) -> None:
    assert redact_text(text) is text


@settings(deadline=None)  # a loaded machine is slow
@given(st.text(alphabet="whsecrkB E+%2b0123456789 .-?#=:/@a\u00a0"))
def test_the_quick_check_misses_nothing(text: str) -> None:
    if _SENSITIVE.search(text):
        assert _SUSPECT.search(text)


@pytest.mark.parametrize(
    "unit",
    [
        "://",
        "://a:",
        "+1",
        "+1 ( ",
        "0",
        "01 ",
        "00 1",
        "a?",
        "#a",
        "#a.-",
        "whr_",
        "Bearer ",
        "Basic ",
        "Basic a",
        "://a@",
        "?#",
    ],
)
def test_hostile_text_takes_linear_time(unit: str) -> None:
    text = (unit * 100_000)[:100_000]
    begin = time.process_time()
    redact_text(text)
    assert time.process_time() - begin < 1


def test_long_text_loses_its_middle_after_its_secrets() -> None:
    text = redact_text("a" * (MAX_TEXT_LENGTH // 2 - 3) + "whsec_" + "b" * MAX_TEXT_LENGTH + "=")
    assert len(text) < MAX_TEXT_LENGTH + 50
    assert "bbb" not in text


@pytest.mark.parametrize(
    "name",
    [
        "secret", "admin_token", "Authorization", "x-api-key", "apiKey", "set-cookie", "password", "passwd",
        "tlsCertificateKeyFilePassword", "private_key", "secrets", "credentials", "access_token",
    ],
)  # fmt: skip
def test_field_with_a_secret_name_is_masked(name: str) -> None:
    assert redact_field(name, "anything") == "***"
    assert redact_field(name, ["anything"]) == "***"
    assert redact({"headers": {name: b"anything"}}) == {"headers": {name: "***"}}


@pytest.mark.parametrize(
    ("name", "value"),
    [("token_id", "t-1"), ("token_prefix", "whr"), ("tokens", 3), ("secret", None), ("keyword", "x"), ("secret", True)],
)
def test_field_that_only_sounds_secret_is_kept(name: str, value: object) -> None:
    assert redact_field(name, value) == value


@pytest.mark.parametrize(
    ("name", "value", "redacted"),
    [
        ("caller_number", "33639981122", CALLER),
        ("number", 33639981122, CALLER),
        ("tracking_number", "anonymous", "anonymous"),
        ("number", 3, 3),
        ("extension_number", "1024", "1024"),
        ("phone", None, None),
        ("attempt_number", True, True),
    ],
)
def test_field_with_the_name_of_a_number_keeps_two_digits(name: str, value: object, redacted: object) -> None:
    assert redact_field(name, value) == redacted


class Colour(enum.StrEnum):
    RED = "red"


class Number(enum.Enum):
    CALLER = "+33639981122"


@pytest.mark.parametrize(
    ("value", "plain"),
    [
        (Colour.RED, "red"),
        (Number.CALLER, CALLER),
        (2**64 - 1, 2**64 - 1),
        (2**64, str(2**64)),
        (-(2**63) - 1, str(-(2**63) - 1)),
        (1.5, 1.5),
        (True, True),
        (None, None),
        (b"\xff+33639981122", "\\xff" + CALLER),
        ({"a": ("+33639981122", {"b"})}, {"a": [CALLER, ["b"]]}),
        ({"+33639981122": 1, 2: 3}, {CALLER: 1, "2": 3}),
        (ValueError("amqp://u:p@h"), "amqp://***@h"),
        (datetime(2025, 3, 11, 10, 14, 7, tzinfo=timezone(timedelta(hours=1))), "2025-03-11T09:14:07.000Z"),
        (datetime(2025, 3, 11, tzinfo=UTC), "2025-03-11T00:00:00.000Z"),
    ],
)
def test_any_value_becomes_plain(value: object, plain: object) -> None:
    assert redact(value) == plain


def test_nesting_ends() -> None:
    knot: list[object] = []
    knot.append({"again": knot})
    assert "…" in str(redact(knot))
