"""Every import rule of pyproject.toml holds, and each one would notice its violation."""

import shutil
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
CONTRACTS = {
    contract["id"]: contract["name"]
    for contract in tomllib.loads((ROOT / "pyproject.toml").read_text())["tool"]["importlinter"]["contracts"]
}

# contract id → a module of ours, and a line that it must not have
VIOLATIONS = {
    "layers": ("domain/event.py", "import router.application"),
    "settings-readers": ("daemon.py", "import router.settings"),
    "settings-know-domain": ("settings/__init__.py", "import router.ports"),
    "adapters-independent": ("adapters/http/__init__.py", "import router.adapters.mongo"),
    "domain-pure": ("domain/retry.py", "import random"),
    "room-amqp": ("bootstrap/__init__.py", "import aio_pika"),
    "room-mongo": ("web/__init__.py", "from bson import ObjectId"),
    "room-otel": ("bootstrap/tracing.py", "import opentelemetry"),
    "room-tenacity": ("application/deliver.py", "import tenacity"),
    "room-pages": ("web/app.py", "import jinja2"),
    "room-aiohttp": ("cli/__init__.py", "import aiohttp"),
}


@pytest.fixture
def tree(tmp_path: Path) -> Path:
    """A copy of the package and its rules, to be damaged."""
    shutil.copytree(ROOT / "router", tmp_path / "router", ignore=shutil.ignore_patterns("__pycache__"))
    shutil.copy(ROOT / "pyproject.toml", tmp_path)
    return tmp_path


def lint(tree: Path) -> subprocess.CompletedProcess[str]:
    # With -c the working directory comes first on the path: this copy is read, not the installed package.
    command = [sys.executable, "-c", "from importlinter.cli import lint_imports_command as lint; lint()", "--no-cache"]
    return subprocess.run(command, cwd=tree, capture_output=True, text=True, check=False)


def test_the_rules_hold(tree: Path) -> None:
    result = lint(tree)
    assert result.returncode == 0, result.stdout


def test_every_rule_has_a_violation_here() -> None:
    assert VIOLATIONS.keys() == CONTRACTS.keys()


@pytest.mark.parametrize("contract", VIOLATIONS)
def test_a_violation_is_noticed_by_its_rule(tree: Path, contract: str) -> None:
    module, line = VIOLATIONS[contract]
    path = tree / "router" / module
    path.write_text(f"{path.read_text()}\n{line}\n")

    result = lint(tree)

    assert result.returncode == 1, result.stdout
    assert f"{CONTRACTS[contract]} BROKEN" in result.stdout


def test_a_new_top_level_module_must_be_given_its_layer(tree: Path) -> None:
    (tree / "router" / "helpers.py").touch()
    result = lint(tree)
    assert result.returncode == 1
    assert "helpers" in result.stdout
