"""The pages that look things up, over HTTP: deliveries, one delivery, calls, search, health, rejected messages."""

from __future__ import annotations

import csv
import io
import re
from collections.abc import AsyncIterator
from dataclasses import replace
from datetime import timedelta
from typing import Any, Final
from urllib.parse import quote

import pytest

from router.application import overview
from router.domain.delivery import (
    Attempt,
    AttemptError,
    Delivery,
    DeliveryReason,
    DeliveryStatus,
    ErrorDetail,
    ErrorKind,
)
from router.domain.matching import Verdict
from router.domain.principal import Scope
from router.domain.webhook import Suspension, SuspensionReason
from router.ports import StoredAccount
from router.web.console.pages import deliveries as deliveries_pages
from router.web.console.pages.deliveries_one import MAX_SHOWN_BYTES
from tests.support.api import Surroundings
from tests.support.console import Browser, console
from tests.support.fakes_manage import FakeAudit
from tests.support.samples import ACCOUNT, NOON, at, attempt, dead_letter, delivery, event, webhook
from tests.support.stored import StoredThings
from tests.support.tokens import store_token

HOSTILE: Final = b"<script>alert(1)</script>\"><img src=x onerror=alert(2)> javascript:alert(3) \xe2\x80\xae \xff '"
NUMBER_KEYS: Final = ["43210099133", "22118993633"]
"""+33199001234 and +33639981122."""


def failed(number: int = 1, **changes: Any) -> Attempt:
    return replace(attempt(number, 503), **changes)


@pytest.fixture
async def browser(surroundings: Surroundings) -> AsyncIterator[Browser]:
    """Signed in as one who may do everything."""
    async with console(surroundings) as opened:
        await opened.sign_in()
        yield opened


@pytest.fixture
async def customer(surroundings: Surroundings) -> AsyncIterator[Browser]:
    """Signed in for account 77, which has nothing."""
    own = await store_token(surroundings.tokens, *Scope, account="77")
    async with console(surroundings) as opened:
        await opened.sign_in(own.text)
        yield opened


def add_call(stored: StoredThings, payload: bytes = b'{"id":"evt-1"}', **changes: Any) -> Delivery:
    """A call that went to the CRM, and not to another webhook."""
    received = event(
        matched=["wh_crm"],
        not_matched=[("wh_off", Verdict.PAUSED), ("wh_deleted", Verdict.TRACKING_NUMBER)],
        call_id="call-1",
        tracking_number="+33199001234",
        occurred_at=NOON - timedelta(milliseconds=19),
        payload=payload,
    )
    sent = delivery(received, **changes)
    stored.add_account(StoredAccount(id=ACCOUNT, webhooks_enabled=True))
    stored.add_webhook(webhook())
    stored.add_webhook(webhook("wh_off", name="Dialler", enabled=False))
    stored.add_webhook(webhook("wh_new", name="Newer", created_at=at(60)))
    stored.add_event(received)
    stored.add_delivery(sent, received.key, NUMBER_KEYS)
    return sent


def audited(stored: StoredThings) -> list[tuple[str, str | None]]:
    entries = stored.database["audit"].find({"action": {"$ne": "session.opened"}}).sort("_id", 1)
    return [(entry["action"], entry["target"]) for entry in entries if not entry["action"].startswith("session")]


def assert_harmless(html: str) -> None:
    """Nothing of HOSTILE has become markup, and what nobody sees is marked."""
    assert "<script>alert" not in html
    assert "<img src=x" not in html
    assert not re.search(r'href="\s*javascript:', html)
    assert "\u202e" not in html.partition('<textarea id="exact"')[0]
    assert '<b class="odd">U+202E</b>' in html


# --- deliveries ------------------------------------------------------------------------------------


