"""What this process may open, and what manages it. Reads files and asks systemctl; changes nothing."""

from __future__ import annotations

import asyncio
import os
import resource
import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import Final

SYSTEMCTL_SECONDS: Final = 3.0
_PROPERTIES: Final = ("LoadState", "ActiveState", "UnitFileState", "LimitNOFILE", "Restart", "WatchdogUSec")
_CONTAINER_MARKS: Final = ("/.dockerenv", "/run/.containerenv")
_SERVICE_ACCOUNT: Final = "/var/run/secrets/kubernetes.io/serviceaccount/token"


def descriptor_limit() -> int:
    """How many files and sockets this process may have open."""
    soft, _ = resource.getrlimit(resource.RLIMIT_NOFILE)
    return soft if soft != resource.RLIM_INFINITY else 1 << 30


def is_kubernetes() -> bool:
    return "KUBERNETES_SERVICE_HOST" in os.environ


def has_service_account() -> bool:
    """Whether the pod holds a token of the cluster's, which the router never needs."""
    return Path(_SERVICE_ACCOUNT).exists()


def is_container() -> bool:
    return any(Path(mark).exists() for mark in _CONTAINER_MARKS)


def is_systemd() -> bool:
    """Whether systemd runs this host; where it runs none, its unit is of no use."""
    return Path("/run/systemd/system").is_dir()


async def unit_properties(unit: str) -> Mapping[str, str]:
    """What systemd says of a unit; empty where nobody can be asked."""
    program = shutil.which("systemctl")
    if program is None:
        return {}
    process = await asyncio.create_subprocess_exec(
        *(program, "show", unit, f"--property={','.join(_PROPERTIES)}"),
        stdin=asyncio.subprocess.DEVNULL,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.DEVNULL,
    )
    try:
        async with asyncio.timeout(SYSTEMCTL_SECONDS):
            output, _ = await process.communicate()
    except TimeoutError:
        return {}
    finally:
        if process.returncode is None:
            process.kill()
            await process.wait()
    lines = (line.partition("=") for line in output.decode("utf-8", "replace").splitlines())
    return {name: value for name, _, value in lines if value}
