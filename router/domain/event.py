"""An event from the platform: its identity, its time, and what matching and search need to know of it.
Values only; bytes become events in `adapters/rabbitmq/codec.py`.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum
from hashlib import sha256
from typing import Final, NewType

AccountId = NewType("AccountId", str)
EventKey = NewType("EventKey", str)

MAX_ID_LENGTH: Final = 1024
"""Characters of an id that is kept as it is, written into a definition or asked for."""
MAX_HEADER_ID_LENGTH: Final = 255
"""A longer event id is replaced by its hash in the `webhook-id` header (contract, section 4)."""


class EventType(StrEnum):
    """The three kinds of event that customers can subscribe to."""

    CALL = "call"
    CDR = "cdr"
    USER = "user"


@dataclass(frozen=True, slots=True, kw_only=True)
class Event:
    """One event, as received.

    `payload` is the JSON text exactly as published, after transport decoding only: it is what the
    customer receives. `tracking_number` is E.164. `number_keys` are `numbers.search_key` values.
    """

    account_id: AccountId
    event_id: str
    type: EventType
    name: str | None
    occurred_at: datetime | None
    received_at: datetime
    call_id: str | None
    sequence: int | None
    tracking_number: str | None
    user_id: str | None
    number_keys: tuple[str, ...]
    payload: bytes
    source: str

    @property
    def key(self) -> EventKey:
        return event_key(self.account_id, self.event_id)


class RejectionReason(StrEnum):
    """Why a message became a dead letter."""

    TOO_LARGE = "too_large"
    UNDECODABLE = "undecodable"
    NOT_JSON = "not_json"
    NOT_AN_OBJECT = "not_an_object"
    TOO_DEEP = "too_deep"
    NO_ACCOUNT = "no_account"
    UNKNOWN_TYPE = "unknown_type"
    HANDLER_ERROR = "handler_error"


@dataclass(frozen=True, slots=True, kw_only=True)
class Rejection:
    """A message that could not be understood. `detail` never quotes the message."""

    reason: RejectionReason
    detail: str


def event_key(account_id: str, event_id: str) -> EventKey:
    """The key under which an event is stored: the same id twice in one account is the same event."""
    # The length in front keeps ("1", "2x") and ("12", "x") apart.
    identity = f"{len(account_id)}:{account_id}{event_id}".encode()
    return EventKey("ev_" + sha256(identity).hexdigest()[:32])


def id_from_body(body: bytes) -> str:
    """An event id for a message that carries none."""
    return "evt_" + sha256(body).hexdigest()[:32]


def bounded_id(text: str, prefix: str) -> str:
    """An id as it is kept: one longer than any that is meant is replaced by its hash, so that keys stay small."""
    return text if len(text) <= MAX_ID_LENGTH else prefix + sha256(text.encode()).hexdigest()[:32]


def header_id(event_id: str) -> str:
    """The event id as the `webhook-id` header carries it, stable over attempts and replays.

    Blanks at either end would be cut off by HTTP and break the signature, so such an id is hashed too.
    """
    fits = 0 < len(event_id) <= MAX_HEADER_ID_LENGTH and event_id == event_id.strip(" ")
    if fits and event_id.isascii() and event_id.isprintable():
        return event_id
    return "evt_" + sha256(event_id.encode()).hexdigest()[:32]
