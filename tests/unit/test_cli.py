"""The command line without servers: help, usage, exit codes, settings, and what it loads."""

from __future__ import annotations

import json
import os
import pty
import shlex
import subprocess
import sys
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

import click
import pytest
from click.testing import CliRunner

from router import __version__
from router.cli.app import cli
from router.cli.base import Command
from router.cli.session import Session
from router.domain.errors import ConfigurationRefused, DependencyUnavailable
from tests.support.terminal import ADD, Terminal, terminal_in

ROOT = Path(__file__).parents[2]


@pytest.fixture(autouse=True)
def terminal(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Terminal:
    return terminal_in(tmp_path, monkeypatch)


# --- every command --------------------------------------------------------------------------------


def _leaves(group: click.Group, path: tuple[str, ...] = ()) -> Iterator[tuple[tuple[str, ...], click.Command]]:
    for name, command in group.commands.items():
        if isinstance(command, click.Group):
            yield from _leaves(command, (*path, name))
        else:
            yield (*path, name), command


COMMANDS = {" ".join(path): command for path, command in _leaves(cli)}
WITHOUT_DATA = {"serve", "completion"}


@pytest.mark.parametrize("name", COMMANDS)
def test_help_says_what_it_does_and_shows_examples(name: str, terminal: Terminal) -> None:
    result = terminal.run(f"{name} --help")

    assert result.exit_code == 0
    assert COMMANDS[name].help
    assert f"  webhook-router {name}" in result.stdout or f"$(webhook-router {name}" in result.stdout


@pytest.mark.parametrize("name", COMMANDS)
def test_examples_are_commands_that_can_be_typed(name: str) -> None:
    command = COMMANDS[name]
    assert isinstance(command, Command)
    for example in command.examples:
        words = shlex.split(example.replace("\\\n", " ").replace('"$(', "").replace(')"', ""))
        start = words.index("webhook-router") + 1
        arguments = words[start + len(name.split()) :]
        end = next((place for place, word in enumerate(arguments) if word in {"|", ">"}), len(arguments))
        if "event.json" in arguments:
            Path("event.json").touch()

        with command.make_context(name, arguments[:end], obj=Session()):
            pass


@pytest.mark.parametrize("name", sorted(COMMANDS.keys() - WITHOUT_DATA))
def test_every_command_that_prints_data_can_print_json(name: str) -> None:
    assert any("--json" in parameter.opts for parameter in COMMANDS[name].params)


@pytest.mark.parametrize("name", COMMANDS)
def test_every_option_is_explained(name: str) -> None:
    options = [parameter for parameter in COMMANDS[name].params if isinstance(parameter, click.Option)]

    assert [option.opts for option in options if not option.help] == []


def test_version(terminal: Terminal) -> None:
    assert terminal.run("--version").stdout == f"webhook-router {__version__}\n"


@pytest.mark.parametrize("shell", ["bash", "zsh", "fish"])
def test_completion_is_a_script_for_our_name(shell: str, terminal: Terminal) -> None:
    result = terminal.run(f"completion {shell}")

    assert result.exit_code == 0
    assert "_WEBHOOK_ROUTER_COMPLETE" in result.stdout


def test_the_command_line_loads_nothing_heavy_before_a_command_runs() -> None:
    heavy = {"aio_pika", "aiohttp", "motor", "orjson", "pydantic", "pymongo", "rich", "structlog", "router.bootstrap"}
    code = "import sys, router.__main__; print(*sys.modules)"

    modules = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, cwd=ROOT).stdout

    assert heavy & set(modules.split()) == set()


# --- how commands end -----------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("line", "told"),
    [
        ("", "Usage:"),
        ("nonsense", "No such command"),
        ("accounts", "Usage:"),
        ("accounts enable", "Missing argument"),
        ("deliveries list --account \udcff", "argument 4 is not UTF-8 text"),
        ("accounts enable ' 1042'", "ID: must be printable"),
        ("serve --role boss", "--role"),
        ("serve --workers 0", "--workers"),
        ("deliveries list --limit 0", "--limit"),
        ("deliveries list --limit 201", "--limit"),
        ("deliveries list --status lost", "--status"),
        ("deliveries list --from yesterday", "--from"),
        ("deliveries list --number 12", "--number: must be a phone number"),
        ("deliveries list --cursor xyz", "--cursor: must be the next_cursor"),
        ("deliveries show dlv_1 --payload --json", "exclude each other"),
        ("webhooks add --account 1042", "Missing option"),
        (f"{ADD} --url ftp://crm.example.com", "--url: a URL begins with"),
        (f"{ADD} --event-type fax", "--event-type"),
        (
            f"{ADD} --tracking-number 0199001234 --tracking-number 12",
            "--tracking-number (number 2): is no phone number",
        ),
        (f"{ADD} --user-id u-17", "--user-id: goes with user"),
        (f"{ADD} --user-id u-17 --tracking-number 0199001234", "exclude each other"),
        (f"{ADD} --header Host=x", "--header: host cannot be set"),
        (f"{ADD} --header X-Team", "NAME=VALUE"),
        (f"{ADD} --header X-Team=a --header x-team=b", "there twice"),
        (f"{ADD} --name ' '", "--name: must have 1 to"),
        (f"{ADD} --id wh_crm", "--id: wh_crm is taken"),
        ("dead-letters requeue", "give the ids"),
        ("dead-letters requeue dl_1 --all", "give the ids"),
        ("dead-letters requeue dl_1 --reason not_json", "--reason goes with --all"),
        ("dead-letters requeue --all", "needs --yes"),
        ("events publish", "give a FILE"),
        ("events publish missing.json", "missing.json"),
        ("events publish --sample call", "needs --account"),
        ("events publish - --account 1042", "go with --sample"),
        ("events publish -", "--type: cannot be told"),
        ("events publish - --source fax", "--source: the configuration has no source"),
    ],
)
def test_wrong_usage_ends_with_64_and_says_what_is_wrong(line: str, told: str, terminal: Terminal) -> None:
    result = terminal.run(line)

    assert result.exit_code == 64, result.output
    assert told in result.stderr
    assert result.stdout == ""


