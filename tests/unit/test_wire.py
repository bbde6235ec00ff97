"""AMQP fields that the client library cannot read cost neither the connection nor the message."""

from __future__ import annotations

import struct
from collections.abc import Iterator
from datetime import UTC, datetime
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pamqp import decode, frame
from pamqp.commands import Basic
from pamqp.header import ContentHeader

from router.adapters.rabbitmq.wire import read_unreadable_fields

FLAGS = Basic.Properties.flags


@pytest.fixture(autouse=True, scope="module")
def _reading() -> Iterator[None]:
    """The library as the router makes it, and afterwards as it was."""
    methods, table = dict(decode.METHODS), dict(decode.TABLE_MAPPING)
    read_unreadable_fields()
    yield
    decode.METHODS.update(methods)
    decode.TABLE_MAPPING.update(table)


def read(**wire: bytes) -> Any:
    """The properties in a content header that holds `wire`, and `app_id` behind it to show that it is found."""
    wire["app_id"] = b"\x03end"
    flags = sum(FLAGS[name] for name in wire)
    values = b"".join(wire[name] for name in FLAGS if name in wire)
    payload = struct.pack(">HHQH", Basic.frame_id, 0, 7, flags) + values
    _, channel, header = frame.unmarshal(struct.pack(">BHI", 2, 1, len(payload)) + payload + b"\xce")
    assert channel == 1
    assert isinstance(header, ContentHeader)
    assert (header.body_size, header.properties.app_id) == (7, "end")
    return header.properties


def short(text: bytes) -> bytes:
    return bytes([len(text)]) + text


def table(*pairs: bytes) -> bytes:
    content = b"".join(pairs)
    return struct.pack(">I", len(content)) + content


@pytest.mark.parametrize("seconds", [0xFFFFFFFF * 1000 * 1000, 2**63 - 1, 2**63, 2**64 - 1])
def test_a_time_outside_the_calendar_is_none(seconds: int) -> None:
    assert read(timestamp=struct.pack(">Q", seconds)).timestamp is None
    assert read(headers=table(short(b"at"), b"T", struct.pack(">Q", seconds))).headers == {"at": None}


def test_a_time_inside_it_is_read_as_before() -> None:
    moment = datetime(2025, 3, 11, 9, 14, 7, tzinfo=UTC)

    assert read(timestamp=struct.pack(">Q", int(moment.timestamp()))).timestamp == moment


def test_a_text_that_is_no_utf_8_is_read_with_marks() -> None:
    properties = read(message_id=short(b"\xe9v\xe9nement"), message_type=short("é".encode()))

    assert (properties.message_id, properties.message_type) == ("\ufffdv\ufffdnement", "é")


def test_a_routing_key_that_is_no_utf_8_is_read_with_marks() -> None:
    deliver = struct.pack(">HH", 60, 60) + short(b"tag") + struct.pack(">QB", 5, 0) + short(b"x") + short(b"\xe9t\xe9")
    _, _, method = frame.unmarshal(struct.pack(">BHI", 1, 1, len(deliver)) + deliver + b"\xce")

    assert isinstance(method, Basic.Deliver)
    assert (method.delivery_tag, method.routing_key) == (5, "\ufffdt\ufffd")


@pytest.mark.parametrize(
    "wire",
    [
        table(short(b"\xe9"), b"V"),
        table(short(b"x"), b"?"),
        table(short(b"x"), b"S", struct.pack(">I", 1000), b"short"),
        table(short(b"a"), b"F", table(short(b"\xff"), b"V")),
        table(b"\xff"),
    ],
    ids=["name", "type", "length", "inner name", "cut off"],
)
def test_headers_that_cannot_be_read_are_none(wire: bytes) -> None:
    properties = read(headers=wire, message_id=short(b"m-1"))

    assert (properties.headers or {}).keys() <= {"x"}
    assert properties.message_id == "m-1"


@given(content=st.binary(max_size=60), message_id=st.binary(max_size=60), seconds=st.integers(0, 2**64 - 1))
def test_no_bytes_make_it_raise(content: bytes, message_id: bytes, seconds: int) -> None:
    properties = read(
        headers=table(content), message_id=short(message_id), timestamp=struct.pack(">Q", seconds), priority=b"\x01"
    )

    assert properties.priority == 1
    assert properties.message_id == message_id.decode("utf-8", "replace")
