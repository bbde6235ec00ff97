"""How a log line is made and where it goes: structlog and the standard library's logging through one renderer.
Writes to the log stream and to nothing else; no failure of the log reaches the program.

A line costs 10 to 16 µs of CPU, redaction included (2 cores, to a file descriptor). A call below the level
costs what an empty method does, if the logger is held bound: `log = get_logger("router.x").bind()`, made after
`configure_logging`, is not put together again at every call.
"""

from __future__ import annotations

import json
import logging
import os
import re
import select
import sys
import threading
import traceback
from collections.abc import Callable, Mapping, MutableMapping
from datetime import UTC, datetime
from typing import Final, Literal, TextIO

import orjson
import structlog

from router.telemetry.pseudonyms import Pseudonyms
from router.telemetry.redact import Redactor

LogFormat = Literal["console", "json"]
Line = dict[str, object]
Formatter = Callable[[Line], bytes]

_LEVELS: Final = {"debug": 10, "info": 20, "warning": 30, "error": 40, "critical": 50}
_SYNONYMS: Final = {"warn": "warning", "err": "error", "exception": "error", "fatal": "critical"}
_OWN_FIELDS: Final = frozenset({"ts", "level", "event", "logger", "exception"})


PATIENCE_MS: Final = 100
"""How long a line waits for a full pipe, once: everything else of the process waits with it."""
_OUTSPOKEN = ("aiormq", "aio_pika", "opentelemetry")


def configure_logging(
    *,
    format: LogFormat,  # noqa: A002 - named like the setting
    level: str,
    pseudonyms: Pseudonyms | None = None,
    identity: Mapping[str, str] | None = None,
    stream: TextIO | None = None,
    environ: Mapping[str, str] = os.environ,
    common: Mapping[str, object] | None = None,
) -> LineSink:
    """Send all logging of the process to `stream` (stderr by default) from now on.

    `level` is the least that is written, `debug` to `critical`; libraries are held to warnings and above.
    `pseudonyms` name what may not be written out; without them, the names of this process are its own.
    `identity` says in each line of JSON which program of which host it is; people on a terminal know. `common` are
    fields of every line.
    Only `NO_COLOR` and `TERM` of `environ` are looked at. The sink is returned for its count of lost lines.
    """
    target = stream if stream is not None else sys.stderr
    sink = LineSink(target)
    formatter = as_json if format == "json" else console_formatter(colours=_wants_colours(target, environ))
    constant = {**(identity or {} if format == "json" else {}), **(common or {})}
    renderer = LineRenderer(formatter, Redactor(pseudonyms or Pseudonyms()), constant)

    structlog.configure(
        processors=[renderer],
        # A class of this call's own: `change_level` changes it for every logger that is already bound.
        wrapper_class=type("Logger", (structlog.make_filtering_bound_logger(_LEVELS[level]),), {}),
        context_class=dict,
        logger_factory=lambda *names: _SinkLogger(sink, *names),
        cache_logger_on_first_use=True,
    )

    root = logging.getLogger()
    root.handlers[:] = [_LibraryHandler(sink, renderer)]
    _hold_libraries(level)
    # They tell of every lost connection at error, with an address; our own rooms say what it means.
    for name in _OUTSPOKEN:
        logging.getLogger(name).setLevel(logging.CRITICAL)
    logging.captureWarnings(True)
    return sink


def change_level(level: str) -> None:
    """The least that is written from now on, also by loggers that are bound and kept."""
    methods = vars(structlog.make_filtering_bound_logger(_LEVELS[level]))
    logger_class = structlog.get_config()["wrapper_class"]
    for name, method in methods.items():
        if not name.startswith("__"):
            setattr(logger_class, name, method)
    _hold_libraries(level)


def _hold_libraries(level: str) -> None:
    # aiohttp's access lines and the drivers' chatter are below it, and are not even put together.
    logging.getLogger().setLevel(max(_LEVELS[level], logging.WARNING))


