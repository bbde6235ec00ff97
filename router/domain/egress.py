"""Where a delivery may connect to. Decides on the address dialled and on the URL as written; dials nothing.

Fails closed: an address text that does not parse is refused. The lists come from the IANA special-purpose
registries, the cloud providers' metadata addresses, and the forms that embed an IPv4 address in IPv6.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass
from enum import StrEnum
from functools import lru_cache
from ipaddress import IPv4Address, IPv4Network, IPv6Address, IPv6Network, ip_address, ip_network
from typing import Final
from urllib.parse import SplitResult, urlsplit, urlunsplit

DEFAULT_PORTS: Final = {"https": 443, "http": 80}
"""The schemes that there are, and the port that each of them means."""
MAX_URL_LENGTH: Final = 2048
MAX_HOST_LENGTH: Final = 253

Network = IPv4Network | IPv6Network

_GLOBAL_UNICAST_6: Final = IPv6Network("2000::/3")
_DENIED_6: Final = tuple(
    IPv6Network(text)
    for text in (
        "2001::/23",  # IETF protocol assignments, Teredo among them
        "2001:db8::/32",  # documentation
        "2002::/16",  # 6to4 embeds an IPv4 address
        "3fff::/20",  # documentation
        "64:ff9b::/96",  # NAT64 embeds an IPv4 address
        "64:ff9b:1::/48",  # NAT64, local use
    )
)
_DENIED_4: Final = tuple(
    IPv4Network(text)
    for text in (
        "0.0.0.0/8",
        "100.64.0.0/10",  # carrier-grade NAT, Alibaba's metadata
        "168.63.129.16/32",  # Azure's platform address
        "192.0.0.0/24",
        "192.88.99.0/24",  # 6to4 relays
        "224.0.0.0/4",
        "240.0.0.0/4",
    )
)


@dataclass(frozen=True, slots=True)
class AllowRule:
    """One entry of `egress.allow`. With a port it also lifts `egress.deny_ports` for that port."""

    network: Network
    port: int | None = None

    def __str__(self) -> str:
        if self.port is None:
            return str(self.network)
        text = f"[{self.network}]" if self.network.version == 6 else str(self.network)
        return f"{text}:{self.port}"


class EgressRule(StrEnum):
    """Which rule a refused connection broke."""

    MALFORMED = "malformed"
    NOT_HTTPS = "not_https"
    NOT_AN_ADDRESS = "not_an_address"
    INTERFACE = "interface"
    PORT = "port"
    LOCAL_NAME = "local_name"
    NOT_PUBLIC = "not_public"


@dataclass(frozen=True, slots=True)
class Refusal:
    """The rule, for counting, and a text for people, which names no address."""

    rule: EgressRule
    text: str

    def __str__(self) -> str:
        return self.text


@dataclass(frozen=True, slots=True, kw_only=True)
class EgressPolicy:
    """The operator's rules. What ends in `refusal` returns the rule that was broken, or None.

    `refusal` is the one that counts: it is asked with the address that is about to be dialled.
    """

    allow: tuple[AllowRule, ...] = ()
    require_https: bool = True
    deny_ports: frozenset[int] = frozenset()

    def refusal(self, address: str, port: int) -> Refusal | None:
        """Why `address` (text of an IP address, as dialled) and `port` must not be connected to."""
        try:
            ip = ip_address(address)
        except ValueError:
            return Refusal(EgressRule.NOT_AN_ADDRESS, "not an IP address")
        if isinstance(ip, IPv6Address) and ip.scope_id:
            return Refusal(EgressRule.INTERFACE, "the address is bound to a network interface; no setting permits that")
        rules = [rule for rule in self.allow if ip in rule.network and rule.port in (None, port)]
        if (refusal := self._port_refusal(port, rules)) is not None:
            return refusal
        if rules or is_public(address):
            return None
        return Refusal(EgressRule.NOT_PUBLIC, "the address is not public; egress.allow can permit its network")

    def scheme_refusal(self, scheme: str) -> Refusal | None:
        """Why a URL with this scheme must not be sent to."""
        if self.require_https and scheme != "https":
            return Refusal(EgressRule.NOT_HTTPS, "the URL is not https; egress.require_https = false permits it")
        return None

    def target_refusal(self, scheme: str, host: str, port: int) -> Refusal | None:
        """Why a URL of these parts (`host` without brackets) must not be sent to, as far as the text tells.

        For whoever writes a URL, and where a proxy resolves its name. A name may lead anywhere: of those that it
        permits, `refusal` decides when the address is known.
        """
        if (refusal := self.scheme_refusal(scheme)) is not None:
            return refusal
        if _is_address(host):
            return self.refusal(host, port)
        rules = [rule for rule in self.allow if rule.port in (None, port)]
        if (refusal := self._port_refusal(port, rules)) is not None:
            return refusal
        if rules or not is_local_name(host):
            return None
        return Refusal(
            EgressRule.LOCAL_NAME, "the name leads into a private network; egress.allow can permit that network"
        )

    def _port_refusal(self, port: int, rules: Iterable[AllowRule]) -> Refusal | None:
        if port not in self.deny_ports or any(rule.port == port for rule in rules):
            return None
        return Refusal(
            EgressRule.PORT, f"port {port} is in egress.deny_ports; an entry of egress.allow with this port permits it"
        )


_BRACKETED = re.compile(r"\[(?P<network>[^\[\]]*)\](?::(?P<port>.*))?", re.DOTALL)
_IPV4_WITH_PORT = re.compile(r"(?P<network>[^:\[\]]*):(?P<port>[^:]*)", re.DOTALL)


def parse_allow_rule(text: str) -> AllowRule:
    """Parse `CIDR`, `CIDR:port` or `[IPv6 CIDR]:port`; a bare address is a network of one.

    Raises ValueError with the right form where the meaning is plain.
    """
    match = _BRACKETED.fullmatch(text.strip()) or _IPV4_WITH_PORT.fullmatch(text.strip())
    network, port = (match["network"], match["port"]) if match else (text.strip(), None)
    return AllowRule(_parse_network(network), None if port is None else _parse_port(port))


def _parse_network(text: str) -> Network:
    if "%" in text:
        raise ValueError("has a zone: networks are the same on every interface here")
    try:
        return ip_network(text)
    except ValueError:
        pass
    try:
        wider = ip_network(text, strict=False)
    except ValueError:
        if "/" in text and text.count(":") > 1:
            raise ValueError("is no network; IPv6 with a port is written [fd00::/8]:8443") from None
        # A name would be resolved by whoever owns its zone, so the list could be widened from outside.
        raise ValueError("is no network like 10.0.0.0/8 or 10.0.0.5:8443; names are not taken") from None
    raise ValueError(f"has host bits set: the network is {wider}")


def _parse_port(text: str) -> int:
    if re.fullmatch(r"[0-9]{1,5}", text) and 1 <= int(text) <= 65535:
        return int(text)
    raise ValueError("has a port that is no number from 1 to 65535")


@lru_cache(maxsize=4096)
def is_public(address: str) -> bool:
    """Whether `address` is a public unicast address that embeds no other one."""
    try:
        ip = ip_address(address)
    except ValueError:
        return False
    if isinstance(ip, IPv6Address):
        if ip.scope_id or ip.ipv4_mapped:
            return False
        return ip in _GLOBAL_UNICAST_6 and ip.is_global and not _in_any(ip, _DENIED_6)
    return ip.is_global and not ip.is_multicast and not _in_any(ip, _DENIED_4)


def _in_any(ip: IPv4Address | IPv6Address, networks: Iterable[Network]) -> bool:
    return any(ip in network for network in networks)


_LOCAL_ZONES: Final = frozenset({
    "localhost", "local", "home.arpa",  # RFC 6761, 6762, 8375
    "localdomain", "internal", "intranet", "private", "corp", "home", "lan",  # RFC 6762, appendix G, and habit
    "svc",  # services of a Kubernetes cluster; svc.cluster.local is under local
})  # fmt: skip


def is_local_name(host: str) -> bool:
    """Whether a name means something inside a network only: one label, or a zone that is never public."""
    labels = host.lower().rstrip(".").split(".")
    return len(labels) == 1 or labels[-1] in _LOCAL_ZONES or ".".join(labels[-2:]) in _LOCAL_ZONES


def _is_address(host: str) -> bool:
    try:
        ip_address(host)
    except ValueError:
        return False
    return True


# --- URLs as written -------------------------------------------------------------------------------

_AUTHORITY: Final = re.compile(r"(?P<host>\[[^\[\]]*\]|[^:\[\]]*)(?::(?P<port>[0-9]{0,5}))?")
_LABEL: Final = re.compile(r"[A-Za-z0-9_-]{1,63}")
_NUMBER: Final = re.compile(r"[0-9]+|0[xX][0-9A-Fa-f]*")


def check_url(url: str) -> SplitResult:
    """The parts of a webhook's URL. Raises ValueError that says which rule it breaks, without quoting it.

    Refuses what parsers read differently from one another: control characters, blanks, userinfo, backslashes,
    percent signs and zones in hosts, numbers that some take for IPv4 addresses, ports out of range. Where a host
    leads is judged by the policy.
    """
    if not url or len(url) > MAX_URL_LENGTH:
        raise ValueError(f"a URL has 1 to {MAX_URL_LENGTH} characters")
    if not url.isascii():
        raise ValueError("a URL is ASCII: an international host is written xn--…, everything else percent-encoded")
    if not url.isprintable() or " " in url or "\\" in url:
        raise ValueError("a URL holds no blanks, backslashes and control characters")
    try:
        parts = urlsplit(url)
    except ValueError:
        raise ValueError("the URL has brackets in its host, but no IPv6 address in them") from None
    if parts.scheme not in DEFAULT_PORTS:
        raise ValueError("a URL begins with https:// (or http://)")
    if "@" in parts.netloc:
        raise ValueError("a URL must not hold a user name or password; use headers")
    if "%" in parts.netloc:
        raise ValueError("a host is written without percent signs")
    authority = _AUTHORITY.fullmatch(parts.netloc)
    if authority is None or not authority["host"]:
        raise ValueError("the URL has no valid host and port")
    if authority["port"] and not 1 <= int(authority["port"]) <= 65535:
        raise ValueError("the port of a URL is 1 to 65535")
    _check_host(authority["host"])
    return parts


def _check_host(host: str) -> None:
    try:
        if host.startswith("["):
            IPv6Address(host[1:-1])
            return
        labels = host.removesuffix(".").split(".")
        # By the same rule as browsers: what ends in a number is an IPv4 address, and has but one spelling here.
        if _NUMBER.fullmatch(labels[-1]):
            IPv4Address(host)
    except ValueError:
        raise ValueError("the host looks like an IP address, but is none in its usual form") from None
    if len(host) > MAX_HOST_LENGTH or not all(map(_LABEL.fullmatch, labels)):
        raise ValueError("a host has letters, digits, '-' and '_', in parts of 1 to 63 with dots between")


def port_of(parts: SplitResult) -> int:
    """The port that a URL that was checked means, written or not."""
    return parts.port or DEFAULT_PORTS[parts.scheme]


def normal_url(parts: SplitResult) -> str:
    """A URL that was checked, in the one form that we write: scheme and host in lower case, addresses in their
    shortest spelling, neither the scheme's own port nor a last dot, a path, and no fragment, which is never sent."""
    host = (parts.hostname or "").removesuffix(".")
    host = f"[{IPv6Address(host)}]" if ":" in host else host
    authority = host if port_of(parts) == DEFAULT_PORTS[parts.scheme] else f"{host}:{port_of(parts)}"
    return urlunsplit((parts.scheme, authority, parts.path or "/", parts.query, ""))
