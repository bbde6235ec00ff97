"""The egress proxy: connections to customers' servers by its CONNECT, for https and http alike.

Touches sockets and DNS. Dials the proxy and nothing else; whom it lets through to is the proxy's to decide.
"""

from __future__ import annotations

import asyncio
import re
import socket
import ssl
from dataclasses import dataclass, field
from ipaddress import ip_address
from typing import Final, Literal

from aiohttp.abc import AbstractResolver

from router.adapters.http.classify import tls_detail
from router.adapters.http.trail import TRAIL, ProxyFault, ProxyFaultKind, Trail
from router.domain.delivery import AttemptError
from router.domain.outcome import LocalFault, NoAnswer

TRY_SECONDS: Final = 1.0
"""For each address of the proxy but the last; the connect timeout of the request bounds them all."""
ADDRESSES_SECONDS: Final = 10.0
"""How long the addresses that the proxy's name had are used."""
MAX_REPLY_BYTES: Final = 8190
"""The longest head of an answer to CONNECT."""

_END_OF_HEAD: Final = b"\r\n\r\n"
_STATUS_LINE: Final = re.compile(rb"HTTP/1\.[01] ([1-9][0-9]{2})(?: [^\r\n]*)?\r\n")
_CHALLENGE: Final = re.compile(rb"(?im)^proxy-authenticate[ \t]*:")


@dataclass(frozen=True, slots=True, kw_only=True)
class ProxyAddress:
    """`egress.proxy_url`, taken apart. `authorization` is the value of the header that says who we are."""

    scheme: Literal["http", "https"]
    host: str
    port: int
    authorization: str | None = field(default=None, repr=False)

    def __str__(self) -> str:
        return f"{self.scheme}://{_host_and_port(self.host, self.port)}"


class ProxyFailed(ConnectionError):
    """No connection through the proxy; why is on the trail. An OSError, because aiohttp passes nothing else on."""


class ProxyTunnels:
    """Opens connections through one proxy."""

    def __init__(self, proxy: ProxyAddress, *, resolver: AbstractResolver, tls: ssl.SSLContext) -> None:
        """`resolver` finds the proxy's own name, `tls` is what an https proxy must satisfy."""
        self._proxy = proxy
        self._resolver = resolver
        self._tls = tls if proxy.scheme == "https" else None
        self._addresses: list[str] = []
        self._fresh_until = 0.0

    async def open(self, host: str, port: int) -> asyncio.Transport:
        """A transport whose other end is `host` (an IPv6 address without brackets), ready for TLS or HTTP.

        Raises OSError, with the fault on the trail where it is the proxy's; never a name or an address in its text.
        """
        trail = TRAIL.get(None) or Trail()
        trail.proxy_fault = _unreachable("not in time")  # which is how it ends if nothing else ends it
        transport, reply = await self._reach(trail)
        trail.proxy_fault = None
        trail.dialled += 1
        try:
            transport.write(self._request(host, port))
            trail.proxy_fault = _fault_of(await reply.head)
            if trail.proxy_fault is not None:
                raise ProxyFailed
        except BaseException:
            transport.abort()
            raise
        return transport

    async def _reach(self, trail: Trail) -> tuple[asyncio.Transport, _Reply]:
        try:
            addresses = await self._resolve()
            for address in addresses[:-1]:
                try:
                    async with asyncio.timeout(TRY_SECONDS):
                        return await self._dial(address)
                except OSError:
                    continue
            return await self._dial(addresses[-1])
        except ssl.SSLError as exc:
            trail.proxy_fault = _ours(ProxyFaultKind.TLS, f"no TLS with the egress proxy: {tls_detail(exc)}")
            raise ProxyFailed from exc
        except OSError as exc:
            trail.proxy_fault = _unreachable(exc.strerror or type(exc).__name__)
            raise ProxyFailed from exc

    async def _resolve(self) -> list[str]:
        """At least one address. Raises OSError."""
        if _is_address(self._proxy.host):
            return [self._proxy.host]
        now = asyncio.get_running_loop().time()
        if now >= self._fresh_until:
            found = await self._resolver.resolve(self._proxy.host, self._proxy.port, socket.AF_UNSPEC)
            # What a resolver gives is dialled as it is: a name would be looked up again, by somebody else.
            self._addresses = [each["host"] for each in found if _is_address(each["host"])]
            self._fresh_until = now + ADDRESSES_SECONDS
        if not self._addresses:
            raise OSError(None, "its name has no address")
        return self._addresses

    async def _dial(self, address: str) -> tuple[asyncio.Transport, _Reply]:
        return await asyncio.get_running_loop().create_connection(
            _Reply,
            address,
            self._proxy.port,
            ssl=self._tls,
            server_hostname=self._proxy.host if self._tls else None,
        )

    def _request(self, host: str, port: int) -> bytes:
        target = _host_and_port(host, port)
        lines = [f"CONNECT {target} HTTP/1.1", f"Host: {target}"]
        if self._proxy.authorization is not None:
            lines.append(f"Proxy-Authorization: {self._proxy.authorization}")
        return "\r\n".join([*lines, "", ""]).encode("ascii")


