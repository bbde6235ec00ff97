"""The tables of the report: one row for each thing that was measured, one column for each figure. Touches nothing."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

FIRST = 22
BETWEEN = 3

Columns = Sequence[tuple[str, str, int]]
"""Heading, name of the figure, and digits after the point."""


def table(title: str, columns: Columns, rows: Mapping[str, Mapping[str, Any]]) -> list[str]:
    """The lines of a table. A figure that a row does not have is left blank; one that is unknown is a dash."""
    cells = [[heading for heading, _, _ in columns]]
    cells += [[_cell(row, name, digits) for _, name, digits in columns] for row in rows.values()]
    widths = [max(len(line[column]) for line in cells) for column in range(len(columns))]
    return [
        (f"{first:{FIRST}}" + "".join(f"{cell:>{width + BETWEEN}}" for cell, width in zip(line, widths, strict=True)))
        .rstrip()
        for first, line in zip([title, *(f"  {name}" for name in rows)], cells, strict=True)
    ]  # fmt: skip


def _cell(row: Mapping[str, Any], name: str, digits: int) -> str:
    if name not in row:
        return ""
    value = row[name]
    return "–" if value is None else value if isinstance(value, str) else f"{value:,.{digits}f}"


def ratios(one: Mapping[str, Any], other: Mapping[str, Any], *names: str) -> dict[str, str]:
    """Figures of one thing by those of another, as cells."""
    return {name: times(ratio(one[name], other[name])) for name in names}


def ratio(one: float, other: float) -> float | None:
    """None where the other is too small to be measured."""
    return round(one / other, 2) if other else None


def times(value: float | None) -> str:
    return "–" if value is None else f"× {value:.2f}" if value < 100 else f"× {value:,.0f}"
