"""Untrusted bytes become an Event or a Rejection with its reason. Bounded in size, inflated size and depth.

The payload that is carried on is the JSON text as published, after transport decoding only: parsing looks at it
and never writes it again.
"""

from __future__ import annotations

import json
import sys
import zlib
from base64 import b64decode
from binascii import Error as Base64Error
from collections.abc import Mapping
from datetime import UTC, datetime, timedelta
from typing import Final
from urllib.parse import parse_qs

import orjson

from router.adapters.rabbitmq.config import DecodingRules, TimeFormat
from router.domain.event import (
    MAX_ID_LENGTH,
    AccountId,
    Event,
    EventType,
    Rejection,
    RejectionReason,
    bounded_id,
    id_from_body,
)
from router.domain.fields import Origin, Path
from router.domain.numbers import search_key, to_e164
from router.ports import MessageProperties, RawMessage

GREGORIAN_TO_UNIX_SECONDS: Final = 62_167_219_200
"""Seconds from year 0 to 1970, as Erlang's calendar counts."""
MAX_FORM_FIELDS: Final = 100
MAX_SEQUENCE_DIGITS: Final = 19
MAX_GZIP_MEMBERS: Final = 16
"""Members of a gzip stream; each costs time, also an empty one."""
PLAUSIBLE_YEARS: Final = range(1970, 2200)
"""A time outside is no time: the publisher's field holds something else."""
_EVENT_TYPES: Final = {event_type.value: event_type for event_type in EventType}
_GZIP_WBITS: Final = 31
_ZLIB_WBITS: Final = 47  # zlib or gzip by their header
_INFLATE_STEP: Final = 64 * 1024
_CHARSETS: Final = frozenset({"utf-8", "utf8", "us-ascii", "ascii"})


class RejectedError(Exception):
    """Carries a Rejection out of the decoding steps."""

    def __init__(self, reason: RejectionReason, detail: str) -> None:
        super().__init__(detail)
        self.rejection = Rejection(reason=reason, detail=detail)


def decode(raw: RawMessage, rules: DecodingRules) -> Event | Rejection:
    """The event in a message, or why there is none. Never raises."""
    try:
        payload = _payload(raw, rules)
        document = _parse(payload, rules.max_depth)
        return _Extraction(document, payload, raw, rules).event()
    except RejectedError as rejected:
        return rejected.rejection


# --- transport decoding ----------------------------------------------------------------------------


def _payload(raw: RawMessage, rules: DecodingRules) -> bytes:
    body = raw.body
    if len(body) > rules.max_message_bytes:
        raise RejectedError(
            RejectionReason.TOO_LARGE, f"{len(body)} bytes; limits.max_message_bytes is {rules.max_message_bytes}"
        )
    for step in _steps(raw.properties, rules):
        body = _apply(step, body, rules.max_inflated_bytes)
    return body


def _steps(properties: MessageProperties, rules: DecodingRules) -> tuple[str, ...]:
    """The source's steps, after what `content_encoding` says. Some clients put the charset there; that is no step."""
    encoding = (properties.content_encoding or "").lower()
    if encoding in {"gzip", "zlib", "deflate", "base64"} and encoding not in rules.steps:
        return ("zlib" if encoding == "deflate" else encoding, *rules.steps)
    return rules.steps


def _apply(step: str, body: bytes, limit: int) -> bytes:
    try:
        if step == "gzip":
            return _inflate(body, _GZIP_WBITS, limit)
        if step == "zlib":
            return _inflate(body, _ZLIB_WBITS, limit)
        if step == "base64":
            return b64decode(body.strip(), validate=True)
        form_field = step.removeprefix("form:")
        # Strictly: what is not UTF-8 would be replaced, and the customer get other bytes than were published.
        values = parse_qs(body.decode("ascii"), max_num_fields=MAX_FORM_FIELDS, errors="strict").get(form_field)
    except (zlib.error, Base64Error, ValueError, EOFError) as error:
        raise RejectedError(RejectionReason.UNDECODABLE, f"{step}: {type(error).__name__}") from None
    if not values:
        raise RejectedError(RejectionReason.UNDECODABLE, f"{step}: the form has no such field")
    return values[0].encode()


def _inflate(body: bytes, wbits: int, limit: int) -> bytes:
    """Inflate every member of `body`, never holding more than `limit` bytes of output."""
    pieces: list[bytes] = []
    size = 0
    for _ in range(MAX_GZIP_MEMBERS):
        inflater = zlib.decompressobj(wbits)
        while not inflater.eof:
            piece = inflater.decompress(body, min(_INFLATE_STEP, limit - size + 1))
            size += len(piece)
            if size > limit:
                raise RejectedError(RejectionReason.TOO_LARGE, f"inflates beyond limits.max_inflated_bytes ({limit})")
            pieces.append(piece)
            body = inflater.unconsumed_tail
            if not piece and not body and not inflater.eof:
                raise EOFError("truncated")
        body = inflater.unused_data
        if not body:
            return b"".join(pieces)
    raise EOFError("too many members")


