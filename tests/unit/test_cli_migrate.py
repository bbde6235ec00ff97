"""`migrate` on the command line: what is left, what is made, and what is written down first."""

from __future__ import annotations

from pathlib import Path

import pytest

from router.domain.schema import CHANGES, EMPTY_STORE, KNOWN
from tests.support.terminal import Terminal, terminal_in

ALL = [change.number for change in CHANGES]


@pytest.fixture(autouse=True)
def terminal(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Terminal:
    return terminal_in(tmp_path, monkeypatch)


def test_the_plan_says_of_each_change_what_becomes_of_it(terminal: Terminal) -> None:
    terminal.store.schema.done = {2}

    rows = terminal.run("migrate plan").stdout.splitlines()
    data = terminal.data("migrate plan")

    assert ["done" in rows[1], "routers make it" in rows[2], "waits for apply" in rows[3]] == [True] * 3
    assert (data["version"], data["needs"], data["known"]) == (2, 1, KNOWN)
    assert [(change["number"], change["done"]) for change in data["changes"]] == [(n, n == 2) for n in ALL]
    assert [change["documents"] for change in data["changes"]] == [None, 3, 3, 3]


def test_a_dry_run_changes_nothing(terminal: Terminal) -> None:
    assert terminal.data("migrate apply --dry-run") == {"dry_run": True, "version": 1, "changes": ALL}
    assert terminal.store.schema.done == set()
    assert terminal.store.trail.written == []


def test_what_is_left_is_made_and_written_down_first(terminal: Terminal) -> None:
    result = terminal.run("migrate apply")

    assert result.exit_code == 0
    assert "4 changes to make." in result.stderr
    assert "3 of 3 documents written" in result.stderr
    assert terminal.store.schema.done == EMPTY_STORE.done
    assert [entry.action for entry in terminal.store.trail.written] == ["schema.migrated"]

    assert terminal.data("migrate apply") == {"dry_run": False, "version": KNOWN, "changes": []}
    assert len(terminal.store.trail.written) == 1, "nothing was left to do, so nothing is written down"


def test_what_another_process_is_at_is_left_to_it(terminal: Terminal) -> None:
    terminal.store.schema.busy = {2}

    result = terminal.run("migrate apply")

    assert result.exit_code == 1
    assert "another process is making change 2 (search-keys)" in result.stderr


def test_without_an_audit_trail_nothing_is_changed(terminal: Terminal) -> None:
    terminal.store.trail.is_away = True

    assert terminal.run("migrate apply").exit_code == 69
    assert terminal.store.schema.done == set()
