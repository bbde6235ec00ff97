"""TLS contexts that show a client certificate, one for each certificate. Builds them on a thread: it takes tens of
milliseconds to read the system's authorities.

aiohttp's pool tells connections apart by their context, so no connection is shared by webhooks that show different
certificates, nor with those that show none.
"""

from __future__ import annotations

import asyncio
import os
import ssl
from collections import OrderedDict
from collections.abc import Callable
from typing import Final

from router.adapters.http.sharing import SharedWork
from router.domain.credentials import ClientCertificate

MAX_CONTEXTS: Final = 256
"""Contexts that are kept, each with its own copy of the authorities; the one that was used last stays longest."""


class ClientIdentities:
    """The contexts by certificate. `new_context` makes one that trusts whom the sender trusts."""

    def __init__(self, new_context: Callable[[], ssl.SSLContext]) -> None:
        self._new_context = new_context
        self._contexts: OrderedDict[ClientCertificate, ssl.SSLContext] = OrderedDict()
        self._building: SharedWork[ClientCertificate, ssl.SSLContext] = SharedWork("client-certificate")

    async def context(self, certificate: ClientCertificate) -> ssl.SSLContext:
        """Raises ssl.SSLError where OpenSSL does not take the certificate."""
        known = self._contexts.get(certificate)
        if known is not None:
            self._contexts.move_to_end(certificate)
            return known
        return await self._building.result(certificate, lambda: self._build(certificate))

    async def _build(self, certificate: ClientCertificate) -> ssl.SSLContext:
        context = await asyncio.to_thread(self._load, certificate)
        self._contexts[certificate] = context
        while len(self._contexts) > MAX_CONTEXTS:
            self._contexts.popitem(last=False)
        return context

    def _load(self, certificate: ClientCertificate) -> ssl.SSLContext:
        context = self._new_context()
        # OpenSSL reads files only, and this one is in memory: the key never is on a disk.
        descriptor = os.memfd_create("client-certificate", os.MFD_CLOEXEC)
        try:
            with open(descriptor, "wb", closefd=False) as file:
                file.write(f"{certificate.key}\n{certificate.certificate}".encode())
            context.load_cert_chain(f"/proc/self/fd/{descriptor}")
        finally:
            os.close(descriptor)
        return context

    async def close(self) -> None:
        await self._building.close()
        self._contexts.clear()
