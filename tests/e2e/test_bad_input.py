"""What a process says and how it ends where its files, its disk, its streams or its servers are not as they should be:
one block, a proper exit code, and no busy loop.
"""

from __future__ import annotations

import errno
import os
import subprocess
import sys
import time
from collections.abc import Mapping
from pathlib import Path
from typing import IO

import psutil
import pytest

from router.adapters.embedded.processes import free_ports
from tests.support.shell import shell_for

USAGE, UNAVAILABLE, IO_ERROR, CONFIGURATION = 64, 69, 74, 78
SOON_SECONDS = 15.0
"""Long before the 30 s that a start waits for a server; Python starts slowly on a busy machine."""
IDLE_SECONDS = 4.0
IDLE_TRIES = 5
"""Python is still starting in the first of them, on a busy machine in some; they end before the 30 s of patience do."""
IDLE_CPU_SECONDS = 0.4
"""What a router that waits may use in `IDLE_SECONDS`: a tenth of a core. A busy loop uses all that it can get."""

NOTHING_SET: Mapping[str, str] = {}


def nobody() -> str:
    return f"127.0.0.1:{free_ports(1)[0]}"


def run(
    directory: Path,
    *arguments: str,
    stdout: int | IO[bytes] = subprocess.PIPE,
    prelude: str = "",
    settings: Mapping[str, str] = NOTHING_SET,
) -> subprocess.CompletedProcess[bytes]:
    """A command to its end; `prelude` is said to the shell that becomes it."""
    program = f'{prelude} exec {sys.executable} -P -m router "$@"'
    return subprocess.run(
        ["bash", "-c", program, "bash", *arguments],
        cwd=directory,
        env=shell_for(directory, **settings).environment,
        stdin=subprocess.DEVNULL,
        stdout=stdout,
        stderr=subprocess.PIPE,
        timeout=60,
        check=False,
    )


def told(result: subprocess.CompletedProcess[bytes]) -> str:
    """What stands on stderr, where no traceback may be."""
    text = result.stderr.decode()
    assert "Traceback" not in text, text
    assert "hush" not in text
    return text


# --- files ------------------------------------------------------------------------------------------


@pytest.mark.parametrize("command", ["check-config", "serve", "accounts show 1042"])
@pytest.mark.parametrize(
    ("content", "parts"),
    [
        (
            '[api]\nport = 80\n[amqp]\nurl = "amqp://u:hush',
            ["router.toml", "is not TOML", "was it written to its end?"],
        ),
        ("[api\n", ["router.toml", "is not TOML", "line 1"]),
        ("[api]\nprot = 80\n", ["api.prot", "router.toml line 2", "Did you mean api.port?"]),
        ("[api]\nport = 80_000\n", ["api.port", "router.toml line 2", "0 to 65535"]),
    ],
)
def test_a_wrong_or_half_written_file_ends_every_command_with_78(
    command: str, content: str, parts: list[str], tmp_path: Path
) -> None:
    (tmp_path / "router.toml").write_text(content, encoding="utf-8")
    result = run(tmp_path, *command.split(), "--config", "router.toml")

    assert result.returncode == CONFIGURATION
    text = told(result)
    assert text.startswith("The configuration has 1 problem:")
    assert all(part in text for part in parts), text
    assert result.stdout == b""


@pytest.mark.parametrize("content", ["k1:AAAA", "no colon", ""])
def test_a_half_written_key_file_is_refused_before_anything_is_sealed(content: str, tmp_path: Path) -> None:
    path = tmp_path / "keys"
    path.write_text(content, encoding="utf-8")
    path.chmod(0o400)
    result = run(tmp_path, "serve", settings={"ROUTER_SECRETS__KEY_FILE": str(path), "ROUTER_LOG__FORMAT": "console"})

    assert result.returncode == CONFIGURATION
    text = told(result)
    assert f"secrets.key_file = {path}  (environment ROUTER_SECRETS__KEY_FILE)" in text
    assert "to do" in text


