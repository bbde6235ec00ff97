"""A private RabbitMQ node made from the installed package, for the demo and the tests.

Everything it needs is under one directory and on loopback ports of its own, so it shares nothing with a
RabbitMQ service on the same machine. Touches processes and files; speaks no AMQP.
"""

import hashlib
import os
import shutil
import subprocess
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

from router.adapters.embedded.errors import EmbeddedError
from router.adapters.embedded.processes import LOOPBACK, free_ports, log_tail, spawn, terminate

_DEBIAN_SERVER = Path("/usr/lib/rabbitmq/bin/rabbitmq-server")
_BOOTED = "completed with"  # "Starting broker... completed with 0 plugins.": printed once the listeners are up
_STOP_TIMEOUT_SECONDS = 20
_CTL_TIMEOUT_SECONDS = 60
_START_TRIES = 3

# -noinput: no Erlang shell. +sbwt…: schedulers that wait sleep, since they share few cores with what is measured.
_ERLANG_ARGS = (
    "-noinput +B i +sbwt none +sbwtdcpu none +sbwtdio none -start_epmd false "
    "-kernel inet_dist_use_interface {127,0,0,1}"
)
_CONFIG = """\
listeners.tcp.1 = 127.0.0.1:{port}
log.console = true
log.console.level = warning
"""


def find_rabbitmq() -> Path | None:
    """The server script of an installed RabbitMQ, or None.

    Debian's script on the PATH is a wrapper that changes user and so cannot enter our directory: the real one
    goes first.
    """
    if _DEBIAN_SERVER.exists():
        return _DEBIAN_SERVER
    found = shutil.which("rabbitmq-server")
    return Path(found).resolve() if found else None