async def test_deliveries_show_what_support_asks_for_and_no_number(browser: Browser, stored: StoredThings) -> None:
    sent = add_call(stored, status=DeliveryStatus.FAILED, reason=DeliveryReason.EXHAUSTED, attempts=(failed(),))

    page = await browser.get("/deliveries")

    assert page.status == 200
    for text in ("Échouée", "Toutes les tentatives", "crm.example.com", "call-1", "…34", "…22", "1", "0\u202fms"):
        assert text in page.text, text
    assert f'href="/deliveries/{sent.id}"' in page.html
    assert 'href="/calls/call-1?account=1042"' in page.html
    assert "33639981122" not in page.html
    assert audited(stored) == []


@pytest.mark.parametrize(
    ("query", "is_found"),
    [
        ("", True),
        ("?period=today", True),
        ("?period=7d&status=delivered&type=call", True),
        ("?status=failed", False),
        ("?type=cdr", False),
        ("?webhook=wh_crm&call=call-1", True),
        ("?webhook=wh_other", False),
        ("?call=call-2", False),
        ("?user=u-9", False),
        ("?number=06+39+98+11+22", True),
        ("?number=1122", True),
        ("?number=1123", False),
        ("?account=1042", True),
        ("?account=77", False),
        ("?period=custom&from=2026-03-01T13:00&to=2026-03-01T13:01", True),  # in Paris
        ("?period=custom&from=2026-03-01T12:00&to=2026-03-01T12:01", False),
        ("?from=2026-03-01T12:00:00Z", True),
        ("?status=whatever&period=whenever&utm=1", True),
    ],
)
async def test_each_filter_of_the_page(browser: Browser, stored: StoredThings, query: str, *, is_found: bool) -> None:
    sent = add_call(stored)

    page = await browser.get(f"/deliveries{query}")

    assert page.status == 200
    assert (sent.id in page.html) == is_found
    assert ("Aucune livraison" in page.text) != is_found


@pytest.mark.parametrize(
    ("query", "field"),
    [("?number=12", "number"), ("?period=custom&from=yesterday", "from"), ("?from=2026-03-02&to=2026-03-01", "from")],
)
async def test_what_cannot_be_read_is_said_beside_the_field_and_kept(browser: Browser, query: str, field: str) -> None:
    page = await browser.get(f"/deliveries{query}")

    assert page.status == 400
    assert page.error(field)
    assert page.value(field) == query.partition(f"{field}=")[2].partition("&")[0] or field == "from"


async def test_deliveries_of_a_webhook_are_its_own_and_paged(browser: Browser, stored: StoredThings) -> None:
    stored.add_webhook(webhook())
    for number in range(55):
        received = event(f"evt-{number}", received_at=at(number))
        to = "wh_crm" if number else "wh_other"
        stored.add_delivery(delivery(received, to, id=f"dlv_{number:02}"), received.key)

    first = await browser.get("/webhooks/wh_crm/deliveries?period=all")
    (older,) = re.findall(r'href="(/webhooks/wh_crm/deliveries\?[^"]*cursor=[^"]*)" rel="next"', first.html)
    second = await browser.get(older.replace("&amp;", "&"))

    ids = [re.findall(r'href="/deliveries/(dlv_\d+)"', page.html) for page in (first, second)]
    assert ids == [[f"dlv_{number:02}" for number in range(54, 4, -1)], [f"dlv_{n:02}" for n in range(4, 0, -1)]]
    assert "CRM" in first.heading


async def test_log_of_a_deleted_webhook_is_still_found(browser: Browser, stored: StoredThings) -> None:
    received = event()
    stored.add_delivery(delivery(received), received.key)

    moved = await browser.get("/webhooks/wh_crm/deliveries")
    unknown = await browser.get("/webhooks/wh_none/deliveries")

    assert (moved.status, moved.location) == (303, "/deliveries?webhook=wh_crm")
    assert unknown.status == 404
    assert "webhook" in unknown.text


