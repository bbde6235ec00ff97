"""What `make man` writes is what the definitions say today, and can be read by the programs that it is for."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys

import click
import pytest

from router.cli.app import cli
from router.cli.base import ExitCode
from router.settings import Settings
from router.settings.schema import known_keys, section_of
from scripts.man import CONFIG, EXIT_TEXTS, documents

ROOT = CONFIG.parent
DOCUMENTS = documents()
PAGES = [name for name in DOCUMENTS if name.startswith("man/")]


@pytest.mark.parametrize("name", DOCUMENTS)
def test_files_are_up_to_date(name: str) -> None:
    assert (CONFIG / name).read_text(encoding="utf-8") == DOCUMENTS[name], "say `make man`"


def test_nothing_old_lies_beside_them() -> None:
    made = {CONFIG / name for name in DOCUMENTS}
    assert {path for folder in ("man", "completions") for path in (CONFIG / folder).iterdir()} <= made


def test_every_command_has_its_section() -> None:
    def names(group: click.Group, before: str = "") -> list[str]:
        found: list[str] = []
        for name, command in group.commands.items():
            found += names(command, f"{before}{name} ") if isinstance(command, click.Group) else [before + name]
        return found

    sections = re.findall(r'(?m)^\.SS "(.*)"$', DOCUMENTS["man/webhook-router.1"])
    assert [section.replace("\\-", "-") for section in sections] == names(cli)


def test_every_exit_code_is_explained() -> None:
    assert set(EXIT_TEXTS) == set(ExitCode)


def test_every_setting_has_its_paragraph() -> None:
    page = DOCUMENTS["man/webhook-router.toml.5"]
    for key in known_keys(Settings):
        name = key.rpartition(".")[2].replace("-", "\\-")
        field = Settings.model_fields.get(key)
        if field is None or section_of(field.annotation) is None:
            assert f"\\fB{name}\\fR" in page or f"{key}]" in page, key


@pytest.mark.skipif(shutil.which("man") is None, reason="a program of the system's, for checking only")
@pytest.mark.parametrize("name", PAGES)
def test_man_shows_the_page_without_a_warning(name: str) -> None:
    command = ["man", "--warnings", "-E", "UTF-8", "-l", "-Tutf8", str(CONFIG / name)]
    result = subprocess.run(
        command, capture_output=True, text=True, check=True, env={"MANWIDTH": "100", "PATH": "/usr/bin:/bin"}
    )
    assert result.stderr == ""
    assert "webhook-router" in result.stdout


def test_bash_completes_what_the_script_asks_for() -> None:
    script = CONFIG / "completions" / "webhook-router.bash"
    subprocess.run(["bash", "-n", str(script)], check=True)
    asked = {"COMP_WORDS": "webhook-router top", "COMP_CWORD": "1", "_WEBHOOK_ROUTER_COMPLETE": "bash_complete"}
    main = "from router.__main__ import main; main()"

    result = subprocess.run(
        [sys.executable, "-c", main], env={**os.environ, **asked}, capture_output=True, text=True, check=False, cwd=ROOT
    )

    assert "_WEBHOOK_ROUTER_COMPLETE=bash_complete" in script.read_text(encoding="utf-8")
    assert result.stdout == "plain,topology\n"
