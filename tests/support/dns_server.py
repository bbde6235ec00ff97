"""A name server that answers what a test says, over UDP on loopback, and counts what it is asked.

    async with ScriptedDns({"crm.example": ["127.0.0.1", "::1"]}) as dns:
        sender = HttpSender(policy, resolver=dns.resolver)

A name that is not in the table does not exist; `SILENT` names get no reply, `BROKEN` ones SERVFAIL. A name among the
addresses is a CNAME, which the table leads on from. Names in `delays` are answered after so many seconds.
"""

from __future__ import annotations

import asyncio
from collections.abc import Mapping, Sequence
from typing import Final, Self

from aiohttp.abc import AbstractResolver
from aiohttp.resolver import AsyncResolver
from dnslib import AAAA, CNAME, QTYPE, RCODE, RR, A, DNSRecord

SILENT: Final = "silent"
BROKEN: Final = "broken"
ANY_NAME: Final = "*"


class ScriptedDns(asyncio.DatagramProtocol):
    """See the module. `table` may be changed while it runs; replies may not be cached."""

    def __init__(self, table: Mapping[str, Sequence[str] | str], *, port: int = 0) -> None:
        self.table = dict(table)
        self.delays: dict[str, float] = {}
        self.queries: list[str] = []
        self.asked = asyncio.Event()
        self.port = port

    def resolver(self, timeout_seconds: float = 0.5) -> AbstractResolver:
        """A resolver that asks this server, once."""
        return AsyncResolver(nameservers=["127.0.0.1"], udp_port=self.port, timeout=timeout_seconds, tries=1)

    async def __aenter__(self) -> Self:
        loop = asyncio.get_running_loop()
        self._transport, _ = await loop.create_datagram_endpoint(lambda: self, local_addr=("127.0.0.1", self.port))
        self.port = self._transport.get_extra_info("sockname")[1]
        return self

    async def __aexit__(self, *_: object) -> None:
        self._transport.close()

    def datagram_received(self, data: bytes, addr: tuple[str, int]) -> None:
        query = DNSRecord.parse(data)
        name = str(query.q.qname).rstrip(".")
        self.queries.append(name)
        self.asked.set()
        entry = self.table.get(name, self.table.get(ANY_NAME))
        if entry != SILENT:
            reply = self._reply(query, entry).pack()
            asyncio.get_running_loop().call_later(self.delays.get(name, 0), self._send, reply, addr)

    def _send(self, reply: bytes, addr: tuple[str, int]) -> None:
        if not self._transport.is_closing():
            self._transport.sendto(reply, addr)

    def _reply(self, query: DNSRecord, entry: Sequence[str] | str | None) -> DNSRecord:
        reply = query.reply()
        if entry is None or isinstance(entry, str):
            reply.header.rcode = RCODE.SERVFAIL if entry == BROKEN else RCODE.NXDOMAIN
            return reply
        self._add_answers(reply, str(query.q.qname), entry)
        return reply

    def _add_answers(self, reply: DNSRecord, name: str, entry: Sequence[str]) -> None:
        for address in entry:
            if _is_name(address):
                reply.add_answer(RR(name, QTYPE.CNAME, rdata=CNAME(address), ttl=0))
                self._add_answers(reply, address, self.table.get(address, ()))
                continue
            kind, data = (QTYPE.AAAA, AAAA) if ":" in address else (QTYPE.A, A)
            if reply.q.qtype == kind:
                reply.add_answer(RR(name, kind, rdata=data(address), ttl=0))


def _is_name(text: str) -> bool:
    return ":" not in text and not text.replace(".", "").isdigit()
