"""Names that do not resolve and certificates that do not convince: the customer's fault is told from our own."""

from __future__ import annotations

import asyncio
import json
import ssl
from collections.abc import AsyncIterator
from contextlib import ExitStack, asynccontextmanager
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
import trustme

from router.adapters.embedded.processes import free_ports
from router.application.brake import SILENCE_SECONDS
from tests.faults.conftest import MakeTrial
from tests.support.dns_server import ANY_NAME, BROKEN, SILENT, ScriptedDns
from tests.support.fault_checker import Trial
from tests.support.http_server import ScriptedServer, in_thread, then_close
from tests.support.router_process import RouterProcess, wait_for

LOOPBACK = ["127.0.0.1"]
PATIENT = {"ROUTER_DELIVERY__CDR__RETRY_DELAYS_SECONDS": str([1] * 40)}
SLOW_SECONDS = 10
ALL_CLOSE = then_close(b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\nconnection: close\r\n\r\nOK")
"""No connection is kept, so every attempt needs the name."""


def resolvers(dns: ScriptedDns) -> dict[str, str]:
    return {"ROUTER_EGRESS__RESOLVERS": json.dumps([f"127.0.0.1:{dns.port}"])}


def webhook_at(trial: Trial, host: str, event_type: str = "cdr") -> str:
    """A webhook at a name of the customer's server."""
    url = trial.platform.hook_url(f"http://{host}:{trial.customer.server.port}")
    return trial.define_webhook(event_type, url=url)


def attempts_of(trial: Trial, webhook_id: str) -> list[Any]:
    found = trial.platform.database.deliveries.find({"webhook_id": webhook_id})
    return [attempt for each in found for attempt in each["attempts"]]


async def metric(router: RouterProcess, name: str) -> float:
    """The value of a metric without labels."""
    lines = str(await router.api("/metrics")).splitlines()
    return next(float(line.rpartition(" ")[2]) for line in lines if line.startswith(name + " "))


# --- 32: names of a customer -----------------------------------------------------------------------


@pytest.mark.quick
@pytest.mark.fault(32, "one customer's name does not exist, another's is SERVFAIL")
async def test_name_that_does_not_resolve_is_an_attempt_of_its_customer_alone(make_trial: MakeTrial) -> None:
    trial = await make_trial()
    async with ScriptedDns({"broken.example": BROKEN, "good.example": LOOPBACK}) as dns:
        bad = [webhook_at(trial, "no-such-name.example"), webhook_at(trial, "broken.example")]
        webhook_at(trial, "good.example", "user")
        router = await trial.start_router(**resolvers(dns))
        await trial.publish(5)
        await trial.publish(20, "user")
        await trial.settled()
        assert [{each["error"] for each in attempts_of(trial, webhook)} for webhook in bad] == [{"dns"}, {"dns"}]
        assert {len(attempts_of(trial, webhook)) for webhook in bad} == {5 * 3}
        assert await metric(router, "webhook_router_egress_brake") == 0
        dns.table = {ANY_NAME: LOOPBACK}
        trial.heal()
        await trial.publish(5)
        await trial.check(statuses={"failed": 2 * 5})


# --- 32: our own name server -----------------------------------------------------------------------


@pytest.mark.fault(32, "our name server {how}, for every name")
@pytest.mark.parametrize(("how", "entry"), [("answers SERVFAIL", BROKEN), ("says nothing", SILENT)])
async def test_dead_name_server_is_a_brake_and_no_attempt(make_trial: MakeTrial, how: str, entry: str) -> None:
    trial = await make_trial()
    trial.customer.behave = lambda _: ALL_CLOSE
    async with ScriptedDns({ANY_NAME: entry}) as dns:
        for number in range(8):
            webhook_at(trial, f"crm-{number}.example")
        router = await trial.start_router(
            **PATIENT, **resolvers(dns), ROUTER_DELIVERY__SUSPEND_AFTER_SECONDS=str(SILENCE_SECONDS)
        )
        await asyncio.sleep(SILENCE_SECONDS)
        await trial.publish(1)
        await wait_for(lambda: '"egress_brake_on"' in router.log)
        later = {"event_id": {"$in": [event["id"] for event in await trial.publish(20)]}}
        await asyncio.sleep(3 * SILENCE_SECONDS)
        assert await metric(router, "webhook_router_egress_brake") == 1
        assert await router.is_ready()
        states = {(await router.webhook(webhook))["state"] for webhook in trial.webhooks}
        assert states == {"active"}, "our own fault suspended somebody"
        assert {each["attempt_count"] for each in trial.platform.database.deliveries.find(later)} == {0}
        dns.table = {ANY_NAME: LOOPBACK}
        trial.heal()
        await trial.settled()
        assert await metric(router, "webhook_router_egress_brake") == 0
        # A look-up that began before the healing may fail after it, with all who joined it meanwhile.
        assert {each["attempt_count"] for each in trial.platform.database.deliveries.find(later)} <= {1, 2}
        await trial.check()


@pytest.mark.fault(32, "nobody listens at our name server's port, one customer")
async def test_name_server_that_is_away_costs_no_attempt_however_few_the_customers(make_trial: MakeTrial) -> None:
    trial = await make_trial()
    (port,) = free_ports(1)
    webhook = webhook_at(trial, "crm.example")
    await trial.start_router(ROUTER_EGRESS__RESOLVERS=json.dumps([f"127.0.0.1:{port}"]))
    await trial.publish(10)
    await asyncio.sleep(5)
    assert attempts_of(trial, webhook) == []
    async with ScriptedDns({ANY_NAME: LOOPBACK}, port=port):
        trial.heal()
        await trial.check()
    assert {each["number"] for each in attempts_of(trial, webhook)} == {1}


# --- 33: slow names --------------------------------------------------------------------------------


@pytest.mark.fault(33, "one customer's name takes 10 s to resolve")
async def test_slow_name_delays_nobody_else(make_trial: MakeTrial) -> None:
    trial = await make_trial()
    trial.customer.behave = lambda _: ALL_CLOSE
    async with ScriptedDns({ANY_NAME: LOOPBACK}) as dns:
        dns.delays = {"slow.example": SLOW_SECONDS}
        slow = webhook_at(trial, "slow.example")
        healthy = [webhook_at(trial, f"crm-{number}.example", "user") for number in range(5)]
        await trial.start_router(**PATIENT, **resolvers(dns))
        await trial.publish(30)
        async with trial.stream(per_second=50, event_type="user"):
            await wait_for(lambda: len(attempts_of(trial, slow)) >= 16)
        assert {each["error"] for each in attempts_of(trial, slow)} == {"dns"}
        assert max(each["duration_ms"] for each in attempts_of(trial, slow)) < SLOW_SECONDS * 1000
        dns.delays = {}
        trial.heal()
        await trial.settled()
        mine = trial.platform.database.deliveries.find({"webhook_id": {"$in": healthy}})
        waits = sorted((each["completed_at"] - each["created_at"]).total_seconds() for each in mine)
        assert waits[len(waits) * 99 // 100] < SLOW_SECONDS / 2
        await trial.check()


# --- 42: TLS ---------------------------------------------------------------------------------------

PAST = datetime(2020, 1, 1)  # noqa: DTZ001  trustme wants it naive
WRONG_VERSION_ALERT = b"\x15\x03\x01\x00\x02\x02\x46"


def server_tls(certificate: trustme.LeafCert) -> ssl.SSLContext:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    certificate.configure_cert(context)
    return context


@asynccontextmanager
async def without_handshake(reply: bytes | None) -> AsyncIterator[str]:
    """The URL of a server that answers the first message of TLS with `reply`, or never."""
    everybody: list[asyncio.StreamWriter] = []

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        everybody.append(writer)
        await reader.read(65_536)
        if reply is None:
            await reader.read()
        else:
            writer.write(reply)
        writer.close()

    server = await asyncio.start_server(serve, "127.0.0.1")
    async with server:
        yield f"https://127.0.0.1:{server.sockets[0].getsockname()[1]}"
        for writer in everybody:
            writer.close()


@pytest.mark.fault(42, "TLS: expired, wrong host, unknown authority, too old, plain HTTP, handshake that stalls")
async def test_bad_tls_is_named_and_good_tls_is_delivered(make_trial: MakeTrial, tmp_path: Path) -> None:
    trial = await make_trial()
    authority = trustme.CA()
    authority.cert_pem.write_to_path(str(tmp_path / "authority.pem"))
    expired = authority.issue_cert("127.0.0.1", not_before=PAST, not_after=PAST + timedelta(days=1))
    certificates = {
        "good": authority.issue_cert("127.0.0.1"),
        "certificate has expired": expired,
        "the certificate is for another host": authority.issue_cert("other.example"),
        "unable to get local issuer certificate": trustme.CA().issue_cert("127.0.0.1"),
    }
    expected: dict[str, tuple[str | None, str]] = {}
    with ExitStack() as servers:

        def define(url: str, error: str | None, detail: str) -> None:
            webhook = trial.define_webhook(url=trial.platform.hook_url(url))
            expected[webhook] = (error, detail)

        for detail, certificate in certificates.items():
            server = ScriptedServer(route=trial.customer.server._route, tls=server_tls(certificate))
            servers.enter_context(in_thread(server))
            define(server.url, None if detail == "good" else "tls", detail)
        async with (
            without_handshake(WRONG_VERSION_ALERT) as too_old,
            without_handshake(b"HTTP/1.1 400 Bad Request\r\n\r\n") as plain,
            without_handshake(None) as stalling,
        ):
            define(plain, "tls", "wrong version number")
            define(too_old, "tls", "tlsv1 alert protocol version")
            define(stalling, "connect_timeout", "no connection in time")
            healthy = trial.define_webhook("user")
            router = await trial.start_router(SSL_CERT_FILE=str(tmp_path / "authority.pem"))
            await trial.publish(2)
            await trial.publish(20, "user")
            await trial.settled()
        lines = [json.loads(line) for line in router.log.splitlines() if '"event":"attempt"' in line]
        for webhook, (error, detail) in expected.items():
            mine = {(line.get("error"), line.get("detail", "good")) for line in lines if line["webhook_id"] == webhook}
            assert mine == {(error, detail)}
            assert len(attempts_of(trial, webhook)) == (2 if error is None else 2 * 3)
        assert {each["number"] for each in attempts_of(trial, healthy)} == {1}
        await trial.check(statuses={"failed": 2 * sum(error is not None for error, _ in expected.values())})
