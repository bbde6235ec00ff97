"""Every text of the console is there in French, whole and up to date; every word of the domain has its label."""

from __future__ import annotations

import re
from collections import defaultdict
from enum import StrEnum

import pytest
from babel.messages.catalog import Message

from router.domain.delivery import AttemptError
from router.web.console.labels import LABELS, REMEDIES
from router.web.console.language import (
    catalogue_files,
    choose_language,
    load_languages,
    read_catalogue,
    with_french_spaces,
)
from scripts.messages import TRANSLATED, collect

LANGUAGES = load_languages()
FILES = [(code, path) for code in TRANSLATED for path in catalogue_files(code)]
files = pytest.mark.parametrize(("code", "path"), FILES, ids=lambda each: getattr(each, "stem", each))


def messages(code: str, path: object) -> list[Message]:
    return [message for message in read_catalogue(path, code) if message.id]  # type: ignore[arg-type]


def forms(text: object) -> list[str]:
    return [text] if isinstance(text, str) else list(text or [])  # type: ignore[call-overload]


def test_each_group_of_pages_has_its_catalogue() -> None:
    for code in TRANSLATED:
        assert {path.stem for path in catalogue_files(code)} == set(collect())


@files
def test_catalogue_holds_the_texts_that_there_are(code: str, path: object) -> None:
    wanted = collect()[path.stem]  # type: ignore[attr-defined]
    there = {message.id if isinstance(message.id, str) else tuple(message.id) for message in messages(code, path)}
    assert (wanted - there, there - wanted) == (set(), set()), "run `make messages`"


@files
def test_every_text_is_translated(code: str, path: object) -> None:
    assert [
        message.id for message in messages(code, path) if not message.string or not all(forms(message.string))
    ] == []
    assert [message.id for message in messages(code, path) if message.fuzzy] == []
    assert not read_catalogue(path, code).obsolete  # type: ignore[arg-type]


def placeholders(text: str) -> set[str]:
    return set(re.findall(r"%\(\w+\)s", text))


@files
def test_translations_name_the_same_values(code: str, path: object) -> None:
    for message in messages(code, path):
        of_one, *of_many = forms(message.id)
        one, *many = forms(message.string)
        # The singular may do without its number: "a field", "un champ".
        assert placeholders(one) <= placeholders((of_many or [of_one])[0]) >= placeholders(of_one), message.id
        assert [placeholders(form) for form in many or [one]] == [placeholders((of_many or [of_one])[0])], message.id
        for form in forms(message.string):
            assert not re.search(r"%(?!\(\w+\)s)", form.replace("%%", "")), message.id


def test_a_text_has_one_translation_in_all_catalogues() -> None:
    found = defaultdict(set)
    for code, path in FILES:
        for message in messages(code, path):
            found[code, str(message.id)].add(str(message.string))
    assert {key: texts for key, texts in found.items() if len(texts) > 1} == {}


@files
def test_french_is_typed_with_its_signs(code: str, path: object) -> None:
    for message in messages(code, path):
        for form in forms(message.string):
            assert not re.search(r"\w'\w|\.\.\.|\"", form), form
            assert not re.search(r"[^\s«][;!?»]", form), form


@pytest.mark.parametrize("kind", LABELS, ids=lambda kind: kind.__name__)
def test_every_word_of_the_domain_has_its_label(kind: type[StrEnum]) -> None:
    assert set(LABELS[kind]) == set(kind)


def test_every_error_of_an_attempt_has_a_remedy() -> None:
    assert set(REMEDIES) == set(AttemptError)


@pytest.mark.parametrize(
    ("typed", "shown"),
    [
        ("Oui : non", "Oui\u00a0: non"),
        ("Vraiment ?", "Vraiment\u202f?"),
        ("« CRM » est là ; bien !", "«\u202fCRM\u202f» est là\u202f; bien\u202f!"),
        ("100 %% sûr", "100\u00a0%% sûr"),
        ("à 12:30", "à 12:30"),
    ],
)
def test_french_signs_do_not_go_to_a_new_line_alone(typed: str, shown: str) -> None:
    assert with_french_spaces(typed) == shown


@pytest.mark.parametrize(
    ("asked", "remembered", "accepted", "expected"),
    [
        (None, None, "", "fr"),
        (None, None, "de-DE,de;q=0.9", "fr"),
        (None, None, "en-GB,en;q=0.8,fr;q=0.5", "en"),
        (None, None, "en;q=0.4, fr-CA;q=0.9", "fr"),
        (None, None, "en;q=0", "fr"),
        (None, None, "*;q=1, ;;;, en;q=x", "fr"),
        (None, "en", "fr", "en"),
        ("fr", "en", "en", "fr"),
        ("xx", "en", "fr", "en"),
        ("xx", "yy", "en", "en"),
    ],
)
def test_language_is_asked_for_then_remembered_then_accepted(
    asked: str | None, remembered: str | None, accepted: str, expected: str
) -> None:
    assert choose_language(asked, remembered, accepted) == expected


def test_numbers_in_texts_are_written_as_the_language_does() -> None:
    one, many = "%(num)s tracking number", "%(num)s tracking numbers"
    assert LANGUAGES["en"].ngettext(one, many, 1) == "1 tracking number"
    assert LANGUAGES["en"].ngettext(one, many, 0) == "0 tracking numbers"
    assert LANGUAGES["fr"].ngettext(one, many, 0) == "0 numéro de suivi"
    assert LANGUAGES["fr"].ngettext(one, many, 12_345) == "12\u202f345 numéros de suivi"


def test_text_without_a_translation_is_shown_in_english() -> None:
    assert LANGUAGES["fr"].gettext("nobody has translated %(this)s", this="that") == "nobody has translated that"
