"""Spans of messages, writes and attempts: under whom they are, what they hold, and when there are none."""

from __future__ import annotations

import subprocess
import sys
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import timedelta

import pytest
from opentelemetry.sdk.trace import ReadableSpan
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter
from opentelemetry.trace import SpanKind, StatusCode
from structlog.testing import capture_logs

from router.adapters.mongo.documents import event_document, first_claim, read_claim
from router.adapters.tracing import (
    ABORT_SECONDS,
    CLOSE_SECONDS,
    MAX_HEADER_CHARACTERS,
    MAX_LINKS,
    CollectorExporter,
    OpenTelemetryTracing,
)
from router.application.ingest import MAX_BATCH
from router.bootstrap.tracing import Exports, open_tracing
from router.domain.delivery import AttemptError, delivery_id
from router.domain.errors import ConfigurationRefused
from router.domain.event import Event, EventType, Rejection, RejectionReason
from router.domain.outcome import Classified, Outcome
from router.domain.trace import trace_id_of
from router.domain.webhook import WebhookId
from router.ports import NOT_TRACED, Intake, MessageProperties, PlannedDelivery, PlannedEvent, RawMessage
from router.settings import load_settings
from router.telemetry.metrics import Metrics
from router.telemetry.pseudonyms import Pseudonyms
from router.telemetry.redact import Redactor
from tests.support.fakes_delivery import ACCOUNT, NOW, claim
from tests.support.spans import id_of, links_of, parent_of, times_of, told_by, trace_of

TRACE, PUBLISHER = "4bf92f3577b34da6a3ce929d0e0e4736", "00f067aa0ba902b7"
SAMPLED, UNSAMPLED = f"00-{TRACE}-{PUBLISHER}-01", f"00-{TRACE}-{PUBLISHER}-00"
DELIVERED = Classified(outcome=Outcome.DELIVERED, error=None, status_code=200)
FAILED = Classified(outcome=Outcome.RETRY, error=AttemptError.HTTP_STATUS, status_code=503)


@dataclass
class World:
    """The adapter over an exporter that keeps what it is given."""

    sample_ratio: float = 1.0
    exporter: InMemorySpanExporter = field(default_factory=InMemorySpanExporter)

    def __post_init__(self) -> None:
        self.tracing = OpenTelemetryTracing(
            self.exporter,
            SimpleSpanProcessor,
            sample_ratio=self.sample_ratio,
            version="1.2.3",
            instance="host-1-ab",
            redact=Redactor(Pseudonyms("a key of the tests")).text,
        )

    def take_in(self, *items: Intake) -> Sequence[str | None]:
        """What attempts go under, for each of a batch that is stored in one write."""
        trace = self.tracing.received(items, NOW)
        parents = [trace.parent(item) for item in items]
        for item in items:
            if isinstance(item.content, Rejection):
                trace.rejected(item, item.content.reason.value)
        trace.stored(len(items), 0.25)
        trace.end()
        return parents

    def spans(self, name: str) -> list[ReadableSpan]:
        return [span for span in self.exporter.get_finished_spans() if span.name == name]


def an_event() -> Event:
    return Event(
        account_id=ACCOUNT,
        event_id="evt_1",
        type=EventType.CDR,
        name="cdr.created",
        occurred_at=NOW,
        received_at=NOW,
        call_id=None,
        sequence=None,
        tracking_number=None,
        user_id=None,
        number_keys=(),
        payload=b"{}",
        source="cdr",
    )


def message(headers: Mapping[str, str | int | bool] | None = None, content: Event | Rejection | None = None) -> Intake:
    raw = RawMessage(
        body=b'{"note": "the payload"}',
        source="cdr",
        exchange="cdr",
        routing_key="cdr.created",
        properties=MessageProperties(headers=headers or {}),
        received_at=NOW - timedelta(seconds=2),
        redelivered=False,
    )
    return Intake(content=content or an_event(), raw=raw, born_at=NOW, tag=None)


# --- a message -------------------------------------------------------------------------------------


def test_a_message_goes_under_the_trace_in_its_headers() -> None:
    world = World()
    (parent,) = world.take_in(message({"traceparent": SAMPLED, "tracestate": "vendor=1"}))

    (span,) = world.spans("consume cdr")
    assert (trace_of(span), parent_of(span), span.kind) == (TRACE, PUBLISHER, SpanKind.CONSUMER)
    assert parent == f"00-{TRACE}-{id_of(span)}-01"
    assert trace_id_of(parent) == TRACE
    assert span.resource.attributes["service.instance.id"] == "host-1-ab"
    # It began when the message was received, two seconds ago.
    assert 1.9 < time.time() - times_of(span)[0] < 5


