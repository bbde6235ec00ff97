"""Whose request it is, by address: the peer's own, or what proxies that are trusted say of it. Pure."""

from __future__ import annotations

from collections.abc import Sequence
from ipaddress import IPv4Address, IPv4Network, IPv6Address, IPv6Network, ip_address
from typing import Final

Network = IPv4Network | IPv6Network
Address = IPv4Address | IPv6Address

_SITE_BITS: Final = 64
"""Of an IPv6 address. Whoever has one address has the other 2**64 of the network too."""


def client_address(peer: str | None, forwarded: Sequence[str], trusted: Sequence[Network]) -> str:
    """The address that a request counts for; an IPv6 one as its /64.

    `forwarded` are the values of X-Forwarded-For in their order. Each proxy adds its peer at the end, so from there on
    what trusted ones wrote can be believed, up to the first address that is not trusted itself.
    """
    found = _read(peer or "")
    for text in reversed([part for value in forwarded for part in value.split(",")]):
        if found is None or not any(found in network for network in trusted):
            break
        said = _read(text.strip())
        if said is None:
            break
        found = said
    return _shown(found) if found is not None else "unknown"


def _read(text: str) -> Address | None:
    """An address as peers and proxies write it: with a port or without."""
    if text.startswith("["):
        text = text[1:].partition("]")[0]
    elif text.count(":") == 1:
        text = text.partition(":")[0]
    try:
        address = ip_address(text.partition("%")[0])
    except ValueError:
        return None
    mapped = address.ipv4_mapped if isinstance(address, IPv6Address) else None
    return mapped or address


def _shown(address: Address) -> str:
    if isinstance(address, IPv4Address):
        return str(address)
    return str(IPv6Network((address, _SITE_BITS), strict=False))