async def test_csv_is_what_the_list_shows_and_no_formula(
    browser: Browser, stored: StoredThings, monkeypatch: pytest.MonkeyPatch
) -> None:
    received = event(call_id="=cmd|' /C calc'!A0", name='a,"b"\nc')
    stored.add_delivery(delivery(received), received.key, NUMBER_KEYS)
    other = event("evt-2", received_at=at(1))
    stored.add_delivery(delivery(other), other.key)

    answer = await browser.get("/deliveries.csv?period=all")
    rows = list(csv.DictReader(io.StringIO(answer.body.decode("utf-8-sig"))))

    assert answer.body.startswith(b"\xef\xbb\xbf")
    assert answer.headers["Content-Type"] == "text/csv; charset=utf-8"
    assert "attachment" in answer.headers["Content-Disposition"]
    assert [row["Id de l’événement"] for row in rows] == ["evt-2", "evt-1"]
    assert rows[1]["Appel"] == "'=cmd|' /C calc'!A0"
    assert rows[1]["Événement"] == 'a,"b"\nc'
    assert rows[1]["Numéros (derniers chiffres)"] == "…34 …22"
    assert rows[1]["Réception"] == "2026-03-01T13:00:00.000+01:00"
    assert b"33639981122" not in answer.body

    monkeypatch.setattr(deliveries_pages, "MAX_EXPORTED", 1)
    part = await browser.get("/deliveries.csv?period=all&separator=semicolon&status=delivered")
    assert len(part.body.decode("utf-8-sig").splitlines()) == 2
    assert "-part.csv" in part.headers["Content-Disposition"]
    assert ";" in part.body.decode("utf-8-sig").splitlines()[0]


# --- one delivery ----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("language", "words"),
    [
        ("fr", ("Le certificat de crm.example.com a expiré le 12 mars 2025", "Renouvelez")),
        ("en", ("The certificate of crm.example.com expired on March 12, 2025", "Renew it")),
    ],
)
async def test_attempts_say_in_plain_words_what_failed_and_what_helps(
    surroundings: Surroundings, stored: StoredThings, language: str, words: tuple[str, ...]
) -> None:
    expired = ErrorDetail(kind=ErrorKind.CERTIFICATE_EXPIRED, at=NOON.replace(year=2025, day=12))
    tls = failed(status_code=None, error=AttemptError.TLS, error_detail=expired, response_body=None)
    sent = add_call(stored, status=DeliveryStatus.PENDING, attempts=(tls,), next_attempt_at=at(5), completed_at=None)

    async with console(surroundings, language) as browser:
        await browser.sign_in()
        page = await browser.get(f"/deliveries/{sent.id}")

    assert page.status == 200
    for text in words:
        assert text in page.text, text
    assert f'action="/deliveries/{sent.id}/replay"' in page.html
    assert audited(stored) == []


async def test_payload_is_shown_only_after_it_was_written_down(browser: Browser, stored: StoredThings) -> None:
    sent = add_call(stored, b'{"caller":"+33639981122"}')

    without = [await browser.get(f"/deliveries/{sent.id}{tab}") for tab in ("", "?tab=answer", "?tab=x")]
    shown = await browser.get(f"/deliveries/{sent.id}?tab=request")
    file = await browser.get(f"/deliveries/{sent.id}/payload")

    assert not any("+33639981122" in page.html for page in without)
    assert "+33639981122" in shown.html
    assert "25 octets" in shown.text
    assert file.body == b'{"caller":"+33639981122"}'
    assert file.headers["Content-Type"] == "application/octet-stream"
    assert file.headers["Content-Disposition"] == f"attachment; filename*=UTF-8''{sent.id}.json"
    assert audited(stored) == [("delivery.revealed", sent.id)] * 2


async def test_request_is_made_again_without_its_secrets(browser: Browser, stored: StoredThings) -> None:
    sent = add_call(stored, b'{"name":"L\'\xc3\x89t\xc3\xa9"}')
    keys = {"headers": {"x-api-key": "hush"}, "secret": "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw"}
    stored.database["webhooks"].update_one({"_id": "wh_crm"}, {"$set": keys})

    page = await browser.get(f"/deliveries/{sent.id}?tab=request")

    assert f"webhook-timestamp: {int(NOON.timestamp())}" in page.text
    assert "x-api-key: ***" in page.text
    assert "webhook-signature: ***" in page.text
    assert "curl -X POST 'https://crm.example.com/hooks'" in page.text
    assert "L'\\''Été" in page.text
    assert "hush" not in page.html
    assert "whsec_" not in page.html


