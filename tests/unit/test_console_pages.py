"""What pages are made of: hostile text, addresses, formats, and the rules that keep other sites away."""

from __future__ import annotations

import html
import json
import re
from datetime import UTC, datetime, timedelta
from zoneinfo import ZoneInfo

import pytest
from hypothesis import given
from hypothesis import strategies as st
from markupsafe import escape

from router.domain.event import AccountId
from router.domain.principal import ADMIN, Principal, Scope
from router.domain.session import (
    IDLE,
    LONGEST,
    Session,
    admin_proof,
    form_token,
    is_form_token,
    is_session_id,
    session_key,
    write_session_id,
)
from router.web.console.formats import Formats, zone_named
from router.web.console.guard import MAX_NEXT_LENGTH, is_from_our_pages, safe_next
from router.web.console.here import Here, url_for
from router.web.console.highlight import MAX_COLOURED_LENGTH, coloured_json
from router.web.console.language import load_languages
from router.web.console.rendering import environment
from router.web.console.rules import PATTERNS, translate_rule
from router.web.console.visible import visible
from tests.support.samples import NOON, at

LANGUAGES = load_languages()
HOSTILE = ["<script>alert(1)</script>", '"><img src=x onerror=alert(1)>', "javascript:alert(1)", "'&<>\"", "{{ 7*7 }}"]


def unmarked(markup: str) -> str:
    """What a reader of the markup sees."""
    return html.unescape(re.sub(r"<[^>]*>", "", markup))


# --- text of strangers -----------------------------------------------------------------------------


@pytest.mark.parametrize("text", HOSTILE)
def test_hostile_text_is_text(text: str) -> None:
    shown = environment().from_string('<p title="{{ text }}">{{ text|visible }}</p>').render(text=text)
    assert shown == f'<p title="{escape(text)}">{escape(text)}</p>'


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("plain", "plain"),
        ("a\nb\tc", "a\nb\tc"),
        ("a\u202eb", 'a<b class="odd">U+202E</b>b'),
        ("\x00\x1b[31m", '<b class="odd">U+0000</b><b class="odd">U+001B</b>[31m'),
        ("\ufeff\u200b\u2066", '<b class="odd">U+FEFF</b><b class="odd">U+200B</b><b class="odd">U+2066</b>'),
        ("\ud800<", '<b class="odd">U+D800</b>&lt;'),
        ("é « à »\u202f!", "é « à »\u202f!"),
    ],
)
def test_what_is_invisible_is_shown_by_its_number(text: str, shown: str) -> None:
    assert visible(text) == shown


@given(st.text())
def test_coloured_code_is_the_text_and_no_more(text: str) -> None:
    assert unmarked(coloured_json(text)) == unmarked(visible(text))


@pytest.mark.parametrize("text", HOSTILE)
def test_coloured_code_escapes(text: str) -> None:
    shown = coloured_json(json.dumps({text: [1, text, None]}))
    assert "<script" not in shown
    assert "<img" not in shown


def test_a_long_text_stays_plain() -> None:
    text = "[" + "1," * (MAX_COLOURED_LENGTH // 2) + "1]"
    assert coloured_json(text) == text


# --- addresses -------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("url", "expected"),
    [
        (url_for("/webhooks"), "/webhooks"),
        (url_for("/webhooks", account=None, cursor="a=b"), "/webhooks?cursor=a%3Db"),
        (url_for("/webhooks/{id}/edit", id="a/b?c#d"), "/webhooks/a%2Fb%3Fc%23d/edit"),
        (url_for("/calls/{id}", id="é", account="1042", from_="x"), "/calls/%C3%A9?account=1042&from=x"),
        (url_for("/replays", id_=["a", "b"]), "/replays?id=a&id=b"),
    ],
)
def test_addresses_are_encoded(url: str, expected: str) -> None:
    assert url == expected


def test_this_page_with_other_parameters() -> None:
    here = Here(path="/deliveries", query=[("account", "1042"), ("from", "x"), ("cursor", "c")])
    assert here.url == "/deliveries?account=1042&from=x&cursor=c"
    assert here.with_(cursor=None, from_=None, status="failed") == "/deliveries?account=1042&status=failed"
    assert (here.section, here.account) == ("deliveries", "1042")


