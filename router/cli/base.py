"""What all commands share: exit codes, the way errors end, help with examples, `--config`. Ends the process."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable, Sequence
from enum import IntEnum
from pathlib import Path
from typing import Any

import click

from router.cli.session import Session
from router.domain.errors import ConfigurationRefused, DependencyUnavailable, InvalidInput, RouterError

_Function = Callable[..., Any]


class ExitCode(IntEnum):
    """How a command ends (contract, section 7; the numbers are those of sysexits.h)."""

    OK = 0
    FAILED = 1
    USAGE = 64
    UNAVAILABLE = 69
    CONFIGURATION = 78
    INTERRUPTED = 130


class CommandFailedError(RouterError):
    """The command did what it could, and the answer is no: not found, declined. One sentence that says what to do."""


# --- help ------------------------------------------------------------------------------------------


def _remember_config(ctx: click.Context, _: click.Parameter, value: Path | None) -> None:
    if value is not None:
        ctx.ensure_object(Session).config = value


def config_option() -> click.Option:
    """`--config`, which is taken before and after the name of the command; the last one counts."""
    return click.Option(
        ["--config"],
        type=click.Path(path_type=Path),
        metavar="FILE",
        expose_value=False,
        is_eager=True,
        callback=_remember_config,
        help="TOML file with the settings.  [default: $ROUTER_CONFIG, else config/router.toml]",
    )


class Command(click.Command):
    """A command whose help ends with examples, each a line that can be pasted into a shell."""

    def __init__(self, *args: Any, examples: Sequence[str], **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.examples = tuple(examples)
        self.params.append(config_option())

    def format_epilog(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        with formatter.section("Examples"):
            for example in self.examples:
                formatter.write(f"{'':>{formatter.current_indent}}{example}\n")


class Group(click.Group):
    """A group of commands, listed in the order in which they are written."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        return list(self.commands)

    def example_command(self, name: str, *examples: str) -> Callable[[_Function], click.Command]:
        """Decorator: a command of this group, with the examples that its help shows."""
        return self.command(name, cls=Command, examples=examples)


# --- how commands end ------------------------------------------------------------------------------


class Cli(Group):
    """The root: runs one command and turns what it raises into a sentence on stderr and an exit code."""

    def main(self, *args: Any, **kwargs: Any) -> Any:
        """Never returns. A command may return its exit code; None is success."""
        kwargs["standalone_mode"] = False
        try:
            code = super().main(*args, **kwargs)
        except click.Abort:
            code = ExitCode.INTERRUPTED
        except click.UsageError as error:
            error.show()
            code = ExitCode.USAGE
        except click.ClickException as error:
            error.show()
            code = error.exit_code
        except RouterError as error:
            code = _explain(error)
        sys.exit(code if isinstance(code, int) else ExitCode.OK)

    def parse_args(self, ctx: click.Context, args: list[str]) -> list[str]:
        for position, text in enumerate(args, start=1):
            try:
                text.encode()
            except UnicodeEncodeError:
                ctx.fail(f"argument {position} is not UTF-8 text")
        return super().parse_args(ctx, args)

    def invoke(self, ctx: click.Context) -> Any:
        try:
            result = super().invoke(ctx)
            sys.stdout.flush()
        except BrokenPipeError:
            # Whoever read our output has seen enough. What is still buffered must not fail again at exit.
            os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
            return ExitCode.OK
        return result


def _explain(error: RouterError) -> ExitCode:
    """Say on stderr what went wrong. The text of a RouterError is made for people."""
    from router.settings import SettingsError, render_problems  # noqa: PLC0415  heavy

    if isinstance(error, SettingsError):
        click.echo(render_problems(error), err=True)
        return ExitCode.CONFIGURATION
    click.echo(f"Error: {error}", err=True)
    match error:
        case ConfigurationRefused():
            click.echo("`webhook-router check-config` shows every setting and where it comes from.", err=True)
            return ExitCode.CONFIGURATION
        case DependencyUnavailable():
            click.echo("`webhook-router check-config` shows which servers are meant.", err=True)
            return ExitCode.UNAVAILABLE
        case InvalidInput():
            return ExitCode.USAGE
        case _:
            return ExitCode.FAILED
