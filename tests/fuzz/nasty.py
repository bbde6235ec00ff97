"""Messages that have broken decoders, ours or others': kept for every test run, and what the fuzzer begins with.

Each is what `decoder.check` reads: a byte for the rules, a byte for the properties, the body. What the fuzzer finds is
added here.
"""

from __future__ import annotations

import base64
import gzip
import zlib
from collections.abc import Iterator
from typing import Final

from tests.fuzz.decoder import ENCODINGS, MAX_INFLATED, MAX_MESSAGE, RULES

GOOD: Final = (
    b'{"id":"evt_1","type":"call","name":"call.received","occurred_at":"2025-03-11T09:14:07.412Z","account_id":"1042",'
    b'"call_id":"c-1","sequence":1,"tracking_number":{"id":"tn","number":"+33199001234","label":"Shop"},"user_id":null,'
    b'"data":{"caller":{"number":"+33639981122"},"redirection_number":"0199007788"}}'
)
WORDS: Final = (
    *(b'"%s":' % name for name in (b"id", b"type", b"name", b"occurred_at", b"account_id", b"call_id", b"sequence")),
    *(
        b'"%s":' % name
        for name in (b"tracking_number", b"user_id", b"data", b"number", b"caller", b"redirection_number")
    ),
    *(b"parties", b"Event-Name", b"tenant", b'"call"', b'"1042"', b"+33199001234", b"2025-03-11T09:14:07Z", b"\\ud800"),
    *(b"null", b"true", b"NaN", b"1e400", b"{}", b"[]", b"cdr=", b"%7B", b"\x1f\x8b\x08", b"\x78\x9c", b"\xed\xa0\x80"),
)
"""What an envelope is made of, for a fuzzer that does not know JSON."""
PLAIN, GZIP, ZLIB, BASE64, BASE64_GZIP, FORM, ELSEWHERE, DEEP = range(8)
HEADERS: Final = len(RULES)
"""In place of rules: the body is a table of AMQP headers."""


def _envelopes() -> Iterator[bytes]:
    """JSON texts; what is right about them and what is not."""
    for value in (
        *(
            b"null",
            b"true",
            b"0",
            b"-0",
            b"-1",
            b"1e3",
            b"1e400",
            b"-1e400",
            b"1" * 30,
            b"1" * 5_000,
            b"0." + b"1" * 5_000,
        ),
        *(b'""', b'"\\u0000"', b'"\\ud800"', b'"\\udfff\\ud800"', b'"\\ud83d\\ude00"', '"\u202e\ufeff"'.encode()),
        *(b'"' + b"x" * 10_000 + b'"', b"[]", b"{}", b"[[1042]]", b'{"$ne":null}', b'{"number":{"number":1}}', b"NaN"),
        *(b'"0199 00 12 34"', b'"+33' + b"9" * 90 + b'"', '"\u0660\u0661\u0662\u0663\u0664"'.encode(), b'"(0)"'),
        *(
            b'"2025-03-11T09:14:07"',
            b'"9999-12-31T23:59:59-23:59"',
            b'"0001-01-01T00:00:00+23:59"',
            b'"nan"',
            b'"1e999"',
        ),
    ):
        yield b'{"account_id":%s}' % value
        for name in (b"id", b"type", b"name", b"occurred_at", b"call_id", b"sequence", b"tracking_number", b"user_id"):
            yield b'{"account_id":"1","%s":%s}' % (name, value)
    yield from (b"", b" ", b"\0", b"\xef\xbb\xbf" + GOOD, GOOD.decode().encode("utf-16"), GOOD + b"{}", GOOD[:-1])
    yield from (b'{"account_id":"\xff"}', b'{"account_id":"\xed\xa0\x80"}', b'{"account_id":"1","account_id":"2"}')
    yield b'{"account_id":"1","x":"' + b"[{" * 10_000 + b'"}'
    for depth in (63, 64, 500, 995, 999, 1_000, 1_023, 20_000):
        yield b'{"account_id":1e2,"x":' + b"[" * depth + b"]" * depth + b"}"
        yield b'{"a":' * depth + b"1" + b"}" * depth
    yield b'{"account_id":"1","x":[' + b"{}," * 15_000 + b"1]}"


def _transports() -> Iterator[tuple[int, int, bytes]]:
    """Bodies that have to be undone first, and bombs."""
    bomb = gzip.compress(b" " * (100 * MAX_INFLATED))
    for body in (
        *(gzip.compress(GOOD), gzip.compress(GOOD)[:-1], gzip.compress(GOOD) + b"x", gzip.compress(b"") * 17, bomb),
        *(
            gzip.compress(bomb),
            gzip.compress(GOOD[:9]) + gzip.compress(GOOD[9:]),
            b"\x1f\x8b",
            b"",
            b"\x1f\x8b\x08\xff" * 9,
        ),
        *(
            zlib.compress(GOOD),
            zlib.compress(GOOD)[:-4],
            zlib.compress(GOOD, wbits=-15),
            zlib.compress(b" " * 9 * MAX_INFLATED),
        ),
    ):
        for rules in (PLAIN, GZIP, ZLIB):
            for encoding in range(len(ENCODINGS)):
                yield rules, encoding, body
        yield BASE64_GZIP, 0, base64.b64encode(body)
    for body in (base64.b64encode(GOOD), base64.encodebytes(GOOD), base64.b64encode(GOOD)[:-1], b"====", b"\xff", GOOD):
        yield BASE64, 0, body
        yield PLAIN, ENCODINGS.index("base64"), body
    for body in (
        b"cdr=%7B%22account_id%22%3A1%7D",
        b"cdr=%FF",
        b"cdr=%ED%A0%80",
        b"cdr",
        b"&" * 200,
        b"a=1&" * 200,
        b"\xff",
    ):
        yield FORM, 0, body


def _headers() -> Iterator[bytes]:
    """Tables of AMQP headers, without their length."""
    nested = b""
    for _ in range(4_000):
        nested = b"\0F" + len(nested).to_bytes(4, "big") + nested
    yield from (nested, b"\0V" * 60_000, b"\0A" + (30_000).to_bytes(4, "big") + b"V" * 30_000)
    yield from (
        b"\x01aT" + b"\xff" * 8,
        b"\x01aZ",
        b"\x02\xff\xfeV",
        b"\x01aS\xff\xff\xff\xff",
        b"\x01aA\x7f\xff\xff\xff",
    )
    yield from (
        b"\xff",
        b"\x01aD\xff\x7f\xff\xff\xff",
        b"\x01al" + b"\xff" * 8,
        b"\x01af\x7f\xc0\0\0",
        b"\x01at",
        b"\0\0\0",
    )


def nasty() -> Iterator[bytes]:
    """Every kept case."""
    for envelope in _envelopes():
        for rules in (PLAIN, DEEP):
            yield bytes([rules, 0]) + envelope
    for rules in range(len(RULES)):
        for flags in (0, 8, 16, 32, 80, 128, 129, 255):
            yield bytes([rules, flags]) + GOOD
    yield from (bytes([rules, flags]) + body for rules, flags, body in _transports())
    yield from (bytes([HEADERS, 0]) + table for table in _headers())
    yield from (bytes([PLAIN, 0]) + GOOD.ljust(size) for size in (MAX_MESSAGE, MAX_MESSAGE + 1))
