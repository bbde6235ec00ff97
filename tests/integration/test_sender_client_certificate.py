"""Mutual TLS on real sockets: a server that demands a certificate, and who shows which."""

from __future__ import annotations

import asyncio
import ssl
from pathlib import Path

import pytest
import trustme

from router.adapters.http import identities
from router.adapters.http.connector import client_tls
from router.adapters.http.identities import ClientIdentities
from router.domain.credentials import ClientCertificate, check_client_certificate
from router.domain.delivery import AttemptError
from router.domain.outcome import Answer, NoAnswer
from tests.support.http_server import Exchange, ScriptedServer, answer
from tests.support.sending import open_sender, outgoing

AUTHORITY = trustme.CA()
STRANGERS = trustme.CA()
OK = Answer(status_code=200, body=b"OK", truncated=False)


def trusting_tls() -> ssl.SSLContext:
    context = client_tls()
    AUTHORITY.configure_trust(context)
    return context


def server_tls(*, demanding: bool = True) -> ssl.SSLContext:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    AUTHORITY.issue_cert("127.0.0.1").configure_cert(context)
    AUTHORITY.configure_trust(context)
    context.verify_mode = ssl.CERT_REQUIRED if demanding else ssl.CERT_OPTIONAL
    return context


def certificate(name: str, authority: trustme.CA = AUTHORITY) -> ClientCertificate:
    leaf = authority.issue_cert(f"{name}.example.com", common_name=name)
    texts = {"certificate": leaf.cert_chain_pems[0].bytes().decode(), "key": leaf.private_key_pem.bytes().decode()}
    found = check_client_certificate(texts)
    assert found is not None
    return found


async def say_who(exchange: Exchange) -> None:
    """Answers with the name in the certificate of this connection."""
    shown = exchange._writer.get_extra_info("peercert") or {}
    names = [value for part in shown.get("subject", ()) for key, value in part if key == "commonName"]
    await exchange.send(answer(200, ",".join(names).encode()))


async def test_the_certificate_is_shown_to_a_server_that_demands_one() -> None:
    async with ScriptedServer(say_who, tls=server_tls()) as server, open_sender(tls=trusting_tls) as sender:
        answered = await sender.send(outgoing(server.url, client_certificate=certificate("crm")))

    assert answered == Answer(status_code=200, body=b"crm", truncated=False)


@pytest.mark.parametrize("shown", [None, certificate("stranger", STRANGERS)], ids=["none", "of a stranger"])
async def test_without_a_certificate_that_it_takes_nothing_is_sent(shown: ClientCertificate | None) -> None:
    async with ScriptedServer(tls=server_tls()) as server, open_sender(tls=trusting_tls) as sender:
        failed = await sender.send(outgoing(server.url, client_certificate=shown))

        assert isinstance(failed, NoAnswer)
        assert failed.error in (AttemptError.TLS, AttemptError.CONNECTION_RESET)
        assert server.requests == []


async def test_no_connection_is_shared_between_certificates() -> None:
    async with (
        ScriptedServer(say_who, tls=server_tls(demanding=False)) as server,
        open_sender(tls=trusting_tls) as sender,
    ):
        names = {"crm": certificate("crm"), "audit": certificate("audit"), "": None}
        for _ in range(2):
            for name, shown in names.items():
                answered = await sender.send(outgoing(server.url, client_certificate=shown))
                assert answered == Answer(status_code=200, body=name.encode(), truncated=False)

        assert [len(connection.requests) for connection in server.connections] == [2, 2, 2]


async def test_many_deliveries_at_once_build_one_context() -> None:
    built: list[ssl.SSLContext] = []

    def counting() -> ssl.SSLContext:
        built.append(trusting_tls())
        return built[-1]

    async with ScriptedServer(tls=server_tls()) as server, open_sender(tls=counting) as sender:
        request = outgoing(server.url, client_certificate=certificate("crm"))
        assert await asyncio.gather(*(sender.send(request) for _ in range(20))) == [OK] * 20

    assert len(built) == 2, "one for everybody, one for this certificate"


async def test_contexts_are_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(identities, "MAX_CONTEXTS", 1)
    kept = ClientIdentities(trusting_tls)
    crm, audit = certificate("crm"), certificate("audit")

    first = await kept.context(crm)
    assert await kept.context(crm) is first
    await kept.context(audit)

    assert await kept.context(crm) is not first
    await kept.close()


async def test_the_key_is_left_on_no_disk(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    for name in ("TMPDIR", "TMP", "TEMP"):
        monkeypatch.setenv(name, str(tmp_path))
    monkeypatch.chdir(tmp_path)
    opened: list[str] = []
    load = ssl.SSLContext.load_cert_chain

    def watched(self: ssl.SSLContext, certfile: str) -> None:
        opened.append(certfile)
        assert "memfd:" in str(Path(certfile).readlink())
        load(self, certfile)

    monkeypatch.setattr(ssl.SSLContext, "load_cert_chain", watched)

    kept = ClientIdentities(trusting_tls)
    await kept.context(certificate("crm"))

    assert len(opened) == 1
    assert [link for link in Path("/proc/self/fd").iterdir() if _is_in_memory(link)] == []
    assert [*tmp_path.iterdir()] == []
    await kept.close()


def _is_in_memory(link: Path) -> bool:
    try:
        return "client-certificate" in str(link.readlink())
    except FileNotFoundError:  # the descriptor of the listing itself
        return False
