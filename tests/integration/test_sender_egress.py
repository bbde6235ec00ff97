"""Where the HTTP sender connects to: canary listeners on loopback must see nobody whom the policy forbids."""

import asyncio
import socket
import threading
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from datetime import timedelta

import pytest

from router.adapters.http.connector import BoundedResolver, name_resolver
from router.adapters.http.egress import EgressDenied, guarded_sockets
from router.domain.delivery import AttemptError, ErrorDetail, ErrorKind
from router.domain.egress import EgressPolicy, EgressRule, parse_allow_rule
from router.domain.outcome import Answer, LocalFault, NoAnswer, SendResult
from tests.support.dns_server import ANY_NAME, BROKEN, SILENT, ScriptedDns
from tests.support.http_server import ScriptedServer, answer, then_close
from tests.support.sending import EVENT_LOOPS, open_sender, outgoing

OK = Answer(status_code=200, body=b"OK", truncated=False)

on_both_loops = pytest.mark.parametrize("loop", EVENT_LOOPS.values(), ids=EVENT_LOOPS)
Loop = Callable[[], asyncio.AbstractEventLoop]


ALLOWED, FORBIDDEN = "127.0.0.1", "127.0.0.2"
CLOSED_PORT = 1


def has_ipv6() -> bool:
    try:
        with socket.create_server(("::1", 0), family=socket.AF_INET6):
            return True
    except OSError:
        return False


needs_ipv6 = pytest.mark.skipif(not has_ipv6(), reason="this machine has no ::1 that could be reached")
V6_IF_ANY = "::1" if has_ipv6() else FORBIDDEN


def allowing(*rules: str, deny_ports: Sequence[int] = ()) -> EgressPolicy:
    return EgressPolicy(
        allow=tuple(parse_allow_rule(rule) for rule in rules), require_https=False, deny_ports=frozenset(deny_ports)
    )


def error_of(result: SendResult) -> AttemptError | None:
    return result.error if isinstance(result, NoAnswer) else None


LOOPBACK_IN_DISGUISE = [
    "127.0.0.1",
    "127.0.0.2",
    "0.0.0.0",
    "[::1]",
    "[::]",
    "[::ffff:127.0.0.1]",
    "[0:0:0:0:0:ffff:7f00:1]",
    "[::127.0.0.1]",
    "[64:ff9b::7f00:1]",
    "[64:ff9b:1::7f00:1]",
    "[2002:7f00:1::]",
    # ours here says 127.0.0.1 and ::1 to every question
    "localhost",
    "localhost.",
    "a.localhost",
    "LOCALHOST",
    "ip6-localhost",
    "crm.internal",
    "crm",
    "xn--e1awd7f.example",
]
REFUSED_AS_WRITTEN = [
    # numbers that inet_aton() reads as 127.0.0.1 or 0.0.0.0
    "2130706433",
    "017700000001",
    "0177.0.0.1",
    "127.1",
    "0",
    "127.0.0.1.",
    "0x7f000001",
    "0x7f.1",
    "①②⑦.⓪.⓪.①",
    "127。0。0。1",
    "١٢٧.٠.٠.١",
    "ⓛocalhost",
    "%31%32%37.0.0.1",
    "127%2e0.0.1",
    "[fe80::1%25lo]",
    "[::1%25]",
    "ok.example@127.0.0.1",
    "ok.example\\@127.0.0.1",
    "127.0.0.1\t",
    "127.0.0.1\r\nx: y",
    "127.0.0.1 ",
    "",
]


@on_both_loops
def test_canaries_see_nobody(loop: Loop) -> None:
    async def run() -> None:
        async with (
            ScriptedServer(host="127.0.0.1") as v4,
            ScriptedServer(host=V6_IF_ANY, port=v4.port) as v6,
            ScriptedDns({ANY_NAME: ["127.0.0.1", "::1"]}) as dns,
            open_sender(allowing(), resolver=dns.resolver) as sender,
        ):
            disguised = [await sender.send(outgoing(f"http://{host}:{v4.port}/")) for host in LOOPBACK_IN_DISGUISE]
            written = [await sender.send(outgoing(f"http://{host}:{v4.port}/")) for host in REFUSED_AS_WRITTEN]

        assert v4.connections == v6.connections == []
        assert [error_of(result) for result in disguised] == [AttemptError.BLOCKED_ADDRESS] * len(disguised)
        assert [error_of(result) for result in written] == [AttemptError.BLOCKED_ADDRESS] * len(written)

    with asyncio.Runner(loop_factory=loop) as runner:
        runner.run(run())


