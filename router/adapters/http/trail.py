"""What one request has met on the wire so far: the memory that tells one failure from another.

The sender starts a trail; the socket factory, the proxy's client and the reader of answers leave their marks on it.
It travels in a context variable, because aiohttp passes nothing of ours to the places that dial and read.
"""

from __future__ import annotations

from contextvars import ContextVar
from dataclasses import dataclass
from enum import StrEnum

from router.domain.egress import Refusal
from router.domain.outcome import LocalFault, NoAnswer


class ProxyFaultKind(StrEnum):
    """How a connection through the egress proxy did not come about, for counting."""

    UNREACHABLE = "unreachable"
    TLS = "tls"
    PROTOCOL = "protocol"
    CREDENTIALS = "credentials"
    REFUSED = "refused"
    NO_CONNECTION = "no_connection"
    BYPASSED = "bypassed"


@dataclass(frozen=True, slots=True)
class ProxyFault:
    """The kind, and what the request that met it comes to."""

    kind: ProxyFaultKind
    result: LocalFault | NoAnswer


@dataclass(slots=True)
class Trail:
    """The marks of one request on one connection."""

    dialled: int = 0
    """Addresses that the policy permitted, or the proxy; 0 on a connection from the pool."""
    denied: int = 0
    """Addresses that the egress policy refused."""
    refusal: Refusal | None = None
    """The rule that the last denied address broke."""
    proxy_fault: ProxyFault | None = None
    """Why the egress proxy gave no connection."""
    connected: bool = False
    """A connection was there, and the request was about to be written."""
    heard: bool = False
    """At least one byte of an answer arrived."""

    def restart(self) -> None:
        """Forget everything: the request goes out again, on another connection."""
        self.dialled = self.denied = 0
        self.refusal = self.proxy_fault = None
        self.connected = self.heard = False

    @property
    def is_blocked(self) -> bool:
        """Whether every address was refused. One that was permitted and failed is an ordinary failure."""
        return self.denied > 0 and self.dialled == 0

    @property
    def is_unanswered_reuse(self) -> bool:
        """Whether the request went out on a connection from the pool and nothing came back."""
        return self.connected and self.dialled == 0 and not self.heard


TRAIL: ContextVar[Trail] = ContextVar("TRAIL")
"""The trail of the request that the running task sends. Happy eyeballs dials in child tasks, which inherit it."""
