"""Replays: what is sent again in bulk, how far it is, and the form for more, which counts before it sends.

Reads through ports; what is sent again is asked for through the same use cases as in the API.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum
from typing import Final, TypeVar

from router.application import queries, replay
from router.application.queries import PageRequest, decode_cursor, encode_cursor
from router.application.replay import ReplayDraft, ReplayPlan
from router.domain.delivery import DeliveryStatus
from router.domain.errors import Conflict, InvalidInput, OutOfSight
from router.domain.event import AccountId, EventType
from router.domain.principal import Scope
from router.domain.replay import MAX_OUTSTANDING, MAX_PER_SECOND, MAX_PERIOD, MIN_PER_SECOND, ReplayId, ReplayKind
from router.domain.webhook import WebhookId
from router.ports import DeliveryFilter
from router.web.console.here import url_for
from router.web.console.language import N_
from router.web.console.page import Answer, NoQuery, Page, Route, Shown, route
from router.web.console.pages.replays_one import ONE

_Kind = TypeVar("_Kind", bound=StrEnum)

REFRESH_SECONDS: Final = 3
"""How often a page of a replay that runs loads itself again."""
FIELD_FORMAT: Final = "%Y-%m-%dT%H:%M"
"""What fields of the kind datetime-local hold."""
MISSING: Final = ReplayKind.MISSING.value
NO_REPLAY: Final = N_("No replay has this id.")
LABELS: Final[Mapping[str, str]] = {
    "account_id": N_("Account"),
    "webhook": N_("Webhook"),
    "status": N_("How they ended"),
    "event_type": N_("Type of event"),
    "from": N_("From"),
    "to": N_("To"),
    "reason": N_("Reason"),
    "per_second": N_("How many a second"),
}
_FIELDS: Final[Mapping[str, str]] = {
    "filter": "webhook",
    "filter.account_id": "account_id",
    "filter.webhook_id": "webhook",
    "filter.event_type": "event_type",
    "filter.from": "from",
    "filter.status": "status",
}
"""In which field of the form the domain's rules are broken."""


class ReplaysQuery(NoQuery):
    """Which part of the list."""

    cursor: str | None = None


# --- looking ---------------------------------------------------------------------------------------


@route("GET", "/replays", Scope.REPLAY)
async def list_replays(page: Page[ReplaysQuery]) -> Answer:
    """The replays of an account, or all of them."""
    after = decode_cursor(page.query.cursor) if page.query.cursor else None
    found = await queries.list_replays(page.api.replays, page.account, PageRequest(after=after, with_total=True))
    named = {each.where.webhook_id for each in found.items if each.where.webhook_id is not None}
    return page.show(
        "replays/list.html",
        replays=found.items,
        webhooks=await page.api.reader.webhooks_by_id(named),
        total=found.total,
        next=encode_cursor(found.next) if found.next else None,
    )


@route("GET", "/replays/{id}", Scope.REPLAY, missing=NO_REPLAY)
async def show_replay(page: Page[NoQuery]) -> Answer | None:
    """One replay: what it is about, and how far it is."""
    found = await page.api.replays.replay(ReplayId(page.id))
    if found is None:
        return None
    webhook_id = found.where.webhook_id
    return page.show(
        "replays/show.html",
        account=found.where.account_id,
        replay=found,
        webhook=await page.api.reader.webhook(webhook_id) if webhook_id else None,
        refresh_seconds=REFRESH_SECONDS,
        outstanding=MAX_OUTSTANDING,
    )


@route("POST", "/replays/{id}/cancel", Scope.REPLAY, missing=NO_REPLAY)
async def cancel_replay(page: Page[NoQuery]) -> Answer | None:
    """Release nothing more of a replay."""
    found = await replay.cancel_replay(page.api.replays, ReplayId(page.id), now=page.api.now(), audit=page.audit)
    notice = page.gettext("The replay is cancelled. What was released already is sent.")
    return page.redirect(url_for("/replays/{id}", id=page.id), notice=notice) if found else None


# --- asking for one --------------------------------------------------------------------------------


class NewReplayQuery(NoQuery):
    """The form as it was filled in. With `count` it is looked at; without, it is only shown, as links fill it in."""

    account_id: str = ""
    webhook: str = ""
    kind: str = ReplayKind.DELIVERIES.value
    status: str = ""
    event_type: str = ""
    from_: str = ""
    to: str = ""
    count: str = ""

    model_config = NoQuery.model_config | {"alias_generator": lambda name: name.rstrip("_")}


