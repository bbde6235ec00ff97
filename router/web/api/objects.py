"""The JSON objects of the API (contract, section 6). They are its public shape: what is not here is not shown, and
the OpenAPI document is made from them. Types only.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Annotated, Final, Literal

from pydantic import Field, WithJsonSchema

from router.domain.credentials import ClientAuthentication
from router.domain.delivery import AttemptError, DeliveryReason, DeliveryStatus, Trigger
from router.domain.event import EventType
from router.domain.matching import Verdict
from router.domain.principal import Scope
from router.domain.webhook import WebhookState

HIDDEN: Final = "***"
"""Stands for the value of a webhook's header: it may be a key of the customer's system."""

WebhookIdText = Annotated[str, Field(description="Id of the webhook.", examples=["wh_crm"])]
AccountIdText = Annotated[str, Field(description="Id of the account.", examples=["1042"])]
EventIdText = Annotated[str, Field(description="Id of the event, unique inside its account.", examples=["evt-7f3a"])]
CallIdText = Annotated[str | None, Field(description="The conversation.", examples=["call-91"])]
UserIdText = Annotated[str | None, Field(description="The user who acted.", examples=["u-17"])]
EventName = Annotated[str | None, Field(description="What happened.", examples=["call.received"])]


# --- accounts and webhooks -------------------------------------------------------------------------


@dataclass(frozen=True, slots=True, kw_only=True)
class AccountObject:
    """An account's switch. One that was never set is off."""

    id: AccountIdText
    webhooks_enabled: Annotated[bool, Field(description="Whether anything is sent for this account.")]


@dataclass(frozen=True, slots=True, kw_only=True)
class TrackingNumbersObject:
    """Only events whose tracking number is one of these (E.164)."""

    tracking_numbers: Annotated[list[str], Field(examples=[["+33199001234"]])]


@dataclass(frozen=True, slots=True, kw_only=True)
class UserObject:
    """Only events of this user."""

    user_id: Annotated[str, Field(examples=["u-17"])]


@dataclass(frozen=True, slots=True, kw_only=True)
class CountsObject:
    """How often a webhook was sent to, over the log that is kept."""

    total: Annotated[int, Field(description="All deliveries.", examples=[120])]
    delivered: Annotated[int, Field(description="Delivered.", examples=[117])]
    failed: Annotated[int, Field(description="Failed, expired or cancelled.", examples=[2])]
    pending: Annotated[int, Field(description="Not over yet.", examples=[1])]


@dataclass(frozen=True, slots=True, kw_only=True)
class SecretObject:
    """A secret, as far as it is shown: until when it signs."""

    expires_at: Annotated[datetime | None, Field(description="null: until it is rotated.")]


@dataclass(frozen=True, slots=True, kw_only=True)
class SigningObject:
    """What requests are signed with."""

    secrets: Annotated[list[SecretObject], Field(description="The newest first. Those whose time is over do not sign.")]
    public_key: Annotated[
        str | None,
        Field(
            description="What `v1a` signatures are verified with (ed25519); null where there are none.",
            examples=["whpk_1SiA4o9hyqTCpIqC5V9HUakiiaeACeqfZTInDBbOir4="],
        ),
    ]


@dataclass(frozen=True, slots=True, kw_only=True)
class BasicAuthObject:
    """HTTP Basic; the password is never shown."""

    type: Literal["basic"] = "basic"
    username: Annotated[str, Field(examples=["router"])]


@dataclass(frozen=True, slots=True, kw_only=True)
class BearerAuthObject:
    """A fixed bearer token, which is never shown."""

    type: Literal["bearer"] = "bearer"


@dataclass(frozen=True, slots=True, kw_only=True)
class OAuth2AuthObject:
    """OAuth 2 client credentials; the client secret is never shown."""

    type: Literal["oauth2"] = "oauth2"
    token_url: Annotated[str, Field(examples=["https://login.example.com/token"])]
    client_id: Annotated[str, Field(examples=["router"])]
    scope: str | None
    client_authentication: ClientAuthentication


