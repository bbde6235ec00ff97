"""What all commands share: exit codes, the way errors end, help with examples, `--config`. Ends the process."""

from __future__ import annotations

import errno
import os
import sys
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from enum import IntEnum
from pathlib import Path
from typing import Any, Final

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
    IO = 74
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
        session = kwargs.setdefault("obj", Session())
        try:
            code = super().main(*args, **kwargs)
        except click.Abort:
            code = ExitCode.INTERRUPTED
        except click.ClickException as error:
            with suppress(OSError):
                error.show()
            code = ExitCode.USAGE if isinstance(error, click.UsageError) else error.exit_code
        except RouterError as error:
            code = _explain(error, session)
        except OSError as error:
            code = _explain_io(error)
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
            # Whoever read our output has seen enough.
            _forget_stdout()
            return ExitCode.OK
        return result


def _explain(error: RouterError, session: Session) -> ExitCode:
    """Say on stderr what went wrong. The text of a RouterError is made for people."""
    from router.settings import SettingsError, render_problems, trouble_of  # noqa: PLC0415  heavy

    if isinstance(error, SettingsError):
        _say(render_problems(error))
        return ExitCode.CONFIGURATION
    _say(f"Error: {trouble_of(error, session.read)}")
    match error:
        case ConfigurationRefused():
            return ExitCode.CONFIGURATION
        case DependencyUnavailable():
            return ExitCode.UNAVAILABLE
        case InvalidInput():
            return ExitCode.USAGE
        case _:
            return ExitCode.FAILED


def _explain_io(error: OSError) -> ExitCode:
    """A file or a disk of this host does not do what it should: no fault of a peer, and none of the settings."""
    reason = error.strerror or type(error).__name__
    of_output = error.filename is None and error.errno in _OUTPUT_FAULTS
    _say(
        f"Error: {'the result could not be written' if of_output else 'this host refuses something'}\n"
        f"  seen        {reason}{f': {error.filename}' if error.filename else ''}\n"
        f"  to do       {_IO_REMEDIES.get(error.errno or 0, 'Give a file and a folder that can be used.')}"
    )
    _forget_stdout()
    return ExitCode.IO


_OUTPUT_FAULTS: Final = {errno.ENOSPC, errno.EIO, errno.EDQUOT, errno.EFBIG, errno.EBADF}
_IO_REMEDIES: Final[Mapping[int, str]] = {
    errno.ENOSPC: "Make room on that disk.",
    errno.EDQUOT: "Make room, or raise the quota.",
    errno.EACCES: "Give the user of this process access to it.",
    errno.EMFILE: "Raise the limit of descriptors (ulimit -n, LimitNOFILE=).",
}


def _say(text: str) -> None:
    """To stderr, if anybody takes it."""
    with suppress(OSError):
        click.echo(text, err=True)


def _forget_stdout() -> None:
    """What is still buffered must not fail again at exit."""
    with suppress(OSError, ValueError):
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