def test_a_principal_of_one_account_looks_at_no_other() -> None:
    own = Principal(name="token:x", scopes=frozenset({Scope.READ}), account_id=AccountId("1042"))
    assert Here(path="/", query=[("account", "77")], principal=own).account == "1042"
    assert Here(path="/", query=[("account", "77")], principal=ADMIN).account == "77"
    assert Here(path="/", query=[("account", "")], principal=ADMIN).account is None
    assert not Here(path="/").may("read")


@pytest.mark.parametrize("target", ["/", "/webhooks", "/webhooks?account=1042&x=%2F%2F", "/search?q=//a", "/a%0d%0ab"])
def test_a_path_of_ours_is_where_to_go_on(target: str) -> None:
    assert safe_next(target) == target


@pytest.mark.parametrize(
    "target",
    [
        None, "", "webhooks", "//evil.example", "///evil.example", "/\\evil.example", "\\/evil.example",
        "https://evil.example/", "javascript:alert(1)", "/\r\nSet-Cookie: a=b", "/\tx", "/é", "/ x",
        "/" + "a" * MAX_NEXT_LENGTH,
    ],
)  # fmt: skip
def test_nowhere_else_to_go_on(target: str | None) -> None:
    assert safe_next(target) == "/"


# --- other sites -----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("headers", "public_url", "expected"),
    [
        ({"Sec-Fetch-Site": "same-origin"}, None, True),
        ({"Sec-Fetch-Site": "none"}, None, True),
        ({"Sec-Fetch-Site": "same-site"}, None, False),
        ({"Sec-Fetch-Site": "cross-site"}, None, False),
        ({"Sec-Fetch-Site": "cross-site", "Origin": "https://r.example"}, "https://r.example", False),
        ({"Sec-Fetch-Site": ""}, None, False),
        ({"Origin": "https://r.example"}, "https://r.example", True),
        ({"Origin": "http://r.example"}, "https://r.example", False),
        ({"Origin": "https://r.example:8443"}, "https://r.example", False),
        ({"Origin": "https://r.example", "Host": "r.example"}, None, True),
        ({"Origin": "https://evil.example", "Host": "r.example"}, None, False),
        ({"Origin": "null", "Host": "r.example"}, None, False),
        ({"Origin": "https://", "Host": ""}, None, False),
        ({"Host": "r.example"}, None, False),
        ({}, "https://r.example", False),
    ],
)
def test_a_form_comes_from_our_pages(headers: dict[str, str], public_url: str | None, expected: bool) -> None:
    assert is_from_our_pages(headers, public_url) is expected


# --- sessions --------------------------------------------------------------------------------------


def session(created: float, seen: float) -> Session:
    return Session(key="k", token_id=None, admin_proof=None, created_at=at(created), seen_at=at(seen))


@pytest.mark.parametrize(
    ("kept", "now", "is_over"),
    [
        (session(0, 0), at(0), False),
        (session(0, 0), at(IDLE.total_seconds() - 1), False),
        (session(0, 0), at(IDLE.total_seconds()), True),
        (session(0, LONGEST.total_seconds() - 60), at(LONGEST.total_seconds() - 1), False),
        (session(0, LONGEST.total_seconds() - 60), at(LONGEST.total_seconds()), True),
    ],
)
def test_a_session_ends(kept: Session, now: datetime, is_over: bool) -> None:
    assert kept.is_over(now) is is_over


@given(st.binary(min_size=32, max_size=32))
def test_what_is_kept_of_a_session_tells_nothing(random_bytes: bytes) -> None:
    session_id = write_session_id(random_bytes)
    assert is_session_id(session_id)
    derived = [session_key(session_id), form_token(session_id), admin_proof(session_id, b"digest")]
    assert len(set(derived)) == 3
    assert all(session_id not in each for each in derived)


