"""When a delivery is tried again, and when it ends. Pure: now and the jitter draw are arguments."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from email.utils import parsedate_to_datetime
from typing import Final, assert_never

from router.domain.delivery import DeliveryReason, DeliveryStatus
from router.domain.outcome import Classified, Outcome

LOCAL_FAULT_DELAY: Final = timedelta(seconds=2)
"""How long a delivery rests after a fault of our own, which is no attempt."""
MAX_RETRY_AFTER_SECONDS: Final = 10 * 86_400
"""A larger wish is garbage to us; the schedule's own cap is far below."""

Jitter = Callable[[], float]
"""Draws uniformly from [0, 1)."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Schedule:
    """How deliveries of one event type are tried (contract, section 4).

    `delays[n]` is the longest wait before attempt n + 2; each wait is drawn from ½ to 1 times it.
    """

    timeout: timedelta
    delays: tuple[timedelta, ...]
    max_age: timedelta | None

    @property
    def max_attempts(self) -> int:
        return len(self.delays) + 1


@dataclass(frozen=True, slots=True, kw_only=True)
class Again:
    """Try again at `at`. `counted` is False where the try was no attempt of the customer's server."""

    at: datetime
    counted: bool = True


@dataclass(frozen=True, slots=True, kw_only=True)
class End:
    """The delivery is over."""

    status: DeliveryStatus
    reason: DeliveryReason | None = None


def decide(
    result: Classified,
    *,
    attempt_number: int,
    schedule: Schedule,
    not_after: datetime | None,
    now: datetime,
    jitter: Jitter,
) -> Again | End:
    """What happens to a delivery after attempt `attempt_number` (from 1) ended at `now`."""
    match result.outcome:
        case Outcome.DELIVERED:
            return End(status=DeliveryStatus.DELIVERED)
        case Outcome.GONE:
            return End(status=DeliveryStatus.FAILED, reason=DeliveryReason.GONE)
        case Outcome.BLOCKED:
            return End(status=DeliveryStatus.FAILED, reason=DeliveryReason.BLOCKED_ADDRESS)
        case Outcome.NOT_AN_ATTEMPT:
            return _unless_too_old(now + LOCAL_FAULT_DELAY, not_after, counted=False)
        case Outcome.RETRY:
            if attempt_number >= schedule.max_attempts:
                return End(status=DeliveryStatus.FAILED, reason=DeliveryReason.EXHAUSTED)
            wait = next_wait(schedule, attempt_number, result.retry_after_seconds, jitter)
            return _unless_too_old(now + wait, not_after, counted=True)
        case _:
            assert_never(result.outcome)


def next_wait(schedule: Schedule, attempt_number: int, retry_after_seconds: float | None, jitter: Jitter) -> timedelta:
    """The wait after an attempt: the schedule's, or longer where the server asked, never above the schedule's cap."""
    wait = schedule.delays[attempt_number - 1] * (0.5 + jitter() / 2)
    if retry_after_seconds is None:
        return wait
    # Everybody whom a server sends away at once should not come back at once: the wish is jittered upwards.
    wish = timedelta(seconds=min(retry_after_seconds, MAX_RETRY_AFTER_SECONDS)) * (1 + jitter() / 10)
    return max(wait, min(wish, max(schedule.delays)))


def is_too_old(not_after: datetime | None, now: datetime) -> bool:
    return not_after is not None and now > not_after


def _unless_too_old(at: datetime, not_after: datetime | None, *, counted: bool) -> Again | End:
    if is_too_old(not_after, at):
        return End(status=DeliveryStatus.EXPIRED, reason=DeliveryReason.TOO_OLD)
    return Again(at=at, counted=counted)


def parse_retry_after(value: str, now: datetime) -> float | None:
    """Seconds to wait by a `Retry-After` header (RFC 9110, 10.2.3): delay or date; None for anything else."""
    text = value.strip()
    if text.isascii() and text.isdigit():
        return float(text[:9])
    try:
        date = parsedate_to_datetime(text)
    except (ValueError, OverflowError):
        return None
    if date.tzinfo is None:
        date = date.replace(tzinfo=UTC)
    return max(0.0, (date - now).total_seconds())
