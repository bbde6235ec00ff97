"""Every command line of the documentation could be typed: ours by our own parsers, others by what they name of ours."""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, Final
from urllib.parse import parse_qsl, urlsplit

import click
import jsonschema
import pytest

from bench.simulation.__main__ import arguments
from router.cli.app import cli
from router.web.api.openapi import openapi_document
from tests.support.snippets import PAGES, ROOT, Line, call_of, commands, fences, lines

LINES = [
    line for page in PAGES for fence in fences(page) if fence.language in {"console", "sh"} for line in lines(fence)
]
INLINE: Final = re.compile(r"`((?:curl|journalctl|make|promtool|rabbitmqctl|systemctl) [^`\n]+)`")
OPENAPI: Final[dict[str, Any]] = json.loads(json.dumps(openapi_document()))
PARSED_ONLY: Final[Mapping[str, str]] = {
    ".": "changes the shell that it is typed in",
    "apt": "installs packages of the system",
    "cat": "shows a file of the reader's",
    "cd": "changes the shell that it is typed in",
    "cp": "copies what is to be changed",
    "export": "changes the shell that it is typed in",
    "grep": "reads what came before it",
    "install": "writes into the system's folders",
    "jq": "is no part of this project; what it reads is checked by its producer",
    "kubectl": "needs a cluster; the manifests are checked in test_kubernetes.py",
    "ln": "writes into the system's folders",
    "mv": "moves a file of the reader's",
    "pip": "installs; the steps are tried on paths of their own in test_install.py",
    "promtool": "reads the files that it names in test_prometheus.py",
    "python3": "an example, which runs in test_receiver_examples.py",
    "python3.11": "makes an environment in the system's folders",
    "rabbitmq-plugins": "needs the broker's own rights; the plugin is in use in test_sharded_queues.py",
    "rabbitmq-queues": "looks after a cluster, which there is none of here",
    "rabbitmq-upgrade": "looks after a cluster, which there is none of here",
    "rabbitmqadmin": "needs the management plugin; the same exchange is declared in test_sharded_queues.py",
    "rabbitmqctl": "needs the broker's own rights; the files are tried in test_broker_policies.py",
    "rm": "takes away what an installation made",
    "systemd-sysusers": "changes users; tried on a folder of its own in test_deployables.py",
    "systemd-tmpfiles": "changes folders; tried as above",
    "umask": "changes the shell that it is typed in",
    "userdel": "changes users",
    "vault-of-yours": "stands for a program of the reader's",
}
"""Programs of others: why a line of theirs is read and not run. What they name of ours must be there."""


# --- ours ------------------------------------------------------------------------------------------


def check_router(words: Sequence[str], line: Line) -> None:
    """The command exists, and takes these options and arguments: as click reads them before it runs anything."""
    command: click.Command = cli
    rest = list(words)
    while isinstance(command, click.Group):
        assert rest, "no command"
        assert rest[0] in command.commands, rest[0]
        command = command.commands[rest.pop(0)]
    with command.make_context(command.name, rest, resilient_parsing=False):
        pass


def check_make(words: Sequence[str], line: Line) -> None:
    makefile = (ROOT / "Makefile").read_text("utf-8")
    targets = re.findall(r"(?m)^([a-z]+):", makefile)
    variables = re.findall(r"(?m)^([A-Z]+) \?=", makefile)
    for word in words:
        name, is_variable, _ = word.partition("=")
        assert name in (variables if is_variable else targets), word


def check_python(words: Sequence[str], line: Line) -> None:
    """A module of ours, with options that it has."""
    assert list(words[:2]) == ["-m", "bench.simulation"]
    arguments(words[2:])


# --- the API ---------------------------------------------------------------------------------------


def resolved(schema: Mapping[str, Any]) -> Mapping[str, Any]:
    """A part of the document that may be a reference."""
    found: Any = schema
    while "$ref" in found:
        _, *steps = found["$ref"].split("/")
        found = OPENAPI
        for step in steps:
            found = found[step]
    return dict(found)


def problems(schema: Mapping[str, Any], value: object) -> list[str]:
    validator = jsonschema.Draft202012Validator({**schema, "components": OPENAPI["components"]})
    return [error.message for error in validator.iter_errors(value)]


def operation_of(method: str, path: str) -> Mapping[str, Any]:
    for template, item in OPENAPI["paths"].items():
        if re.fullmatch(re.sub(r"{\w+}", "[^/]+", template), path):
            assert method.lower() in item, f"{method} is not allowed on {template}"
            return dict(item[method.lower()])
    raise AssertionError(f"no route is {path}")


