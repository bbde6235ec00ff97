"""Shows a run's summary: a table for people, JSON for programs. Writes to stdout."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from typing import Final

from rich.console import Console
from rich.table import Table
from rich.text import Text

from router.demo.summary import Summary

_ROOM_TO_EXPLAIN: Final = 76
"""Columns of a terminal, below which figures stand without explanations."""
_FILE_WIDTH: Final = 120
_MUST_BE_ZERO: Final = frozenset({"lost", "unexpected", "failed otherwise"})

Line = tuple[str, str, str]
"""Name, value, what it means."""


def print_summary(summary: Summary, *, as_json: bool) -> None:
    if as_json:
        sys.stdout.write(summary.to_json() + "\n")
        sys.stdout.flush()
        return
    is_terminal = sys.stdout.isatty()
    console = Console(highlight=False, markup=False, emoji=False, width=None if is_terminal else _FILE_WIDTH)
    is_utf = console.encoding.startswith("utf")
    grid = Table.grid(padding=(0, 2))
    grid.add_column(no_wrap=True)
    grid.add_column(justify="right", no_wrap=True)
    grid.add_column()
    explains = console.width >= _ROOM_TO_EXPLAIN
    for name, value, meaning in summary_lines(summary):
        is_wrong = name in _MUST_BE_ZERO and value != "0"
        style = "bold red" if is_wrong else "bold green" if name in _MUST_BE_ZERO else "bold"
        grid.add_row(Text(f"  {name}"), Text(value, style), Text(meaning if explains else "", "dim"))
    if is_terminal:
        console.print()
    console.print(grid)
    console.print()
    if not summary.problems:
        icon = "✓" if is_utf else "+"
        console.print(Text(f"{icon} {verdict(summary)}", "bold green"))
    for problem in summary.problems:
        console.print(Text(f"{'✗' if is_utf else 'x'} {problem}", "bold red"))


def verdict(summary: Summary) -> str:
    return (
        f"nothing lost: {summary.expected} of {summary.expected} expected deliveries accounted for, "
        f"{summary.signatures_verified} signatures verified"
    )


def summary_lines(summary: Summary) -> Sequence[Line]:
    """The summary in the order in which it is understood."""
    broken = f"{summary.broken} of them broken on purpose"
    unconfirmed = f", {summary.unconfirmed} more never confirmed" if summary.unconfirmed else ""
    return (
        ("published", str(summary.published), f"confirmed by the broker in {summary.seconds} s, {broken}{unconfirmed}"),
        ("expected", str(summary.expected), "deliveries, by the demo's own reckoning"),
        ("delivered", str(summary.delivered), "taken by the customers' servers"),
        ("retried", str(summary.retried), "of them after at least one refusal"),
        ("pending", str(summary.pending), "still to be tried again"),
        ("failed on purpose", str(summary.failed_as_intended), "to the dead port"),
        ("failed otherwise", str(summary.failed), "exhausted, expired or cancelled"),
        ("dead letters", str(summary.dead_letters), "messages that were not JSON"),
        ("lost", str(summary.lost), "expected, and neither delivered, pending nor visibly ended"),
        ("unexpected", str(summary.unexpected), "deliveries that no webhook asked for"),
        ("duplicates", str(summary.duplicates), "taken before, and sent again"),
        ("signatures", str(summary.signatures_verified), f"verified, {summary.signatures_bad} bad"),
        ("p50", _delay(summary.p50_ms), "from publishing to the first request at the customer"),
        ("p99", _delay(summary.p99_ms), f"the longest took {_delay(summary.max_ms)}"),
        ("router", "-" if summary.router_exit_code is None else str(summary.router_exit_code), "exit code"),
    )


def _delay(milliseconds: float | None) -> str:
    return "-" if milliseconds is None else f"{milliseconds:g} ms"
