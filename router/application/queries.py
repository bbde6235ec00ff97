"""What people look up, put together for them: pages of lists, a webhook with its counts, the story of an event.

Reads through `ports.Reader` only and changes nothing; knows neither HTTP nor JSON.
"""

from __future__ import annotations

import re
from base64 import b64decode, urlsafe_b64encode
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Final, Generic, TypeVar

from router.domain.delivery import Delivery
from router.domain.errors import InvalidInput
from router.domain.event import AccountId, EventType
from router.domain.matching import Verdict
from router.domain.principal import Principal
from router.domain.token import Token
from router.domain.webhook import Webhook, WebhookId, WebhookState
from router.ports import (
    UNDATED,
    AuditFilter,
    AuditReader,
    AuditRecord,
    DeliveryCounts,
    DeliveryFilter,
    Position,
    Reader,
    Replay,
    Replayed,
    ReplayStore,
    StoredAccount,
    StoredDeadLetter,
    StoredEvent,
    TokenStore,
)

DEFAULT_LIMIT: Final = 50
MAX_LIMIT: Final = 200
MAX_EVENTS_OF_CALL: Final = 100
MAX_OTHER_WEBHOOKS: Final = 200
"""The newest webhooks of an account, among which are those that a trace does not name."""
SCAN_STEP: Final = 200
"""Webhooks read at once while looking for those in one state."""
MAX_SCANNED: Final = 5_000
"""Webhooks that one page looks through for those in one state; the page then ends early, with a cursor."""

_EPOCH: Final = datetime(1970, 1, 1, tzinfo=UTC)
_MILLISECOND: Final = timedelta(milliseconds=1)
_CURSOR: Final = re.compile(r"(-?[0-9]{1,15}):(.*)", re.DOTALL)

T = TypeVar("T")


# --- pages -----------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True, kw_only=True)
class PageRequest:
    """Which part of a list is wanted. `with_total` costs a count over everything that matches."""

    limit: int = DEFAULT_LIMIT
    after: Position | None = None
    with_total: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class Page(Generic[T]):
    """A part of a list. `next` is None at its end; `total` counts the whole list, where that was asked for."""

    items: Sequence[T]
    next: Position | None
    total: int | None = None


def encode_cursor(position: Position) -> str:
    """A position as callers carry it from page to page: opaque, and safe in a URL."""
    milliseconds = (position.at - _EPOCH) // _MILLISECOND
    return urlsafe_b64encode(f"{milliseconds}:{position.id}".encode()).decode("ascii").rstrip("=")


def decode_cursor(cursor: str) -> Position:
    """Raises InvalidInput for what `encode_cursor` did not make."""
    try:
        text = b64decode(cursor + "=" * (-len(cursor) % 4), altchars=b"-_", validate=True).decode()
        parts = _CURSOR.fullmatch(text)
        position = Position(at=_EPOCH + int(parts[1]) * _MILLISECOND, id=parts[2]) if parts else None
    except (ValueError, OverflowError):
        position = None
    if position is None or encode_cursor(position) != cursor:
        raise InvalidInput("cursor", "must be the next_cursor of an earlier page")
    return position


async def _page(
    request: PageRequest,
    fetch: Callable[[Position | None, int], Awaitable[Sequence[T]]],
    count: Callable[[], Awaitable[int]],
    position: Callable[[T], Position],
) -> Page[T]:
    # One more than asked for: whether it is there says whether a next page is.
    found = await fetch(request.after, request.limit + 1)
    total = await count() if request.with_total else None

    items = found[: request.limit]
    return Page(items=items, next=position(items[-1]) if len(found) > len(items) else None, total=total)


# --- accounts and webhooks -------------------------------------------------------------------------


@dataclass(frozen=True, slots=True, kw_only=True)
class WebhookFilter:
    """Which webhooks to list; None leaves a dimension open."""

    account_id: AccountId | None = None
    event_type: EventType | None = None
    state: WebhookState | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class WebhookReport:
    """A webhook, and how its deliveries went over the log that is kept."""

    webhook: Webhook
    deliveries: DeliveryCounts


async def find_account(reader: Reader, account_id: AccountId) -> StoredAccount:
    """An account's switch. One that was never stored is off, for that is how events are matched."""
    return await reader.account(account_id) or StoredAccount(id=account_id, webhooks_enabled=False)


