"""The places that settings come from: flags, environment variables, credentials and a TOML file, each read into one
layer. Reads what it is told to read; what cannot be read becomes a Problem, never an exception.
"""

from __future__ import annotations

import copy
import errno
import json
import os
import re
import select
import stat
import tomllib
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final, NamedTuple

from pydantic import BaseModel

from router.settings.problems import Problem, cut, shown
from router.settings.schema import KeyPath, dotted, expectation, field_at, is_secret, is_table, takes_json

ENV_PREFIX: Final = "ROUTER_"
ENV_CONFIG: Final = "ROUTER_CONFIG"
ENV_TEST_PREFIX: Final = "ROUTER_TEST_"
ENV_DELIMITER: Final = "__"
MAX_FILE_BYTES: Final = 1_048_576
"""A configuration is a few pages; what is larger is another file."""
PIPE_SECONDS: Final = 3.0
"""How long a pipe may take to bring its first byte."""
ENV_CREDENTIALS: Final = "CREDENTIALS_DIRECTORY"
"""Set by systemd (`LoadCredential=`) and by our image: a directory with one file for each value."""
CREDENTIAL_PREFIX: Final = "webhook-router_"
"""As systemd names the files of a directory that it loads as `webhook-router`; in that directory they lack it."""
KEYS_CREDENTIAL: Final = CREDENTIAL_PREFIX + "keys"
"""No setting, but what stands for `secrets.key_file`."""
MAX_CREDENTIAL_BYTES: Final = 65_536


@dataclass(frozen=True, slots=True)
class Layer:
    """What one place says: `data` nested like the settings, `origins` where each part of it was written."""

    data: dict[str, object] = field(default_factory=dict)
    origins: dict[KeyPath, str] = field(default_factory=dict)
    problems: list[Problem] = field(default_factory=list)
    text: str = ""
    """Of a file: what was read."""

    def find(self, path: KeyPath) -> tuple[int, object]:
        """How many steps of `path` this layer has, and the value that they lead to."""
        node: object = self.data
        for depth, step in enumerate(path):
            match node:
                case dict() if step in node:
                    node = node[step]
                case list() | tuple() if isinstance(step, int) and step < len(node):
                    node = node[step]
                case _:
                    return depth, node
        return len(path), node

    def origin_of(self, path: KeyPath) -> str:
        """Where `path`, or what holds it, was written."""
        ends = range(len(path), 0, -1)
        return next((self.origins[path[:end]] for end in ends if path[:end] in self.origins), "")

    def written_at(self, path: KeyPath) -> list[KeyPath]:
        """The keys, as they were written, that put something at `path`: itself, or several inside it."""
        if self.find(path)[0] < len(path):
            return []
        inside = [written for written in self.origins if written[: len(path)] == path]
        return [path] if path in inside or not inside else inside


def origin_in(layers: Sequence[Layer], path: KeyPath, *, or_item: bool) -> str:
    """Where the value at `path` was written, in the first layer that has it; else `default`.

    A list replaces those of the layers below it, so what an item of it leaves out is a default; with
    `or_item` it is the place where the item was written: that is where to add what is missing.
    """
    for layer in layers:
        depth, _ = layer.find(path)
        if depth == len(path):
            return layer.origin_of(path)
        if any(isinstance(step, int) for step in path[:depth]):
            return layer.origin_of(path[:depth]) if or_item else "default"
    return "default"


# ---------------------------------------------------------------- flags, environment and credentials


class _Entry(NamedTuple):
    """One value from a flag or a variable."""

    path: tuple[str, ...]
    value: object
    origin: str


def flag_layer(overrides: Mapping[str, object], model: type[BaseModel]) -> Layer:
    """Flags by dotted key: `{"api.port": 0}`. None is a flag that was not given."""
    entries = (
        _Entry(tuple(key.split(".")), value, f"flag --{re.sub('[._]', '-', key)}")
        for key, value in overrides.items()
        if value is not None
    )
    return _read_entries(entries, model)


