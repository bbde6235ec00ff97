"""Draws panels of a dashboard as SVG: lines, stacked areas, last values. Values in, text out; touches nothing."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from html import escape
from math import ceil, floor, log10
from typing import Final

CELL: Final = (50, 29)
"""Pixels of one of the grid's columns, and of one of its rows."""
COLOURS: Final = ("#0072b2", "#e69f00", "#009e73", "#d55e00", "#cc79a7", "#56b4e9", "#8a6d00", "#5c5c5c", "#b22222")
"""Okabe and Ito's, which most eyes can tell apart."""
_INK, _FAINT, _LINE, _PAPER = "#24292f", "#6a737d", "#e3e6ea", "#ffffff"
_TEXT = f'font-family="sans-serif" font-size="11" fill="{_INK}"'
_LEGEND_LINE: Final = 15
_MIB: Final = 2**20


@dataclass(frozen=True, slots=True)
class Series:
    """`points` are seconds since the beginning, and a value; where there was none, there is no point."""

    name: str
    points: Sequence[tuple[float, float]]


@dataclass(frozen=True, slots=True, kw_only=True)
class Plot:
    """A panel with its data. `x`, `y`, `width` and `height` are cells of the grid."""

    title: str
    unit: str
    x: int
    y: int
    width: int
    height: int
    series: Sequence[Series]
    stat: bool = False
    stacked: bool = False
    colour: str = "green"


def picture(title: str, note: str, rows: Sequence[tuple[str, int]], plots: Sequence[Plot], seconds: float) -> str:
    """The whole dashboard; `rows` are titles with the line of the grid that they are at."""
    width, height = 24 * CELL[0] + 20, (max(plot.y + plot.height for plot in plots) + 2) * CELL[1] + 40
    parts = [
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {width} {height}" {_TEXT}>',
        f"<title>{escape(title)}</title>",
        f'<rect width="{width}" height="{height}" fill="#f4f5f7"/>',
        f'<text x="12" y="25" font-size="17" font-weight="bold">{escape(title)}</text>',
        f'<text x="{width - 12}" y="25" fill="{_FAINT}" text-anchor="end">{escape(note)}</text>',
    ]
    for text, line in rows:
        parts.append(f'<text x="14" y="{line * CELL[1] + 62}" font-size="13" font-weight="bold">{escape(text)}</text>')
    for plot in plots:
        parts.append(f'<g transform="translate({plot.x * CELL[0] + 10},{plot.y * CELL[1] + 42})">')
        parts.extend(_card(plot, seconds))
        parts.append("</g>")
    return "\n".join([*parts, "</svg>"]) + "\n"


def _card(plot: Plot, seconds: float) -> list[str]:
    width, height = plot.width * CELL[0] - 8, plot.height * CELL[1] - 8
    parts = [
        f'<rect width="{width}" height="{height}" rx="4" fill="{_PAPER}" stroke="{_LINE}"/>',
        f'<text x="10" y="18" font-weight="bold">{escape(plot.title)}</text>',
    ]
    if plot.stat:
        return parts + _stat(plot, width, height)
    return parts + _chart(plot, width, height, seconds)


def _stat(plot: Plot, width: int, height: int) -> list[str]:
    points = plot.series[0].points if plot.series else ()
    text = formatted(points[-1][1], plot.unit) if points else "no data"
    colour = {"green": "#1a7f37", "red": "#b22222"}[plot.colour] if points else _FAINT
    return [
        f'<text x="{width / 2}" y="{height / 2 + 22}" font-size="30" text-anchor="middle" fill="{colour}">{text}</text>'
    ]


