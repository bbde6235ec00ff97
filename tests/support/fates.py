"""What becomes of deliveries in stories that tests store: good, bad, and for which reason, attempt by attempt. Pure."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Final

from router.domain.delivery import (
    Attempt,
    AttemptError,
    DeliveryReason,
    DeliveryStatus,
    ErrorDetail,
    ErrorKind,
    Trigger,
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Try:
    """What one attempt came to."""

    status: int | None
    error: AttemptError | None = None
    ms: int = 84
    body: str | None = None
    kind: ErrorKind | None = None


OK: Final = Try(status=200, body='{"ok":true}')
NO_CONTENT: Final = Try(status=204, ms=41)
BUSY: Final = Try(
    status=503, error=AttemptError.HTTP_STATUS, ms=212, body="<html><h1>503 Service Unavailable</h1></html>"
)
SLOW: Final = Try(status=None, error=AttemptError.TIMEOUT, ms=5_000)
CERTIFICATE: Final = Try(status=None, error=AttemptError.TLS, ms=63, kind=ErrorKind.CERTIFICATE_EXPIRED)

Fate = tuple[DeliveryStatus, DeliveryReason | None, Sequence[Try]]


def failed(attempt: Try, times: int, reason: DeliveryReason = DeliveryReason.EXHAUSTED) -> Fate:
    return DeliveryStatus.FAILED, reason, [attempt] * times


FATES: Final[Sequence[Fate]] = (
    *(
        failed(Try(status=None, error=error, ms=37, kind=kind), 3)
        for error, kind in (
            (AttemptError.DNS, ErrorKind.NAME_NOT_FOUND),
            (AttemptError.CONNECTION_REFUSED, None),
            (AttemptError.CONNECTION_RESET, ErrorKind.CLOSED_WITHOUT_ANSWER),
            (AttemptError.CONNECT_TIMEOUT, None),
            (AttemptError.PROTOCOL, None),
            (AttemptError.OTHER, None),
        )
    ),
    failed(Try(status=None, error=AttemptError.BLOCKED_ADDRESS, ms=2), 1, DeliveryReason.BLOCKED_ADDRESS),
    failed(Try(status=302, error=AttemptError.REDIRECT, ms=55, kind=ErrorKind.REDIRECTED), 3),
    (DeliveryStatus.DELIVERED, None, [BUSY, OK]),
    (DeliveryStatus.DELIVERED, None, [SLOW, OK]),
    (DeliveryStatus.EXPIRED, DeliveryReason.TOO_OLD, [SLOW]),
)
"""What becomes of some; of the rest nothing is to be told. Only a `call` expires, so that is the last one."""


def attempts(received_at: datetime, tries: Sequence[Try]) -> Iterator[Attempt]:
    at = received_at + timedelta(milliseconds=12)
    for number, attempt in enumerate(tries, 1):
        yield Attempt(
            number=number,
            trigger=Trigger.SCHEDULE,
            started_at=at,
            duration_ms=attempt.ms,
            status_code=attempt.status,
            error=attempt.error,
            response_body=attempt.body,
            response_truncated=False,
            error_detail=None if attempt.kind is None else _detail(attempt.kind, received_at),
        )
        at += timedelta(milliseconds=attempt.ms) + 2**number * timedelta(seconds=1)


def _detail(kind: ErrorKind, now: datetime) -> ErrorDetail:
    return ErrorDetail(
        kind=kind,
        host="www.crm.example" if kind is ErrorKind.REDIRECTED else None,
        at=now.replace(hour=22, minute=59, second=59) - timedelta(days=1)
        if kind is ErrorKind.CERTIFICATE_EXPIRED
        else None,
    )
