"""The HTTP sender behind an egress proxy: everything goes by CONNECT, and the proxy's faults are not the customers'."""

from __future__ import annotations

import asyncio
import ssl
from collections.abc import Callable
from datetime import timedelta

import pytest
import trustme

from router.adapters.embedded.processes import free_ports
from router.adapters.http.connector import GuardedConnector, client_tls
from router.adapters.http.proxy import ProxyAddress
from router.adapters.http.trail import ProxyFaultKind
from router.domain.delivery import AttemptError, ErrorDetail, ErrorKind
from router.domain.egress import EgressPolicy, EgressRule, parse_allow_rule
from router.domain.outcome import Answer, LocalFault, NoAnswer
from tests.support.connect_proxy import ANY_HOST, SILENT, ConnectProxy, refusing
from tests.support.dns_server import SILENT as SILENT_NAME
from tests.support.dns_server import ScriptedDns
from tests.support.http_server import ScriptedServer, answer
from tests.support.sending import EVENT_LOOPS, open_sender, outgoing

Loop = Callable[[], asyncio.AbstractEventLoop]
on_both_loops = pytest.mark.parametrize("loop", EVENT_LOOPS.values(), ids=EVENT_LOOPS)

PUBLIC_ONLY = EgressPolicy(require_https=False, deny_ports=frozenset({25}))
"""No private network is permitted, the proxy's own neither."""
OK = Answer(status_code=200, body=b"OK", truncated=False)
HERE = {ANY_HOST: "127.0.0.1"}
AUTHORITY = trustme.CA()


def client() -> ssl.SSLContext:
    context = client_tls()
    AUTHORITY.configure_trust(context)
    return context


def server(*names: str) -> ssl.SSLContext:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    AUTHORITY.issue_cert(*names).configure_cert(context)
    return context


# --- what goes through -----------------------------------------------------------------------------


@on_both_loops
@pytest.mark.parametrize("proxy_tls", [False, True], ids=["http proxy", "https proxy"])
@pytest.mark.parametrize("target_tls", [False, True], ids=["http", "https"])
def test_every_request_goes_by_connect(loop: Loop, proxy_tls: bool, target_tls: bool) -> None:
    async def run() -> None:
        async with (
            ScriptedServer(tls=server("crm.example") if target_tls else None) as customer,
            ConnectProxy(hosts=HERE, tls=server("127.0.0.1") if proxy_tls else None) as proxy,
            open_sender(PUBLIC_ONLY, proxy=proxy.address(authorization="Basic aHVzaA=="), tls=client) as sender,
        ):
            authority = f"crm.example:{customer.port}"
            url = f"{'https' if target_tls else 'http'}://{authority}/hook?a=1"
            results = [await sender.send(outgoing(url, body=b"x" * 100_000)) for _ in range(3)]

        assert results == [OK] * 3
        assert proxy.targets == [authority], "the connection is kept"
        assert f"\r\nHost: {authority}\r\nProxy-Authorization: Basic aHVzaA==\r\n" in proxy.heads[0]
        for request in customer.requests:
            assert (request.method, request.target) == ("POST", "/hook?a=1")
            assert request.header("host") == authority
            assert request.header("proxy-authorization") is None

    with asyncio.Runner(loop_factory=loop) as runner:
        runner.run(run())


async def test_addresses_are_asked_for_as_they_are_written() -> None:
    async with (
        ConnectProxy(says=refusing(502)) as proxy,
        open_sender(PUBLIC_ONLY, proxy=proxy.address()) as sender,
    ):
        for host in ("8.8.8.8", "[2606:4700:4700::1111]", "crm.example."):
            await sender.send(outgoing(f"http://{host}:8080/"))
        await sender.send(outgoing("https://crm.example/"))

    assert proxy.targets == ["8.8.8.8:8080", "[2606:4700:4700::1111]:8080", "crm.example.:8080", "crm.example:443"]
    assert all("proxy-authorization" not in head.lower() for head in proxy.heads)


async def test_names_are_the_proxys_to_resolve_and_its_own_is_ours() -> None:
    async with (
        ScriptedDns({"proxy.example": ["127.0.0.1"], "crm.example": ["127.0.0.2"]}) as dns,
        ScriptedServer() as customer,
        ConnectProxy(hosts=HERE) as proxy,
        open_sender(PUBLIC_ONLY, proxy=proxy.address("proxy.example"), resolver=dns.resolver) as sender,
    ):
        for name in ("crm.example", "crm-2.example"):
            assert await sender.send(outgoing(f"http://{name}:{customer.port}/")) == OK

    assert set(dns.queries) == {"proxy.example"}
    assert len(dns.queries) <= 2, "one look-up, of both kinds of address"