@dataclass(frozen=True, slots=True, kw_only=True)
class ClientCertificateObject:
    """A certificate for mutual TLS; its key is never shown."""

    subject: Annotated[str, Field(examples=["CN=router.example.com"])]
    not_after: Annotated[datetime, Field(description="When it expires.")]


@dataclass(frozen=True, slots=True, kw_only=True)
class WebhookObject:
    """A definition, what it does with the next event, and how its deliveries went. Its secrets are never shown."""

    id: WebhookIdText
    account_id: AccountIdText
    name: Annotated[str, Field(description="Its owner's name for it.", examples=["CRM"])]
    url: Annotated[str, Field(description="Where events go.", examples=["https://crm.example.com/hooks/calls"])]
    event_type: Annotated[EventType | None, Field(description="null where the definition has none that is right.")]
    enabled: Annotated[bool, Field(description="False: paused by its owner.")]
    restrict_to: TrackingNumbersObject | UserObject | None
    headers: Annotated[
        dict[str, str],
        Field(description="Extra headers of each request; their values are hidden.", examples=[{"x-api-key": HIDDEN}]),
    ]
    auth: BasicAuthObject | BearerAuthObject | OAuth2AuthObject | None
    client_certificate: ClientCertificateObject | None
    signing: SigningObject
    state: WebhookState
    state_reason: Annotated[
        str | None,
        Field(description="`invalid`: a sentence that names the field; `suspended`: `gone` or `failing`; else null."),
    ]
    deliveries: CountsObject
    created_at: datetime | None
    updated_at: datetime | None


@dataclass(frozen=True, slots=True, kw_only=True)
class WebhookWithSecret(WebhookObject):
    """A webhook that was just created, with its secret, which is not shown again."""

    secret: Annotated[
        str,
        Field(description="The key of its signatures.", examples=["whsec_c2VjcmV0IHNlY3JldCBzZWNyZXQgc2VjcmV0IQ=="]),
    ] = field(repr=False)


@dataclass(frozen=True, slots=True, kw_only=True)
class RotatedWebhook(WebhookObject):
    """A webhook with new keys, and its new secret, which is not shown again."""

    secret: Annotated[
        str | None,
        Field(
            description="The new key of its `v1` signatures; null where its ed25519 key was renewed.",
            examples=["whsec_c2VjcmV0IHNlY3JldCBzZWNyZXQgc2VjcmV0IQ=="],
        ),
    ] = field(repr=False)


# --- deliveries ------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True, kw_only=True)
class AttemptObject:
    """One HTTP try."""

    number: Annotated[int, Field(description="From 1.", examples=[1])]
    trigger: Trigger
    started_at: datetime
    duration_ms: Annotated[int, Field(examples=[84])]
    status_code: Annotated[int | None, Field(description="null: no answer came.", examples=[503])]
    error: Annotated[AttemptError | None, Field(description="null: a success.")]
    response_body: Annotated[str | None, Field(description="The beginning of the answer, at most 2 KiB.")]
    response_truncated: Annotated[bool, Field(description="Whether the answer was longer.")]


@dataclass(frozen=True, slots=True, kw_only=True)
class DeliveryObject:
    """One event for one webhook. Lists show the newest 20 attempts."""

    id: Annotated[str, Field(description="Id of the delivery.", examples=["dlv_4e1f0c6f3b0c4d8f9a2b7c1d5e6f7a8b"])]
    account_id: AccountIdText
    webhook_id: WebhookIdText
    event_id: EventIdText
    event_type: EventType
    event_name: EventName
    call_id: CallIdText
    user_id: UserIdText
    status: DeliveryStatus
    reason: Annotated[DeliveryReason | None, Field(description="null while pending or delivered.")]
    url: Annotated[str, Field(description="Where the last attempt went, or the first will go.")]
    attempt_count: Annotated[int, Field(examples=[1])]
    attempts: list[AttemptObject]
    next_attempt_at: Annotated[datetime | None, Field(description="null when it is over.")]
    created_at: Annotated[datetime, Field(description="When the event was received.")]
    completed_at: Annotated[datetime | None, Field(description="null while it is pending.")]


