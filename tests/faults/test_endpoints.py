"""Customers' servers that hang, drip, never end, lie, redirect or vanish: named, bounded, and nobody else waits."""

from __future__ import annotations

import asyncio
import socket
import time
from collections import Counter
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from email.utils import format_datetime
from typing import Any

import pytest

from router.domain.delivery import MAX_KEPT_RESPONSE_BYTES
from tests.faults.conftest import MakeTrial
from tests.support.customer import OK
from tests.support.fault_checker import Fault, Part, Trial
from tests.support.http_server import (
    Connection,
    Exchange,
    Request,
    Step,
    answer,
    close_without_answer,
    endless_body,
    endless_interim,
    for_ever,
    gzip_bomb,
    head,
    in_pieces,
    never_answer,
    reset_without_answer,
    then_close,
    then_hang,
    then_reset,
)
from tests.support.router_process import wait_for

TIMEOUT_SECONDS = 5
ONE_ATTEMPT = {
    "ROUTER_DELIVERY__CDR__RETRY_DELAYS_SECONDS": "[]",
    "ROUTER_DELIVERY__CDR__TIMEOUT_SECONDS": str(TIMEOUT_SECONDS),
    "ROUTER_DELIVERY__CONNECT_TIMEOUT_SECONDS": "2",
}
KNOWN_WITHIN_SECONDS = 2
"""What became of a webhook is known to every worker within 1 s, and a busy machine adds to it."""
CHUNKED = {"transfer-encoding": "chunked"}
LENGTH_9 = {"content-length": "9"}
NO_LENGTH = {"content-length": "0"}


async def black_hole(_: Exchange) -> None:
    raise AssertionError("a listener that accepts nobody was asked")


async def byte_by_byte(exchange: Exchange) -> None:
    """A whole answer, which would take minutes."""
    for byte in answer(500, b"x" * 1000):
        await exchange.send(bytes([byte]))
        await asyncio.sleep(0.3)


def slow_body() -> Step:
    return for_ever(head(200, {"content-length": "1000000"}), b"x", seconds_between=0.3)


@dataclass(frozen=True, slots=True)
class Case:
    """What a server does, and what its only attempt is to be called: an error of the contract, or None for success.
    `hangs`: nothing but the timeout ends it."""

    fault: int
    step: Step
    error: str | None
    status: int | None = None
    truncated: bool = False
    hangs: bool = False

    @property
    def must_be_closed(self) -> bool:
        """Nothing more may be read from that connection."""
        return self.hangs or self.truncated or self.error == "protocol"


FAULTS = {
    34: "endpoint that accepts nobody, or never answers",
    35: "answer that comes one byte at a time (head, body)",
    36: "body, chunk extension, interim answers without end",
    38: "10 MiB gzip bomb",
    39: "redirects: to itself, to a forbidden address, to file:",
    45: "reset, cut or silence in the middle of a 2xx body",
    46: "HTTP/1.0, 100-continue, HTTP/0.9, huge heads, lying lengths",
}

