"""`tokens` on the command line, against a store in memory."""

from __future__ import annotations

from datetime import timedelta
from pathlib import Path

import pytest

from router.domain.principal import Principal
from router.domain.token import TokenId, admit, read_token
from tests.support.fakes_manage import NOW
from tests.support.terminal import Terminal, terminal_in

CREATE = "tokens create --name 'support desk' --scope read --scope replay"


@pytest.fixture
def terminal(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Terminal:
    monkeypatch.setenv("LOGNAME", "ops")
    return terminal_in(tmp_path, monkeypatch)


def test_first_token_needs_no_other_and_works(terminal: Terminal) -> None:
    made = terminal.data(f"{CREATE} --account 1042")

    written = read_token(made["token"])
    assert written is not None
    principal = admit(written, terminal.store.kept_tokens[TokenId(made["id"])], NOW)
    assert isinstance(principal, Principal)
    assert principal.account_id == "1042"
    assert (made["name"], made["scopes"], made["created_by"]) == ("support desk", ["read", "replay"], "cli:ops")
    assert (made["expires_at"], made["prefix"]) == (None, made["token"][:12])


def test_token_is_shown_to_people_too_and_only_once(terminal: Terminal) -> None:
    result = terminal.run(CREATE)

    (line,) = [line for line in result.stdout.splitlines() if line.startswith("token ")]
    text = line.split()[1]
    assert read_token(text) is not None
    assert "once" in result.stderr
    for shown in (terminal.run("tokens list"), terminal.run("tokens list --json")):
        assert text[4:12] in shown.stdout
        assert text[13:] not in shown.stdout


@pytest.mark.parametrize(("typed", "length"), [("90d", timedelta(days=90)), ("12h", timedelta(hours=12))])
def test_token_may_end(terminal: Terminal, typed: str, length: timedelta) -> None:
    terminal.store.time = NOW
    made = terminal.data(f"{CREATE} --expires {typed}")

    kept = terminal.store.kept_tokens[TokenId(made["id"])]
    assert kept.expires_at == NOW + length


def test_token_may_end_on_a_day(terminal: Terminal) -> None:
    assert terminal.data(f"{CREATE} --expires 2125-03-11")["expires_at"] == "2125-03-11T00:00:00.000Z"


@pytest.mark.parametrize(
    ("line", "told"),
    [
        ("tokens create --scope read", "--name"),
        ("tokens create --name x", "--scope"),
        ("tokens create --name x --scope root", "--scope"),
        ("tokens create --name '' --scope read", "--name"),
        ("tokens create --name x --scope read --account ' 1'", "--account"),
        ("tokens create --name x --scope read --expires soon", "--expires"),
        ("tokens create --name x --scope read --expires 2020-01-01", "--expires: must be in the future"),
    ],
)
def test_what_is_typed_wrong_is_told_by_its_option(terminal: Terminal, line: str, told: str) -> None:
    result = terminal.run(line)

    assert result.exit_code == 64
    assert told in result.stderr
    assert terminal.store.kept_tokens == {}


def test_token_is_revoked_by_id_by_prefix_or_as_it_was_found(terminal: Terminal) -> None:
    parts = (slice(4, 12), slice(0, 12), slice(None))
    made = [terminal.data(CREATE) for _ in parts]

    revoked = [terminal.data(f"tokens revoke {each['token'][part]}") for each, part in zip(made, parts, strict=True)]

    assert [each["id"] for each in revoked] == [each["id"] for each in made]
    assert {each["revoked_at"] for each in revoked} == {"2025-03-11T09:14:07.000Z"}
    assert all("token" not in each for each in revoked)
    actions = [(entry.action, entry.actor, entry.target) for entry in terminal.store.trail.written]
    for action in ("token.created", "token.revoked"):
        assert [each for each in actions if each[0] == action] == [(action, "cli:ops", each["id"]) for each in made]


def test_unknown_token_is_not_quoted(terminal: Terminal) -> None:
    result = terminal.run("tokens revoke whr_abcdefgh_the-secret")

    assert result.exit_code == 1
    assert "tokens list" in result.stderr
    assert "secret" not in result.stderr


def test_list_without_a_token_says_how_to_make_one(terminal: Terminal) -> None:
    assert "tokens create" in terminal.run("tokens list").stderr
