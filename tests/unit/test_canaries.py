"""The look at the logs finds what it is there for: each kind of canary, in each spelling, in any file below."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.support import events
from tests.support.canaries import leaks_below, leaks_in

CANARIES = {
    "number": [
        *("+33639981122", "0639981122", "06 39 98 11 22", "06.39.98.11.22", "33639981122", "0033639981122"),
        *("+33 1 99 00 12 34", "0199001234", "%2B33199001234", events.REDIRECTION, "01-99-00-77-88", "04 65 71 00 42"),
        *("639981122", "+33 (0)6 39 98 11 22", "tel:+33-6-39-98-11-22"),
    ],
    "note of a payload": [events.NOTE],
    "admin token": ["adm1n-t0ken-of-the-tests"],
    "path of a URL": ["http://127.0.0.1:9/hook-path-0badcafe"],
    "secret": ["whsec_MfKQ9r8GKYqr", "whsk_MfKQ9r8GKYqr", "whr_12345678_abc"],
    "bearer token": ["Authorization: Bearer abcdefghijkl"],
    "password": ["mongodb://router:hush@h/"],
}


@pytest.mark.parametrize(("kind", "canary"), [(kind, each) for kind, found in CANARIES.items() for each in found])
def test_a_canary_is_seen_and_not_quoted(kind: str, canary: str) -> None:
    (leak,) = leaks_in(f'{{"event":"one"}}\n{{"event":"x {canary} y"}}\n')

    assert leak.startswith(f"{kind}: ")
    assert canary not in leak


@pytest.mark.parametrize(
    "text",
    [
        "",
        "pn:1f3a09c2:22 url:1f3a09c2:crm.example.com",
        "amqp://***@h/ whsec_*** Bearer ***",
        "dlv_63998112263998112",
        "c-a639981122b",
        "x-1639981122",
    ],
)
def test_what_a_log_may_hold_is_no_leak(text: str) -> None:
    assert leaks_in(text) == []


def test_every_log_below_a_folder_is_looked_at(tmp_path: Path) -> None:
    (tmp_path / "a" / "b").mkdir(parents=True)
    planted = tmp_path / "a" / "b" / "router.log"
    planted.write_bytes(b"\xff ok\ncalled 06 39 98 11 22\n")
    (tmp_path / "clean.log").write_text("ready\n", encoding="utf-8")
    (tmp_path / "export.jsonl").write_text("+33639981122", encoding="utf-8")

    assert leaks_below(tmp_path) == ["a/b/router.log: number: called <canary>"]

    planted.unlink()  # this session is looked at as well
    assert leaks_below(tmp_path) == []
