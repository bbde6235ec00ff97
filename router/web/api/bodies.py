"""What a request may say in its body, as pydantic models: the shape is checked here, the rules are the domain's.
Types only.
"""

from __future__ import annotations

from typing import Annotated, Any, Final, Self

from pydantic import BaseModel, ConfigDict, Field, WithJsonSchema, model_validator

from router.application.manage import WebhookDraft
from router.application.tokens import TokenDraft
from router.domain.credentials import ClientAuthentication
from router.domain.definition import MAX_NAME_LENGTH, MAX_TRACKING_NUMBERS
from router.domain.edit import WebhookEdit
from router.domain.egress import MAX_URL_LENGTH
from router.domain.event import MAX_ID_LENGTH, EventType
from router.domain.headers import HIDDEN, MAX_HEADERS
from router.domain.numbers import MAX_NUMBER_LENGTH
from router.domain.principal import Scope
from router.domain.signing import MAX_OVERLAP
from router.web.api.params import Time

_RESTRICT_TO: Final = {
    "anyOf": [
        {
            "type": "object",
            "properties": {
                "tracking_numbers": {
                    "type": "array",
                    "items": {"type": "string", "maxLength": MAX_NUMBER_LENGTH},
                    "minItems": 1,
                    "maxItems": MAX_TRACKING_NUMBERS,
                }
            },
            "required": ["tracking_numbers"],
            "additionalProperties": False,
        },
        {
            "type": "object",
            "properties": {"user_id": {"type": "string", "minLength": 1, "maxLength": MAX_ID_LENGTH}},
            "required": ["user_id"],
            "additionalProperties": False,
        },
        {"type": "null"},
    ]
}

_TEXT: Final = {"type": "string"}
_AUTH: Final = {
    "anyOf": [
        {
            "type": "object",
            "properties": {"type": {"const": "basic"}, "username": _TEXT, "password": _TEXT},
            "required": ["type", "username", "password"],
            "additionalProperties": False,
        },
        {
            "type": "object",
            "properties": {"type": {"const": "bearer"}, "token": _TEXT},
            "required": ["type", "token"],
            "additionalProperties": False,
        },
        {
            "type": "object",
            "properties": {
                "type": {"const": "oauth2"},
                "token_url": _TEXT,
                "client_id": _TEXT,
                "client_secret": _TEXT,
                "scope": {"type": ["string", "null"]},
                "client_authentication": {"enum": [kind.value for kind in ClientAuthentication]},
            },
            "required": ["type", "token_url", "client_id", "client_secret"],
            "additionalProperties": False,
        },
        {"type": "null"},
    ]
}
_CLIENT_CERTIFICATE: Final = {
    "anyOf": [
        {
            "type": "object",
            "properties": {"certificate": _TEXT, "key": _TEXT},
            "required": ["certificate", "key"],
            "additionalProperties": False,
        },
        {"type": "null"},
    ]
}


_RestrictTo = Annotated[dict[str, Any] | None, WithJsonSchema(_RESTRICT_TO)]
_Auth = Annotated[dict[str, Any] | None, WithJsonSchema(_AUTH)]
_Certificate = Annotated[dict[str, Any] | None, WithJsonSchema(_CLIENT_CERTIFICATE)]


class _Body(BaseModel):
    model_config = ConfigDict(strict=True, extra="forbid", frozen=True)


class AccountSwitch(_Body):
    """An account's switch."""

    webhooks_enabled: bool = Field(description="Whether anything is sent for this account.")


class NewWebhook(_Body):
    """A webhook to create."""

    account_id: str = Field(
        min_length=1, max_length=MAX_ID_LENGTH, description="The account that it belongs to.", examples=["1042"]
    )
    name: str = Field(
        min_length=1, max_length=MAX_NAME_LENGTH, description="1 to 200 characters on one line.", examples=["CRM"]
    )
    url: str = Field(
        max_length=MAX_URL_LENGTH, description="Where events go.", examples=["https://crm.example.com/hooks/calls"]
    )
    event_type: EventType
    enabled: bool = Field(default=True, description="False: made paused.")
    restrict_to: _RestrictTo = Field(
        default=None,
        description="Only events of these tracking numbers (`call`, `cdr`; any format), or of this user (`user`).",
        examples=[{"tracking_numbers": ["+33199001234"]}],
    )
    headers: dict[str, str] | None = Field(
        default=None,
        max_length=MAX_HEADERS,
        description="Extra headers of each request. Their values are not shown again.",
        examples=[{"x-api-key": "k-123"}],
        repr=False,
    )
    auth: _Auth = Field(
        default=None,
        description="How requests prove who sends them: Basic, a fixed bearer token, or OAuth 2 client credentials.",
        examples=[{"type": "bearer", "token": "t-123"}],
        repr=False,
    )
    client_certificate: _Certificate = Field(
        default=None,
        description="For mutual TLS: PEM texts of the certificate, with its chain behind it, and of its key.",
        repr=False,
    )
    asymmetric: bool = Field(
        default=False, description="True: also sign with an ed25519 key (`v1a`), whose public key is shown."
    )

    def draft(self) -> WebhookDraft:
        return WebhookDraft(
            account_id=self.account_id,
            name=self.name,
            url=self.url,
            event_type=self.event_type,
            enabled=self.enabled,
            restrict_to=self.restrict_to,
            headers=self.headers,
            auth=self.auth,
            client_certificate=self.client_certificate,
            asymmetric=self.asymmetric,
        )


