"""What came of an HTTP try: the sender's raw result, and what it means. Only `classify` decides that; pure."""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum, auto
from typing import Final

from router.domain.delivery import AttemptError, ErrorDetail

GONE: Final = 410
RETRY_AFTER_STATUSES: Final = frozenset({429, 503})


@dataclass(frozen=True, slots=True, kw_only=True)
class Answer:
    """The customer's server answered. `retry_after_seconds` is its wish, already relative to now."""

    status_code: int
    body: bytes
    truncated: bool
    retry_after_seconds: float | None = None
    error_detail: ErrorDetail | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class NoAnswer:
    """No complete answer came. `detail` is for operators and names no address, number or token. `note` is what the
    attempt log says in place of an answer; it holds nothing secret either. `error_detail` goes to the attempt log."""

    error: AttemptError
    detail: str = ""
    note: str | None = None
    error_detail: ErrorDetail | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class LocalFault:
    """The try failed on our side of the wire (no descriptors, shutting down): the customer is not charged for it."""

    detail: str


SendResult = Answer | NoAnswer | LocalFault


_PERHAPS_OURS: Final = frozenset({AttemptError.DNS, AttemptError.CONNECT_TIMEOUT, AttemptError.OTHER})
"""Failures that a dead way out looks like: nothing was heard of the customer's server. `other` holds what the network
says of itself, as that there is no route."""

LOCAL: Final = "local"
"""The kind of a fault that is surely ours."""

_SAYS_NOTHING: Final = frozenset({AttemptError.TIMEOUT})
"""The request may have gone out on a connection that was kept since before."""


def local_kind(result: SendResult) -> str | None:
    """The kind of a failure that may be of our own making; None where the customer's server was heard of."""
    match result:
        case LocalFault():
            return LOCAL
        case NoAnswer(error=error) if error in _PERHAPS_OURS:
            return error.value
        case _:
            return None


def is_heard(result: SendResult) -> bool:
    """Whether it shows that the way out is there: the customer's server was heard of just now."""
    return local_kind(result) is None and not (isinstance(result, NoAnswer) and result.error in _SAYS_NOTHING)


class Outcome(Enum):
    """What an attempt means for its delivery."""

    DELIVERED = auto()
    RETRY = auto()
    GONE = auto()
    BLOCKED = auto()
    NOT_AN_ATTEMPT = auto()


@dataclass(frozen=True, slots=True, kw_only=True)
class Classified:
    """The meaning of a result, and what the attempt log says of it."""

    outcome: Outcome
    error: AttemptError | None
    status_code: int | None = None
    retry_after_seconds: float | None = None


def classify(result: SendResult) -> Classified:
    """Contract, section 4: 2xx is success, 410 and a refused address end it, everything else is retried."""
    match result:
        case Answer(status_code=status) if 200 <= status < 300:
            return Classified(outcome=Outcome.DELIVERED, error=None, status_code=status)
        case Answer(status_code=status) if status == GONE:
            return Classified(outcome=Outcome.GONE, error=AttemptError.HTTP_STATUS, status_code=status)
        case Answer(status_code=status):
            return Classified(
                outcome=Outcome.RETRY,
                error=AttemptError.REDIRECT if 300 <= status < 400 else AttemptError.HTTP_STATUS,
                status_code=status,
                retry_after_seconds=result.retry_after_seconds if status in RETRY_AFTER_STATUSES else None,
            )
        case NoAnswer(error=AttemptError.BLOCKED_ADDRESS):
            return Classified(outcome=Outcome.BLOCKED, error=AttemptError.BLOCKED_ADDRESS)
        case NoAnswer(error=error):
            return Classified(outcome=Outcome.RETRY, error=error)
        case LocalFault():
            return Classified(outcome=Outcome.NOT_AN_ATTEMPT, error=None)
