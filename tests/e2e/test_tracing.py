"""One event's way through real routers as its trace tells it: in memory, and at a collector that speaks OTLP."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter

from router.adapters.tracing import OpenTelemetryTracing
from router.bootstrap.store import open_store
from router.bootstrap.worker import Worker
from router.daemon import StopSignal, Supervisor
from router.settings import Settings, load_settings
from router.telemetry.metrics import Metrics
from tests.support.events import make_event
from tests.support.http_server import ScriptedServer, answer
from tests.support.router_process import QUICK, Platform, RouterProcess, wait_for
from tests.support.spans import id_of, parent_of, times_of, told_by, trace_of

TRACE, PUBLISHER = "4bf92f3577b34da6a3ce929d0e0e4736", "00f067aa0ba902b7"
HEADERS = {"traceparent": f"00-{TRACE}-{PUBLISHER}-01", "tracestate": "vendor=1", "baggage": "customer=secret"}


@asynccontextmanager
async def worker(settings: Settings, exporter: InMemorySpanExporter) -> AsyncIterator[Worker]:
    """A worker of this process, traced into memory."""
    tracing = OpenTelemetryTracing(
        exporter, SimpleSpanProcessor, sample_ratio=1, version="1", instance="test", redact=lambda text: text
    )
    supervisor = Supervisor(StopSignal())
    async with open_store(settings, patience_seconds=30) as store:
        worker = Worker(settings, store, Metrics("1"), "test", tracing)
        await worker.start(supervisor)
        await worker.source.wait_until_consuming()
        try:
            yield worker
        finally:
            await supervisor.shut_down(worker.stop_steps(supervisor))


def names(exporter: InMemorySpanExporter) -> list[str]:
    return [span.name for span in exporter.get_finished_spans()]


async def test_headers_lead_to_consume_store_and_attempts_of_two_workers(
    own_platform: Platform, tmp_path: Path
) -> None:
    """The retry is another worker's, who knows the trace from the event's document alone."""
    (tmp_path / "nothing.toml").touch()
    environ = own_platform.environment() | dict(QUICK) | {"ROUTER_CONFIG": str(tmp_path / "nothing.toml")}
    # Longer than what a worker keeps in memory: it rests in the store until the second one claims it.
    environ["ROUTER_DELIVERY__CDR__RETRY_DELAYS_SECONDS"] = "[60]"
    settings = load_settings(environ=environ)
    account = own_platform.enable_account()
    first, second = InMemorySpanExporter(), InMemorySpanExporter()

    async with ScriptedServer(answer(500), answer(200)) as server:
        own_platform.define_webhook(account, to=server.url)
        async with worker(settings, first):
            await own_platform.publish(make_event(account, "cdr"), headers=HEADERS)
            await wait_for(lambda: "attempt" in names(first))
        now_due = {"$set": {"due_at": own_platform.database.events.find_one({})["received_at"]}}  # type: ignore[index]
        assert own_platform.database.deliveries.update_one({"account_id": account}, now_due).matched_count == 1
        async with worker(settings, second):
            await wait_for(lambda: "attempt" in names(second))

    spans = [*first.get_finished_spans(), *second.get_finished_spans()]
    (consume,) = (span for span in spans if span.name == "consume cdr")
    (store,) = (span for span in spans if span.name == "store")
    failed, delivered = (span for span in spans if span.name == "attempt")
    assert {trace_of(span) for span in spans} == {TRACE}
    assert parent_of(consume) == PUBLISHER
    assert {parent_of(span) for span in (store, failed, delivered)} == {id_of(consume)}
    assert names(second) == ["attempt"]
    assert times_of(consume)[0] <= times_of(store)[0] <= times_of(store)[1] <= times_of(failed)[0]
    assert times_of(failed)[1] < times_of(delivered)[0]
    assert told_by(consume)["webhook_router.account_id"] == account
    assert told_by(delivered)["http.request.resend_count"] == 1
    for request in server.requests:
        assert not {"traceparent", "tracestate", "baggage"} & {name.lower() for name, _ in request.headers}


# --- the whole way to a collector ------------------------------------------------------------------


def spans_of(collector: ScriptedServer) -> Iterator[Any]:
    for request in collector.requests:
        for resource in ExportTraceServiceRequest.FromString(request.body).resource_spans:
            for scope in resource.scope_spans:
                yield from scope.spans


async def test_a_router_tells_its_collector_and_its_log_and_no_customer(own_platform: Platform, tmp_path: Path) -> None:
    account = own_platform.enable_account()
    async with ScriptedServer() as collector, ScriptedServer() as server:
        own_platform.define_webhook(account, to=server.url)
        endpoint = f"{collector.url}/v1/traces"
        async with RouterProcess(own_platform, tmp_path, ROUTER_TRACING__ENDPOINT=endpoint) as router:
            event = make_event(account, "cdr")
            await own_platform.publish(event, headers=HEADERS)
            await server.received(1)
            await router.stop()
            spans = list(spans_of(collector))
            log = router.log

    of_trace = [span for span in spans if span.trace_id.hex() == TRACE]
    assert sorted(span.name for span in of_trace) == ["attempt", "consume cdr", "store"]
    assert log.count(f'"trace_id":"{TRACE}"') == 2  # event_stored and attempt
    (request,) = server.requests
    assert not {"traceparent", "tracestate", "baggage"} & {name.lower() for name, _ in request.headers}
    told = b"".join(request.body for request in collector.requests)
    assert not [word for word in own_platform.private if word.encode() in told]
    assert b"customer=secret" not in told


@pytest.mark.parametrize("endpoint", ["http://127.0.0.1:9/v1/traces", "https://127.0.0.1:9/v1/traces"])
async def test_a_collector_that_is_away_costs_no_delivery(
    own_platform: Platform, tmp_path: Path, endpoint: str
) -> None:
    account = own_platform.enable_account()
    async with (
        ScriptedServer() as server,
        RouterProcess(own_platform, tmp_path, ROUTER_TRACING__ENDPOINT=endpoint) as router,
    ):
        own_platform.define_webhook(account, to=server.url)
        await router.takes_up_definitions()
        event = make_event(account, "cdr")
        await own_platform.publish(event)
        delivery = await router.delivery(event_id=event["id"])
        await wait_for(lambda: "tracing_unavailable" in router.log)
    assert delivery["status"] == "delivered"
