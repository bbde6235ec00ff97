"""What support staff and customers read is there in French and English, page for page, in the words of the console."""

from __future__ import annotations

import re
from collections import Counter
from enum import StrEnum
from pathlib import Path

import pytest

from router.domain.delivery import AttemptError, DeliveryReason, DeliveryStatus
from router.domain.matching import Verdict
from router.domain.webhook import SuspensionReason, WebhookState
from router.web.console.labels import LABELS
from router.web.console.language import load_languages

DOCS = Path(__file__).parents[2] / "docs"
LANGUAGES = load_languages()
FRENCH = sorted((DOCS / "fr").glob("*.md"))
SUPPORT = {"en": DOCS / "support.md", "fr": DOCS / "fr" / "support.md"}
FENCE = re.compile(r"(?ms)^```.*?^```$")


def prose(page: Path) -> str:
    return FENCE.sub("", page.read_text(encoding="utf-8"))


def shape(page: Path) -> dict[str, object]:
    """What a translation leaves as it is."""
    return {
        "headings": re.findall(r"(?m)^#+(?= )", prose(page)),
        "code": FENCE.findall(page.read_text(encoding="utf-8")),
        "words in code": Counter(re.findall(r"`([^`\n]+)`", prose(page))),
        "rows": len(re.findall(r"(?m)^\|", prose(page))),
        "items": len(re.findall(r"(?m)^(?:-|\d\.) ", prose(page))),
    }


def test_support_reads_french() -> None:
    assert {"support.md", "console.md", "receiving.md"} <= {page.name for page in FRENCH}


@pytest.mark.parametrize("page", FRENCH, ids=lambda page: page.name)
def test_a_page_is_the_same_in_both_languages(page: Path) -> None:
    assert shape(page) == shape(DOCS / page.name)


@pytest.mark.parametrize("page", FRENCH, ids=lambda page: page.name)
def test_each_language_leads_to_the_other_one(page: Path) -> None:
    assert f"](../{page.name})" in page.read_text(encoding="utf-8")
    assert f"](fr/{page.name})" in (DOCS / page.name).read_text(encoding="utf-8")


@pytest.mark.parametrize("code", SUPPORT)
@pytest.mark.parametrize(
    "kind", [AttemptError, DeliveryReason, DeliveryStatus, SuspensionReason, Verdict, WebhookState]
)
def test_support_finds_every_word_beside_that_of_the_console(code: str, kind: type[StrEnum]) -> None:
    rows = prose(SUPPORT[code]).splitlines()
    labels = {word: LANGUAGES[code].gettext(LABELS[kind][word]).replace("\u00a0", " ") for word in kind}
    missing = [word for word in kind if not any(row.startswith(f"| {labels[word]} | `{word}` |") for row in rows)]
    assert missing == [], labels


@pytest.mark.parametrize("code", SUPPORT)
@pytest.mark.parametrize("name", ["support.md", "console.md"])
def test_what_is_quoted_is_on_the_pages_of_the_console(code: str, name: str) -> None:
    quoted = re.findall(r"(?<!\*)\*([^*\n]+)\*(?!\*)", re.sub(r"`[^`\n]*`", "", prose(SUPPORT[code].with_name(name))))
    texts = {
        "en": list(LANGUAGES["fr"].messages),
        "fr": [form for forms in LANGUAGES["fr"].messages.values() for form in forms],
    }
    known = "\n".join(texts[code]).replace("\u00a0", " ").replace("\u202f", " ")
    assert quoted
    assert [text for text in quoted if not re.search(rf"(?m)^{re.escape(text)}(?:\W|$)", known)] == []
