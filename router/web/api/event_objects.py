"""The JSON objects of what came in: events, calls, dead letters. Types only."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from typing import Annotated

from pydantic import Field

from router.domain.event import EventType
from router.domain.matching import Verdict
from router.domain.webhook import WebhookState
from router.web.api.objects import (
    AccountIdText,
    CallIdText,
    DeliveryObject,
    EventIdText,
    EventName,
    PageObject,
    UserIdText,
    WebhookIdText,
)

# --- events and calls ------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True, kw_only=True)
class TraceObject:
    """What was decided about one webhook when the event came, and what has become of that webhook since."""

    webhook_id: WebhookIdText
    webhook_name: Annotated[str | None, Field(description="Its name today; null: deleted since.", examples=["CRM"])]
    webhook_state: Annotated[WebhookState | None, Field(description="Its state today; null: deleted since.")]
    matched: Annotated[bool, Field(description="Whether the event went to this webhook.")]
    verdict: Annotated[
        Verdict,
        Field(
            description="`matched`, or the first gate that held the event back: `account_disabled`, `invalid` (the "
            "definition was wrong), `paused`, `event_type`, `tracking_number` or `user_id` (a restriction not met)."
        ),
    ]
    delivery_id: Annotated[str | None, Field(description="The delivery that followed.")]
    delay_ms: Annotated[int | None, Field(description="From reception to the first attempt.", examples=[4])]


@dataclass(frozen=True, slots=True, kw_only=True)
class OtherWebhookObject:
    """A webhook of the account that the trace does not name: made since, or left out of a trace that was cut."""

    webhook_id: WebhookIdText
    webhook_name: Annotated[str, Field(examples=["CRM"])]
    created_at: datetime | None


@dataclass(frozen=True, slots=True, kw_only=True)
class LaterObject:
    """An event that this webhook did not match when it came was sent to it later."""

    webhook_id: WebhookIdText
    webhook_name: Annotated[str | None, Field(description="Its name today; null: deleted since.", examples=["CRM"])]
    at: datetime
    replay_id: Annotated[str, Field(examples=["rpl_aeaqcaibaeaqcaibaeaqcaib"])]
    delivery_id: Annotated[str | None, Field(description="The delivery that followed; null: not kept any more.")]


@dataclass(frozen=True, slots=True, kw_only=True)
class EventObject:
    """What was received, which webhooks matched, which did not and why, and each delivery."""

    id: EventIdText
    account_id: AccountIdText
    type: EventType
    name: EventName
    call_id: CallIdText
    user_id: UserIdText
    sequence: Annotated[int | None, Field(description="Order inside the call.", examples=[2])]
    tracking_number: Annotated[str | None, Field(description="E.164.", examples=["+33199001234"])]
    occurred_at: Annotated[datetime | None, Field(description="By the publisher's clock.")]
    received_at: datetime
    upstream_ms: Annotated[
        int | None, Field(description="From `occurred_at`, by the publisher's clock, to `received_at`.", examples=[19])
    ]
    source: Annotated[str, Field(description="The source of the configuration that it came from.", examples=["call"])]
    account_enabled: Annotated[bool, Field(description="Whether the account was switched on at that moment.")]
    payload: Annotated[str | None, Field(description="The text as received; null once its retention is over.")]
    trace: list[TraceObject]
    trace_truncated: Annotated[bool, Field(description="Whether webhooks that did not match were left out.")]
    other_webhooks: list[OtherWebhookObject]
    deliveries: list[DeliveryObject]
    replayed: Annotated[
        list[LaterObject], Field(description="Webhooks that a replay of missing events sent it to later.")
    ]


@dataclass(frozen=True, slots=True, kw_only=True)
class CallObject:
    """The events of one conversation, in the order of reception."""

    account_id: AccountIdText
    call_id: Annotated[str, Field(examples=["call-91"])]
    events: list[EventObject]
    events_truncated: Annotated[bool, Field(description="Whether there were more than 100 events.")]


# --- dead letters ----------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True, kw_only=True)
class DeadLetterObject:
    """A message that could not be understood, or was not."""

    id: Annotated[str, Field(description="Id of the dead letter.", examples=["dl_019c2f5a3b00a1b2c3d4e5f6"])]
    received_at: datetime
    source: Annotated[str, Field(description="The source of the configuration that it came from.", examples=["call"])]
    reason: Annotated[str, Field(description="Why it was rejected.", examples=["not_json"])]
    detail: Annotated[str, Field(description="The reason as a sentence; never quotes the message.")]
    size: Annotated[int, Field(description="Bytes of the message.", examples=[17])]
    content_type: Annotated[str | None, Field(description="As its publisher said.", examples=["application/json"])]
    head: Annotated[str, Field(description="The beginning of the message, as text.", examples=["not JSON"])]
    requeued_at: Annotated[datetime | None, Field(description="When it was sent to its queue again.")]


@dataclass(frozen=True, slots=True, kw_only=True)
class DeadLetterDetail(DeadLetterObject):
    """A dead letter with the message itself."""

    body: Annotated[
        str | None,
        Field(
            description="The raw bytes, base64; the first 15 MiB of a longer message. null once its retention is over.",
            examples=["bm90IEpTT04="],
            json_schema_extra={"contentEncoding": "base64"},
        ),
    ]


@dataclass(frozen=True, slots=True, kw_only=True)
class DeadLetterPage(PageObject):
    """A page of dead letters."""

    items: list[DeadLetterObject]
