"""The command line without servers: usage, exit codes, help, and what is printed where."""

from __future__ import annotations

import json
import os
import pty
import shlex
import subprocess
import sys
from base64 import b64decode
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import replace
from datetime import timedelta
from pathlib import Path
from typing import Any

import click
import pytest
from click.testing import CliRunner, Result

from router import __version__
from router.cli.app import cli
from router.cli.base import Command
from router.cli.session import Session
from router.domain.delivery import Attempt, AttemptError, DeliveryReason, DeliveryStatus, Trigger
from router.domain.errors import ConfigurationRefused, DependencyUnavailable
from router.domain.event import AccountId, EventType
from router.domain.numbers import search_key
from router.domain.webhook import Suspension, SuspensionReason, TrackingNumberRestriction, Webhook, WebhookId
from tests.support.fakes_manage import NOW, FakePublisher, FakeStore, dead_letter, delivery

CRM = Webhook(
    id=WebhookId("wh_crm"),
    account_id=AccountId("1042"),
    name="CRM",
    url="https://crm.example.com/hook?token=hush",
    event_type=EventType.CALL,
    enabled=True,
    headers=(("Authorization", "Bearer hush"),),
    created_at=NOW,
    updated_at=NOW,
)
ADD = "webhooks add --account 1042 --name CRM --url https://crm.example.com/hook --event-type call"


