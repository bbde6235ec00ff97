"""Dead letters and events on the command line: what goes to the broker, and what is said of it."""

from __future__ import annotations

import json
from base64 import b64decode
from pathlib import Path

import pytest

from tests.support.fakes_manage import NOW, dead_letter
from tests.support.terminal import Terminal, terminal_in


@pytest.fixture(autouse=True)
def terminal(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Terminal:
    return terminal_in(tmp_path, monkeypatch)


# --- dead letters ---------------------------------------------------------------------------------


def test_dead_letters_are_listed_and_shown(terminal: Terminal) -> None:
    listed = terminal.data("dead-letters list")["items"]
    shown = terminal.data("dead-letters show dl_1")

    assert [letter["id"] for letter in listed] == ["dl_2", "dl_1"]
    assert b64decode(shown.pop("body")) == b"not json"
    assert shown == listed[1]
    assert "not json" in terminal.run("dead-letters show dl_1").stdout


def test_requeue_sends_the_letters_and_says_which(terminal: Terminal) -> None:
    outcome = terminal.data("dead-letters requeue dl_2 dl_1 dl_2")

    assert outcome == {"count": 2, "dry_run": False, "requeued": ["dl_2", "dl_1"], "failed": []}
    assert [sent.routing_key for sent in terminal.publisher.sent] == ["webhook-router.cdr", "webhook-router.call"]
    assert all(letter.requeued_at == NOW for letter in terminal.store.letters.values())


def test_requeue_all_takes_a_reason_and_what_was_not_requeued(terminal: Terminal) -> None:
    assert terminal.data("dead-letters requeue --all --reason no_account --yes")["requeued"] == ["dl_2"]
    assert terminal.data("dead-letters requeue --all --yes")["requeued"] == ["dl_1"]
    assert terminal.data("dead-letters requeue --all --yes")["count"] == 0
    assert len(terminal.publisher.sent) == 2


def test_a_dry_run_counts_and_does_nothing(terminal: Terminal) -> None:
    result = terminal.run("dead-letters requeue --all --dry-run")

    assert result.exit_code == 0
    assert result.stdout.split() == ["dl_1", "dl_2"]
    assert "2 dead letters to requeue" in result.stderr
    assert not terminal.publisher.sent
    assert all(letter.requeued_at is None for letter in terminal.store.letters.values())


def test_letters_that_cannot_go_back_do_not_stop_the_others(terminal: Terminal) -> None:
    terminal.store.letters["dl_0"] = dead_letter("dl_0", source="fax")

    result = terminal.run("dead-letters requeue --all --yes --json")

    assert result.exit_code == 1
    assert json.loads(result.stdout)["requeued"] == ["dl_1", "dl_2"]
    assert "dl_0: source: the configuration has no source 'fax'" in result.stderr


def test_a_broker_that_goes_away_ends_it_with_what_was_done(terminal: Terminal) -> None:
    terminal.publisher.fails_at = 1

    result = terminal.run("dead-letters requeue --all --yes")

    assert result.exit_code == 69
    assert "1 of 2 were requeued" in result.stderr
    assert [letter.id for letter in terminal.store.letters.values() if letter.requeued_at is None] == ["dl_2"]


# --- events ---------------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", ["call", "cdr", "user"])
def test_a_sample_is_a_whole_event(kind: str, terminal: Terminal) -> None:
    published = terminal.data(f"events publish --sample {kind} --account 1042 --number 0199005566 --user-id u-7")

    (sent,) = terminal.publisher.sent
    event = json.loads(sent.body)
    assert sent.exchange == kind
    assert (event["type"], event["account_id"], event["user_id"]) == (kind, "1042", "u-7")
    assert event["tracking_number"]["number"] == "0199005566"
    assert published == {
        "source": kind,
        "exchange": kind,
        "routing_key": event["name"],
        "size": len(sent.body),
        "event_id": event["id"],
        "account_id": "1042",
    }


def test_two_samples_are_two_events(terminal: Terminal) -> None:
    line = "events publish --sample call --account 1042"

    assert terminal.data(line)["event_id"] != terminal.data(line)["event_id"]


def test_a_file_and_stdin_are_published_as_they_are(terminal: Terminal) -> None:
    body = b'{"id": "e-1", "type": "call", "n": 1e3}\n'
    Path("event.json").write_bytes(body)

    terminal.data("events publish event.json")
    terminal.data("events publish - --source cdr", stdin=b"not json")

    assert [(sent.exchange, sent.body) for sent in terminal.publisher.sent] == [("call", body), ("cdr", b"not json")]


def test_publishing_says_how_to_follow_it(terminal: Terminal) -> None:
    assert "deliveries list --event e-1" in terminal.run("events publish - --type call", stdin=b'{"id": "e-1"}').stderr
    assert "becomes a dead letter" in terminal.run("events publish - --type call", stdin=b"[]").stderr


def test_routes_are_those_of_the_configuration(terminal: Terminal) -> None:
    Path("own.toml").write_text(
        '[[sources]]\nname = "partner"\nexchange = "fax"\nevent_type = "call"\nbinding_keys = ["calls.*"]\n'
    )

    terminal.data("events publish --sample call --account 1042 --config own.toml")

    assert [(sent.exchange, sent.routing_key) for sent in terminal.publisher.sent] == [("fax", "calls.any")]
