"""Untrusted bytes become an event or a rejection, and nothing else."""

from __future__ import annotations

import base64
import gzip
import json
import zlib
from dataclasses import replace
from datetime import UTC, datetime
from typing import Any
from zoneinfo import ZoneInfo

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from router.adapters.rabbitmq.codec import MAX_GZIP_MEMBERS, decode
from router.adapters.rabbitmq.config import DecodingRules, FieldPaths, TimeFormat
from router.domain.event import Event, EventType, Rejection, RejectionReason, id_from_body
from router.domain.fields import Path, parse_path
from router.ports import MessageProperties, RawMessage

RECEIVED = datetime(2031, 1, 1, tzinfo=UTC)
DEFAULTS = {
    **{name: name for name in FieldPaths.__dataclass_fields__},
    "caller_number": "data.caller.number",
    "redirection_number": "data.redirection_number",
}
MAX_BYTES, MAX_INFLATED, MAX_DEPTH = 1_000, 2_000, 10


def rules(
    event_type: EventType | None = EventType.CALL, fields: dict[str, str] | None = None, **rest: Any
) -> DecodingRules:
    paths: dict[str, tuple[Path, ...]] = {
        name: (parse_path(text),) for name, text in (DEFAULTS | (fields or {})).items()
    }
    defaults: dict[str, Any] = {
        "time_zone": ZoneInfo("Europe/Paris"),
        "country": "FR",
        "max_message_bytes": MAX_BYTES,
        "max_inflated_bytes": MAX_INFLATED,
        "max_depth": MAX_DEPTH,
    }
    return DecodingRules(fields=FieldPaths(**paths), event_type=event_type, **(defaults | rest))


def raw(body: bytes, **properties: Any) -> RawMessage:
    return RawMessage(
        body=body,
        source="call",
        exchange="call",
        routing_key="call.received.1042",
        properties=MessageProperties(**properties),
        received_at=RECEIVED,
        redelivered=False,
    )


def event(body: object, by: DecodingRules | None = None, **properties: Any) -> Event:
    found = decode(raw(body if isinstance(body, bytes) else json.dumps(body).encode(), **properties), by or rules())
    assert isinstance(found, Event), found
    return found


def reason(body: bytes, by: DecodingRules | None = None, **properties: Any) -> RejectionReason:
    found = decode(raw(body, **properties), by or rules())
    assert isinstance(found, Rejection), found
    return found.reason


# --- the payload is carried as it is ---------------------------------------------------------------


@pytest.mark.parametrize(
    "extra",
    [
        b'"n": 9223372036854775808123',
        b'"n": 1e3',
        b'"n": 1e400',
        b'"n": 1.0',
        '"é": "à ü 漢"'.encode(),
        b'"a.b": {"$ne": 1}',
        b'"twice": 1, "twice": 2',
        b'"lone": "\\ud800"',
        b'"nul": "\\u0000"',
        b'"spaces"   :\t[ 1,\n 2 ]',
        b'"digits": ' + b"1" * 500,
    ],
)
def test_valid_json_is_carried_byte_for_byte(extra: bytes) -> None:
    body = b'{"account_id": "1042", ' + extra + b"}"

    assert event(body).payload == body