CASES: dict[str, Case] = {
    "accepts nobody": Case(34, black_hole, "connect_timeout"),
    "never answers": Case(34, never_answer, "timeout", hangs=True),
    "half a head": Case(34, then_hang(b"HTTP/1.1 200 OK\r\nx:"), "timeout", hangs=True),
    "closes": Case(34, close_without_answer, "connection_reset"),
    "resets": Case(34, reset_without_answer, "connection_reset"),
    "drips its head": Case(35, byte_by_byte, "timeout", hangs=True),
    "drips its body": Case(35, slow_body(), None, 200, truncated=True, hangs=True),
    "endless body": Case(36, endless_body(), None, 200, truncated=True),
    "endless body of an error": Case(36, for_ever(head(500)), "http_status", 500, truncated=True),
    "endless chunk extension": Case(36, for_ever(head(200, CHUNKED) + b"1;"), None, 200, truncated=True, hangs=True),
    "endless chunk extension, slow": Case(
        36, for_ever(head(500, CHUNKED) + b"1;", b"x", seconds_between=0.01),
        "http_status", 500, truncated=True, hangs=True,
    ),
    "endless header": Case(36, for_ever(b"HTTP/1.1 500 No\r\nx: "), "protocol"),
    "endless headers": Case(36, for_ever(b"HTTP/1.1 500 No\r\n", b"x: y\r\n" * 100), "protocol"),
    "endless interim answers": Case(36, endless_interim(), "timeout", hangs=True),
    "gzip bomb": Case(38, gzip_bomb(10), None, 200, truncated=True),
    "redirect to itself": Case(39, head(308, {"location": "/", **NO_LENGTH}), "redirect", 308),
    "redirect to a forbidden address": Case(
        39, head(302, {"location": "http://127.0.0.2:9/", **NO_LENGTH}), "redirect", 302
    ),
    "redirect to a file": Case(39, head(307, {"location": "file:///etc/passwd", **NO_LENGTH}), "redirect", 307),
    "redirect to nowhere": Case(39, head(301, NO_LENGTH), "redirect", 301),
    "body reset": Case(45, then_reset(head(200, LENGTH_9) + b"OK"), None, 200, truncated=True),
    "body cut off": Case(45, then_close(head(200, LENGTH_9) + b"OK"), None, 200, truncated=True),
    "body that stops": Case(45, then_hang(head(200, LENGTH_9) + b"OK"), None, 200, truncated=True, hangs=True),
    "HTTP/1.0": Case(46, then_close(head(200, version="1.0") + b"OK"), None, 200),
    "no length": Case(46, then_close(head(200) + b"OK"), None, 200),
    "unasked 100": Case(46, in_pieces(head(100), head(103, {"link": "</a>"}), OK), None, 200),
    "body longer than said": Case(46, head(200, {"content-length": "1"}) + b"OKAY", None, 200),
    "two answers": Case(46, OK + answer(500), None, 200),
    "wrong chunks": Case(46, head(200, CHUNKED) + b"no length\r\n", None, 200, truncated=True),
    "HTTP/0.9": Case(46, then_close(b"<html>hello</html>"), "protocol"),
    "not HTTP": Case(46, then_close(b"SSH-2.0-OpenSSH_9.2\r\n"), "protocol"),
    "lower-case status line": Case(46, b"http/1.1 200 ok\r\ncontent-length: 0\r\n\r\n", "protocol"),
    "two lengths": Case(46, head(500, {"content-length": "2", "Content-Length": "3"}) + b"OK", "protocol"),
    "header of 64 KiB": Case(46, head(500, {"x": "y" * 65_536}), "protocol"),
    "500 headers": Case(46, head(500, {f"x-{number}": "y" for number in range(500)}), "protocol"),
}  # fmt: skip


@contextmanager
def full_backlog() -> Iterator[str]:
    """The URL of a listener that nobody gets through to."""
    with socket.socket() as listener, socket.socket() as first, socket.socket() as second:
        listener.bind(("127.0.0.1", 0))
        listener.listen(0)
        for filler in (first, second):  # a backlog of 0 has room for one; the kernel ignores the others
            filler.setblocking(False)
            filler.connect_ex(listener.getsockname())
        yield f"http://127.0.0.1:{listener.getsockname()[1]}"


def path_of(trial: Trial, webhook_id: str) -> str:
    return next(path for path, each in trial.paths.items() if each == webhook_id)


def requests_to(trial: Trial, webhook_id: str) -> list[Request]:
    path = path_of(trial, webhook_id)
    return [each for each in trial.customer.requests if each.target == path]


def connections_of(trial: Trial, webhook_id: str) -> list[Connection]:
    path = path_of(trial, webhook_id)
    return [each for each in trial.customer.server.connections if any(r.target == path for r in each.requests)]


# --- 34, 35, 36, 38, 39, 45, 46: one attempt each, all at once ----------------------------------------


