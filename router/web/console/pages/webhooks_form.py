"""What somebody types into the form of a webhook: read, judged field by field, turned into a draft or an edit. Pure.

All that is wrong is said at once, under the names of the form's fields.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, fields
from typing import Final

from router.application.manage import WebhookDraft, typed_account_id
from router.domain.definition import (
    check_event_type,
    check_headers_field,
    check_name,
    check_new_url,
    check_restriction,
)
from router.domain.edit import UNCHANGED, WebhookEdit
from router.domain.egress import EgressPolicy
from router.domain.errors import InvalidInput
from router.domain.event import EventType
from router.domain.headers import HIDDEN
from router.domain.webhook import TrackingNumberRestriction, UserRestriction, Webhook
from router.web.console.language import N_
from router.web.console.page import Form

FIELD_LABELS: Final[Mapping[str, str]] = {
    "account_id": N_("Account"),
    "name": N_("Name"),
    "url": N_("URL"),
    "event_type": N_("Type of event"),
    "tracking_numbers": N_("Tracking numbers"),
    "user_id": N_("User id"),
    "enabled": N_("Enabled"),
    "headers": N_("Extra headers"),
}
"""The fields of the form, by what they are called beside them."""
_FIELD_OF: Final[Mapping[str, str]] = {"restrict_to": "tracking_numbers", "auth": "headers"}
"""Where the form shows what is wrong with a field of the definition that it does not have under that name."""

_NUMBER_ENDS: Final = re.compile(r"[\n,;]")
_NO_HEADER: Final = N_("each line must be a name, a colon and a value")


@dataclass(frozen=True, slots=True, kw_only=True)
class Wrong:
    """A rule that a field breaks: `error` in the domain's words, and the text that it is about, if not all of it."""

    error: InvalidInput
    about: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class WebhookForm:
    """The texts of the form's fields, as they were typed. Headers are lines of `name: value`."""

    account_id: str = ""
    name: str = ""
    url: str = ""
    event_type: str = ""
    tracking_numbers: str = ""
    user_id: str = ""
    enabled: bool = True
    headers: str = field(default="", repr=False)
    asymmetric: bool = False

    # --- to and from ---

    @classmethod
    def typed(cls, form: Form) -> WebhookForm:
        texts = {each.name: form.get(each.name).strip() for each in fields(cls) if each.type == "str"}
        return cls(**texts, enabled=form.has("enabled"), asymmetric=form.has("asymmetric"))

    @classmethod
    def stored(cls, webhook: Webhook) -> WebhookForm:
        """A webhook as the form shows it; the values of its headers are hidden."""
        restriction = webhook.restriction
        numbers = restriction.numbers if isinstance(restriction, TrackingNumberRestriction) else ()
        return cls(
            account_id=webhook.account_id,
            name=webhook.name,
            url=webhook.url,
            event_type=webhook.event_type.value if webhook.event_type else "",
            tracking_numbers="\n".join(sorted(numbers)),
            user_id=restriction.user_id if isinstance(restriction, UserRestriction) else "",
            enabled=webhook.enabled,
            headers="\n".join(f"{name}: {HIDDEN}" for name, _ in webhook.headers),
        )

    def draft(self, webhook_id: str) -> WebhookDraft:
        """What is to be created, once `wrong` has found nothing."""
        return WebhookDraft(
            id=webhook_id,
            account_id=self.account_id,
            name=self.name,
            url=self.url,
            event_type=self.event_type,
            enabled=self.enabled,
            restrict_to=self._restriction(),
            headers=_headers(self.headers),
            asymmetric=self.asymmetric,
        )

    def edit(self, webhook: Webhook) -> WebhookEdit:
        """What is to be changed. What looks as it did is not touched: it may have been right when it was written."""
        changed = self.changed_from(webhook)
        return WebhookEdit(
            name=self.name if "name" in changed else UNCHANGED,
            url=self.url if "url" in changed else UNCHANGED,
            event_type=self.event_type if "event_type" in changed else UNCHANGED,
            enabled=self.enabled if "enabled" in changed else UNCHANGED,
            restrict_to=self._restriction() if changed & {"tracking_numbers", "user_id"} else UNCHANGED,
            headers=_headers(self.headers) if "headers" in changed else UNCHANGED,
        )

    def changed_from(self, webhook: Webhook) -> set[str]:
        """The fields that differ from what is stored, those among them that cannot be read there."""
        before = WebhookForm.stored(webhook)
        wrong = {_FIELD_OF.get(name, name) for name in webhook.wrong}
        return {name for name in FIELD_LABELS if getattr(self, name) != getattr(before, name)} | wrong

    # --- judging ---

    def wrong(self, country: str, egress: EgressPolicy, *, only: set[str] | None = None) -> dict[str, Wrong]:
        """What is wrong, by field; of `only` these fields, None: of all."""
        found: dict[str, Wrong] = {}

        def judge(name: str, check: Callable[[], object]) -> None:
            if only is not None and name not in only:
                return
            try:
                check()
            except InvalidInput as error:
                found.setdefault(name, self._wrong(error))

        judge("account_id", lambda: typed_account_id(self.account_id))
        judge("name", lambda: check_name(self.name))
        judge("url", lambda: check_new_url(self.url, egress))
        judge("event_type", lambda: check_event_type(self.event_type))
        judge("headers", lambda: check_headers_field(_headers(self.headers)))
        event_type = EventType(self.event_type) if self.event_type in list(EventType) else None
        for name, value in self._restrictions().items():
            # A number that was right for another type is in the way of this one, so these are always judged.
            try:
                check_restriction({name: value}, event_type, country)
            except InvalidInput as error:
                found[name] = self._wrong(error)
        return found

    def _wrong(self, error: InvalidInput) -> Wrong:
        index = re.search(r"\[(\d+)\]$", error.field)
        return Wrong(error=error, about=self._numbers()[int(index[1])] if index else None)

    def _numbers(self) -> list[str]:
        return [each.strip() for each in _NUMBER_ENDS.split(self.tracking_numbers) if each.strip()]

    def _restrictions(self) -> dict[str, object]:
        numbers = self._numbers()
        found: dict[str, object] = {"tracking_numbers": numbers} if numbers else {}
        return found | ({"user_id": self.user_id} if self.user_id else {})

    def _restriction(self) -> dict[str, object] | None:
        return self._restrictions() or None


def field_of(error: InvalidInput) -> str:
    """The form's field that shows what is wrong with a field of the definition."""
    name = error.field.removeprefix("restrict_to.").partition("[")[0].partition(".")[0]
    return _FIELD_OF.get(name, name)


def _headers(text: str) -> dict[str, str]:
    """Raises InvalidInput for a line that is none, and for a name that comes twice."""
    headers: dict[str, str] = {}
    for line in filter(None, map(str.strip, text.split("\n"))):
        name, colon, value = line.partition(":")
        if not colon:
            raise InvalidInput("headers", _NO_HEADER)
        if name.strip() in headers:
            raise InvalidInput("headers", f"{name.strip().lower()} is there twice; case makes no difference")
        headers[name.strip()] = value.strip()
    return headers
