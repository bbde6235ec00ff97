"""Opens what traces events, where the settings name a collector; else OpenTelemetry is not even loaded."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from importlib import import_module
from typing import Any

import structlog

from router import __version__
from router.bootstrap import convert
from router.domain.errors import ConfigurationRefused
from router.ports import NOT_TRACED, Tracing
from router.settings import Settings
from router.telemetry.metrics import Metrics
from router.telemetry.redact import Redactor

log = structlog.get_logger("router.tracing")


@asynccontextmanager
async def open_tracing(settings: Settings, metrics: Metrics, instance: str) -> AsyncIterator[Tracing]:
    """What traces, until the end of the block. Raises ConfigurationRefused where the extra is not installed."""
    endpoint = settings.tracing.endpoint
    if endpoint is None:
        yield NOT_TRACED
        return
    adapter = _adapter()
    tracing = adapter.OpenTelemetryTracing(
        adapter.CollectorExporter(endpoint.get_secret_value(), Exports(metrics)),
        sample_ratio=settings.tracing.sample_ratio,
        version=__version__,
        instance=instance,
        redact=Redactor(convert.pseudonyms(settings)).text,
    )
    try:
        yield tracing
    finally:
        await tracing.close()


def _adapter() -> Any:
    try:
        return import_module("router.adapters.tracing")
    except ImportError as error:
        raise ConfigurationRefused(
            f"tracing.endpoint is set, and OpenTelemetry is not installed ({error.name} is missing): "
            "pip install 'webhook-router[otel]', or tracing.endpoint = \"none\""
        ) from None


class Exports:
    """What became of spans: counted always, told of when it changes. Called on the exporter's thread."""

    def __init__(self, metrics: Metrics) -> None:
        self._metrics = metrics
        self._is_away = False

    def __call__(self, spans: int, sent: bool) -> None:
        self._metrics.spans.labels("sent" if sent else "lost").inc(spans)
        if sent and self._is_away:
            log.info("tracing_resumed")
        elif not sent and not self._is_away:
            log.warning("tracing_unavailable", spans=spans)
        self._is_away = not sent
