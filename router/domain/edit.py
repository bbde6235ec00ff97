"""What becomes of a webhook when somebody edits it: which fields change, and whether they may. Pure.

A field that nobody touches is not judged, be it right or wrong: so what a back office wrote wrongly is mended field by
field. What is touched keeps every rule, by itself and beside the others.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from datetime import datetime
from enum import Enum
from typing import Final, TypeVar

from router.domain.credentials import Auth, ClientCertificate
from router.domain.definition import (
    check_auth_field,
    check_beside,
    check_certificate_field,
    check_current,
    check_enabled,
    check_event_type,
    check_fits,
    check_headers_field,
    check_name,
    check_new_auth,
    check_new_url,
    check_restriction,
    check_secured,
)
from router.domain.egress import EgressPolicy
from router.domain.errors import InvalidInput
from router.domain.headers import Headers, with_stored
from router.domain.webhook import Webhook

_Value = TypeVar("_Value")


class Unchanged(Enum):
    """Stands for a value that nobody touches; None is a value."""

    UNCHANGED = "unchanged"


UNCHANGED: Final = Unchanged.UNCHANGED

_ATTRIBUTES: Final[Mapping[str, str]] = {
    "name": "name",
    "url": "url",
    "event_type": "event_type",
    "enabled": "enabled",
    "restrict_to": "restriction",
    "headers": "headers",
    "auth": "auth",
    "client_certificate": "client_certificate",
}
"""The fields that can be edited, and where a Webhook has them."""


@dataclass(frozen=True, slots=True, kw_only=True)
class WebhookEdit:
    """What somebody wants to be different about a webhook, as it was written; nothing of it is checked yet.

    None takes a restriction, headers, authentication or certificate away. Headers are all headers, with HIDDEN as the
    value of those that stay as they are.
    """

    name: object = UNCHANGED
    url: object = UNCHANGED
    event_type: object = UNCHANGED
    enabled: object = UNCHANGED
    restrict_to: object = UNCHANGED
    headers: object = field(default=UNCHANGED, repr=False)
    auth: object = field(default=UNCHANGED, repr=False)
    client_certificate: object = field(default=UNCHANGED, repr=False)


@dataclass(frozen=True, slots=True, kw_only=True)
class EditPlan:
    """A webhook as it is and as it is to be. `changed` names the fields of its definition that differ; none of them:
    there is nothing to do."""

    before: Webhook
    after: Webhook
    changed: tuple[str, ...]


def plan_edit(webhook: Webhook, edit: WebhookEdit, *, country: str, egress: EgressPolicy, now: datetime) -> EditPlan:
    """What `edit` makes of `webhook`. Numbers are read as dialled in `country`, `egress` says where URLs may lead.

    Raises InvalidInput for the first rule that it breaks.
    """
    after = _edited(webhook, edit, country, egress, now)
    changed = tuple(
        name
        for name, attribute in _ATTRIBUTES.items()
        if getattr(edit, name) is not UNCHANGED
        and (getattr(after, attribute) != getattr(webhook, attribute) or name in webhook.wrong)
    )
    return EditPlan(before=webhook, after=after, changed=changed)


def plan_switch(webhook: Webhook, *, enabled: bool) -> EditPlan:
    """What pausing a webhook, or ending its pause, makes of it."""
    is_so = webhook.enabled is enabled and "enabled" not in webhook.wrong
    return EditPlan(before=webhook, after=replace(webhook, enabled=enabled), changed=() if is_so else ("enabled",))


def _edited(webhook: Webhook, edit: WebhookEdit, country: str, egress: EgressPolicy, now: datetime) -> Webhook:
    event_type = _touched(edit.event_type, webhook.event_type, check_event_type)
    url = _touched(edit.url, webhook.url, lambda value: check_new_url(value, egress))
    headers = _touched(edit.headers, webhook.headers, lambda value: _check_headers(value, webhook))
    edited = replace(
        webhook,
        name=_touched(edit.name, webhook.name, check_name),
        url=url,
        event_type=event_type,
        enabled=_touched(edit.enabled, webhook.enabled, check_enabled),
        restriction=_touched(
            edit.restrict_to, webhook.restriction, lambda value: check_restriction(value, event_type, country)
        ),
        headers=headers,
        auth=_touched(edit.auth, webhook.auth, lambda value: _check_auth(value, egress)),
        client_certificate=_touched(
            edit.client_certificate, webhook.client_certificate, lambda value: _check_certificate(value, now)
        ),
    )
    # What is touched must go with what is not. What was stored and does not go together is not there, as it is wrong.
    if edited.restriction is not None:
        check_fits(type(edited.restriction), event_type)
    check_beside(edited.auth, headers)
    check_secured(edited.client_certificate, url)
    return edited


def _touched(value: object, stored: _Value, check: Callable[[object], _Value]) -> _Value:
    return stored if value is UNCHANGED else check(value)


def _check_headers(value: object, webhook: Webhook) -> Headers:
    try:
        return with_stored(check_headers_field(value), () if "headers" in webhook.wrong else webhook.headers)
    except ValueError as error:
        raise InvalidInput("headers", str(error)) from None


def _check_auth(value: object, egress: EgressPolicy) -> Auth | None:
    return check_new_auth(check_auth_field(value), egress)


def _check_certificate(value: object, now: datetime) -> ClientCertificate | None:
    return check_current(check_certificate_field(value), now)
