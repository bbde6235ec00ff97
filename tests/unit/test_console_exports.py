"""What readers take away and how texts of strangers are shown: CSV, curl, periods, marks, payloads in part."""

from __future__ import annotations

import csv
import io
import re
import subprocess
from datetime import UTC, datetime
from zoneinfo import ZoneInfo

import pytest
from babel import Locale

from router.domain.errors import InvalidInput
from router.web.console.exports import MAX_QUOTED_BODY_BYTES, csv_file, curl_command, shell_quoted
from router.web.console.formats import Formats
from router.web.console.highlight import MAX_COLOURED_LENGTH, coloured_json
from router.web.console.pages.deliveries_one import MAX_SHOWN_BYTES, payload_of
from router.web.console.periods import Period, span_of
from router.web.console.visible import visible

# --- CSV -------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("cell", "written"),
    [
        ("plain", "plain"),
        ("=1+1", "'=1+1"),
        ("+33639981122", "'+33639981122"),
        ("-2", "'-2"),
        ("@SUM(A1)", "'@SUM(A1)"),
        ("\t=1", "'\t=1"),
        ("\r=1", "'\r=1"),
        ('a "b", c\nd', 'a "b", c\nd'),
        ("é\u202e", "é\u202e"),
        ("", ""),
    ],
)
def test_no_cell_is_a_formula(cell: str, written: str) -> None:
    file = csv_file(["column", "other"], [[cell, "x"]])

    assert file.startswith(b"\xef\xbb\xbfcolumn,other\r\n")
    assert list(csv.reader(io.StringIO(file.decode("utf-8-sig"), newline="")))[1] == [written, "x"]


def test_lone_surrogates_do_not_end_the_export() -> None:
    assert b"?" in csv_file(["column"], [["\ud800"]])


# --- curl ------------------------------------------------------------------------------------------


@pytest.mark.parametrize("text", ["", "it's", "'; rm -rf /; '", '"$HOME" `id` $(id) \\ !x', "é\n\t'"])
def test_quoted_text_is_one_word_of_a_shell(text: str) -> None:
    printed = subprocess.run(["/bin/sh", "-c", f"printf %s {shell_quoted(text)}"], capture_output=True, check=True)

    assert printed.stdout.decode() == text


def test_command_sends_what_was_sent() -> None:
    body = """{"name":"L'Été","x":"$(id)"}"""
    command = curl_command("https://crm.example.com/h?a='b", {"x-a": "it's"}, body.encode(), "dlv_1.json")

    echoed = command.replace("curl", "printf '%s\\n'", 1)
    words = subprocess.run(["/bin/sh", "-c", echoed], capture_output=True, check=True).stdout.decode().splitlines()
    assert words == ["-X", "POST", "https://crm.example.com/h?a='b", "-H", "x-a: it's", "--data-binary", body]


@pytest.mark.parametrize(
    ("body", "is_quoted"),
    [
        (b'{"a":1}', True),
        (b"{" + b" " * (MAX_QUOTED_BODY_BYTES - 2) + b"}", True),
        (b"{" + b" " * (MAX_QUOTED_BODY_BYTES - 1) + b"}", False),
        (b"\xff", False),
        (b'{"a":"\xe2\x80\xae"}', False),
        (b"a\0b", False),
        (b"@/etc/passwd", False),
    ],
)
def test_body_that_a_shell_cannot_hold_comes_from_a_file(body: bytes, *, is_quoted: bool) -> None:
    command = curl_command("https://crm.example.com/", {}, body, "dlv_1.json")

    assert ("--data-binary @dlv_1.json" in command) != is_quoted


# --- periods ---------------------------------------------------------------------------------------

PARIS = Formats(locale=Locale("fr"), zone=ZoneInfo("Europe/Paris"), now=datetime(2026, 3, 29, 22, 30, tzinfo=UTC))
"""Just after midnight of the day after the clocks went forward."""


