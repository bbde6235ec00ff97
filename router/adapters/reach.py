"""Whether a server can be reached at all: its name, a TLS handshake. Touches DNS and sockets; sends nothing else."""

from __future__ import annotations

import asyncio
import socket
import ssl
from contextlib import suppress
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Final

CLOSE_SECONDS: Final = 1.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Handshake:
    """`expires` is when the server's certificate ends; None where it was not to be verified."""

    version: str
    expires: datetime | None


async def resolve(host: str) -> list[str]:
    """The addresses of a name, as the libraries that connect ask for them. Raises OSError."""
    found = await asyncio.get_running_loop().getaddrinfo(host, None, type=socket.SOCK_STREAM)
    return sorted({str(address[0]) for *_, address in found})


async def shake_hands(host: str, port: int, *, ca_file: str | None, verify: bool) -> Handshake:
    """A TLS handshake, and no byte after it. Raises OSError, of which ssl.SSLError is one."""
    context = ssl.create_default_context(cafile=ca_file)
    if not verify:
        context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
    _, writer = await asyncio.open_connection(host, port, ssl=context, server_hostname=host)
    try:
        tls: ssl.SSLObject = writer.get_extra_info("ssl_object")
        ends = (tls.getpeercert() or {}).get("notAfter")
        expires = datetime.fromtimestamp(ssl.cert_time_to_seconds(str(ends)), UTC) if ends else None
        return Handshake(version=tls.version() or "", expires=expires)
    finally:
        writer.close()
        with suppress(OSError, TimeoutError):
            async with asyncio.timeout(CLOSE_SECONDS):
                await writer.wait_closed()


def authorities() -> int:
    """How many certificate authorities this host trusts: none is an image without ca-certificates."""
    return ssl.create_default_context().cert_store_stats()["x509_ca"] or len(_files_of_authorities())


def _files_of_authorities() -> list[str]:
    """A folder of certificates is looked into at each handshake, and counts as nothing before."""
    folder = ssl.get_default_verify_paths().capath
    return [str(each) for each in Path(folder).iterdir()] if folder else []
