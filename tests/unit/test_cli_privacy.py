"""`privacy` and `audit` on the command line: what is asked, what is written down, and what is refused."""

from __future__ import annotations

import getpass
import re
from pathlib import Path

import pytest

from tests.support.fakes_manage import delivery
from tests.support.terminal import ADD, Terminal, terminal_in


@pytest.fixture(autouse=True)
def terminal(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Terminal:
    return terminal_in(tmp_path, monkeypatch)


# --- privacy --------------------------------------------------------------------------------------


@pytest.mark.parametrize("command", ["privacy export", "privacy erase --yes"])
@pytest.mark.parametrize("number", ["1122", "anonymous", "06 39"])
def test_a_number_must_be_whole(command: str, number: str, terminal: Terminal) -> None:
    result = terminal.run(f"{command} --number '{number}'")

    assert result.exit_code == 64
    assert "--number: must be a whole phone number" in result.stderr
    assert terminal.store.trail.written == []


def test_where_nothing_is_held_nothing_is_asked_and_nothing_written_down(terminal: Terminal) -> None:
    assert terminal.data("privacy erase --number 0639981122") == {
        "events": 0,
        "deliveries": 0,
        "dead_letters": 0,
        "webhooks": 0,
        "replays": 0,
        "ended": 0,
        "dry_run": False,
    }
    assert terminal.store.trail.written == []


def test_an_export_is_written_down_by_the_hash_of_the_number(
    terminal: Terminal, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("ROUTER_LOG__HASH_KEY", "k3y-of-the-tests")
    for spelling in ("0639981122", "'+33 6 39 98 11 22'"):
        assert terminal.run(f"privacy export --number {spelling}").exit_code == 0

    first, second = terminal.store.trail.written
    assert (first.action, first.actor) == ("privacy.exported", f"cli:{getpass.getuser()}")
    assert first.target == second.target
    assert re.fullmatch(r"pn:[0-9a-f]{8}", first.target or "")
    assert first.details == {"events": 0, "deliveries": 0, "dead_letters": 0, "webhooks": 0, "replays": 0}


def test_an_export_goes_into_no_file_that_is_there(terminal: Terminal, tmp_path: Path) -> None:
    (tmp_path / "export.jsonl").write_text("precious", encoding="utf-8")

    result = terminal.run(f"privacy export --number 0639981122 --output {tmp_path / 'export.jsonl'}")

    assert result.exit_code == 1
    assert (tmp_path / "export.jsonl").read_text(encoding="utf-8") == "precious"


# --- the audit trail ------------------------------------------------------------------------------


def test_what_commands_change_and_reveal_is_written_down(terminal: Terminal) -> None:
    terminal.store.log.append((delivery("dlv_1"), b"{}"))
    created = terminal.data(ADD)["id"]
    terminal.data("accounts disable 1042")
    for verb in ("pause", "resume", "delete"):
        terminal.data(f"webhooks {verb} wh_crm")
    terminal.data("deliveries show dlv_1")
    terminal.data("dead-letters show dl_1")
    terminal.data("dead-letters requeue dl_1")
    terminal.data("events publish --sample call --account 1042")

    published = terminal.store.trail.actions[-1][2]
    assert terminal.store.trail.actions == [
        ("webhook.created", "1042", created),
        ("account.switched", "1042", "1042"),
        ("webhook.paused", "1042", "wh_crm"),
        ("webhook.resumed", "1042", "wh_crm"),
        ("webhook.deleted", "1042", "wh_crm"),
        ("delivery.revealed", "1042", "dlv_1"),
        ("dead_letter.revealed", None, "dl_1"),
        ("dead_letter.requeued", None, "dl_1"),
        ("event.published", "1042", published),
    ]
    listed = terminal.data("audit list --account 1042 --action webhook.paused")["items"]
    assert [(entry["target"], entry["details"]) for entry in listed] == [("wh_crm", {})]
    assert "webhook.deleted" in terminal.run("audit list").stdout


@pytest.mark.parametrize(
    "line",
    [
        ADD,
        "accounts disable 1042",
        "webhooks edit wh_crm --name x",
        "webhooks pause wh_crm",
        "webhooks resume wh_crm",
        "webhooks delete wh_crm",
        "deliveries show dlv_1",
        "dead-letters show dl_1",
        "dead-letters requeue dl_1",
        "events publish --sample call --account 1042",
        "privacy export --number 0639981122",
    ],
)
def test_what_cannot_be_written_down_is_neither_done_nor_shown(line: str, terminal: Terminal) -> None:
    store = terminal.store
    store.log.append((delivery("dlv_1"), b"payload"))
    before = (dict(store.accounts), dict(store.definitions), dict(store.letters))
    store.trail.is_away = True

    result = terminal.run(line)

    assert (result.exit_code, result.stdout) == (69, "")
    assert (store.accounts, store.definitions, store.letters) == before
    assert terminal.publisher.sent == []
