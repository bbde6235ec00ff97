"""What must hold of the decoder for any message: `check(data)` reads bytes as a message and its source, and asserts it.

One byte chooses the source's rules, one the properties, the rest is the body; or the bytes are a table of AMQP headers.
Shared by hypothesis, which draws whole envelopes, and by the fuzzer, which looks for new paths through the code.
"""

from __future__ import annotations

import json
import zlib
from base64 import b64decode
from collections.abc import Mapping
from datetime import UTC, datetime, timedelta
from typing import Any, Final
from urllib.parse import parse_qs
from zoneinfo import ZoneInfo

from bson import encode as encode_document
from pamqp import decode as amqp

from router.adapters.mongo.documents import event_document, properties_document
from router.adapters.rabbitmq.codec import PLAUSIBLE_YEARS, decode
from router.adapters.rabbitmq.config import DecodingRules, FieldPaths, TimeFormat
from router.adapters.rabbitmq.wire import read_unreadable_fields
from router.domain.event import MAX_ID_LENGTH, Event, EventType, Rejection, header_id
from router.domain.fields import parse_path
from router.ports import MessageProperties, PlannedEvent, RawMessage

RECEIVED: Final = datetime(2031, 1, 1, tzinfo=UTC)
MAX_MESSAGE: Final = 64 * 1024
MAX_INFLATED: Final = 128 * 1024
LONGEST_DETAIL: Final = 200

_DEFAULT: Final[Mapping[str, str]] = {
    **{name: name for name in FieldPaths.__dataclass_fields__},
    "caller_number": "data.caller.number",
    "redirection_number": "data.redirection_number",
}
_ELSEWHERE: Final[Mapping[str, str]] = dict.fromkeys(_DEFAULT, "@header.tenant") | {
    "id": "@property.message_id",
    "occurred_at": "@property.timestamp",
    "tracking_number": "parties[1].to",
    "type": "'Event-Name'",
}


def _rules(paths: Mapping[str, str] = _DEFAULT, **changes: Any) -> DecodingRules:
    values: dict[str, Any] = {
        "event_type": EventType.CALL,
        "time_zone": ZoneInfo("Europe/Paris"),
        "country": "FR",
        "max_message_bytes": MAX_MESSAGE,
        "max_inflated_bytes": MAX_INFLATED,
        "max_depth": 64,
    }
    fields = FieldPaths(**{name: (parse_path(path),) for name, path in paths.items()})
    return DecodingRules(fields=fields, **(values | changes))


RULES: Final = (
    _rules(),
    _rules(steps=("gzip",)),
    _rules(steps=("zlib",)),
    _rules(steps=("base64",)),
    _rules(steps=("base64", "gzip")),
    _rules(steps=("form:cdr",)),
    _rules(_ELSEWHERE, event_type=None, type_map={"CHANNEL_CREATE": EventType.CALL}),
    _rules(max_depth=1_000),
    *(_rules(time_format=time_format) for time_format in TimeFormat),
)
ENCODINGS: Final = (None, "gzip", "deflate", "zlib", "base64", "GZIP", "utf-8", "br")


def message(body: bytes, **properties: Any) -> RawMessage:
    return RawMessage(
        body=body,
        source="call",
        exchange="call",
        routing_key="call.received",
        properties=MessageProperties(**properties),
        received_at=RECEIVED,
        redelivered=False,
    )


def check(data: bytes) -> None:
    """Read `data` as a message or a table of headers. Raises AssertionError, or what the decoder raises."""
    if len(data) < 2:
        data = data.ljust(2, b"\0")
    choice, flags, body = data[0] % (len(RULES) + 1), data[1], data[2:]
    if choice == len(RULES):
        check_table(body)
        return
    text = body[:40].decode("latin-1")
    properties = {
        "content_encoding": ENCODINGS[flags & 7],
        "message_id": text if flags & 8 else None,
        "type": ("call", text)[flags >> 6 & 1] if flags & 16 else None,
        "timestamp": datetime(1970 + flags, 1, 1, tzinfo=UTC) if flags & 32 else None,
        "headers": {"tenant": (text, len(body), True)[flags % 3], "": text} if flags & 128 else {},
    }
    check_message(message(body, **properties), RULES[choice])


def check_message(raw: RawMessage, rules: DecodingRules) -> Event | Rejection:
    """What became of a message, after it was seen that nothing of it is lost and all of it can be stored."""
    found = decode(raw, rules)
    if isinstance(found, Rejection):
        # What a dead letter holds beside the body, which is kept as it is.
        assert 0 < len(found.detail) <= LONGEST_DETAIL, found
        assert found.detail.isprintable(), found
        encode_document({"detail": found.detail, "properties": properties_document(raw.properties)})
        return found

    assert found.payload == undone(raw, rules)
    assert isinstance(json.loads(found.payload, parse_int=str), dict)
    texts = (found.account_id, found.event_id, found.call_id, found.user_id, found.name)
    assert found.account_id
    assert found.event_id
    assert all(len(text.encode()) <= 4 * MAX_ID_LENGTH for text in texts if text is not None), texts
    assert found.occurred_at is None or found.occurred_at.year in PLAUSIBLE_YEARS or raw.properties.timestamp
    assert all(key.isdigit() and len(key) <= 64 for key in found.number_keys), found.number_keys
    assert 0 < len(header_id(found.event_id)) <= 255
    assert header_id(found.event_id).isascii()
    planned = PlannedEvent(event=found, born_at=RECEIVED, not_after=None, account_enabled=True, trace=(), deliveries=())
    end = RECEIVED + timedelta(days=1)
    encode_document(event_document(planned, expire_at=end, payload_expires_at=end))
    return found


def undone(raw: RawMessage, rules: DecodingRules) -> bytes:
    """The body after its transport decoding, by means of the standard library alone."""
    encoding = (raw.properties.content_encoding or "").lower()
    steps = rules.steps
    if encoding in {"gzip", "zlib", "deflate", "base64"} and encoding not in steps:
        steps = ("zlib" if encoding == "deflate" else encoding, *steps)
    body = raw.body
    for step in steps:
        if step in {"gzip", "zlib"}:
            body = _inflated(body)
        elif step == "base64":
            body = b64decode(body)
        else:
            body = parse_qs(body.decode())[step.removeprefix("form:")][0].encode()
    return body


def _inflated(body: bytes) -> bytes:
    whole = b""
    while body:
        inflater = zlib.decompressobj(47)
        whole += inflater.decompress(body) + inflater.flush()
        body = inflater.unused_data
    return whole


def check_table(content: bytes) -> None:
    """Headers as the client library reads them: whatever they hold, what comes behind them is found."""
    read_unreadable_fields()
    table = len(content).to_bytes(4, "big") + content
    size, value = amqp.METHODS["table"](table + b"behind")
    assert size == len(table)
    assert isinstance(value, dict)
    amqp.METHODS["timestamp"](content[:8].ljust(8, b"\0"))
    size, text = amqp.METHODS["shortstr"](bytes([min(len(content), 255)]) + content)
    assert size == min(len(content), 255) + 1
    assert isinstance(text, str)
    text.encode()
