"""Manual pages, completions and policy files, made of the definitions that the program itself uses: `make man`.

Writes below config/: what a package installs, and what a test holds against the definitions. No date and no path of the
machine is in it, so the same definitions make the same bytes.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping
from itertools import groupby
from pathlib import Path
from typing import Final

import click
from click.shell_completion import get_completion_class

from router import __version__
from router.cli.app import cli
from router.cli.base import Command, ExitCode
from router.settings import Settings, describe
from router.settings.schema import expectation, known_keys

CONFIG: Final = Path(__file__).parents[1] / "config"
NAME: Final = "webhook-router"
COMPLETIONS: Final[Mapping[str, str]] = {"bash": f"{NAME}.bash", "zsh": f"_{NAME}", "fish": f"{NAME}.fish"}
"""The name that each shell looks for in its folder of completions."""
EXIT_TEXTS: Final[Mapping[ExitCode, str]] = {
    ExitCode.OK: "A clean stop, or a command that succeeded.",
    ExitCode.FAILED: "The answer of a command is no: not found, declined, not well. Of doctor: warnings.",
    ExitCode.USAGE: "Wrong usage.",
    ExitCode.UNAVAILABLE: "RabbitMQ or MongoDB is not there; at a start, after 30 s of trying.",
    ExitCode.IO: "A result could not be written, or this host refuses a file.",
    ExitCode.CONFIGURATION: "A setting is wrong, or a server refuses what the settings ask for.",
    ExitCode.INTERRUPTED: "A command was interrupted.",
}
OTHER_EXITS: Final[Mapping[int, str]] = {2: "Of doctor: failures.", 70: "A part of the router ended by itself."}


def main() -> None:
    for name, text in documents().items():
        path = CONFIG / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text, encoding="utf-8")
        print(path.relative_to(CONFIG.parent))


def documents() -> dict[str, str]:
    """Every file that is made here, by its path below config/."""
    return {
        f"man/{NAME}.1": "\n".join(command_page()) + "\n",
        f"man/{NAME}.toml.5": "\n".join(settings_page()) + "\n",
        **{f"completions/{file}": _completion(shell) for shell, file in COMPLETIONS.items()},
        "rabbitmq/policies.json": _policies("3.10"),
        "rabbitmq/policies-4.json": _policies("4"),
    }


def _completion(shell: str) -> str:
    made = get_completion_class(shell)
    if made is None:
        raise SystemExit(f"click knows no completion for {shell}")
    return made(cli, {}, NAME, "_WEBHOOK_ROUTER_COMPLETE").source().rstrip() + "\n"


def _policies(broker: str) -> str:
    from router.bootstrap import topology  # noqa: PLC0415  heavy, and of no use to a page

    return json.dumps(topology.policies(Settings(), "4" if broker == "4" else "3.10"), indent=2) + "\n"


# --- webhook-router(1) ------------------------------------------------------------------------------


def command_page() -> Iterator[str]:
    yield f'.TH {_escape(NAME.upper())} 1 "" "{NAME} {__version__}" "User Commands"'
    yield ".SH NAME"
    summary, _, rest = (cli.help or "").partition("\n\n")
    yield f"{_escape(NAME)} \\- {_escape(summary[0].lower() + summary[1:].rstrip('.'))}"
    yield ".SH SYNOPSIS"
    yield f".B {_escape(NAME)}"
    yield r"[\fIOPTIONS\fR] \fICOMMAND\fR [\fIARGUMENTS\fR]"
    yield ".SH DESCRIPTION"
    yield from _paragraphs(rest)
    yield ".SH OPTIONS"
    yield from _options(cli, click.Context(cli, info_name=NAME))
    yield ".SH COMMANDS"
    for words, command in _leaves(cli):
        yield from _command(words, command)
    yield ".SH EXIT STATUS"
    for code, text in sorted({**{int(code): text for code, text in EXIT_TEXTS.items()}, **OTHER_EXITS}.items()):
        yield from (".TP", f".B {code}", _escape(text))
    yield from _environment()
    yield ".SH SEE ALSO"
    yield rf"\fB{_escape(NAME)}.toml\fR(5)"


def _environment() -> Iterator[str]:
    yield ".SH ENVIRONMENT"
    yield from (".TP", ".B ROUTER_CONFIG", "The TOML file, where no flag names one.")
    text = "A setting: its key in capitals, tables with two underscores. Lists and tables are JSON."
    yield from (".TP", r".BI ROUTER_ KEY", text)
    yield from (".TP", ".B NO_COLOR", "No colours and no bold, if it is set and not empty.")
    yield ".SH FILES"
    yield from (".TP", ".I config/router.toml", "Read where no file is named, from the working directory.")


def _leaves(group: click.Group, words: tuple[str, ...] = ()) -> Iterator[tuple[tuple[str, ...], click.Command]]:
    for name, command in group.commands.items():
        if isinstance(command, click.Group):
            yield from _leaves(command, (*words, name))
        else:
            yield (*words, name), command


def _command(words: tuple[str, ...], command: click.Command) -> Iterator[str]:
    context = click.Context(command, info_name=" ".join((NAME, *words)), resilient_parsing=True)
    yield f'.SS "{_escape(" ".join(words))}"'
    usage = " ".join(command.collect_usage_pieces(context))
    yield rf"\fB{_escape(context.info_name or '')}\fR {_escape(usage)}"
    yield ".PP"
    yield from _paragraphs(command.help or "")
    yield from _options(command, context)
    if isinstance(command, Command):
        yield from (".PP", "Examples:", ".PP", ".RS", ".nf")
        yield from map(_escape, command.examples)
        yield from (".fi", ".RE")


def _options(command: click.Command, context: click.Context) -> Iterator[str]:
    """What is explained of its parameters; `--config` is taken by every command and said once, of all of them."""
    for parameter in command.params:
        record = parameter.get_help_record(context)
        if record is not None and record[1] and (parameter.opts != ["--config"] or command is cli):
            yield from (".TP", rf"\fB{_escape(record[0])}\fR", _escape(record[1]))


# --- webhook-router.toml(5) --------------------------------------------------------------------------


def settings_page() -> Iterator[str]:
    yield f'.TH {_escape(NAME.upper())}.TOML 5 "" "{NAME} {__version__}" "File Formats"'
    yield ".SH NAME"
    yield rf"{_escape(NAME)}.toml \- settings of {_escape(NAME)}"
    yield ".SH DESCRIPTION"
    yield from _paragraphs(
        "A TOML file. Every key can be set in the environment too: ROUTER_API__PORT is api.port, over the file; "
        "a flag goes over both. Keys that are not known are errors.\n\n"
        f"`{NAME} check-config` says all that is wrong at once; `{NAME} config show --origin` shows what counts; "
        f"`{NAME} config schema` prints this page for machines."
    )
    yield ".SH SETTINGS"
    defaults = {_bare(each.key): each.value for each in describe(Settings())}
    keys = [key for key in known_keys(Settings) if key in defaults]
    # A key of no table comes before the first table, as TOML wants it.
    for table, group in groupby(sorted(keys, key=lambda key: "." in key), key=lambda key: key.rpartition(".")[0]):
        yield f'.SS "{_header(table)}"'
        for key in group:
            yield from _setting(key, defaults[key])
    yield ".SH SEE ALSO"
    yield rf"\fB{_escape(NAME)}\fR(1)"


def _header(table: str) -> str:
    return "[[sources]]" if table == "sources" else f"[{table}]" if table else "Before the first table"


def _setting(key: str, default: str) -> Iterator[str]:
    yield from (".TP", rf"\fB{_escape(key.rpartition('.')[2])}\fR")
    yield _escape(expectation(Settings, tuple(key.split("."))))
    if not key.startswith("sources."):
        yield from (".br", f"Default: {_escape(_cut(default))}")


def _bare(key: str) -> str:
    return re.sub(r"\[\d+\]", "", key)


def _cut(value: str) -> str:
    return value if len(value) <= 60 else value[:60].rpartition(",")[0] + ", …"


# --- roff ---------------------------------------------------------------------------------------------


def _paragraphs(text: str) -> Iterator[str]:
    for number, paragraph in enumerate(re.split(r"\n\s*\n", text.strip())):
        if number:
            yield ".PP"
        yield _escape(" ".join(paragraph.split()))


def _escape(text: str) -> str:
    """Text as roff prints it: no line begins a request, and a hyphen can be pasted into a shell."""
    escaped = text.replace("\\", r"\e").replace("-", r"\-").replace('"', r"\(dq").replace("`", r"\(ga")
    return re.sub(r"(?m)^([.'])", r"\\&\1", escaped)


if __name__ == "__main__":
    main()
