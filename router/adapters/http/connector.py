"""Getting connected: names to addresses within a limit, and a connection pool under the egress policy or behind a
proxy.

Touches DNS and sockets.
"""

from __future__ import annotations

import asyncio
import errno
import socket
import ssl
from collections.abc import Sequence
from functools import partial
from typing import Final, cast

import aiohttp
from aiohttp.abc import AbstractResolver, ResolveResult
from aiohttp.client_proto import ResponseHandler
from aiohttp.client_reqrep import ClientRequest
from aiohttp.resolver import AsyncResolver
from aiohttp.tracing import Trace

from router.adapters.http.egress import guarded_sockets, no_sockets
from router.adapters.http.protocol import AnswerProtocol
from router.adapters.http.proxy import ProxyTunnels
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
    """A connection pool that dials what the policy permits, or has everything dialled by a proxy, and then dials
    nothing itself. Its size has no limit: lanes bound what is in flight.

    With `force_close` it never reuses a connection.
    """

    def __init__(
        self,
        policy: EgressPolicy,
        *,
        resolver: AbstractResolver,
        tls: ssl.SSLContext,
        tunnels: ProxyTunnels | None = None,
        force_close: bool = False,
    ) -> None:
        super().__init__(
            resolver=resolver,
            ssl=tls,
            socket_factory=guarded_sockets(policy) if tunnels is None else no_sockets,
            limit=0,
            limit_per_host=0,
            ttl_dns_cache=DNS_CACHE_SECONDS,
            force_close=force_close,
            keepalive_timeout=None if force_close else KEEPALIVE_SECONDS,
        )
        self._tunnels = tunnels
        # Private names of aiohttp are used here and below: there is no public way to bring one's own reader, nor to
        # have http go through CONNECT. Should they change, the socket factory still lets nothing out.
        self._factory = cast("partial[ResponseHandler]", partial(AnswerProtocol, self._loop))

    async def _create_connection(
        self,
        req: ClientRequest,
        traces: list[Trace],
        timeout: aiohttp.ClientTimeout,  # noqa: ASYNC109  aiohttp's name
    ) -> ResponseHandler:
        if self._tunnels is None:
            return await super()._create_connection(req, traces, timeout)
        host = req.url.raw_host or ""
        transport = await self._tunnels.open(host, req.port or 0)
        try:
            return await self._speak(transport, req, host.rstrip("."))
        except BaseException:
            transport.abort()
            raise

    async def _speak(self, transport: asyncio.Transport, req: ClientRequest, host: str) -> ResponseHandler:
        """The protocol of a request, on a transport that was opened for it, over TLS where it is https."""
        protocol = self._factory()
        tls = self._get_ssl_context(req)
        if tls is None:
            transport.set_protocol(protocol)
            protocol.connection_made(transport)
            return protocol
        name = req.server_hostname or host
        over_tls = await self._loop.start_tls(transport, protocol, tls, server_hostname=name)
        if over_tls is None:
            raise ConnectionResetError(errno.ECONNRESET, "closed during the handshake")
        protocol.connection_made(over_tls)
        return protocol


def client_tls() -> ssl.SSLContext:
    """What every customer's server must satisfy: a certificate for its name from a public authority, TLS 1.2."""
    context = ssl.create_default_context()
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    context.set_alpn_protocols(["http/1.1"])
    return context