# --- what is rejected ------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("body", "expected"),
    [
        (b"", RejectionReason.NOT_JSON),
        (b"garbage", RejectionReason.NOT_JSON),
        (b'{"account_id": "1"', RejectionReason.NOT_JSON),
        (b'{"account_id": "1", "n": NaN}', RejectionReason.NOT_JSON),
        (b'{"account_id": "1", "n": Infinity}', RejectionReason.NOT_JSON),
        (b'\xef\xbb\xbf{"account_id": "1"}', RejectionReason.NOT_JSON),
        (b'{"account_id": "\xff"}', RejectionReason.NOT_JSON),
        (b"[]", RejectionReason.NOT_AN_OBJECT),
        (b"null", RejectionReason.NOT_AN_OBJECT),
        (b"12", RejectionReason.NOT_AN_OBJECT),
        (b'"text"', RejectionReason.NOT_AN_OBJECT),
        (b"{}", RejectionReason.NO_ACCOUNT),
        (b'{"account_id": null}', RejectionReason.NO_ACCOUNT),
        (b'{"account_id": ""}', RejectionReason.NO_ACCOUNT),
        (b'{"account_id": true}', RejectionReason.NO_ACCOUNT),
        (b'{"account_id": ["1"]}', RejectionReason.NO_ACCOUNT),
        (b'{"account_id": "1", "type": "sms"}', RejectionReason.UNKNOWN_TYPE),
        (b'{"account_id": "1", "type": 5}', RejectionReason.UNKNOWN_TYPE),
        (b'{"account_id": "1", "type": ["call"]}', RejectionReason.UNKNOWN_TYPE),
    ],
)
def test_what_cannot_be_understood_is_rejected_with_its_reason(body: bytes, expected: RejectionReason) -> None:
    assert reason(body) is expected


def test_rejection_does_not_quote_the_message() -> None:
    found = decode(raw(b'{"number": "+33639981122" oops'), rules())

    assert isinstance(found, Rejection)
    assert "33639981122" not in found.detail


def of_size(size: int) -> bytes:
    start, end = b'{"account_id": "1", "x": "', b'"}'
    return start + b"x" * (size - len(start) - len(end)) + end


def test_size_at_the_bound_passes_and_one_byte_more_does_not() -> None:
    assert event(of_size(MAX_BYTES)).payload == of_size(MAX_BYTES)
    assert reason(of_size(MAX_BYTES + 1)) is RejectionReason.TOO_LARGE


def of_depth(depth: int) -> bytes:
    return b'{"account_id": "1", "x": ' + b"[" * (depth - 1) + b"]" * (depth - 1) + b"}"


def test_depth_at_the_bound_passes_and_one_level_more_does_not() -> None:
    assert event(of_depth(MAX_DEPTH)).account_id == "1"
    assert reason(of_depth(MAX_DEPTH + 1)) is RejectionReason.TOO_DEEP


@pytest.mark.parametrize("levels", [2_000, 100_000])
def test_depth_beyond_what_parsers_bear_is_rejected(levels: int) -> None:
    assert reason(of_depth(levels), rules(max_message_bytes=10**6)) is RejectionReason.TOO_DEEP


def test_brackets_in_text_are_no_depth() -> None:
    assert event({"account_id": "1", "x": "[{" * 100}).account_id == "1"


# --- transport decoding ----------------------------------------------------------------------------


PLAIN = b'{"account_id": "1042"}'


@pytest.mark.parametrize(
    ("steps", "body"),
    [
        (("gzip",), gzip.compress(PLAIN, mtime=0)),
        (("zlib",), zlib.compress(PLAIN)),
        (("zlib",), gzip.compress(PLAIN, mtime=0)),
        (("base64",), base64.b64encode(PLAIN)),
        (("base64", "gzip"), base64.b64encode(gzip.compress(PLAIN, mtime=0))),
        (("form:cdr",), b"other=1&cdr=%7B%22account_id%22%3A+%221042%22%7D"),
        (("gzip",), gzip.compress(PLAIN[:5], mtime=0) + gzip.compress(PLAIN[5:], mtime=0)),
    ],
)
def test_steps_undo_what_the_publisher_did(steps: tuple[str, ...], body: bytes) -> None:
    assert event(body, rules(steps=steps)).payload == PLAIN


@pytest.mark.parametrize("encoding", ["gzip", "GZIP", "deflate"])
def test_content_encoding_is_undone_without_a_setting(encoding: str) -> None:
    body = zlib.compress(PLAIN) if encoding == "deflate" else gzip.compress(PLAIN, mtime=0)

    assert event(body, content_encoding=encoding).payload == PLAIN


@pytest.mark.parametrize("encoding", ["utf-8", "", "binary", None])
def test_charset_in_the_place_of_an_encoding_is_no_step(encoding: str | None) -> None:
    assert event(PLAIN, content_encoding=encoding).payload == PLAIN


