"""The way out tried on itself: what the policy must refuse is asked of the socket, and a server of our own listens
whether anything comes through. Opens sockets of this host only; asks the name servers for a name that nobody has.
"""

from __future__ import annotations

import asyncio
import socket
from collections.abc import Sequence
from contextlib import suppress
from typing import Final

import aiodns
import aiohttp

from router.adapters.http.connector import GuardedConnector, client_tls, name_resolver
from router.adapters.http.egress import EgressDenied, guarded_sockets
from router.adapters.http.trail import TRAIL, Trail
from router.domain.egress import EgressPolicy

NOBODYS_NAME: Final = "webhook-router.invalid"
"""A name that cannot exist (RFC 6761): whoever says so has answered."""
LOOPBACK: Final = "127.0.0.1"
TRY_SECONDS: Final = 3.0
_ANSWERS: Final = frozenset({aiodns.error.ARES_ENOTFOUND, aiodns.error.ARES_ENODATA})


def refuses(policy: EgressPolicy, address: str, port: int) -> bool:
    """Whether the connection pool's socket factory refuses what it would dial next."""
    family = socket.AF_INET6 if ":" in address else socket.AF_INET
    try:
        opened = guarded_sockets(policy)((family, socket.SOCK_STREAM, 0, "", (address, port)))
    except EgressDenied:
        return True
    opened.close()
    return False


async def reaches_this_host(policy: EgressPolicy) -> int | None:
    """How many connections a server of our own on loopback gets, if it is asked by address and by name; None where the
    policy permits it, so that nothing is to be learnt."""
    reached = 0
    TRAIL.set(Trail())

    def count(_: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        nonlocal reached
        reached += 1
        writer.close()

    async with await asyncio.start_server(count, LOOPBACK, 0) as server:
        port = server.sockets[0].getsockname()[1]
        if policy.refusal(LOOPBACK, port) is None:
            return None
        resolver = name_resolver()
        connector = GuardedConnector(policy, resolver=resolver, tls=client_tls(), force_close=True)
        timeout = aiohttp.ClientTimeout(total=TRY_SECONDS)
        async with aiohttp.ClientSession(connector=connector, timeout=timeout, trust_env=False) as session:
            for host in (LOOPBACK, "localhost"):
                with suppress(aiohttp.ClientError, OSError):
                    await session.get(f"http://{host}:{port}/", allow_redirects=False)
        await resolver.close()
    return reached


async def name_servers_answer(servers: Sequence[str]) -> str:
    """Ask for a name that nobody has. Empty where the servers answer, else what was heard instead."""
    resolver = name_resolver(servers)
    try:
        await resolver.resolve(NOBODYS_NAME)
    except OSError as error:
        cause = error.__cause__
        if cause is not None and cause.args and cause.args[0] in _ANSWERS:
            return ""
        return str(error.strerror or error)
    finally:
        await resolver.close()
    return ""
