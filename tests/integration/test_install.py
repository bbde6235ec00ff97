"""The way of docs/deployment.md, on paths of the test's own: a wheel into a fresh environment, a link to the current
version, a first check, an upgrade and the way back. What comes from the lock is borrowed from this environment.
"""

from __future__ import annotations

import os
import re
import site
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

from router import __version__

ROOT = Path(__file__).parents[2]
WHEEL = f"webhook_router-{__version__}-py3-none-any.whl"


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    directory = tmp_path_factory.mktemp("wheel")
    command = [sys.executable, "-m", "hatchling", "build", "--target", "wheel", "--directory", str(directory)]
    subprocess.run(command, cwd=ROOT, check=True, capture_output=True)
    return directory / WHEEL


@pytest.fixture
def prefix(tmp_path: Path) -> Path:
    return tmp_path / "opt" / "webhook-router"


def install(wheel: Path, home: Path) -> None:
    """The virtual environment of one version."""
    subprocess.run([sys.executable, "-m", "venv", "--without-pip", home], check=True)
    (packages,) = home.glob("lib/python*/site-packages")
    (packages / "borrowed.pth").write_text("\n".join(path for path in site.getsitepackages()))
    with zipfile.ZipFile(wheel) as archive:
        archive.extractall(packages)
        metadata = next(name for name in archive.namelist() if name.endswith("/entry_points.txt"))
        entry = re.search(r"webhook-router = ([\w.]+):(\w+)", archive.read(metadata).decode())
    assert entry is not None
    program = home / "bin" / "webhook-router"
    program.write_text(f"#!{home}/bin/python\nimport sys\nfrom {entry[1]} import {entry[2]}\nsys.exit({entry[2]}())\n")
    program.chmod(0o755)


def switch(prefix: Path, version: str) -> None:
    """What `ln -sfn` does, but for its moment without a link."""
    new = prefix / "new"
    new.symlink_to(version)
    new.replace(prefix / "current")


def run(prefix: Path, *arguments: str, **environ: str) -> subprocess.CompletedProcess[str]:
    environment = {name: value for name, value in os.environ.items() if not name.startswith(("ROUTER_", "PYTHON"))}
    return subprocess.run(
        [prefix / "current" / "bin" / "webhook-router", *arguments],
        cwd=prefix,
        env=environment | environ,
        capture_output=True,
        text=True,
        check=False,
    )


def test_a_wheel_holds_the_whole_package_and_nothing_else(wheel: Path) -> None:
    with zipfile.ZipFile(wheel) as archive:
        names = set(archive.namelist())
    tracked = subprocess.run(
        ["git", "ls-files", "router"], cwd=ROOT, check=True, capture_output=True, text=True
    ).stdout.split()
    held = {name for name in names if not re.match(r"webhook_router-[^/]+\.dist-info/", name)}
    assert set(tracked) <= held
    assert all(name.startswith("router/") for name in held)
    assert any(name.endswith("/licenses/LICENSE") for name in names)


def test_an_installation_is_checked_upgraded_and_taken_back(wheel: Path, prefix: Path, tmp_path: Path) -> None:
    config = tmp_path / "etc" / "webhook-router"
    credentials = config / "credentials"
    credentials.mkdir(parents=True)
    (config / "router.toml").write_text((ROOT / "config" / "router.toml").read_text("utf-8"))
    (credentials / "webhook-router_amqp.url").write_text("amqp://router:hunter2@rabbit.example/\n")
    prefix.mkdir(parents=True)

    install(wheel, prefix / "1")
    switch(prefix, "1")
    checked = run(
        prefix, "check-config", "--config", str(config / "router.toml"), CREDENTIALS_DIRECTORY=str(credentials)
    )
    assert checked.returncode == 0, checked.stderr
    assert "credential webhook-router_amqp.url" in checked.stdout
    assert "hunter2" not in checked.stdout + checked.stderr
    assert run(prefix, "--version").stdout.split()[-1] == __version__
    assert '"openapi"' in run(prefix, "openapi").stdout

    install(wheel, prefix / "2")
    switch(prefix, "2")
    assert (prefix / "current").resolve() == prefix / "2"
    assert run(prefix, "--version").returncode == 0
    switch(prefix, "1")
    assert run(prefix, "--version").returncode == 0


def test_a_wrong_setting_is_told_before_the_start(wheel: Path, prefix: Path, tmp_path: Path) -> None:
    (tmp_path / "router.toml").write_text("[api]\nprobe_port = 8081\n")
    prefix.mkdir(parents=True)
    install(wheel, prefix / "1")
    switch(prefix, "1")
    checked = run(prefix, "check-config", "--config", str(tmp_path / "router.toml"))
    assert checked.returncode == 78
    assert "api.probes_port" in checked.stderr
