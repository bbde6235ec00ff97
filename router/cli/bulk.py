"""What is done to several things at once: how many they are is said, asked about, done one by one, and told in the end.
Writes through `output`.
"""

from __future__ import annotations

import sys
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

import click

from router.cli import output
from router.cli.base import CommandFailedError, ExitCode
from router.domain.errors import Conflict, DependencyUnavailable


def bulk_options(command: Callable[..., Any]) -> Callable[..., Any]:
    """Decorator: `--dry-run` and `--yes`."""
    command = click.option("--yes", is_flag=True, help="Do not ask.")(command)
    return click.option("--dry-run", is_flag=True, help="Say how many and which, and do nothing.")(command)


def confirm(question: str, *, refused: str, why: str) -> None:
    """Ask whoever sits there. Raises UsageError where nobody does: `why` says what needs --yes."""
    if not sys.stdin.isatty():
        raise click.UsageError(f"nobody is there to be asked, so {why} needs --yes", click.get_current_context())
    if not click.confirm(question, err=True):
        raise CommandFailedError(refused)


@dataclass(slots=True, kw_only=True)
class Outcome:
    """What was done to each id, or with `dry_run` would be. `verb` as in "3 webhooks paused"."""

    verb: str
    wanted: Sequence[str]
    dry_run: bool
    done: list[str] = field(default_factory=list)
    unchanged: list[str] = field(default_factory=list)
    failed: dict[str, str] = field(default_factory=dict)

    async def work_off(self, act: Callable[[str], Awaitable[bool | None]]) -> None:
        """Do it to each. `act` says whether that changed anything; None: it is not there any more."""
        for identity in self.wanted:
            try:
                has_changed = await act(identity)
            except Conflict as error:
                self.failed[identity] = str(error)
            except DependencyUnavailable:
                output.note(f"{len(self.done)} of {len(self.wanted)} {self.verb} before this:")
                raise
            else:
                if has_changed is None:
                    self.failed[identity] = "it is gone"
                else:
                    (self.done if has_changed else self.unchanged).append(identity)

    def report(self, *, as_json: bool) -> int:
        """Print it; the exit code."""
        if as_json:
            output.print_json(
                {
                    "count": len(self.wanted),
                    "dry_run": self.dry_run,
                    self.verb: self.done,
                    "unchanged": self.unchanged,
                    "failed": [{"id": identity, "error": text} for identity, text in self.failed.items()],
                }
            )
        for identity, text in self.failed.items():
            output.note(f"Not {self.verb}: {output.shown(identity)}: {output.harmless(text)}")
        if not self.dry_run:
            unchanged = f", {len(self.unchanged)} were so already" if self.unchanged else ""
            output.note(f"{len(self.done)} {self.verb}{unchanged}, {len(self.failed)} not.")
        return ExitCode.FAILED if self.failed else ExitCode.OK


def counted(number: int, what: str, several: str) -> str:
    return f"{number} {what if number == 1 else several}"