def environment_layer(environ: Mapping[str, str], model: type[BaseModel]) -> Layer:
    """Variables like `ROUTER_API__PORT`. An empty one is unset: compose files cannot leave one out."""
    entries = (
        _Entry(tuple(name.removeprefix(ENV_PREFIX).lower().split(ENV_DELIMITER)), value, f"environment {name}")
        for name, value in environ.items()
        if name.startswith(ENV_PREFIX) and not name.startswith(ENV_TEST_PREFIX)
        if name != ENV_CONFIG and value
    )
    return _read_entries(entries, model)


def credentials_layer(environ: Mapping[str, str], model: type[BaseModel]) -> Layer:
    """Files like `webhook-router_amqp.url` or `amqp.url`, each with the value of one setting. An empty one is unset.

    Files without the prefix that are no setting are somebody else's.
    """
    directory = environ.get(ENV_CREDENTIALS)
    entries, problems = [], []
    for file in sorted(Path(directory).glob("*")) if directory else ():
        path = tuple(file.name.removeprefix(CREDENTIAL_PREFIX).split("."))
        is_ours = file.name.startswith(CREDENTIAL_PREFIX) or field_at(model, path) is not None
        if file.name == KEYS_CREDENTIAL or not is_ours:
            continue
        origin = f"credential {file.name}"
        try:
            with file.open("rb") as stream:
                text = stream.read(MAX_CREDENTIAL_BYTES).decode().strip()
        except (OSError, UnicodeDecodeError) as exc:
            reason = exc.strerror if isinstance(exc, OSError) and exc.strerror else "it is not UTF-8"
            hint = "Each file there holds one value."
            problems.append(
                Problem(key=dotted(path), value="", origin=origin, message=f"cannot be read: {reason}", hint=hint)
            )
            continue
        if text:
            entries.append(_Entry(path, text, origin))
    layer = _read_entries(entries, model)
    layer.problems.extend(problems)
    return layer


def _read_entries(entries: Iterable[_Entry], model: type[BaseModel]) -> Layer:
    layer = Layer()
    # Whole tables first, so that a variable for one key goes over the table that it is in.
    for entry in sorted(entries, key=lambda entry: (len(entry.path), entry.path)):
        problem = _place(layer, entry, model)
        if problem is not None:
            layer.problems.append(problem)
    return layer


def _place(layer: Layer, entry: _Entry, model: type[BaseModel]) -> Problem | None:
    """Put one value at its place in the layer, or say why it cannot be there."""
    value = copy.deepcopy(entry.value)
    known = field_at(model, entry.path)
    if known is not None and takes_json(known) and isinstance(value, str):
        try:
            value = json.loads(value)
        except (ValueError, RecursionError) as exc:
            hint = f"Lists and tables are written as JSON here. {expectation(model, entry.path)}"
            # What json says of the error names a position and never quotes the text.
            return _problem(entry, f"is not JSON: {exc}", hint, secret=is_secret(known.annotation))

    node = layer.data
    for end, step in enumerate(entry.path[:-1], start=1):
        holder = entry.path[:end]
        field_here = field_at(model, holder)
        inner = node.get(step, {})
        if not isinstance(inner, dict) or (field_here is not None and not is_table(field_here.annotation)):
            hint = f"Set {dotted(holder)} as a whole."
            secret = field_here is None or is_secret(field_here.annotation)
            return _problem(entry, f"cannot be set inside {dotted(holder)}, which is no table", hint, secret=secret)
        node[step] = inner
        node = inner
    node[entry.path[-1]] = value
    layer.origins[entry.path] = entry.origin
    return None


def _problem(entry: _Entry, message: str, hint: str, *, secret: bool) -> Problem:
    value = cut(shown(entry.value, secret=secret))
    return Problem(key=dotted(entry.path), value=value, origin=entry.origin, message=message, hint=hint.strip())


# ------------------------------------------------------------------------------------------------ file