def define_cases(trial: Trial, resources: ExitStack) -> dict[str, str]:
    """A webhook for each case. Returns them by the name of their case."""
    hole = resources.enter_context(full_backlog())
    webhooks = {}
    for name, case in CASES.items():
        elsewhere = {"url": trial.platform.hook_url(hole)} if case.step is black_hole else {}
        webhooks[name] = trial.define_webhook(**elsewhere)
    steps: Mapping[str, Step] = {path_of(trial, webhook): CASES[name].step for name, webhook in webhooks.items()}
    trial.customer.behave = lambda request: steps.get(request.target, OK)
    trial.parts = [
        Part(
            fault=Fault(number=number, text=text),
            webhooks=frozenset(webhook for name, webhook in webhooks.items() if CASES[name].fault == number),
        )
        for number, text in FAULTS.items()
    ]
    return webhooks


@pytest.mark.fault(34, "servers that do what no server should")
async def test_bad_server_is_named_and_bounded_and_costs_nobody_else(make_trial: MakeTrial) -> None:
    trial = await make_trial()
    with ExitStack() as resources:
        webhooks = define_cases(trial, resources)
        healthy = trial.define_webhook("user")
        await trial.start_router(**ONE_ATTEMPT)
        await trial.publish(1)
        hanging = [webhook for name, webhook in webhooks.items() if CASES[name].hangs]
        await wait_for(lambda: all(connections_of(trial, webhook) for webhook in hanging))
        await trial.publish(20, "user")
        await wait_for(lambda: len(requests_to(trial, healthy)) == 20)
        assert any(each.ended is None for webhook in hanging for each in connections_of(trial, webhook)), "they waited"
        await trial.settled(within_seconds=6 * TIMEOUT_SECONDS)
        still_open: set[str] = set()

        def are_closed() -> bool:
            still_open.clear()
            for name, webhook in webhooks.items():
                if CASES[name].must_be_closed and any(not each.ended for each in connections_of(trial, webhook)):
                    still_open.add(name)
            return not still_open

        try:
            await wait_for(are_closed, within_seconds=30)
        except AssertionError:
            raise AssertionError(f"not closed by the router: {sorted(still_open)}") from None
    attempts = {each["webhook_id"]: each["attempts"] for each in trial.platform.database.deliveries.find()}
    for name, webhook in webhooks.items():
        assert_attempt(name, CASES[name], attempts[webhook])
    for webhook in hanging:
        assert {each.ended for each in connections_of(trial, webhook)} == {"client"}
    await trial.check(statuses={"failed": sum(case.error is not None for case in CASES.values())})
    assert all(request.target in trial.paths for request in trial.customer.requests), "a redirect was followed"


def assert_attempt(name: str, case: Case, attempts: list[dict[str, Any]]) -> None:
    (attempt,) = attempts
    found = (attempt["error"], attempt["status_code"], attempt["response_truncated"])
    assert found == (case.error, case.status, case.truncated), name
    if case.hangs:
        assert attempt["duration_ms"] >= 0.9 * TIMEOUT_SECONDS * 1000, name
    assert len(attempt["response_body"] or "") <= MAX_KEPT_RESPONSE_BYTES, name


# --- 40: Retry-After -------------------------------------------------------------------------------

CAP_SECONDS = 4


def in_seconds(seconds: float) -> str:
    return format_datetime(datetime.now(UTC) + timedelta(seconds=seconds), usegmt=True)


