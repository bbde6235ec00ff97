"""A delivery: one event for one webhook, with the log of its attempts (contract, section 5). Values only."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum
from hashlib import sha256
from typing import Final, NewType

from router.domain.event import AccountId, EventKey, EventType
from router.domain.webhook import WebhookId

DeliveryId = NewType("DeliveryId", str)

MAX_KEPT_RESPONSE_BYTES: Final = 2048
"""Bytes of the customer's answer that an attempt keeps (contract, section 5)."""


class DeliveryStatus(StrEnum):
    """Where a delivery stands; everything but PENDING is final until a replay."""

    PENDING = "pending"
    DELIVERED = "delivered"
    FAILED = "failed"
    EXPIRED = "expired"
    CANCELLED = "cancelled"


class DeliveryReason(StrEnum):
    """Why a delivery ended without success."""

    EXHAUSTED = "exhausted"
    GONE = "gone"
    BLOCKED_ADDRESS = "blocked_address"
    INVALID_URL = "invalid_url"
    SUSPENDED = "suspended"
    TOO_OLD = "too_old"
    WEBHOOK_DELETED = "webhook_deleted"


class Trigger(StrEnum):
    """What caused an attempt."""

    SCHEDULE = "schedule"
    REPLAY = "replay"
    TEST = "test"


class AttemptError(StrEnum):
    """Why an attempt was no success; `http_status` is an answer outside 2xx and 3xx."""

    TIMEOUT = "timeout"
    CONNECT_TIMEOUT = "connect_timeout"
    CONNECTION_REFUSED = "connection_refused"
    CONNECTION_RESET = "connection_reset"
    DNS = "dns"
    TLS = "tls"
    REDIRECT = "redirect"
    HTTP_STATUS = "http_status"
    BLOCKED_ADDRESS = "blocked_address"
    PROTOCOL = "protocol"
    OTHER = "other"


class ErrorKind(StrEnum):
    """What is known of a failed attempt beyond its error."""

    NAME_NOT_FOUND = "name_not_found"
    NAME_WITHOUT_ADDRESS = "name_without_address"
    NAME_SERVERS = "name_servers"
    CERTIFICATE_EXPIRED = "certificate_expired"
    CERTIFICATE_NOT_YET_VALID = "certificate_not_yet_valid"
    CERTIFICATE_OF_OTHER_HOST = "certificate_of_other_host"
    CERTIFICATE_SELF_SIGNED = "certificate_self_signed"
    CERTIFICATE_UNTRUSTED = "certificate_untrusted"
    CLIENT_CERTIFICATE = "client_certificate"
    NOT_TLS = "not_tls"
    NO_COMMON_TLS = "no_common_tls"
    NO_ROUTE = "no_route"
    CLOSED_WITHOUT_ANSWER = "closed_without_answer"
    REDIRECTED = "redirected"
    TOKEN_ENDPOINT = "token_endpoint"  # noqa: S105  no token: where one is fetched


@dataclass(frozen=True, slots=True, kw_only=True)
class ErrorDetail:
    """`host` is where a redirect leads, without path; `at` is when a certificate expired."""

    kind: ErrorKind
    host: str | None = None
    at: datetime | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Attempt:
    """One HTTP try. `duration_ms` runs from the first byte of work on the connection to the end of the answer."""

    number: int
    trigger: Trigger
    started_at: datetime
    duration_ms: int
    status_code: int | None
    error: AttemptError | None
    response_body: str | None
    response_truncated: bool
    error_detail: ErrorDetail | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Claim:
    """A pending delivery that this worker holds the lease of, with all that an attempt needs.

    `fence` is the number of the lease: a result counts only while the store still has it. `not_after` is
    when a `call` is too old to be sent, on the store's clock. A replay counts its schedule anew, after
    `attempts_before`. `trace_parent` is there where the event is traced.
    """

    delivery_id: DeliveryId
    event_key: EventKey
    fence: int
    account_id: AccountId
    webhook_id: WebhookId
    event_id: str
    event_type: EventType
    received_at: datetime
    attempt_count: int
    not_after: datetime | None
    payload: bytes
    trigger: Trigger = Trigger.SCHEDULE
    attempts_before: int = 0
    trace_parent: str | None = None

    @property
    def is_manual(self) -> bool:
        """Whether somebody asked for it: then no pause, suspension or age keeps it back, and it proves nothing against
        the webhook."""
        return self.trigger is not Trigger.SCHEDULE


@dataclass(frozen=True, slots=True, kw_only=True)
class Delivery:
    """A delivery document as readers see it."""

    id: DeliveryId
    account_id: AccountId
    webhook_id: WebhookId
    event_id: str
    event_type: EventType
    event_name: str | None
    call_id: str | None
    user_id: str | None
    status: DeliveryStatus
    reason: DeliveryReason | None
    url: str
    attempt_count: int
    attempts: tuple[Attempt, ...]
    next_attempt_at: datetime | None
    created_at: datetime
    completed_at: datetime | None
    number_endings: tuple[str, ...] = ()
    """The last two digits of each number that it is found by: enough to tell calls apart, and nobody's number."""


def delivery_id(event_key: EventKey, webhook_id: WebhookId) -> DeliveryId:
    """The id of the one delivery of this event to this webhook: storing it twice is storing it once."""
    return DeliveryId("dlv_" + sha256(f"{event_key}{webhook_id}".encode()).hexdigest()[:32])
