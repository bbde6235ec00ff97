"""The documentation names everything that there is, and nothing that there is not."""

from __future__ import annotations

import ast
import re
import shlex
import tomllib
from collections.abc import Iterator
from functools import cache
from itertools import chain
from pathlib import Path
from typing import Any

import click
import pytest
import yaml
from prometheus_client.metrics import MetricWrapperBase

from router.cli.app import cli
from router.domain.announcement import AnnouncementKey, RecoveredFrom
from router.domain.audit import AuditAction
from router.domain.delivery import AttemptError, DeliveryReason, DeliveryStatus
from router.domain.matching import Verdict
from router.domain.webhook import SuspensionReason, WebhookState
from router.settings import Settings
from router.settings.schema import known_keys
from router.telemetry.metrics import Metrics
from router.web.api.catalogue import ENDPOINTS
from tests.support.snippets import PAGES, ROOT

DECISIONS = sorted((ROOT / "docs" / "decisions").glob("[0-9]*.md"))
OPERATIONS = (ROOT / "docs" / "operations.md").read_text(encoding="utf-8")
HEADINGS = ["Context", "Choice", "Rejected", "What would change our mind"]
LOG_METHODS = {"debug", "info", "warning", "error", "exception", "critical"}
PROBES = ("GET /openapi.json", "GET /livez", "GET /readyz", "GET /metrics")

pages = pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))


@cache
def text(page: Path) -> str:
    return page.read_text(encoding="utf-8")


def prose(page: Path) -> str:
    """A page without its code blocks."""
    return re.sub(r"(?ms)^```.*?^```$", "", text(page))


def everything() -> str:
    return "\n".join(map(text, PAGES))


# --- settings --------------------------------------------------------------------------------------


def keys_in(node: object, prefix: str = "") -> set[str]:
    if isinstance(node, list):
        return {key for item in node for key in keys_in(item, prefix)}
    if not isinstance(node, dict):
        return set()
    inside = (keys_in(inner, f"{prefix}{name}.") for name, inner in node.items())
    return {prefix + name for name in node}.union(*inside)


def test_every_setting_is_documented() -> None:
    reference = (ROOT / "config" / "router.toml").read_text(encoding="utf-8")
    explained = keys_in(tomllib.loads(re.sub(r"(?m)^#(?=[^\s#])", "", reference)))
    assert [key for key in known_keys(Settings) if key not in explained and f"`{key}`" not in everything()] == []


@pages
def test_settings_that_are_named_exist(page: Path) -> None:
    sections = "|".join(Settings.model_fields)
    named = re.findall(rf"`((?:{sections})\.[a-z_]+(?:\.[a-z_]+)*)`", prose(page))
    # Some operational events and actions have names like a setting's.
    known = {*known_keys(Settings), *AnnouncementKey, *AuditAction}
    assert [key for key in named if key not in known] == []


# --- metrics and log -------------------------------------------------------------------------------


def metrics() -> Iterator[tuple[str, str]]:
    """Each metric as it is scraped, and its type."""
    for family in Metrics("1").registry.collect():
        yield family.name + ("_total" if family.type == "counter" else ""), family.type


@pytest.mark.parametrize(("name", "kind"), list(metrics()))
def test_every_metric_is_in_the_table(name: str, kind: str) -> None:
    assert re.search(rf"(?m)^\| `{name}` \| {kind} \|", OPERATIONS), f"{name} is missing in docs/operations.md"


def test_labels_of_metrics_are_in_the_table() -> None:
    for metric in vars(Metrics("1")).values():
        if isinstance(metric, MetricWrapperBase):
            (row,) = re.findall(rf"(?m)^\| `{metric._name}(?:_total)?` \|.*$", OPERATIONS)
            assert re.findall(r"`(\w+)`", row.split("|")[3]) == list(metric._labelnames), row


@pages
def test_metrics_that_are_named_exist(page: Path) -> None:
    known = {name for name, _ in metrics()}
    named = re.findall(r"\bwebhook_router_[a-z_]+[a-z]\b", re.sub(r"webhook_router_demo", "", text(page)))
    assert set(named) <= known