def state_reason(webhook: Webhook) -> str | None:
    """Why a webhook is `invalid` (a sentence) or `suspended` (`gone` or `failing`); None in the other states."""
    if webhook.problem is not None:
        return webhook.problem
    if webhook.state is WebhookState.SUSPENDED and webhook.suspension is not None:
        return webhook.suspension.reason.value
    return None


async def find_webhook(reader: Reader, webhook_id: WebhookId) -> WebhookReport | None:
    webhook = await reader.webhook(webhook_id)
    if webhook is None:
        return None
    counts = await reader.delivery_counts([webhook.id])
    return WebhookReport(webhook=webhook, deliveries=counts[webhook.id])


async def list_webhooks(reader: Reader, where: WebhookFilter, request: PageRequest) -> Page[WebhookReport]:
    """A page of webhooks. By state, it may hold fewer than asked for although `next` leads on."""
    if where.state is None:
        page = await _page(
            request,
            lambda after, limit: reader.webhooks(
                account_id=where.account_id, event_type=where.event_type, after=after, limit=limit
            ),
            lambda: reader.count_webhooks(account_id=where.account_id, event_type=where.event_type),
            _webhook_position,
        )
    else:
        page = await _page_in_state(reader, where, request)

    counts = await reader.delivery_counts([webhook.id for webhook in page.items])
    reports = [WebhookReport(webhook=webhook, deliveries=counts[webhook.id]) for webhook in page.items]
    return Page(items=reports, next=page.next, total=page.total)


async def _page_in_state(reader: Reader, where: WebhookFilter, request: PageRequest) -> Page[Webhook]:
    # The state follows from rules (is the URL one, are the numbers numbers) that the store does not know.
    found, end = await _scan(reader, where, request.after, enough=request.limit + 1, at_most=MAX_SCANNED)
    total = len((await _scan(reader, where, None))[0]) if request.with_total else None

    items = found[: request.limit]
    return Page(items=items, next=_webhook_position(items[-1]) if len(found) > len(items) else end, total=total)


async def _scan(
    reader: Reader,
    where: WebhookFilter,
    after: Position | None,
    *,
    enough: int | None = None,
    at_most: int | None = None,
) -> tuple[list[Webhook], Position | None]:
    """Webhooks in the wanted state after a position, and where looking ended: None at the end of all."""
    found: list[Webhook] = []
    scanned = 0
    while (enough is None or len(found) < enough) and (at_most is None or scanned < at_most):
        batch = await reader.webhooks(
            account_id=where.account_id, event_type=where.event_type, after=after, limit=SCAN_STEP
        )
        found += [webhook for webhook in batch if webhook.state is where.state]
        if len(batch) < SCAN_STEP:
            return found, None
        scanned += len(batch)
        after = _webhook_position(batch[-1])
    return found, after


def _webhook_position(webhook: Webhook) -> Position:
    return Position(at=webhook.created_at or UNDATED, id=webhook.id)


# --- deliveries, dead letters, tokens and replays -----------------------------------------------------------


async def list_deliveries(reader: Reader, where: DeliveryFilter, request: PageRequest) -> Page[Delivery]:
    return await _page(
        request,
        lambda after, limit: reader.deliveries(where, after=after, limit=limit),
        lambda: reader.count_deliveries(where),
        lambda delivery: Position(at=delivery.created_at, id=delivery.id),
    )


async def list_dead_letters(reader: Reader, request: PageRequest) -> Page[StoredDeadLetter]:
    return await _page(
        request,
        lambda after, limit: reader.dead_letters(after=after, limit=limit),
        reader.count_dead_letters,
        lambda letter: Position(at=letter.received_at, id=letter.id),
    )


async def list_tokens(store: TokenStore, by: Principal, request: PageRequest) -> Page[Token]:
    """A page of the tokens that a principal sees, those that are over among them."""
    return await _page(
        request,
        lambda after, limit: store.tokens(account_id=by.account_id, after=after, limit=limit),
        lambda: store.count_tokens(account_id=by.account_id),
        lambda token: Position(at=token.created_at, id=token.id),
    )


async def list_replays(replays: ReplayStore, account_id: AccountId | None, request: PageRequest) -> Page[Replay]:
    return await _page(
        request,
        lambda after, limit: replays.replays(account_id=account_id, after=after, limit=limit),
        lambda: replays.count_replays(account_id=account_id),
        lambda replay: Position(at=replay.created_at, id=replay.id),
    )


