"""Every code block of the documentation is read by a rule for its language; a block without a rule is an error."""

from __future__ import annotations

import ast
import configparser
import json
import re
import shutil
import subprocess
from collections.abc import Callable, Mapping
from itertools import chain
from pathlib import Path
from typing import Final

import pytest
import yaml

from router.adapters.mongo.indexes import INDEXES
from router.adapters.rabbitmq.announcements import message_of
from router.adapters.rabbitmq.codec import decode
from router.domain.announcement import AnnouncementKey
from router.domain.event import Event, EventType
from router.settings import load_settings
from router.telemetry.fields import ALWAYS, FIELDS
from tests.fuzz import nasty
from tests.fuzz.decoder import RULES as DECODING
from tests.fuzz.decoder import message
from tests.support.fakes_announcing import delivery_failed
from tests.support.snippets import PAGES, ROOT, Fence, fences, lines

FENCES = [fence for page in PAGES for fence in fences(page)]
RULES_OF_A_SOURCE: Final = DECODING[nasty.PLAIN]


def check_toml(fence: Fence, folder: Path) -> None:
    """It loads as the whole configuration."""
    file = folder / "router.toml"
    file.write_text(fence.text, encoding="utf-8")
    load_settings(config=file, environ={})


def check_shell(fence: Fence, folder: Path) -> None:
    """The shell understands each line; what programs it names is in test_docs_commands.py."""
    typed = list(lines(fence))
    assert typed, "no prompt"
    for line in typed:
        done = subprocess.run(["bash", "-n"], input=line.typed, capture_output=True, text=True, check=False)
        assert (done.returncode, done.stderr) == (0, ""), line


def check_text(fence: Fence, folder: Path) -> None:
    """What a program printed, or a drawing: no command hides in it."""
    assert not re.search(r"(?m)^[$#] ", fence.text), "a command: its language is console"


def check_python(fence: Fence, folder: Path) -> None:
    """It compiles, with `await` outside of functions; a test of ours is there as it is shown."""
    compile(fence.text, str(fence), "exec", flags=ast.PyCF_ALLOW_TOP_LEVEL_AWAIT)
    for name in re.findall(r"(?m)^async def (test_\w+)", fence.text):
        sources = [
            file.read_text("utf-8") for file in (ROOT / "tests").rglob("test_*.py") if name in file.read_text("utf-8")
        ]
        assert any(fence.text.strip() in source for source in sources), name


def check_json(fence: Fence, folder: Path) -> None:
    """Each line is an event, an operational event or a log line, whole and of today."""
    for line in fence.text.splitlines():
        document = json.loads(line)
        if "ts" in document:
            assert set(document) <= FIELDS.keys()
            assert set(ALWAYS) <= set(document)
        elif document["type"] in list(AnnouncementKey):
            shown = json.loads(message_of(delivery_failed("dlv_1")).body)
            assert list(document) == list(shown)
        else:
            event = decode(message(line.encode()), RULES_OF_A_SOURCE)
            assert isinstance(event, Event)
            assert (event.event_id, event.account_id) == (document["id"], document["account_id"])
            assert event.number_keys
            assert event.type is EventType(document["type"])


def check_yaml(fence: Fence, folder: Path) -> None:
    """A part of a kustomization: what it changes is there, and so are the files that it takes."""
    base = yaml.safe_load((ROOT / "config" / "kubernetes" / "base" / "kustomization.yaml").read_text("utf-8"))
    document = yaml.safe_load(fence.text)
    assert list(document) == ["configMapGenerator"]
    generated = {each["name"]: each for each in base["configMapGenerator"]}
    for each in document["configMapGenerator"]:
        assert each["behavior"] == "replace"
        assert each["files"] == generated[each["name"]]["files"]


def check_ini(fence: Fence, folder: Path) -> None:
    """A drop-in of our unit, which systemd takes where there is one."""
    parser = configparser.ConfigParser(strict=False, interpolation=None)
    parser.read_string(fence.text)
    assert parser.sections() == ["Service"]
    if shutil.which("systemd-analyze") is None:
        return
    unit = folder / "webhook-router.service"
    shipped = (ROOT / "config" / "systemd" / unit.name).read_text("utf-8")
    unit.write_text(shipped.replace("/opt/webhook-router/current/bin/webhook-router", "/bin/true"))
    (folder / f"{unit.name}.d").mkdir()
    (folder / f"{unit.name}.d" / "ours.conf").write_text(fence.text)
    done = subprocess.run(["systemd-analyze", "verify", unit], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert not re.search(r"unknown|ignoring", done.stderr, re.IGNORECASE), done.stderr


def check_mongosh(fence: Fence, folder: Path) -> None:
    """There is no shell of MongoDB here: the collections that it names are ours."""
    named = re.findall(r"\bdb\.(\w+)|\"webhook_router\.(\w+)\"", fence.text)
    assert named
    assert {*chain(*named)} - {""} <= set(INDEXES)


RULES: Mapping[str, Callable[[Fence, Path], None]] = {
    "console": check_shell,
    "ini": check_ini,
    "javascript": check_mongosh,
    "json": check_json,
    "python": check_python,
    "sh": check_shell,
    "text": check_text,
    "toml": check_toml,
    "yaml": check_yaml,
}


@pytest.mark.parametrize("fence", FENCES, ids=str)
def test_a_block_is_what_its_language_says(fence: Fence, tmp_path: Path) -> None:
    assert fence.language in RULES, f"{fence}: name its language, one of {', '.join(RULES)}; or write a rule for it"
    RULES[fence.language](fence, tmp_path)


def test_every_rule_is_used() -> None:
    assert {fence.language for fence in FENCES} - {""} == set(RULES)


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_no_block_is_left_open_or_hidden_from_the_rules(page: Path) -> None:
    text = page.read_text(encoding="utf-8")
    assert len(re.findall(r"(?m)^\s*(?:```|~~~)", text)) == 2 * len(list(fences(page)))
