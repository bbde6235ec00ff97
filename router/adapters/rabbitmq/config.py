"""How one source is consumed and decoded. Values only; bootstrap makes them from the settings."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import tzinfo
from enum import StrEnum

from router.domain.event import EventType
from router.domain.fields import Path


class TimeFormat(StrEnum):
    """How a publisher writes `occurred_at`. `epoch` takes the unit from the magnitude; `local` is naive time."""

    RFC3339 = "rfc3339"
    EPOCH = "epoch"
    EPOCH_SECONDS = "epoch_seconds"
    EPOCH_MILLIS = "epoch_millis"
    EPOCH_MICROS = "epoch_micros"
    GREGORIAN = "gregorian"
    LOCAL = "local"


@dataclass(frozen=True, slots=True, kw_only=True)
class FieldPaths:
    """Where each logical field is found; of several paths the first that leads to a value counts."""

    id: tuple[Path, ...]
    type: tuple[Path, ...]
    name: tuple[Path, ...]
    occurred_at: tuple[Path, ...]
    account_id: tuple[Path, ...]
    call_id: tuple[Path, ...]
    sequence: tuple[Path, ...]
    tracking_number: tuple[Path, ...]
    user_id: tuple[Path, ...]
    caller_number: tuple[Path, ...]
    redirection_number: tuple[Path, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class DecodingRules:
    """How the bytes of one source become events. Sizes in bytes."""

    fields: FieldPaths
    event_type: EventType | None
    type_map: Mapping[str, EventType] = field(default_factory=dict)
    steps: tuple[str, ...] = ()
    time_format: TimeFormat = TimeFormat.RFC3339
    time_zone: tzinfo
    country: str
    max_message_bytes: int
    max_inflated_bytes: int
    max_depth: int


@dataclass(frozen=True, slots=True, kw_only=True)
class SourceConfig:
    """One exchange, the queue on it, and how what arrives is decoded. `passive` checks and declares nothing."""

    name: str
    exchange: str
    exchange_type: str
    passive: bool
    binding_keys: tuple[str, ...]
    binding_arguments: Mapping[str, str | int | float | bool]
    queue: str
    prefetch: int
    decoding: DecodingRules


@dataclass(frozen=True, slots=True, kw_only=True)
class BrokerConfig:
    """How the broker is reached. `url` holds the password and is never logged."""

    url: str = field(repr=False)
    heartbeat_seconds: int
    connect_timeout_seconds: float