def _wants_colours(stream: TextIO | None, environ: Mapping[str, str]) -> bool:
    # https://no-color.org: present and not empty.
    if stream is None or environ.get("NO_COLOR") or environ.get("TERM") == "dumb":
        return False
    try:
        return stream.isatty()
    except ValueError:  # closed
        return False


# ------------------------------------------------------------------------------------------- the line


class LineRenderer:
    """A structlog processor, the only one: fields in, one finished line out. It never raises."""

    def __init__(self, formatter: Formatter, redactor: Redactor, constant: Mapping[str, object]) -> None:
        self._format = formatter
        self._redactor = redactor
        self._constant = constant

    def __call__(self, logger: object, method: str, fields: MutableMapping[str, object]) -> bytes:
        return self.render(getattr(logger, "name", ""), _SYNONYMS.get(method, method), fields)

    def render(self, name: str, level: str, fields: MutableMapping[str, object]) -> bytes:
        """The line of `fields`, `event` among them, redacted and with a newline at its end."""
        try:
            return self._format(self._line_of(name, level, fields))
        except Exception as exc:  # a value's own __str__ may do anything, and a log line is not worth a crash
            failure: Line = {"event": "log line could not be rendered", "error": type(exc).__name__}
            return self._format(self._line_of(name, "error", failure))

    def _line_of(self, name: str, level: str, fields: MutableMapping[str, object]) -> Line:
        line: Line = {
            "ts": datetime.now(UTC).isoformat(timespec="milliseconds")[:-6] + "Z",
            "level": level,
            "event": self._redactor.value(fields.pop("event", "")),
            "logger": name,
            **self._constant,
        }
        exception = fields.pop("exc_info", None)
        for key, value in fields.items():
            # A field cannot pass itself off as the level or the time.
            line[key if key not in _OWN_FIELDS else key + "_"] = self._redactor.field(key, value)
        if exception:
            line["exception"] = self._redactor.text(_traceback_of(exception))
        return line


def _traceback_of(exc_info: object) -> str:
    """The traceback of what loggers take as `exc_info`: an exception, a triple, or True for the current one."""
    if exc_info is True:
        exc_info = sys.exc_info()
    exception = exc_info[1] if isinstance(exc_info, tuple) else exc_info
    if not isinstance(exception, BaseException):
        return ""
    return "".join(traceback.format_exception(exception)).rstrip()


# Escaped although JSON lets them stand: C1 controls and bidirectional overrides act on the terminal and on the
# reader of whoever prints the line later.
_UNSAFE = re.compile("[\x7f-\x9f\u200e\u200f\u2028\u2029\u202a-\u202e\u2066-\u2069]")


def _escape_unsafe(text: str) -> str:
    return _UNSAFE.sub(lambda match: f"\\u{ord(match[0]):04x}", text)


def as_json(line: Line) -> bytes:
    """One JSON object on one line, UTF-8."""
    try:
        data = orjson.dumps(line, option=orjson.OPT_APPEND_NEWLINE)
    except TypeError:
        # Half a surrogate pair, which UTF-8 cannot carry and an escape can.
        return json.dumps(line, default=str).encode() + b"\n"
    if data.isascii() and b"\x7f" not in data:
        return data
    return _escape_unsafe(data.decode()).encode()


_COLOURS: Final = {"debug": "2", "info": "32", "warning": "33", "error": "31", "critical": "1;31"}


def console_formatter(*, colours: bool) -> Formatter:
    """Lines for people: time, level, event, then `key=value`, then a traceback of its own lines."""

    def paint(text: str, code: str) -> str:
        return f"\x1b[{code}m{text}\x1b[0m" if colours else text

    def as_console(line: Line) -> bytes:
        level, exception = str(line["level"]), line.pop("exception", None)
        head = [paint(str(line["ts"]), "2"), paint(f"{level:<8}", _COLOURS[level])]
        event = paint(_escape_controls(str(line["event"])), "1")
        fields = [
            paint(f"{_escape_controls(key)}=", "36") + _console_value(value)
            for key, value in line.items()
            if key not in _OWN_FIELDS and value is not None
        ]
        name = [paint(f"[{_escape_controls(str(line['logger']))}]", "2")] if line["logger"] else []
        text = " ".join([*head, event, *fields, *name])
        for trace in str(exception).splitlines() if exception else ():
            text += f"\n    {_escape_controls(trace)}"
        return text.encode("utf-8", "backslashreplace") + b"\n"

    return as_console


