"""What the author of a wrong configuration is told: every problem at once, where it was written, what was meant."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path

import pytest

from router.settings import Problem, SettingsError, load_settings, render_problems

pytestmark = pytest.mark.usefixtures("nowhere")
NO_FLAGS: Mapping[str, object] = {}


@pytest.fixture
def nowhere(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A working directory without a config file."""
    monkeypatch.chdir(tmp_path)
    return tmp_path


def problems_of(
    environ: Mapping[str, str] | None = None,
    overrides: Mapping[str, object] = NO_FLAGS,
    config: Path | None = None,
) -> tuple[Problem, ...]:
    with pytest.raises(SettingsError) as caught:
        load_settings(config=config, overrides=overrides, environ=environ or {})
    return caught.value.problems


def problem_in(environ: Mapping[str, str]) -> Problem:
    (problem,) = problems_of(environ)
    return problem


def problems_of_source(**source: object) -> dict[str, str]:
    problems = problems_of({"ROUTER_SOURCES": json.dumps([source])})
    return {problem.key.removeprefix("sources[0]."): problem.message for problem in problems}


def write(path: Path, text: str) -> Path:
    path.write_text(text, encoding="utf-8")
    return path


# ---------------------------------------------------------------------------------------- all at once


def test_all_problems_of_all_places_come_at_once(tmp_path: Path) -> None:
    path = write(tmp_path / "x.toml", "[api]\nport = 70000\n\n[[sources]]\nname = 'call'\nprefetch = 0\n")
    environ = {"ROUTER_LIMITS__MAX_DEPTH": "deep", "ROUTER_EGRESS__ALLOW": "10.0.0.0/8", "ROUTER_FOO": "1"}
    problems = problems_of(environ, {"retention.payload_days": 91, "mongo.driver": "pg"}, path)

    assert {problem.key: problem.origin for problem in problems} == {
        "egress.allow": "environment ROUTER_EGRESS__ALLOW",
        "mongo.driver": "flag --mongo-driver",
        "api.port": f"{path} line 2",
        "limits.max_depth": "environment ROUTER_LIMITS__MAX_DEPTH",
        "retention.payload_days": "flag --retention-payload-days",
        "sources[0].prefetch": f"{path} line 6",
        "foo": "environment ROUTER_FOO",
    }


def test_rendering_says_what_is_now_and_what_would_be_right() -> None:
    with pytest.raises(SettingsError) as caught:
        load_settings(environ={"ROUTER_API__PORT": "99999"})
    assert render_problems(caught.value) == (
        "The configuration has 1 problem:\n"
        "\n"
        "  api.port\n"
        "    is now  99999  (environment ROUTER_API__PORT)\n"
        "    wrong   must be at most 65535\n"
        "    right   TCP port to listen on, 0 to 65535; 0 takes any free port."
    )


def test_rendering_cannot_move_the_cursor() -> None:
    with pytest.raises(SettingsError) as caught:
        load_settings(environ={"ROUTER_LOG__LEVEL": "\x1b[2J\nfine\u202e"})
    text = render_problems(caught.value)
    assert "\x1b" not in text
    assert "\u202e" not in text
    assert "\\x1b[2j\\nfine" in text.lower()


def test_long_value_is_cut() -> None:
    problem = problem_in({"ROUTER_LOG__LEVEL": "x" * 5000})
    assert len(problem.value) < 150
    assert "5000 characters" in problem.value


# --------------------------------------------------------------------------------------- unknown keys


@pytest.mark.parametrize(
    ("variable", "meant"),
    [
        ("ROUTER_API__PROT", "ROUTER_API__PORT"),
        ("ROUTER_PORT", "ROUTER_API__PORT"),
        ("ROUTER_LOG_FORMAT", "ROUTER_LOG__FORMAT"),
        ("ROUTER_LOG__LVL", "ROUTER_LOG__LEVEL"),
        ("ROUTER_AMQP__PREFETCH", "ROUTER_SOURCES__PREFETCH"),
        ("ROUTER_MONGODB__DATABASE", "ROUTER_MONGO__DATABASE"),
        ("ROUTER_DELIVERY__CALL__TIMEOUT", "ROUTER_DELIVERY__CALL__TIMEOUT_SECONDS"),
    ],
)
def test_unknown_variable_suggests_the_nearest(variable: str, meant: str) -> None:
    problem = problem_in({variable: "1"})
    assert problem.message == "is not a known setting"
    assert problem.hint == f"Did you mean {meant}?"
    assert problem.origin == f"environment {variable}"