@pytest.mark.parametrize(
    "headers",
    [
        {},
        {"traceparent": "not one"},
        {"traceparent": 7},
        {"traceparent": f"00-{'0' * 32}-{PUBLISHER}-01"},
        {"traceparent": SAMPLED + "-" + "x" * MAX_HEADER_CHARACTERS},
    ],
)
def test_a_message_without_a_sound_header_begins_a_trace(headers: dict[str, str | int | bool]) -> None:
    world = World()
    world.take_in(message(headers))

    (span,) = world.spans("consume cdr")
    assert span.parent is None
    assert trace_of(span) != TRACE


@pytest.mark.parametrize(("length", "is_carried"), [(MAX_HEADER_CHARACTERS, True), (MAX_HEADER_CHARACTERS + 1, False)])
def test_a_state_is_carried_up_to_its_bound(length: int, is_carried: bool) -> None:
    world = World()
    state = "v=" + "x" * 254 + ",w=" + "y" * (length - 259)
    world.take_in(message({"traceparent": SAMPLED, "tracestate": state}))

    (span,) = world.spans("consume cdr")
    context = span.get_span_context()
    assert context is not None
    assert bool(context.trace_state) is is_carried


@pytest.mark.parametrize(("ratio", "header", "spans"), [(1.0, UNSAMPLED, 0), (0.0, None, 0), (0.0, SAMPLED, 1)])
def test_the_publisher_decides_whether_to_sample_and_the_setting_where_he_does_not(
    ratio: float, header: str | None, spans: int
) -> None:
    world = World(sample_ratio=ratio)
    (parent,) = world.take_in(message({"traceparent": header} if header else {}))

    assert len(world.spans("consume cdr")) == spans
    assert (parent is not None) == bool(spans)
    assert len(world.spans("store")) == spans


def test_what_cannot_be_understood_ends_in_its_own_span() -> None:
    world = World()
    rejection = Rejection(reason=RejectionReason.NOT_JSON, detail="x")
    world.take_in(message({"traceparent": SAMPLED}, rejection))

    (span,) = world.exporter.get_finished_spans()
    assert span.status.status_code is StatusCode.ERROR
    assert told_by(span)["error.type"] == "not_json"


# --- a batch ---------------------------------------------------------------------------------------


def test_a_write_is_under_the_first_event_and_linked_with_the_others_both_ways() -> None:
    world = World()
    world.take_in(*(message() for _ in range(3)), message({"traceparent": UNSAMPLED}))

    consumed = world.spans("consume cdr")
    (store,) = world.spans("store")
    assert len({trace_of(span) for span in consumed}) == 3
    assert (trace_of(store), parent_of(store)) == (trace_of(consumed[0]), id_of(consumed[0]))
    assert links_of(store) == [id_of(span) for span in consumed[1:]]
    assert [links_of(span) for span in consumed] == [[], [id_of(store)], [id_of(store)]]
    assert told_by(store)["db.operation.batch.size"] == 4
    began, ended = times_of(store)
    assert 0.249 < ended - began < 0.251


def test_the_largest_batch_loses_no_link() -> None:
    world = World()
    world.take_in(*(message() for _ in range(MAX_BATCH)))

    (store,) = world.spans("store")
    assert len(store.links) == MAX_BATCH - 1 < MAX_LINKS
    assert store.dropped_links == 0


# --- attempts --------------------------------------------------------------------------------------


def test_every_attempt_is_under_its_event_however_many_there_are() -> None:
    world = World()
    (parent,) = world.take_in(message({"traceparent": SAMPLED}))
    traced = replace(claim(), trace_parent=parent)

    world.tracing.attempted(traced, FAILED, number=1, seconds=0.5, host="crm.example")
    world.tracing.attempted(traced, DELIVERED, number=2, seconds=0.1, host="crm.example")

    (consumed,) = world.spans("consume cdr")
    first, second = world.spans("attempt")
    assert {trace_of(first), trace_of(second)} == {TRACE}
    assert {parent_of(first), parent_of(second)} == {id_of(consumed)}
    assert (first.kind, first.status.status_code) == (SpanKind.CLIENT, StatusCode.ERROR)
    assert second.status.status_code is StatusCode.UNSET
    told = told_by(first)
    assert (told["http.response.status_code"], told["error.type"]) == (503, "http_status")
    assert (told["webhook_router.attempt"], told["server.address"]) == (1, "crm.example")
    assert told_by(second)["http.request.resend_count"] == 1


def test_an_attempt_of_an_event_that_is_not_traced_begins_no_trace() -> None:
    world = World()
    world.tracing.attempted(claim(), DELIVERED, number=1, seconds=0.1, host="crm.example")
    assert world.exporter.get_finished_spans() == ()