# --- JSON ------------------------------------------------------------------------------------------


def _parse(payload: bytes, max_depth: int) -> Mapping[str, object]:
    try:
        document: object = orjson.loads(payload)
    except orjson.JSONDecodeError:
        document = _parse_strictly(payload)
    if not isinstance(document, dict):
        raise RejectedError(RejectionReason.NOT_AN_OBJECT, f"the JSON text is no object but {_kind(document)}")
    # There cannot be more levels than opening brackets, which is cheap to see and settles nearly every case.
    if payload.count(b"{") + payload.count(b"[") > max_depth and _depth(document) > max_depth:
        raise RejectedError(RejectionReason.TOO_DEEP, f"nested deeper than limits.max_depth ({max_depth})")
    return document


def _parse_strictly(payload: bytes) -> object:
    """Valid JSON that the fast parser refuses: lone surrogates, numbers beyond a double, great depth."""

    def refuse(constant: str) -> object:
        raise ValueError(f"{constant} is no JSON value")

    try:
        return json.loads(payload.decode("utf-8"), parse_constant=refuse, parse_int=_integer)
    except RecursionError:
        raise RejectedError(RejectionReason.TOO_DEEP, "nested too deeply to be parsed") from None
    except UnicodeDecodeError as error:
        raise RejectedError(RejectionReason.NOT_JSON, f"not UTF-8 at byte {error.start}") from None
    except json.JSONDecodeError as error:
        raise RejectedError(RejectionReason.NOT_JSON, f"{error.msg} at character {error.pos}") from None
    except ValueError as error:
        raise RejectedError(RejectionReason.NOT_JSON, str(error)[:100]) from None


def _integer(digits: str) -> int | float:
    """Python bounds the digits of an integer that it reads; past that a double will do, as nothing looks at it."""
    return int(digits) if len(digits) < sys.int_info.default_max_str_digits else float(digits)


def _depth(document: object) -> int:
    depth, level = 0, [document]
    while level:
        depth += 1
        level = [
            child
            for node in level
            for child in (node.values() if isinstance(node, dict) else node if isinstance(node, list) else ())
            if isinstance(child, dict | list)
        ]
    return depth


def _kind(value: object) -> str:
    return (
        "null" if value is None else {list: "an array", str: "a string", bool: "a boolean"}.get(type(value), "a number")
    )


# --- extraction ------------------------------------------------------------------------------------