@pytest.mark.parametrize(
    "line",
    [
        "webhooks show wh_nobody",
        "webhooks edit wh_nobody --name x",
        "webhooks pause wh_nobody",
        "webhooks resume wh_nobody --json",
        "webhooks delete wh_nobody",
        "deliveries show dlv_nobody",
        "dead-letters show dl_nobody --json",
        "dead-letters requeue dl_1 dl_nobody",
    ],
)
def test_what_is_not_there_ends_with_1_and_a_sentence(line: str, terminal: Terminal) -> None:
    result = terminal.run(line)

    assert result.exit_code == 1
    assert result.stdout == ""
    assert "there is no" in result.stderr
    assert "list` shows those there are" in result.stderr
    assert not terminal.publisher.sent


@pytest.mark.parametrize(
    ("error", "exit_code"),
    [
        (DependencyUnavailable("MongoDB cannot be reached (ServerSelectionTimeoutError)"), 69),
        (ConfigurationRefused("MongoDB refuses the credentials in mongo.url"), 78),
        (KeyboardInterrupt(), 130),
    ],
)
def test_how_a_command_ends_without_a_store(error: BaseException, exit_code: int) -> None:
    def refuse(_: object) -> Any:
        raise error

    result = CliRunner().invoke(cli, ["webhooks", "list"], obj=Session(open_store=refuse))

    assert result.exit_code == exit_code
    assert result.stdout == ""
    assert str(error) in result.stderr


def test_a_wrong_configuration_ends_with_78_and_all_that_is_wrong(
    terminal: Terminal, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("ROUTER_API__PORT", "high")
    monkeypatch.setenv("ROUTER_MONGO__DATABSE", "x")

    for line in ("check-config", "webhooks list"):
        result = terminal.run(line)
        assert result.exit_code == 78
        assert "api.port" in result.stderr
        assert "ROUTER_MONGO__DATABASE" in result.stderr
        assert result.stdout == ""


@pytest.mark.parametrize("line", ["--config own.toml check-config --json", "check-config --json --config own.toml"])
def test_the_file_is_named_before_or_after_the_command(line: str, terminal: Terminal) -> None:
    Path("own.toml").write_text("[api]\nport = 9090\n")

    settings = {setting["key"]: setting for setting in json.loads(terminal.run(line).stdout)}

    assert settings["api.port"]["value"] == "9090"
    assert settings["api.port"]["origin"] == "own.toml line 2"


def test_a_file_that_is_not_there_ends_with_78(terminal: Terminal) -> None:
    assert terminal.run("check-config --config missing.toml").exit_code == 78


@pytest.mark.parametrize("option", ["", " --json"])
def test_check_config_shows_settings_and_no_secret(
    option: str, terminal: Terminal, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("ROUTER_MONGO__URL", "mongodb://router:hush@db.example.com/")
    monkeypatch.setenv("ROUTER_API__ADMIN_TOKEN", "hush-hush-hush")

    result = terminal.run("check-config" + option)

    assert result.exit_code == 0
    assert "mongodb://router:***@db.example.com/" in result.stdout
    assert "environment ROUTER_MONGO__URL" in result.stdout
    assert "hush" not in result.output


def test_a_closed_pipe_is_silent() -> None:
    command = f"{shlex.quote(sys.executable)} -m router check-config 2>/dev/null | true; echo ${{PIPESTATUS[0]}}"

    result = subprocess.run(["bash", "-c", command], capture_output=True, text=True, check=True, cwd=ROOT)

    assert (result.stdout, result.stderr) == ("0\n", "")


@pytest.mark.parametrize(("variable", "is_coloured"), [("TERM", True), ("NO_COLOR", False)])
def test_a_terminal_gets_colours_unless_it_wants_none(variable: str, is_coloured: bool) -> None:
    ours, theirs = pty.openpty()
    environment = {**os.environ, "TERM": "xterm", variable: "xterm"}

    with subprocess.Popen(
        [sys.executable, "-m", "router", "check-config"],
        stdout=theirs,
        stderr=subprocess.PIPE,
        cwd=ROOT,
        env=environment,
    ):
        os.close(theirs)
        shown = b""
        with suppress(OSError):  # EIO: the other side is closed
            while part := os.read(ours, 65_536):
                shown += part
    os.close(ours)

    assert b"mongo.database" in shown
    assert (b"\x1b[1m" in shown) is is_coloured
