"""Commands that change webhooks and accounts, one or many: what is shown before and after, counted, asked and done."""

from __future__ import annotations

from dataclasses import replace
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest

from router.cli import bulk
from router.domain.credentials import BearerAuth
from router.domain.delivery import DeliveryStatus
from router.domain.event import AccountId, EventType
from router.domain.webhook import Suspension, SuspensionReason, TrackingNumberRestriction, WebhookId
from tests.support.fakes_manage import NOW, delivery
from tests.support.terminal import CRM, Terminal, terminal_in

EDIT = "webhooks edit wh_crm"


@pytest.fixture(autouse=True)
def terminal(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Terminal:
    return terminal_in(tmp_path, monkeypatch)


@pytest.fixture
def somebody(monkeypatch: pytest.MonkeyPatch) -> None:
    """Somebody sits before the terminal and is asked."""
    monkeypatch.setattr(bulk, "sys", type("", (), {"stdin": type("", (), {"isatty": staticmethod(lambda: True)})}))


# --- edit ------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("options", "changed"),
    [
        ("--name 'CRM Lyon'", {"name": "CRM Lyon"}),
        ("--url https://crm.example.com/new", {"url": "https://crm.example.com/new"}),
        ("--paused", {"enabled": False}),
        (
            "--tracking-number '01 99 00 12 34' --tracking-number 0033465710042",
            {"restriction": TrackingNumberRestriction(numbers=frozenset({"+33199001234", "+33465710042"}))},
        ),
        ("--header X-Team=sales", {"headers": (("Authorization", "Bearer hush"), ("X-Team", "sales"))}),
        ("--header authorization=other", {"headers": (("authorization", "other"),)}),
        ("--remove-header AUTHORIZATION", {"headers": ()}),
        ("--header X-Team=sales --remove-header authorization", {"headers": (("X-Team", "sales"),)}),
        ("--event-type cdr", {"event_type": EventType.CDR}),
    ],
)
def test_what_is_typed_changes_and_the_rest_stays(terminal: Terminal, options: str, changed: dict[str, Any]) -> None:
    result = terminal.run(f"{EDIT} {options}")

    assert result.exit_code == 0, result.output
    stored = terminal.store.definitions[CRM.id]
    assert stored == replace(CRM, **changed, updated_at=terminal.store.now())
    assert "1 field of wh_crm changed." in result.stderr
    assert "hush" not in result.output.replace("token=hush", "")


def test_before_and_after_are_shown_and_json_is_the_webhook(terminal: Terminal) -> None:
    text = terminal.run(f"{EDIT} --name 'CRM Lyon' --paused --dry-run").stdout
    edited = terminal.data(f"{EDIT} --name 'CRM Lyon' --header Authorization=other")

    assert [line.split() for line in text.splitlines()] == [
        ["FIELD", "BEFORE", "AFTER"],
        ["name", "CRM", "CRM", "Lyon"],
        ["enabled", "yes", "no"],
    ]
    assert edited.pop("changes") == {
        "name": {"before": "CRM", "after": "CRM Lyon"},
        "headers": {"before": "Authorization", "after": "Authorization (another value)"},
    }
    assert edited.pop("dry_run") is False
    assert edited == terminal.data("webhooks show wh_crm")


def test_a_dry_run_writes_nothing(terminal: Terminal) -> None:
    before = dict(terminal.store.definitions)

    edited = terminal.data(f"{EDIT} --name 'CRM Lyon' --dry-run")

    assert (edited["name"], edited["dry_run"]) == ("CRM Lyon", True)
    assert "nothing was written" in terminal.run(f"{EDIT} --name 'CRM Lyon' --dry-run").stderr
    assert terminal.store.definitions == before
    assert not terminal.store.trail.written


def test_what_is_like_that_already_is_said(terminal: Terminal) -> None:
    result = terminal.run(f"{EDIT} --name CRM --no-restriction")

    assert (result.exit_code, result.stdout) == (0, "")
    assert "wh_crm is like that already" in result.stderr
    assert terminal.data(f"{EDIT} --enabled")["changes"] == {}
    assert not terminal.store.trail.written


def test_credentials_are_given_and_taken_away_and_never_shown(terminal: Terminal) -> None:
    Path("auth.json").write_text('{"type": "bearer", "token": "hush"}')

    given = terminal.run(f"{EDIT} --auth-file auth.json --remove-header Authorization")
    assert terminal.store.definitions[CRM.id].auth == BearerAuth(token="hush")
    taken = terminal.run(f"{EDIT} --no-auth")

    assert (given.exit_code, taken.exit_code) == (0, 0)
    assert [line.split() for line in taken.stdout.splitlines()[1:]] == [["auth", "bearer", "-"]]
    assert terminal.store.definitions[CRM.id].auth is None
    assert "hush" not in given.output