@pytest.mark.parametrize("tab", ["request", "answer"])
async def test_hostile_payloads_and_answers_stay_text(browser: Browser, stored: StoredThings, tab: str) -> None:
    answer = failed(response_body=HOSTILE.decode("utf-8", "replace"), response_truncated=True)
    sent = add_call(stored, HOSTILE, status=DeliveryStatus.FAILED, attempts=(answer,), event_name="<script>alert(9)")

    page = await browser.get(f"/deliveries/{sent.id}?tab={tab}")

    assert page.status == 200
    assert_harmless(page.html)
    assert tab == "answer" or '<b class="odd">0xFF</b>' in page.html
    assert "default-src 'none'" in page.headers["Content-Security-Policy"]
    assert page.headers["Referrer-Policy"] == "no-referrer"
    assert (await browser.get(f"/deliveries/{sent.id}/payload")).body == HOSTILE


async def test_large_payload_is_shown_in_part_and_downloaded_whole(browser: Browser, stored: StoredThings) -> None:
    payload = b'{"n":"' + "é".encode() * 500_000 + b'"}'
    sent = add_call(stored, payload)

    page = await browser.get(f"/deliveries/{sent.id}?tab=request")

    assert len(page.body) < 4 * MAX_SHOWN_BYTES
    assert "Ceci est le début" in page.text
    assert 'class="odd"' not in page.html
    assert (await browser.get(f"/deliveries/{sent.id}/payload")).body == payload


async def test_payload_that_is_gone_is_said_to_be_gone(browser: Browser, stored: StoredThings) -> None:
    received = event(payload=None)
    sent = delivery(received)
    stored.add_event(received)
    stored.add_delivery(sent, received.key)

    assert "charge utile" in (await browser.get(f"/deliveries/{sent.id}?tab=request")).text
    assert (await browser.get(f"/deliveries/{sent.id}/payload")).status == 404


# --- calls and events ------------------------------------------------------------------------------


async def test_call_says_why_each_webhook_got_it_or_not(browser: Browser, stored: StoredThings) -> None:
    sent = add_call(stored)

    page = await browser.get("/calls/call-1?account=1042")

    assert page.status == 200
    for text in (
        *("CRM", "Retenu", "Livrée", "Dialler", "Le webhook était en pause", "wh_deleted", "supprimé depuis"),
        *("Un autre numéro de suivi", "Newer", "N’existait pas encore", "19\u202fms", "0\u202fms", "…34"),
    ):
        assert text in page.text, text
    assert f'href="/deliveries/{sent.id}"' in page.html
    assert "33199001234" not in page.html
    assert audited(stored) == []


async def test_call_without_an_account_leads_to_the_one_that_has_it(browser: Browser, stored: StoredThings) -> None:
    add_call(stored)
    assert (await browser.get("/calls/call-1")).location == "/calls/call-1?account=1042"

    stored.add_event(event("evt-9", account_id="77", call_id="call-1"))
    choice = await browser.get("/calls/call-1")
    assert [f'"/calls/call-1?account={account}"' in choice.html for account in ("1042", "77")] == [True, True]


async def test_event_that_matched_nothing_says_why_and_shows_its_payload_on_demand(
    browser: Browser, stored: StoredThings
) -> None:
    stored.add_account(StoredAccount(id=ACCOUNT, webhooks_enabled=False))
    stored.add_webhook(webhook())
    received = event(not_matched=[("wh_crm", Verdict.ACCOUNT_DISABLED)], account_enabled=False, payload=HOSTILE)
    stored.add_event(received)

    page = await browser.get("/events/evt-1?account=1042")
    shown = await browser.get("/events/evt-1?account=1042&show=payload")
    file = await browser.get("/events/evt-1/payload?account=1042")

    assert "Aucun webhook ne correspondait" in page.text
    assert "Le compte était désactivé" in page.text
    assert "alert(1)" not in page.html
    assert_harmless(shown.html)
    assert file.body == HOSTILE
    assert audited(stored) == [("event.revealed", "evt-1")] * 2


