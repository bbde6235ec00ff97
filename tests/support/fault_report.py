"""Rows of the fault suite: written to files while tests run, joined into the table of a page at the end.

A row is what one fault cost. Touches the directory of rows and the page that it is told.
"""

from __future__ import annotations

import json
import os
import platform
import re
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from importlib.metadata import version
from pathlib import Path
from typing import Final

BEGIN: Final = "<!-- measured: begin -->"
END: Final = "<!-- measured: end -->"


@dataclass(frozen=True, slots=True, kw_only=True)
class Row:
    """One fault and what was measured. `recovered` says what `recover_seconds` runs to; it begins with the healing."""

    number: float
    """In the list of faults; several tests may share one."""
    fault: str
    events: int
    deliveries: int
    lost: int
    duplicates: int
    duplicates_allowed: int
    dead_letters: int
    recover_seconds: float | None
    recovered: str
    test: str


def write_row(directory: Path, row: Row) -> None:
    name = re.sub(r"\W+", "-", row.test)
    (directory / f"{name}.row.json").write_text(json.dumps(asdict(row)), encoding="utf-8")


def write_versions(directory: Path, **versions: str) -> None:
    """Remember the version of a server; every process of the run says the same."""
    for name, text in versions.items():
        (directory / f"{name}.version").write_text(text, encoding="utf-8")


def read_rows(directory: Path) -> list[Row]:
    """In the order of the list of faults."""
    rows = [Row(**json.loads(file.read_text(encoding="utf-8"))) for file in directory.glob("*.row.json")]
    return sorted(rows, key=lambda row: (row.number, row.fault))


def read_versions(directory: Path) -> dict[str, str]:
    return {file.stem: file.read_text(encoding="utf-8") for file in sorted(directory.glob("*.version"))}


def table(rows: Sequence[Row]) -> str:
    """Markdown, one line per row and one of sums."""
    head = (
        "| # | fault | events | deliveries | dead letters | lost | duplicates | allowed | recovered after |\n"
        "|--:|---|--:|--:|--:|--:|--:|--:|---|"
    )
    sums = (
        f"| | **{len(rows)} faults** | {sum(row.events for row in rows)} | {sum(row.deliveries for row in rows)} "
        f"| {sum(row.dead_letters for row in rows)} | **{sum(row.lost for row in rows)}** "
        f"| {sum(row.duplicates for row in rows)} | {sum(row.duplicates_allowed for row in rows)} | |"
    )
    return "\n".join([head, *map(_line, rows), sums])


def _line(row: Row) -> str:
    recovered = "–" if row.recover_seconds is None else f"{row.recover_seconds:.1f} s: {row.recovered}"
    duplicates = f"**{row.duplicates}**" if row.duplicates > row.duplicates_allowed else row.duplicates
    return (
        f"| {row.number:g} | {row.fault} | {row.events} | {row.deliveries} | {row.dead_letters} | {row.lost} "
        f"| {duplicates} | {row.duplicates_allowed} | {recovered} |"
    )


def report(rows: Sequence[Row], versions: Mapping[str, str], *, command: str, minutes: float) -> str:
    """What stands between the markers."""
    cores = len(os.sched_getaffinity(0))
    machine = ", ".join([
        f"{cores} cores",
        f"Python {platform.python_version()}",
        *(f"{name} {text}" for name, text in versions.items()),
        *(f"{name} {version(name)}" for name in ("aio-pika", "motor", "pymongo", "aiohttp")),
    ])  # fmt: skip
    return f"Measured by `{command}` in {minutes:.0f} min on {machine}.\n\n{table(rows)}"


def put_between_markers(page: Path, text: str) -> None:
    """Replace what stands between the markers; what comes before and after stays. Fails where they are missing."""
    before, begin, rest = page.read_text(encoding="utf-8").partition(BEGIN)
    _, end, after = rest.partition(END)
    assert all((begin, end)), f"{page} has not both markers"
    page.write_text(f"{before}{begin}\n{text}\n{end}{after}", encoding="utf-8")
