"""How a server is run as a child that cannot outlive us. Touches processes and loopback ports."""

import ctypes
import os
import signal
import socket
import subprocess
from collections.abc import Mapping, Sequence
from pathlib import Path

_PR_SET_PDEATHSIG = 1  # linux/prctl.h
_LIBC = ctypes.CDLL(None, use_errno=True)

LOOPBACK = "127.0.0.1"


def spawn(
    command: Sequence[str | Path],
    *,
    log: Path,
    env: Mapping[str, str] | None = None,
    keep_fds: Sequence[int] = (),
) -> subprocess.Popen[bytes]:
    """Start `command` in a session of its own, its output in `log` (truncated), with `keep_fds` left open in it.

    The kernel kills it when the *thread* that called this ends, however it ends: call it on the main thread.
    SIGKILL, since a server may sleep through anything milder and nobody would be left to ask again. A session of
    its own, so that Ctrl-C reaches us first and we stop our children in order.
    """
    parent = os.getpid()

    def die_with_parent() -> None:
        _LIBC.prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)
        if os.getppid() != parent:  # the parent was gone before the kernel knew whom to watch
            os._exit(1)

    with log.open("wb") as output:
        return subprocess.Popen(  # noqa: S603 - the callers' own commands
            [os.fspath(part) for part in command],
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=subprocess.STDOUT,
            env=env,
            pass_fds=keep_fds,
            start_new_session=True,
            preexec_fn=die_with_parent,  # noqa: PLW1509 - two system calls
        )


def terminate(process: subprocess.Popen[bytes], *, timeout_seconds: float) -> None:
    """Ask `process` to end, then make it; returns when it is reaped."""
    process.terminate()
    try:
        process.wait(timeout_seconds)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()


def free_ports(count: int) -> list[int]:
    """Distinct TCP ports that were free on loopback a moment ago; another process may take one meanwhile."""
    sockets = [socket.socket() for _ in range(count)]
    try:
        for each in sockets:
            each.bind((LOOPBACK, 0))
        return [each.getsockname()[1] for each in sockets]
    finally:
        for each in sockets:
            each.close()


def log_tail(log: Path, *, lines: int = 10) -> str:
    """The last lines of `log`, for an error text; empty if there is none."""
    try:
        text = log.read_text(encoding="utf-8", errors="replace")
    except FileNotFoundError:
        return ""
    return "\n".join(text.splitlines()[-lines:])
