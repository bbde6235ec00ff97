"""Log lines: their shape in both formats, what levels and libraries write, and that no line harms the program."""

from __future__ import annotations

import io
import json
import logging
import os
import re
import threading
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager, suppress
from pathlib import Path
from typing import TextIO

import pytest
import structlog

from router.telemetry.log import LineSink, configure_logging
from tests.support import events
from tests.support.canaries import leaks_in


@pytest.fixture(autouse=True)
def logging_as_before() -> Iterator[None]:
    """Both loggings are global; give them back as they were."""
    root = logging.getLogger()
    handlers, level = root.handlers[:], root.level
    yield
    root.handlers[:] = handlers
    root.setLevel(level)
    logging.captureWarnings(False)
    structlog.reset_defaults()


class Log:
    """A configured logger, and what it wrote."""

    def __init__(self, format: str, level: str = "info", environ: dict[str, str] | None = None) -> None:  # noqa: A002
        self._stream = io.StringIO()
        assert format in {"console", "json"}
        configure_logging(
            format="json" if format == "json" else "console",
            level=level,
            stream=self._stream,
            environ=environ or {},
        )
        self.log: structlog.typing.FilteringBoundLogger = structlog.get_logger("router.test").bind()

    @property
    def text(self) -> str:
        return self._stream.getvalue()

    @property
    def lines(self) -> list[dict[str, object]]:
        return [json.loads(line) for line in self.text.splitlines()]


# ----------------------------------------------------------------------------------------------- JSON


def test_json_line_begins_with_time_level_event_and_logger() -> None:
    log = Log("json")
    log.log.info("delivery attempted", status_code=200, error=None, duration_ms=1.5)
    (line,) = log.lines
    assert list(line) == ["ts", "level", "event", "logger", "status_code", "error", "duration_ms"]
    assert str(line["ts"]).endswith("Z")
    assert len(str(line["ts"])) == len("2025-03-11T09:14:07.412Z")
    assert (line["level"], line["event"], line["logger"]) == ("info", "delivery attempted", "router.test")
    assert (line["status_code"], line["error"], line["duration_ms"]) == (200, None, 1.5)


def test_field_cannot_forge_level_or_line() -> None:
    log = Log("json")
    log.log.info('x\n{"level":"critical"}', level="critical", ts="1970", logger="root", exception="none")
    (line,) = log.lines
    assert (line["level"], line["logger"]) == ("info", "router.test")
    assert (line["level_"], line["logger_"], line["exception_"]) == ("critical", "root", "none")


@pytest.mark.parametrize("character", ["\x00", "\x1b", "\x7f", "\x9b", "\u2028", "\u202e", "\u2066"])
@pytest.mark.parametrize("format", ["json", "console"])
def test_control_characters_are_escaped(format: str, character: str) -> None:  # noqa: A002
    log = Log(format)
    text = f"a{character}b"
    log.log.info(text, field=text, spaced=f"a {text}", **{text: 1})
    assert character not in log.text
    assert log.text.count("\n") == 1


@pytest.mark.parametrize("value", ["\ud800", 2**70, float("nan"), b"\xff", object, {1: {2: 3}}, "é"])
def test_any_value_makes_a_line(value: object) -> None:
    log = Log("json")
    log.log.info("x", value=value)
    (line,) = log.lines
    assert "value" in line


def test_value_that_cannot_be_written_costs_the_line_only() -> None:
    class Hostile:
        def __str__(self) -> str:
            raise RuntimeError("no")

    log = Log("json")
    log.log.info("x", value=Hostile())
    (line,) = log.lines
    assert (line["event"], line["error"]) == ("log line could not be rendered", "RuntimeError")


def test_secrets_are_taken_out_of_everything() -> None:
    log = Log("json")
    try:
        raise ConnectionError("amqp://u:canary@h/ for +33639981122")
    except ConnectionError as error:
        log.log.exception("whsec_canary", error=error, nested={"a": [{"token": "canary"}]}, caller_number="33639981122")
    assert "canary" not in log.text
    assert "3399811" not in log.text
    (line,) = log.lines
    assert line["level"] == "error"
    assert re.search(r"amqp://\*\*\*@h/ for pn:[0-9a-f]{8}:22\b", str(line["exception"]))
    assert str(line["exception"]).startswith("Traceback (most recent call last):")


