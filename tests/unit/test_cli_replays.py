"""Sending again, on the command line: counts first, then what was asked for and no more."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from router.domain.delivery import Attempt, AttemptError, DeliveryId, DeliveryStatus, Trigger
from router.domain.replay import MAX_RUNNING, ReplayState
from router.domain.webhook import WebhookId
from tests.support.fakes_manage import NOW, delivery
from tests.support.terminal import Terminal, terminal_in


@pytest.fixture
def terminal(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Terminal:
    terminal = terminal_in(tmp_path, monkeypatch)
    failed = {"status": DeliveryStatus.FAILED, "created_at": NOW.replace(hour=8)}
    terminal.store.log += [
        (delivery("dlv_1", **failed), b"{}"),
        (delivery("dlv_2", **failed), b"{}"),
        (delivery("dlv_ok", created_at=NOW.replace(hour=8)), b"{}"),
        (delivery("dlv_gone", **failed), None),
    ]
    return terminal


def statuses(terminal: Terminal) -> dict[str, str]:
    return {found.id: found.status.value for found, _ in terminal.store.log}


# --- by id -----------------------------------------------------------------------------------------


def test_deliveries_are_replayed_by_their_ids_each_once(terminal: Terminal) -> None:
    outcome = terminal.data("deliveries replay dlv_1 dlv_ok dlv_1 --reason 'ticket 4711'")

    assert outcome == {"count": 2, "dry_run": False, "replayed": ["dlv_1", "dlv_ok"], "failed": []}
    assert statuses(terminal) == {"dlv_1": "pending", "dlv_2": "failed", "dlv_ok": "pending", "dlv_gone": "failed"}
    assert terminal.store.trail.actions == [
        ("delivery.replayed", "1042", "dlv_1"),
        ("delivery.replayed", "1042", "dlv_ok"),
    ]
    assert terminal.store.trail.written[0].details == {"reason": "ticket 4711"}


def test_one_that_cannot_be_sent_does_not_stop_the_others(terminal: Terminal) -> None:
    terminal.store.replays.held.add(DeliveryId("dlv_2"))

    result = terminal.run("deliveries replay dlv_gone dlv_2 dlv_1")

    assert result.exit_code == 1
    assert "dlv_gone: its payload is gone" in result.stderr
    assert "dlv_2: it is pending, and a worker holds it" in result.stderr
    assert "1 replayed, 2 not" in result.stderr


def test_one_that_is_not_there_stops_everything(terminal: Terminal) -> None:
    result = terminal.run("deliveries replay dlv_1 dlv_none")

    assert result.exit_code == 1
    assert "deliveries list" in result.stderr
    assert statuses(terminal)["dlv_1"] == "failed"


def test_a_dry_run_by_ids_does_nothing(terminal: Terminal) -> None:
    result = terminal.run("deliveries replay dlv_1 --dry-run")

    assert (result.exit_code, result.stdout.split()) == (0, ["dlv_1"])
    assert statuses(terminal)["dlv_1"] == "failed"
    assert not terminal.store.trail.written


# --- in bulk ---------------------------------------------------------------------------------------

BULK = "deliveries replay --webhook wh_crm --from 2025-03-11"


def test_a_bulk_replay_counts_first_and_is_written_down(terminal: Terminal) -> None:
    preview = terminal.data(f"{BULK} --dry-run")
    assert (preview["matched"], preview["kind"]) == (3, "deliveries")
    assert not terminal.store.replays.kept

    started = terminal.data(f"{BULK} --yes --no-wait --per-second 5 --reason 'CRM was down'")

    assert (started["state"], started["matched"], started["per_second"]) == ("running", 3, 5.0)
    (kept,) = terminal.store.replays.kept.values()
    assert (kept.where.webhook_id, kept.where.account_id, kept.where.to) == ("wh_crm", "1042", NOW)
    (entry,) = terminal.store.trail.written
    assert (entry.action, entry.target) == ("replay.started", kept.id)
    assert entry.details == {"kind": "deliveries", "matched": 3, "reason": "CRM was down"}
    assert terminal.data("replays show " + kept.id)["id"] == kept.id
    assert [each["id"] for each in terminal.data("replays list --account 1042")["items"]] == [kept.id]
    assert kept.id in terminal.run("replays list").stdout


def test_a_bulk_replay_asks_before_it_begins(terminal: Terminal) -> None:
    result = terminal.run(BULK)

    assert result.exit_code == 64
    assert "--yes" in result.stderr
    assert not terminal.store.replays.kept


def test_nothing_to_replay_is_no_replay(terminal: Terminal) -> None:
    assert terminal.data(f"{BULK} --status pending --yes")["matched"] == 0
    assert not terminal.store.replays.kept


def test_missing_events_are_counted_as_such(terminal: Terminal) -> None:
    terminal.store.replays.missing = 7

    result = terminal.run("deliveries replay --account 1042 --missing --dry-run")

    assert "7 events that matched nothing to replay" in result.stderr


@pytest.mark.parametrize(
    ("options", "what"),
    [
        ("", "give the ids"),
        ("dlv_1 --webhook wh_crm", "give the ids"),
        ("--webhook wh_crm --per-second 1000 --yes", "--per-second"),
        ("--webhook wh_crm --from 2020-01-01 --yes", "--from"),
        ("--webhook wh_crm --number 12 --yes", "--number"),
        ("--webhook wh_crm --missing --status failed --yes", "--status"),
        ("--missing --from 1d --yes", "--account"),
        ("--webhook wh_crm --reason 'call 06 39 98 11 22' --yes", "--reason"),
    ],
)
def test_what_is_wrong_is_named_by_its_option(terminal: Terminal, options: str, what: str) -> None:
    result = terminal.run(f"deliveries replay {options}")

    assert result.exit_code == 64
    assert what in result.stderr
    assert not terminal.store.replays.kept


def test_a_webhook_that_is_not_there_is_said(terminal: Terminal) -> None:
    result = terminal.run("deliveries replay --webhook wh_none --yes")

    assert result.exit_code == 1
    assert "webhooks list" in result.stderr


def test_an_account_has_so_many_replays_at_once(terminal: Terminal) -> None:
    terminal.data(f"{BULK} --yes --no-wait")
    (kept,) = terminal.store.replays.kept.values()
    for number in range(MAX_RUNNING - 1):
        other = replace(kept, id=type(kept.id)(f"rpl_{number}"))
        terminal.store.replays.kept[other.id] = other

    result = terminal.run(f"{BULK} --yes --no-wait")

    assert result.exit_code == 1
    assert "run already" in result.stderr


def test_a_replay_is_cancelled_once(terminal: Terminal) -> None:
    terminal.data(f"{BULK} --yes --no-wait")
    (kept,) = terminal.store.replays.kept.values()

    assert terminal.data(f"replays cancel {kept.id}")["state"] == "cancelled"
    assert terminal.data(f"replays cancel {kept.id}")["state"] == "cancelled"

    assert terminal.store.replays.kept[kept.id].state is ReplayState.CANCELLED
    assert [action for action, _, _ in terminal.store.trail.actions] == ["replay.started", "replay.cancelled"]
    assert terminal.run("replays cancel rpl_none").exit_code == 1
    assert terminal.run("replays show rpl_none").exit_code == 1


# --- a test ----------------------------------------------------------------------------------------


@pytest.mark.parametrize(("error", "code"), [(None, 0), (AttemptError.TIMEOUT, 1)])
def test_a_webhook_is_tested_and_how_it_went_is_said(terminal: Terminal, error: AttemptError | None, code: int) -> None:
    terminal.store.replays.outcome = Attempt(
        number=1,
        trigger=Trigger.TEST,
        started_at=NOW,
        duration_ms=84,
        status_code=None if error else 200,
        error=error,
        response_body=None if error else "thanks",
        response_truncated=False,
    )

    result = terminal.run("webhooks test wh_crm")

    assert result.exit_code == code
    assert "84" in result.stdout
    assert ("timeout" if error else "thanks") in result.stdout
    (planned,) = terminal.store.replays.tests
    assert planned.event.event_id.startswith("evt_test_")
    assert b'"test": true' in planned.event.payload
    assert terminal.store.trail.actions == [("webhook.tested", "1042", "wh_crm")]


def test_a_webhook_with_a_wrong_definition_is_not_tested(terminal: Terminal) -> None:
    crm = WebhookId("wh_crm")
    terminal.store.definitions[crm] = replace(terminal.store.definitions[crm], problem="url: must be https")

    result = terminal.run("webhooks test wh_crm")

    assert result.exit_code == 1
    assert "must be https" in result.stderr
    assert not terminal.store.replays.tests
    assert terminal.run("webhooks test wh_none").exit_code == 1