@pytest.mark.parametrize(
    ("host", "allow", "is_reached"),
    [
        ("127.0.0.1", "127.0.0.0/8", True),
        ("127.0.0.1", "127.0.0.1:{port}", True),
        ("127.0.0.1", "127.0.0.0/8:1", False),
        ("127.0.0.1", "127.0.0.2/32", False),
        ("127.0.0.1", "::/0", False),
        ("[::ffff:127.0.0.1]", "127.0.0.0/8", False),
        pytest.param("[::1]", "::1", True, marks=needs_ipv6),
        pytest.param("[::1]", "[::1/128]:{port}", True, marks=needs_ipv6),
        pytest.param("[::1]", "[::1/128]:1", False, marks=needs_ipv6),
        pytest.param("[::1]", "127.0.0.0/8", False, marks=needs_ipv6),
    ],
)
async def test_allow_rule_opens_its_network_and_port(host: str, allow: str, is_reached: bool) -> None:
    async with (
        ScriptedServer(host=host.strip("[]").replace("::ffff:", "")) as server,
        open_sender(allowing(allow.format(port=server.port))) as sender,
    ):
        result = await sender.send(outgoing(f"http://{host}:{server.port}/"))

    assert error_of(result) is (None if is_reached else AttemptError.BLOCKED_ADDRESS)
    assert len(server.connections) == is_reached


async def test_denied_port_is_open_only_to_a_rule_that_names_it() -> None:
    async with ScriptedServer() as server:
        port = server.port
        async with open_sender(allowing("127.0.0.1", deny_ports=[port])) as sender:
            denied = await sender.send(outgoing(server.url))
        async with open_sender(allowing(f"127.0.0.1:{port}", deny_ports=[port])) as sender:
            named = await sender.send(outgoing(server.url))

    assert error_of(denied) is AttemptError.BLOCKED_ADDRESS
    assert isinstance(denied, NoAnswer)
    assert denied.detail.startswith(f"port {port} is in egress.deny_ports; an entry of egress.allow")
    assert named == OK


async def test_plain_http_needs_the_operators_consent() -> None:
    policy = EgressPolicy(allow=(parse_allow_rule("127.0.0.1"),))

    async with ScriptedServer() as server, open_sender(policy) as sender:
        result = await sender.send(outgoing(server.url))

    assert error_of(result) is AttemptError.BLOCKED_ADDRESS
    assert server.connections == []


@pytest.mark.parametrize("status", [301, 302, 303, 307, 308])
async def test_redirect_is_not_followed_anywhere(status: int) -> None:
    async with (
        ScriptedServer() as canary,
        ScriptedServer(host=FORBIDDEN) as forbidden,
        ScriptedServer(
            answer(status, b"", {"location": canary.url}), answer(status, b"", {"location": forbidden.url})
        ) as server,
        open_sender(allowing(ALLOWED)) as sender,
    ):
        results = [await sender.send(outgoing(server.url)) for _ in range(2)]

    told = [(result.status_code, result.error_detail) for result in results if isinstance(result, Answer)]
    hosts = ("127.0.0.1", FORBIDDEN)
    assert told == [(status, ErrorDetail(kind=ErrorKind.REDIRECTED, host=host)) for host in hosts]
    assert canary.connections == forbidden.connections == []


# --- names -----------------------------------------------------------------------------------------

NAMES: dict[str, tuple[Sequence[str] | str | None, int | None, AttemptError | None]] = {
    # what the name resolves to, the port if not the server's, the error
    "allowed": ([ALLOWED], None, None),
    "forbidden": ([FORBIDDEN], None, AttemptError.BLOCKED_ADDRESS),
    "several forbidden, merged by happy eyeballs": (
        [FORBIDDEN, "10.0.0.1", "fe80::1", "::1"],
        None,
        AttemptError.BLOCKED_ADDRESS,
    ),
    "AAAA only": (["::1"], None, AttemptError.BLOCKED_ADDRESS),
    "AAAA only, an IPv4 address inside": (["::ffff:7f00:2"], None, AttemptError.BLOCKED_ADDRESS),
    "AAAA only, a translated IPv4 address": (["64:ff9b::7f00:2"], None, AttemptError.BLOCKED_ADDRESS),
    "CNAME to what is inside": (["inside.example"], None, AttemptError.BLOCKED_ADDRESS),
    "CNAME to localhost": (["localhost"], None, AttemptError.BLOCKED_ADDRESS),
    "CNAME to what is allowed": (["allowed.example"], None, None),
    "metadata of a cloud": (["169.254.169.254", "fd00:ec2::254"], None, AttemptError.BLOCKED_ADDRESS),
    "mixed: the allowed one is used": ([FORBIDDEN, ALLOWED], None, None),
    "mixed, the allowed one fails": ([FORBIDDEN, ALLOWED], CLOSED_PORT, AttemptError.CONNECTION_REFUSED),
    "does not exist": (None, None, AttemptError.DNS),
    "has no address": ([], None, AttemptError.DNS),
    "server failure": (BROKEN, None, AttemptError.DNS),
    "no reply": (SILENT, None, AttemptError.DNS),
}


