"""The JSON of replays: what a request may say and what an answer shows, and how the one is made of the other. Pure."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum
from typing import Annotated, Any, Final

from pydantic import BaseModel, ConfigDict, Field, WithJsonSchema

from router.application.queries import Page, encode_cursor
from router.application.replay import ReplayDraft, ReplayPlan
from router.domain.delivery import DeliveryStatus
from router.domain.errors import InvalidInput
from router.domain.event import AccountId, EventType
from router.domain.replay import (
    MAX_MATCHED,
    MAX_PER_SECOND,
    MAX_PERIOD,
    MAX_REASON_LENGTH,
    MIN_PER_SECOND,
    ReplayKind,
    ReplayState,
)
from router.ports import DeliveryFilter, Replay
from router.web.api.objects import PageObject
from router.web.api.params import DeliveryConditions, PageQuery, Text

ReasonText = Annotated[
    str | None,
    Field(
        max_length=MAX_REASON_LENGTH,
        description="Why, for the audit trail; no phone number.",
        examples=["CRM was down, ticket 4711"],
    ),
]


class _Body(BaseModel):
    model_config = ConfigDict(strict=True, extra="forbid", frozen=True)


class ReplayReason(_Body):
    """Why a delivery is sent again."""

    reason: ReasonText = None


class ReplayConditions(DeliveryConditions):
    """Which deliveries, as in their list. Needs `account_id`, `webhook_id` or `from`. Without `status` every end but
    success is meant. `to` is now at the latest, so that what comes later is not in it."""


class NewReplay(_Body):
    """Deliveries that are to be sent again, or events that matched nothing."""

    filter: ReplayConditions = Field(
        description=f"At most {MAX_PERIOD.days} days and {MAX_MATCHED:,} deliveries.",
        examples=[{"webhook_id": "wh_crm", "from": "2026-11-24T13:00:00Z", "to": "2026-11-24T15:00:00Z"}],
    )
    missing: bool = Field(
        default=False,
        description="Take events of the period that matched no webhook when they came, and match them again with "
        "today's definitions. The filter then needs `account_id` or `webhook_id`, and may hold `event_type` and the "
        "period.",
    )
    reason: ReasonText = None
    per_second: float | None = Field(
        default=None,
        ge=MIN_PER_SECOND,
        le=MAX_PER_SECOND,
        description="Deliveries that are made due each second; null: the setting `replay.per_second`.",
    )
    dry_run: bool = Field(default=False, description="Only count, and answer 200.")

    def draft(self, country: str) -> ReplayDraft:
        """Raises InvalidInput for what is wrong together."""
        try:
            where = self.filter.filter(country)
        except InvalidInput as error:
            raise InvalidInput(f"filter.{error.field}", error.message) from None
        return ReplayDraft(where=where, missing=self.missing, reason=self.reason, per_second=self.per_second)


class ReplayQuery(PageQuery):
    """Which replays."""

    account_id: Text | None = Field(default=None, description="Replays of this account.", examples=["1042"])

    def account(self) -> AccountId | None:
        return AccountId(self.account_id) if self.account_id else None


def _one_of(kind: type[StrEnum]) -> dict[str, Any]:
    return {"type": ["string", "null"], "enum": [*(each.value for each in kind), None]}


_TEXT: Final = {"type": ["string", "null"]}
_TIME: Final = {"type": "string", "format": "date-time"}
_FILTER: Final[dict[str, Any]] = {
    "account_id": _TEXT,
    "webhook_id": _TEXT,
    "event_type": _one_of(EventType),
    "status": _one_of(DeliveryStatus) | {"description": "null: every end but success."},
    "event_id": _TEXT,
    "call_id": _TEXT,
    "user_id": _TEXT,
    "number": _TEXT | {"description": "The digits that were searched for."},
    "from": _TIME,
    "to": _TIME,
}
FilterObject = Annotated[
    # No dataclass: "from" is no name of a field.
    dict[str, str | datetime | None],
    WithJsonSchema({"type": "object", "properties": _FILTER, "required": list(_FILTER), "additionalProperties": False}),
    Field(description="The filter with its period as it was closed."),
]


@dataclass(frozen=True, slots=True, kw_only=True)
class ReplayPreview:
    """What a replay would go through."""

    filter: FilterObject
    kind: ReplayKind
    matched: Annotated[int, Field(description="Deliveries, or missing events.", examples=[312])]


@dataclass(frozen=True, slots=True, kw_only=True)
class ReplayObject(ReplayPreview):
    """A replay and how far it is. It is done when `done` has come to `matched`."""

    id: Annotated[str, Field(description="Id of the replay.", examples=["rpl_aeaqcaibaeaqcaibaeaqcaib"])]
    reason: str | None
    per_second: Annotated[float, Field(examples=[20.0])]
    released: Annotated[int, Field(description="Of `matched`, how many were made due.", examples=[60])]
    skipped: Annotated[
        dict[str, int],
        Field(
            description="How many were passed over, by why: `payload_gone`, `webhook_deleted`, `pending` (already "
            "on its way), `too_many_attempts`, `changed` (sent, or left, since the replay was asked for), and of "
            "missing events `unmatched` (still) and `repeated` (sent by an earlier replay).",
            examples=[{"payload_gone": 2}],
        ),
    ]
    done: Annotated[int, Field(description="How many were attempted since, have ended, or were passed over.")]
    state: ReplayState
    created_by: Annotated[str, Field(examples=["token:4fQ0xZ9a"])]
    created_at: datetime
    finished_at: datetime | None


@dataclass(frozen=True, slots=True, kw_only=True)
class ReplayPage(PageObject):
    """A page of replays."""

    items: list[ReplayObject]


def preview_object(plan: ReplayPlan) -> ReplayPreview:
    return ReplayPreview(filter=_filter_object(plan.where), kind=plan.kind, matched=plan.matched)


def replay_object(replay: Replay) -> ReplayObject:
    return ReplayObject(
        id=replay.id,
        kind=replay.kind,
        filter=_filter_object(replay.where),
        reason=replay.reason,
        per_second=replay.per_second,
        matched=replay.matched,
        released=replay.released,
        skipped={why.value: count for why, count in replay.skipped.items()},
        done=replay.done,
        state=replay.state,
        created_by=replay.created_by,
        created_at=replay.created_at,
        finished_at=replay.finished_at,
    )


def replay_page(page: Page[Replay]) -> ReplayPage:
    items = [replay_object(replay) for replay in page.items]
    return ReplayPage(items=items, next_cursor=encode_cursor(page.next) if page.next else None, total=page.total)


def _filter_object(where: DeliveryFilter) -> dict[str, str | datetime | None]:
    return {
        "account_id": where.account_id,
        "webhook_id": where.webhook_id,
        "event_type": where.event_type,
        "status": where.status,
        "event_id": where.event_id,
        "call_id": where.call_id,
        "user_id": where.user_id,
        "number": where.number_prefix[::-1] if where.number_prefix is not None else None,
        "from": where.from_,
        "to": where.to,
    }