async def test_redirect_is_not_followed_through_the_proxy_either() -> None:
    async with (
        ScriptedServer(answer(307, b"", {"location": "http://elsewhere.example/"})) as customer,
        ConnectProxy(hosts=HERE) as proxy,
        open_sender(PUBLIC_ONLY, proxy=proxy.address()) as sender,
    ):
        result = await sender.send(outgoing(f"http://crm.example:{customer.port}/"))

    known = ErrorDetail(kind=ErrorKind.REDIRECTED, host="elsewhere.example")
    assert result == Answer(status_code=307, body=b"", truncated=False, error_detail=known)
    assert len(proxy.targets) == 1


async def test_no_proxy_of_the_environment_is_used(monkeypatch: pytest.MonkeyPatch) -> None:
    async with ConnectProxy(hosts=HERE) as canary, ScriptedServer() as customer, open_sender() as sender:
        for name in ("HTTP_PROXY", "http_proxy", "HTTPS_PROXY", "https_proxy", "ALL_PROXY", "all_proxy"):
            monkeypatch.setenv(name, f"http://127.0.0.1:{canary.port}")
        assert await sender.send(outgoing(customer.url)) == OK

    assert canary.targets == []


# --- what is refused before the proxy is asked -----------------------------------------------------

REFUSED = {
    "http://127.0.0.1/": EgressRule.NOT_PUBLIC,
    "http://[::1]/": EgressRule.NOT_PUBLIC,
    "http://[::ffff:127.0.0.1]/": EgressRule.NOT_PUBLIC,
    "http://169.254.169.254/latest/meta-data/": EgressRule.NOT_PUBLIC,
    "http://[64:ff9b::a9fe:a9fe]/": EgressRule.NOT_PUBLIC,
    "http://8.8.8.8:25/": EgressRule.PORT,
    "http://crm.example:25/": EgressRule.PORT,
    "http://localhost/": EgressRule.LOCAL_NAME,
    "http://LOCALHOST./": EgressRule.LOCAL_NAME,
    "http://metadata.google.internal/": EgressRule.LOCAL_NAME,
    "http://crm/": EgressRule.LOCAL_NAME,
    "http://2130706433/": EgressRule.MALFORMED,
    "http://0x7f.1/": EgressRule.MALFORMED,
    "http://ok.example@127.0.0.1/": EgressRule.MALFORMED,
}


async def test_proxy_is_not_asked_for_what_is_refused_as_it_is_written() -> None:
    heard: list[EgressRule] = []
    async with (
        ConnectProxy(hosts=HERE) as proxy,
        open_sender(PUBLIC_ONLY, proxy=proxy.address(), on_refusal=heard.append) as sender,
    ):
        results = [await sender.send(outgoing(url)) for url in REFUSED]

    assert proxy.heads == []
    assert heard == list(REFUSED.values())
    assert {result.error for result in results if isinstance(result, NoAnswer)} == {AttemptError.BLOCKED_ADDRESS}
    assert all(isinstance(result, NoAnswer) for result in results)


async def test_proxy_is_asked_for_what_an_allow_rule_permits() -> None:
    policy = EgressPolicy(allow=(parse_allow_rule("127.0.0.1"),), require_https=False)
    async with (
        ScriptedServer() as customer,
        ConnectProxy(hosts=HERE) as proxy,
        open_sender(policy, proxy=proxy.address()) as sender,
    ):
        for host in ("127.0.0.1", "localhost"):
            assert await sender.send(outgoing(f"http://{host}:{customer.port}/")) == OK

    assert len(proxy.targets) == 2


async def test_nothing_but_the_proxy_is_dialled_even_if_the_library_tries(monkeypatch: pytest.MonkeyPatch) -> None:
    """What an aiohttp would do that calls our way to the proxy no more."""
    monkeypatch.delattr(GuardedConnector, "_create_connection")
    policy = EgressPolicy(allow=(parse_allow_rule("127.0.0.1"),), require_https=False)
    kinds: list[ProxyFaultKind] = []
    async with (
        ScriptedServer() as canary,
        ConnectProxy(hosts=HERE) as proxy,
        open_sender(policy, proxy=proxy.address(), on_proxy_fault=kinds.append) as sender,
    ):
        result = await sender.send(outgoing(canary.url))

    assert result == LocalFault(detail="a connection past the egress proxy was stopped")
    assert kinds == [ProxyFaultKind.BYPASSED]
    assert canary.connections == []


