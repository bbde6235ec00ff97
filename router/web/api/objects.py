"""The JSON objects of the API (contract, section 6): accounts, webhooks, deliveries. They are its public shape, and the
OpenAPI document is made from them: what is not here, in `event_objects` or `access_objects` is not shown. Types only.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Annotated, Literal

from pydantic import Field, WithJsonSchema

from router.domain.credentials import ClientAuthentication
from router.domain.delivery import AttemptError, DeliveryReason, DeliveryStatus, ErrorKind, Trigger
from router.domain.event import EventType
from router.domain.headers import HIDDEN
from router.domain.webhook import WebhookState

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
class ErrorDetailObject:
    """What is known of a failure beyond its error."""

    kind: ErrorKind
    host: Annotated[str | None, Field(description="Where a redirect leads, without path.", examples=["example.com"])]
    at: Annotated[datetime | None, Field(description="When the certificate expired.")]


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
    error_detail: Annotated[ErrorDetailObject | None, Field(description="null: no more is known than the error.")]


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