def check_curl(words: Sequence[str], line: Line) -> None:
    """The route exists with this method and these parameters; schemas take the body, and the answer that is shown."""
    call = call_of(list(words))
    address = urlsplit(call.address)

    operation = operation_of(call.method, address.path)

    known = {parameter["name"] for parameter in operation.get("parameters", []) if parameter["in"] == "query"}
    for name, _ in parse_qsl(address.query, keep_blank_values=True):
        assert name in known or f'"field":"{name}"' in line.output, f"{name} is no parameter, and the page shows no 400"
    if call.body is not None:
        content = operation["requestBody"]["content"]["application/json"]
        assert problems(content["schema"], json.loads(call.body)) == []
    is_whole = re.search(r"\| *(?!jq \.)", line.typed) is None
    if is_whole and line.output.startswith("{"):
        check_answer(operation, json.loads(line.output))


def check_answer(operation: Mapping[str, Any], answer: Mapping[str, Any]) -> None:
    """A problem is one of the operation's; else it is what the operation gives."""
    is_problem = str(answer.get("type", "")).startswith("urn:webhook-router:problem:")
    (status, *_) = [str(answer["status"])] if is_problem else [each for each in operation["responses"] if each < "3"]
    (content,) = resolved(operation["responses"][status])["content"].values()
    assert problems(content.get("schema", {}), answer) == []


# --- programs of others ----------------------------------------------------------------------------


def check_docker(words: Sequence[str], line: Line) -> None:
    if words[0] == "compose":
        assert list(words[1:]) == ["up", "--build"]
        assert (ROOT / "docker-compose.yml").exists()
        return
    assert words[0] == "build"
    assert (ROOT / "Dockerfile").exists()
    dockerfile = (ROOT / "Dockerfile").read_text("utf-8")
    for argument in re.findall(r"--build-arg (\S+)", " ".join(words)):
        name, _, value = argument.partition("=")
        assert re.search(rf"(?m)^ARG {name}=", dockerfile), name
        assert (ROOT / "requirements" / value).exists(), value


def check_unit(words: Sequence[str], line: Line) -> None:
    """systemctl and journalctl: the units are those that we ship, or their instances."""
    units = [re.sub(r"@.*", "@", word) + ".service" for word in words if word.startswith("webhook-router")]
    assert [unit for unit in units if not (ROOT / "config" / "systemd" / unit).exists()] == []
    # In a sentence the unit may be left out.
    assert units or list(words) in (["daemon-reload"], ["enable", "--now"], ["reload"])


def check_rabbitmqctl(words: Sequence[str], line: Line) -> None:
    command, file = words
    assert command == "import_definitions"
    assert any((folder / file).exists() for folder in (ROOT, line.page.parent)), file


CHECKS: Final[Mapping[str, Callable[[Sequence[str], Line], None]]] = {
    "curl": check_curl,
    "docker": check_docker,
    "journalctl": check_unit,
    "make": check_make,
    "python": check_python,
    "rabbitmqctl": check_rabbitmqctl,
    "systemctl": check_unit,
    "webhook-router": check_router,
}


def inline() -> list[Line]:
    prose = [(page, re.sub(r"(?ms)^ *```.*?^ *```$", "", page.read_text("utf-8"))) for page in PAGES]
    return [Line(page=page, typed=typed) for page, text in prose for typed in INLINE.findall(text)]


@pytest.mark.parametrize("line", [*LINES, *inline()], ids=str)
def test_a_command_line_is_one_that_could_be_typed(line: Line, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    for file in re.findall(r" ([a-z]+\.json)\b", line.typed):
        Path(file).touch()
    for program, *words in commands(line.typed):
        name = program.rpartition("/")[2]
        assert name in CHECKS or name in PARSED_ONLY, f"{name}: write a check, or say why it can only be read"
        if name in CHECKS:
            CHECKS[name](words, line)


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_files_of_ours_in_commands_exist(page: Path) -> None:
    typed = [words for line in LINES if line.page == page for words in commands(line.typed)]
    made = {words[-1] for words in typed if words[0] == "cp"}
    named = {word for words in typed for word in words[1:] if re.match(r"(?:config|examples|requirements)/", word)}
    assert [path for path in named - made if not (ROOT / path).exists()] == []


def test_each_reason_is_that_of_a_program_in_use() -> None:
    used = {words[0].rpartition("/")[2] for line in LINES for words in commands(line.typed)}
    assert set(PARSED_ONLY) <= used
    assert used <= {*PARSED_ONLY, *CHECKS}


# --- addresses -------------------------------------------------------------------------------------

HOSTS: Final = {"keepachangelog.com", "semver.org", "www.standardwebhooks.com"}
"""Whom the pages send their readers to."""


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_links_to_elsewhere_are_encrypted_and_to_hosts_that_are_known(page: Path) -> None:
    for target in re.findall(r"\]\((\w+:[^)\s]+)\)", page.read_text("utf-8")):
        address = urlsplit(target)
        assert (address.scheme, address.hostname in HOSTS) == ("https", True), target
