"""Why an attempt failed: a cause for each error, status and detail, and words for each cause in both languages."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime
from zoneinfo import ZoneInfo

import pytest

from router.application.explain import Cause, explain
from router.domain.delivery import AttemptError, ErrorDetail, ErrorKind
from router.web.console.formats import Formats
from router.web.console.language import load_languages
from router.web.console.pages.deliveries_words import WORDS, words_for
from tests.support.samples import NOON, attempt

LANGUAGES = load_languages()
URL = "https://crm.example.com/hooks?token=hush"
EXPIRED_AT = datetime(2026, 3, 11, 23, 30, tzinfo=UTC)


@pytest.mark.parametrize(
    ("error", "status", "detail", "cause"),
    [
        (AttemptError.TIMEOUT, None, None, Cause.TIMEOUT),
        (AttemptError.CONNECT_TIMEOUT, None, None, Cause.CONNECT_TIMEOUT),
        (AttemptError.CONNECTION_REFUSED, None, None, Cause.CONNECTION_REFUSED),
        (AttemptError.CONNECTION_RESET, None, None, Cause.CONNECTION_RESET),
        (AttemptError.CONNECTION_RESET, None, ErrorKind.CLOSED_WITHOUT_ANSWER, Cause.CLOSED_WITHOUT_ANSWER),
        (AttemptError.DNS, None, None, Cause.NAME_SERVERS),
        (AttemptError.DNS, None, ErrorKind.NAME_NOT_FOUND, Cause.NAME_NOT_FOUND),
        (AttemptError.TLS, None, None, Cause.TLS),
        (AttemptError.TLS, None, ErrorKind.CERTIFICATE_EXPIRED, Cause.CERTIFICATE_EXPIRED),
        (AttemptError.TLS, None, ErrorKind.CERTIFICATE_UNTRUSTED, Cause.CERTIFICATE_UNTRUSTED),
        (AttemptError.REDIRECT, 301, ErrorKind.REDIRECTED, Cause.REDIRECT),
        (AttemptError.REDIRECT, 308, None, Cause.REDIRECT),
        (AttemptError.BLOCKED_ADDRESS, None, None, Cause.BLOCKED_ADDRESS),
        (AttemptError.PROTOCOL, None, None, Cause.PROTOCOL),
        (AttemptError.HTTP_STATUS, None, ErrorKind.TOKEN_ENDPOINT, Cause.TOKEN_ENDPOINT),
        (AttemptError.OTHER, None, None, Cause.OTHER),
        (AttemptError.OTHER, None, ErrorKind.NO_ROUTE, Cause.NO_ROUTE),
        *(
            (AttemptError.HTTP_STATUS, status, None, cause)
            for status, cause in {
                400: Cause.BAD_REQUEST,
                401: Cause.UNAUTHORIZED,
                402: Cause.CLIENT_ERROR,
                403: Cause.FORBIDDEN,
                404: Cause.NOT_FOUND,
                405: Cause.METHOD_NOT_ALLOWED,
                410: Cause.GONE,
                413: Cause.TOO_LARGE,
                415: Cause.UNSUPPORTED_TYPE,
                422: Cause.BAD_REQUEST,
                429: Cause.TOO_MANY_REQUESTS,
                500: Cause.SERVER_ERROR,
                502: Cause.BAD_GATEWAY,
                503: Cause.UNAVAILABLE,
                504: Cause.BAD_GATEWAY,
                599: Cause.SERVER_ERROR,
                101: Cause.ODD_STATUS,
            }.items()
        ),
    ],
)
def test_each_failure_has_its_cause(
    error: AttemptError, status: int | None, detail: ErrorKind | None, cause: Cause
) -> None:
    known = ErrorDetail(kind=detail) if detail else None
    failed = replace(attempt(1), error=error, status_code=status, error_detail=known, duration_ms=5_012)

    found = explain(failed, URL)

    assert found is not None
    assert found.cause is cause
    assert found.parameters["host"] == "crm.example.com"
    assert found.parameters["seconds"] == 5.0
    assert "hush" not in str(found)


def test_success_needs_no_explanation() -> None:
    assert explain(attempt(1), URL) is None
    assert words_for(attempt(1), URL, LANGUAGES["fr"], formats("fr")) is None


def test_every_kind_of_detail_has_a_cause() -> None:
    for kind in ErrorKind:
        failed = replace(attempt(1), error=AttemptError.REDIRECT, error_detail=ErrorDetail(kind=kind))
        assert explain(failed, URL) is not None


def formats(code: str) -> Formats:
    return Formats(locale=LANGUAGES[code].locale, zone=ZoneInfo("Europe/Paris"), now=NOON)


@pytest.mark.parametrize(
    ("code", "detail", "status", "text"),
    [
        (
            "fr",
            ErrorDetail(kind=ErrorKind.CERTIFICATE_EXPIRED, at=EXPIRED_AT),
            None,
            "Le certificat de crm.example.com a expiré le 12 mars 2026.",  # in Paris
        ),
        (
            "en",
            ErrorDetail(kind=ErrorKind.CERTIFICATE_EXPIRED, at=EXPIRED_AT),
            None,
            "The certificate of crm.example.com expired on March 12, 2026.",
        ),
        (
            "fr",
            ErrorDetail(kind=ErrorKind.REDIRECTED, host="www.example.org"),
            301,
            "crm.example.com a répondu 301\u00a0: il nous renvoie vers www.example.org.",
        ),
        (
            "en",
            ErrorDetail(kind=ErrorKind.REDIRECTED, host="crm.example.com"),
            308,
            "crm.example.com answered 308: it sends us to another address.",
        ),
        ("fr", ErrorDetail(kind=ErrorKind.NAME_NOT_FOUND), None, "Le nom crm.example.com n’existe pas."),
    ],
)
def test_words_name_what_is_known(code: str, detail: ErrorDetail, status: int | None, text: str) -> None:
    failed = replace(attempt(1), error=AttemptError.REDIRECT, status_code=status, error_detail=detail)

    words = words_for(failed, URL, LANGUAGES[code], formats(code))

    assert words is not None
    assert words.what == text
    assert words.remedy


@pytest.mark.parametrize("code", LANGUAGES)
def test_timeout_says_how_long_it_took(code: str) -> None:
    failed = replace(attempt(1), error=AttemptError.TIMEOUT, status_code=None, duration_ms=5_049)

    words = words_for(failed, URL, LANGUAGES[code], formats(code))

    assert words is not None
    assert " 5 s." in words.what


@pytest.mark.parametrize("code", LANGUAGES)
@pytest.mark.parametrize("cause", Cause)
def test_every_cause_has_words_and_a_remedy_in_both_languages(code: str, cause: Cause) -> None:
    values = {"host": "crm.example.com", "seconds": 5.0, "status": "503", "at": "today", "to": "example.org"}
    for text in WORDS[cause]:
        assert (LANGUAGES[code].gettext(text, **values) != LANGUAGES["en"].gettext(text, **values)) == (code == "fr")