ELSEWHERE: dict[str, Sequence[str] | str] = {
    "inside.example": [FORBIDDEN],
    "localhost": [FORBIDDEN],
    "allowed.example": [ALLOWED],
}


@on_both_loops
@pytest.mark.parametrize(("addresses", "port", "error"), NAMES.values(), ids=NAMES)
def test_every_address_of_a_name_is_judged(
    loop: Loop, addresses: Sequence[str] | str | None, port: int | None, error: AttemptError | None
) -> None:
    async def run() -> None:
        async with (
            ScriptedDns(ELSEWHERE | ({} if addresses is None else {"crm.example": addresses})) as dns,
            ScriptedServer(host=ALLOWED) as server,
            ScriptedServer(host=FORBIDDEN, port=server.port) as canary,
            ScriptedServer(host=V6_IF_ANY if has_ipv6() else "127.0.0.3", port=server.port) as v6,
            open_sender(allowing(ALLOWED), resolver=dns.resolver) as sender,
        ):
            result = await sender.send(outgoing(f"http://crm.example:{port or server.port}/"))

        assert error_of(result) is error
        assert canary.connections == v6.connections == []

    with asyncio.Runner(loop_factory=loop) as runner:
        runner.run(run())


async def test_name_that_changes_its_address_gains_nothing() -> None:
    async with (
        ScriptedDns({"rebind.example": [ALLOWED]}) as dns,
        ScriptedServer(host=ALLOWED) as server,
        ScriptedServer(host=FORBIDDEN, port=server.port) as canary,
    ):
        request = outgoing(f"http://rebind.example:{server.port}/")
        async with open_sender(allowing(ALLOWED), resolver=dns.resolver) as sender:
            before = await sender.send(request)
        dns.table["rebind.example"] = [FORBIDDEN]
        async with open_sender(allowing(ALLOWED), resolver=dns.resolver) as sender:  # nothing cached
            after = await sender.send(request)

    assert before == OK
    assert error_of(after) is AttemptError.BLOCKED_ADDRESS
    assert canary.connections == []


