"""Settings from files that a service manager or an orchestrator hands over, one value in each."""

from __future__ import annotations

from pathlib import Path

import pytest

from router.bootstrap.store import KEYS_CREDENTIALS, open_vault
from router.settings import Settings, SettingsError, describe, load_settings
from router.settings.layers import MAX_CREDENTIAL_BYTES
from tests.support.keys import key_line


@pytest.fixture(autouse=True)
def nowhere(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A working directory without a config file."""
    monkeypatch.chdir(tmp_path)


@pytest.fixture
def directory(tmp_path: Path) -> Path:
    directory = tmp_path / "credentials"
    directory.mkdir()
    return directory


def load(directory: Path, **environ: str) -> Settings:
    return load_settings(environ={"CREDENTIALS_DIRECTORY": str(directory), **environ})


def test_a_credential_holds_the_value_of_the_setting_that_it_is_named_for(directory: Path) -> None:
    (directory / "webhook-router_amqp.url").write_text("amqps://u:hunter2@rabbit.example/\n")
    (directory / "webhook-router_egress.allow").write_text('["10.0.0.0/8"]')
    settings = load(directory)

    assert settings.amqp.url.get_secret_value() == "amqps://u:hunter2@rabbit.example/"
    shown = {setting.key: (setting.value, setting.origin) for setting in describe(settings)}
    assert shown["amqp.url"][1] == "credential webhook-router_amqp.url"
    assert "hunter2" not in shown["amqp.url"][0]
    assert shown["egress.allow"][1] == "credential webhook-router_egress.allow"


def test_a_credential_is_also_found_as_it_is_named_before_systemd_loads_it(directory: Path) -> None:
    (directory / "amqp.url").write_text("amqps://rabbit.example/\n")
    (directory / "amqp.uri").write_text("somebody else's")
    assert load(directory).amqp.url.get_secret_value() == "amqps://rabbit.example/"


def test_credentials_are_between_the_environment_and_the_file(directory: Path, tmp_path: Path) -> None:
    (tmp_path / "config").mkdir()
    (tmp_path / "config" / "router.toml").write_text("[api]\nhost = 'file'\nport = 1\n")
    (directory / "webhook-router_api.host").write_text("credential")
    (directory / "webhook-router_api.port").write_text("2")
    settings = load(directory, ROUTER_API__PORT="3")
    assert (settings.api.host, settings.api.port) == ("credential", 3)


def test_files_of_others_and_empty_ones_are_no_settings(directory: Path) -> None:
    for name in ("webhook-router_api.port", "webhook-router_keys", "webhook-router.keys", "keys", "tls.crt"):
        (directory / name).touch()
    assert load(directory) == Settings()
    assert load(directory / "nothing") == Settings()


def test_an_unknown_credential_is_an_error_that_names_what_was_meant(directory: Path) -> None:
    (directory / "webhook-router_amqp.uri").write_text("amqp://u:hunter2@h/")
    with pytest.raises(SettingsError) as caught:
        load(directory)
    (problem,) = caught.value.problems
    assert (problem.key, problem.origin) == ("amqp.uri", "credential webhook-router_amqp.uri")
    assert "amqp.url" in problem.hint
    assert "hunter2" not in repr(problem)


@pytest.mark.parametrize("content", [b"\xff\xfe", None])
def test_a_credential_that_cannot_be_read_is_an_error(directory: Path, content: bytes | None) -> None:
    file = directory / "webhook-router_api.admin_token"
    if content is None:
        file.mkdir()
    else:
        file.write_bytes(content)
    with pytest.raises(SettingsError) as caught:
        load(directory)
    (problem,) = caught.value.problems
    assert (problem.key, problem.message.partition(":")[0]) == ("api.admin_token", "cannot be read")


def test_no_more_is_read_of_a_credential_than_a_value_has(directory: Path) -> None:
    (directory / "webhook-router_api.admin_token").write_text("x" * MAX_CREDENTIAL_BYTES + "y")
    token = load(directory).api.admin_token
    assert token is not None
    assert token.get_secret_value() == "x" * MAX_CREDENTIAL_BYTES


@pytest.mark.parametrize("name", KEYS_CREDENTIALS)
def test_the_keys_are_found_under_either_name(directory: Path, monkeypatch: pytest.MonkeyPatch, name: str) -> None:
    (directory / name).write_text(key_line("k1"))
    (directory / name).chmod(0o400)
    monkeypatch.setenv("CREDENTIALS_DIRECTORY", str(directory))
    assert list(open_vault(load(directory)).key_ids) == ["k1"]
