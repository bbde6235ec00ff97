"""How answers become bytes: JSON by orjson, times in RFC 3339, UTC, to the millisecond. Pure."""

from __future__ import annotations

from datetime import UTC, datetime

import orjson


def encode(value: object) -> bytes:
    """JSON of plain values, dataclasses, enums and aware datetimes."""
    return orjson.dumps(value, default=_fallback, option=orjson.OPT_PASSTHROUGH_DATETIME)


def _fallback(value: object) -> str:
    if isinstance(value, datetime):
        return format_time(value)
    raise TypeError(type(value).__name__)


def format_time(moment: datetime) -> str:
    """`2026-11-24T03:30:00.000Z`."""
    return moment.astimezone(UTC).isoformat(timespec="milliseconds").removesuffix("+00:00") + "Z"
