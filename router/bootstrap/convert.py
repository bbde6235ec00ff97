"""Settings become the values that each room asks for. Builds values; touches nothing."""

from __future__ import annotations

from datetime import timedelta
from zoneinfo import ZoneInfo

from router.adapters.mongo.deliveries import Retention
from router.adapters.rabbitmq.config import BrokerConfig, DecodingRules, FieldPaths, SourceConfig, TimeFormat
from router.application.lanes import LaneLimits
from router.domain.egress import EgressPolicy
from router.domain.event import EventType
from router.domain.fields import Path, parse_path
from router.domain.retry import Schedule
from router.settings import ScheduleSettings, Settings, SourceSettings


def schedules(settings: Settings) -> dict[EventType, Schedule]:
    return {event_type: _schedule(getattr(settings.delivery, event_type.value)) for event_type in EventType}


def _schedule(settings: ScheduleSettings) -> Schedule:
    return Schedule(
        timeout=timedelta(seconds=settings.timeout_seconds),
        delays=tuple(timedelta(seconds=delay) for delay in settings.retry_delays_seconds),
        max_age=None if settings.max_age_seconds is None else timedelta(seconds=settings.max_age_seconds),
    )


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


def broker(settings: Settings) -> BrokerConfig:
    return BrokerConfig(
        url=settings.amqp.url.get_secret_value(),
        heartbeat_seconds=settings.amqp.heartbeat_seconds,
        connect_timeout_seconds=settings.amqp.connect_timeout_seconds,
    )


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