@pytest.fixture(autouse=True)
def nowhere(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A working directory without a config file, and an environment that sets nothing."""
    monkeypatch.chdir(tmp_path)
    for name in [name for name in os.environ if name.startswith("ROUTER_")]:
        monkeypatch.delenv(name)


@pytest.fixture
def store() -> FakeStore:
    return FakeStore(
        accounts={AccountId("1042"): True},
        definitions={CRM.id: CRM},
        letters={"dl_1": dead_letter("dl_1"), "dl_2": dead_letter("dl_2", source="cdr", reason="no_account")},
    )


@pytest.fixture
def publisher() -> FakePublisher:
    return FakePublisher()


class Terminal:
    """Runs commands against the fakes."""

    def __init__(self, store: FakeStore, publisher: FakePublisher) -> None:
        self._store = store
        self._publisher = publisher

    def run(self, line: str, *, stdin: bytes | None = None) -> Result:
        session = Session(open_store=lambda _: self._store.opener(), open_publisher=lambda _: self._publisher.opener())
        return CliRunner().invoke(cli, shlex.split(line), prog_name="webhook-router", obj=session, input=stdin)

    def data(self, line: str, *, stdin: bytes | None = None) -> Any:
        """What a command that succeeds prints with --json."""
        result = self.run(f"{line} --json", stdin=stdin)
        assert result.exit_code == 0, result.output
        return json.loads(result.stdout)


@pytest.fixture
def terminal(store: FakeStore, publisher: FakePublisher) -> Terminal:
    return Terminal(store, publisher)


# --- every command ---------------------------------------------------------------------------------


def _leaves(group: click.Group, path: tuple[str, ...] = ()) -> Iterator[tuple[tuple[str, ...], click.Command]]:
    for name, command in group.commands.items():
        if isinstance(command, click.Group):
            yield from _leaves(command, (*path, name))
        else:
            yield (*path, name), command


COMMANDS = {" ".join(path): command for path, command in _leaves(cli)}
WITHOUT_DATA = {"serve", "demo", "completion"}


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


ROOT = Path(__file__).parents[2]

# --- how commands end ------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("line", "told"),
    [
        ("", "Usage:"),
        ("nonsense", "No such command"),
        ("accounts", "Usage:"),
        ("accounts enable", "Missing argument"),
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
        "webhooks pause wh_nobody",
        "webhooks resume wh_nobody --json",
        "webhooks delete wh_nobody",
        "deliveries show dlv_nobody",
        "dead-letters show dl_nobody --json",
        "dead-letters requeue dl_1 dl_nobody",
    ],
)
def test_what_is_not_there_ends_with_1_and_a_sentence(line: str, terminal: Terminal, publisher: FakePublisher) -> None:
    result = terminal.run(line)

    assert result.exit_code == 1
    assert result.stdout == ""
    assert "there is no" in result.stderr
    assert "list` shows those there are" in result.stderr
    assert not publisher.sent


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


# --- accounts --------------------------------------------------------------------------------------


def test_accounts_are_switched_and_shown(terminal: Terminal, store: FakeStore) -> None:
    assert terminal.data("accounts disable 1042") == {"id": "1042", "webhooks_enabled": False}
    assert store.accounts == {"1042": False}
    assert terminal.data("accounts enable 1042") == {"id": "1042", "webhooks_enabled": True}
    assert terminal.data("accounts show 1042") == {"id": "1042", "webhooks_enabled": True}


def test_an_account_that_was_never_stored_is_off(terminal: Terminal) -> None:
    result = terminal.run("accounts show 77")

    assert result.exit_code == 0
    assert result.stdout.splitlines() == ["account           77", "webhooks enabled  no", "webhooks          0"]
    assert "webhook-router accounts enable 77" in result.stderr


# --- webhooks --------------------------------------------------------------------------------------


def test_a_new_webhook_is_printed_with_its_secret_once(terminal: Terminal, store: FakeStore) -> None:
    created = terminal.data(f"{ADD} --tracking-number '01 99 00 12 34' --header X-Team=a=b --disabled")

    webhook = store.definitions[created["id"]]
    assert created["secret"] == store.secrets[webhook.id]
    assert (created["state"], created["headers"]) == ("paused", {"X-Team": "***"})
    assert webhook.headers == (("X-Team", "a=b"),)
    assert created["restrict_to"] == {"tracking_numbers": ["+33199001234"]}
    assert webhook.restriction == TrackingNumberRestriction(numbers=frozenset({"+33199001234"}))
    assert webhook.created_at == store.now()
    assert "secret" not in terminal.data(f"webhooks show {webhook.id}")


def test_two_new_webhooks_have_different_secrets(terminal: Terminal) -> None:
    assert len({terminal.data(ADD)["secret"] for _ in range(3)}) == 3


def test_adding_says_what_will_keep_it_from_being_sent_to(terminal: Terminal) -> None:
    result = terminal.run(f"{ADD} --account 77 --url http://crm.example.com/")

    assert result.exit_code == 0
    assert "whsec_" in result.stdout
    assert "shown this once" in result.stderr
    assert "egress.require_https" in result.stderr
    assert "accounts enable 77" in result.stderr


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


def test_pause_resume_and_delete(terminal: Terminal, store: FakeStore) -> None:
    assert terminal.data("webhooks pause wh_crm")["state"] == "paused"
    store.suspensions[CRM.id] = Suspension(since=NOW, reason=SuspensionReason.GONE)
    assert terminal.data("webhooks resume wh_crm")["state"] == "active"
    deleted = terminal.data("webhooks delete wh_crm")

    assert deleted == {"id": "wh_crm", "deleted": True, "pending_deliveries": 0}
    assert not store.definitions


def test_an_empty_list_is_empty_on_stdout_and_says_so_on_stderr(terminal: Terminal) -> None:
    result = terminal.run("webhooks list --account 77")

    assert (result.exit_code, result.stdout) == (0, "")
    assert "No webhook matches" in result.stderr
    assert terminal.data("webhooks list --account 77") == {"items": [], "next_cursor": None}


# --- deliveries ------------------------------------------------------------------------------------

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
def log(store: FakeStore) -> FakeStore:
    """250 deliveries, a second apart; the last one failed and has a phone number."""
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
    return store


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
        }
    ]
    text = terminal.run("deliveries show dlv_249").stdout
    assert PAYLOAD.decode() in text
    assert "\x1b" not in text, "no text from outside may move the cursor"
    assert "503 http_status" in text


@pytest.mark.usefixtures("log")
def test_the_payload_alone_is_byte_for_byte(terminal: Terminal) -> None:
    assert terminal.run("deliveries show dlv_000 --payload").stdout_bytes == PAYLOAD


def test_a_payload_that_is_gone_is_said_to_be_gone(terminal: Terminal, store: FakeStore) -> None:
    store.log.append((delivery("dlv_old"), None))

    assert terminal.data("deliveries show dlv_old")["payload"] is None
    assert "retention.payload_days" in terminal.run("deliveries show dlv_old").stdout
    assert terminal.run("deliveries show dlv_old --payload").exit_code == 1


# --- dead letters ----------------------------------------------------------------------------------


def test_dead_letters_are_listed_and_shown(terminal: Terminal) -> None:
    listed = terminal.data("dead-letters list")["items"]
    shown = terminal.data("dead-letters show dl_1")

    assert [letter["id"] for letter in listed] == ["dl_2", "dl_1"]
    assert b64decode(shown.pop("body")) == b"not json"
    assert shown == listed[1]
    assert "not json" in terminal.run("dead-letters show dl_1").stdout


def test_requeue_sends_the_letters_and_says_which(
    terminal: Terminal, store: FakeStore, publisher: FakePublisher
) -> None:
    outcome = terminal.data("dead-letters requeue dl_2 dl_1 dl_2")

    assert outcome == {"count": 2, "dry_run": False, "requeued": ["dl_2", "dl_1"], "failed": []}
    assert [sent.routing_key for sent in publisher.sent] == ["webhook-router.cdr", "webhook-router.call"]
    assert all(letter.requeued_at == NOW for letter in store.letters.values())


def test_requeue_all_takes_a_reason_and_what_was_not_requeued(terminal: Terminal, publisher: FakePublisher) -> None:
    assert terminal.data("dead-letters requeue --all --reason no_account --yes")["requeued"] == ["dl_2"]
    assert terminal.data("dead-letters requeue --all --yes")["requeued"] == ["dl_1"]
    assert terminal.data("dead-letters requeue --all --yes")["count"] == 0
    assert len(publisher.sent) == 2


def test_a_dry_run_counts_and_does_nothing(terminal: Terminal, store: FakeStore, publisher: FakePublisher) -> None:
    result = terminal.run("dead-letters requeue --all --dry-run")

    assert result.exit_code == 0
    assert result.stdout.split() == ["dl_1", "dl_2"]
    assert "2 dead letters to requeue" in result.stderr
    assert not publisher.sent
    assert all(letter.requeued_at is None for letter in store.letters.values())


def test_letters_that_cannot_go_back_do_not_stop_the_others(terminal: Terminal, store: FakeStore) -> None:
    store.letters["dl_0"] = dead_letter("dl_0", source="fax")

    result = terminal.run("dead-letters requeue --all --yes --json")

    assert result.exit_code == 1
    assert json.loads(result.stdout)["requeued"] == ["dl_1", "dl_2"]
    assert "dl_0: source: the configuration has no source 'fax'" in result.stderr


def test_a_broker_that_goes_away_ends_it_with_what_was_done(
    terminal: Terminal, store: FakeStore, publisher: FakePublisher
) -> None:
    publisher.fails_at = 1

    result = terminal.run("dead-letters requeue --all --yes")

    assert result.exit_code == 69
    assert "1 of 2 were requeued" in result.stderr
    assert [letter.id for letter in store.letters.values() if letter.requeued_at is None] == ["dl_2"]


# --- events ----------------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", ["call", "cdr", "user"])
def test_a_sample_is_a_whole_event(kind: str, terminal: Terminal, publisher: FakePublisher) -> None:
    published = terminal.data(f"events publish --sample {kind} --account 1042 --number 0199005566 --user-id u-7")

    (sent,) = publisher.sent
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


def test_a_file_and_stdin_are_published_as_they_are(terminal: Terminal, publisher: FakePublisher) -> None:
    body = b'{"id": "e-1", "type": "call", "n": 1e3}\n'
    Path("event.json").write_bytes(body)

    terminal.data("events publish event.json")
    terminal.data("events publish - --source cdr", stdin=b"not json")

    assert [(sent.exchange, sent.body) for sent in publisher.sent] == [("call", body), ("cdr", b"not json")]


def test_publishing_says_how_to_follow_it(terminal: Terminal) -> None:
    assert "deliveries list --event e-1" in terminal.run("events publish - --type call", stdin=b'{"id": "e-1"}').stderr
    assert "becomes a dead letter" in terminal.run("events publish - --type call", stdin=b"[]").stderr


def test_routes_are_those_of_the_configuration(terminal: Terminal, publisher: FakePublisher) -> None:
    Path("own.toml").write_text(
        '[[sources]]\nname = "partner"\nexchange = "fax"\nevent_type = "call"\nbinding_keys = ["calls.*"]\n'
    )

    terminal.data("events publish --sample call --account 1042 --config own.toml")

    assert [(sent.exchange, sent.routing_key) for sent in publisher.sent] == [("fax", "calls.any")]
