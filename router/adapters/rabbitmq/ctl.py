"""The broker as its administrator sees it, by `rabbitmqctl` on its own host. Runs that program; it only lists."""

from __future__ import annotations

import asyncio
import json
import os
import shutil
from collections.abc import Mapping
from typing import Any, Final

from router.domain.topology import AdminView, AppliedPolicy, Binding

CTL_SECONDS: Final = 8.0
"""For each of the four questions, which are asked together."""

EPMD_PORT: Final = 4369
PORT_MAPPER_SECONDS: Final = 1.0


async def look(vhost: str, cluster: str) -> AdminView | None:
    """What rabbitmqctl says of `vhost`; None where there is none, it may not ask, or it asks another broker than
    the one that AMQP called `cluster`."""
    program = shutil.which("rabbitmqctl")
    # It would start the port mapper where there is none, and leave it behind: without one, no node runs here.
    if program is None or not await _has_port_mapper():
        return None
    try:
        status, queues, policies, bindings = await asyncio.gather(
            _ask(program, "cluster_status"),
            _ask(program, "list_queues", "--vhost", vhost, "name", "arguments", "policy"),
            _ask(program, "list_policies", "--vhost", vhost),
            _ask(program, "list_bindings", "--vhost", vhost),
        )
    except (OSError, ValueError, TimeoutError):
        return None
    if status.get("cluster_name") != cluster:
        return None
    definitions = {policy["name"]: json.loads(policy["definition"]) for policy in policies}
    return AdminView(
        origin="rabbitmqctl",
        arguments={queue["name"]: _table(queue["arguments"]) for queue in queues},
        policies={
            queue["name"]: AppliedPolicy(
                name=queue["policy"] or "", definition=definitions.get(queue["policy"] or "", {})
            )
            for queue in queues
        },
        bindings=tuple(
            Binding(
                exchange=each["source_name"],
                destination=each["destination_name"],
                key=each["routing_key"],
                arguments=_table(each["arguments"]),
                to_exchange=each["destination_kind"] == "exchange",
            )
            for each in bindings
        ),
    )


async def _has_port_mapper() -> bool:
    port = os.environ.get("ERL_EPMD_PORT", "")
    try:
        async with asyncio.timeout(PORT_MAPPER_SECONDS):
            _, writer = await asyncio.open_connection("localhost", int(port) if port.isdigit() else EPMD_PORT)
    except (OSError, TimeoutError):
        return False
    writer.close()
    return True


async def _ask(program: str, *arguments: str) -> Any:
    """What a command lists. Raises ValueError where it fails, TimeoutError where it takes too long."""
    process = await asyncio.create_subprocess_exec(
        program,
        *(arguments[0], "--quiet", "--formatter", "json", *arguments[1:]),
        stdin=asyncio.subprocess.DEVNULL,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.DEVNULL,
        env={**os.environ, "LC_ALL": "C.UTF-8"},
    )
    try:
        async with asyncio.timeout(CTL_SECONDS):
            output, _ = await process.communicate()
    finally:
        if process.returncode is None:
            process.kill()
            await process.wait()
    if process.returncode != 0:
        raise ValueError(f"rabbitmqctl {arguments[0]} failed")
    return json.loads(output)


def _table(raw: object) -> Mapping[str, object]:
    """A table of arguments: `[[name, type, value], …]`, or an object in newer releases."""
    if isinstance(raw, Mapping):
        return {str(key): value for key, value in raw.items()}
    return {str(name): value for name, _, value in raw} if isinstance(raw, list) else {}
