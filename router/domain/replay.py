"""Sending again what was sent before, or what matched nothing: the words for it, and its bounds. Values and plain
functions.
"""

from __future__ import annotations

import re
from datetime import datetime, timedelta
from enum import StrEnum
from typing import Final, NewType

from router.domain.errors import InvalidInput

ReplayId = NewType("ReplayId", str)

MAX_REASON_LENGTH: Final = 200
MAX_PERIOD: Final = timedelta(days=92)
"""How far back one replay may reach. Without a beginning it reaches as far."""
MAX_MATCHED: Final = 100_000
"""Deliveries, or missing events, of one replay."""
MAX_RUNNING: Final = 5
"""Replays of one account that run at the same time."""
MAX_ATTEMPTS: Final = 1_000
"""Attempts after which a delivery is not replayed any more: its document holds them all, and has an end."""
MIN_PER_SECOND: Final = 0.1
MAX_PER_SECOND: Final = 100.0
"""Deliveries a second that one replay may make due."""
MAX_OUTSTANDING: Final = 100
"""Deliveries that one replay has made due and that were not attempted yet: what goes on after it was cancelled."""

# What a number looks like, however it is written: nine digits are a national one without its 0.
_NUMBER: Final = re.compile(r"(?:\d[ .()/-]{0,2}){9}", re.ASCII)


class ReplayKind(StrEnum):
    """What is sent again: deliveries, or events that matched nothing when they came."""

    DELIVERIES = "deliveries"
    MISSING = "missing"


class ReplayState(StrEnum):
    """Where a replay stands."""

    RUNNING = "running"
    DONE = "done"
    CANCELLED = "cancelled"


class Skip(StrEnum):
    """Why a replay passed something over."""

    PAYLOAD_GONE = "payload_gone"
    WEBHOOK_DELETED = "webhook_deleted"
    PENDING = "pending"
    TOO_MANY_ATTEMPTS = "too_many_attempts"
    CHANGED = "changed"
    UNMATCHED = "unmatched"
    REPEATED = "repeated"


def check_reason(reason: str | None) -> str | None:
    """Why somebody replays, as it is kept. Raises InvalidInput: no number may get into the audit trail by it."""
    text = (reason or "").strip()
    if len(text) > MAX_REASON_LENGTH or not text.isprintable():
        raise InvalidInput("reason", f"must be printable and at most {MAX_REASON_LENGTH} characters long")
    if _NUMBER.search(text):
        raise InvalidInput(
            "reason", "must not hold a phone number: it is kept in the audit trail; name a ticket instead"
        )
    return text or None


def check_period(from_: datetime | None, to: datetime | None, now: datetime) -> tuple[datetime, datetime]:
    """The period of a replay, closed: what comes later is not in it. Raises InvalidInput."""
    end = min(to, now) if to is not None else now
    start = from_ if from_ is not None else end - MAX_PERIOD
    if start >= end:
        raise InvalidInput("filter.from", "must be before to, and in the past")
    if end - start > MAX_PERIOD:
        raise InvalidInput("filter.from", f"must be at most {MAX_PERIOD.days} days before to")
    return start, end


def check_rate(per_second: float | None, default: float) -> float:
    """Raises InvalidInput for a rate out of bounds."""
    rate = default if per_second is None else per_second
    if not MIN_PER_SECOND <= rate <= MAX_PER_SECOND:
        raise InvalidInput("per_second", f"must be from {MIN_PER_SECOND} to {MAX_PER_SECOND:.0f}")
    return rate


def quota(per_second: float, seconds: float) -> int:
    """How many are released in one step that should take so long; at least one, after which the step takes longer."""
    return max(1, int(per_second * seconds))
