"""The decoder turns any message into an event with its very bytes or into a rejection, within bounds: kept cases, and
whatever hypothesis makes of envelopes, transports and headers.
"""

from __future__ import annotations

import base64
import gzip
import json
import tracemalloc
import zlib
from collections.abc import Callable
from typing import Any, Final

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pamqp import decode as amqp

from router.adapters.rabbitmq.wire import MAX_TABLE_BYTES, read_unreadable_fields
from router.domain.event import MAX_ID_LENGTH, Event, Rejection
from tests.fuzz import nasty
from tests.fuzz.decoder import MAX_INFLATED, MAX_MESSAGE, RULES, check, check_message, check_table, message

PEAK_BYTES: Final = 64 * (MAX_MESSAGE + MAX_INFLATED)
"""What JSON costs as Python's values at worst is some forty bytes for each of its own."""


@pytest.fixture(autouse=True, scope="module")
def _library_as_it_was() -> Any:
    methods, table = dict(amqp.METHODS), dict(amqp.TABLE_MAPPING)
    yield
    amqp.METHODS.update(methods)
    amqp.TABLE_MAPPING.update(table)


def test_every_kept_case_ends_as_an_event_or_a_rejection() -> None:
    cases = list(nasty.nasty())
    assert len(cases) > 500
    for case in cases:
        check(case)


@pytest.mark.parametrize(
    "body",
    [
        gzip.compress(b" " * (1_000 * MAX_INFLATED)),
        gzip.compress(b'{"account_id":"1","x":[' + b"{}," * (MAX_INFLATED // 4) + b"1]}"),
        gzip.compress(b" " * MAX_INFLATED) * 16,
        gzip.compress(b"[" * MAX_INFLATED),
    ],
    ids=["bomb", "wide", "members", "deep"],
)
def test_no_message_takes_more_memory_than_its_bounds_say(body: bytes) -> None:
    raw = message(body, content_encoding="gzip")
    tracemalloc.start()
    try:
        check_message(raw, RULES[nasty.PLAIN])
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()

    assert peak < PEAK_BYTES


# --- invented --------------------------------------------------------------------------------------

scalars = (
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats(allow_nan=False, allow_infinity=False)
    | st.text(max_size=30)
    | st.sampled_from(["call", "+33199001234", "0199001234", "2025-03-11T09:14:07Z", "x" * (MAX_ID_LENGTH + 1)])
)
values = st.recursive(scalars, lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=9), inner))
names = st.sampled_from(
    ["id", "type", "name", "occurred_at", "account_id", "call_id", "sequence", "tracking_number", "user_id", "data"]
)
envelopes = st.dictionaries(names | st.text(max_size=9), values, max_size=12)
rules = st.integers(0, len(RULES) - 1)
TRANSPORTS: Final[tuple[Callable[[bytes], bytes], ...]] = (
    bytes,
    gzip.compress,
    zlib.compress,
    base64.b64encode,
    lambda body: base64.b64encode(gzip.compress(body)),
    lambda body: b"cdr=" + b"".join(b"%%%02X" % byte for byte in body),
)


def mutated(body: bytes, edits: list[tuple[int, int, int]]) -> bytes:
    """`body` with bytes changed, taken out, doubled or cut off."""
    text = bytearray(body)
    for place, kind, byte in edits:
        at = place % (len(text) + 1)
        match kind:
            case 0:
                text[at : at + 1] = bytes([byte])
            case 1:
                del text[at : at + 1 + byte % 8]
            case 2:
                text[at:at] = text[at : at + byte]
            case _:
                del text[at:]
    return bytes(text)


edits = st.lists(st.tuples(st.integers(0, 10_000), st.integers(0, 3), st.integers(0, 255)), max_size=6)


@settings(deadline=None, derandomize=True, max_examples=100)
@given(envelopes, st.booleans(), rules, st.integers(0, 255), st.sampled_from(TRANSPORTS), edits)
def test_mutated_envelopes_in_every_transport(
    envelope: dict[str, Any],
    has_account: bool,
    choice: int,
    flags: int,
    transport: Callable[[bytes], bytes],
    changes: list[tuple[int, int, int]],
) -> None:
    whole = json.dumps(envelope | ({"account_id": "1042"} if has_account else {})).encode()

    check(bytes([choice, flags]) + transport(whole))
    check(bytes([choice, flags]) + mutated(transport(whole), changes))
    check(bytes([choice, flags]) + transport(mutated(whole, changes)))


@settings(deadline=None, derandomize=True, max_examples=300)
@given(st.binary(max_size=300), rules, st.integers(0, 255))
def test_arbitrary_bytes(body: bytes, choice: int, flags: int) -> None:
    check(bytes([choice, flags]) + body)


@settings(deadline=None, derandomize=True, max_examples=300)
@given(st.binary(max_size=300), edits)
def test_arbitrary_headers(content: bytes, changes: list[tuple[int, int, int]]) -> None:
    check_table(content)
    check_table(mutated(b"\x06tenantS\0\0\0\x041042\x02atT" + content[:8] + b"\x01tF\0\0\0\x03\x01ab", changes))


# --- what was found --------------------------------------------------------------------------------


def test_ids_that_nobody_means_are_kept_as_their_hash_and_stay_the_same_event() -> None:
    long = "x" * (MAX_ID_LENGTH + 1)
    body = json.dumps(dict.fromkeys(("id", "account_id", "call_id", "user_id", "name"), long)).encode()
    first, second = (check_message(message(body), RULES[nasty.PLAIN]) for _ in range(2))

    assert isinstance(first, Event)
    assert first == second
    assert [text.partition("_")[0] for text in (first.event_id, first.account_id, first.call_id or "")] == [
        *("evt", "acc", "call")
    ]
    assert first.name == long[:MAX_ID_LENGTH]


def test_a_form_that_is_no_utf8_is_kept_and_not_mended() -> None:
    found = check_message(message(b"cdr=%7B%22account_id%22%3A%22%FF%22%7D"), RULES[nasty.FORM])

    assert isinstance(found, Rejection)


def test_headers_too_long_to_be_read_in_time_are_none() -> None:
    read_unreadable_fields()
    entry = b"\x01aV"
    for count, expected in ((MAX_TABLE_BYTES // 3, {"a": None}), (MAX_TABLE_BYTES // 3 + 1, {})):
        content = entry * count
        assert amqp.METHODS["table"](len(content).to_bytes(4, "big") + content) == (len(content) + 4, expected)