def _chart(plot: Plot, width: int, height: int, seconds: float) -> list[str]:
    legend = _legend(plot, width)
    left, top, right, bottom = 54, 30, width - 12, height - 30 - len(legend) * _LEGEND_LINE
    highest = max((value for line in _drawn(plot) for _, value in line.points), default=0) or 1
    scale = _MIB if plot.unit == "bytes" else 1
    ceiling = max(1.0, highest) if plot.unit == "percentunit" else _nice(highest / scale) * scale

    def at(second: float, value: float) -> str:
        return f"{left + (right - left) * second / seconds:.1f},{bottom - (bottom - top) * value / ceiling:.1f}"

    parts = []
    for step in range(5):
        y = bottom - (bottom - top) * step / 4
        parts.append(f'<path d="M{left} {y:.1f}H{right}" stroke="{_LINE}"/>')
        text = formatted(ceiling * step / 4, plot.unit)
        parts.append(f'<text x="{left - 6}" y="{y + 4:.1f}" text-anchor="end" fill="{_FAINT}">{text}</text>')
    for minute in range(0, int(seconds // 60) + 1, max(1, ceil(seconds / 60 / 6))):
        x = left + (right - left) * minute * 60 / seconds
        anchor = "end" if x > right - 20 else "middle"
        parts.append(f'<text x="{x:.1f}" y="{bottom + 15}" text-anchor="{anchor}" fill="{_FAINT}">{minute} min</text>')
    # The tallest area first, so that those below it stay to be seen.
    for number, line in reversed(list(enumerate(_drawn(plot)))):
        colour = COLOURS[number % len(COLOURS)]
        path = " ".join(at(second, value) for second, value in line.points)
        if line.points and plot.stacked:
            (first, _), (last, _) = line.points[0], line.points[-1]
            area = f"{at(first, 0)} {path} {at(last, 0)}"
            parts.append(f'<polygon points="{area}" fill="{colour}" stroke="#ffffff" stroke-width=".5"/>')
        else:
            parts.append(f'<polyline points="{path}" fill="none" stroke="{colour}" stroke-width="1.5"/>')
    if not any(line.points for line in plot.series):
        middle = f'x="{(left + right) / 2}" y="{(top + bottom) / 2}"'
        parts.append(f'<text {middle} text-anchor="middle" fill="{_FAINT}">nothing of it in this run</text>')
    y = bottom + 32
    for line_of_legend in legend:
        for x, colour, text in line_of_legend:
            parts.append(f'<rect x="{x}" y="{y - 7}" width="10" height="3" fill="{colour}"/>')
            parts.append(f'<text x="{x + 14}" y="{y - 2}">{escape(text)}</text>')
        y += _LEGEND_LINE
    return parts


def _drawn(plot: Plot) -> list[Series]:
    """The lines as they are drawn: of a stacked panel each on top of those before it."""
    if not plot.stacked:
        return list(plot.series)
    height: dict[float, float] = {}
    drawn = []
    for line in plot.series:
        for second, value in line.points:
            height[second] = height.get(second, 0) + value
        drawn.append(Series(line.name, [(second, height[second]) for second, _ in line.points]))
    return drawn


def _legend(plot: Plot, width: int) -> list[list[tuple[float, str, str]]]:
    """Lines of entries: place, colour and text, with the last value."""
    lines: list[list[tuple[float, str, str]]] = []
    x = float(width)
    for number, line in enumerate(plot.series):
        text = line.name + (f"  {formatted(line.points[-1][1], plot.unit)}" if line.points else "")
        room = 30 + 6.2 * len(text)
        if x + room > width - 6:
            lines.append([])
            x = 12
        lines[-1].append((x, COLOURS[number % len(COLOURS)], text))
        x += room
    return lines


def _nice(value: float) -> float:
    """The next of 1, 2, 4 or 8 times a power of ten: four equal parts of it are round."""
    power = 10 ** floor(log10(value))
    return float(next(step * power for step in (1, 2, 4, 8, 10) if step * power >= value * 0.999))


def formatted(value: float, unit: str) -> str:
    """A value as Grafana shows it."""
    if unit == "percentunit":
        return f"{value * 100:.3g} %"
    if unit == "s":
        return f"{value * 1000:.3g} ms" if 0 < value < 1 else f"{value:.3g} s"
    if unit == "bytes":
        return f"{value / _MIB:.4g} MiB"
    return f"{value:.3g}" + (" /s" if unit == "ops" else "")
