"""The brokers that the demo starts for itself: a private node with the real package, a container with a fake docker."""

import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from router.adapters.embedded.errors import EmbeddedError
from router.demo.broker import open_broker, private_node, probe
from router.demo.compose import ComposeBroker, missing_part
from tests.e2e.test_demo import ROOT, processes_of, wait_until


@contextmanager
def quiet(_: str) -> Iterator[None]:
    yield


def test_a_private_node_serves_for_the_length_of_the_demo(tmp_path: Path) -> None:
    with open_broker(None, tmp_path, quiet, [private_node]) as broker:
        assert probe(broker.url) is None
        assert broker.origin.startswith("own RabbitMQ node at 127.0.0.1:")
    assert probe(broker.url) is not None
    assert processes_of(tmp_path) == []


FAKE_DOCKER = """\
#!/bin/sh
echo "$@" >> {log}
case "$*" in {fails}) echo "pull access denied" >&2; exit 1;; esac
"""


@pytest.fixture
def docker(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[..., Path]:
    """Puts a `docker` on the PATH that writes down what it is asked, and fails where its arguments match."""
    project = tmp_path / "docker-compose.yml"
    project.write_text("name: test\n")

    def install(*, fails: str = "nothing") -> Path:
        log, script = tmp_path / "docker.calls", tmp_path / "bin" / "docker"
        script.parent.mkdir(exist_ok=True)
        script.write_text(FAKE_DOCKER.format(log=log, fails=fails))
        script.chmod(0o755)
        monkeypatch.setenv("PATH", f"{script.parent}:{os.environ['PATH']}")
        return log

    return install


@pytest.mark.parametrize(
    ("fails", "missing"),
    [("nothing", None), ("info*", "no Docker engine"), ("*version*", "docker has no compose")],
)
def test_docker_is_used_where_an_engine_with_compose_runs(
    docker: Callable[..., Path], tmp_path: Path, fails: str, missing: str | None
) -> None:
    docker(fails=fails)
    assert missing_part(tmp_path) == missing
    assert missing_part(tmp_path / "elsewhere") == "there is no docker-compose.yml beside the program"


def test_a_container_is_taken_away_in_the_end(docker: Callable[..., Path], tmp_path: Path) -> None:
    calls = docker()
    compose = ComposeBroker(project=tmp_path, directory=tmp_path)
    compose.start(lambda: True)
    assert calls.read_text().splitlines()[-1].endswith("up -d rabbitmq")
    compose.stop()
    assert calls.read_text().splitlines()[-1].endswith("down --volumes --timeout 5")


def test_a_container_that_does_not_start_is_taken_away_at_once(docker: Callable[..., Path], tmp_path: Path) -> None:
    calls = docker(fails="*up*")
    with pytest.raises(EmbeddedError, match="docker compose up failed: pull access denied"):
        ComposeBroker(project=tmp_path, directory=tmp_path).start(lambda: True)
    assert " down " in calls.read_text().splitlines()[-1]


STARTER = """
import sys
from pathlib import Path
from router.demo.compose import ComposeBroker

ComposeBroker(project=Path(sys.argv[1]), directory=Path(sys.argv[1])).start(lambda: True)
print("up", flush=True)
sys.stdin.read()
"""


def test_a_container_does_not_outlive_a_demo_that_was_killed(docker: Callable[..., Path], tmp_path: Path) -> None:
    calls = docker()
    with subprocess.Popen(
        [sys.executable, "-c", STARTER, tmp_path], cwd=ROOT, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as starter:
        assert starter.stdout is not None
        assert starter.stdout.readline() == "up\n"
        starter.kill()
    wait_until(lambda: " down " in calls.read_text(), 10)
