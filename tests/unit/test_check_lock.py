"""The check of the lock finds what it is there for, and finds nothing in this repository."""

from __future__ import annotations

from pathlib import Path

import pytest

from scripts.check_lock import ROOT, check, installed_licence, is_allowed

POLICY = """
allowed_licences = ["MIT", "Apache-2.0"]
[packages.copyleft]
licence = "GPL-2.0-only"
reason = "a process of its own"
[[floors]]
package = "server"
version = "3.14.4"
advisories = ["CVE-2026-1"]
reason = "stalls"
[[images]]
name = "mongo"
version = "8.0.17"
advisories = ["CVE-2025-1"]
reason = "leaks"
"""
LOCK = """\
server==3.14.5 \\
    --hash=sha256:00
    # via something
copyleft[extra]==1.0b2 ; sys_platform == 'linux' \\
    --hash=sha256:00
"""
PROJECT = """
[project]
dependencies = ["server>=3.14.4,<4"]
[project.optional-dependencies]
embedded = ["copyleft==1.0b2"]
"""
LICENCES = {"server": "MIT", "copyleft": "GPL-2.0-only"}


@pytest.fixture
def repository(tmp_path: Path) -> Path:
    """A small one in which all is well."""
    (tmp_path / "requirements").mkdir()
    (tmp_path / "requirements" / "policy.toml").write_text(POLICY)
    (tmp_path / "requirements" / "base.txt").write_text(LOCK)
    (tmp_path / "pyproject.toml").write_text(PROJECT)
    (tmp_path / "docker-compose.yml").write_text("services:\n  mongo:\n    image: mongo:8.0.17 # a comment\n")
    (tmp_path / "Dockerfile").write_text("ARG BASE=mongo:8.0.17-slim\nFROM ${BASE} AS build\nFROM ${BASE}\n")
    return tmp_path


def change(path: Path, old: str, new: str) -> None:
    text = path.read_text()
    assert old in text
    path.write_text(text.replace(old, new))


def test_the_lock_of_this_repository_keeps_to_its_policy() -> None:
    assert check(ROOT, installed_licence) == []


def test_a_repository_in_which_all_is_well_has_no_problem(repository: Path) -> None:
    assert check(repository, LICENCES.get) == []


@pytest.mark.parametrize(
    ("file", "old", "new", "problem"),
    [
        ("requirements/base.txt", "server==3.14.5", "server==3.14.3", "server 3.14.3 is below 3.14.4 (CVE-2026-1)"),
        ("requirements/base.txt", "3.14.5 \\\n    --hash=sha256:00", "3.14.5", "base.txt: server has no hash"),
        ("requirements/base.txt", "server==", "other==", "other: its licence is not known here"),
        ("requirements/base.txt", "server==", "other==", "server: has a floor in policy.toml, but is in no lock"),
        ("requirements/base.txt", "copyleft[extra]", "server", "copyleft: in policy.toml, but in no lock"),
        ("requirements/policy.toml", "GPL-2.0-only", "GPL-3.0-only", "copyleft: policy.toml says GPL-3.0-only, the"),
        ("requirements/policy.toml", '"MIT", ', "", "server: MIT is not allowed"),
        ("requirements/policy.toml", '"MIT", ', '"MIT", "GPL-2.0-only", ', "copyleft: its entry in policy.toml is not"),
        ("requirements/policy.toml", "[packages", 'tools = ["fuzz.txt"]\n[packages', "tools: there is no fuzz.txt"),
        ("requirements/policy.toml", 'reason = "leaks"', 'why = "leaks"', "policy.toml: images.0"),
        ("pyproject.toml", ">=3.14.4", ">=3.13", "pyproject.toml: server<4,>=3.13 lets versions below 3.14.4 in"),
        ("pyproject.toml", ">=3.14.4,", "", "pyproject.toml: server<4 lets versions below 3.14.4 in"),
        ("docker-compose.yml", "8.0.17", "8.0.9", "docker-compose.yml: mongo:8.0.9 is below 8.0.17 (CVE-2025-1)"),
        ("docker-compose.yml", "mongo:8.0.17", "mongo:latest", "docker-compose.yml: mongo:latest has no version"),
        ("docker-compose.yml", "mongo:8.0.17", "mongo", "docker-compose.yml: mongo has no version"),
        ("docker-compose.yml", "image: mongo:", "image: redis:", "redis has no entry under [[images]]"),
        ("Dockerfile", "mongo:8.0.17-slim", "mongo:7-slim", "Dockerfile: mongo:7-slim is below 8.0.17"),
        ("Dockerfile", "FROM ${BASE}\n", "FROM debian:latest\n", "Dockerfile: debian:latest has no version"),
    ],
)  # fmt: skip
def test_what_breaks_the_policy_is_named(repository: Path, file: str, old: str, new: str, problem: str) -> None:
    change(repository / file, old, new)

    assert any(problem in found for found in check(repository, LICENCES.get)), check(repository, LICENCES.get)


def test_a_tool_in_an_environment_of_its_own_may_have_a_licence_that_is_not_known(repository: Path) -> None:
    (repository / "requirements" / "fuzz.txt").write_text("fuzzer==1 \\\n    --hash=sha256:00\nserver==1\n")
    assert any("fuzzer: its licence" in found for found in check(repository, LICENCES.get))

    change(repository / "requirements" / "policy.toml", "[packages", 'tools = ["fuzz.txt"]\n[packages')
    assert check(repository, LICENCES.get) == [
        "fuzz.txt: server has no hash",
        "fuzz.txt: server 1 is below 3.14.4 (CVE-2026-1)",
    ]


@pytest.mark.parametrize("line", ["server", "server>=3", "-e .", "https://host.example/server.whl", "server @ file:x"])
def test_a_lock_holds_nothing_but_pins(repository: Path, line: str) -> None:
    (repository / "requirements" / "base.txt").write_text(f"{line}\n")

    with pytest.raises(ValueError, match="not understood"):
        check(repository, LICENCES.get)


@pytest.mark.parametrize(
    ("expression", "expected"),
    [
        ("MIT", True),
        ("GPL-2.0-only", False),
        ("MIT AND GPL-2.0-only", False),
        ("GPL-2.0-only OR MIT", True),
        ("MIT AND (GPL-2.0-only OR Apache-2.0)", True),
        ("(MIT OR Apache-2.0) AND GPL-2.0-only", False),
        ("MIT OR GPL-2.0-only AND LGPL-2.1-only", True),
    ],
)
def test_every_side_of_an_and_must_be_allowed_and_one_of_an_or(expression: str, expected: bool) -> None:
    assert is_allowed(expression, {"MIT", "Apache-2.0"}) is expected


@pytest.mark.parametrize(
    ("package", "licence"),
    [
        ("pytest", "MIT"),
        ("motor", "Apache-2.0"),
        ("uvloop", "Apache-2.0 AND MIT"),
        ("psutil", "BSD-3-Clause"),
        ("dnslib", "BSD-3-Clause"),
        ("secantusdb", "GPL-2.0-only AND CC-BY-4.0"),
        ("no-such-package", None),
    ],
)
def test_licences_are_read_however_a_package_states_them(package: str, licence: str | None) -> None:
    assert installed_licence(package) == licence
