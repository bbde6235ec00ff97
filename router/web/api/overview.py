"""The endpoints that look over everything, search and health, with their JSON objects. They change nothing."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Annotated, Final

from pydantic import Field

from router.application import overview
from router.application import search as searching
from router.application.overview import Ailing, Ailment, HealthReport
from router.application.search import HitKind, SearchKind, SearchReport
from router.domain.event import AccountId
from router.domain.principal import Scope
from router.domain.webhook import WebhookState
from router.web.api.endpoints import Api, Call, Endpoint, endpoint
from router.web.api.objects import AccountIdText, AttemptObject, WebhookIdText
from router.web.api.params import NoQuery, SearchQuery
from router.web.api.views import attempt_object

# --- search ----------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True, kw_only=True)
class HitObject:
    """One thing that was found; `GET` shows it by its id, an event and a call with their account."""

    kind: HitKind
    id: Annotated[str, Field(examples=["call-91"])]
    account_id: AccountIdText | None
    name: Annotated[str | None, Field(description="Of the event, or of the webhook.", examples=["call.received"])]
    status: Annotated[
        str | None,
        Field(
            description="Of a delivery or a webhook; `matched` or `unmatched` of an event, `enabled` or `disabled` of "
            "an account, the reason of a dead letter.",
            examples=["delivered"],
        ),
    ]
    at: Annotated[datetime | None, Field(description="When it was received, or created.")]
    webhook_id: Annotated[str | None, Field(description="Where a delivery goes.", examples=["wh_crm"])]


@dataclass(frozen=True, slots=True, kw_only=True)
class GroupObject:
    """What was found where the text is taken for one thing."""

    kind: Annotated[SearchKind, Field(description="What the text was taken for.")]
    items: list[HitObject]
    has_more: Annotated[bool, Field(description="Whether there are more than these 20.")]


@dataclass(frozen=True, slots=True, kw_only=True)
class SearchObject:
    """What a text may be, and what was found."""

    tried: Annotated[list[SearchKind], Field(description="What the text was taken for, the likeliest first.")]
    groups: Annotated[list[GroupObject], Field(description="Those that found something.")]


def search_object(report: SearchReport) -> SearchObject:
    groups = [
        GroupObject(
            kind=group.kind,
            items=[
                HitObject(
                    kind=hit.kind,
                    id=hit.id,
                    account_id=hit.account_id,
                    name=hit.name,
                    status=hit.status,
                    at=hit.at,
                    webhook_id=hit.webhook_id,
                )
                for hit in group.hits
            ],
            has_more=group.has_more,
        )
        for group in report.groups
    ]
    return SearchObject(tried=list(report.tried), groups=groups)


@endpoint("GET", "/v1/search", Scope.READ)
async def search(api: Api, call: Call[SearchQuery, None]) -> SearchObject:
    """Find whatever was pasted: a call, an event, a delivery, a phone number, a user, a webhook, its host, a replay, an
    account.

    Neither payloads nor numbers are shown, so this leaves no entry in the audit trail.
    """
    account_id = AccountId(call.query.account_id) if call.query.account_id else None
    sources = searching.Sources(reader=api.reader, replays=api.replays)
    return search_object(await searching.search(sources, call.query.q, account_id=account_id, country=api.country))


# --- health ----------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True, kw_only=True)
class ProcessObject:
    """What the process that answers sees itself; null where it has nothing to do with it."""

    store: Annotated[bool | None, Field(description="The store answers.")]
    broker: Annotated[bool | None, Field(description="Every source consumes.")]
    definitions: Annotated[bool | None, Field(description="The definitions are in memory.")]
    workers: Annotated[bool | None, Field(description="Every worker process works.")]


@dataclass(frozen=True, slots=True, kw_only=True)
class AilmentObject:
    """A webhook that fails or was suspended."""

    webhook_id: WebhookIdText
    account_id: AccountIdText
    name: Annotated[str, Field(examples=["CRM"])]
    state: WebhookState
    failing_since: Annotated[datetime | None, Field(description="Since then, nothing was delivered.")]
    suspended_at: datetime | None
    suspended_reason: Annotated[str | None, Field(description="`gone` or `failing`.", examples=["gone"])]
    last_error: Annotated[AttemptObject | None, Field(description="null: none of its newest 5 deliveries has one.")]
    delivery_id: Annotated[str | None, Field(description="The delivery of that attempt.")]


@dataclass(frozen=True, slots=True, kw_only=True)
class AilingObject:
    """Webhooks in trouble."""

    items: list[AilmentObject]
    has_more: Annotated[bool, Field(description="Whether there are more than these 20.")]


@dataclass(frozen=True, slots=True, kw_only=True)
class PendingObject:
    """What is not over."""

    count: Annotated[int, Field(description="Pending deliveries; 10 000 stands for more.", examples=[12])]
    due: Annotated[int, Field(description="Of these, what could be attempted now; 10 000 stands for more.")]
    due_since: Annotated[datetime | None, Field(description="Since when the first of it waits.")]
    oldest_delivery_id: Annotated[
        str | None, Field(description="Pending for longest: exact up to 1000, else among those due first and last.")
    ]
    oldest_received_at: datetime | None


@dataclass(frozen=True, slots=True, kw_only=True)
class LetterCountObject:
    """The dead letters of one reason."""

    reason: Annotated[str, Field(examples=["not_json"])]
    total: int
    open: Annotated[int, Field(description="Of these, what was never requeued.")]
    newest_at: datetime


@dataclass(frozen=True, slots=True, kw_only=True)
class HealthObject:
    """What those who run the router look at first."""

    at: datetime
    process: ProcessObject
    failing: AilingObject
    suspended: AilingObject
    pending: PendingObject
    dead_letters: Sequence[LetterCountObject]


def health_object(report: HealthReport) -> HealthObject:
    process, pending = report.process, report.pending
    return HealthObject(
        at=report.at,
        process=ProcessObject(
            store=process.store, broker=process.broker, definitions=process.definitions, workers=process.workers
        ),
        failing=_ailing_object(report.failing),
        suspended=_ailing_object(report.suspended),
        pending=PendingObject(
            count=pending.count,
            due=pending.due,
            due_since=pending.due_since,
            oldest_delivery_id=pending.oldest.id if pending.oldest else None,
            oldest_received_at=pending.oldest.created_at if pending.oldest else None,
        ),
        dead_letters=[
            LetterCountObject(reason=count.reason, total=count.total, open=count.open, newest_at=count.newest_at)
            for count in report.dead_letters
        ],
    )


def _ailing_object(ailing: Ailing) -> AilingObject:
    return AilingObject(items=[_ailment_object(each) for each in ailing.items], has_more=ailing.has_more)


def _ailment_object(ailment: Ailment) -> AilmentObject:
    webhook, suspension = ailment.webhook, ailment.webhook.suspension
    return AilmentObject(
        webhook_id=webhook.id,
        account_id=webhook.account_id,
        name=webhook.name,
        state=webhook.state,
        failing_since=webhook.failing_since,
        suspended_at=suspension.since if suspension else None,
        suspended_reason=suspension.reason.value if suspension else None,
        last_error=attempt_object(ailment.last_error) if ailment.last_error else None,
        delivery_id=ailment.delivery_id,
    )


@endpoint("GET", "/v1/health", Scope.READ, missing="health is of the router as a whole, and not of one account")
async def get_health(api: Api, call: Call[NoQuery, None]) -> HealthObject:
    """Show what fails and what waits: webhooks, pending deliveries, dead letters, and this process.

    A token of one account gets a 404.
    """
    return health_object(await overview.health_report(api.reader, api.checks(), api.now()))


OVERVIEW: Final[tuple[Endpoint, ...]] = (search, get_health)
