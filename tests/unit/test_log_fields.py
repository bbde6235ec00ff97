"""The log speaks one closed language: every field that a call of ours uses is listed, used and documented."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from pathlib import Path

import pytest

from router.telemetry.fields import ALWAYS, FIELDS, OTHERS, WIDE
from router.telemetry.pace import Pace
from tests.support.router_process import unknown_fields

ROOT = Path(__file__).parents[2]
LOG_METHODS = {"debug", "info", "warning", "error", "exception", "critical"}
MODULES = {module: ast.parse(module.read_text("utf-8")) for module in (ROOT / "router").rglob("*.py")}


def functions() -> dict[str, ast.FunctionDef | ast.AsyncFunctionDef]:
    nodes = (node for tree in MODULES.values() for node in ast.walk(tree))
    return {node.name: node for node in nodes if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef)}


FUNCTIONS = functions()


def keys_in(node: ast.AST) -> set[str]:
    """The keys of every dict literal below a node."""
    dicts = (inner for inner in ast.walk(node) if isinstance(inner, ast.Dict))
    return {
        key.value
        for found in dicts
        for key in found.keys
        if isinstance(key, ast.Constant) and isinstance(key.value, str)
    }


def unpacked(value: ast.expr, inside: ast.AST) -> set[str]:
    """The fields of `**value`: what a function of ours returns, or a dict of the function that the call is in."""
    if isinstance(value, ast.Call):
        name = value.func.attr if isinstance(value.func, ast.Attribute) else ast.unparse(value.func)
        return keys_in(FUNCTIONS[name])
    return keys_in(inside)


def fields_used() -> Iterator[tuple[str, str]]:
    """Each field with the place of a call that uses it."""
    for module, tree in MODULES.items():
        for function in ast.walk(tree):
            if not isinstance(function, ast.FunctionDef | ast.AsyncFunctionDef):
                continue
            for call in ast.walk(function):
                match call:
                    case ast.Call(
                        func=ast.Attribute(value=ast.Name(id="log"), attr=level), args=[ast.Constant(), *_]
                    ) if level in LOG_METHODS:
                        for keyword in call.keywords:
                            names = {keyword.arg} if keyword.arg else unpacked(keyword.value, function)
                            for name in names:
                                yield name or "", f"{module.name}:{call.lineno}"


USED = dict(fields_used())


def test_every_field_that_is_used_is_in_the_list() -> None:
    # A traceback is handed over as `exc_info`, and written as `exception`.
    strange = {field: place for field, place in USED.items() if field not in FIELDS and field != "exc_info"}
    assert strange == {}, "add it to router/telemetry/fields.py, or use the name that is there"


def test_every_field_in_the_list_is_used() -> None:
    assert {*WIDE, *OTHERS} - USED.keys() == {"exception"}


def test_a_field_is_in_one_group() -> None:
    assert len(FIELDS) == len(ALWAYS) + len(WIDE) + len(OTHERS)


def test_every_field_is_in_the_table_with_its_meaning() -> None:
    page = (ROOT / "docs" / "telemetry.md").read_text("utf-8")
    (section,) = re.findall(r"(?ms)^## Log fields$(.*?)^## ", page)
    rows = dict(re.findall(r"(?m)^\| `(\w+)` \| (.+) \|$", section))
    assert rows == FIELDS


def test_a_line_with_an_unknown_field_is_noticed_in_a_running_router() -> None:
    line = '{"ts":"2031-01-01T12:00:00.000Z","level":"info","event":"attempt","webhok_id":"wh_1"}'
    assert unknown_fields(f"a library's own words\n{line}\n") == {"webhok_id"}


# --- lines a second --------------------------------------------------------------------------------


def test_lines_beyond_the_rate_are_left_out_and_counted_in_the_next_one() -> None:
    now, suppressed = [10.0], []
    pace = Pace(2, on_suppressed=lambda: suppressed.append(now[0]), now=lambda: now[0])

    first = [pace.admit() for _ in range(5)]
    now[0] = 11.2
    second = [pace.admit() for _ in range(2)]

    assert first == [0, 0, None, None, None]
    assert second == [3, 0]
    assert suppressed == [10.0] * 3


@pytest.mark.parametrize("rate", [1, 500])
def test_exactly_the_rate_is_written(rate: int) -> None:
    pace = Pace(rate, now=lambda: 1.0)
    assert [pace.admit() for _ in range(rate + 1)] == [0] * rate + [None]