def test_no_payload_number_or_url_is_in_a_span() -> None:
    world = World()
    told = replace(an_event(), event_id="https://platform.example/e/33639981122", user_id="+33639981122")
    (parent,) = world.take_in(message({"x-caller": "+33639981122"}, told))
    world.tracing.attempted(replace(claim(), trace_parent=parent), FAILED, number=1, seconds=0, host="crm.example")

    written = "".join(span.to_json() for span in world.exporter.get_finished_spans())
    for word in ("the payload", "33639981122", "639981122", "/e/", "://crm", "x-caller"):
        assert word not in written


# --- what is kept of a trace -----------------------------------------------------------------------


def planned(trace_parent: str | None) -> PlannedEvent:
    delivery = PlannedDelivery(webhook_id=WebhookId("wh_1"), url="https://crm.example/hook", leased=True)
    return PlannedEvent(
        event=an_event(),
        born_at=NOW,
        not_after=None,
        account_enabled=True,
        trace=[],
        deliveries=[delivery],
        trace_parent=trace_parent,
    )


@pytest.mark.parametrize("trace_parent", [SAMPLED, None])
def test_an_event_document_keeps_the_context_of_a_traced_event_alone(trace_parent: str | None) -> None:
    plan = planned(trace_parent)
    document = event_document(plan, expire_at=NOW, payload_expires_at=NOW)
    assert document.get("trace_parent") == trace_parent
    assert ("trace_parent" in document) is (trace_parent is not None)

    identity = delivery_id(plan.event.key, WebhookId("wh_1"))
    assert first_claim(identity, plan, WebhookId("wh_1")).trace_parent == trace_parent
    delivery = {
        "_id": identity, "event": plan.event.key, "lease": {"fence": 2}, "account_id": ACCOUNT, "webhook_id": "wh_1",
        "event_id": "e", "event_type": "cdr", "created_at": NOW, "attempt_count": 1, "not_after": None,
    }  # fmt: skip
    assert read_claim(delivery, document).trace_parent == trace_parent


# --- on and off ------------------------------------------------------------------------------------


def test_without_a_collector_opentelemetry_is_not_loaded() -> None:
    program = (
        "import sys, router.bootstrap.serve, router.bootstrap.tracing;"
        "sys.exit(any(name.partition('.')[0] == 'opentelemetry' for name in sys.modules))"
    )
    assert subprocess.run([sys.executable, "-c", program], check=False).returncode == 0


async def test_without_a_collector_nothing_is_traced() -> None:
    async with open_tracing(load_settings(environ={}, overrides={}), Metrics("1"), "i") as tracing:
        assert tracing is NOT_TRACED
    batch = NOT_TRACED.received([message({"traceparent": SAMPLED})], NOW)
    assert batch.parent(message()) is None


@pytest.fixture
def no_extra(monkeypatch: pytest.MonkeyPatch) -> None:
    """As where the extra is not installed."""
    monkeypatch.delitem(sys.modules, "router.adapters.tracing")
    monkeypatch.setitem(sys.modules, "opentelemetry.context", None)


@pytest.mark.usefixtures("no_extra")
async def test_a_collector_without_the_extra_is_a_wrong_configuration() -> None:
    settings = load_settings(environ={"ROUTER_TRACING__ENDPOINT": "http://127.0.0.1:9/v1/traces"})
    with pytest.raises(ConfigurationRefused, match=r"webhook-router\[otel\]"):
        async with open_tracing(settings, Metrics("1"), "i"):
            pass


async def test_a_collector_that_is_away_does_not_hold_the_shutdown_up() -> None:
    settings = load_settings(environ={"ROUTER_TRACING__ENDPOINT": "http://127.0.0.1:9/v1/traces"})
    async with open_tracing(settings, Metrics("1"), "i") as tracing:
        tracing.received([message()], NOW).end()
        began = time.monotonic()
    assert time.monotonic() - began < CLOSE_SECONDS + ABORT_SECONDS + 1


def test_spans_that_the_collector_did_not_take_are_counted(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("router.adapters.tracing.EXPORT_TIMEOUT_SECONDS", 0.1)
    world, told = World(), list[tuple[int, bool]]()
    world.take_in(message(), message())
    exporter = CollectorExporter("http://127.0.0.1:9/v1/traces", lambda spans, sent: told.append((spans, sent)))

    exporter.export(world.spans("consume cdr"))
    exporter.shutdown()

    assert told == [(2, False)]


def test_a_collector_that_goes_and_comes_is_told_of_once_each_time() -> None:
    metrics = Metrics("1")
    exports = Exports(metrics)
    with capture_logs() as log:
        for sent in (True, False, False, True, True):
            exports(3, sent)

    assert [line["event"] for line in log] == ["tracing_unavailable", "tracing_resumed"]
    assert metrics.registry.get_sample_value("webhook_router_spans_total", {"result": "lost"}) == 6
    assert metrics.registry.get_sample_value("webhook_router_spans_total", {"result": "sent"}) == 9
