"""RabbitMQ from the project's docker-compose.yml, as a project of its own that is taken away whole.

A container outlives whoever started it, so a guard does: a process that waits for the end of a pipe, which the
kernel closes when the demo ends in whatever way, and takes the container, its network and its volume away.
Touches processes.
"""

from __future__ import annotations

import os
import secrets
import shutil
import subprocess
import time
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

from router.adapters.embedded.errors import EmbeddedError
from router.adapters.embedded.processes import log_tail, spawn

PROJECT_NAME: Final = "webhook-router-demo"
SERVICE: Final = "rabbitmq"
FETCH_SECONDS: Final = 600.0
"""How long fetching the image and starting may take."""
BOOT_SECONDS: Final = 90.0
DOWN_SECONDS: Final = 60.0
_LOOK_SECONDS: Final = 10
_POLL_SECONDS: Final = 0.5
_GUARD: Final = 'read -r _; exec "$@"'


def missing_part(project: Path) -> str | None:
    """What keeps Docker Compose from being used here; None where nothing does."""
    if shutil.which("docker") is None:
        return "docker is not installed"
    if not (project / "docker-compose.yml").exists():
        return "there is no docker-compose.yml beside the program"
    for arguments, missing in ((("info",), "no Docker engine"), (("compose", "version"), "docker has no compose")):
        if not _succeeds("docker", *arguments):
            return missing
    return None


def _succeeds(*command: str) -> bool:
    try:
        done = subprocess.run(  # noqa: S603 - our own arguments
            command, stdin=subprocess.DEVNULL, capture_output=True, timeout=_LOOK_SECONDS, check=False
        )
    except (OSError, subprocess.TimeoutExpired):
        return False
    return done.returncode == 0


@dataclass(slots=True, kw_only=True)
class ComposeBroker:
    """The `rabbitmq` service of the compose file in `project`; its output goes to `directory`."""

    project: Path
    directory: Path
    _password: str = field(default_factory=lambda: secrets.token_hex(16), repr=False)
    _guard: subprocess.Popen[bytes] | None = field(default=None, repr=False)

    @property
    def url(self) -> str:
        return f"amqp://router:{self._password}@127.0.0.1:5672/"

    def start(self, answers: Callable[[], bool]) -> None:
        """Start it and wait until it `answers`. Raises EmbeddedError where it does not; nothing is left then."""
        # The guard first: whatever happens from now on, it takes away what there is.
        self._guard = subprocess.Popen(  # noqa: S603 - our own arguments
            ["/bin/sh", "-c", _GUARD, "guard", *self._compose("down", "--volumes", "--timeout", "5")],
            stdin=subprocess.PIPE,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            env=self._environment(),
            start_new_session=True,
        )
        try:
            self._bring_up()
            deadline = time.monotonic() + BOOT_SECONDS
            while not answers():
                if time.monotonic() > deadline:
                    raise EmbeddedError(f"the RabbitMQ in Docker did not answer within {BOOT_SECONDS:.0f} s")
                time.sleep(_POLL_SECONDS)
        except BaseException:
            self.stop()
            raise

    def stop(self) -> None:
        """Take the container, its network and its volume away."""
        if self._guard is None:
            return
        if self._guard.stdin is not None:
            self._guard.stdin.close()
        with suppress(subprocess.TimeoutExpired):  # it goes on by itself
            self._guard.wait(DOWN_SECONDS)
        self._guard = None

    def _bring_up(self) -> None:
        log = self.directory / "docker.log"
        process = spawn(self._compose("up", "-d", SERVICE), log=log, env=self._environment())
        try:
            code = process.wait(FETCH_SECONDS)
        except subprocess.TimeoutExpired:
            raise EmbeddedError(f"docker compose up was not done after {FETCH_SECONDS:.0f} s") from None
        finally:
            process.kill()
            process.wait()
        if code != 0:
            raise EmbeddedError(f"docker compose up failed: {log_tail(log, lines=1)}")

    def _compose(self, *arguments: str) -> list[str]:
        file = str(self.project / "docker-compose.yml")
        return ["docker", "compose", "--project-name", PROJECT_NAME, "--file", file, *arguments]

    def _environment(self) -> dict[str, str]:
        return {**os.environ, "RABBITMQ_PASSWORD": self._password}
