"""House rules that import-linter cannot see, read from the syntax tree of every module."""

import ast
from collections.abc import Callable
from pathlib import Path

import pytest

ROUTER = Path(__file__).parents[2] / "router"

# aiohttp is a client and a server in one package, so the rooms are told apart by module.
SERVER_SIDE = {"aiohttp.web", "aiohttp.hdrs", "aiohttp.typedefs"}


def aiohttp_imports(source: str) -> set[str]:
    """The modules and names of aiohttp that `source` imports, dotted."""
    found: set[str] = set()
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module is not None:
            found |= {f"{node.module}.{alias.name}" for alias in node.names}
    return {name for name in found if name.partition(".")[0] == "aiohttp"}


def is_server_side(name: str) -> bool:
    return any(name == module or name.startswith((f"{module}.", f"{module}_")) for module in SERVER_SIDE)


def offenders(room: str, is_forbidden: Callable[[str], bool]) -> dict[str, list[str]]:
    """The modules of `room` that import what they must not, each with those imports."""
    imports = {module: aiohttp_imports(module.read_text()) for module in (ROUTER / room).rglob("*.py")}
    assert imports, f"router/{room} is empty: has the room moved?"
    return {str(module): bad for module, names in imports.items() if (bad := sorted(filter(is_forbidden, names)))}


@pytest.mark.parametrize(
    ("source", "expected"),
    [
        ("from aiohttp import web", {True}),
        ("from aiohttp.web import Application", {True}),
        ("from aiohttp.web_exceptions import HTTPFound", {True}),
        ("from aiohttp import web, ClientSession", {True, False}),
        ("def f():\n    import aiohttp", {False}),
        ("from aiohttp.client import ClientSession", {False}),
        ("import aiohttp_jinja2", set()),
    ],
)
def test_the_rule_tells_server_from_client(source: str, expected: set[bool]) -> None:
    assert {is_server_side(name) for name in aiohttp_imports(source)} == expected


def test_web_has_no_http_client() -> None:
    assert offenders("web", lambda name: not is_server_side(name)) == {}


def test_the_sending_side_has_no_http_server() -> None:
    assert offenders("adapters/http", lambda name: name.startswith("aiohttp.web")) == {}


def test_every_module_opens_with_its_room_card() -> None:
    silent = [module for module in ROUTER.rglob("*.py") if not ast.get_docstring(ast.parse(module.read_text()))]
    assert silent == [], "say what the module decides or does, and what it touches"