@pytest.mark.fault(40, "Retry-After of 120, a date, the past, -1, 1e9, abc, 2.5, 10^30, two of them")
async def test_retry_after_is_honoured_within_the_cap_and_garbage_is_not(make_trial: MakeTrial) -> None:
    trial = await make_trial()
    wishes: dict[str, tuple[list[str], bool]] = {  # whether it may be kept waiting until the cap
        "large": (["120"], True),
        "huge": ([str(10**30)], True),
        "date": ([in_seconds(600)], True),
        "past": ([in_seconds(-600)], False),
        "never": (["Fri, 31 Dec 9999 23:59:59 GMT"], True),
        "negative": (["-1"], False),
        "exponent": (["1e9"], False),
        "word": (["abc"], False),
        "float": (["2.5"], False),
        "empty": ([""], False),
        "two": (["120", "abc"], True),
        "long": (["9" * 5_000], True),
    }
    webhooks = {trial.define_webhook(): name for name in wishes}
    received: dict[str, list[float]] = {name: [] for name in wishes}

    def behave(request: Request) -> Step:
        name = webhooks[trial.paths[request.target]]
        received[name].append(time.monotonic())
        if len(received[name]) > 1:
            return OK
        fields = "".join(f"Retry-After: {value}\r\n" for value in wishes[name][0])
        status = 429 if name < "m" else 503
        return f"HTTP/1.1 {status} Later\r\ncontent-length: 0\r\n{fields}\r\n".encode()

    trial.customer.behave = behave
    await trial.start_router(ROUTER_DELIVERY__CDR__RETRY_DELAYS_SECONDS=f"[0.2, {CAP_SECONDS}]")
    await trial.publish(1)
    await trial.settled()
    waits = {name: second - first for name, (first, second) in received.items()}
    for name, (_, is_honoured) in wishes.items():
        # 0.3 s: both times are those of arrival.
        assert (waits[name] >= CAP_SECONDS - 0.3) is is_honoured, (name, waits)
    assert max(waits.values()) < CAP_SECONDS * 5
    await trial.check()


# --- 41: Gone --------------------------------------------------------------------------------------


@pytest.mark.quick
@pytest.mark.fault(41, "410 Gone under load, to be resumed by hand")
async def test_gone_suspends_once_and_visibly_until_it_is_resumed(make_trial: MakeTrial) -> None:
    trial = await make_trial()
    gone, healthy = trial.define_webhook(), trial.define_webhook()
    path = path_of(trial, gone)
    trial.customer.behave = lambda request: answer(410) if request.target == path else OK
    router = await trial.start_router()
    await trial.publish(30)
    await trial.settled()
    first = len(requests_to(trial, gone))
    assert 1 <= first <= 30
    webhook = await router.webhook(gone)
    assert webhook["state"] == "suspended"
    await asyncio.sleep(KNOWN_WITHIN_SECONDS)
    await trial.publish(10)
    await trial.settled()
    assert len(requests_to(trial, gone)) == first, "a suspended webhook was tried"
    reasons = Counter(each["reason"] for each in await router.deliveries(webhook_id=gone))
    assert reasons.keys() <= {"gone", "suspended"}
    assert reasons["gone"] == first
    assert (await router.webhook(healthy))["state"] == "active"

    trial.customer.behave = lambda _: OK
    trial.heal()
    assert await router.post(f"/v1/webhooks/{gone}/resume") < 300
    await asyncio.sleep(KNOWN_WITHIN_SECONDS)
    await trial.publish(10)
    await trial.check(statuses={"failed": 40})
    assert '"webhook_suspended"' in router.log


# --- 43: reused connections ------------------------------------------------------------------------


@pytest.mark.quick
@pytest.mark.parametrize("how", ["reset", "closed"])
@pytest.mark.fault(43, "every reused connection is {how} before an answer")
async def test_reused_connection_that_is_dead_costs_no_attempt(make_trial: MakeTrial, how: str) -> None:
    trial = await make_trial()
    trial.define_webhook()
    ending = reset_without_answer if how == "reset" else close_without_answer
    trial.customer.behave = lambda request: OK if request.nth_on_connection == 1 else ending
    await trial.start_router(ROUTER_DELIVERY__MAX_IN_FLIGHT_PER_WEBHOOK="2")
    await trial.publish(40)
    await trial.settled()
    assert any(each.nth_on_connection > 1 for each in trial.customer.requests), "no connection was reused"
    deliveries = trial.platform.database.deliveries.find()
    assert {len(each["attempts"]) for each in deliveries} == {1}
    await trial.check()