def test_unknown_key_of_a_file_suggests_the_nearest(tmp_path: Path) -> None:
    path = write(tmp_path / "x.toml", "[[sources]]\nname = 'call'\nfields.acount_id = 'x'\n\n[egres]\nallow = []\n")
    hints = {problem.key: (problem.hint, problem.origin) for problem in problems_of(config=path)}
    assert hints == {
        "sources[0].fields.acount_id": ("Did you mean sources.fields.account_id?", f"{path} line 3"),
        "egres": ("Did you mean egress?", f"{path} line 5"),
    }


def test_unknown_key_that_is_like_nothing_points_at_the_file() -> None:
    assert "config/router.toml" in problem_in({"ROUTER_XYZZY": "1"}).hint


@pytest.mark.parametrize(
    ("variable", "value"),
    [
        ("ROUTER_API__ADMIN_TOKN", "hunter2hunter2"),
        ("ROUTER_ADMIN_PASSWORD", "hunter2hunter2"),
        ("ROUTER_AMQP__URI", "hunter2"),
        ("ROUTER_BROKER", "amqp://u:hunter2@h/"),
        ("ROUTER_STORE", '{"password": "hunter2"}'),
    ],
)
def test_misspelt_secret_stays_secret(variable: str, value: str) -> None:
    assert "hunter2" not in repr(problem_in({variable: value}))


def test_unknown_table_of_a_file_is_shown_without_its_values(tmp_path: Path) -> None:
    (problem,) = problems_of(config=write(tmp_path / "x.toml", "[broker]\nadres = 'hunter2'\nport = 1"))
    assert problem.value == "a table of adres, port"


@pytest.mark.parametrize(
    ("variable", "value"),
    [
        ("ROUTER_SERVICE_HOST", "10.0.0.1"),
        ("ROUTER_SERVICE_PORT", "80"),
        ("ROUTER_SERVICE_PORT_HTTP", "80"),
        ("ROUTER_PORT", "tcp://10.0.0.1:80"),
        ("ROUTER_PORT_80_TCP_ADDR", "10.0.0.1"),
    ],
)
def test_service_link_of_kubernetes_is_recognised(variable: str, value: str) -> None:
    assert "enableServiceLinks" in problem_in({variable: value}).hint


# ------------------------------------------------------------------------------------ variables as JSON


@pytest.mark.parametrize(
    ("variable", "value"),
    [
        ("ROUTER_EGRESS__DENY_PORTS", "22,23"),
        ("ROUTER_SOURCES", "[{]"),
        ("ROUTER_SOURCES", "[" * 100_000),
        ("ROUTER_DELIVERY__CALL__RETRY_DELAYS_SECONDS", "1 2"),
        ("ROUTER_API", "port=1"),
    ],
)
def test_bad_json_is_a_problem_and_no_traceback(variable: str, value: str) -> None:
    problem = problem_in({variable: value})
    assert problem.message.startswith("is not JSON: ")
    assert problem.hint.startswith("Lists and tables are written as JSON here.")
    assert problem.origin == f"environment {variable}"


def test_bad_json_of_a_table_with_secrets_is_not_shown() -> None:
    assert "hunter2" not in repr(problem_in({"ROUTER_AMQP": '{"url": "amqp://u:hunter2@h/"'}))


@pytest.mark.parametrize("variable", ["ROUTER_SOURCES__0__NAME", "ROUTER_API__PORT__X"])
def test_variable_inside_what_is_no_table_is_refused(variable: str) -> None:
    problem = problem_in({variable: "x"})
    assert problem.message.startswith("cannot be set inside ")
    assert problem.origin == f"environment {variable}"


