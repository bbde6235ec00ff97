"""Fulfils `ports.Tracing` with OpenTelemetry: spans of messages, writes and attempts, sent to a collector by OTLP.
Imported only where tracing is on; a thread of its own talks to the collector, and a collector that is away costs spans
and nothing else.

    consume        one for each message, under the `traceparent` of its headers
    └ store        one for each write: under the first event that it holds, linked with the others both ways
    └ attempt      under its event, whichever worker makes it, however long after
"""

from __future__ import annotations

import asyncio
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from datetime import datetime
from typing import Final

from opentelemetry.context import Context
from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
from opentelemetry.sdk.resources import Resource
from opentelemetry.sdk.trace import ReadableSpan, SpanLimits, SpanProcessor, TracerProvider
from opentelemetry.sdk.trace.export import BatchSpanProcessor, SpanExporter, SpanExportResult
from opentelemetry.sdk.trace.sampling import ParentBased, TraceIdRatioBased
from opentelemetry.trace import Link, Span, SpanContext, SpanKind, StatusCode, Tracer, set_span_in_context
from opentelemetry.trace.propagation.tracecontext import TraceContextTextMapPropagator

from router.domain.delivery import Claim
from router.domain.event import Event
from router.domain.outcome import Classified, Outcome
from router.ports import BatchTrace, Intake

MAX_HEADER_CHARACTERS: Final = 512
"""Of `traceparent` (55) and `tracestate`, which the W3C asks to be carried up to this length."""
MAX_LINKS: Final = 200
"""As many as a batch has messages; OpenTelemetry's own 128 would leave some out."""
MAX_QUEUED_SPANS: Final = 8_192
"""Spans that wait for the collector, a few MiB; beyond, the oldest are lost."""
EXPORT_EVERY_MS: Final = 1_000
EXPORT_TIMEOUT_SECONDS: Final = 5.0
CLOSE_SECONDS: Final = 2.0
"""How long the last spans may take at shutdown."""
ABORT_SECONDS: Final = 0.5
"""How long a try that is broken off may take to notice it."""

_W3C: Final = TraceContextTextMapPropagator()
_W3C_HEADERS: Final = ("traceparent", "tracestate")
_NANOSECONDS: Final = 1_000_000_000


class CollectorExporter(SpanExporter):
    """OTLP over HTTP to `endpoint`; `on_export` hears how many spans went out or were lost, on the exporter's thread.

    What else a collector may want (headers, certificates) are OpenTelemetry's own variables, OTEL_EXPORTER_OTLP_*.
    """

    def __init__(self, endpoint: str, on_export: Callable[[int, bool], None]) -> None:
        self._exporter = OTLPSpanExporter(endpoint=endpoint, timeout=EXPORT_TIMEOUT_SECONDS)
        self._on_export = on_export

    def export(self, spans: Sequence[ReadableSpan]) -> SpanExportResult:
        result = self._exporter.export(spans)
        self._on_export(len(spans), result is SpanExportResult.SUCCESS)
        return result

    def shutdown(self) -> None:
        self._exporter.shutdown()  # type: ignore[no-untyped-call]


def batched(exporter: SpanExporter) -> SpanProcessor:
    """Spans go to `exporter` in batches, on a thread of its own."""
    return BatchSpanProcessor(exporter, max_queue_size=MAX_QUEUED_SPANS, schedule_delay_millis=EXPORT_EVERY_MS)


