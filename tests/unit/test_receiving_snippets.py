"""The programs in docs/receiving.md do what the page says: they take the request of its table and nothing near it."""

from __future__ import annotations

import re
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from router.domain.signing import parse_secret, parse_signing_key, sign

PAGE = (Path(__file__).parents[2] / "docs" / "receiving.md").read_text(encoding="utf-8")
SNIPPETS = re.findall(r"(?ms)^```python\n(.*?)^```$", PAGE)
KEY = parse_secret("whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw")
SIGNING_KEY = parse_signing_key(
    "whsk_6Xb/dCcHpPea21PS1N9VY/NZW723CEc77N4rJCubMbfVKIDij2HKpMKkioLlX0dRqSKJp4AJ6p9lMicMFs6Kvg=="
)
BODY = b'{"test": 2432232314}'
IDS = ["v1 by hand", "v1 by the package", "v1a"]


def is_genuine(snippet: str) -> Callable[[bytes, dict[str, str]], bool]:
    names: dict[str, Any] = {}
    exec(snippet, names)
    found: Callable[[bytes, dict[str, str]], bool] = names["is_genuine"]
    return found


def headers(seconds_ago: int = 0, event_id: str = "evt.with.dots") -> dict[str, str]:
    timestamp = int(time.time()) - seconds_ago
    signature = sign([b"another key", KEY], event_id, timestamp, BODY, SIGNING_KEY)
    return {"webhook-id": event_id, "webhook-timestamp": str(timestamp), "webhook-signature": signature or ""}


def test_the_page_has_one_program_for_each_way() -> None:
    assert len(SNIPPETS) == len(IDS)


@pytest.mark.parametrize("snippet", SNIPPETS, ids=IDS)
def test_a_genuine_request_is_taken(snippet: str) -> None:
    assert is_genuine(snippet)(BODY, headers())


@pytest.mark.parametrize("snippet", SNIPPETS, ids=IDS)
def test_anything_else_is_not(snippet: str) -> None:
    check = is_genuine(snippet)

    assert not check(BODY + b" ", headers())
    assert not check(BODY, headers() | {"webhook-id": "evt_2"})
    assert not check(BODY, headers(seconds_ago=600))
    assert not check(BODY, headers(seconds_ago=-600))
    for name in headers():
        for value in ("", "v1,", "v1a,", "v1a,!", "nonsense"):
            assert not check(BODY, headers() | {name: value})


@pytest.mark.parametrize("index", [0, 2])
def test_the_request_of_the_table_is_taken_at_its_time(index: int) -> None:
    (v1,) = re.findall(r"`(v1,[^`]{44})`", PAGE)
    (v1a,) = re.findall(r"`(v1a,[^`]{88})`", PAGE)
    check: Any = is_genuine(SNIPPETS[index])

    request = {
        "webhook-id": "msg_p5jXN8AQM9LWM0D4loKWxJek",
        "webhook-timestamp": "1614265330",
        "webhook-signature": f"{v1} {v1a}",
    }
    assert check(BODY, request, now=1614265330.0)
    assert not check(BODY, request)