@pytest.mark.parametrize("kind", ["exception", "triple", "true", "none"])
def test_exception_is_taken_in_every_form(kind: str) -> None:
    log = Log("json")
    try:
        raise ValueError("why")
    except ValueError as error:
        forms = {"exception": error, "triple": (type(error), error, None), "true": True, "none": None}
        log.log.error("x", exc_info=forms[kind])
    (line,) = log.lines
    assert ("why" in str(line.get("exception"))) == (kind != "none")


# -------------------------------------------------------------------------------------------- console


def test_console_line_is_for_reading() -> None:
    log = Log("console")
    log.log.warning("delivery failed", host="crm.example.com", error="read timed out", tries=3, skipped=None)
    rest = log.text.partition("Z ")[2]
    assert rest == 'warning  delivery failed host=crm.example.com error="read timed out" tries=3 [router.test]\n'


def test_console_traceback_is_indented_and_escaped() -> None:
    log = Log("console")
    log.log.error("x", exc_info=ValueError("\x1b[31mred"))
    first, *trace = log.text.splitlines()
    assert first.endswith("x [router.test]")
    assert trace == ["    ValueError: \\x1b[31mred"]


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


@pytest.mark.parametrize(
    ("stream", "environ", "coloured"),
    [
        (Terminal, {}, True),
        (Terminal, {"NO_COLOR": ""}, True),
        (Terminal, {"NO_COLOR": "1"}, False),
        (Terminal, {"TERM": "dumb"}, False),
        (io.StringIO, {}, False),
    ],
)
def test_colours_are_for_terminals(stream: type[io.StringIO], environ: dict[str, str], coloured: bool) -> None:
    output = stream()
    configure_logging(format="console", level="info", stream=output, environ=environ)
    structlog.get_logger().info("x")
    assert ("\x1b[" in output.getvalue()) is coloured


# ------------------------------------------------------------------------------- levels and libraries


@pytest.mark.parametrize(
    ("level", "written"),
    [
        ("debug", ["debug", "info", "warning", "error", "critical"]),
        ("info", ["info", "warning", "error", "critical"]),
        ("error", ["error", "critical"]),
        ("critical", ["critical"]),
    ],
)
def test_level_is_the_least_that_is_written(level: str, written: list[str]) -> None:
    log = Log("json", level)
    for method in ("debug", "info", "warning", "error", "critical"):
        getattr(log.log, method)("x")
    assert [line["level"] for line in log.lines] == written


def test_call_below_the_level_does_not_look_at_its_values() -> None:
    class Untouchable:
        def __str__(self) -> str:
            raise AssertionError("looked at")

    log = Log("json")
    log.log.debug("x", value=Untouchable())
    assert log.text == ""


@pytest.mark.parametrize("name", ["aiohttp.server", "motor", "pymongo.topology", "aiohttp.access", "asyncio"])
def test_library_writes_warnings_in_our_form(name: str) -> None:
    log = Log("json", "debug")
    library = logging.getLogger(name)
    library.debug("no")
    library.info("no")
    library.warning("lost %s", "amqp://u:canary@h/")
    (line,) = log.lines
    assert (line["level"], line["logger"], line["event"]) == ("warning", name, "lost amqp://***@h/")


def test_library_is_held_to_a_higher_level() -> None:
    log = Log("json", "error")
    logging.getLogger("motor").warning("no")
    logging.getLogger("motor").log(45, "between", exc_info=ValueError("why"))
    (line,) = log.lines
    assert line["level"] == "error"
    assert "ValueError: why" in str(line["exception"])


@pytest.mark.parametrize("name", ["aio_pika.connection", "aiormq.connection"])
def test_amqp_client_leaves_the_telling_of_lost_connections_to_us(name: str) -> None:
    log = Log("json", "debug")
    logging.getLogger(name).error("lost 192.0.2.1")
    assert log.lines == []