def test_inflated_size_at_the_bound_passes_and_one_byte_more_does_not() -> None:
    by = rules(steps=("gzip",))

    assert len(event(gzip.compress(of_size(MAX_INFLATED)), by).payload) == MAX_INFLATED
    assert reason(gzip.compress(of_size(MAX_INFLATED + 1)), by) is RejectionReason.TOO_LARGE


@pytest.mark.parametrize(
    ("steps", "body", "expected"),
    [
        (("gzip",), gzip.compress(b"\0" * 10_000_000, mtime=0)[:MAX_BYTES], RejectionReason.TOO_LARGE),
        (("gzip",), PLAIN, RejectionReason.UNDECODABLE),
        (("gzip",), gzip.compress(PLAIN, mtime=0)[:-9], RejectionReason.UNDECODABLE),
        (("gzip",), gzip.compress(PLAIN, mtime=0) + b"rest", RejectionReason.UNDECODABLE),
        (("gzip",), gzip.compress(b"") * (MAX_GZIP_MEMBERS + 1), RejectionReason.UNDECODABLE),
        (("zlib",), b"", RejectionReason.UNDECODABLE),
        (("base64",), b"not base64!", RejectionReason.UNDECODABLE),
        (("form:cdr",), b"other=1", RejectionReason.UNDECODABLE),
        (("form:cdr",), b"\xff", RejectionReason.UNDECODABLE),
    ],
)
def test_what_cannot_be_undone_is_rejected(steps: tuple[str, ...], body: bytes, expected: RejectionReason) -> None:
    if not body and steps == ("zlib",):
        body = b"\x78"
    assert reason(body, rules(steps=steps)) is expected


# --- identity --------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ('"evt_1"', "evt_1"),
        ("17", "17"),
        ("18446744073709551615", "18446744073709551615"),
        ("123456789012345678901234567890", "123456789012345678901234567890"),
        ('"a\\ud800b"', "a?b"),
    ],
)
def test_ids_are_text_and_keep_every_digit(text: str, expected: str) -> None:
    found = event(f'{{"id": {text}, "account_id": {text}}}'.encode())

    assert found.event_id == found.account_id == expected


def test_without_an_id_the_message_id_counts_and_then_a_hash_of_the_body() -> None:
    body = b'{"account_id": "1"}'

    assert event(body, message_id="m-1").event_id == "m-1"
    assert event(body).event_id == id_from_body(body)


def test_type_comes_from_the_body_then_the_property_then_the_source() -> None:
    assert event({"account_id": "1", "type": "cdr"}, type="user").type is EventType.CDR
    assert event({"account_id": "1"}, type="user").type is EventType.USER
    assert event({"account_id": "1"}).type is EventType.CALL
    assert reason(b'{"account_id": "1"}', rules(event_type=None)) is RejectionReason.UNKNOWN_TYPE


def test_type_map_translates_a_publishers_words() -> None:
    by = rules(type_map={"CHANNEL_CREATE": EventType.CALL, "call": EventType.CDR})

    assert event({"account_id": "1", "type": "CHANNEL_CREATE"}, by).type is EventType.CALL
    assert event({"account_id": "1", "type": "call"}, by).type is EventType.CDR


# --- where fields are found ------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("path", "expected"),
    [
        ("data.user_uuid", "u-1"),
        ("'Custom-Channel-Vars'.'Account.ID'", "a-1"),
        ("parties[1].from", "+33639981122"),
        ("@header.tenant", "t-1"),
        ("@property.routing_key", "call.received.1042"),
        ("@property.message_id", "m-1"),
    ],
)
def test_paths_lead_into_body_headers_and_properties(path: str, expected: str) -> None:
    body = {
        "data": {"user_uuid": "u-1"},
        "Custom-Channel-Vars": {"Account.ID": "a-1"},
        "parties": [{}, {"from": "+33639981122"}],
    }

    found = event(body, rules(fields={"account_id": path}), headers={"tenant": "t-1"}, message_id="m-1")

    assert found.account_id == expected


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        ({"number": "0199001234"}, "+33199001234"),
        ("+33 1 99 00 12 34", "+33199001234"),
        (199001234, "+33199001234"),
        ({"id": "tn-1"}, None),
        ("anonymous", None),
        ([], None),
        (True, None),
    ],
)
def test_tracking_number_in_any_form(value: object, expected: str | None) -> None:
    assert event({"account_id": "1", "tracking_number": value}).tracking_number == expected