# --- faults of the proxy ---------------------------------------------------------------------------

OTHER, SLOW = AttemptError.OTHER, AttemptError.CONNECT_TIMEOUT
SAYS: dict[str, tuple[bytes, ProxyFaultKind, AttemptError | None]] = {
    # what it answers, the kind, and the error where it may be the customer's
    "407, wrong credentials": (refusing(407, 'Proxy-Authenticate: Basic realm="x"'), ProxyFaultKind.CREDENTIALS, None),
    "407, which refuses a target": (refusing(407), ProxyFaultKind.REFUSED, OTHER),
    "403": (refusing(403), ProxyFaultKind.REFUSED, OTHER),
    "500": (refusing(500), ProxyFaultKind.NO_CONNECTION, OTHER),
    "502": (refusing(502), ProxyFaultKind.NO_CONNECTION, OTHER),
    "503": (refusing(503), ProxyFaultKind.NO_CONNECTION, OTHER),
    "504": (refusing(504), ProxyFaultKind.NO_CONNECTION, SLOW),
    "400": (refusing(400), ProxyFaultKind.PROTOCOL, None),
    "405": (refusing(405), ProxyFaultKind.PROTOCOL, None),
    "429": (refusing(429), ProxyFaultKind.PROTOCOL, None),
    "501": (refusing(501), ProxyFaultKind.PROTOCOL, None),
    "301": (refusing(301, "location: http://127.0.0.1/"), ProxyFaultKind.PROTOCOL, None),
    "100": (b"HTTP/1.1 100 Continue\r\n\r\n", ProxyFaultKind.PROTOCOL, None),
    "no HTTP": (b"SSH-2.0-OpenSSH_9.2\r\n\r\n", ProxyFaultKind.PROTOCOL, None),
    "another HTTP": (b"HTTP/2 200\r\n\r\n", ProxyFaultKind.PROTOCOL, None),
    "endless head": (b"HTTP/1.1 200 OK\r\n" + b"x: y\r\n" * 2_000, ProxyFaultKind.PROTOCOL, None),
    "an answer of its own": (b"HTTP/1.1 200 OK\r\n\r\nHTTP/1.1 200 OK\r\n\r\n", ProxyFaultKind.PROTOCOL, None),
    "cut in its head": (b"HTTP/1.1 200 OK\r\n", ProxyFaultKind.UNREACHABLE, None),
}


@on_both_loops
@pytest.mark.parametrize("name", SAYS)
def test_answer_of_the_proxy_that_is_no_success(loop: Loop, name: str) -> None:
    says, kind, error = SAYS[name]
    kinds: list[ProxyFaultKind] = []

    async def run() -> None:
        async with (
            ConnectProxy(says=says) as proxy,
            open_sender(PUBLIC_ONLY, proxy=proxy.address(), on_proxy_fault=kinds.append) as sender,
        ):
            result = await sender.send(outgoing("https://crm.example/hush?token=hush"))

        assert (result.error if isinstance(result, NoAnswer) else None) == error
        assert isinstance(result, NoAnswer | LocalFault)
        assert "proxy" in result.detail
        assert "crm.example" not in result.detail
        assert kinds == [kind]

    with asyncio.Runner(loop_factory=loop) as runner:
        runner.run(run())


async def test_proxy_that_nobody_listens_at_is_our_fault() -> None:
    (port,) = free_ports(1)
    kinds: list[ProxyFaultKind] = []
    nowhere = ProxyAddress(scheme="http", host="127.0.0.1", port=port)
    async with open_sender(PUBLIC_ONLY, proxy=nowhere, on_proxy_fault=kinds.append) as sender:
        result = await sender.send(outgoing("https://crm.example/"))

    assert isinstance(result, LocalFault)
    assert kinds == [ProxyFaultKind.UNREACHABLE]


@pytest.mark.parametrize("addresses", [None, [], SILENT_NAME], ids=["no name", "no address", "no reply in time"])
async def test_proxy_whose_name_is_not_resolved_is_our_fault(addresses: list[str] | str | None) -> None:
    async with (
        ScriptedDns({} if addresses is None else {"proxy.example": addresses}) as dns,
        ConnectProxy(hosts=HERE) as proxy,
        open_sender(
            PUBLIC_ONLY,
            proxy=proxy.address("proxy.example"),
            resolver=lambda: dns.resolver(timeout_seconds=30),
            connect_timeout=timedelta(seconds=0.3),
        ) as sender,
    ):
        assert isinstance(await sender.send(outgoing("https://crm.example/")), LocalFault)