def test_a_wrong_field_is_mended_and_named_as_wrong(terminal: Terminal) -> None:
    terminal.store.definitions[CRM.id] = replace(
        CRM, event_type=None, wrong=frozenset({"event_type"}), problem="event_type: must be call, cdr or user"
    )

    assert terminal.data(f"{EDIT} --event-type call")["changes"] == {"event_type": {"before": "wrong", "after": "call"}}


@pytest.mark.parametrize(
    ("options", "told"),
    [
        ("", "say what is to change"),
        ("--name ' '", "--name: must have 1 to"),
        ("--url https://10.0.0.1/", "--url: the address is not public"),
        ("--user-id u-17", "--user-id: goes with user"),
        ("--tracking-number 12", "--tracking-number (number 1): is no phone number"),
        ("--tracking-number 0199001234 --no-restriction", "exclude each other"),
        ("--remove-header X-None", "--header: there is no header X-None"),
        ("--header Host=x", "--header: host cannot be set"),
        ("--no-auth --auth-file auth.json", "--no-auth and --auth-file exclude"),
        ("--headers-file auth.json --remove-header X-A", "exclude each other"),
        ("--event-type fax", "--event-type"),
    ],
)
def test_wrong_usage_changes_nothing(terminal: Terminal, options: str, told: str) -> None:
    Path("auth.json").write_text('{"type": "bearer", "token": "hush"}')

    result = terminal.run(f"{EDIT} {options}")

    assert (result.exit_code, result.stdout) == (64, ""), result.output
    assert told in result.stderr
    assert terminal.store.definitions[CRM.id] == CRM


def test_a_type_that_does_not_go_with_the_restriction_is_refused(terminal: Terminal) -> None:
    terminal.run(f"{EDIT} --tracking-number 0199001234")

    refused = terminal.run(f"{EDIT} --event-type user")

    assert refused.exit_code == 64
    assert "--tracking-number: goes with call and cdr" in refused.stderr
    assert terminal.data(f"{EDIT} --event-type user --user-id u-17")["restrict_to"] == {"user_id": "u-17"}


def test_who_is_not_there_cannot_be_edited(terminal: Terminal) -> None:
    result = terminal.run("webhooks edit wh_nobody --name x")

    assert result.exit_code == 1
    assert "there is no webhook wh_nobody" in result.stderr


# --- many webhooks ---------------------------------------------------------------------------------


@pytest.fixture
def three(terminal: Terminal) -> None:
    """wh_crm and wh_cdr of account 1042, wh_77 of 77; wh_cdr is paused and has two deliveries waiting."""
    others = (
        replace(CRM, id=WebhookId("wh_cdr"), event_type=EventType.CDR, enabled=False),
        replace(CRM, id=WebhookId("wh_77"), account_id=AccountId("77")),
    )
    terminal.store.definitions.update({webhook.id: webhook for webhook in others})
    for number in range(2):
        waiting = delivery(f"dlv_{number}", webhook_id=WebhookId("wh_cdr"), status=DeliveryStatus.PENDING)
        terminal.store.log.append((waiting, b"{}"))


def enabled(terminal: Terminal) -> dict[str, bool]:
    return {identity: webhook.enabled for identity, webhook in terminal.store.definitions.items()}


@pytest.mark.parametrize(
    ("selection", "found"),
    [
        ("wh_crm wh_77 wh_crm", {"wh_crm", "wh_77"}),
        ("--account 1042", {"wh_crm", "wh_cdr"}),
        ("--event-type call", {"wh_crm", "wh_77"}),
        ("--state paused", {"wh_cdr"}),
        ("--account 1042 --event-type call --state active", {"wh_crm"}),
        ("--account 9", set()),
    ],
)
@pytest.mark.parametrize("verb", ["pause", "resume", "delete"])
@pytest.mark.usefixtures("three")
def test_a_dry_run_counts_and_lists_and_does_nothing(
    terminal: Terminal, verb: str, selection: str, found: set[str]
) -> None:
    before = dict(terminal.store.definitions)

    result = terminal.run(f"webhooks {verb} {selection} --dry-run")
    counted = terminal.data(f"webhooks {verb} {selection} --dry-run")

    assert f"{len(found)} webhook{'' if len(found) == 1 else 's'} to {verb}" in result.stderr
    assert {line.split()[0] for line in result.stdout.splitlines()[1:]} == found
    assert (counted["count"], counted["dry_run"]) == (len(found), True)
    assert terminal.store.definitions == before
    assert not terminal.store.trail.written