@dataclass(frozen=True, slots=True, kw_only=True)
class Typed:
    """What was typed, wherever it was typed."""

    account_id: str = ""
    webhook: str = ""
    kind: str = ReplayKind.DELIVERIES.value
    status: str = ""
    event_type: str = ""
    from_: str = ""
    to: str = ""
    reason: str = ""
    per_second: str = ""

    def draft(self, fmt_now: datetime) -> ReplayDraft:
        """What is asked for; times are on the clock of `fmt_now`. Raises InvalidInput for what cannot be read."""
        return ReplayDraft(
            where=DeliveryFilter(
                account_id=AccountId(self.account_id) if self.account_id else None,
                webhook_id=WebhookId(self.webhook) if self.webhook else None,
                status=_choice(DeliveryStatus, self.status) if self.kind != MISSING else None,
                event_type=_choice(EventType, self.event_type),
                from_=_moment("from", self.from_, fmt_now),
                to=_moment("to", self.to, fmt_now),
            ),
            missing=self.kind == MISSING,
            reason=self.reason or None,
            per_second=_rate(self.per_second),
        )


def _choice(kind: type[_Kind], text: str) -> _Kind | None:
    return kind(text) if text in list(kind) else None


def _moment(field: str, text: str, fmt_now: datetime) -> datetime | None:
    if not text:
        return None
    try:
        moment = datetime.fromisoformat(text)
    except ValueError:
        raise InvalidInput(field, "must be a date and time") from None
    return moment if moment.tzinfo else moment.replace(tzinfo=fmt_now.tzinfo)


def _rate(text: str) -> float | None:
    if not text:
        return None
    try:
        return float(text.replace(",", "."))
    except ValueError:
        raise InvalidInput("per_second", f"must be from {MIN_PER_SECOND} to {MAX_PER_SECOND:.0f}") from None


@route("GET", "/replays/new", Scope.REPLAY)
async def ask_for_replay(page: Page[NewReplayQuery]) -> Answer:
    """The form, and with `count` how much it would be. Nothing is sent by looking at it."""
    query = page.query
    typed = Typed(
        account_id=query.account_id or page.account or "",
        webhook=query.webhook,
        kind=query.kind if query.kind in list(ReplayKind) else ReplayKind.DELIVERIES.value,
        status=query.status,
        event_type=query.event_type,
        from_=query.from_,
        to=query.to,
    )
    return await _form(page, typed, counts=bool(query.count))


@route("POST", "/replays/new", Scope.REPLAY)
async def start_replay(page: Page[NewReplayQuery]) -> Answer:
    """Send again what was counted."""
    names = [name for name in Typed.__dataclass_fields__ if name != "from_"]
    typed = Typed(**{name: page.form.get(name).strip() for name in names}, from_=page.form.get("from").strip())
    try:
        started = await replay.start_replay(
            page.api.replays,
            page.api.reader,
            typed.draft(page.fmt.now.astimezone(page.fmt.zone)),
            default_per_second=page.api.replay_rate,
            by=page.principal,
            now=page.api.now(),
            randomness=page.api.randomness,
            audit=page.audit,
        )
    except (InvalidInput, OutOfSight, Conflict) as error:
        return await _form(page, typed, counts=True, error=error)
    return page.redirect(url_for("/replays/{id}", id=started.id), notice=page.gettext("The replay has begun."))


async def _form(
    page: Page[NewReplayQuery],
    typed: Typed,
    *,
    counts: bool,
    error: InvalidInput | OutOfSight | Conflict | None = None,
) -> Shown:
    plan: ReplayPlan | None = None
    if counts:
        try:
            draft = typed.draft(page.fmt.now.astimezone(page.fmt.zone))
            plan = await replay.plan_replay(
                page.api.replays, page.api.reader, draft, by=page.principal, now=page.api.now()
            )
        except (InvalidInput, OutOfSight) as found:
            error = error or found
    errors = {} if error is None else {_field(error): _told(page, error)}
    account = AccountId(typed.account_id) if typed.account_id else None
    return page.show(
        "replays/new.html",
        status=409 if isinstance(error, Conflict) else 400 if errors else 200,
        **({"account": account} if account else {}),
        typed=typed,
        plan=plan,
        errors=errors,
        labels={name: page.gettext(text) for name, text in LABELS.items()},
        webhook=await page.api.reader.webhook(WebhookId(typed.webhook)) if typed.webhook else None,
        statuses=[each for each in DeliveryStatus if each is not DeliveryStatus.PENDING],
        event_types=list(EventType),
        usual_rate=page.api.replay_rate,
        most_days=MAX_PERIOD.days,
    )


def _field(error: InvalidInput | OutOfSight | Conflict) -> str:
    match error:
        case InvalidInput(field=field):
            return _FIELDS.get(field, field)
        case OutOfSight():
            return "webhook"
        case _:
            return "account_id"


def _told(page: Page[NewReplayQuery], error: InvalidInput | OutOfSight | Conflict) -> str:
    match error:
        case InvalidInput():
            return page.rule(error)
        case OutOfSight():
            return page.gettext("No webhook has this id.")
        case _:
            return page.gettext("So many replays of this account run already that this one has to wait.")


REPLAYS: Final[tuple[Route, ...]] = (list_replays, ask_for_replay, start_replay, show_replay, cancel_replay, *ONE)