def file_layer(path: Path, *, named_by: str | None) -> Layer:
    """The TOML file at `path`. `named_by` is what named it; a file that nothing named may be missing."""
    try:
        text = _read(path.expanduser()).decode("utf-8-sig")
        data = tomllib.loads(text)
    except FileNotFoundError:
        if named_by is None:
            return Layer()
        return _broken(path, named_by, "there is no such file", "Give the path of a TOML file.")
    except UnicodeDecodeError as exc:
        return _broken(path, str(path), f"is not UTF-8: byte {exc.start}", "Save the file as UTF-8.")
    except ValueError as exc:  # TOMLDecodeError, or an integer too long for Python
        # The message ends with "(at line 3, column 7)" and quotes at most one character.
        is_cut = "end of document" in str(exc)
        hint = "It ends in the middle of something: was it written to its end?" if is_cut else _QUOTES
        return _broken(path, str(path), f"is not TOML: {exc}", hint)
    except (OSError, RuntimeError, RecursionError) as exc:
        reason = exc.strerror if isinstance(exc, OSError) and exc.strerror else str(exc)
        return _broken(path, named_by or str(path), f"cannot be read: {reason}", "Give a readable file.")
    origins = {key: f"{path} line {line}" for key, line in _lines_of_keys(text)}
    return Layer(data, {**{(key,): str(path) for key in data}, **origins}, text=text)


def _read(path: Path) -> bytes:
    """What is in a file or comes through a pipe. Raises OSError where that does not begin, or does not end: a pipe
    without a writer, a terminal, /dev/zero."""
    # At once: opening a pipe that nobody writes to would keep the start waiting.
    with os.fdopen(os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC), "rb") as file:
        mode = os.fstat(file.fileno()).st_mode
        if stat.S_ISDIR(mode):
            raise IsADirectoryError(errno.EISDIR, os.strerror(errno.EISDIR))
        if not stat.S_ISREG(mode):
            if not select.select([file], [], [], PIPE_SECONDS)[0]:
                raise OSError(errno.EAGAIN, "nothing comes out of it")
            os.set_blocking(file.fileno(), True)
        content = file.read(MAX_FILE_BYTES + 1)
    if len(content) > MAX_FILE_BYTES:
        raise OSError(errno.EFBIG, f"is larger than {MAX_FILE_BYTES} bytes")
    return content


_QUOTES: Final = 'Texts are quoted: key = "value".'


def _broken(path: Path, origin: str, message: str, hint: str) -> Layer:
    return Layer(problems=[Problem(key="(file)", value=str(path), origin=origin, message=message, hint=hint)])


_HEADER = re.compile(r"\s*(?P<open>\[\[?)(?P<key>[^\[\]]+)\]")
_ASSIGNMENT = re.compile(r"""\s*(?P<key>(?:[A-Za-z0-9_.\s-]|"[^"]*"|'[^']*')+?)\s*=""")


def _lines_of_keys(text: str) -> Iterator[tuple[KeyPath, int]]:
    """Every key of a TOML text that is known to be sound, with its line, from 1.

    A reader of lines and not of TOML: something inside a multi-line text may look like a key. That costs a
    wrong line number in a message, of a key that nobody asks for.
    """
    table: KeyPath = ()
    sizes: dict[KeyPath, int] = {}
    for number, line in enumerate(text.splitlines(), start=1):
        match = _HEADER.match(line) or _ASSIGNMENT.match(line)
        steps = _steps_of(match["key"]) if match else ()
        if match is None or not steps:
            continue
        if match.re is _ASSIGNMENT:
            yield table + steps, number
            continue
        table = _inside_last_items(steps, sizes)
        if match["open"] == "[[":
            sizes[table] = sizes.get(table, 0) + 1
            table = (*table, sizes[table] - 1)
        yield table, number


def _inside_last_items(steps: tuple[str, ...], sizes: Mapping[KeyPath, int]) -> KeyPath:
    """`[a.b]` after `[[a]]` means the b of the last a; the last step stays bare, for `[[a.b]]` to number."""
    path: KeyPath = ()
    for position, step in enumerate(steps):
        path = (*path, step)
        if position < len(steps) - 1 and path in sizes:
            path = (*path, sizes[path] - 1)
    return path


def _steps_of(key: str) -> tuple[str, ...]:
    """The steps of a dotted key, quoted ones included; none if it is no key."""
    try:
        node: object = tomllib.loads(f"{key.strip()} = 0")
    except tomllib.TOMLDecodeError:
        return ()
    steps: list[str] = []
    while isinstance(node, dict):
        (step, node), *_ = node.items()
        steps.append(step)
    return tuple(steps)