def test_a_data_dir_that_is_no_folder_is_told_with_its_setting(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    result = run(
        tmp_path, "accounts", "show", "1042", settings={"ROUTER_MONGO__URL": "embedded", "ROUTER_DATA_DIR": "file"}
    )

    assert result.returncode == UNAVAILABLE
    text = told(result)
    assert "Not a directory" in text
    assert "data_dir = file  (environment ROUTER_DATA_DIR)" in text


# --- servers ----------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("command", "setting", "url"),
    [
        ("accounts show 1042", "mongo.url", "mongodb://router:hush@{}/"),
        ("indexes plan", "mongo.url", "mongodb://router:hush@{}/"),
        ("topology plan", "amqp.url", "amqp://router:hush@{}/"),
        ("topology apply", "amqp.url", "amqp://router:hush@{}/"),
    ],
)
def test_a_server_that_is_away_is_one_block_and_69(command: str, setting: str, url: str, tmp_path: Path) -> None:
    variable = f"ROUTER_{setting.replace('.', '__').upper()}"
    address = nobody()
    began = time.monotonic()
    result = run(tmp_path, *command.split(), settings={variable: url.format(address)})

    assert result.returncode == UNAVAILABLE
    assert time.monotonic() - began < SOON_SECONDS
    lines = told(result).splitlines()
    assert lines[0].startswith("Error: ")
    assert [line.split()[0] for line in lines[1:]] == ["seen", "configured", "to"]
    assert "Connection refused" in lines[1]
    assert f"router:***@{address}" in lines[2]
    assert f"(environment {variable})" in lines[2]


# --- streams and disks ------------------------------------------------------------------------------


@pytest.mark.parametrize("command", ["openapi", "check-config", "config schema", "version", "completion bash"])
def test_a_full_disk_under_the_output_is_told_with_74(command: str, tmp_path: Path) -> None:
    with Path("/dev/full").open("wb") as full:
        result = run(tmp_path, *command.split(), stdout=full)

    assert result.returncode == IO_ERROR
    text = told(result)
    assert "the result could not be written" in text
    assert os.strerror(errno.ENOSPC) in text


def test_a_full_disk_under_the_talk_changes_no_exit_code(tmp_path: Path) -> None:
    assert run(tmp_path, "serve", "--role", "king", prelude="exec 2>/dev/full;").returncode == USAGE
    assert run(tmp_path, "webhooks", "list", prelude="exec 2>/dev/full;", settings=away()).returncode == UNAVAILABLE


@pytest.mark.parametrize("closed", ["<&-", ">&-", "2>&-", "<&- >&- 2>&-"])
def test_streams_that_are_closed_are_no_matter(closed: str, tmp_path: Path) -> None:
    result = run(tmp_path, "check-config", prelude=f"exec {closed};")

    assert result.returncode == 0
    told(result)


def away() -> Mapping[str, str]:
    return {"ROUTER_AMQP__URL": f"amqp://{nobody()}/", "ROUTER_MONGO__URL": f"mongodb://{nobody()}/"}


@pytest.mark.parametrize("stream", ["2>&-", "2>/dev/full", "2> >(true)"])
def test_a_router_whose_log_goes_nowhere_waits_for_its_servers_and_does_not_spin(stream: str, tmp_path: Path) -> None:
    environment = shell_for(tmp_path, ROUTER_API__PORT=str(free_ports(1)[0]), **away()).environment
    command = f"exec {stream}; sleep 0.2; exec {sys.executable} -P -m router serve"
    with subprocess.Popen(["bash", "-c", command], cwd=tmp_path, env=environment, stdout=subprocess.DEVNULL) as process:
        try:
            assert any(cpu_of(process, IDLE_SECONDS) < IDLE_CPU_SECONDS for _ in range(IDLE_TRIES))
            process.terminate()
            assert process.wait(SOON_SECONDS) == 0
        finally:
            process.kill()


def cpu_of(process: subprocess.Popen[bytes], seconds: float) -> float:
    """What a process that runs uses in the next `seconds`."""
    assert process.poll() is None
    watched = psutil.Process(process.pid)
    before = watched.cpu_times()
    time.sleep(seconds)
    after = watched.cpu_times()
    return after.user + after.system - before.user - before.system


# --- this host --------------------------------------------------------------------------------------


@pytest.mark.parametrize("limit", [12, 30, 63])
def test_a_router_that_may_open_nothing_says_so(limit: int, tmp_path: Path) -> None:
    result = run(tmp_path, "serve", prelude=f"ulimit -n {limit};", settings=away())

    assert result.returncode == CONFIGURATION
    text = told(result)
    assert f"may have {limit} files and sockets open" in text
    assert "LimitNOFILE" in text


def test_a_folder_that_is_gone_is_no_traceback(tmp_path: Path) -> None:
    result = run(tmp_path, "check-config", prelude="mkdir gone; cd gone; rmdir ../gone;")

    assert result.returncode == 0, told(result)
