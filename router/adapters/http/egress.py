"""The egress policy at the only place where it is safe: asked with the exact address, just before it is dialled.

A check of the URL, or of what a name resolved to a moment ago, can be outlived by the next DNS answer; this
cannot, and it sees IP literals, which never reach a resolver.
"""

from __future__ import annotations

import errno
import socket

from aiohttp import AddrInfoType, SocketFactoryType

from router.adapters.http.trail import TRAIL, ProxyFault, ProxyFaultKind, Trail
from router.domain.egress import EgressPolicy
from router.domain.outcome import LocalFault


class EgressDenied(PermissionError):
    """The policy refuses this address. An OSError, because aiohttp and happy eyeballs pass on nothing else."""


def guarded_sockets(policy: EgressPolicy) -> SocketFactoryType:
    """A socket factory for aiohttp's connector that opens sockets to permitted addresses only.

    What it raises is merged with other addresses' errors and loses its type on the way, hence the marks on the trail.
    """

    def open_socket(addr_info: AddrInfoType) -> socket.socket:
        family, kind, protocol, _, sockaddr = addr_info
        trail = TRAIL.get(None) or Trail()
        refusal = policy.refusal(str(sockaddr[0]), int(sockaddr[1]))
        if refusal is not None:
            trail.denied += 1
            trail.refusal = refusal
            raise EgressDenied(errno.EACCES, refusal.text)
        trail.dialled += 1
        return socket.socket(family, kind, protocol)

    return open_socket


def no_sockets(_: AddrInfoType) -> socket.socket:
    """The socket factory beside an egress proxy, which has its own way out: whatever else is dialled goes past it."""
    trail = TRAIL.get(None) or Trail()
    fault = LocalFault(detail="a connection past the egress proxy was stopped")
    trail.proxy_fault = ProxyFault(ProxyFaultKind.BYPASSED, fault)
    raise EgressDenied(errno.EACCES, fault.detail)
