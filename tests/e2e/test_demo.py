"""The demo as people run it: a process that shows a router at work, says how that went, and leaves nothing behind."""

import asyncio
import json
import os
import pty
import re
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from http.client import HTTPConnection
from pathlib import Path
from typing import Any

import aio_pika
import psutil
import pytest

from router.adapters.embedded.broker import RabbitNode
from router.demo.show import unused_port

ROOT = Path(__file__).parents[2]
START_SECONDS = 60
END_SECONDS = 60


@dataclass(frozen=True)
class Demo:
    """A demo that runs. What it says, on stderr, is in a file."""

    process: subprocess.Popen[str]
    talk: Path

    @property
    def said(self) -> str:
        return self.talk.read_text(encoding="utf-8", errors="replace")

    def until(self, pattern: str) -> re.Match[str]:
        """Wait until it has said something."""
        found: list[re.Match[str]] = []

        def has_said() -> bool:
            found[:] = re.finditer(pattern, self.said)
            return bool(found) or self.process.poll() is not None

        wait_until(has_said, START_SECONDS)
        assert found, f"it ended, and never said {pattern!r}:\n{self.said}"
        return found[-1]

    def end(self, *signals: signal.Signals) -> tuple[int, dict[str, Any]]:
        """Send signals, wait for the end; the exit code and the summary, empty where there is none."""
        for number in signals:
            self.process.send_signal(number)
        output, _ = self.process.communicate(timeout=END_SECONDS)
        return self.process.returncode, json.loads(output) if output else {}


def environment(directory: Path, amqp_url: str) -> dict[str, str]:
    inherited = {name: value for name, value in os.environ.items() if not name.startswith("ROUTER_")}
    return inherited | {
        "ROUTER_AMQP__URL": amqp_url,
        "ROUTER_DATA_DIR": str(directory),
        "ROUTER_LOG__LEVEL": "debug",
        "PYTHONUNBUFFERED": "1",
    }


@contextmanager
def demo(directory: Path, amqp_url: str, *arguments: str) -> Iterator[Demo]:
    """`webhook-router demo --json` in a folder; nothing of it may be left in the end."""
    talk = directory / "talk"
    with talk.open("w") as stderr:
        process = subprocess.Popen(
            [sys.executable, "-m", "router", "demo", "--json", *arguments],
            cwd=ROOT,
            env=environment(directory, amqp_url),
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=stderr,
            text=True,
        )
    try:
        yield Demo(process, talk)
        wait_until(lambda: processes_of(directory) == [], 10)
    finally:
        process.kill()
        if process.stdout is not None:
            process.stdout.close()
        process.wait()


def processes_of(directory: Path) -> list[psutil.Process]:
    """Every process that has to do with a folder, by its arguments or its environment."""
    found = []
    for process in psutil.process_iter():
        try:
            words = [*process.cmdline(), *process.environ().values()]
        except psutil.Error:
            continue
        if process.pid != os.getpid() and any(word.startswith(str(directory)) for word in words):
            found.append(process)
    return found


def wait_until(condition: Callable[[], bool], seconds: float) -> None:
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, f"not within {seconds} s"
        time.sleep(0.05)


def assert_all_is_well(summary: dict[str, Any]) -> None:
    assert summary["problems"] == []
    assert (summary["lost"], summary["unexpected"], summary["signatures_bad"]) == (0, 0, 0)
    assert summary["delivered"] > 0
    assert summary["signatures_verified"] >= summary["delivered"]
    assert summary["router_exit_code"] == 0
    ended = summary["delivered"] + summary["pending"] + summary["failed_as_intended"] + summary["failed"]
    assert ended == summary["expected"]


# --- runs that go well -----------------------------------------------------------------------------


def test_a_run_loses_nothing_and_leaves_nothing(vhost: str, tmp_path: Path) -> None:
    with demo(tmp_path, vhost, "--seconds", "5", "--rate", "12", "--seed", "11") as running:
        code, summary = running.end()

        assert code == 0, running.said
        assert_all_is_well(summary)
        assert summary["published"] > 40
        assert summary["retried"] > 0
        assert summary["failed_as_intended"] > 0
        assert summary["dead_letters"] == summary["broken"] > 0
        assert summary["seed"] == 11
        assert 0 < summary["p50_ms"] <= summary["p99_ms"] <= summary["max_ms"]
        assert re.search(r"^broker: RabbitMQ at 127\.0\.0\.1:\d+ \(named by amqp\.url", running.said, re.MULTILINE)
        assert re.search(r"^customers: 6 accounts, 1 switched off; 24 webhooks", running.said, re.MULTILINE)
        assert len(re.findall(r"^\ds published=\d+ delivered=\d+", running.said, re.MULTILINE)) >= 4


def test_what_it_tells_people_to_paste_works_and_ctrl_c_ends_it_in_order(vhost: str, tmp_path: Path) -> None:
    with demo(tmp_path, vhost) as running:
        running.until(r"delivered=[1-9]")

        token, port, path = running.until(r"curl .*Bearer (\S+)' 'http://127\.0\.0\.1:(\d+)(/\S+)'").groups()
        status, page = get(int(port), path, token)
        assert (status, len(page["items"]) > 0) == (200, True)
        command = running.until(r"(?m)^ +(\S.* --config \S+ deliveries list)$")[1]
        listed = shell(tmp_path, vhost, f"{command} --json")
        assert listed.returncode == 0, listed.stderr
        assert len(json.loads(listed.stdout)["items"]) > 0

        other = shell(tmp_path, vhost, f"{sys.executable} -m router demo --seconds 1")
        assert (other.returncode, "another demo is running" in other.stderr) == (1, True)

        code, summary = running.end(signal.SIGINT)
        assert code == 0, running.said
        assert_all_is_well(summary)
        assert "stopping the router" in running.said