def log_events() -> dict[str, str]:
    """Each event of our log, and the module that writes it."""
    found: dict[str, str] = {}
    for module in (ROOT / "router").rglob("*.py"):
        for node in ast.walk(ast.parse(module.read_text(encoding="utf-8"))):
            match node:
                case ast.Call(
                    func=ast.Attribute(value=ast.Name(id="log"), attr=level), args=[ast.Constant(value=str(event)), *_]
                ) if level in LOG_METHODS:
                    found[event] = str(module.relative_to(ROOT))
    return found


def test_every_log_event_is_in_the_table() -> None:
    (table,) = re.findall(r"(?ms)^## Log events$(.*?)^## ", OPERATIONS)
    described = {event for row in re.findall(r"(?m)^\| (`.*?) \|", table) for event in re.findall(r"`(\w+)`", row)}
    assert described == set(log_events()), log_events()


# --- the API and the command line ------------------------------------------------------------------


def routes() -> list[str]:
    return [*(f"{endpoint.method} {endpoint.path}" for endpoint in ENDPOINTS), *PROBES]


@pytest.mark.parametrize("route", routes())
def test_every_route_is_in_the_table(route: str) -> None:
    assert f"| `{route}` |" in text(ROOT / "docs" / "api.md")


@pages
def test_routes_that_are_named_exist(page: Path) -> None:
    named = re.findall(r"`((?:GET|PUT|POST|PATCH|DELETE) /[^\s`?]*)", prose(page))
    paths = {re.sub(r"{\w+}", "*", route) for route in routes()}
    assert [route for route in named if re.sub(r"{\w+}", "*", route) not in paths] == []


def leaves(group: click.Group, words: tuple[str, ...] = ()) -> Iterator[tuple[tuple[str, ...], click.Command]]:
    for name, command in group.commands.items():
        if isinstance(command, click.Group):
            yield from leaves(command, (*words, name))
        else:
            yield (*words, name), command


COMMANDS = dict(leaves(cli))


@pytest.mark.parametrize("words", COMMANDS, ids=" ".join)
def test_every_command_is_documented(words: tuple[str, ...]) -> None:
    assert re.search(rf"`(?:webhook-router )?{' '.join(words)}\b", OPERATIONS)


def named_commands(page: Path) -> Iterator[list[str]]:
    """Commands of ours in the sentences of a page, as words after `webhook-router`. Its code: test_docs_commands.py."""
    for line in re.findall(r"`webhook-router ([^`]*)`", prose(page)):
        yield shlex.split(re.split(r" [|>]", line)[0])


@pages
def test_commands_that_are_named_exist_with_their_options(page: Path) -> None:
    for words in named_commands(page):
        if words[0].startswith("-"):
            continue
        command: click.Command = cli
        while isinstance(command, click.Group) and words and words[0] in command.commands:
            command = command.commands[words.pop(0)]
        assert not isinstance(command, click.Group), words
        known = {option for param in command.params for option in param.opts} | {"--help", "--config"}
        assert {word for word in words if word.startswith("--")} <= known, words


# --- words with one meaning ------------------------------------------------------------------------


@pytest.mark.parametrize(
    "kind",
    [
        AnnouncementKey,
        AttemptError,
        AuditAction,
        DeliveryReason,
        DeliveryStatus,
        RecoveredFrom,
        SuspensionReason,
        Verdict,
        WebhookState,
    ],
)
def test_every_word_that_people_meet_is_explained(kind: Any) -> None:
    assert [word.value for word in kind if f"`{word.value}`" not in everything()] == []


def test_every_dependency_has_its_reason() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    requirements = [*project["dependencies"], *chain(*project["optional-dependencies"].values())]
    (page,) = (ROOT / "docs" / "decisions").glob("*-dependencies.md")
    tables = "\n".join(line.split("|")[1] for line in text(page).splitlines() if line.startswith("| "))
    named = set(re.findall(r"[a-z0-9-]+", tables))
    assert {re.split(r"[\[<>=!~; ]", each)[0] for each in requirements} <= named