@pytest.mark.parametrize("text", ["", "x", "é" * 43, "\udc80", "a" * 64])
def test_only_its_own_token_is_a_forms(text: str) -> None:
    session_id = write_session_id(bytes(32))
    assert is_form_token(form_token(session_id), session_id)
    assert not is_form_token(text, session_id)
    assert not is_form_token(form_token(session_id), write_session_id(b"\x01" * 32))


# --- formats ---------------------------------------------------------------------------------------


def formats(code: str, zone: str = "Europe/Paris") -> Formats:
    return Formats(locale=LANGUAGES[code].locale, zone=ZoneInfo(zone), now=NOON)


@pytest.mark.parametrize(
    ("shown", "expected"),
    [
        (formats("fr").moment(at(0.25)), "1 mars 13:00:00"),
        (formats("en").moment(at(0)), "1 Mar, 13:00:00"),
        (formats("fr").moment(NOON - timedelta(days=200)), "13 août 2025 14:00:00"),
        (formats("fr").clock(at(0.25)), "13:00:00,250"),
        (formats("en", "UTC").clock(at(0.25)), "12:00:00.250"),
        (formats("fr").full(at(0)), "dimanche 1 mars 2026 13:00:00,000 (UTC+1)"),
        (formats("fr").offset(datetime(2026, 7, 1, tzinfo=UTC)), "UTC+2"),
        (formats("fr", "America/Martinique").offset(at(0)), "UTC−4"),
        (formats("fr", "Asia/Kolkata").offset(at(0)), "UTC+5:30"),
        (formats("fr", "UTC").offset(at(0)), "UTC"),
        (formats("fr").ago(at(-300)), "il y a 5 minutes"),
        (formats("en").ago(at(7_200)), "in 2 hours"),
        (formats("fr").iso(at(0.25)), "2026-03-01T12:00:00.250Z"),
        (formats("fr").milliseconds(84), "84\u202fms"),
        (formats("fr").milliseconds(1_249), "1,2\u202fs"),
        (formats("en").milliseconds(1_249), "1.2\u202fs"),
        (formats("fr").milliseconds(185_000), "3\u202fmin 5\u202fs"),
        (formats("fr").span(timedelta(days=3, hours=4, minutes=5)), "3\u202fj 4\u202fh"),
        (formats("en").span(timedelta(days=1)), "1\u202fd"),
        (formats("fr").span(timedelta(hours=1, seconds=5)), "1\u202fh"),
        (formats("fr").span(timedelta()), "0\u202fs"),
        (formats("fr").span(timedelta(seconds=-65)), "−1\u202fmin 5\u202fs"),
        (formats("fr").size(512), "512\u202fo"),
        (formats("fr").size(1_536), "1,5\u202fKio"),
        (formats("en").size(3 * 1024 * 1024), "3\u202fMiB"),
        (formats("fr").percent(0.9999), "99,9\u202f%"),
        (formats("fr").percent(0.00001), "0,1\u202f%"),
        (formats("fr").percent(1), "100\u202f%"),
        (formats("fr").number(1_234_567), "1\u202f234\u202f567"),
    ],
)  # fmt: skip
def test_quantities_are_written_as_the_language_does(shown: str, expected: str) -> None:
    assert shown == expected


@pytest.mark.parametrize("name", [None, "", "Mars/Olympus", "../etc/passwd", "Europe"])
def test_an_unknown_zone_is_the_settings(name: str | None) -> None:
    assert zone_named(name, "Europe/Paris").key == "Europe/Paris"


# --- rules -----------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("rule", "expected"),
    [
        ("must have 1 to 200 characters", "doit compter de 1 à 200 caractères"),
        ("host cannot be set", "host ne peut pas être défini"),
        ("x-a is there twice; case makes no difference", "x-a figure deux fois"),
        ("a rule that nobody has translated: 100 % sure", "a rule that nobody has translated: 100 % sure"),
    ],
)
def test_rules_speak_the_readers_language(rule: str, expected: str) -> None:
    assert translate_rule(LANGUAGES["fr"], rule) == expected


def test_every_pattern_gives_what_its_text_names() -> None:
    for pattern, message in PATTERNS:
        assert set(re.findall(r"%\((\w+)\)s", message)) <= set(pattern.groupindex)