def test_every_number_of_a_call_can_be_searched_for() -> None:
    body = {
        "account_id": "1",
        "tracking_number": {"number": "+33199001234"},
        "data": {"caller": {"number": "06 39 98 11 22"}, "redirection_number": "+33199007788"},
    }

    assert event(body).number_keys == ("43210099133", "22118993633", "88770099133")


@pytest.mark.parametrize(
    ("value", "expected"), [(2, 2), ("7", 7), ("x", None), (True, None), (2**63, None), (1.5, None)]
)
def test_sequence_is_an_integer_or_its_digits(value: object, expected: int | None) -> None:
    assert event({"account_id": "1", "sequence": value}).sequence == expected


# --- times -----------------------------------------------------------------------------------------

MOMENT = datetime(2025, 3, 11, 9, 14, 7, 412_000, tzinfo=UTC)


@pytest.mark.parametrize(
    ("time_format", "value", "expected"),
    [
        (TimeFormat.RFC3339, "2025-03-11T09:14:07.412Z", MOMENT),
        (TimeFormat.RFC3339, "2025-03-11T10:14:07.412999+01:00", MOMENT),
        (TimeFormat.LOCAL, "2025-03-11 10:14:07.412", MOMENT),
        (TimeFormat.EPOCH_MILLIS, 1741684447412, MOMENT),
        (TimeFormat.EPOCH_MICROS, "1741684447412000", MOMENT),
        (TimeFormat.EPOCH_SECONDS, "1741684447", MOMENT.replace(microsecond=0)),
        (TimeFormat.EPOCH, 1741684447, MOMENT.replace(microsecond=0)),
        (TimeFormat.EPOCH, 1741684447412, MOMENT),
        (TimeFormat.GREGORIAN, 1741684447 + 62_167_219_200, MOMENT.replace(microsecond=0)),
        (TimeFormat.EPOCH, "0", None),
        (TimeFormat.EPOCH, 1e300, None),
        (TimeFormat.EPOCH, "soon", None),
        (TimeFormat.RFC3339, "yesterday", None),
        (TimeFormat.RFC3339, "0001-01-01T00:00:00+14:00", None),
        (TimeFormat.RFC3339, 12, None),
        (TimeFormat.RFC3339, None, None),
    ],
)
def test_times_in_every_format(time_format: TimeFormat, value: object, expected: datetime | None) -> None:
    body = {"account_id": "1", "occurred_at": value}

    assert event(body, rules(time_format=time_format)).occurred_at == expected


def test_without_a_time_in_the_body_the_property_counts() -> None:
    assert event({"account_id": "1"}, timestamp=MOMENT).occurred_at == MOMENT


# --- anything --------------------------------------------------------------------------------------

json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text(),
    lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner),
    max_leaves=20,
)
field_values = st.dictionaries(st.sampled_from([*DEFAULTS, "data"]), json_values)


@settings(deadline=None)
@given(st.binary(max_size=200), st.sampled_from([(), ("gzip",), ("zlib",), ("base64",), ("form:x",)]))
def test_no_bytes_make_it_raise(body: bytes, steps: tuple[str, ...]) -> None:
    assert isinstance(decode(raw(body), rules(steps=steps)), Event | Rejection)


@settings(deadline=None)
@given(field_values, st.sampled_from(list(TimeFormat)))
def test_no_values_in_any_field_make_it_raise_and_the_payload_stays(
    fields: dict[str, Any], time_format: TimeFormat
) -> None:
    body = json.dumps(fields).encode()
    found = decode(replace(raw(body)), rules(time_format=time_format, max_message_bytes=10**6))

    assert isinstance(found, Rejection) or found.payload == body