class OpenTelemetryTracing:
    """The spans of one process. `redact` is applied to what publishers chose: ids and names may hold numbers."""

    def __init__(
        self,
        exporter: SpanExporter,
        processor: Callable[[SpanExporter], SpanProcessor] = batched,
        *,
        sample_ratio: float,
        version: str,
        instance: str,
        redact: Callable[[str], str],
    ) -> None:
        self._exporter = exporter
        self._processor = processor(exporter)
        self._provider = TracerProvider(
            resource=Resource.create(
                {"service.name": "webhook-router", "service.version": version, "service.instance.id": instance}
            ),
            # Who published a traced message has decided for the whole trace.
            sampler=ParentBased(TraceIdRatioBased(sample_ratio)),
            span_limits=SpanLimits(max_links=MAX_LINKS),
            shutdown_on_exit=False,
        )
        self._provider.add_span_processor(self._processor)
        self._tracer = self._provider.get_tracer("webhook-router", version)
        self._redact = redact

    def received(self, batch: Sequence[Intake], now: datetime) -> BatchTrace:
        spans = {id(item): self._consume(item, now) for item in batch}
        return _Batch(self._tracer, {key: span for key, span in spans.items() if span.is_recording()})

    def _consume(self, item: Intake, now: datetime) -> Span:
        raw = item.raw
        attributes: dict[str, str | int] = {
            "messaging.system": "rabbitmq",
            "messaging.operation.name": "consume",
            "messaging.operation.type": "process",
            "messaging.message.body.size": len(raw.body),
            "webhook_router.source": raw.source,
        }
        if isinstance(item.content, Event):
            attributes["webhook_router.account_id"] = self._redact(item.content.account_id)
            attributes["webhook_router.event_id"] = self._redact(item.content.event_id)
            attributes["webhook_router.event_type"] = item.content.type.value
        # Its time is on the store's clock, spans are on this host's.
        waited_ns = int((now - raw.received_at).total_seconds() * _NANOSECONDS)
        return self._tracer.start_span(
            f"consume {raw.source}",
            context=_context_of(raw.properties.headers),
            kind=SpanKind.CONSUMER,
            attributes=attributes,
            start_time=time.time_ns() - max(0, waited_ns),
        )

    def attempted(self, claim: Claim, classified: Classified, *, number: int, seconds: float, host: str) -> None:
        if claim.trace_parent is None:  # not sampled, or stored while nothing was traced: no trace begins here
            return
        attributes: dict[str, str | int] = {
            "http.request.method": "POST",
            "server.address": host,
            "webhook_router.account_id": self._redact(claim.account_id),
            "webhook_router.webhook_id": claim.webhook_id,
            "webhook_router.delivery_id": claim.delivery_id,
            "webhook_router.event_type": claim.event_type.value,
            "webhook_router.attempt": number,
            "webhook_router.outcome": classified.outcome.name.lower(),
        }
        if number > 1:
            attributes["http.request.resend_count"] = number - 1
        if classified.status_code is not None:
            attributes["http.response.status_code"] = classified.status_code
        if classified.error is not None:
            attributes["error.type"] = classified.error.value
        ended = time.time_ns()
        span = self._tracer.start_span(
            "attempt",
            context=_context_of({"traceparent": claim.trace_parent}),
            kind=SpanKind.CLIENT,
            attributes=attributes,
            start_time=ended - int(seconds * _NANOSECONDS),
        )
        if classified.outcome is not Outcome.DELIVERED:
            span.set_status(StatusCode.ERROR)
        span.end(ended)

    async def close(self) -> None:
        """Send what is left, for `CLOSE_SECONDS` at most."""
        # No thread of the executor's, which the end of the process would wait for.
        closing = threading.Thread(target=self._processor.shutdown, name="tracing-close", daemon=True)
        closing.start()
        await asyncio.to_thread(closing.join, CLOSE_SECONDS)
        if closing.is_alive():  # a collector that does not answer: no further try
            self._exporter.shutdown()
            await asyncio.to_thread(closing.join, ABORT_SECONDS)


class _Batch:
    """Consume spans by the identity of their message, those that are sampled; the others are followed no further."""

    def __init__(self, tracer: Tracer, spans: Mapping[int, Span]) -> None:
        self._tracer = tracer
        self._spans = spans
        self._rejected: set[int] = set()

    def parent(self, item: Intake) -> str | None:
        span = self._spans.get(id(item))
        return _traceparent_of(span.get_span_context()) if span is not None else None

    def rejected(self, item: Intake, reason: str) -> None:
        span = self._spans.get(id(item))
        if span is not None:
            self._rejected.add(id(item))
            span.set_attribute("error.type", reason)
            span.set_status(StatusCode.ERROR)

    def stored(self, events: int, seconds: float) -> None:
        held = [span for key, span in self._spans.items() if key not in self._rejected]
        if not held:
            return
        first, *others = held
        ended = time.time_ns()
        write = self._tracer.start_span(
            "store",
            context=set_span_in_context(first, Context()),
            attributes={"db.system.name": "mongodb", "db.operation.batch.size": events},
            links=[Link(span.get_span_context()) for span in others],
            start_time=ended - int(seconds * _NANOSECONDS),
        )
        for span in others:
            span.add_link(write.get_span_context())
        write.end(ended)

    def end(self) -> None:
        for span in self._spans.values():
            span.end()


def _context_of(headers: Mapping[str, object]) -> Context:
    """The trace that W3C headers name; none where they are missing or wrong."""
    carrier = {
        name: value
        for name in _W3C_HEADERS
        if isinstance(value := headers.get(name), str) and len(value) <= MAX_HEADER_CHARACTERS
    }
    return _W3C.extract(carrier, Context())


def _traceparent_of(context: SpanContext) -> str:
    return f"00-{context.trace_id:032x}-{context.span_id:016x}-{context.trace_flags:02x}"