class _Reply(asyncio.Protocol):
    """Reads the proxy's answer to CONNECT; `head` is what came, None where the proxy hung up before its end."""

    def __init__(self) -> None:
        self.head: asyncio.Future[bytes | None] = asyncio.get_running_loop().create_future()
        self._data = bytearray()

    def data_received(self, data: bytes) -> None:
        self._data += data
        if _END_OF_HEAD in self._data or len(self._data) > MAX_REPLY_BYTES:
            self._end(bytes(self._data))

    def connection_lost(self, exc: Exception | None) -> None:
        self._end(None)

    def _end(self, head: bytes | None) -> None:
        if not self.head.done():
            self.head.set_result(head)


def _fault_of(reply: bytes | None) -> ProxyFault | None:
    """What a proxy's answer to CONNECT means; None: the connection is there."""
    if reply is None:
        return _ours(ProxyFaultKind.UNREACHABLE, "the egress proxy hung up")
    line = _STATUS_LINE.match(reply)
    head, end, rest = reply.partition(_END_OF_HEAD)
    if line is None or not end:
        return _ours(ProxyFaultKind.PROTOCOL, "the egress proxy does not speak HTTP/1.1")
    status = int(line[1])
    if not 200 <= status < 300:
        return _refusal_of(status, is_challenge=_CHALLENGE.search(head) is not None)
    # Whoever speaks before us is no HTTP server, and what it says would be taken for an answer.
    return _ours(ProxyFaultKind.PROTOCOL, "the egress proxy sent more than its answer") if rest else None


def _refusal_of(status: int, *, is_challenge: bool) -> ProxyFault:
    """What a status that is no success means.

    403, 407 without a challenge (by which some proxies refuse a target) and 5xx may be said of one target or of all:
    failures, which the brake takes for our own where everybody meets them. All else is our own for certain.
    """
    said = f"the egress proxy answered {status}"
    if status == 407 and is_challenge:
        return _ours(ProxyFaultKind.CREDENTIALS, f"{said}: it wants other credentials")
    if status in (403, 407):
        return ProxyFault(ProxyFaultKind.REFUSED, NoAnswer(error=AttemptError.OTHER, detail=said))
    if status >= 500 and status != 501:
        error = AttemptError.CONNECT_TIMEOUT if status == 504 else AttemptError.OTHER
        return ProxyFault(ProxyFaultKind.NO_CONNECTION, NoAnswer(error=error, detail=said))
    return _ours(ProxyFaultKind.PROTOCOL, said)


def _host_and_port(host: str, port: int) -> str:
    return f"[{host}]:{port}" if ":" in host else f"{host}:{port}"


def _ours(kind: ProxyFaultKind, detail: str) -> ProxyFault:
    return ProxyFault(kind, LocalFault(detail=detail))


def _unreachable(why: str) -> ProxyFault:
    return _ours(ProxyFaultKind.UNREACHABLE, f"the egress proxy cannot be reached: {why}")


def _is_address(host: str) -> bool:
    try:
        ip_address(host)
    except ValueError:
        return False
    return True