class _Extraction:
    """Follows the source's paths through one document, its headers and properties."""

    def __init__(self, document: Mapping[str, object], payload: bytes, raw: RawMessage, rules: DecodingRules) -> None:
        self._document = document
        self._payload = payload
        self._raw = raw
        self._rules = rules

    def event(self) -> Event:
        fields, properties, country = self._rules.fields, self._raw.properties, self._rules.country
        account_id = self._identifier(fields.account_id, "acc_")
        if account_id is None:
            raise RejectedError(RejectionReason.NO_ACCOUNT, "no account id where the source's fields.account_id says")
        tracking = self._number(fields.tracking_number)
        numbers = (tracking, self._number(fields.caller_number), self._number(fields.redirection_number))
        keys = dict.fromkeys(search_key(number, country) for number in numbers if number)
        return Event(
            account_id=AccountId(account_id),
            event_id=self._identifier(fields.id, "evt_") or properties.message_id or id_from_body(self._raw.body),
            type=self._type(),
            name=self._name(fields.name),
            occurred_at=self._time(fields.occurred_at) or properties.timestamp,
            received_at=self._raw.received_at,
            call_id=self._identifier(fields.call_id, "call_"),
            sequence=self._integer(fields.sequence),
            tracking_number=to_e164(tracking, country) if tracking else None,
            user_id=self._identifier(fields.user_id, "user_"),
            number_keys=tuple(key for key in keys if key),
            payload=self._payload,
            source=self._raw.source,
        )

    def _find(self, paths: tuple[Path, ...]) -> object | None:
        for path in paths:
            value = path.follow(self._root(path.origin))
            if value is not None:
                return value
        return None

    def _root(self, origin: Origin) -> object:
        if origin is Origin.BODY:
            return self._document
        if origin is Origin.HEADER:
            return self._raw.properties.headers
        properties = self._raw.properties
        return {
            "routing_key": self._raw.routing_key,
            "exchange": self._raw.exchange,
            "message_id": properties.message_id,
            "type": properties.type,
            "timestamp": properties.timestamp,
            "content_type": properties.content_type,
        }

    def _identifier(self, paths: tuple[Path, ...], prefix: str) -> str | None:
        """An id as text. Integers are taken as their decimal digits, however many; `prefix` begins the hash of one
        that is too long to be kept."""
        value = self._find(paths)
        if isinstance(value, float):
            # The fast parser turns integers past 64 bits into doubles; ids must keep every digit.
            value = self._exactly(paths)
        if isinstance(value, int) and not isinstance(value, bool):
            value = str(value)
        return bounded_id(_clean(value), prefix) if isinstance(value, str) and value else None

    def _exactly(self, paths: tuple[Path, ...]) -> object | None:
        """The same value with every integer as its digits."""
        try:
            exact = json.loads(self._payload, parse_int=str)
        except RecursionError:
            raise RejectedError(RejectionReason.TOO_DEEP, "nested too deeply to be parsed") from None
        for path in paths:
            value = path.follow(exact if path.origin is Origin.BODY else self._root(path.origin))
            if value is not None:
                return value
        return None

    def _name(self, paths: tuple[Path, ...]) -> str | None:
        value = self._find(paths)
        return _clean(value)[:MAX_ID_LENGTH] if isinstance(value, str) else None

    def _integer(self, paths: tuple[Path, ...]) -> int | None:
        value = self._find(paths)
        if isinstance(value, str) and value.isascii() and value.isdigit() and len(value) < MAX_SEQUENCE_DIGITS:
            value = int(value)
        is_integer = isinstance(value, int) and not isinstance(value, bool) and -(2**63) <= value < 2**63
        return value if is_integer else None  # type: ignore[return-value]

    def _number(self, paths: tuple[Path, ...]) -> str | None:
        """A phone number as written: a string, an object with `number`, or digits that lost their leading 0."""
        value = self._find(paths)
        if isinstance(value, dict):
            value = value.get("number")
        if isinstance(value, int) and not isinstance(value, bool):
            value = str(value)
        return _clean(value) if isinstance(value, str) and value else None

    def _type(self) -> EventType:
        value = self._find(self._rules.fields.type) or self._raw.properties.type
        if value is None:
            if self._rules.event_type is not None:
                return self._rules.event_type
            raise RejectedError(RejectionReason.UNKNOWN_TYPE, "no event type, and the source has no default")
        if isinstance(value, str):
            known = self._rules.type_map.get(value) or _EVENT_TYPES.get(value)
            if known is not None:
                return known
        raise RejectedError(RejectionReason.UNKNOWN_TYPE, "the event type is none of call, cdr and user")

    def _time(self, paths: tuple[Path, ...]) -> datetime | None:
        """The event's time, or None where there is none that can be read: a wrong clock loses no event."""
        value = self._find(paths)
        if isinstance(value, datetime):
            return value
        try:
            moment = _read_time(value, self._rules)
            if moment is None or moment.year not in PLAUSIBLE_YEARS:
                return None
            return moment.replace(microsecond=moment.microsecond // 1000 * 1000).astimezone(UTC)
        except (ValueError, OverflowError):
            return None


def _read_time(value: object, rules: DecodingRules) -> datetime | None:
    if isinstance(value, bool) or value is None:
        return None
    if rules.time_format in (TimeFormat.RFC3339, TimeFormat.LOCAL):
        if not isinstance(value, str):
            return None
        moment = datetime.fromisoformat(value.strip())
        return moment if moment.tzinfo else moment.replace(tzinfo=rules.time_zone)
    number = float(value) if isinstance(value, int | float | str) else None
    if not number:  # "0" means "not set" where epochs are used
        return None
    return datetime.fromtimestamp(0, UTC) + timedelta(seconds=_epoch_seconds(number, rules.time_format))


def _epoch_seconds(number: float, time_format: TimeFormat) -> float:
    match time_format:
        case TimeFormat.EPOCH_MILLIS:
            return number / 1e3
        case TimeFormat.EPOCH_MICROS:
            return number / 1e6
        case TimeFormat.GREGORIAN:
            return number - GREGORIAN_TO_UNIX_SECONDS
        case TimeFormat.EPOCH:
            # Seconds have 10 digits until 2286, milliseconds 13, microseconds 16.
            return number / 1e6 if abs(number) >= 1e14 else number / 1e3 if abs(number) >= 1e11 else number
        case _:
            return number


def _clean(value: str) -> str:
    """Lone surrogates are valid in JSON and impossible in UTF-8; in our own fields they become question marks."""
    return value if value.isascii() else value.encode("utf-8", "replace").decode()