# --- search ----------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("text", "target"),
    [
        ("call-1", "/calls/call-1?account=1042"),
        ("  «evt-1» ", "/events/evt-1?account=1042"),
        ("06 39 98 11 22", "/deliveries/{delivery}"),
        ("tel:+33-6-39-98-11-22", "/deliveries/{delivery}"),
        ("81122", "/deliveries/{delivery}"),
        ("{delivery}", "/deliveries/{delivery}"),
        ("https://console.example/deliveries/{delivery}?tab=answer", "/deliveries/{delivery}"),
        ("wh_crm", "/webhooks/wh_crm"),
        ("dl_1", "/dead-letters/dl_1"),
        ("https://dialler.example.org/in?k=1", "/webhooks/wh_off"),
        ("Dialler.Example.org", "/webhooks/wh_off"),
    ],
)
async def test_one_hit_goes_straight_there(browser: Browser, stored: StoredThings, text: str, target: str) -> None:
    sent = add_call(stored)
    stored.database["webhooks"].update_one({"_id": "wh_off"}, {"$set": {"url": "https://dialler.example.org/in"}})
    stored.add_dead_letter(dead_letter())

    page = await browser.get(f"/search?q={quote(text.replace('{delivery}', sent.id))}")

    assert (page.status, page.location) == (303, target.replace("{delivery}", sent.id))


async def test_several_hits_are_grouped_and_say_how_the_text_was_taken(browser: Browser, stored: StoredThings) -> None:
    add_call(stored)  # account 1042, whose digits a number may end with too
    received = event("evt-2", call_id="<script>alert(1)</script>")
    stored.add_delivery(delivery(received), received.key, ["240133"])

    page = await browser.get("/search?q=1042")
    both = await browser.get("/search?q=crm.example.com")

    assert page.status == 200
    assert "un numéro de téléphone" in page.text
    assert "Compte" in page.text
    assert [f'"/webhooks/{each}"' in both.html for each in ("wh_crm", "wh_off", "wh_new")] == [True] * 3


async def test_search_that_finds_nothing_teaches(browser: Browser) -> None:
    empty = await browser.get("/search")
    nothing = await browser.get("/search?q=%3Cscript%3Ealert(1)%3C/script%3E")
    wrong = await browser.get("/search?q=" + "x" * 3_000)

    assert empty.status == nothing.status == 200
    assert "06 39 98 11 22" in empty.text
    assert "Rien n’a été trouvé" in nothing.text
    assert "<script>alert" not in nothing.html
    assert wrong.status == 400
    assert wrong.error("q")


# --- health and rejected messages ------------------------------------------------------------------


async def test_health_shows_what_fails_since_when_and_why(
    browser: Browser, surroundings: Surroundings, stored: StoredThings
) -> None:
    waiting = add_call(stored, status=DeliveryStatus.PENDING, attempts=(failed(),), next_attempt_at=at(-5))
    stored.database["webhook_health"].insert_one({"_id": "wh_crm", "failing_since": at(-3600)})
    stored.add_webhook(
        webhook("wh_gone", name="Gone", suspension=Suspension(since=at(-60), reason=SuspensionReason.GONE))
    )
    stored.add_dead_letter(dead_letter())
    surroundings.checks |= {"consumer:call": True, "consumer:cdr": False}

    page = await browser.get("/health")

    assert page.status == 200
    for text in (
        *("CRM", "il y a 60 minutes", "n’est pas disponible", "Gone", "410", "N’est pas du JSON", "Répond"),
        *("Ne consomme pas", "Inconnu ici"),
    ):
        assert text in page.text, text
    assert f'href="/deliveries/{waiting.id}"' in page.html
    assert audited(stored) == []


async def test_health_of_nothing_is_good(browser: Browser) -> None:
    page = await browser.get("/health")

    assert page.status == 200
    assert "Tous les messages ont été compris" in page.text


