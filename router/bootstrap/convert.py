"""Settings become the values that each room asks for. Builds values; looks whether stderr is a terminal."""

from __future__ import annotations

import sys
from base64 import b64encode
from datetime import timedelta
from typing import Literal
from urllib.parse import unquote, urlsplit
from zoneinfo import ZoneInfo

from router.adapters.http.proxy import ProxyAddress
from router.adapters.mongo.retention import Retention
from router.adapters.rabbitmq.config import BrokerConfig, DecodingRules, FieldPaths, SourceConfig, TimeFormat
from router.application.lanes import LaneLimits
from router.application.limits import Rate
from router.domain.egress import DEFAULT_PORTS, EgressPolicy
from router.domain.event import EventType
from router.domain.fields import Path, parse_path
from router.domain.retry import Schedule
from router.settings import ScheduleSettings, Settings, SourceSettings
from router.settings.ports import DEFAULT_DENY_PORTS
from router.telemetry.pseudonyms import Pseudonyms


def schedules(settings: Settings) -> dict[EventType, Schedule]:
    return {event_type: _schedule(getattr(settings.delivery, event_type.value)) for event_type in EventType}


def _schedule(settings: ScheduleSettings) -> Schedule:
    return Schedule(
        timeout=timedelta(seconds=settings.timeout_seconds),
        delays=tuple(timedelta(seconds=delay) for delay in settings.retry_delays_seconds),
        max_age=None if settings.max_age_seconds is None else timedelta(seconds=settings.max_age_seconds),
    )


def api_rate(settings: Settings) -> Rate:
    return Rate(per_second=settings.api.rate_limit_per_second, burst=settings.api.rate_limit_burst)


def suspend_after(settings: Settings) -> timedelta:
    return timedelta(seconds=settings.delivery.suspend_after_seconds)


def circuit_after(settings: Settings) -> timedelta:
    return timedelta(seconds=settings.delivery.circuit_after_seconds)


def rotation_overlap(settings: Settings) -> timedelta:
    return timedelta(seconds=settings.signing.rotation_overlap_seconds)


def connect_timeout(settings: Settings) -> timedelta:
    return timedelta(seconds=settings.delivery.connect_timeout_seconds)


def egress_policy(settings: Settings) -> EgressPolicy:
    return EgressPolicy(
        allow=settings.egress.allow,
        require_https=settings.egress.require_https,
        deny_ports=frozenset(settings.egress.deny_ports),
    )


def egress_proxy(settings: Settings) -> ProxyAddress | None:
    if settings.egress.proxy_url is None:
        return None
    parts = urlsplit(settings.egress.proxy_url.get_secret_value())
    login = f"{unquote(parts.username or '')}:{unquote(parts.password or '')}"
    return ProxyAddress(
        scheme="https" if parts.scheme == "https" else "http",
        host=parts.hostname or "",
        port=parts.port or DEFAULT_PORTS[parts.scheme],
        authorization=f"Basic {b64encode(login.encode()).decode()}" if parts.username is not None else None,
    )


def egress_facts(settings: Settings) -> dict[str, object]:
    """Where requests may go, for the log: nothing in it is secret."""
    egress, proxy = settings.egress, egress_proxy(settings)
    return {
        "allow": [str(rule) for rule in egress.allow],
        "require_https": egress.require_https,
        "deny_ports": "default" if egress.deny_ports == DEFAULT_DENY_PORTS else list(egress.deny_ports),
        "resolvers": list(egress.resolvers) or "system",
        "proxy": str(proxy) if proxy is not None else "none",
    }


def lane_limits(settings: Settings) -> LaneLimits:
    return LaneLimits(
        in_flight=settings.delivery.max_in_flight,
        in_flight_per_lane=settings.delivery.max_in_flight_per_webhook,
        queued_per_lane=settings.delivery.max_queued_per_webhook,
    )


def retention(settings: Settings) -> Retention:
    return Retention(
        payload=timedelta(days=settings.retention.payload_days), log=timedelta(days=settings.retention.log_days)
    )


def audit_retention(settings: Settings) -> timedelta:
    return timedelta(days=settings.retention.audit_days)


def log_format(settings: Settings) -> Literal["console", "json"]:
    return settings.log.format or ("console" if sys.stderr.isatty() else "json")


def pseudonyms(settings: Settings) -> Pseudonyms:
    key = settings.log.hash_key
    return Pseudonyms(key.get_secret_value() if key else None, settings.numbers.default_country)


def broker(settings: Settings) -> BrokerConfig:
    return BrokerConfig(
        url=settings.amqp.url.get_secret_value(),
        heartbeat_seconds=settings.amqp.heartbeat_seconds,
        connect_timeout_seconds=settings.amqp.connect_timeout_seconds,
    )


def vhost(settings: Settings) -> str:
    """The virtual host of `amqp.url`, as the client reads it."""
    return unquote(urlsplit(settings.amqp.url.get_secret_value()).path[1:]) or "/"


def sources(settings: Settings) -> list[SourceConfig]:
    return [_source(source, settings) for source in settings.sources]


def _source(source: SourceSettings, settings: Settings) -> SourceConfig:
    return SourceConfig(
        name=source.name,
        exchange=source.exchange,
        exchange_type=source.exchange_type,
        passive=source.declare == "passive",
        binding_keys=source.binding_keys,
        binding_arguments=source.binding_arguments,
        queue=source.queue,
        prefetch=source.prefetch,
        decoding=DecodingRules(
            fields=FieldPaths(
                **{name: _paths(paths) for name, paths in source.fields.model_dump().items()},
            ),
            event_type=source.event_type,
            type_map=source.type_map,
            steps=source.decode,
            time_format=TimeFormat(source.time_format),
            time_zone=ZoneInfo(source.time_zone),
            country=settings.numbers.default_country,
            max_message_bytes=settings.limits.max_message_bytes,
            max_inflated_bytes=settings.limits.max_inflated_bytes,
            max_depth=settings.limits.max_depth,
        ),
    )


def _paths(texts: tuple[str, ...]) -> tuple[Path, ...]:
    return tuple(parse_path(text) for text in texts)
