"""The demo's live screen: a progress bar, the counts, and the latest tries, fitted to the terminal. Writes to it only.

What was said before stays above the live part, so that it can be read and copied while it runs.
"""

from __future__ import annotations

import asyncio
import sys
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Final

from rich.console import Console, Group, RenderableType
from rich.live import Live
from rich.progress_bar import ProgressBar
from rich.status import Status
from rich.table import Table
from rich.text import Text

from router.demo.board import Board, Figures, Mark, Row
from router.demo.screen import LineScreen, Screen

WIDE: Final = 96
"""Columns of a terminal that has room for everything."""
MEDIUM: Final = 68
_TILE_WIDTH: Final = 13
_MIN_ROWS: Final = 6
_LATE_SECONDS: Final = 0.25
_STEP_NAME_WIDTH: Final = 9

_STYLES: Final[Mapping[Mark, str]] = {
    Mark.GOOD: "green",
    Mark.AGAIN: "yellow",
    Mark.BAD: "red",
    Mark.ODD: "magenta",
}
_ICONS: Final[Mapping[Mark, str]] = {Mark.GOOD: "✓", Mark.AGAIN: "↻", Mark.BAD: "✗", Mark.ODD: "⊘"}
_ASCII_ICONS: Final[Mapping[Mark, str]] = {Mark.GOOD: "+", Mark.AGAIN: "~", Mark.BAD: "x", Mark.ODD: "!"}


def choose_screen(*, as_json: bool) -> Screen:
    """The terminal that stderr or stdout is, else lines on stderr. With `as_json` stdout belongs to the JSON."""
    for stream in (sys.stderr,) if as_json else (sys.stderr, sys.stdout):
        console = Console(file=stream, highlight=False, markup=False, emoji=False)
        if stream.isatty() and not console.is_dumb_terminal:
            return TerminalScreen(console)
    return LineScreen(sys.stderr)