# --- events and calls ------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True, kw_only=True)
class TraceLine:
    """What was decided about one webhook when the event came, the webhook as it is now (None: deleted since),
    and the delivery that followed (None: it did not match, or the log is no longer kept)."""

    webhook_id: WebhookId
    verdict: Verdict
    webhook: Webhook | None
    delivery: Delivery | None

    @property
    def delay(self) -> timedelta | None:
        """From the reception to the first attempt; None where there was none, or where it is not in the list."""
        return None if self.delivery is None else first_delay(self.delivery)


def first_delay(delivery: Delivery) -> timedelta | None:
    first = next(iter(delivery.attempts), None)
    return first.started_at - delivery.created_at if first is not None and first.number == 1 else None


@dataclass(frozen=True, slots=True, kw_only=True)
class LaterLine:
    """A webhook that the event was sent to later, by a replay, and the delivery (None: the log is no longer kept)."""

    replayed: Replayed
    webhook: Webhook | None
    delivery: Delivery | None


@dataclass(frozen=True, slots=True, kw_only=True)
class EventReport:
    """What was received, for every webhook of the account why it was delivered to it or not, and what replays did."""

    event: StoredEvent
    trace: Sequence[TraceLine]
    later: Sequence[LaterLine] = ()
    others: Sequence[Webhook] = ()
    """Webhooks of the account that the trace does not name: made since, or left out of a trace that was cut."""

    @property
    def upstream(self) -> timedelta | None:
        """From what happened, by the publisher's clock, to its reception."""
        event = self.event
        return None if event.occurred_at is None else event.received_at - event.occurred_at


@dataclass(frozen=True, slots=True, kw_only=True)
class CallReport:
    """The events of one conversation, in the order of reception; `is_truncated` when there were more."""

    account_id: AccountId
    call_id: str
    events: Sequence[EventReport]
    is_truncated: bool


async def event_report(
    reader: Reader, account_id: AccountId, event_id: str, *, with_payload: bool = True
) -> EventReport | None:
    event = await reader.event(account_id, event_id, with_payload=with_payload)
    if event is None:
        return None
    return (await _reports(reader, [event]))[0]


async def call_report(
    reader: Reader, account_id: AccountId, call_id: str, *, with_payload: bool = True
) -> CallReport | None:
    """None where no event of the account had this call id."""
    events = await reader.events_of_call(account_id, call_id, MAX_EVENTS_OF_CALL + 1, with_payload=with_payload)
    if not events:
        return None
    return CallReport(
        account_id=account_id,
        call_id=call_id,
        events=await _reports(reader, events[:MAX_EVENTS_OF_CALL]),
        is_truncated=len(events) > MAX_EVENTS_OF_CALL,
    )


async def _reports(reader: Reader, events: Sequence[StoredEvent]) -> list[EventReport]:
    named = {webhook_id for event in events for webhook_id, _ in event.trace}
    named |= {later.webhook_id for event in events for later in event.replayed}
    webhooks = await reader.webhooks_by_id(named)
    deliveries = await reader.deliveries_of_events(events)
    of_account = await reader.webhooks(
        account_id=events[0].account_id, event_type=None, after=None, limit=MAX_OTHER_WEBHOOKS
    )

    reports = []
    for event in events:
        by_webhook = {delivery.webhook_id: delivery for delivery in deliveries[event.key]}
        trace = [
            TraceLine(
                webhook_id=webhook_id,
                verdict=verdict,
                webhook=webhooks.get(webhook_id),
                delivery=by_webhook.get(webhook_id) if verdict is Verdict.MATCHED else None,
            )
            for webhook_id, verdict in event.trace
        ]
        later = [
            LaterLine(replayed=each, webhook=webhooks.get(each.webhook_id), delivery=by_webhook.get(each.webhook_id))
            for each in event.replayed
        ]
        told = {*(webhook_id for webhook_id, _ in event.trace), *(each.webhook_id for each in event.replayed)}
        others = [webhook for webhook in of_account if webhook.id not in told]
        reports.append(EventReport(event=event, trace=trace, later=later, others=others))
    return reports


# --- the audit trail -------------------------------------------------------------------------------


async def list_audit(reader: AuditReader, where: AuditFilter, request: PageRequest) -> Page[AuditRecord]:
    return await _page(
        request,
        fetch=lambda after, limit: reader.entries(where, after=after, limit=limit),
        count=lambda: reader.count_entries(where),
        position=lambda record: Position(at=record.entry.at, id=record.id),
    )