async def test_health_shows_so_many_webhooks_and_says_that_there_are_more(
    browser: Browser, stored: StoredThings
) -> None:
    for number in range(overview.MAX_AILING + 1):
        stored.add_webhook(webhook(f"wh_{number:02}", name=f"Webhook {number:02}"))
        stored.database["webhook_health"].insert_one({"_id": f"wh_{number:02}", "failing_since": at(number)})

    page = await browser.get("/health")

    assert "Webhook 19" in page.text
    assert "Webhook 20" not in page.text
    assert "plus de 20" in page.text


async def test_rejected_message_is_looked_at_and_sent_again(
    browser: Browser, surroundings: Surroundings, stored: StoredThings
) -> None:
    stored.add_dead_letter(dead_letter(body=HOSTILE))

    listed = await browser.get("/dead-letters")
    assert "alert(1)" not in listed.html
    assert audited(stored) == []

    shown = await browser.get("/dead-letters/dl_1")
    assert_harmless(shown.html)
    assert (await browser.get("/dead-letters/dl_1/body")).body == HOSTILE
    done = await browser.follow(await browser.post("/dead-letters/dl_1/requeue"))

    assert "de nouveau" in done.text
    assert [publication[2] for publication in surroundings.publications.published] == [HOSTILE]
    assert sorted(action for action, _ in audited(stored)) == [
        *("dead_letter.requeued", "dead_letter.revealed", "dead_letter.revealed", "dead_letter.revealed"),
    ]


# --- what is not there, and what is somebody else's ------------------------------------------------

PATHS = (
    *("/deliveries/{delivery}", "/deliveries/{delivery}?tab=request", "/deliveries/{delivery}/payload"),
    *("/calls/call-1", "/calls/call-1?account=1042", "/events/evt-1", "/events/evt-1?show=payload"),
    *("/events/evt-1/payload", "/webhooks/wh_crm/deliveries", "/dead-letters/dl_1", "/dead-letters/dl_1/body"),
    *("/dead-letters", "/health"),
)


@pytest.mark.parametrize("path", PATHS)
async def test_what_is_anothers_is_a_helpful_404_and_leaves_no_entry(
    customer: Browser, stored: StoredThings, path: str
) -> None:
    sent = add_call(stored, b'{"caller":"+33639981122"}')
    stored.add_dead_letter(dead_letter())

    page = await customer.get(path.replace("{delivery}", sent.id))

    assert page.status == 404
    assert "/webhooks" in page.html or 'href="/"' in page.html
    assert "CRM" not in page.text
    assert audited(stored) == []


async def test_lists_and_search_of_an_account_hold_nothing_of_others(customer: Browser, stored: StoredThings) -> None:
    sent = add_call(stored)
    stored.add_dead_letter(dead_letter())

    for path in ("/deliveries?period=all", "/deliveries?webhook=wh_crm", "/deliveries.csv?period=all"):
        assert sent.id not in (await customer.get(path)).html, path
    for text in (sent.id, "call-1", "evt-1", "1122", "wh_crm", "crm.example.com", "1042", "dl_1"):
        page = await customer.get(f"/search?q={text}")
        assert page.status == 200, text
        assert "Rien n’a été trouvé" in page.text, text


@pytest.mark.parametrize(
    "path", [path for path in PATHS if "wh_crm" not in path and path not in {"/health", "/dead-letters"}]
)
async def test_unknown_id_is_a_helpful_page(browser: Browser, path: str) -> None:
    page = await browser.get(path.replace("{delivery}", "dlv_none"))

    assert page.status == 404
    assert "recherche" in page.text.lower()


@pytest.mark.parametrize("path", ["/deliveries/{delivery}?tab=request", "/deliveries/{delivery}/payload"])
async def test_payload_is_not_shown_where_that_cannot_be_written_down(
    surroundings: Surroundings, stored: StoredThings, path: str
) -> None:
    sent = add_call(stored, b'{"caller":"+33639981122"}')
    surroundings.audit = audit = FakeAudit()
    async with console(surroundings) as browser:
        await browser.sign_in()
        audit.is_away = True
        page = await browser.get(path.replace("{delivery}", sent.id))

    assert page.status == 503
    assert "ne répond pas" in page.text
    assert "33639981122" not in page.html