def test_sigterm_ends_it_in_order_too(vhost: str, tmp_path: Path) -> None:
    with demo(tmp_path, vhost, "--accounts", "1") as running:
        running.until(r"delivered=[1-9]")
        code, summary = running.end(signal.SIGTERM)
        assert code == 0, running.said
        assert_all_is_well(summary)


@pytest.mark.slow
def test_an_outage_of_the_broker_loses_nothing(own_rabbit: RabbitNode, tmp_path: Path) -> None:
    with demo(tmp_path, own_rabbit.url, "--rate", "20") as running:
        running.until(r"delivered=[1-9]")
        own_rabbit.kill()
        own_rabbit.start()
        running.until(r"published=[1-9]\d\d")  # at this rate not before it is back
        code, summary = running.end(signal.SIGINT)
        assert code == 0, running.said
        assert_all_is_well(summary)
        assert summary["unconfirmed"] == 0


def get(port: int, path: str, token: str) -> tuple[int, dict[str, Any]]:
    connection = HTTPConnection("127.0.0.1", port, timeout=10)
    try:
        connection.request("GET", path, headers={"Authorization": f"Bearer {token}"})
        answer = connection.getresponse()
        return answer.status, json.loads(answer.read())
    finally:
        connection.close()


def shell(directory: Path, amqp_url: str, command: str) -> subprocess.CompletedProcess[str]:
    """What somebody types beside the demo, in the same surroundings."""
    return subprocess.run(
        command,
        shell=True,
        cwd=ROOT,
        env=environment(directory, amqp_url),
        capture_output=True,
        text=True,
        timeout=END_SECONDS,
        check=False,
    )


# --- ends that are not in order --------------------------------------------------------------------


def test_a_second_ctrl_c_ends_it_at_once(vhost: str, tmp_path: Path) -> None:
    with demo(tmp_path, vhost) as running:
        running.until(r"delivered=[1-9]")
        running.process.send_signal(signal.SIGINT)
        asked_at = time.monotonic()
        # Signals of one number that come together are one.
        time.sleep(0.05)
        code, summary = running.end(signal.SIGINT)
        assert (code, summary) == (130, {})
        assert time.monotonic() - asked_at < 2


def test_nothing_outlives_a_demo_that_was_killed(vhost: str, tmp_path: Path) -> None:
    with demo(tmp_path, vhost) as running:
        running.until(r"delivered=[1-9]")
        assert len(processes_of(tmp_path)) >= 3, "the demo, the router, the store"
        assert running.end(signal.SIGKILL) == (-signal.SIGKILL, {})


def test_ctrl_c_before_anything_is_published(vhost: str, tmp_path: Path) -> None:
    with demo(tmp_path, vhost) as running:
        running.until(r"starting the router")
        assert running.end(signal.SIGINT) == (130, {})


def test_a_broker_that_was_named_and_is_not_there_is_said_in_a_sentence(tmp_path: Path) -> None:
    with unused_port() as holder:
        port = holder.getsockname()[1]
        with demo(tmp_path, f"amqp://someone:hush@127.0.0.1:{port}/", "--seconds", "5") as running:
            code, summary = running.end()
    assert (code, summary) == (69, {})
    assert f"Error: no RabbitMQ answers at 127.0.0.1:{port}, which amqp.url (ROUTER_AMQP__URL) names" in running.said
    assert "Traceback" not in running.said
    assert "hush" not in running.said


def test_the_routers_own_word_is_passed_on_when_it_does_not_come_up(vhost: str, tmp_path: Path) -> None:
    asyncio.run(_declare_as_fanout(vhost, "cdr"))
    with demo(tmp_path, vhost, "--seconds", "5") as running:
        code, summary = running.end()
    assert (code, summary) == (78, {})
    assert "exchange 'cdr': type is fanout on the broker, topic was wanted" in running.said
    assert "Traceback" not in running.said


async def _declare_as_fanout(url: str, exchange: str) -> None:
    async with await aio_pika.connect(url) as connection:
        channel = await connection.channel()
        await channel.declare_exchange(exchange, aio_pika.ExchangeType.FANOUT, durable=True)


def test_a_terminal_is_left_as_it_was(vhost: str, tmp_path: Path) -> None:
    """On a real pseudo-terminal: the live screen comes, and the cursor is back even where the end is abrupt."""
    ours, theirs = pty.openpty()
    process = subprocess.Popen(
        [sys.executable, "-m", "router", "demo"],
        cwd=ROOT,
        env=environment(tmp_path, vhost) | {"TERM": "xterm-256color", "COLUMNS": "100", "LINES": "30"},
        stdin=theirs,
        stdout=theirs,
        stderr=theirs,
        start_new_session=True,
    )
    os.close(theirs)
    screen = b""
    try:
        while b"publishing" not in screen or b"delivered" not in screen:
            screen += os.read(ours, 65_536)
        for _ in range(2):
            process.send_signal(signal.SIGINT)
            time.sleep(0.05)
        while chunk := _read_rest(ours):
            screen += chunk
        assert process.wait(10) == 130
    finally:
        process.kill()
        process.wait()
        os.close(ours)
    assert screen.rfind(b"\x1b[?25h") > screen.rfind(b"\x1b[?25l") > 0
    wait_until(lambda: processes_of(tmp_path) == [], 10)


def _read_rest(descriptor: int) -> bytes:
    """What comes still; empty once the other side is closed."""
    try:
        return os.read(descriptor, 65_536)
    except OSError:
        return b""
