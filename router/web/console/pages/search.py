"""The search: one box, what the text was taken for, and what was found. Reads through ports."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

from router.application.search import Hit, HitKind, SearchKind, SearchReport, Sources, search
from router.domain.delivery import DeliveryStatus
from router.domain.errors import InvalidInput
from router.domain.principal import Scope
from router.domain.webhook import WebhookState
from router.web.console.here import url_for
from router.web.console.labels import Labels, Tone
from router.web.console.language import N_
from router.web.console.page import Answer, NoQuery, Page, Route, route

TAKEN_FOR: Final[Mapping[SearchKind, str]] = {
    SearchKind.DELIVERY: N_("the id of a delivery"),
    SearchKind.CALL: N_("the id of a call"),
    SearchKind.EVENT: N_("the id of an event"),
    SearchKind.NUMBER: N_("a phone number"),
    SearchKind.USER: N_("the id of a user"),
    SearchKind.WEBHOOK: N_("the id of a webhook"),
    SearchKind.HOST: N_("the host of a URL"),
    SearchKind.ACCOUNT: N_("an account"),
    SearchKind.DEAD_LETTER: N_("the id of a rejected message"),
    SearchKind.REPLAY: N_("the id of a replay"),
}
HEADINGS: Final[Mapping[SearchKind, str]] = {
    SearchKind.DELIVERY: N_("Delivery"),
    SearchKind.CALL: N_("Call"),
    SearchKind.EVENT: N_("Event"),
    SearchKind.NUMBER: N_("Deliveries with this number"),
    SearchKind.USER: N_("Deliveries of this user's events"),
    SearchKind.WEBHOOK: N_("Webhook"),
    SearchKind.HOST: N_("Webhooks on this host"),
    SearchKind.ACCOUNT: N_("Account"),
    SearchKind.DEAD_LETTER: N_("Rejected message"),
    SearchKind.REPLAY: N_("Replay"),
}
ADDRESSES: Final[Mapping[HitKind, str]] = {
    HitKind.DELIVERY: "/deliveries/{id}",
    HitKind.CALL: "/calls/{id}",
    HitKind.EVENT: "/events/{id}",
    HitKind.WEBHOOK: "/webhooks/{id}",
    HitKind.ACCOUNT: "/webhooks",
    HitKind.DEAD_LETTER: "/dead-letters/{id}",
    HitKind.REPLAY: "/replays/{id}",
}
_NAMED_IN_ACCOUNT: Final = frozenset({HitKind.CALL, HitKind.EVENT, HitKind.ACCOUNT})
"""Their ids alone do not name them."""
_STATES: Final[Mapping[str, tuple[Tone, str]]] = {
    "matched": ("good", N_("Matched")),
    "unmatched": ("warn", N_("No webhook matched")),
    "enabled": ("good", N_("Account on")),
    "disabled": ("pause", N_("Account off")),
    "running": ("wait", N_("Running")),
    "done": ("good", N_("Finished")),
    "cancelled": ("idle", N_("Cancelled")),
}


class SearchQuery(NoQuery):
    """What was pasted."""

    q: str = ""


@route("GET", "/search", Scope.READ)
async def show_search(page: Page[SearchQuery]) -> Answer:
    """What was found; straight to it where it is one thing."""
    text = page.query.q
    if not text.strip():
        return page.show("search/show.html", text="", report=None, error=None)
    sources = Sources(reader=page.api.reader, replays=page.api.replays)
    try:
        report = await search(sources, text, account_id=page.account, country=page.api.country)
    except InvalidInput as error:
        return page.show("search/show.html", status=400, text=text, report=None, error=page.rule(error))
    if report.sole_hit is not None:
        return page.redirect(address_of(report.sole_hit))
    return page.show(
        "search/show.html",
        text=text,
        report=report,
        error=None,
        tried=_tried(page, report),
        headings=HEADINGS,
        address=address_of,
        state=lambda hit: _state(page.label, page, hit),
        more=_more(page, text),
    )


def _tried(page: Page[SearchQuery], report: SearchReport) -> str:
    return ", ".join(page.gettext(TAKEN_FOR[kind]) for kind in report.tried)


def address_of(hit: Hit) -> str:
    """The page of what was found."""
    own_id = {} if hit.kind is HitKind.ACCOUNT else {"id": hit.id}
    account = {"account": hit.account_id} if hit.kind in _NAMED_IN_ACCOUNT else {}
    return url_for(ADDRESSES[hit.kind], **own_id, **account)


def _state(label: Labels, page: Page[SearchQuery], hit: Hit) -> tuple[Tone, str] | None:
    """How it stands: a tone and a word."""
    if hit.status is None:
        return None
    if hit.status in _STATES:
        tone, text = _STATES[hit.status]
        return tone, page.gettext(text)
    if hit.kind is HitKind.DEAD_LETTER:
        return "warn", label.rejection(hit.status)
    value = WebhookState(hit.status) if hit.kind is HitKind.WEBHOOK else DeliveryStatus(hit.status)
    return label.tone(value), label(value)


def _more(page: Page[SearchQuery], text: str) -> Mapping[SearchKind, str]:
    """Where the rest of a group is listed."""
    return {
        SearchKind.NUMBER: url_for("/deliveries", number=text.strip(), account=page.here.account),
        SearchKind.USER: url_for("/deliveries", user=text.strip(), account=page.here.account),
        SearchKind.EVENT: url_for("/deliveries", event=text.strip(), account=page.here.account),
    }


SEARCH: Final[tuple[Route, ...]] = (show_search,)