@dataclass(frozen=True, slots=True, kw_only=True)
class DeliveryDetail(DeliveryObject):
    """A delivery with every attempt and the payload."""

    payload: Annotated[
        str | None,
        Field(
            description="The text as sent, byte for byte; null once its retention is over.",
            examples=['{"id":"evt-7f3a","type":"call"}'],
        ),
    ]


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
    source: Annotated[str, Field(description="The source of the configuration that it came from.", examples=["call"])]
    account_enabled: Annotated[bool, Field(description="Whether the account was switched on at that moment.")]
    payload: Annotated[str | None, Field(description="The text as received; null once its retention is over.")]
    trace: list[TraceObject]
    trace_truncated: Annotated[bool, Field(description="Whether webhooks that did not match were left out.")]
    deliveries: list[DeliveryObject]


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


# --- the audit trail -------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True, kw_only=True)
class AuditObject:
    """Who saw or changed what."""

    id: Annotated[str, Field(description="Id of the entry.", examples=["au_019c2f5a3b00a1b2c3d4e5f6"])]
    at: datetime
    actor: Annotated[
        str, Field(description="A token's name, `admin_token`, or `cli:` and a user.", examples=["cli:support"])
    ]
    action: Annotated[str, Field(description="What was done.", examples=["delivery.revealed"])]
    account_id: Annotated[str | None, Field(description="null: to no single account.", examples=["1042"])]
    target: Annotated[str | None, Field(description="Id of what it was done to.", examples=["wh_crm"])]
    details: Annotated[
        dict[str, str | int | bool | list[str]],
        Field(description="Counts, ids and names of fields; never a number or a payload.", examples=[{"listed": 3}]),
    ]


# --- tokens ----------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True, kw_only=True)
class TokenObject:
    """What is kept of a token, which is not enough to show it."""

    id: Annotated[str, Field(description="Id of the token.", examples=["4fQ0xZ9a"])]
    prefix: Annotated[str, Field(description="How the token begins.", examples=["whr_4fQ0xZ9a"])]
    name: Annotated[str, Field(description="What it is for.", examples=["support desk"])]
    scopes: Annotated[list[Scope], Field(description="What it allows; `admin` allows everything.")]
    account_id: Annotated[str | None, Field(description="null: it sees every account.", examples=["1042"])]
    created_at: datetime
    created_by: Annotated[
        str, Field(description="`token:` and an id, `admin_token`, or `cli:` and a user.", examples=["cli:ops"])
    ]
    expires_at: Annotated[datetime | None, Field(description="null: never.")]
    last_used_at: Annotated[datetime | None, Field(description="To about a minute; null: not yet.")]
    revoked_at: Annotated[datetime | None, Field(description="null: it was not revoked.")]


@dataclass(frozen=True, slots=True, kw_only=True)
class TokenWithText(TokenObject):
    """A token that was just made, with its text, which is not shown again."""

    token: Annotated[
        str,
        Field(
            description="What to send as bearer token.",
            examples=["whr_4fQ0xZ9a_0000000000000000000000000000000000000000000000000"],
        ),
    ] = field(repr=False)


# --- pages -----------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True, kw_only=True)
class PageObject:
    """A part of a list, newest first."""

    items: Sequence[object]
    next_cursor: Annotated[str | None, Field(description="The `cursor` of the next page; null at the end.")]
    total: Annotated[
        int | None,
        Field(description="The number of all matches; there with `include_total` only."),
        WithJsonSchema({"type": "integer"}),
    ] = None


@dataclass(frozen=True, slots=True, kw_only=True)
class WebhookPage(PageObject):
    """A page of webhooks."""

    items: list[WebhookObject]


@dataclass(frozen=True, slots=True, kw_only=True)
class DeliveryPage(PageObject):
    """A page of deliveries."""

    items: list[DeliveryObject]


@dataclass(frozen=True, slots=True, kw_only=True)
class DeadLetterPage(PageObject):
    """A page of dead letters."""

    items: list[DeadLetterObject]


@dataclass(frozen=True, slots=True, kw_only=True)
class AuditPage(PageObject):
    """A page of the audit trail."""

    items: list[AuditObject]


class TokenPage(PageObject):
    """A page of tokens."""

    items: list[TokenObject]