@pytest.mark.usefixtures("three")
def test_several_are_paused_resumed_and_deleted(terminal: Terminal) -> None:
    paused = terminal.data("webhooks pause --account 1042 --yes")
    terminal.store.suspensions[CRM.id] = Suspension(since=NOW, reason=SuspensionReason.GONE)
    resumed = terminal.data("webhooks resume wh_crm wh_cdr --yes")
    deleted = terminal.data("webhooks delete --event-type call --yes")

    assert paused == {"count": 2, "dry_run": False, "paused": ["wh_crm"], "unchanged": ["wh_cdr"], "failed": []}
    assert resumed["resumed"] == ["wh_crm", "wh_cdr"]
    assert not terminal.store.suspensions
    assert set(deleted["deleted"]) == {"wh_crm", "wh_77"}
    assert enabled(terminal) == {"wh_cdr": True}


@pytest.mark.usefixtures("three")
def test_what_a_deletion_cancels_is_counted(terminal: Terminal) -> None:
    assert (
        "2 webhooks to delete, with 2 pending deliveries."
        in terminal.run("webhooks delete --account 1042 --dry-run").stderr
    )
    assert terminal.data("webhooks delete wh_cdr")["pending_deliveries"] == 2


@pytest.mark.parametrize(
    ("answer", "exit_code", "left"), [("y\n", 0, {"wh_77"}), ("n\n", 1, {"wh_crm", "wh_cdr", "wh_77"})]
)
@pytest.mark.usefixtures("three", "somebody")
def test_more_than_one_is_asked_about(terminal: Terminal, answer: str, exit_code: int, left: set[str]) -> None:
    result = terminal.run("webhooks delete --account 1042", stdin=f"{answer}\n".encode())

    assert result.exit_code == exit_code
    assert "Delete them?" in result.stderr
    assert set(terminal.store.definitions) == left


@pytest.mark.parametrize(
    "line", ["webhooks pause wh_crm wh_77", "webhooks resume --account 1042", "accounts enable 1 2"]
)
@pytest.mark.usefixtures("three")
def test_where_nobody_can_be_asked_yes_is_needed(terminal: Terminal, line: str) -> None:
    before = enabled(terminal)

    result = terminal.run(line)

    assert result.exit_code == 64
    assert "needs --yes" in result.stderr
    assert enabled(terminal) == before


@pytest.mark.parametrize("selection", ["", "wh_crm --account 1042"])
def test_either_ids_or_a_filter(terminal: Terminal, selection: str) -> None:
    result = terminal.run(f"webhooks pause {selection}")

    assert result.exit_code == 64
    assert "give the ids of webhooks, or a filter" in result.stderr


@pytest.mark.usefixtures("three")
def test_one_that_is_not_there_stops_all(terminal: Terminal) -> None:
    result = terminal.run("webhooks delete wh_crm wh_nobody --yes")

    assert result.exit_code == 1
    assert "there is no webhook wh_nobody" in result.stderr
    assert len(terminal.store.definitions) == 3


def test_a_filter_finds_more_than_a_page(terminal: Terminal) -> None:
    for number in range(450):
        webhook = replace(CRM, id=WebhookId(f"wh_{number:03}"), created_at=NOW + timedelta(seconds=number))
        terminal.store.definitions[webhook.id] = webhook

    assert terminal.data("webhooks pause --account 1042 --yes")["count"] == 451
    assert terminal.data("webhooks resume --state paused --yes")["count"] == 451
    assert len(terminal.store.trail.written) == 902


def test_one_webhook_that_is_paused_twice_is_written_once(terminal: Terminal) -> None:
    first = terminal.data("webhooks pause wh_crm")
    terminal.store.time = NOW + timedelta(hours=1)

    assert terminal.data("webhooks pause wh_crm") == first
    assert len(terminal.store.trail.written) == 1


# --- many accounts ---------------------------------------------------------------------------------


def test_several_accounts_are_switched_and_counted(terminal: Terminal) -> None:
    dry = terminal.run("accounts enable 1042 77 78 77 --dry-run")
    enabled = terminal.data("accounts enable 1042 77 78 --yes")

    assert "2 accounts of 3 to enable." in dry.stderr
    assert dry.stdout.split() == ["77", "78"]
    assert enabled == {"count": 2, "dry_run": False, "enabled": ["77", "78"], "unchanged": ["1042"], "failed": []}
    assert terminal.store.accounts == dict.fromkeys(map(AccountId, ("1042", "77", "78")), True)
    assert [target for _, _, target in terminal.store.trail.actions] == ["77", "78"]
    assert terminal.data("accounts disable 77 78 --yes")["disabled"] == ["77", "78"]


def test_a_wrong_id_among_several_switches_none(terminal: Terminal) -> None:
    result = terminal.run("accounts enable 77 ' 78' --yes")

    assert result.exit_code == 64
    assert "ID: must be printable" in result.stderr
    assert terminal.store.accounts == {"1042": True}


def test_a_dry_run_of_one_account_switches_nothing(terminal: Terminal) -> None:
    assert terminal.data("accounts disable 1042 --dry-run")["count"] == 1
    assert terminal.store.accounts == {"1042": True}
