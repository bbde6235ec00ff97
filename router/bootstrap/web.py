"""The servers of a process, put together from the settings: the API with its console, and the probes alone. Opens no
port; that is the caller's, once what they need is there.
"""

from __future__ import annotations

import secrets
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass

from prometheus_client.registry import Collector

from router.adapters.rabbitmq.publisher import OccasionalPublisher
from router.application.sessions import Sessions
from router.application.token_book import TokenBook
from router.bootstrap import convert
from router.bootstrap.store import Store
from router.settings import Settings
from router.telemetry.metrics import Metrics
from router.web.api.auth import Access
from router.web.app import build_app, build_probes
from router.web.console.mount import ConsoleSettings
from router.web.server import WebServer


@dataclass(frozen=True, slots=True, kw_only=True)
class Probed:
    """What probes and metrics are answered from; `observe` brings the gauges up to date, and `catch_up` the store."""

    checks: Callable[[], Mapping[str, bool]]
    stalled: Callable[[], Sequence[str]]
    metrics: Collector
    observe: Callable[[], None]
    catch_up: Callable[[], Awaitable[None]]


def api_server(settings: Settings, store: Store, book: TokenBook, probed: Probed, metrics: Metrics) -> WebServer:
    """The API and the console, and probes and metrics beside them."""
    api, access = settings.api, _access(settings, metrics)
    app = build_app(
        reader=store.reader,
        registry=store.registry,
        replays=store.replays,
        replay_rate=settings.replay.per_second,
        tokens=store.tokens,
        audit=store.audit,
        publisher=OccasionalPublisher(convert.broker(settings)),
        queue_of_source={source.name: source.queue for source in settings.sources},
        now=store.now,
        randomness=secrets.token_bytes,
        rotation_overlap=convert.rotation_overlap(settings),
        country=settings.numbers.default_country,
        egress=convert.egress_policy(settings),
        access=access,
        book=book,
        sessions=Sessions(store.sessions, book, access.admin_digest, store.now, secrets.token_bytes),
        console=ConsoleSettings(public_url=api.public_url, time_zone=settings.console.time_zone),
        checks=probed.checks,
        metrics=probed.metrics,
        observe=probed.observe,
        stalled=probed.stalled,
        catch_up=probed.catch_up,
    )
    return WebServer(app, api.host, api.port)


def probes_server(settings: Settings, probed: Probed) -> WebServer | None:
    """Probes and metrics alone, where `api.probes_port` is set."""
    api = settings.api
    if api.probes_port is None:
        return None
    app = build_probes(checks=probed.checks, metrics=probed.metrics, observe=probed.observe, stalled=probed.stalled)
    return WebServer(app, api.host, api.probes_port, "api.probes_port")


def _access(settings: Settings, metrics: Metrics) -> Access:
    api = settings.api
    return Access(
        admin_token=api.admin_token.get_secret_value() if api.admin_token else None,
        rate=convert.api_rate(settings),
        trusted_proxies=api.trusted_proxies,
        denied=lambda reason: metrics.api_denied.labels(reason).inc(),
    )