@pytest.mark.parametrize(("variable", "value"), [("ROUTER_API", "[1]"), ("ROUTER_AMQP", "null"), ("ROUTER_LOG", "1")])
def test_table_must_be_a_table(variable: str, value: str) -> None:
    assert problem_in({variable: value}).message == "must be a table"


# -------------------------------------------------------------------------------------------- the file


def test_broken_toml_names_line_and_column(tmp_path: Path) -> None:
    path = write(tmp_path / "x.toml", "[api]\nport = 1\nhost = localhost\n")
    (problem,) = problems_of(config=path)
    assert problem.origin == str(path)
    assert "(at line 3, column 8)" in problem.message


def test_broken_toml_does_not_hide_other_problems(tmp_path: Path) -> None:
    path = write(tmp_path / "x.toml", "[api")
    assert [problem.key for problem in problems_of({"ROUTER_API__PORT": "x"}, config=path)] == ["(file)", "api.port"]


def test_named_file_must_exist() -> None:
    (by_flag,) = problems_of(config=Path("missing.toml"))
    by_variable = problem_in({"ROUTER_CONFIG": "missing.toml"})
    assert (by_flag.value, by_flag.origin) == ("missing.toml", "flag --config")
    assert (by_variable.value, by_variable.origin) == ("missing.toml", "environment ROUTER_CONFIG")
    assert by_flag.message == "there is no such file"


def test_file_that_cannot_be_read_is_a_problem(tmp_path: Path) -> None:
    (tmp_path / "latin.toml").write_bytes(b"# caf\xe9")
    (folder,) = problems_of(config=tmp_path)
    (latin,) = problems_of(config=tmp_path / "latin.toml")
    assert folder.message.startswith("cannot be read: ")
    assert latin.message == "is not UTF-8: byte 5"


def test_number_that_python_will_not_read_is_a_problem(tmp_path: Path) -> None:
    (problem,) = problems_of(config=write(tmp_path / "x.toml", f"api.port = {'9' * 5000}"))
    assert problem.message.startswith("is not TOML: ")


def test_byte_order_mark_is_no_problem(tmp_path: Path) -> None:
    path = tmp_path / "x.toml"
    path.write_bytes(b"\xef\xbb\xbfapi.port = 1")
    assert load_settings(config=path, environ={}).api.port == 1


def test_lines_are_found_in_every_notation(tmp_path: Path) -> None:
    text = """\
api.port = -1
[limits]
"max_depth" = 0

[ delivery.call ]
retry_delays_seconds = [
  1,
  -1,
]
[[sources]]
name = 'call'
[sources.fields]
id = 'a..b'
[[sources]]
name = "cdr"
fields = { id = "c..d" }
"""
    path = write(tmp_path / "x.toml", text)
    lines = {problem.key: problem.origin.rpartition(" ")[2] for problem in problems_of(config=path)}
    assert lines == {
        "api.port": "1",
        "limits.max_depth": "3",
        "delivery.call.retry_delays_seconds[1]": "6",
        "sources[0].fields.id[0]": "13",
        "sources[1].fields.id[0]": "16",
    }


# --------------------------------------------------------------------------------------------- sources

SWITCH = {"name": "switch", "exchange": "TAP.Events", "event_type": "call"}


