"""Deliveries: the list with its period and filters, and what of it is taken away as CSV. Reads through ports."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Final

from router.application import queries
from router.application.queries import MAX_LIMIT, PageRequest, decode_cursor, encode_cursor
from router.domain.delivery import Delivery, DeliveryStatus
from router.domain.errors import InvalidInput
from router.domain.event import EventType
from router.domain.numbers import search_prefix
from router.domain.principal import Scope
from router.domain.webhook import Webhook, WebhookId
from router.ports import DeliveryFilter
from router.web.console.exports import csv_file
from router.web.console.here import url_for
from router.web.console.language import N_
from router.web.console.page import Answer, Download, NoQuery, Page, Route, route
from router.web.console.pages.deliveries_words import words_for
from router.web.console.periods import OFFERED, Period, Span, span_of

MAX_EXPORTED: Final = 10_000
"""Rows of one CSV file; more have to be taken away in several periods."""


class DeliveriesQuery(NoQuery):
    """What is looked for. Values that nobody could choose count as not chosen."""

    period: str | None = None
    from_: str | None = None
    to: str | None = None
    status: str = ""
    type: str = ""
    webhook: str = ""
    call: str = ""
    event: str = ""
    user: str = ""
    number: str = ""
    cursor: str | None = None
    separator: str = ""

    model_config = NoQuery.model_config | {"alias_generator": lambda name: name.rstrip("_")}


@dataclass(frozen=True, slots=True, kw_only=True)
class Chosen:
    """A search as it was read; `errors` are what is wrong by field, and then nothing is looked for."""

    where: DeliveryFilter
    span: Span
    errors: dict[str, str]


def _chosen(page: Page[DeliveriesQuery], webhook_id: str) -> Chosen:
    query = page.query
    is_narrow = bool(query.call or query.event or query.user or query.number)
    errors: dict[str, str] = {}
    try:
        otherwise = Period.ALL if is_narrow else Period.WEEK
        span = span_of(query.period, query.from_, query.to, otherwise, page.fmt)
    except InvalidInput as error:
        span = Span(period=Period.CUSTOM, from_text=query.from_ or "", to_text=query.to or "")
        errors["from"] = page.rule(error)
    prefix = None
    if query.number.strip():
        try:
            prefix = search_prefix(query.number, page.api.country)
        except ValueError:
            errors["number"] = page.gettext("Type a phone number in any format, or at least its last 4 digits.")
    where = DeliveryFilter(
        account_id=page.account,
        webhook_id=WebhookId(webhook_id) if webhook_id else None,
        event_type=EventType(query.type) if query.type in list(EventType) else None,
        status=DeliveryStatus(query.status) if query.status in list(DeliveryStatus) else None,
        event_id=query.event.strip() or None,
        call_id=query.call.strip() or None,
        user_id=query.user.strip() or None,
        number_prefix=prefix,
        from_=span.from_,
        to=span.to,
    )
    return Chosen(where=where, span=span, errors=errors)


async def _list(page: Page[DeliveriesQuery], webhook: Webhook | None) -> Answer:
    chosen = _chosen(page, webhook.id if webhook else page.query.webhook.strip())
    found: queries.Page[Delivery] = queries.Page(items=(), next=None)
    if not chosen.errors:
        after = decode_cursor(page.query.cursor) if page.query.cursor else None
        found = await queries.list_deliveries(page.api.reader, chosen.where, PageRequest(after=after))
    names = await page.api.reader.webhooks_by_id({delivery.webhook_id for delivery in found.items})
    return page.show(
        "deliveries/list.html",
        status=400 if chosen.errors else 200,
        webhook=webhook,
        deliveries=found.items,
        next=encode_cursor(found.next) if found.next else None,
        names={identity: named.name or identity for identity, named in names.items()},
        span=chosen.span,
        periods=[(period.value, page.gettext(text)) for period, text in OFFERED],
        statuses=list(DeliveryStatus),
        types=list(EventType),
        errors=chosen.errors,
        query=page.query,
        kept=[(name, value) for name, value in page.here.query if name not in {"period", "from", "to", "cursor"}],
        export=_export_address(page, webhook),
        first_delay=queries.first_delay,
        last_words=lambda delivery: _last_words(page, delivery),
        max_exported=MAX_EXPORTED,
        **({"account": webhook.account_id} if webhook else {}),
    )


def _export_address(page: Page[DeliveriesQuery], webhook: Webhook | None) -> str:
    kept = {name: value for name, value in page.here.query if name not in {"cursor", "webhook", "separator"} and value}
    return url_for("/deliveries.csv", **kept | {"webhook": webhook.id if webhook else page.query.webhook or None})


def _last_words(page: Page[DeliveriesQuery], delivery: Delivery) -> str | None:
    """Why the newest attempt failed, for a delivery that has not arrived."""
    if delivery.status is DeliveryStatus.DELIVERED or not delivery.attempts:
        return None
    words = words_for(delivery.attempts[-1], delivery.url, page.language, page.fmt)
    return words.what if words else None


@route("GET", "/deliveries", Scope.READ)
async def list_deliveries(page: Page[DeliveriesQuery]) -> Answer:
    """Deliveries to whichever webhook."""
    return await _list(page, None)


@route("GET", "/webhooks/{id}/deliveries", Scope.READ, missing=N_("No webhook has this id, or you may not see it."))
async def list_of_webhook(page: Page[DeliveriesQuery]) -> Answer | None:
    """Deliveries to one webhook; a deleted one has its log still."""
    webhook = await page.api.reader.webhook(WebhookId(page.id))
    if webhook is None:
        where = DeliveryFilter(account_id=page.account, webhook_id=WebhookId(page.id))
        is_known = await page.api.reader.deliveries(where, after=None, limit=1)
        return page.redirect(url_for("/deliveries", webhook=page.id)) if is_known else None
    return await _list(page, webhook)


# --- CSV -------------------------------------------------------------------------------------------

COLUMNS: Final = (
    N_("Received"), N_("Status"), N_("Reason"), N_("Event type"), N_("Event"), N_("Event id"), N_("Call"), N_("User"),
    N_("Numbers (last digits)"), N_("Account"), N_("Webhook"), N_("Attempts"), N_("Delay (ms)"), N_("HTTP status"),
    N_("Error"), N_("Completed"), N_("Delivery"),
)  # fmt: skip


@route("GET", "/deliveries.csv", Scope.READ)
async def export_deliveries(page: Page[DeliveriesQuery]) -> Answer:
    """What the list shows, without its pages. Read in bounded steps and sent whole: a store that goes away in the
    middle makes an error, and no half of a file."""
    chosen = _chosen(page, page.query.webhook.strip())
    if chosen.errors:
        raise InvalidInput(*next(iter(chosen.errors.items())))
    rows: list[Sequence[str]] = []
    request = PageRequest(limit=MAX_LIMIT)
    while len(rows) < MAX_EXPORTED:
        found = await queries.list_deliveries(page.api.reader, chosen.where, request)
        rows += [_row(page, delivery) for delivery in found.items]
        request = replace(request, after=found.next)
        if found.next is None:
            break
    part = "-part" if request.after is not None or len(rows) > MAX_EXPORTED else ""
    day = page.fmt.now.astimezone(page.fmt.zone).strftime("%Y-%m-%d")
    delimiter = ";" if page.query.separator == "semicolon" else ","
    body = csv_file([page.gettext(column) for column in COLUMNS], rows[:MAX_EXPORTED], delimiter)
    return Download(name=f"deliveries-{day}{part}.csv", body=body, content_type="text/csv; charset=utf-8")


def _row(page: Page[DeliveriesQuery], delivery: Delivery) -> Sequence[str]:
    last = delivery.attempts[-1] if delivery.attempts else None
    delay = queries.first_delay(delivery)
    words = words_for(last, delivery.url, page.language, page.fmt) if last is not None else None
    cells = (
        delivery.created_at.astimezone(page.fmt.zone).isoformat(timespec="milliseconds"),
        page.label(delivery.status),
        page.label(delivery.reason) if delivery.reason else None,
        page.label(delivery.event_type),
        delivery.event_name,
        delivery.event_id,
        delivery.call_id,
        delivery.user_id,
        " ".join(f"…{ending}" for ending in delivery.number_endings),
        delivery.account_id,
        delivery.webhook_id,
        delivery.attempt_count,
        None if delay is None else round(delay.total_seconds() * 1000),
        last.status_code if last else None,
        words.what if words else None,
        delivery.completed_at.astimezone(page.fmt.zone).isoformat(timespec="milliseconds")
        if delivery.completed_at
        else None,
        delivery.id,
    )
    return ["" if cell is None else str(cell) for cell in cells]


DELIVERIES: Final[tuple[Route, ...]] = (list_deliveries, list_of_webhook, export_deliveries)