class Rotation(_Body):
    """Which key of a webhook is renewed, and how. All of it may be left out."""

    overlap_seconds: int | None = Field(
        default=None,
        ge=0,
        le=int(MAX_OVERLAP.total_seconds()),
        description="How long the old secrets sign beside the new one; 0 ends them now."
        " Default: `signing.rotation_overlap_seconds`.",
        examples=[86_400],
    )
    asymmetric: bool = Field(
        default=False,
        description="True: renew the ed25519 key in place of the secret, or give the webhook its first. It replaces"
        " the old one at once.",
    )

    @model_validator(mode="after")
    def _one_or_the_other(self) -> Self:
        if self.asymmetric and self.overlap_seconds is not None:
            raise ValueError("overlap_seconds goes with a secret: an ed25519 key is replaced at once")
        return self


_LEFT_OUT: Any = None
"""The default of what stays as it is. Nobody reads it: `model_fields_set` knows what is there, null included."""


def _without_defaults(schema: dict[str, Any]) -> None:
    for field in schema["properties"].values():
        field.pop("default", None)


class WebhookChange(_Body):
    """What changes of a webhook. What is left out stays; null takes away."""

    model_config = ConfigDict(json_schema_extra=_without_defaults)

    name: str = Field(
        default=_LEFT_OUT,
        min_length=1,
        max_length=MAX_NAME_LENGTH,
        description="1 to 200 characters on one line.",
        examples=["CRM"],
    )
    url: str = Field(
        default=_LEFT_OUT,
        max_length=MAX_URL_LENGTH,
        description="Where events go from now on, and what is pending too.",
        examples=["https://crm.example.com/hooks/calls"],
    )
    event_type: EventType = Field(
        default=_LEFT_OUT, description="The restriction must go with it: change both, or take the restriction away."
    )
    enabled: bool = Field(
        default=_LEFT_OUT,
        description="False pauses it: what is pending waits, and events meanwhile are not delivered. True ends that,"
        " and no suspension.",
    )
    restrict_to: _RestrictTo = Field(
        default=_LEFT_OUT,
        description="Only events of these tracking numbers (`call`, `cdr`; any format), or of this user (`user`).",
        examples=[{"tracking_numbers": ["+33199001234"]}],
    )
    headers: dict[str, str] | None = Field(
        default=_LEFT_OUT,
        max_length=MAX_HEADERS,
        description=f"All extra headers of each request; `{HIDDEN}` keeps the value that is stored under that name.",
        examples=[{"x-team": "sales"}],
        repr=False,
    )
    auth: _Auth = Field(
        default=_LEFT_OUT,
        description="How requests prove who sends them, whole: what is not shown has to be said again.",
        examples=[{"type": "bearer", "token": "t-123"}],
        repr=False,
    )
    client_certificate: _Certificate = Field(
        default=_LEFT_OUT, description="For mutual TLS: PEM texts of the certificate and of its key.", repr=False
    )

    def edit(self) -> WebhookEdit:
        return WebhookEdit(**{name: getattr(self, name) for name in self.model_fields_set})


class NewToken(_Body):
    """A token to make."""

    name: str = Field(description="1 to 200 characters on one line.", examples=["support desk"])
    scopes: list[Annotated[Scope, Field(strict=False)]] = Field(
        description="What it allows; `admin` allows everything.",
        examples=[["read", "replay"]],
        min_length=1,
        max_length=4,
    )
    account_id: str | None = Field(
        default=None, description="The only account that it sees; without one, all of them.", examples=["1042"]
    )
    expires_at: Time | None = Field(
        default=None, description="When it ends; without a time, never.", examples=["2027-03-01T00:00:00Z"]
    )

    def draft(self) -> TokenDraft:
        return TokenDraft(name=self.name, scopes=self.scopes, account_id=self.account_id, expires_at=self.expires_at)