@pytest.mark.parametrize(
    ("change", "key", "message"),
    [
        ({"name": "a b"}, "name", "must match"),
        ({"name": "a" * 65}, "name", "must match"),
        ({"exchange": ""}, "exchange", "not empty"),
        ({"exchange": "é" * 128}, "exchange", "255 bytes"),
        ({"exchange_type": "x-delayed"}, "exchange_type", "must be 'topic', 'fanout', 'direct' or 'headers'"),
        ({"declare": True}, "declare", "must be 'active' or 'passive'"),
        ({"binding_keys": []}, "binding_keys", "needs 1 or more"),
        ({"binding_keys": "#"}, "binding_keys", "must be a list"),
        ({"binding_arguments": {"a": "b"}}, "binding_arguments", "no effect on a topic"),
        ({"exchange_type": "headers", "binding_arguments": {"a": []}}, "binding_arguments.a", "must be text"),
        ({"declare": "passive", "binding_arguments": {"x-match": 1}}, "binding_arguments.x-match", "must be all"),
        ({"queue": "amq.gen-1"}, "queue", "'amq.'"),
        ({"prefetch": 0}, "prefetch", "at least 1"),
        ({"prefetch": 2001}, "prefetch", "at most 2000"),
        ({"event_type": "sms"}, "event_type", "must be 'call', 'cdr' or 'user'"),
        ({"type_map": {"X": "sms"}}, "type_map.X", "must be 'call', 'cdr' or 'user'"),
        ({"decode": ["gunzip"]}, "decode[0]", "must be gzip, zlib, base64 or form:FIELD"),
        ({"decode": ["form:"]}, "decode[0]", "form:FIELD"),
        ({"decode": ["gzip"] * 9}, "decode", "at most 8"),
        ({"time_format": "iso"}, "time_format", "must be 'rfc3339', "),
        ({"time_zone": "Mars/Olympus"}, "time_zone", "IANA"),
        ({"time_zone": "../../etc/passwd"}, "time_zone", "IANA"),
        ({"time_zone": "Europe"}, "time_zone", "IANA"),
        ({"time_zone": ""}, "time_zone", "IANA"),
        ({"fields": {"account_id": []}}, "fields.account_id", "needs 1 or more"),
        ({"fields": {"id": "@nowhere.x"}}, "fields.id[0]", "'@header.NAME'"),
        ({"fields": {"id": ["id", "a[x]"]}}, "fields.id[1]", "expected"),
        ({"fields": {"id": 3}}, "fields.id", "must be a list"),
    ],
)  # fmt: skip
def test_wrong_source_is_refused(change: dict[str, object], key: str, message: str) -> None:
    problems = problems_of_source(**{**SWITCH, **change})
    assert list(problems) == [key]
    assert message in problems[key]


def test_source_needs_exchange_or_name() -> None:
    assert problems_of_source(event_type="call") == {"exchange": "is required"}


def test_source_with_another_name_needs_an_event_type() -> None:
    assert problems_of_source(exchange="TAP.Events") == {"event_type": "is required"}


def test_source_is_filled_in_from_its_name_or_exchange() -> None:
    sources = [{"exchange": "cdr"}, {"name": "x", "event_type": "call"}, {**SWITCH, "prefetch": 2000}]
    cdr, x, switch = load_settings(environ={"ROUTER_SOURCES": json.dumps(sources)}).sources
    assert (cdr.name, cdr.event_type, cdr.queue) == ("cdr", "cdr", "webhook-router.cdr")
    assert (x.exchange, x.queue) == ("x", "webhook-router.x")
    assert (switch.exchange, switch.queue, switch.prefetch) == ("TAP.Events", "webhook-router.switch", 2000)


def test_path_is_one_text_or_a_list() -> None:
    fields = {"id": ["'Event-UUID'", "@property.message_id"], "type": "@header.name", "user_id": []}
    (source,) = load_settings(environ={"ROUTER_SOURCES": json.dumps([{**SWITCH, "fields": fields}])}).sources
    assert source.fields.id == ("'Event-UUID'", "@property.message_id")
    assert (source.fields.type, source.fields.user_id) == (("@header.name",), ())


@pytest.mark.parametrize(
    ("second", "key"),
    [({"name": "call", "queue": "q"}, "name"), ({"name": "b", "queue": "webhook-router.call"}, "queue")],
)
def test_sources_share_neither_name_nor_queue(second: dict[str, str], key: str) -> None:
    sources = [{"name": "call"}, {"exchange": "b", "event_type": "call", **second}]
    problem = problem_in({"ROUTER_SOURCES": json.dumps(sources)})
    assert (problem.key, problem.message) == (f"sources[1].{key}", "is that of sources[0] too")


def test_no_sources_is_a_mistake() -> None:
    assert problem_in({"ROUTER_SOURCES": "[]"}).message == "needs 1 or more entries"