# --- pages -----------------------------------------------------------------------------------------


def anchors(page: Path) -> set[str]:
    """The anchors of a page's headings, as GitHub makes them."""
    titles = re.findall(r"(?m)^#+ (.*)$", prose(page))
    return {re.sub(r"[^\w\- ]", "", title.lower()).replace(" ", "-") for title in titles}


@pages
def test_links_resolve(page: Path) -> None:
    for target in re.findall(r"\]\(([^)\s]+)\)", prose(page)):
        if target.startswith(("https://", "mailto:")):
            continue
        path, _, anchor = target.partition("#")
        file = (page.parent / path).resolve() if path else page
        assert file.exists(), target
        assert not anchor or anchor in anchors(file), target


@pages
def test_files_that_are_named_exist(page: Path) -> None:
    named = re.findall(r"`((?:router|tests|config|docs|examples|requirements|scripts|bench)/[\w./-]*\w)/?`", text(page))
    assert [path for path in named if not (ROOT / path).exists()] == []


def test_bounds_are_where_the_table_says() -> None:
    architecture = text(ROOT / "docs" / "architecture.md")
    (table,) = re.findall(r"(?ms)^## What is bounded, and by what$(.*?)^## ", architecture)
    for row in re.findall(r"(?m)^\| .*`router/.*$", table):
        names, files = row.split("|")[-3:-1]
        source = "\n".join((ROOT / path).read_text(encoding="utf-8") for path in re.findall(r"`(router/[^`]+)`", files))
        for name in re.findall(r"`([A-Z][A-Z_]+)`", names):
            assert re.search(rf"(?m)^{name}\b", source), row


def nav(entries: list[Any]) -> Iterator[str]:
    for entry in entries:
        if isinstance(entry, str):
            yield entry
        for value in entry.values() if isinstance(entry, dict) else ():
            yield from nav([value] if isinstance(value, str) else value)


def test_every_page_is_in_the_navigation_of_the_site_once() -> None:
    listed = sorted(nav(yaml.safe_load(text(ROOT / "mkdocs.yml"))["nav"]))
    docs = ROOT / "docs"
    pages = {page.relative_to(docs).as_posix() for page in docs.rglob("*.md") if page not in DECISIONS}
    assert listed == sorted(pages | {"decisions/*"}), "mkdocs.yml, nav: add the page to the group of its readers"


@pytest.mark.parametrize("page", DECISIONS, ids=lambda page: page.stem)
def test_decision_has_its_four_headings_and_one_page(page: Path) -> None:
    assert re.findall(r"(?m)^## (.*)$", prose(page)) == HEADINGS
    assert re.match(rf"# {page.name[:4]} \S", text(page))
    assert len(text(page).splitlines()) <= 100


def test_decisions_are_numbered_and_listed() -> None:
    assert [int(page.name[:4]) for page in DECISIONS] == list(range(1, len(DECISIONS) + 1))
    listed = re.findall(r"\((\d{4}-[\w-]+\.md)\)", text(ROOT / "docs" / "decisions" / "README.md"))
    assert listed == [page.name for page in DECISIONS]


FORBIDDEN = {
    "a path of one machine": r"/(?:work|root|home|Users)/",
    "a host of a registry": r"\b(?:pypi\.org|pythonhosted|registry\.npmjs|deb\.debian)",
    "marketing": r"(?i)\b(?:blazing|seamless|world-class|enterprise-grade|cutting-edge|effortless|state-of-the-art)",
    "an unfinished sentence": r"\b(?:TODO|FIXME|XXX|TBD)\b",
}


@pages
@pytest.mark.parametrize("kind", FORBIDDEN)
def test_pages_hold_nothing_that_does_not_belong_there(page: Path, kind: str) -> None:
    assert re.findall(FORBIDDEN[kind], text(page)) == []