def _console_value(value: object) -> str:
    if isinstance(value, str) and value and not re.search(r"[\s\"=]", value):
        return _escape_controls(value)
    return _escape_unsafe(json.dumps(value, ensure_ascii=False, default=str))


def _escape_controls(text: str) -> str:
    """Text on one line that moves no cursor: a forged second line stays part of the first."""
    return _escape_unsafe(re.sub(r"[\x00-\x1f]", lambda match: repr(match[0])[1:-1], text))


# ----------------------------------------------------------------------------------------- the way out


class LineSink:
    """Writes whole lines to a stream and never raises: a full disk, or a reader that went away or stands still, costs
    lines only.

    One write(2) for each line, past the stream's own buffer: a buffer that cannot be emptied would fail again
    when the interpreter ends and turn a clean exit into an error, and lines of several processes on one pipe
    would mix. `lost` counts lines that did not get out whole.
    """

    def __init__(self, stream: TextIO | None) -> None:
        self._stream = stream
        # Reentrant: collecting garbage inside `write` can make asyncio log a forgotten exception.
        self._lock = threading.RLock()
        self._torn = False
        self._stuck = False
        self.lost = 0

    def write(self, line: bytes) -> None:
        """Write `line`, which ends with a newline."""
        with self._lock:
            try:
                self._write(line)
            except (OSError, ValueError):  # ValueError: the stream is closed
                self.lost += 1

    def _write(self, line: bytes) -> None:
        if self._stream is None:  # the process was started with stderr closed
            raise ValueError("no stream")
        try:
            descriptor = self._stream.fileno()
        except OSError:  # a stream in memory has none
            self._stream.write(line.decode())
            self._stream.flush()
            return

        rest = memoryview(b"\n" + line if self._torn else line)
        while rest:
            self._await_room(descriptor)
            # No more at once than a pipe takes that has room: the rest would wait for its reader.
            written = os.write(descriptor, rest[: select.PIPE_BUF])
            rest = rest[written:]
            self._torn = len(rest) > 0

    def _await_room(self, descriptor: int) -> None:
        """Raises BlockingIOError where a write would wait for a reader who does not read.

        He is given a moment once, and none after that until he reads again.
        """
        poll = select.poll()
        poll.register(descriptor, select.POLLOUT)
        self._stuck = not poll.poll(0 if self._stuck else PATIENCE_MS)
        if self._stuck:
            raise BlockingIOError


class _SinkLogger:
    """What structlog hands finished lines to; `name` is the one that `get_logger` was given."""

    __slots__ = ("_sink", "name")

    def __init__(self, sink: LineSink, name: str = "") -> None:
        self._sink = sink
        self.name = name

    def msg(self, line: bytes) -> None:
        self._sink.write(line)

    debug = info = warn = warning = error = err = exception = critical = fatal = msg


class _LibraryHandler(logging.Handler):
    """Records of the standard library's logging, written like our own lines."""

    def __init__(self, sink: LineSink, renderer: LineRenderer) -> None:
        super().__init__()
        self._sink = sink
        self._renderer = renderer

    def emit(self, record: logging.LogRecord) -> None:
        try:
            event = record.getMessage()
        except Exception:  # arguments that do not fit the format
            event = str(record.msg)
        fields: Line = {"event": event}
        if record.exc_info:
            fields["exc_info"] = record.exc_info
        self._sink.write(self._renderer.render(record.name, _name_of(record.levelno), fields))


def _name_of(level: int) -> str:
    return next((name for name, least in reversed(_LEVELS.items()) if level >= least), "debug")