@dataclass(slots=True, kw_only=True)
class RabbitNode:
    """One broker under `directory`. `port` 0 means any free one; it then stays the same over restarts.

    The process dies with the thread that started it (see `spawn`). Not thread-safe.
    """

    directory: Path
    port: int = 0
    _dist_port: int = field(default=0, init=False, repr=False)
    _epmd_port: int = field(default=0, init=False, repr=False)
    _server: subprocess.Popen[bytes] | None = field(default=None, init=False, repr=False)
    _epmd: subprocess.Popen[bytes] | None = field(default=None, init=False, repr=False)

    @property
    def url(self) -> str:
        """Where to connect, as the user that every new node has; it may only come from loopback."""
        return f"amqp://guest:guest@{LOOPBACK}:{self.port}/"

    @property
    def log(self) -> Path:
        """The node's output since it was last started."""
        return self.directory / "rabbitmq.log"

    def start(self, timeout_seconds: float = 60) -> None:
        """Start the node and wait until it accepts connections.

        Raises EmbeddedError when RabbitMQ is not installed, or does not come up in time.
        """
        script = _required_script()
        self.directory.mkdir(parents=True, exist_ok=True, mode=0o700)
        deadline = time.monotonic() + timeout_seconds
        for _ in range(_START_TRIES):
            chose_port = self._choose_ports()
            self._launch(script)
            if self._wait_until_booted(deadline):
                return
            is_slow = self.is_running
            self.stop()
            # Between our choice and the bind another process may have taken the port.
            if is_slow or not chose_port or "eaddrinuse" not in log_tail(self.log, lines=200):
                break
            self.port = 0
        raise EmbeddedError(f"RabbitMQ did not start; the end of {self.log}:\n{log_tail(self.log)}")

    def stop(self) -> None:
        """Shut the node and its port mapper down; data stays. Does nothing when they do not run."""
        if self._server is not None:
            terminate(self._server, timeout_seconds=_STOP_TIMEOUT_SECONDS)
            self._server = None
        if self._epmd is not None:
            terminate(self._epmd, timeout_seconds=_STOP_TIMEOUT_SECONDS)
            self._epmd = None

    def kill(self) -> None:
        """End the node as a power cut would (SIGKILL); `start` brings it back on the same port.

        A quorum queue that was declared within the last second does not survive: 3.10 writes down whose log is
        whose only every 0.5 s.
        """
        if self._server is not None:
            self._server.kill()
            self._server.wait()
            self._server = None

    def restart(self, timeout_seconds: float = 60) -> None:
        """Stop in order, then start on the same port with the same data."""
        self.stop()
        self.start(timeout_seconds)

    @property
    def is_running(self) -> bool:
        return self._server is not None and self._server.poll() is None

    @property
    def tools(self) -> Path:
        """The folder of the programs that administer a node; they find this one by `environment`."""
        return _required_script().parent

    def ctl(self, *args: str) -> str:
        """Run rabbitmqctl on this node and return what it printed; about half a second each.

        Raises EmbeddedError when it fails.
        """
        return self._administer("rabbitmqctl", *args)

    def plugins(self, *args: str) -> str:
        """Run rabbitmq-plugins on this node, as `ctl` does."""
        return self._administer("rabbitmq-plugins", *args)

    def _administer(self, program: str, *args: str) -> str:
        try:
            done = subprocess.run(  # noqa: S603 - a fixed program, arguments by our own callers
                [self.tools / program, "--quiet", *args],
                env=self.environment(),
                stdin=subprocess.DEVNULL,
                capture_output=True,
                text=True,
                timeout=_CTL_TIMEOUT_SECONDS,
                check=True,
            )
        except subprocess.TimeoutExpired as exc:
            raise EmbeddedError(f"{program} {args[0]} gave no answer in {_CTL_TIMEOUT_SECONDS} s") from exc
        except subprocess.CalledProcessError as exc:
            raise EmbeddedError(f"{program} {args[0]} failed: {exc.stderr.strip() or exc.stdout.strip()}") from exc
        return done.stdout

    def _choose_ports(self) -> bool:
        """Fill in the ports that are still open; True if the AMQP one was among them."""
        if self._epmd is None:
            self._dist_port, self._epmd_port = free_ports(2)
        if self.port:
            return False
        (self.port,) = free_ports(1)
        return True

    def _launch(self, script: Path) -> None:
        (self.directory / "rabbitmq.conf").write_text(_CONFIG.format(port=self.port))
        (self.directory / "enabled_plugins").write_text("[].\n")
        if self._epmd is None:
            # As our own child: the daemon that Erlang would start detaches and stays behind.
            self._epmd = spawn(
                [_required_epmd(), "-address", LOOPBACK, "-port", str(self._epmd_port)],
                log=self.directory / "epmd.log",
            )
            _wait(self._is_epmd_listening, until=time.monotonic() + 10)
        self._server = spawn([script], log=self.log, env=self.environment())

    def _wait_until_booted(self, deadline: float) -> bool:
        _wait(lambda: not self.is_running or self._has_booted(), until=deadline)
        return self.is_running and self._has_booted()

    def _has_booted(self) -> bool:
        return _BOOTED in self.log.read_text(encoding="utf-8", errors="replace")

    def _is_epmd_listening(self) -> bool:
        names = subprocess.run(  # noqa: S603 - a fixed program
            [_required_epmd(), "-port", str(self._epmd_port), "-names"], capture_output=True, check=False
        )
        return names.returncode == 0

    def environment(self) -> dict[str, str]:
        """The caller's environment, with every way that RabbitMQ reads a path or a name turned to our directory."""
        inherited = {
            name: value
            for name, value in os.environ.items()
            if not name.startswith(("RABBITMQ_", "ERL_")) and name != "NOTIFY_SOCKET"
        }
        identity = hashlib.sha256(os.fsencode(self.directory.absolute())).hexdigest()[:8]
        return inherited | {
            "HOME": str(self.directory),  # the cookie
            "ERL_EPMD_ADDRESS": LOOPBACK,
            "ERL_EPMD_PORT": str(self._epmd_port),
            "RABBITMQ_ADVANCED_CONFIG_FILE": str(self.directory / "advanced.config"),
            "RABBITMQ_ALLOW_INPUT": "true",  # makes the script exec Erlang: our child is the node itself
            "RABBITMQ_CONFIG_FILE": str(self.directory / "rabbitmq.conf"),
            "RABBITMQ_CONFIG_FILES": str(self.directory / "conf.d"),
            "RABBITMQ_CONF_ENV_FILE": str(self.directory / "rabbitmq-env.conf"),
            "RABBITMQ_DIST_PORT": str(self._dist_port),
            "RABBITMQ_ENABLED_PLUGINS_FILE": str(self.directory / "enabled_plugins"),
            "RABBITMQ_LOGS": "-",
            "RABBITMQ_LOG_BASE": str(self.directory / "log"),
            "RABBITMQ_MNESIA_BASE": str(self.directory / "data"),
            "RABBITMQ_NODENAME": f"webhook-router-{identity}@localhost",
            "RABBITMQ_SERVER_ADDITIONAL_ERL_ARGS": _ERLANG_ARGS,
        }


def _required_script() -> Path:
    script = find_rabbitmq()
    if script is None:
        raise EmbeddedError("RabbitMQ is not installed: apt-get install rabbitmq-server, or give the URL of a broker")
    return script


def _required_epmd() -> str:
    epmd = shutil.which("epmd")
    if epmd is None:
        raise EmbeddedError("epmd, a part of Erlang that RabbitMQ needs, is not on the PATH")
    return epmd


def _wait(condition: Callable[[], bool], *, until: float) -> None:
    while not condition() and time.monotonic() < until:
        time.sleep(0.1)
