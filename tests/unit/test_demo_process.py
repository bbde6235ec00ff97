"""How the demo sets its router up, and how it tells why that one ended."""

import json
import socket
from pathlib import Path

import pytest

from router.demo.process import RouterProcess, free_port, last_error
from router.settings import load_settings

URL = "amqp://guest:guest@127.0.0.1:5672/"


@pytest.fixture
def process(tmp_path: Path) -> RouterProcess:
    return RouterProcess.prepare(tmp_path, URL, url_is_secret=False)


def test_its_settings_are_sound_and_only_for_this_machine(process: RouterProcess) -> None:
    settings = load_settings(config=process.config, environ=process.environment())
    assert settings.mongo.url.get_secret_value() == "embedded"
    assert settings.mongo.database == "webhook_router_demo"
    assert settings.data_dir == process.directory
    assert settings.api.host == "127.0.0.1"
    assert settings.api.port == process.port
    assert [str(rule.network) for rule in settings.egress.allow] == ["127.0.0.0/8"]
    assert not settings.egress.require_https
    assert sum(settings.delivery.cdr.retry_delays_seconds) < 10
    assert settings.api.admin_token is not None
    assert settings.api.admin_token.get_secret_value() == process.token
    assert settings.amqp.url.get_secret_value() == URL


def test_nothing_that_was_set_for_another_router_reaches_it(
    process: RouterProcess, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("ROUTER_MONGO__URL", "mongodb://production.example.com")
    monkeypatch.setenv("ROUTER_EGRESS__ALLOW", '["10.0.0.0/8"]')
    monkeypatch.setenv("NOTIFY_SOCKET", "/run/systemd/notify")
    monkeypatch.setenv("LANG", "C.UTF-8")
    environment = process.environment()
    ours = {name for name in environment if name.startswith("ROUTER_")}
    assert ours == {"ROUTER_CONFIG", "ROUTER_AMQP__URL", "ROUTER_API__ADMIN_TOKEN"}
    assert "NOTIFY_SOCKET" not in environment
    assert environment["LANG"] == "C.UTF-8"


def test_other_commands_can_use_its_configuration(process: RouterProcess) -> None:
    settings = load_settings(config=process.config, environ={})
    assert settings.amqp.url.get_secret_value() == URL


def test_no_secret_is_in_its_configuration_or_its_looks(tmp_path: Path) -> None:
    process = RouterProcess.prepare(tmp_path, "amqp://someone:hush@mq.example.com/", url_is_secret=True)
    for text in (process.config.read_text(), repr(process), repr(process.api)):
        assert "hush" not in text
        assert process.token not in text


def test_two_runs_have_two_tokens(tmp_path: Path, process: RouterProcess) -> None:
    assert RouterProcess.prepare(tmp_path, URL, url_is_secret=False).token != process.token


@pytest.mark.parametrize(
    ("lines", "expected"),
    [
        ([], ""),
        ([{"level": "info", "event": "stopped"}], ""),
        (
            [
                {"level": "error", "event": "dependency_unavailable", "error": "RabbitMQ cannot be reached"},
                {"level": "info", "event": "stopped"},
            ],
            "dependency_unavailable: RabbitMQ cannot be reached",
        ),
        ([{"level": "error", "event": "first"}, {"level": "critical", "event": "last"}], "last"),
    ],
)
def test_its_last_error_is_told(lines: list[dict[str, str]], expected: str) -> None:
    log = "\n".join(["not JSON", *(json.dumps(line) for line in lines), "[1]"])
    assert last_error(log) == expected


def test_a_port_that_is_taken_is_passed_over() -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        assert free_port(port) != port
