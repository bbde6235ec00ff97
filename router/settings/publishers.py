"""The `sources` section: which exchanges are consumed, and how their publishers' messages are read.
Frozen values only; paths are checked by the grammar of `domain/fields.py`.
"""

from __future__ import annotations

from typing import Annotated, Final, Literal

from pydantic import AfterValidator, Field, model_validator

from router.domain.event import EventType
from router.settings.sections import Section
from router.settings.values import (
    NUMBER,
    AmqpName,
    BindingArguments,
    DecodeStep,
    FieldPaths,
    KeyedError,
    QueueName,
    TimeZone,
)

TimeFormat = Literal["rfc3339", "epoch", "epoch_seconds", "epoch_millis", "epoch_micros", "gregorian", "local"]


class SourceFields(Section):
    """`sources.fields`: where each logical field is found: one path or several, the first found wins."""

    id: FieldPaths = ("id",)
    """Identity of the event inside its account; where nothing is found, a hash of the body."""
    type: FieldPaths = ("type",)
    """`call`, `cdr` or `user`, or a key of `type_map`."""
    name: FieldPaths = ("name",)
    """What happened, e.g. `call.received`."""
    occurred_at: FieldPaths = ("occurred_at",)
    """When it happened, in `time_format`."""
    account_id: Annotated[FieldPaths, Field(min_length=1)] = ("account_id",)
    """The customer; without one a message is a dead letter, so at least one path is needed."""
    call_id: FieldPaths = ("call_id",)
    """The conversation."""
    sequence: FieldPaths = ("sequence",)
    """Order inside one conversation."""
    tracking_number: FieldPaths = ("tracking_number",)
    """The number that was called: text, or a table with `id`, `number` and `label`."""
    user_id: FieldPaths = ("user_id",)
    """The user who acted."""
    caller_number: FieldPaths = ("data.caller.number",)
    """The caller's number, for search only."""
    redirection_number: FieldPaths = ("data.redirection_number",)
    """The number that the call was passed on to, for search only."""


class SourceSettings(Section):
    """One item of `sources`: one queue, and the publisher that fills it."""

    name: Annotated[str, Field(pattern=r"^[A-Za-z0-9._-]{1,64}$")]
    """Name in logs and metrics: 1 to 64 letters, digits, '.', '_' or '-'. By default the exchange."""
    exchange: AmqpName
    """Exchange that the publisher writes to. By default the name of the source."""
    exchange_type: Literal["topic", "fanout", "direct", "headers"] = "topic"
    """`topic`, `fanout`, `direct` or `headers`; a passive source does not need it."""
    declare: Literal["active", "passive"] = "active"
    """`active` creates the exchange if it is missing; `passive` takes it as its owner made it."""
    binding_keys: Annotated[tuple[Annotated[str, Field(max_length=255)], ...], Field(min_length=1)] = ("#",)
    """Routing keys by which the queue is bound, at least one."""
    binding_arguments: BindingArguments = Field(default_factory=dict)
    """Headers by which the queue is bound to a headers exchange, and `x-match`."""
    queue: QueueName
    """Durable quorum queue to consume. By default `webhook-router.` and the name of the source."""
    prefetch: Annotated[int, Field(ge=1, le=2_000), NUMBER] = 100
    """Messages that may be unacknowledged at once, 1 to 2000, which is what quorum queues allow."""
    event_type: EventType
    """`call`, `cdr` or `user`: the type of events that do not say theirs. By default the name."""
    type_map: dict[str, EventType] = Field(default_factory=dict)
    """What the publisher calls a type, and what it is here."""
    decode: Annotated[tuple[DecodeStep, ...], Field(max_length=8)] = ()
    """Steps from the body to JSON text, in order: `gzip`, `zlib`, `base64`, `form:FIELD`."""
    time_format: TimeFormat = "rfc3339"
    """How `occurred_at` is written: `rfc3339`, `epoch` (unit told by magnitude), `epoch_seconds`,
    `epoch_millis`, `epoch_micros`, `gregorian` (seconds since year 0), `local` (no offset, in `time_zone`)."""
    time_zone: TimeZone = "UTC"
    """IANA time zone of times without an offset."""
    fields: SourceFields = SourceFields()
    """Where each field is found."""

    @model_validator(mode="before")
    @classmethod
    def _fill_in(cls, data: object) -> object:
        """Derive what was left out: name and exchange from each other, queue and event type from the name."""
        if not isinstance(data, dict):
            return data
        filled = dict(data)
        name = filled.setdefault("name", filled.get("exchange"))
        if name is None:
            raise KeyedError(("exchange",), None, "is required")
        filled.setdefault("exchange", name)
        filled.setdefault("queue", f"webhook-router.{name}")
        if "event_type" not in filled and name in tuple(EventType):
            filled["event_type"] = name
        return filled

    @model_validator(mode="after")
    def _arguments_are_used(self) -> SourceSettings:
        if self.binding_arguments and self.declare == "active" and self.exchange_type != "headers":
            raise KeyedError(
                ("binding_arguments",),
                self.binding_arguments,
                f"has no effect on a {self.exchange_type} exchange",
            )
        return self


DEFAULT_SOURCES: Final = tuple(SourceSettings.model_validate({"name": kind.value}) for kind in EventType)
"""One topic exchange and one queue per event type (contract, section 2)."""


def _check_unique(sources: tuple[SourceSettings, ...]) -> tuple[SourceSettings, ...]:
    # Two sources on one queue would share its messages at random.
    for key in ("name", "queue"):
        first: dict[str, int] = {}
        for index, source in enumerate(sources):
            value = getattr(source, key)
            if first.setdefault(value, index) != index:
                raise KeyedError((index, key), value, f"is that of sources[{first[value]}] too")
    return sources


Sources = Annotated[tuple[SourceSettings, ...], Field(min_length=1, max_length=100), AfterValidator(_check_unique)]
