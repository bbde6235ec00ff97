"""When a certificate that was refused as expired did expire, for the attempt log: the server is asked once more.

Dials permitted addresses only, as they were resolved, and sends nothing over the connection, which is not verified.
"""

from __future__ import annotations

import asyncio
import socket
import ssl
from collections import OrderedDict
from datetime import datetime
from typing import Final

from aiohttp.abc import AbstractResolver
from cryptography import x509

from router.domain.egress import EgressPolicy

TRY_SECONDS: Final = 2.0
"""For the one handshake; an attempt ends no later for it than it may."""
KEPT_SECONDS: Final = 600.0
MAX_KEPT: Final = 256
"""Servers whose date is remembered, or that it could not be had."""


class Expiries:
    """Asks each server once in a while."""

    def __init__(self, policy: EgressPolicy, resolver: AbstractResolver) -> None:
        self._policy = policy
        self._resolver = resolver
        self._kept: OrderedDict[tuple[str, int], tuple[float, datetime | None]] = OrderedDict()

    async def find(self, host: str, port: int, deadline: float) -> datetime | None:
        """The end of the certificate of `host`; None where it cannot be had in time. Raises nothing."""
        now = asyncio.get_running_loop().time()
        known = self._kept.get((host, port))
        if known is not None and now < known[0]:
            return known[1]
        try:
            async with asyncio.timeout_at(min(deadline, now + TRY_SECONDS)):
                found = await self._ask(host, port)
        except (OSError, ValueError):
            found = None
        self._kept[host, port] = (now + KEPT_SECONDS, found)
        while len(self._kept) > MAX_KEPT:
            self._kept.popitem(last=False)
        return found

    async def _ask(self, host: str, port: int) -> datetime | None:
        for resolved in await self._resolver.resolve(host, port, socket.AF_UNSPEC):
            address = resolved["host"]
            if self._policy.refusal(address, port) is None:
                return await _end_of_certificate(address, port, host)
        return None


async def _end_of_certificate(address: str, port: int, host: str) -> datetime | None:
    transport, _ = await asyncio.get_running_loop().create_connection(
        asyncio.Protocol, address, port, ssl=_unverified(), server_hostname=host
    )
    try:
        certificate = transport.get_extra_info("ssl_object").getpeercert(binary_form=True)
    finally:
        transport.abort()
    return x509.load_der_x509_certificate(certificate).not_valid_after_utc


def _unverified() -> ssl.SSLContext:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname = False
    context.verify_mode = ssl.CERT_NONE
    return context