class TerminalScreen:
    """See the module."""

    def __init__(self, console: Console) -> None:
        self._console = console
        self._icons = _ICONS if console.encoding.startswith("utf") else _ASCII_ICONS
        self._board: Board | None = None
        self._live: Live | None = None
        self._status: Status | None = None
        self._lines_above = 0

    # --- what stays ---

    def title(self, text: str) -> None:
        self._print(Text.assemble(("webhook-router ", "bold"), text))

    def step(self, name: str, text: str, *, paste: Sequence[str] = ()) -> None:
        grid = Table.grid(padding=(0, 1))
        grid.add_column(width=1)
        grid.add_column(width=_STEP_NAME_WIDTH, no_wrap=True)
        grid.add_column(overflow="fold")
        grid.add_row(Text(self._icons[Mark.GOOD], "green"), Text(name, "bold"), Text(text))
        self._print(grid)
        for line in paste:
            # Not wrapped by us: a line that the terminal wraps is copied as one.
            self._console.print(Text(f"  {line}", "cyan"), soft_wrap=True)
            self._lines_above += 1 + (len(line) + 1) // max(1, self._console.width)

    @contextmanager
    def busy(self, text: str) -> Iterator[None]:
        self._status = self._console.status(Text(text), spinner="dots" if self._icons is _ICONS else "line")
        self._status.start()
        try:
            yield
        finally:
            self._status.stop()

    def _print(self, what: RenderableType) -> None:
        self._lines_above += len(self._console.render_lines(what))
        self._console.print(what)

    # --- what moves ---

    def open(self, board: Board) -> None:
        self._board = board
        self._live = Live(
            console=self._console,
            auto_refresh=False,
            transient=True,
            redirect_stdout=False,
            redirect_stderr=False,
            vertical_overflow="crop",
        )
        self._live.start()

    async def refresh(self) -> None:
        if self._live is not None and self._board is not None:
            frame = self._frame(self._board)
            # Drawing takes some 10 ms; the customers' servers are in this event loop, and their clock runs.
            await asyncio.to_thread(self._live.update, frame, refresh=True)

    def close(self) -> None:
        live, self._live = self._live, None
        if live is not None:
            live.stop()
        if self._status is not None:
            self._status.stop()

    def _frame(self, board: Board) -> RenderableType:
        width, height = self._console.size
        tiles = Group(_tiles(board.figures(), columns=max(2, min(7, width // _TILE_WIDTH))), Text())
        head = Group(Text(), _progress(board, width), Text())
        taken = len(self._console.render_lines(head)) + 1
        tiles_height = len(self._console.render_lines(tiles))
        has_tiles = height - taken - tiles_height > _MIN_ROWS
        # The last line is the cursor's. What was said before is kept in sight where there is room for it.
        room = height - 1 - taken - (tiles_height if has_tiles else 0)
        rows = list(board.rows)[: max(0, room - self._lines_above, min(_MIN_ROWS, room))]
        return Group(head, *([tiles] if has_tiles else []), self._table(rows, width))

    def _table(self, rows: Sequence[Row], width: int) -> RenderableType:
        columns = [column for column in _COLUMNS if width >= column.from_width]
        table = Table(box=None, expand=True, pad_edge=False, padding=(0, 1, 0, 0), header_style="dim")
        for column in columns:
            table.add_column(
                column.title,
                width=column.width,
                ratio=None if column.width else column.ratio,
                justify="right" if column.is_number else "left",
                no_wrap=True,
                overflow="ellipsis",
            )
        for row in rows:
            cells = self._cells(row)
            table.add_row(*(cells[column.title] for column in columns))
        return table if rows else Group(table, Text("the first deliveries are on their way", "dim italic"))

    def _cells(self, row: Row) -> dict[str, Text]:
        is_late = row.delay_seconds is not None and row.delay_seconds > _LATE_SECONDS
        style = _STYLES[row.mark]
        return {
            "TIME": Text(f"{row.at:%H:%M:%S}", "dim"),
            "ACCOUNT": Text.assemble((row.account_id, "dim"), " ", row.account_name),
            "WEBHOOK": Text(row.webhook),
            "EVENT": Text(row.event, "cyan" if row.account_id else style),
            "STATUS": Text(f"{self._icons[row.mark]} {row.status}", style),
            "TRY": Text("" if row.nth is None else str(row.nth), "bold yellow" if (row.nth or 1) > 1 else "dim"),
            "DELAY": Text(_duration(row.delay_seconds), "yellow" if is_late else ""),
        }


@dataclass(frozen=True, slots=True, kw_only=True)
class _Column:
    """One column of the table; it is shown on terminals that have `from_width`."""

    title: str
    from_width: int = 0
    width: int | None = None
    ratio: int = 1
    is_number: bool = False


_COLUMNS: Final = (
    _Column(title="TIME", from_width=MEDIUM, width=8),
    _Column(title="ACCOUNT", from_width=WIDE, ratio=22),
    _Column(title="WEBHOOK", from_width=MEDIUM, ratio=15),
    _Column(title="EVENT", ratio=19),
    _Column(title="STATUS", width=20),
    _Column(title="TRY", from_width=MEDIUM, width=3, is_number=True),
    _Column(title="DELAY", width=7, is_number=True),
)


def _progress(board: Board, width: int) -> RenderableType:
    elapsed, total = board.publishing_seconds, board.total_seconds
    grid = Table.grid(expand=True, padding=(0, 2, 0, 0))
    text = Text(board.phase or "publishing", "bold yellow" if board.phase else "bold green", no_wrap=True)
    text.truncate(max(10, width // 2), overflow="ellipsis")
    clock = Text(_clock(elapsed) if total is None else f"{_clock(elapsed)} / {_clock(total)}")
    hint = Text("Ctrl-C ends at once" if board.phase else "Ctrl-C stops", "dim")
    bar = Text() if total is None else ProgressBar(total=total, completed=min(elapsed, total))
    grid.add_column(no_wrap=True)
    grid.add_column(ratio=1)
    grid.add_column(no_wrap=True, justify="right")
    if width < MEDIUM:
        grid.add_row(text, bar, clock)
    else:
        grid.add_column(no_wrap=True, justify="right")
        grid.add_row(text, bar, clock, hint)
    return grid


def _tiles(figures: Figures, *, columns: int) -> RenderableType:
    """Each figure over its name, as many beside each other as `columns`."""
    tiles = [
        ("published", str(figures.published), "bold"),
        ("delivered", str(figures.delivered), "bold green"),
        ("retrying", str(figures.retrying), "bold yellow" if figures.retrying else "dim"),
        ("meant to fail", _count(figures.failed), "bold red" if figures.failed else "dim"),
        ("dead letters", _count(figures.dead_letters), "bold magenta" if figures.dead_letters else "dim"),
        ("p50", _duration(figures.p50_seconds), "bold"),
        ("p99", _duration(figures.p99_seconds), "bold"),
    ]
    grid = Table.grid(expand=True, padding=(0, 1, 0, 0))
    for _ in range(columns):
        grid.add_column(ratio=1, no_wrap=True)
    for start in range(0, len(tiles), columns):
        line = tiles[start : start + columns]
        grid.add_row(*(Text(value, style) for _, value, style in line))
        grid.add_row(*(Text(name, "dim") for name, _, _ in line))
    return grid


def _count(value: int | None) -> str:
    return "…" if value is None else str(value)


def _clock(seconds: float) -> str:
    return f"{int(seconds) // 60}:{int(seconds) % 60:02}"


def _duration(seconds: float | None) -> str:
    if seconds is None:
        return ""
    return f"{seconds * 1000:.0f} ms" if seconds < 1 else f"{seconds:.1f} s"
