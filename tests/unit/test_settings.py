"""The rules of the settings: bounds at their edges, precedence, and what each kind of mistake is told."""

from __future__ import annotations

import json
import os
from collections.abc import Iterator, Mapping
from pathlib import Path

import pytest
from pydantic import BaseModel

from router.domain.errors import RouterError
from router.domain.event import EventType
from router.domain.fields import parse_path
from router.settings import Problem, Settings, SettingsError, describe, load_settings, render_problems
from router.settings.layers import MAX_FILE_BYTES
from router.settings.ports import DEFAULT_DENY_PORTS, INFRASTRUCTURE_PORTS, WHATWG_BAD_PORTS
from router.settings.schema import expectation

NO_FLAGS: Mapping[str, object] = {}


@pytest.fixture
def nowhere(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A working directory without a config file."""
    monkeypatch.chdir(tmp_path)
    return tmp_path


pytestmark = pytest.mark.usefixtures("nowhere")


def load(environ: Mapping[str, str] | None = None, **flags: object) -> Settings:
    overrides = {key.replace("__", "."): value for key, value in flags.items()}
    return load_settings(overrides=overrides, environ=environ or {})


def problems_of(
    environ: Mapping[str, str] | None = None,
    overrides: Mapping[str, object] = NO_FLAGS,
    config: Path | None = None,
) -> tuple[Problem, ...]:
    with pytest.raises(SettingsError) as caught:
        load_settings(config=config, overrides=overrides, environ=environ or {})
    return caught.value.problems


def write(path: Path, text: str) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text, encoding="utf-8")
    return path


# ------------------------------------------------------------------------------------------- defaults


def test_nothing_given_is_the_contract() -> None:
    settings = load()
    assert settings == Settings()
    assert settings.amqp.url.get_secret_value() == "amqp://guest:guest@127.0.0.1:5672/"
    assert settings.mongo.url.get_secret_value() == "mongodb://127.0.0.1:27017"
    assert (settings.mongo.database, settings.mongo.driver) == ("webhook_router", "motor")
    assert (settings.api.host, settings.api.port) == ("127.0.0.1", 8080)
    assert settings.api.admin_token is None
    assert settings.data_dir == Path(".run")
    assert (settings.egress.allow, settings.egress.require_https) == ((), True)
    assert list(settings.delivery.call.retry_delays_seconds) == [1, 2, 4, 8]
    assert settings.delivery.call.timeout_seconds == 5
    assert settings.delivery.call.max_age_seconds == 30
    for schedule in (settings.delivery.cdr, settings.delivery.user):
        assert schedule.timeout_seconds == 10
        assert list(schedule.retry_delays_seconds) == [5, 30, 120, 600, 1800, 7200, 18000, 36000, 36000]
        assert schedule.max_age_seconds is None
    assert settings.delivery.suspend_after_seconds == 5 * 24 * 3600
    assert settings.numbers.default_country == "FR"
    assert (settings.retention.payload_days, settings.retention.log_days) == (30, 90)
    assert (settings.log.format, settings.log.level) == (None, "info")


def test_three_sources_are_the_default() -> None:
    for source, kind in zip(load().sources, EventType, strict=True):
        assert (source.name, source.exchange, source.event_type) == (kind.value, kind.value, kind)
        assert (source.exchange_type, source.declare) == ("topic", "active")
        assert (source.queue, source.binding_keys) == (f"webhook-router.{kind.value}", ("#",))
        assert source.fields.caller_number == ("data.caller.number",)


def test_every_default_path_can_be_parsed() -> None:
    for source in Settings().sources:
        for _, paths in source.fields:
            assert [parse_path(path) for path in paths]


def test_default_deny_ports_are_both_lists() -> None:
    assert set(DEFAULT_DENY_PORTS) == {*WHATWG_BAD_PORTS, *INFRASTRUCTURE_PORTS}
    assert list(DEFAULT_DENY_PORTS) == sorted(set(DEFAULT_DENY_PORTS))
    assert not {80, 443, 8000, 8080, 8443, 8888} & set(DEFAULT_DENY_PORTS)
    assert {22, 25, 5432, 5672, 6379, 15672, 27017, 6667} <= set(DEFAULT_DENY_PORTS)


def test_settings_cannot_be_changed() -> None:
    settings = load()
    for node, name in ((settings, "data_dir"), (settings.api, "port"), (settings.sources[0], "queue")):
        with pytest.raises(ValueError, match="frozen"):
            setattr(node, name, getattr(node, name))


def _models(model: type[BaseModel]) -> Iterator[type[BaseModel]]:
    yield model
    for field in model.model_fields.values():
        for candidate in (field.annotation, *getattr(field.annotation, "__args__", ())):
            if isinstance(candidate, type) and issubclass(candidate, BaseModel):
                yield from _models(candidate)


def test_every_setting_says_what_it_expects() -> None:
    for model in _models(Settings):
        for name in model.model_fields:
            assert expectation(model, (name,)), f"{model.__name__}.{name} has no text under it"


# -------------------------------------------------------------------------------------------- bounds

BOUNDS: list[tuple[str, list[object], list[object]]] = [
    ("amqp.heartbeat_seconds", [1, "600"], [0, 601, 1.5, True, "x"]),
    ("amqp.connect_timeout_seconds", [0.001, 300], [0, 300.1, "nan", "inf", False]),
    ("amqp.events_exchange", ["ops", "none", "é" * 127], ["", "new\nline", "é" * 128, 3]),
    ("mongo.database", ["a", "a" * 63, "webhook-router"], ["", "a" * 64, "a b", "a.b", "a/b", "a$b", "a\0"]),
    ("mongo.driver", ["motor", "pymongo"], ["pymongo-async", ""]),
    ("data_dir", [".run", "/var/lib/x"], [3]),
    ("api.host", ["::", "a" * 255], ["", "a b", "a" * 256]),
    ("api.port", [0, 65535, "8080", 8080.0], [-1, 65536, "http", 80.5, True]),
    ("api.admin_token", ["8letters", "none", "!~" * 100], ["7letter", "with space", "accentué", "new\nline1"]),
    ("api.rate_limit_per_second", [1, 0.5e5, 100_000], [0.9, 100_001, "fast"]),
    ("api.rate_limit_burst", [10, 1_000_000], [9, 1_000_001, 10.5]),
    ("api.trusted_proxies", [["10.0.0.0/8", "::1"], ["::1"] * 100], [["10.0.0.1/8"], ["lb"], [1], ["::1"] * 101]),
    ("api.probes_port", [0, 65535, "none"], [-1, 65536, "http"]),
    ("egress.require_https", [True, "false", "1"], ["perhaps", 2]),
    ("egress.deny_ports", [[], [0, 65535], "[22]"], [[-1], [65536], ["ssh"], "22", {"a": 1}]),
    ("egress.proxy_url", ["http://h:65535", "https://h", "none"], ["", "h:3128", "http://h:0", "http://h/p"]),
    ("delivery.cdr.timeout_seconds", [0.1, 300], [0.09, 300.1]),
    ("delivery.call.retry_delays_seconds", [[], [0, 86_400], [1] * 50, "[0.5]"], [[-0.1], [86_401], [1] * 51, 5]),
    ("delivery.call.max_age_seconds", [0.1, 31_536_000, "none", "null"], [0, 31_536_001, "never"]),
    ("delivery.connect_timeout_seconds", [0.01, 60], [0, 60.1]),
    ("delivery.suspend_after_seconds", [1, 31_536_000], [0.9, 31_536_001]),
    ("delivery.max_in_flight", [1, 10_000], [0, 10_001]),
    ("delivery.max_in_flight_per_webhook", [1, 1_000], [0, 1_001]),
    ("delivery.max_queued_per_webhook", [1, 100_000], [0, 100_001]),
    ("limits.max_message_bytes", [1_024, 15_728_640], [1_023, 15_728_641]),
    ("limits.max_inflated_bytes", [1_024, 15_728_640], [1_023, 15_728_641]),
    ("limits.max_depth", [1, 1_000], [0, 1_001]),
    ("numbers.default_country", ["FR", "be", " GB "], ["UK", "FRA", "", "ZZ"]),
    ("retention.payload_days", [1, 90], [0, 91]),
    ("retention.log_days", [30, 3_650], [29, 3_651]),
    ("log.format", ["console", "JSON", "auto"], ["text", ""]),
    ("log.max_lines_per_second", [1, 1_000_000], [0, 1_000_001, 1.5]),
    ("tracing.endpoint", ["http://h:4318/v1/traces", "https://h/x", "none"], ["", "h:4318", "http://h:4318", "http:///x"]),
    ("tracing.sample_ratio", [0, 0.25, 1], [-0.1, 1.1, "all"]),
    ("log.level", ["debug", "INFO", "warning", "error", "critical"], ["trace", 20]),
]  # fmt: skip


@pytest.mark.parametrize(("key", "value"), [(key, value) for key, good, _ in BOUNDS for value in good])
def test_value_at_the_edge_is_taken(key: str, value: object) -> None:
    load_settings(overrides={key: value}, environ={})


@pytest.mark.parametrize(("key", "value"), [(key, value) for key, _, bad in BOUNDS for value in bad])
def test_value_past_the_edge_is_refused(key: str, value: object) -> None:
    (first, *_) = problems_of(overrides={key: value})
    assert first.key.startswith(key) or (key, first.key) == ("retention.log_days", "retention.payload_days")
    assert first.origin.startswith(("flag --", "default"))
    assert first.message
    assert first.hint


def test_words_are_normalised() -> None:
    settings = load(numbers__default_country="be", log__format="JSON", log__level="Warning", data_dir="~/x")
    assert settings.numbers.default_country == "BE"
    assert (settings.log.format, settings.log.level) == ("json", "warning")
    assert settings.data_dir == Path("~/x").expanduser()


# ----------------------------------------------------------------------------------------- precedence


def test_flags_go_over_environment_over_file_over_defaults(tmp_path: Path) -> None:
    path = write(tmp_path / "x.toml", "[api]\nport = 1\nhost = 'file'\nadmin_token = 'from-file'\n")
    environ = {"ROUTER_API__PORT": "2", "ROUTER_API__HOST": "environment"}
    settings = load_settings(config=path, overrides={"api.port": 3}, environ=environ)

    shown = {setting.key: (setting.value, setting.origin) for setting in describe(settings)}
    assert shown["api.port"] == ("3", "flag --api-port")
    assert shown["api.host"] == ("environment", "environment ROUTER_API__HOST")
    assert shown["api.admin_token"] == ("(hidden)", f"{path} line 4")
    assert shown["mongo.database"] == ("webhook_router", "default")
    assert shown["log.format"] == ("auto", "default")


def test_file_is_found_in_this_order(nowhere: Path) -> None:
    write(nowhere / "config" / "router.toml", "api.port = 1")
    write(nowhere / "variable.toml", "api.port = 2")
    write(nowhere / "flag.toml", "api.port = 3")
    environ = {"ROUTER_CONFIG": "variable.toml"}

    assert load_settings(environ={}).api.port == 1
    assert load_settings(environ=environ).api.port == 2
    assert load_settings(config=Path("flag.toml"), environ=environ).api.port == 3


def test_one_key_of_a_schedule_keeps_the_others() -> None:
    call = load({"ROUTER_DELIVERY__CALL__TIMEOUT_SECONDS": "2"}).delivery.call
    assert [call.timeout_seconds, call.max_age_seconds, *call.retry_delays_seconds] == [2, 30, 1, 2, 4, 8]


def test_variable_of_a_key_goes_over_variable_of_its_table() -> None:
    settings = load({"ROUTER_API__PORT": "2", "ROUTER_API": '{"port": 1, "host": "::"}'})
    assert (settings.api.port, settings.api.host) == (2, "::")


def test_flag_that_was_not_given_and_empty_variable_are_unset() -> None:
    assert load({"ROUTER_API__PORT": "", "ROUTER_CONFIG": ""}, api__port=None).api.port == 8080


def test_test_variables_and_others_are_none_of_ours() -> None:
    load({"ROUTER_TEST_MONGO_URL": "x", "ROUTER_TEST_": "x", "ROUTERX": "x", "router_api__port": "x"})


def test_list_replaces_the_list_below_it(tmp_path: Path) -> None:
    path = write(tmp_path / "x.toml", "[[sources]]\nname = 'call'\nprefetch = 7\n[[sources]]\nname = 'cdr'")
    environ = {"ROUTER_SOURCES": json.dumps([{"name": "user"}])}
    settings = load_settings(config=path, environ=environ)
    assert [source.name for source in settings.sources] == ["user"]

    origins = {setting.key: setting.origin for setting in describe(settings)}
    assert origins["sources[0].name"] == "environment ROUTER_SOURCES"
    assert origins["sources[0].prefetch"] == "default"


def test_describe_names_every_setting_once() -> None:
    keys = [setting.key for setting in describe(load())]
    assert len(keys) == len(set(keys))
    assert {"data_dir", "egress.deny_ports", "delivery.user.max_age_seconds", "sources[2].fields.id"} <= set(keys)


def test_error_is_one_of_ours_and_has_no_cause() -> None:
    with pytest.raises(RouterError) as caught:
        load(amqp__url="http://u:hunter2@h/")
    assert isinstance(caught.value, SettingsError)
    assert caught.value.__cause__ is None
    assert caught.value.__suppress_context__
    assert "hunter2" not in str(caught.value) + render_problems(caught.value)


# --- what is named as the file and is none -----------------------------------------------------------


@pytest.mark.parametrize(
    ("path", "told"), [("/dev/zero", f"is larger than {MAX_FILE_BYTES} bytes"), ("/dev", "Is a directory")]
)
def test_what_has_no_end_or_is_no_file_is_refused_at_once(path: str, told: str) -> None:
    with pytest.raises(SettingsError) as caught:
        load_settings(config=Path(path), environ={})

    assert told in caught.value.problems[0].message


def test_no_configuration_can_be_named_as_such() -> None:
    assert load_settings(config=Path("/dev/null"), environ={}) == Settings()


def test_a_pipe_is_read_as_a_shell_makes_one() -> None:
    reading, writing = os.pipe()
    os.write(writing, b"[api]\nport = 81\n")
    os.close(writing)
    try:
        assert load_settings(config=Path(f"/dev/fd/{reading}"), environ={}).api.port == 81
    finally:
        os.close(reading)


def test_a_pipe_that_nobody_writes_to_keeps_no_start_waiting(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("router.settings.layers.PIPE_SECONDS", 0.01)
    os.mkfifo(tmp_path / "pipe")

    with pytest.raises(SettingsError, match="nothing comes out of it"):
        load_settings(config=tmp_path / "pipe", environ={})


@pytest.mark.parametrize(("excess", "is_taken"), [(0, True), (1, False)])
def test_the_largest_file(excess: int, is_taken: bool, tmp_path: Path) -> None:
    path = tmp_path / "router.toml"
    path.write_bytes(b"#" * (MAX_FILE_BYTES + excess))

    if is_taken:
        assert load_settings(config=path, environ={}) == Settings()
    else:
        with pytest.raises(SettingsError, match="larger than"):
            load_settings(config=path, environ={})


@pytest.mark.parametrize("length", [1, 7, 12, 20])
def test_a_half_written_file_is_said_with_its_place(length: int, tmp_path: Path) -> None:
    path = tmp_path / "router.toml"
    path.write_text('[api]\nport = "80'[:length], encoding="utf-8")

    with pytest.raises(SettingsError) as caught:
        load_settings(config=path, environ={})

    (problem,) = caught.value.problems
    assert (problem.key, problem.origin) == ("(file)", str(path))
    assert "is not TOML" in problem.message
