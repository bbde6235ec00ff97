"""Doctor: names and TLS on the way to the servers of the settings, and the name servers for customers' names."""

from __future__ import annotations

import asyncio
import ssl
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from ipaddress import ip_address
from typing import Final
from urllib.parse import parse_qs, urlsplit

from router.adapters import reach
from router.adapters.http import selftest
from router.adapters.mongo.inspection import peers_of
from router.bootstrap import convert
from router.domain.diagnosis import Finding, Ward
from router.domain.errors import ConfigurationRefused
from router.settings import EMBEDDED, Settings

GROUP: Final = "network"
_WARD: Final = Ward(GROUP)
ANSWER_SECONDS: Final = 6.0
"""For each name and each handshake; a name server's own tries end before."""
CERTIFICATE_WARNING: Final = timedelta(days=21)
"""Whoever renews certificates does so a month before they end; three weeks before, something went wrong."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Peer:
    """A server of the settings. `name` is what people call it, `setting` says where it is written."""

    name: str
    setting: str
    host: str
    port: int
    tls: bool
    ca_file: str | None = None
    verifies: bool = True


async def look(settings: Settings) -> list[Finding]:
    findings: list[Finding] = []
    peers = broker_peers(settings)
    try:
        # In a thread: a mongodb+srv:// URL waits for DNS.
        peers += await asyncio.to_thread(_store_peers, settings)
    except ConfigurationRefused as error:
        findings.append(_WARD.fail("name of MongoDB", str(error), "Correct mongo.url, or the DNS zone that it names."))
    proxy = convert.egress_proxy(settings)
    if proxy is not None:
        peers.append(
            Peer(
                name="the egress proxy",
                setting="egress.proxy_url",
                host=proxy.host,
                port=proxy.port,
                tls=proxy.scheme == "https",
            )
        )
    looks = [*map(_name, peers), *map(_tls, peers), _customers_names(settings), _authorities()]
    return [*findings, *await asyncio.gather(*looks)]


def broker_peers(settings: Settings) -> list[Peer]:
    url = urlsplit(settings.amqp.url.get_secret_value())
    tls = url.scheme == "amqps"
    options = parse_qs(url.query)
    return [
        Peer(
            name="RabbitMQ",
            setting="amqp.url",
            host=url.hostname or "",
            port=url.port or (5671 if tls else 5672),
            tls=tls,
            ca_file=options.get("cafile", [None])[0],
            verifies=options.get("no_verify_ssl", ["0"])[0] in {"0", "false"},
        )
    ]


def _store_peers(settings: Settings) -> list[Peer]:
    url = settings.mongo.url.get_secret_value()
    if url == EMBEDDED:
        return []
    found = peers_of(url)
    return [
        Peer(
            name="MongoDB" if len(found.hosts) == 1 else f"MongoDB at {host}",
            setting="mongo.url",
            host=host,
            port=port,
            tls=found.tls,
            ca_file=found.ca_file,
            verifies=found.verifies,
        )
        for host, port in found.hosts
    ]


async def _name(peer: Peer) -> Finding:
    title = f"name of {peer.name}"
    if _is_address(peer.host):
        return _WARD.ok(title, f"{peer.host} is an address")
    try:
        async with asyncio.timeout(ANSWER_SECONDS):
            addresses = await reach.resolve(peer.host)
    except TimeoutError:
        return _WARD.fail(title, f"{peer.host}: no answer from DNS", "See the name servers in /etc/resolv.conf.")
    except OSError as error:
        return _WARD.fail(title, f"{peer.host}: {error.strerror}", f"Correct {peer.setting}, or the DNS zone.")
    return _WARD.ok(title, f"{peer.host} is {', '.join(addresses)}")


async def _tls(peer: Peer) -> Finding:
    title = f"TLS with {peer.name}"
    if not peer.tls:
        if _is_loopback(peer.host):
            return _WARD.ok(title, "none, and none is needed on this host")
        return _WARD.warn(
            title,
            "none: passwords and customers' data can be read on the way",
            f"Switch TLS on at the server, and in {peer.setting}; or keep that network to yourself.",
        )
    try:
        async with asyncio.timeout(ANSWER_SECONDS):
            hands = await reach.shake_hands(peer.host, peer.port, ca_file=peer.ca_file, verify=peer.verifies)
    except TimeoutError:
        return _WARD.fail(title, "no answer to the handshake", f"See whether {peer.setting} names the port for TLS.")
    except ssl.SSLCertVerificationError as error:
        return _WARD.fail(title, f"its certificate is not accepted: {error.verify_message}", _mend_certificate(peer))
    except OSError as error:
        reason = getattr(error, "reason", None) or error.strerror or type(error).__name__
        return _WARD.fail(title, f"no handshake: {reason}", f"See whether {peer.setting} names the port for TLS.")
    return judge_handshake(title, hands, peer, datetime.now(UTC))


def judge_handshake(title: str, hands: reach.Handshake, peer: Peer, now: datetime) -> Finding:
    if not peer.verifies:
        return _WARD.warn(
            title,
            f"{hands.version}, but {peer.setting} says that its certificate is not to be checked",
            f"Take that option out of {peer.setting}, and name the authority instead.",
        )
    if hands.expires is not None and hands.expires - now < CERTIFICATE_WARNING:
        days = (hands.expires - now).days
        return _WARD.warn(title, f"{hands.version}; its certificate ends in {days} days", "Renew it, and its renewal.")
    until = f", certificate until {hands.expires:%Y-%m-%d}" if hands.expires else ""
    return _WARD.ok(title, hands.version + until)


def _mend_certificate(peer: Peer) -> str:
    option = "cafile=" if peer.setting == "amqp.url" else "tlsCAFile="
    return f"Name its authority ({option} in {peer.setting}), or have a certificate issued for {peer.host}."


async def _customers_names(settings: Settings) -> Finding:
    servers: Sequence[str] = settings.egress.resolvers
    title, who = "customers' names", ", ".join(servers) or "the system's name servers"
    if settings.egress.proxy_url is not None:
        return _WARD.ok(title, "the egress proxy resolves them")
    wrong = await selftest.name_servers_answer(servers)
    if not wrong:
        return _WARD.ok(title, f"{who}: answering")
    remedy = "Correct egress.resolvers." if servers else "See /etc/resolv.conf, or set egress.resolvers."
    return _WARD.fail(title, f"{who}: {wrong}", remedy)


async def _authorities() -> Finding:
    count = await asyncio.to_thread(reach.authorities)
    if count == 0:
        return _WARD.fail(
            "certificate authorities",
            "none: no customer's certificate can be verified",
            "Install the package ca-certificates, or point SSL_CERT_FILE at a bundle.",
        )
    return _WARD.ok("certificate authorities", f"{count} trusted")


def _is_address(host: str) -> bool:
    try:
        ip_address(host)
    except ValueError:
        return False
    return True


def _is_loopback(host: str) -> bool:
    return host in {"localhost", "localhost."} or (_is_address(host) and ip_address(host).is_loopback)