def test_library_that_formats_wrongly_is_written_anyway() -> None:
    log = Log("json")
    logging.getLogger("x").warning("%d items", "no number")
    (line,) = log.lines
    assert line["event"] == "%d items"


def test_configuring_again_replaces_and_does_not_double() -> None:
    Log("json")
    log = Log("json")
    logging.getLogger("x").warning("once")
    assert len(log.lines) == 1


# ----------------------------------------------------------------------------------------- the way out


@contextmanager
def closed_stream() -> Iterator[TextIO]:
    with Path(os.devnull).open("w") as stream:
        pass
    yield stream


@contextmanager
def pipe_without_reader() -> Iterator[TextIO]:
    reader, writer = os.pipe()
    os.close(reader)
    with os.fdopen(writer, "w") as stream:
        yield stream


@contextmanager
def full_disk() -> Iterator[TextIO]:
    with Path("/dev/full").open("w") as stream:
        yield stream


@contextmanager
def full_pipe() -> Iterator[TextIO]:
    reader, writer = os.pipe()
    os.set_blocking(writer, False)
    with os.fdopen(reader), os.fdopen(writer, "w") as stream:
        with suppress(BlockingIOError):
            while True:
                os.write(writer, b"x")
        yield stream


@pytest.mark.parametrize("failing", [closed_stream, pipe_without_reader, full_disk, full_pipe])
def test_stream_that_takes_nothing_harms_nobody(failing: Callable[[], AbstractContextManager[TextIO]]) -> None:
    # Closing the stream at the end would fail if a line were left in its buffer.
    with failing() as stream:
        sink = configure_logging(format="json", level="info", stream=stream)
        structlog.get_logger().info("x")
        logging.getLogger("x").warning("x")
        assert sink.lost == 2


def test_process_without_stderr_loses_lines_only() -> None:
    sink = LineSink(None)
    sink.write(b"x\n")
    assert sink.lost == 1


def test_line_after_a_torn_one_begins_anew() -> None:
    reader, writer = os.pipe()
    os.set_blocking(writer, False)
    with os.fdopen(writer, "w") as stream, os.fdopen(reader, "rb") as end:
        sink = LineSink(stream)
        long = b"x" * 1_000_000 + b"\n"
        sink.write(long)
        torn = os.read(end.fileno(), 1_000_000)
        assert 0 < len(torn) < len(long)
        sink.write(b"next\n")
        assert os.read(end.fileno(), 100) == b"\nnext\n"
        assert sink.lost == 1


def test_lines_of_threads_stay_whole(tmp_path: Path) -> None:
    path = tmp_path / "log"
    with path.open("w") as stream:
        configure_logging(format="json", level="info", stream=stream)
        log = structlog.get_logger().bind()
        threads = [
            threading.Thread(target=lambda n=number: [log.info("x" * 500, n=n) for _ in range(50)])
            for number in range(4)
        ]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
    assert len([json.loads(line) for line in path.read_text().splitlines()]) == 200


def test_a_reader_who_stands_still_costs_lines_and_holds_nobody_up() -> None:
    reading, writing = os.pipe()
    with os.fdopen(writing, "w") as stream:
        sink = LineSink(stream)
        line = b"x" * 999 + b"\n"
        for _ in range(200):  # three times what a pipe takes
            sink.write(line)
        lost = sink.lost
        assert 0 < lost < 200

        os.read(reading, 1_000_000)
        sink.write(b"he reads again\n")

        assert sink.lost == lost
        assert os.read(reading, 1_000_000).endswith(b"he reads again\n")
    os.close(reading)


@pytest.mark.parametrize("format", ["json", "console"])
def test_what_a_function_held_when_it_raised_is_in_no_line(format: str) -> None:  # noqa: A002
    def handle(payload: str, number: str) -> None:
        held = [payload, number]
        raise KeyError(len(held))

    log = Log(format, level="debug")
    try:
        handle(events.NOTE, events.CALLER)
    except KeyError:
        log.log.exception("handler raised")
    assert "in handle" in log.text
    assert leaks_in(log.text) == []
