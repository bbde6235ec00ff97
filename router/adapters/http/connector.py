"""Getting connected: names to addresses within a limit, and a connection pool under the egress policy.

Touches DNS and sockets.
"""

from __future__ import annotations

import asyncio
import socket
import ssl
from collections.abc import Sequence
from functools import partial
from typing import Final, cast

import aiohttp
from aiohttp.abc import AbstractResolver, ResolveResult
from aiohttp.client_proto import ResponseHandler
from aiohttp.resolver import AsyncResolver

from router.adapters.http.egress import guarded_sockets
from router.adapters.http.protocol import AnswerProtocol
from router.domain.egress import EgressPolicy

DNS_TIMEOUT_SECONDS: Final = 5.0
"""The end of one lookup. All requests to a host share it, and it outlives the one that started it."""
DNS_TRY_SECONDS: Final = 1.0
"""The wait for the first reply; doubled with each of the tries."""
DNS_TRIES: Final = 3
DNS_CACHE_SECONDS: Final = 10
KEEPALIVE_SECONDS: Final = 15.0


class BoundedResolver(AbstractResolver):
    """Any resolver with an end to each lookup. What it raises is an OSError whose text names no host."""

    def __init__(self, inner: AbstractResolver, timeout_seconds: float = DNS_TIMEOUT_SECONDS) -> None:
        self._inner = inner
        self._timeout_seconds = timeout_seconds

    async def resolve(
        self, host: str, port: int = 0, family: socket.AddressFamily = socket.AF_UNSPEC
    ) -> list[ResolveResult]:
        try:
            async with asyncio.timeout(self._timeout_seconds):
                return await self._inner.resolve(host, port, family)
        except TimeoutError as exc:
            # Without errno but with a type of its own: aiohttp would take a TimeoutError for its own.
            raise OSError(None, "Timeout while looking up the name") from exc

    async def close(self) -> None:
        await self._inner.close()


def name_resolver(servers: Sequence[str] = ()) -> AbstractResolver:
    """Asks `servers` (addresses, each with a port or without), or else the system's, on a thread of its own: none of
    the executor's few is held by a slow name."""
    return BoundedResolver(AsyncResolver(nameservers=servers or None, timeout=DNS_TRY_SECONDS, tries=DNS_TRIES))


class GuardedConnector(aiohttp.TCPConnector):
    """A connection pool that dials what the policy permits. Its size has no limit: lanes bound what is in flight.

    With `force_close` it never reuses a connection.
    """

    def __init__(
        self,
        policy: EgressPolicy,
        *,
        resolver: AbstractResolver,
        tls: ssl.SSLContext,
        force_close: bool = False,
    ) -> None:
        super().__init__(
            resolver=resolver,
            ssl=tls,
            socket_factory=guarded_sockets(policy),
            limit=0,
            limit_per_host=0,
            ttl_dns_cache=DNS_CACHE_SECONDS,
            force_close=force_close,
            keepalive_timeout=None if force_close else KEEPALIVE_SECONDS,
        )
        # The one private name of aiohttp that we use: there is no public way to bring one's own reader.
        self._factory = cast("partial[ResponseHandler]", partial(AnswerProtocol, self._loop))


def client_tls() -> ssl.SSLContext:
    """What every customer's server must satisfy: a certificate for its name from a public authority, TLS 1.2."""
    context = ssl.create_default_context()
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    context.set_alpn_protocols(["http/1.1"])
    return context