@pytest.mark.parametrize(
    ("period", "from_", "to", "expected"),
    [
        (None, None, None, (Period.WEEK, "2026-03-24T00:00:00+01:00", None)),
        ("today", None, None, (Period.TODAY, "2026-03-30T00:00:00+02:00", None)),
        ("7d", None, None, (Period.WEEK, "2026-03-24T00:00:00+01:00", None)),
        ("all", "2026-01-01T00:00", None, (Period.ALL, None, None)),
        ("custom", "2026-03-01T14:00", "2026-03-01T16:00", (Period.CUSTOM, "2026-03-01T14:00:00+01:00", "16")),
        (None, "2026-03-01T13:00:00Z", None, (Period.CUSTOM, "2026-03-01T14:00:00+01:00", None)),
        ("custom", "", "", (Period.CUSTOM, None, None)),
        ("whenever", None, None, (Period.WEEK, "2026-03-24T00:00:00+01:00", None)),
    ],
)
def test_period_is_on_the_readers_clock(
    period: str | None, from_: str | None, to: str | None, expected: tuple[Period, str | None, str | None]
) -> None:
    span = span_of(period, from_, to, Period.WEEK, PARIS)

    assert (span.period, span.from_ and span.from_.isoformat()) == expected[:2]
    assert (span.to and f"{span.to.hour}") == expected[2]
    assert span.from_text == (expected[1] or "")[:16]


@pytest.mark.parametrize(("from_", "to"), [("yesterday", None), (None, "2026-13-01"), ("2026-03-02", "2026-03-01")])
def test_times_that_are_none_are_refused(from_: str | None, to: str | None) -> None:
    with pytest.raises(InvalidInput):
        span_of("custom", from_, to, Period.WEEK, PARIS)


# --- texts of strangers ----------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("<b>&\"'", "&lt;b&gt;&amp;&#34;&#39;"),
        ("a\u202eb", 'a<b class="odd">U+202E</b>b'),
        ("a\0\x1b\u200d\ufeff", "".join(f'{c}<b class="odd">U+{n}</b>' for c, n in (("a", "0000"), ("", "001B")))
            + '<b class="odd">U+200D</b><b class="odd">U+FEFF</b>'),
        ("\udcff\udc80", '<b class="odd">0xFF</b><b class="odd">0x80</b>'),
        ("\ud800", '<b class="odd">U+D800</b>'),
        ("é 日本 🎉\n\t", "é 日本 🎉\n\t"),
        ("\u2028", '<b class="odd">U+2028</b>'),
    ],
)  # fmt: skip
def test_what_nobody_would_see_is_shown(text: str, shown: str) -> None:
    assert visible(text) == shown


def test_code_is_coloured_character_by_character_and_plain_where_it_is_long() -> None:
    hostile = '{"a": "</span><script>\u202e", "b": 1e3}'

    assert '<span class="nt">&#34;a&#34;</span>' in coloured_json(hostile)
    assert "<script>" not in coloured_json(hostile)
    assert "U+202E" in coloured_json(hostile)
    assert "<span" not in coloured_json("[" + "1," * MAX_COLOURED_LENGTH + "1]")


@pytest.mark.parametrize(("extra", "is_whole"), [(0, True), (1, False)])
def test_payload_is_shown_up_to_a_bound(extra: int, *, is_whole: bool) -> None:
    payload = payload_of(b"x" * (MAX_SHOWN_BYTES + extra))

    assert (payload.size, payload.is_whole) == (MAX_SHOWN_BYTES + extra, is_whole)
    assert len(payload.exact) == MAX_SHOWN_BYTES


def test_payload_is_cut_between_characters_and_shows_bytes_that_are_no_text() -> None:
    cut = payload_of(b"x" + "é".encode() * MAX_SHOWN_BYTES)
    broken = payload_of(b"\xff\xc3")

    assert "odd" not in cut.code
    assert re.findall(r"0x\w+", broken.code) == ["0xFF", "0xC3"]