async def test_address_of_the_proxy_that_does_not_answer_is_not_the_only_one() -> None:
    async with (
        ScriptedDns({"proxy.example": ["::1", "127.0.0.2", "127.0.0.1"]}) as dns,
        ScriptedServer() as customer,
        ConnectProxy(hosts=HERE) as proxy,
        open_sender(PUBLIC_ONLY, proxy=proxy.address("proxy.example"), resolver=dns.resolver) as sender,
    ):
        assert await sender.send(outgoing(f"http://crm.example:{customer.port}/")) == OK


async def test_proxy_that_says_nothing_may_be_waiting_for_the_customer() -> None:
    async with (
        ConnectProxy(says=SILENT) as proxy,
        open_sender(PUBLIC_ONLY, proxy=proxy.address(), connect_timeout=timedelta(seconds=0.2)) as sender,
    ):
        result = await sender.send(outgoing("https://crm.example/"))

    assert result == NoAnswer(error=AttemptError.CONNECT_TIMEOUT, detail="no connection in time")


@on_both_loops
def test_certificate_of_the_proxy_that_is_for_another_is_our_fault(loop: Loop) -> None:
    kinds: list[ProxyFaultKind] = []

    async def run() -> None:
        async with (
            ConnectProxy(hosts=HERE, tls=server("other.example")) as proxy,
            open_sender(PUBLIC_ONLY, proxy=proxy.address(), tls=client, on_proxy_fault=kinds.append) as sender,
        ):
            result = await sender.send(outgoing("https://crm.example/"))

        assert result == LocalFault(detail="no TLS with the egress proxy: the certificate is for another host")
        assert (proxy.heads, kinds) == ([], [ProxyFaultKind.TLS])

    with asyncio.Runner(loop_factory=loop) as runner:
        runner.run(run())


async def test_proxy_that_leaves_between_two_requests_costs_no_attempt() -> None:
    async with (
        ScriptedServer() as customer,
        ConnectProxy(hosts=HERE) as proxy,
        open_sender(PUBLIC_ONLY, proxy=proxy.address()) as sender,
    ):
        request = outgoing(f"http://crm.example:{customer.port}/")
        before = await sender.send(request)
        await proxy.stop()
        without = await sender.send(request)
        await proxy.start()
        after = await sender.send(request)

    assert (before, after) == (OK, OK)
    assert isinstance(without, LocalFault)
    assert len(customer.requests) == 2


# --- faults of the customer, seen through the proxy ------------------------------------------------


@on_both_loops
def test_certificate_of_the_customer_is_checked_through_the_proxy(loop: Loop) -> None:
    async def run() -> None:
        async with (
            ScriptedServer(tls=server("other.example")) as customer,
            ConnectProxy(hosts=HERE) as proxy,
            open_sender(PUBLIC_ONLY, proxy=proxy.address(), tls=client) as sender,
        ):
            result = await sender.send(outgoing(f"https://crm.example:{customer.port}/"))

        known = ErrorDetail(kind=ErrorKind.CERTIFICATE_OF_OTHER_HOST)
        assert result == NoAnswer(
            error=AttemptError.TLS, detail="the certificate is for another host", error_detail=known
        )
        assert customer.requests == []

    with asyncio.Runner(loop_factory=loop) as runner:
        runner.run(run())


async def test_customer_without_tls_is_no_fault_of_the_proxy() -> None:
    kinds: list[ProxyFaultKind] = []
    async with (
        ScriptedServer() as customer,
        ConnectProxy(hosts=HERE) as proxy,
        open_sender(PUBLIC_ONLY, proxy=proxy.address(), on_proxy_fault=kinds.append) as sender,
    ):
        result = await sender.send(outgoing(f"https://crm.example:{customer.port}/", timeout_seconds=5))

    assert isinstance(result, NoAnswer)
    assert kinds == []


async def test_sender_that_closes_ends_what_waits_for_the_proxy() -> None:
    async with (
        ConnectProxy(says=SILENT) as proxy,
        open_sender(PUBLIC_ONLY, proxy=proxy.address(), connect_timeout=timedelta(seconds=1)) as sender,
    ):
        sending = asyncio.create_task(sender.send(outgoing("https://crm.example/")))
        while not proxy.heads:
            await asyncio.sleep(0)
        await sender.close()
        assert await sending == LocalFault(detail="shutting down")


def test_credentials_are_in_no_text() -> None:
    address = ProxyAddress(scheme="http", host="fd00::1", port=3128, authorization="Basic aHVzaA==")

    assert str(address) == "http://[fd00::1]:3128"
    assert "aHVzaA" not in repr(address)
