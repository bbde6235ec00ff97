"""Tells systemd how we are (sd_notify): ready, reloading, stopping, alive; finds the credentials that it hands over.
Does nothing where no systemd asks for it.
"""

from __future__ import annotations

import os
import socket
import time
from pathlib import Path


def notify(state: str) -> None:
    """Send `state` (`READY=1`, `STOPPING=1`, `WATCHDOG=1`, …) to the service manager, if there is one."""
    address = os.environ.get("NOTIFY_SOCKET")
    if not address:
        return
    if address.startswith("@"):  # an abstract socket
        address = "\0" + address[1:]
    try:
        with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM | socket.SOCK_CLOEXEC) as manager:
            manager.connect(address)
            manager.sendall(state.encode())
    except OSError:
        return  # a manager that does not listen is no reason to fail


def reloading() -> str:
    """The state of a reload that begins now; it is over with the next `READY=1`. systemd from 253 on wants the time, to
    tell this reload from an earlier one (sd_notify(3))."""
    return f"RELOADING=1\nMONOTONIC_USEC={time.monotonic_ns() // 1000}"


def watchdog_seconds() -> float | None:
    """How often the service manager wants to hear WATCHDOG=1, halved as it advises; None where it does not."""
    microseconds = os.environ.get("WATCHDOG_USEC", "")
    is_ours = os.environ.get("WATCHDOG_PID", str(os.getpid())) == str(os.getpid())
    return int(microseconds) / 2e6 if microseconds.isdigit() and is_ours else None


def credential(name: str) -> Path | None:
    """The file of a credential (`LoadCredential=`); None where the service manager hands over none of that name."""
    directory = os.environ.get("CREDENTIALS_DIRECTORY")
    path = Path(directory, name) if directory else None
    return path if path is not None and path.exists() else None
