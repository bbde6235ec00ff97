"""What a request may say in its body, as pydantic models: the shape is checked here, the rules are the domain's.
Types only.
"""

from __future__ import annotations

from typing import Annotated, Any, Final

from pydantic import BaseModel, ConfigDict, Field, WithJsonSchema

from router.application.manage import WebhookDraft
from router.domain.event import EventType

_RESTRICT_TO: Final = {
    "anyOf": [
        {
            "type": "object",
            "properties": {"tracking_numbers": {"type": "array", "items": {"type": "string"}, "minItems": 1}},
            "required": ["tracking_numbers"],
            "additionalProperties": False,
        },
        {
            "type": "object",
            "properties": {"user_id": {"type": "string", "minLength": 1}},
            "required": ["user_id"],
            "additionalProperties": False,
        },
        {"type": "null"},
    ]
}


class _Body(BaseModel):
    model_config = ConfigDict(strict=True, extra="forbid", frozen=True)


class AccountSwitch(_Body):
    """An account's switch."""

    webhooks_enabled: bool = Field(description="Whether anything is sent for this account.")


class NewWebhook(_Body):
    """A webhook to create."""

    account_id: str = Field(description="The account that it belongs to.", examples=["1042"])
    name: str = Field(description="1 to 200 characters on one line.", examples=["CRM"])
    url: str = Field(description="Where events go.", examples=["https://crm.example.com/hooks/calls"])
    event_type: EventType
    enabled: bool = Field(default=True, description="False: made paused.")
    restrict_to: Annotated[dict[str, Any] | None, WithJsonSchema(_RESTRICT_TO)] = Field(
        default=None,
        description="Only events of these tracking numbers (`call`, `cdr`; any format), or of this user (`user`).",
        examples=[{"tracking_numbers": ["+33199001234"]}],
    )
    headers: dict[str, str] | None = Field(
        default=None,
        description="Extra headers of each request. Their values are not shown again.",
        examples=[{"x-api-key": "k-123"}],
        repr=False,
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
        )


class WebhookChange(_Body):
    """What changes of a webhook."""

    enabled: bool = Field(
        description="False pauses it: what is pending waits, and events meanwhile are not delivered. True ends that."
    )
