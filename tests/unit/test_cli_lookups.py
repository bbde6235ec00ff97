"""Accounts, webhooks and deliveries on the command line: what is written, and what is printed where."""

from __future__ import annotations

from dataclasses import replace
from datetime import timedelta
from pathlib import Path

import pytest

from router.domain.delivery import Attempt, AttemptError, DeliveryReason, DeliveryStatus, Trigger
from router.domain.numbers import search_key
from router.domain.webhook import Suspension, SuspensionReason, TrackingNumberRestriction
from tests.support.fakes_manage import NOW, delivery
from tests.support.terminal import ADD, CRM, Terminal, terminal_in


@pytest.fixture(autouse=True)
def terminal(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Terminal:
    return terminal_in(tmp_path, monkeypatch)


# --- accounts -------------------------------------------------------------------------------------


def test_accounts_are_switched_and_shown(terminal: Terminal) -> None:
    assert terminal.data("accounts disable 1042") == {"id": "1042", "webhooks_enabled": False}
    assert terminal.store.accounts == {"1042": False}
    assert terminal.data("accounts enable 1042") == {"id": "1042", "webhooks_enabled": True}
    assert terminal.data("accounts show 1042") == {"id": "1042", "webhooks_enabled": True}


def test_an_account_that_was_never_stored_is_off(terminal: Terminal) -> None:
    result = terminal.run("accounts show 77")

    assert result.exit_code == 0
    assert result.stdout.splitlines() == ["account           77", "webhooks enabled  no", "webhooks          0"]
    assert "webhook-router accounts enable 77" in result.stderr


# --- webhooks -------------------------------------------------------------------------------------


def test_a_new_webhook_is_printed_with_its_secret_once(terminal: Terminal) -> None:
    created = terminal.data(f"{ADD} --tracking-number '01 99 00 12 34' --header X-Team=a=b --disabled")

    webhook = terminal.store.definitions[created["id"]]
    assert created["secret"] == terminal.store.secrets[webhook.id]
    assert (created["state"], created["headers"]) == ("paused", {"X-Team": "***"})
    assert webhook.headers == (("X-Team", "a=b"),)
    assert created["restrict_to"] == {"tracking_numbers": ["+33199001234"]}
    assert webhook.restriction == TrackingNumberRestriction(numbers=frozenset({"+33199001234"}))
    assert webhook.created_at == terminal.store.now()
    assert "secret" not in terminal.data(f"webhooks show {webhook.id}")


def test_two_new_webhooks_have_different_secrets(terminal: Terminal) -> None:
    assert len({terminal.data(ADD)["secret"] for _ in range(3)}) == 3


def test_adding_says_what_will_keep_it_from_being_sent_to(terminal: Terminal) -> None:
    result = terminal.run(f"{ADD} --account 77")

    assert result.exit_code == 0
    assert "whsec_" in result.stdout
    assert "shown this once" in result.stderr
    assert "accounts enable 77" in result.stderr


@pytest.mark.parametrize(
    ("url", "setting"),
    [
        ("http://crm.example.com/?token=hush", "egress.require_https"),
        ("https://127.0.0.1/?token=hush", "egress.allow"),
        ("https://localhost/?token=hush", "egress.allow"),
        ("https://crm.example.com:6379/?token=hush", "egress.deny_ports"),
    ],
)
def test_a_url_that_the_policy_refuses_is_not_stored(terminal: Terminal, url: str, setting: str) -> None:
    before = dict(terminal.store.definitions)

    result = terminal.run(f"{ADD} --url {url}")

    assert result.exit_code == 64
    assert "--url: " in result.stderr
    assert setting in result.stderr
    assert "hush" not in result.stderr
    assert terminal.store.definitions == before


def test_a_url_is_stored_and_shown_in_its_normal_form(terminal: Terminal) -> None:
    added = terminal.data(f"{ADD} --url HTTPS://CRM.example.com:443/Hook#top")

    assert added["url"] == "https://crm.example.com/Hook"
    assert terminal.data(f"webhooks show {added['id']}")["url"] == added["url"]


def test_webhooks_are_listed_as_the_api_does(terminal: Terminal) -> None:
    listed = terminal.data("webhooks list --account 1042 --event-type call --state active")

    assert listed["next_cursor"] is None
    assert listed["items"] == [terminal.data("webhooks show wh_crm")]
    assert listed["items"][0] == {
        "id": "wh_crm",
        "account_id": "1042",
        "name": "CRM",
        "url": "https://crm.example.com/hook?token=hush",
        "event_type": "call",
        "enabled": True,
        "restrict_to": None,
        "headers": {"Authorization": "***"},
        "auth": None,
        "client_certificate": None,
        "signing": {"secrets": [], "public_key": None},
        "state": "active",
        "state_reason": None,
        "deliveries": {"total": 0, "delivered": 0, "failed": 0, "pending": 0},
        "created_at": "2025-03-11T09:14:07.000Z",
        "updated_at": "2025-03-11T09:14:07.000Z",
    }


@pytest.mark.parametrize("option", ["", " --json"])
def test_the_values_of_headers_are_not_shown(option: str, terminal: Terminal) -> None:
    result = terminal.run("webhooks show wh_crm" + option)

    assert "Authorization" in result.stdout
    assert "Bearer" not in result.output


def test_pause_resume_and_delete(terminal: Terminal) -> None:
    assert terminal.data("webhooks pause wh_crm")["state"] == "paused"
    terminal.store.suspensions[CRM.id] = Suspension(since=NOW, reason=SuspensionReason.GONE)
    assert terminal.data("webhooks resume wh_crm")["state"] == "active"
    deleted = terminal.data("webhooks delete wh_crm")

    assert deleted == {"id": "wh_crm", "deleted": True, "pending_deliveries": 0}
    assert not terminal.store.definitions


def test_a_list_of_webhooks_shows_no_query_of_a_url(terminal: Terminal) -> None:
    result = terminal.run("webhooks list")

    assert "https://crm.example.com/hook" in result.stdout
    assert "hush" not in result.output


def test_an_empty_list_is_empty_on_stdout_and_says_so_on_stderr(terminal: Terminal) -> None:
    result = terminal.run("webhooks list --account 77")

    assert (result.exit_code, result.stdout) == (0, "")
    assert "No webhook matches" in result.stderr
    assert terminal.data("webhooks list --account 77") == {"items": [], "next_cursor": None}


# --- deliveries -----------------------------------------------------------------------------------

PAYLOAD = b'{ "id": "evt_1", "n": 9223372036854775808, "name": "\xc3\x89lodie" }'
ATTEMPT = Attempt(
    number=1,
    trigger=Trigger.SCHEDULE,
    started_at=NOW,
    duration_ms=87,
    status_code=503,
    error=AttemptError.HTTP_STATUS,
    response_body="busy\x1b[2J",
    response_truncated=False,
)


@pytest.fixture
def log(terminal: Terminal) -> None:
    """250 deliveries, a second apart; the last one failed and has a phone number."""
    store = terminal.store
    for number in range(250):
        one = delivery(f"dlv_{number:03}", created_at=NOW + timedelta(seconds=number))
        store.log.append((one, PAYLOAD))
    failed = replace(
        store.log[-1][0],
        status=DeliveryStatus.FAILED,
        reason=DeliveryReason.EXHAUSTED,
        attempts=(ATTEMPT,),
        attempt_count=1,
    )
    store.log[-1] = (failed, PAYLOAD)
    store.number_keys[failed.id] = (search_key("+33639981122", "FR") or "",)


@pytest.mark.parametrize(
    ("options", "count"),
    [
        ("", 50),
        ("--limit 3", 3),
        ("--all", 250),
        ("--all --account 1042 --webhook wh_crm --event-type call --event evt_1 --call c-1", 250),
        ("--account 77", 0),
        ("--user u-17", 0),
        ("--status failed", 1),
        ("--number '06 39 98 11 22'", 1),
        ("--number 1122", 1),
        ("--number 9999", 0),
        ("--from 2025-03-11T09:14:07Z --to 2025-03-11T09:14:09Z", 2),
        ("--from 2025-03-11T10:14:07+01:00 --to 2025-03-11T09:14:09", 2),
        ("--from 2025-03-12", 0),
        ("--to 2025-03-11", 0),
        ("--from 1h", 0),
    ],
)
@pytest.mark.usefixtures("log")
def test_deliveries_are_looked_for(options: str, count: int, terminal: Terminal) -> None:
    assert len(terminal.data(f"deliveries list {options}")["items"]) == count


@pytest.mark.usefixtures("log")
def test_a_cursor_goes_on_where_the_list_ended(terminal: Terminal) -> None:
    first = terminal.data("deliveries list --limit 200")
    second = terminal.data(f"deliveries list --limit 200 --cursor {first['next_cursor']}")

    ids = [item["id"] for item in (*first["items"], *second["items"])]
    assert ids == [f"dlv_{number:03}" for number in reversed(range(250))]
    assert second["next_cursor"] is None


@pytest.mark.usefixtures("log")
def test_a_list_has_what_support_needs_and_no_payload(terminal: Terminal) -> None:
    result = terminal.run("deliveries list --limit 1")

    header, row = result.stdout.splitlines()
    assert header.split()[:4] == ["RECEIVED", "ID", "ACCOUNT", "WEBHOOK"]
    for part in ("dlv_249", "1042", "wh_crm", "call.received", "failed", "exhausted", "503", "crm.example.com"):
        assert part in row
    assert "hush" not in result.output, "the query of a URL may hold a token"
    assert "lodie" not in result.output
    assert "lodie" not in terminal.run("deliveries list --json").output
    assert "--cursor" in result.stderr


@pytest.mark.usefixtures("log")
def test_a_long_list_has_one_header(terminal: Terminal) -> None:
    lines = terminal.run("deliveries list --all").stdout.splitlines()

    assert len(lines) == 251
    assert sum(line.startswith("RECEIVED") for line in lines) == 1


@pytest.mark.usefixtures("log")
def test_a_delivery_is_shown_with_its_attempts_and_payload(terminal: Terminal) -> None:
    shown = terminal.data("deliveries show dlv_249")

    assert shown["payload"] == PAYLOAD.decode()
    assert shown["attempts"] == [
        {
            "number": 1,
            "trigger": "schedule",
            "started_at": "2025-03-11T09:14:07.000Z",
            "duration_ms": 87,
            "status_code": 503,
            "error": "http_status",
            "response_body": "busy\x1b[2J",
            "response_truncated": False,
            "error_detail": None,
        }
    ]
    text = terminal.run("deliveries show dlv_249").stdout
    assert PAYLOAD.decode() in text
    assert "\x1b" not in text, "no text from outside may move the cursor"
    assert "503 http_status" in text


@pytest.mark.usefixtures("log")
def test_the_payload_alone_is_byte_for_byte(terminal: Terminal) -> None:
    assert terminal.run("deliveries show dlv_000 --payload").stdout_bytes == PAYLOAD


def test_a_delivery_to_what_is_no_url_is_listed_too(terminal: Terminal) -> None:
    terminal.store.log.append((delivery("dlv_odd", url="https://[::1"), PAYLOAD))

    assert "dlv_odd" in terminal.run("deliveries list").stdout


def test_a_payload_that_is_gone_is_said_to_be_gone(terminal: Terminal) -> None:
    terminal.store.log.append((delivery("dlv_old"), None))

    assert terminal.data("deliveries show dlv_old")["payload"] is None
    assert "retention.payload_days" in terminal.run("deliveries show dlv_old").stdout
    assert terminal.run("deliveries show dlv_old --payload").exit_code == 1


# --- search ---------------------------------------------------------------------------------------


def test_search_lists_what_it_finds_with_what_it_was_taken_for(terminal: Terminal) -> None:
    terminal.store.log.append((delivery("dlv_1"), b"{}"))
    terminal.store.number_keys[delivery("dlv_1").id] = ("22118993633",)

    printed = terminal.run("search '06 39 98 11 22'").stdout
    hosts = terminal.data("search crm.example.com")

    assert printed.splitlines()[0].split() == ["TAKEN", "FOR", "FOUND", "ID", "ACCOUNT", "NAME", "STATUS", "AT"]
    assert printed.splitlines()[1].split()[:3] == ["number", "delivery", "dlv_1"]
    assert [item["id"] for group in hosts["groups"] for item in group["items"]] == [CRM.id]
    assert "hush" not in str(hosts)


def test_search_that_finds_nothing_says_what_it_tried(terminal: Terminal) -> None:
    result = terminal.run("search nothing-like-this --account 77")

    assert (result.exit_code, result.stdout) == (0, "")
    assert "call, event, webhook, user, account" in result.stderr


def test_search_for_nothing_is_a_usage_error(terminal: Terminal) -> None:
    result = terminal.run("search ' '")

    assert result.exit_code == 64
    assert "must not be empty" in result.stderr
