"""Keys on the command line: making them, what they have sealed, and sealing anew."""

from __future__ import annotations

import json
from base64 import b64decode
from pathlib import Path

import pytest

from router.adapters.vault import read_key_ring
from tests.support.fakes_manage import FakeSecretStore
from tests.support.terminal import Terminal, terminal_in


@pytest.fixture(autouse=True)
def terminal(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Terminal:
    return terminal_in(tmp_path, monkeypatch)


def given_secrets(terminal: Terminal, *key_ids: str, sealed_with: list[str | None]) -> FakeSecretStore:
    terminal.store.secret_store = FakeSecretStore(key_ids=key_ids, sealed_with=sealed_with)
    return terminal.store.secret_store


# --- new keys --------------------------------------------------------------------------------------


def test_new_keys_make_a_key_file(terminal: Terminal, tmp_path: Path) -> None:
    lines = [terminal.run("secrets new-key").stdout, terminal.run("secrets new-key --id 2026-11").stdout]
    path = tmp_path / "keys"
    path.touch(mode=0o600)
    path.write_text("".join(lines))

    first, second = read_key_ring(path).key_ids

    assert first.startswith("k2")
    assert second == "2026-11"


def test_no_two_new_keys_are_alike(terminal: Terminal) -> None:
    keys = [terminal.data("secrets new-key --id a")["key"] for _ in range(20)]

    assert len({b64decode(key) for key in keys}) == 20


@pytest.mark.parametrize("key_id", ["", "k:1", "-x", "x" * 65])
def test_an_id_that_is_none_is_refused(key_id: str, terminal: Terminal) -> None:
    result = terminal.run(f"secrets new-key --id '{key_id}'")

    assert result.exit_code == 64
    assert "--id must be 1 to 64 letters" in result.stderr


def test_help_says_how_the_line_gets_into_the_file(terminal: Terminal) -> None:
    told = " ".join(terminal.run("secrets new-key --help").stdout.split())

    for words in ("umask 077", "chmod 0400", "> /etc/webhook-router/keys", "a new one is put above the others"):
        assert words in told


# --- status ----------------------------------------------------------------------------------------


def test_status_counts_by_key(terminal: Terminal) -> None:
    given_secrets(terminal, "k2", "k1", sealed_with=["k2", "k1", "k1", "k0", None])

    assert terminal.data("secrets status") == {
        "active": "k2",
        "keys": [
            {"id": "k2", "values": 1, "in_key_file": True},
            {"id": "k1", "values": 2, "in_key_file": True},
            {"id": "k0", "values": 1, "in_key_file": False},
        ],
        "plain": 1,
        "unopened": 1,
    }
    shown = terminal.run("secrets status")
    assert [line.split(maxsplit=2) for line in shown.stdout.splitlines()[1:]] == [
        ["k2", "1", "seals"],
        ["k1", "2", "opens"],
        ["k0", "1", "not in the key file"],
        ["-", "1", "not sealed"],
    ]
    assert "1 secret value cannot be opened" in shown.stderr


def test_status_without_a_key_counts_what_is_plain(terminal: Terminal) -> None:
    given_secrets(terminal, sealed_with=[None, None])

    assert terminal.data("secrets status") == {"active": None, "keys": [], "plain": 2, "unopened": 0}


# --- rotate ----------------------------------------------------------------------------------------


def test_rotate_seals_everything_with_the_first_key_and_is_then_done(terminal: Terminal) -> None:
    given = given_secrets(terminal, "k2", "k1", sealed_with=["k2", "k1", None])

    first = terminal.run("secrets rotate")

    assert first.exit_code == 0
    assert first.stdout == ""
    assert first.stderr.splitlines() == [
        "2 secret values to seal with key k2.",
        "Secrets of 2 webhooks sealed; 0 secret values left.",
    ]
    assert given.sealed_with == ["k2", "k2", "k2"]
    assert terminal.data("secrets rotate") == {"count": 0, "dry_run": False, "webhooks": 0, "left": 0, "unopened": 0}


def test_a_dry_run_counts_and_does_nothing(terminal: Terminal) -> None:
    given = given_secrets(terminal, "k2", "k1", sealed_with=["k2", "k1", None])

    outcome = terminal.data("secrets rotate --dry-run")

    assert outcome == {"count": 2, "dry_run": True, "webhooks": 0, "left": 2, "unopened": 0}
    assert given.sealed_with == ["k2", "k1", None]


def test_what_no_key_opens_is_left_and_makes_it_fail(terminal: Terminal) -> None:
    given_secrets(terminal, "k2", sealed_with=["k0", None])

    result = terminal.run("secrets rotate --json")

    assert result.exit_code == 1
    assert json.loads(result.stdout) == {"count": 2, "dry_run": False, "webhooks": 1, "left": 1, "unopened": 1}
    assert "1 secret value cannot be opened" in result.stderr


def test_a_store_that_goes_away_ends_it_with_what_was_done(terminal: Terminal) -> None:
    given = given_secrets(terminal, "k2", "k1", sealed_with=["k1", "k1", "k1"])
    given.breaks_after = 2

    result = terminal.run("secrets rotate")

    assert result.exit_code == 69
    assert "2 webhooks were done before this; run it again for the rest" in result.stderr
    given.breaks_after = None
    assert terminal.data("secrets rotate")["left"] == 0


def test_without_a_key_nothing_can_be_rotated(terminal: Terminal) -> None:
    given_secrets(terminal, sealed_with=[None])

    result = terminal.run("secrets rotate")

    assert result.exit_code == 78
    assert "there is no key file (secrets.key_file)" in result.stderr
