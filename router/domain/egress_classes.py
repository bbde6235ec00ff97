"""What an egress policy must refuse, by class and with examples, for a router to try on itself. Data, and the question.

The classes are those of the threat model (docs/security.md): where a webhook's URL could lead that no customer's
server is.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Final

from router.domain.egress import EgressPolicy, check_url, port_of

ADDRESSES: Final[Mapping[str, Sequence[str]]] = {
    "this host": ("127.0.0.1", "127.255.255.254", "::1", "0.0.0.0", "0.1.2.3", "::"),  # noqa: S104  examples
    "private networks": ("10.0.0.1", "172.16.0.1", "172.31.255.255", "192.168.0.1", "fc00::1", "fd00::1", "fec0::1"),
    "carrier-grade NAT": ("100.64.0.1", "100.127.255.254"),
    "link-local": ("169.254.1.1", "fe80::1"),
    "metadata services": (
        "169.254.169.254", "169.254.170.2", "100.100.100.200", "168.63.129.16", "192.0.0.192", "fd00:ec2::254",
        "fd20:ce::254",
    ),
    "documentation and tests": ("192.0.2.1", "198.18.0.1", "198.51.100.1", "203.0.113.1", "2001:db8::1", "3fff::1"),
    "multicast and broadcast": ("224.0.0.1", "239.255.255.255", "255.255.255.255", "ff02::1"),
    "reserved": ("192.0.0.8", "192.88.99.1", "240.0.0.1", "100::1", "2001:10::1", "4000::1", "5f00::1"),
    "IPv4 inside IPv6": (
        "::ffff:127.0.0.1", "::ffff:7f00:1", "0:0:0:0:0:ffff:7f00:1", "::127.0.0.1", "::7f00:1", "64:ff9b::a9fe:a9fe",
        "64:ff9b:1::a00:1", "2002:7f00:1::", "2002:a9fe:a9fe::1", "2001:0:4136:e378:8000:63bf:3fff:fdd2",
    ),
    "bound to an interface": ("fe80::1%lo", "::1%lo"),
    "spellings that are no address": (
        "2130706433", "017700000001", "0177.0.0.1", "127.1", "0x7f000001", "0x7f.1", "127.0.0.1.", "localhost", "",
    ),
}  # fmt: skip
"""As a socket would dial them."""

URLS: Final[Mapping[str, Sequence[str]]] = {
    "numbers as hosts": (
        "https://2130706433/", "https://017700000001/", "https://0177.0.0.1/", "https://127.1/", "https://0x7f.1/",
    ),
    "letters beyond ASCII": ("https://①②⑦.⓪.⓪.①/", "https://127。0。0。1/", "https://١٢٧.٠.٠.١/"),
    "percent signs in hosts": ("https://%31%32%37.0.0.1/", "https://crm%2eexample.com/", "https://[fe80::1%25lo]/"),
    "logins": ("https://crm.example.com@127.0.0.1/", "https://user:password@crm.example.com/"),
    "backslashes and blanks": ("https://crm.example.com\\@127.0.0.1/", "https://crm.example.com /", "https://a.example/\r\nX:y"),
    "local names": (
        "https://localhost/", "https://a.localhost/", "https://intranet/", "https://db.internal/",
        "https://api.svc.cluster.local/", "https://printer.local/",
    ),
    "other schemes": ("file:///etc/passwd", "gopher://crm.example.com/", "ws://crm.example.com/", "//crm.example.com/"),
    "plain http": ("http://crm.example.com/",),
}  # fmt: skip
"""As somebody would write them into a webhook."""

PUBLIC: Final = ("1.1.1.1", "8.8.8.8", "2606:4700:4700::1111")
"""What must be permitted, or nothing is delivered to anybody."""
_PUBLIC_PORT: Final = 443


@dataclass(frozen=True, slots=True, kw_only=True)
class Trial:
    """What came of one class: how many examples were refused, and those that were not."""

    name: str
    refused: int
    open: tuple[str, ...]


def try_addresses(is_refused: Callable[[str, int], bool]) -> list[Trial]:
    """Each class of addresses, on the port of https."""
    return [_trial(name, examples, lambda each: is_refused(each, _PUBLIC_PORT)) for name, examples in ADDRESSES.items()]


def try_ports(is_refused: Callable[[str, int], bool], ports: Iterable[int]) -> Trial:
    """Ports, at an address that is permitted."""
    return _trial("ports", [str(port) for port in ports], lambda port: is_refused(PUBLIC[0], int(port)))


def try_urls(policy: EgressPolicy) -> list[Trial]:
    """Each class of URLs, as they are judged when somebody writes them."""
    return [_trial(name, examples, lambda url: _is_refused(policy, url)) for name, examples in URLS.items()]


def _trial(name: str, examples: Sequence[str], is_refused: Callable[[str], bool]) -> Trial:
    open_ = tuple(each for each in examples if not is_refused(each))
    return Trial(name=name, refused=len(examples) - len(open_), open=open_)


def _is_refused(policy: EgressPolicy, url: str) -> bool:
    try:
        parts = check_url(url)
    except ValueError:
        return True
    host = (parts.hostname or "").strip("[]")
    return policy.target_refusal(parts.scheme, host, port_of(parts)) is not None
