"""House rules that import-linter cannot see, read from the syntax tree of every module."""

import ast
import re
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


def mongo_calls() -> list[tuple[str, ast.Call]]:
    """Each call of a method in `adapters/mongo`, and where it is."""
    return [
        (f"{module.name}:{node.lineno}", node)
        for module in (ROUTER / "adapters" / "mongo").rglob("*.py")
        for node in ast.walk(ast.parse(module.read_text()))
        if isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute)
    ]


READS = {"find", "find_one", "count_documents", "distinct", "aggregate", "aggregate_raw_batches", "find_raw_batches"}


def test_every_read_of_the_store_has_an_end() -> None:
    """The server gives up by itself: `tests/integration/test_bounded_reads.py` hears it for the API's reads."""
    reads = [(place, call) for place, call in mongo_calls() if getattr(call.func, "attr", "") in READS]
    endless = [
        place
        for place, call in reads
        if not {keyword.arg for keyword in call.keywords} & {"max_time_ms", "maxTimeMS"}
        and ast.unparse(call.func) != "self._database.aggregate"  # the seam, which gives it
    ]
    assert len(reads) > 10
    assert endless == []


# A pattern or a program from outside could run for as long as it likes.
SERVER_SIDE_CODE = {"$regex", "$regexFind", "$regexMatch", "$where", "$function", "$accumulator", "$expr", "$text"}


def test_no_query_holds_a_pattern_or_a_program() -> None:
    words = {
        node.value: str(module)
        for module in ROUTER.rglob("*.py")
        for node in ast.walk(ast.parse(module.read_text()))
        if isinstance(node, ast.Constant) and isinstance(node.value, str)
    }
    assert "$match" in words
    assert {word: words[word] for word in SERVER_SIDE_CODE & set(words)} == {}


CONSOLE = ROUTER / "web" / "console"
# What would let text of strangers through as markup, and what the console's own policy forbids.
UNSAFE_IN_TEMPLATES = {
    "a value that is not escaped": r"\|\s*safe\b|autoescape",
    "a script or a style in the page": r"<style|\sstyle=|\son[a-z]+=|javascript:|<script(?![^>]* src=)",
    "something of another host": r"(?:src|href|action)=\"(?:https?:)?//",
}


@pytest.mark.parametrize("kind", UNSAFE_IN_TEMPLATES)
def test_no_template_lets_in(kind: str) -> None:
    templates = {path: path.read_text(encoding="utf-8") for path in (CONSOLE / "templates").rglob("*.html")}
    assert len(templates) > 10
    found = {path.name: re.findall(UNSAFE_IN_TEMPLATES[kind], text) for path, text in templates.items()}
    assert {name: hits for name, hits in found.items() if hits} == {}


def test_text_becomes_markup_in_three_places_only() -> None:
    """Icons of our own, marks around what is invisible, and colours; each of them escapes what it is given."""
    makers = {path.name for path in CONSOLE.rglob("*.py") if re.search(r"\bMarkup\(", path.read_text(encoding="utf-8"))}
    assert makers == {"highlight.py", "icons.py", "visible.py"}