async def test_name_is_judged_anew_on_every_connection(monkeypatch: pytest.MonkeyPatch) -> None:
    """Rebinding with a TTL of 0, within one sender: the address that counts is the one that is dialled."""
    monkeypatch.setattr("router.adapters.http.connector.DNS_CACHE_SECONDS", 0)
    hop = then_close(b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\nconnection: close\r\n\r\nOK")
    async with (
        ScriptedDns({"rebind.example": [ALLOWED]}) as dns,
        ScriptedServer(hop, host=ALLOWED) as server,
        ScriptedServer(host=FORBIDDEN, port=server.port) as canary,
        open_sender(allowing(ALLOWED), resolver=dns.resolver) as sender,
    ):
        results: list[SendResult] = []
        for address in (ALLOWED, FORBIDDEN, ALLOWED, "10.0.0.1", "169.254.169.254"):
            dns.table["rebind.example"] = [address]
            results.append(await sender.send(outgoing(f"http://rebind.example:{server.port}/")))

    blocked = AttemptError.BLOCKED_ADDRESS
    assert [error_of(result) for result in results] == [None, blocked, None, blocked, blocked]
    assert canary.connections == []
    assert len(server.connections) == 2


async def test_names_are_looked_up_on_no_thread_that_others_need() -> None:
    """Every thread of the executor is busy, as getaddrinfo() on slow names would keep it."""
    release = threading.Event()
    loop = asyncio.get_running_loop()
    loop.set_default_executor(ThreadPoolExecutor(max_workers=1))
    busy = loop.run_in_executor(None, release.wait)
    try:
        async with (
            ScriptedServer(host=ALLOWED) as server,
            ScriptedDns({"crm.example": [ALLOWED]}) as dns,
            open_sender(allowing(ALLOWED), resolver=lambda: name_resolver([f"127.0.0.1:{dns.port}"])) as sender,
        ):
            result = await sender.send(outgoing(f"http://crm.example:{server.port}/"))
    finally:
        release.set()
        await busy

    assert result == OK


async def test_refusal_is_an_oserror_so_that_the_library_passes_it_on() -> None:
    open_socket = guarded_sockets(allowing(ALLOWED))
    family, kind = socket.AF_INET, socket.SOCK_STREAM

    with pytest.raises(EgressDenied) as refused:
        open_socket((family, kind, 0, "", (FORBIDDEN, 443)))
    open_socket((family, kind, 0, "", (ALLOWED, 443))).close()

    assert isinstance(refused.value, OSError)
    assert FORBIDDEN not in str(refused.value)


async def test_name_server_that_cannot_be_reached_is_our_fault() -> None:
    async with ScriptedDns({}) as dns:
        pass  # its port is closed from here on

    async with open_sender(allowing(ALLOWED), resolver=dns.resolver) as sender:
        result = await sender.send(outgoing("http://crm.example/"))

    assert isinstance(result, LocalFault)


@pytest.mark.parametrize("limit", ["lookup", "connect", "total"])
async def test_slow_name_is_a_dns_error_whichever_limit_ends_it(limit: str) -> None:
    seconds = {"lookup": 5.0, "connect": 5.0, "total": 5.0, limit: 0.1}

    async with (
        ScriptedDns({"slow.example": SILENT}) as dns,
        open_sender(
            allowing(ALLOWED),
            resolver=lambda: BoundedResolver(dns.resolver(timeout_seconds=30), seconds["lookup"]),
            connect_timeout=timedelta(seconds=seconds["connect"]),
        ) as sender,
    ):
        result = await sender.send(outgoing("http://slow.example/", timeout_seconds=seconds["total"]))

    assert error_of(result) is AttemptError.DNS


async def test_slow_names_hold_up_no_other_and_end_when_the_sender_closes() -> None:
    hosts = [f"slow-{number}.example" for number in range(50)] * 2  # each is looked up once, and waited for twice
    table = {**dict.fromkeys(hosts, SILENT), "crm.example": [ALLOWED]}

    async with (
        ScriptedServer(host=ALLOWED) as server,
        ScriptedDns(table) as dns,
        open_sender(allowing(ALLOWED), resolver=lambda: dns.resolver(timeout_seconds=30)) as sender,
        asyncio.TaskGroup() as group,
    ):
        slow = [group.create_task(sender.send(outgoing(f"http://{host}/", timeout_seconds=30))) for host in hosts]
        await dns.asked.wait()
        assert await sender.send(outgoing(f"http://crm.example:{server.port}/")) == OK
        await sender.close()

    assert [task.result() for task in slow] == [LocalFault(detail="shutting down")] * len(hosts)


@pytest.mark.parametrize(
    ("url", "policy", "rules"),
    [
        ("http://127.0.0.1:{port}/", allowing("127.0.0.1"), []),
        ("http://127.0.0.1:{port}/", allowing(), [EgressRule.NOT_PUBLIC]),
        ("http://crm.example:{port}/", allowing(), [EgressRule.NOT_PUBLIC]),  # two addresses, one request
        ("http://127.0.0.1:{port}/", EgressPolicy(), [EgressRule.NOT_HTTPS]),
        ("http://127.0.0.1:25/", allowing("127.0.0.1", deny_ports=[25]), [EgressRule.PORT]),
        ("http://2130706433:{port}/", allowing(), [EgressRule.MALFORMED]),
        ("ws://127.0.0.1:{port}/", allowing("127.0.0.1"), [EgressRule.MALFORMED]),
    ],
)
async def test_each_request_that_is_refused_is_reported_once_by_its_rule(
    url: str, policy: EgressPolicy, rules: list[EgressRule]
) -> None:
    heard: list[EgressRule] = []
    async with (
        ScriptedServer(host="127.0.0.1") as server,
        ScriptedDns({ANY_NAME: ["127.0.0.1", "::1"]}) as dns,
        open_sender(policy, resolver=dns.resolver, on_refusal=heard.append) as sender,
    ):
        await sender.send(outgoing(url.format(port=server.port)))

    assert heard == rules
