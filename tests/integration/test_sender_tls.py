"""TLS as the HTTP sender sees it: what is refused, and in which words."""

import asyncio
import socket
import ssl
from collections.abc import Callable
from datetime import UTC, datetime, timedelta

import pytest
import trustme

from router.adapters.http.connector import client_tls
from router.domain.delivery import AttemptError, ErrorDetail, ErrorKind
from router.domain.outcome import Answer, NoAnswer, SendResult
from tests.support.http_server import ScriptedServer
from tests.support.sending import EVENT_LOOPS, open_sender, outgoing

Loop = Callable[[], asyncio.AbstractEventLoop]
on_both_loops = pytest.mark.parametrize("loop", EVENT_LOOPS.values(), ids=EVENT_LOOPS)

PAST = datetime(2020, 1, 1)  # noqa: DTZ001  trustme wants it naive
EXPIRED_AT = datetime(2020, 1, 2, tzinfo=UTC)
OTHER_HOST = ErrorDetail(kind=ErrorKind.CERTIFICATE_OF_OTHER_HOST)
AUTHORITY = trustme.CA()


def trusting_tls() -> ssl.SSLContext:
    context = client_tls()
    AUTHORITY.configure_trust(context)
    return context


def server_tls(certificate: trustme.LeafCert) -> ssl.SSLContext:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    certificate.configure_cert(context)
    return context


CERTIFICATES = {
    "expired": (
        AUTHORITY.issue_cert("127.0.0.1", not_before=PAST, not_after=PAST + timedelta(days=1)),
        "certificate has expired",
        ErrorDetail(kind=ErrorKind.CERTIFICATE_EXPIRED, at=EXPIRED_AT),
    ),
    "wrong address": (AUTHORITY.issue_cert("127.0.0.2"), "the certificate is for another host", OTHER_HOST),
    "wrong host": (AUTHORITY.issue_cert("other.example"), "the certificate is for another host", OTHER_HOST),
    "unknown authority": (
        trustme.CA().issue_cert("127.0.0.1"),
        "unable to get local issuer certificate",
        ErrorDetail(kind=ErrorKind.CERTIFICATE_UNTRUSTED),
    ),
}


async def post_to(server: ScriptedServer) -> SendResult:
    async with open_sender(tls=trusting_tls) as sender:
        return await sender.send(outgoing(server.url))


async def test_certificate_of_a_known_authority_for_this_host_is_accepted() -> None:
    async with ScriptedServer(tls=server_tls(AUTHORITY.issue_cert("127.0.0.1"))) as server:
        assert await post_to(server) == Answer(status_code=200, body=b"OK", truncated=False)


@on_both_loops
@pytest.mark.parametrize(("certificate", "detail", "known"), CERTIFICATES.values(), ids=CERTIFICATES)
def test_bad_certificate_is_named(loop: Loop, certificate: trustme.LeafCert, detail: str, known: ErrorDetail) -> None:
    async def run() -> None:
        async with ScriptedServer(tls=server_tls(certificate)) as server:
            assert await post_to(server) == NoAnswer(error=AttemptError.TLS, detail=detail, error_detail=known)
            assert server.requests == []

    with asyncio.Runner(loop_factory=loop) as runner:
        runner.run(run())


async def test_authority_of_nobody_but_the_tests_is_not_trusted_by_default() -> None:
    async with ScriptedServer(tls=server_tls(AUTHORITY.issue_cert("127.0.0.1"))) as server, open_sender() as sender:
        result = await sender.send(outgoing(server.url))

    assert isinstance(result, NoAnswer)
    assert result.error is AttemptError.TLS


HANDSHAKES = {
    # what the server says to the client's first message
    "does not speak our versions": (
        b"\x15\x03\x01\x00\x02\x02\x46",
        AttemptError.TLS,
        "tlsv1 alert protocol version",
        ErrorKind.NO_COMMON_TLS,
    ),
    "does not know the host": (b"\x15\x03\x03\x00\x02\x02\x70", AttemptError.TLS, "tlsv1 unrecognized name", None),
    "speaks plain HTTP": (b"HTTP/1.1 400 Bad\r\n\r\n", AttemptError.TLS, "wrong version number", ErrorKind.NOT_TLS),
    "hangs up": (b"", AttemptError.CONNECTION_RESET, "Connection reset by peer", None),
    "stalls": (None, AttemptError.CONNECT_TIMEOUT, "no connection in time", None),
}


@on_both_loops
@pytest.mark.parametrize(("reply", "error", "detail", "kind"), HANDSHAKES.values(), ids=HANDSHAKES)
def test_failed_handshake_is_named(
    loop: Loop, reply: bytes | None, error: AttemptError, detail: str, kind: ErrorKind | None
) -> None:
    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.read(65_536)
        if reply is None:
            await reader.read()
        else:
            writer.write(reply)
        writer.close()

    async def run() -> SendResult:
        server = await asyncio.start_server(serve, "127.0.0.1", family=socket.AF_INET)
        url = f"https://127.0.0.1:{server.sockets[0].getsockname()[1]}"
        async with server, open_sender(connect_timeout=timedelta(seconds=0.3)) as sender:
            return await sender.send(outgoing(url))

    with asyncio.Runner(loop_factory=loop) as runner:
        known = ErrorDetail(kind=kind) if kind else None
        assert runner.run(run()) == NoAnswer(error=error, detail=detail, error_detail=known)


@pytest.mark.parametrize("version", [ssl.TLSVersion.TLSv1_2, ssl.TLSVersion.TLSv1_3])
async def test_tls_1_2_is_the_least(version: ssl.TLSVersion) -> None:
    context = server_tls(AUTHORITY.issue_cert("127.0.0.1"))
    context.minimum_version = context.maximum_version = version

    async with ScriptedServer(tls=context) as server:
        assert isinstance(await post_to(server), Answer)

    assert client_tls().minimum_version == ssl.TLSVersion.TLSv1_2
