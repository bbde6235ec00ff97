"""What a request may say in its query string, as pydantic models: the parser and the OpenAPI document use the same.

Text in, typed values out; touches nothing.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from datetime import UTC, datetime, timedelta
from typing import Annotated, Any, Final, TypeVar

from multidict import MultiMapping
from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, PlainValidator, ValidationError
from pydantic_core import ErrorDetails

from router.application.queries import DEFAULT_LIMIT, MAX_LIMIT, PageRequest, WebhookFilter, decode_cursor
from router.application.search import MAX_SEARCH_LENGTH
from router.domain.delivery import DeliveryStatus
from router.domain.errors import InvalidInput
from router.domain.event import MAX_ID_LENGTH, AccountId, EventType
from router.domain.numbers import MAX_NUMBER_LENGTH, MIN_SEARCH_DIGITS, search_prefix
from router.domain.webhook import WebhookId, WebhookState
from router.ports import AuditFilter, DeliveryFilter
from router.web.problems import FieldError, invalid_request

Query = TypeVar("Query", bound=BaseModel)

MAX_FIELD_LENGTH: Final = 100
"""Of a name that a caller made up, so much is said back."""

_TIME: Final = re.compile(
    r"(?P<seconds>\d{4}-\d\d-\d\d[Tt]\d\d:\d\d:\d\d)(?:\.(?P<fraction>\d+))?(?P<offset>[Zz]|[+-]\d\d:\d\d)", re.ASCII
)


# --- values ----------------------------------------------------------------------------------------


def parse_time(text: object) -> datetime:
    """A point in time from RFC 3339 text with an offset, UTC, rounded up to the millisecond.

    The store keeps milliseconds: what is at or after 0.0001 s is there at or after 0.001 s, and the same for before.
    """
    match = _TIME.fullmatch(text) if isinstance(text, str) else None
    if match is None:
        hint = "; write '+' as %2B in a URL" if isinstance(text, str) and " " in text else ""
        raise ValueError(f"must be a date and time with an offset, like 2026-11-24T03:30:00Z{hint}")
    fraction = match["fraction"] or ""
    milliseconds = int(fraction[:3].ljust(3, "0")) + bool(fraction[3:].strip("0"))
    try:
        moment = datetime.fromisoformat(match["seconds"].upper() + match["offset"].upper())
        return moment.astimezone(UTC) + timedelta(milliseconds=milliseconds)
    except (ValueError, OverflowError):
        raise ValueError("is no date and time that exists") from None


def _parse_whole_number(text: object) -> object:
    # Only digits: int() would also take blanks, signs, underscores and the digits of other scripts.
    if isinstance(text, str):
        if not re.fullmatch(r"[0-9]{1,9}", text):
            raise ValueError("must be a whole number")
        return int(text)
    return text


def _parse_flag(text: object) -> bool:
    if text not in ("true", "false"):
        raise ValueError("must be true or false")
    return text == "true"


_TimeText = Annotated[str, Field(json_schema_extra={"format": "date-time"})]

CONTROL_FREE: Final = r"^[^\u0000-\u001f\u007f]+$"

Text = Annotated[str, Field(min_length=1, max_length=MAX_ID_LENGTH, pattern=CONTROL_FREE)]
"""An id or a cursor. What holds control characters is none of ours."""
Time = Annotated[datetime, PlainValidator(parse_time, json_schema_input_type=_TimeText)]
Limit = Annotated[int, Field(ge=1, le=MAX_LIMIT), BeforeValidator(_parse_whole_number)]
Flag = Annotated[bool, PlainValidator(_parse_flag, json_schema_input_type=bool)]
# Enums arrive as text, which strict models refuse by default.
EventTypeText = Annotated[EventType, Field(strict=False)]
StatusText = Annotated[DeliveryStatus, Field(strict=False)]
StateText = Annotated[WebhookState, Field(strict=False)]


# --- query strings ---------------------------------------------------------------------------------


class NoQuery(BaseModel):
    """No parameters; the base of all others."""

    model_config = ConfigDict(strict=True, extra="forbid", frozen=True)


class PageQuery(NoQuery):
    """Which part of a list, newest first."""

    limit: Limit = Field(default=DEFAULT_LIMIT, description="Items on a page.", examples=[50])
    cursor: Text | None = Field(default=None, description="`next_cursor` of the page before.")
    include_total: Flag = Field(
        default=False, description="Add `total`, the number of all matches, which costs a count."
    )

    def page(self) -> PageRequest:
        """Raises InvalidInput for a cursor that no page gave."""
        after = None if self.cursor is None else decode_cursor(self.cursor)
        return PageRequest(limit=self.limit, after=after, with_total=self.include_total)


class WebhookQuery(PageQuery):
    """Which webhooks."""

    account_id: Text | None = Field(default=None, description="Webhooks of this account.", examples=["1042"])
    event_type: EventTypeText | None = Field(default=None, description="Webhooks for this type of event.")
    state: StateText | None = Field(
        default=None,
        description="Webhooks in this state. A page may then be short, or empty, although `next_cursor` leads on.",
    )

    def filter(self) -> WebhookFilter:
        return WebhookFilter(
            account_id=AccountId(self.account_id) if self.account_id else None,
            event_type=self.event_type,
            state=self.state,
        )


class DeliveryConditions(NoQuery):
    """Which deliveries; all conditions hold together."""

    account_id: Text | None = Field(default=None, description="Deliveries of this account.", examples=["1042"])
    webhook_id: Text | None = Field(default=None, description="Deliveries to this webhook.")
    event_type: EventTypeText | None = Field(default=None, description="Deliveries of this type of event.")
    status: StatusText | None = Field(default=None, description="Deliveries that stand here.")
    event_id: Text | None = Field(default=None, description="Deliveries of the event with this id.")
    call_id: Text | None = Field(default=None, description="Deliveries of one conversation.")
    user_id: Text | None = Field(default=None, description="Deliveries of events by this user.")
    number: Text | None = Field(
        default=None,
        max_length=MAX_NUMBER_LENGTH,
        description="A phone number in any format, or at least its last "
        f"{MIN_SEARCH_DIGITS} digits: finds caller, tracking and redirection numbers.",
        examples=["06 39 98 11 22", "+33639981122", "1122"],
    )
    from_: Time | None = Field(
        default=None, alias="from", description="Received at or after this time.", examples=["2026-11-24T00:00:00Z"]
    )
    to: Time | None = Field(
        default=None, description="Received before this time.", examples=["2026-11-25T00:00:00+01:00"]
    )

    def filter(self, country: str) -> DeliveryFilter:
        """The search, with a number as dialled in `country`. Raises InvalidInput for what is wrong together."""
        if self.from_ is not None and self.to is not None and self.from_ >= self.to:
            raise InvalidInput("from", "must be before to")
        return DeliveryFilter(
            account_id=AccountId(self.account_id) if self.account_id else None,
            webhook_id=WebhookId(self.webhook_id) if self.webhook_id else None,
            event_type=self.event_type,
            status=self.status,
            event_id=self.event_id,
            call_id=self.call_id,
            user_id=self.user_id,
            number_prefix=_number_prefix(self.number, country),
            from_=self.from_,
            to=self.to,
        )


class DeliveryQuery(DeliveryConditions, PageQuery):
    """Which part of the list of which deliveries."""


class AuditQuery(PageQuery):
    """Which entries of the audit trail; all conditions hold together."""

    account_id: Text | None = Field(default=None, description="What was done to this account.", examples=["1042"])
    action: Text | None = Field(default=None, description="What was done.", examples=["delivery.revealed"])
    from_: Time | None = Field(
        default=None, alias="from", description="Done at or after this time.", examples=["2026-11-24T00:00:00Z"]
    )
    to: Time | None = Field(default=None, description="Done before this time.", examples=["2026-11-25T00:00:00Z"])

    def filter(self) -> AuditFilter:
        """The search. Raises InvalidInput."""
        if self.from_ is not None and self.to is not None and self.from_ >= self.to:
            raise InvalidInput("from", "must be before to")
        account_id = AccountId(self.account_id) if self.account_id else None
        return AuditFilter(account_id=account_id, action=self.action, from_=self.from_, to=self.to)


class SearchQuery(NoQuery):
    """What to look for, and where."""

    q: str = Field(
        min_length=1,
        max_length=MAX_SEARCH_LENGTH,
        pattern=CONTROL_FREE,
        description="An id of a call, an event, a delivery, a user, a webhook or an account; a phone number in any "
        f"format or its last {MIN_SEARCH_DIGITS} digits; a URL, or the beginning of its host.",
        examples=["06 39 98 11 22", "call-91", "crm.example.com"],
    )
    account_id: Text | None = Field(default=None, description="Look in this account only.", examples=["1042"])


class AccountQuery(NoQuery):
    """Whose event or call: ids are unique inside an account only."""

    account_id: Text = Field(description="The account that the event or call belongs to.", examples=["1042"])


def _number_prefix(number: str | None, country: str) -> str | None:
    if number is None:
        return None
    try:
        return search_prefix(number, country)
    except ValueError as error:
        raise InvalidInput("number", f"must be {error}") from None


# --- parsing ---------------------------------------------------------------------------------------


def parse_query(model: type[Query], query: MultiMapping[str]) -> Query:
    """The query string as `model` has it. Raises a 400 that names every parameter that is wrong."""
    repeated = sorted({name for name in query if len(query.getall(name)) > 1})
    if repeated:
        raise invalid_request([FieldError(field=name, message="is given more than once") for name in repeated])
    try:
        return model.model_validate(dict(query))
    except ValidationError as error:
        raise invalid_request(field_errors(error, unknown="is no parameter of this request")) from None


def field_errors(error: ValidationError, *, unknown: str) -> list[FieldError]:
    """What pydantic found, in our words and without the values."""
    details = error.errors(include_url=False, include_input=False)
    return [FieldError(field=_field(detail), message=_message(detail, unknown)) for detail in details]


def _field(detail: ErrorDetails) -> str:
    """As `restrict_to.tracking_numbers[0]`; what concerns all of it is the fault of the body."""
    path = "".join(f"[{part}]" if isinstance(part, int) else f".{part}" for part in detail["loc"])
    return path.removeprefix(".")[:MAX_FIELD_LENGTH] or "body"


def _message(detail: ErrorDetails, unknown: str) -> str:
    context: Mapping[str, Any] = detail.get("ctx", {})
    match detail["type"]:
        case "extra_forbidden":
            return unknown
        case "missing":
            return "is required"
        case "string_too_short":
            return "must not be empty"
        case "string_pattern_mismatch":
            return "must not hold control characters"
        case "value_error":
            return str(context["error"])
        case _:
            return re.sub(r"^\w+ should", "must", detail["msg"])
