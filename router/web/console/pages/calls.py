"""A call, or one event: what was received and when, where it went, where it did not and why. Reads through ports."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

from router.application import queries
from router.application.queries import EventReport, LaterLine, TraceLine
from router.domain.audit import AuditAction
from router.domain.delivery import DeliveryStatus
from router.domain.principal import Scope
from router.web.console.here import url_for
from router.web.console.language import N_
from router.web.console.page import Answer, Download, NoQuery, Page, Route, route
from router.web.console.pages.deliveries_one import payload_of
from router.web.console.pages.deliveries_words import words_for

MAX_ACCOUNTS: Final = 20
"""Accounts that a call id is offered in, where none was said."""
_NO_CALL: Final = N_(
    "No event of this call was received, or you may not see it. Ask the publisher, or look at the rejected messages."
)
_NO_EVENT: Final = N_(
    "No event with this id was received, or you may not see it. Ask the publisher, or look at the rejected messages."
)


class EventQuery(NoQuery):
    """`show=payload` shows the payload too."""

    show: str = ""


@route("GET", "/calls/{call_id}", Scope.READ, missing=_NO_CALL)
async def show_call(page: Page[NoQuery]) -> Answer | None:
    """The events of one conversation, in the order of reception."""
    if page.account is None:
        return await _choose_account(page, "/calls/{id}", calls=True)
    report = await queries.call_report(page.api.reader, page.account, page.id, with_payload=False)
    if report is None:
        return None
    return page.show(
        "calls/show.html",
        call_id=report.call_id,
        events=report.events,
        is_truncated=report.is_truncated,
        payload=None,
        outcome=outcome_of(report.events),
        words=lambda line: _words(page, line),
        account=report.account_id,
    )


@route("GET", "/events/{id}", Scope.READ, missing=_NO_EVENT)
async def show_event(page: Page[EventQuery]) -> Answer | None:
    """One event in the same way; its payload where that is asked for, which is a reveal."""
    if page.account is None:
        return await _choose_account(page, "/events/{id}", calls=False)
    wants_payload = page.query.show == "payload"
    report = await queries.event_report(page.api.reader, page.account, page.id, with_payload=wants_payload)
    if report is None:
        return None
    if wants_payload:
        await page.audit.note(AuditAction.EVENT_REVEALED, account_id=page.account, target=page.id)
    payload = report.event.payload
    return page.show(
        "calls/show.html",
        call_id=None,
        events=[report],
        is_truncated=False,
        payload=payload_of(payload) if payload is not None else None,
        wants_payload=wants_payload,
        outcome=outcome_of([report]),
        words=lambda line: _words(page, line),
        account=report.event.account_id,
    )


@route("GET", "/events/{id}/payload", Scope.READ, missing=_NO_EVENT)
async def download_event(page: Page[NoQuery]) -> Answer | None:
    """What was received, byte for byte, as a file."""
    event = await page.api.reader.event(page.account, page.id) if page.account else None
    if event is None or event.payload is None:
        return None
    await page.audit.note(AuditAction.EVENT_REVEALED, account_id=event.account_id, target=event.event_id)
    return Download(name=f"{event.key}.json", body=event.payload)


async def _choose_account(page: Page[NoQuery] | Page[EventQuery], path: str, *, calls: bool) -> Answer | None:
    """Ids are unique inside an account: on to the one that has it, or a choice between those that have."""
    reader = page.api.reader
    find = reader.find_events_of_call if calls else reader.find_events
    accounts = sorted({event.account_id for event in await find(page.id, None, MAX_ACCOUNTS)})
    if not accounts:
        return None
    if len(accounts) == 1:
        return page.redirect(url_for(path, id=page.id, account=accounts[0]))
    return page.show("calls/accounts.html", identity=page.id, path=path, accounts=accounts)


def outcome_of(events: Sequence[EventReport]) -> str:
    """What became of it all, in one word: `delivered`, `partly`, `waiting`, `failed`, or `unmatched`."""
    lines: list[TraceLine | LaterLine] = []
    for event in events:
        lines += [*event.trace, *event.later]
    statuses = [line.delivery.status for line in lines if line.delivery is not None]
    if not statuses:
        return "unmatched"
    if all(status is DeliveryStatus.DELIVERED for status in statuses):
        return "delivered"
    if DeliveryStatus.PENDING in statuses:
        return "waiting"
    return "partly" if DeliveryStatus.DELIVERED in statuses else "failed"


def _words(page: Page[NoQuery] | Page[EventQuery], line: TraceLine | LaterLine) -> str | None:
    """Why the newest attempt of a delivery failed."""
    delivery = line.delivery
    if delivery is None or delivery.status is DeliveryStatus.DELIVERED or not delivery.attempts:
        return None
    words = words_for(delivery.attempts[-1], delivery.url, page.language, page.fmt)
    return words.what if words else None


CALLS: Final[tuple[Route, ...]] = (show_call, show_event, download_event)
