"""Webhooks as they are: the list of an account with its switch, and one webhook with its state and how it goes.

Reads through ports; the account's switch is the one thing that is changed here.
"""

from __future__ import annotations

import asyncio
from collections.abc import Mapping, Sequence
from datetime import datetime, timedelta
from typing import Annotated, Final

from router.application import editing, queries
from router.application.queries import PageRequest, WebhookFilter, decode_cursor, encode_cursor
from router.domain.credentials import Auth, BasicAuth, BearerAuth, OAuth2Auth
from router.domain.delivery import Delivery, DeliveryId, DeliveryStatus
from router.domain.errors import InvalidInput
from router.domain.event import AccountId, EventType
from router.domain.principal import Scope
from router.domain.signing import current
from router.domain.webhook import WebhookId, WebhookState
from router.ports import DeliveryBucket, Reader
from router.web.api.params import EventTypeText, StateText
from router.web.console.here import url_for
from router.web.console.language import N_
from router.web.console.page import NONE_FROM_EMPTY, Answer, NoQuery, Page, Route, route
from router.web.console.pages.webhooks_changes import CHANGES
from router.web.console.pages.webhooks_form import FIELD_LABELS, field_of
from router.web.console.rules import translate_rule

HOURS: Final = 24
"""Of the small bars: one for each."""
TEST_PATIENCE_SECONDS: Final = 5.0
"""How long a page waits for the answer to a test; a worker may be busy, and then the reader looks again."""
TEST_STEP_SECONDS: Final = 0.15
AUTH_KINDS: Final[Mapping[type[Auth], str]] = {
    BasicAuth: N_("Basic: a user name and a password"),
    BearerAuth: N_("a fixed bearer token"),
    OAuth2Auth: N_("OAuth 2: client credentials"),
}
NO_WEBHOOK: Final = N_("No webhook has this id.")


class WebhooksQuery(NoQuery):
    """Which part of the list."""

    state: Annotated[StateText | None, NONE_FROM_EMPTY] = None
    event_type: Annotated[EventTypeText | None, NONE_FROM_EMPTY] = None
    cursor: str | None = None


class WebhookQuery(NoQuery):
    """`test` is the delivery of a test whose answer is waited for."""

    test: str | None = None


@route("GET", "/webhooks", Scope.READ)
async def list_webhooks(page: Page[WebhooksQuery]) -> Answer:
    """The webhooks of an account, or of all of them."""
    query, reader = page.query, page.api.reader
    where = WebhookFilter(account_id=page.account, event_type=query.event_type, state=query.state)
    after = decode_cursor(query.cursor) if query.cursor else None
    # How many are in one state is only known after looking at each.
    found = await queries.list_webhooks(reader, where, PageRequest(after=after, with_total=query.state is None))
    switch = await queries.find_account(reader, page.account) if page.account else None
    return page.show(
        "webhooks/list.html",
        reports=found.items,
        bars=await last_day(reader, [report.webhook.id for report in found.items], page.fmt.now),
        total=found.total,
        next=encode_cursor(found.next) if found.next else None,
        switch=switch,
        states=list(WebhookState),
        event_types=list(EventType),
        query=query,
    )


@route("GET", "/webhooks/{id}", Scope.READ, missing=NO_WEBHOOK)
async def show_webhook(page: Page[WebhookQuery]) -> Answer | None:
    """One webhook: what it does, why it does not, what it is signed with, how it goes."""
    reader, now = page.api.reader, page.fmt.now
    report = await queries.find_webhook(reader, WebhookId(page.id))
    if report is None:
        return None
    webhook = report.webhook
    account = await queries.find_account(reader, webhook.account_id)
    signing = current(webhook.secrets, now)
    return page.show(
        "webhooks/show.html",
        account=webhook.account_id,
        account_enabled=account.webhooks_enabled,
        webhook=webhook,
        counts=report.deliveries,
        bars=(await last_day(reader, [webhook.id], now))[webhook.id],
        secrets=signing,
        auth_kind=page.gettext(AUTH_KINDS[type(webhook.auth)]) if webhook.auth else None,
        problem=_problem(page, webhook.problem) if webhook.problem else None,
        test=await _test(page, webhook.id) if page.query.test else None,
        test_id=page.query.test,
    )


def _problem(page: Page[WebhookQuery], problem: str) -> tuple[str, str]:
    """What is wrong with a definition: the field, as far as there is a word for it, and the rule."""
    path, _, rule = problem.partition(": ")
    name = field_of(InvalidInput(path, rule))
    return page.gettext(FIELD_LABELS[name]) if name in FIELD_LABELS else path, translate_rule(page.language, rule)


async def _test(page: Page[WebhookQuery], webhook_id: WebhookId) -> Delivery | None:
    """A delivery of this webhook, as soon as it is over, or as it is when patience is; None: there is none."""
    delivery: Delivery | None = None
    for _ in range(round(TEST_PATIENCE_SECONDS / TEST_STEP_SECONDS)):
        delivery = await page.api.reader.delivery_summary(DeliveryId(page.query.test or ""))
        if delivery is None or delivery.webhook_id != webhook_id:
            return None
        if delivery.status is not DeliveryStatus.PENDING or delivery.attempts:
            return delivery
        await asyncio.sleep(TEST_STEP_SECONDS)
    return delivery


async def last_day(
    reader: Reader, webhook_ids: Sequence[WebhookId], now: datetime
) -> Mapping[WebhookId, Sequence[tuple[int, int]]]:
    """For each webhook and each of the last 24 hours, how many deliveries went well, or wait, and how many failed."""
    first = now.replace(minute=0, second=0, microsecond=0) - timedelta(hours=HOURS - 1)
    found = await reader.delivery_buckets(webhook_ids, first, timedelta(hours=1))
    return {webhook_id: _columns(buckets, first) for webhook_id, buckets in found.items()}


def _columns(buckets: Sequence[DeliveryBucket], first: datetime) -> list[tuple[int, int]]:
    columns = [(0, 0)] * HOURS
    for bucket in buckets:
        index = (bucket.start - first) // timedelta(hours=1)
        if 0 <= index < HOURS:
            columns[index] = (bucket.delivered + bucket.pending, bucket.failed)
    return columns


# --- the account's switch --------------------------------------------------------------------------


@route("GET", "/accounts/{id}/switch-off", Scope.MANAGE)
async def ask_to_switch_off(page: Page[NoQuery]) -> Answer | None:
    """Before nothing is sent any more for an account."""
    if not page.principal.sees(page.id):
        return None
    return page.show(
        "confirm.html",
        account=page.id,
        title=page.gettext("Switch webhooks off for account %(account)s?", account=page.id),
        texts=[
            page.gettext("Nothing is sent for this account until its webhooks are switched on again."),
            page.gettext("Events that arrive meanwhile are kept, but not delivered later by themselves."),
        ],
        action=url_for("/accounts/{id}/switch", id=page.id),
        fields={"enabled": "false"},
        button=page.gettext("Switch off"),
        back=url_for("/webhooks", account=page.id),
    )


@route("POST", "/accounts/{id}/switch", Scope.MANAGE)
async def switch_account(page: Page[NoQuery]) -> Answer:
    """Switch an account's webhooks on or off."""
    enabled = page.form.get("enabled") == "true"
    account = AccountId(page.id)
    await editing.switch_account(
        page.api.reader, page.api.registry, account, webhooks_enabled=enabled, audit=page.audit
    )
    notice = (
        page.gettext("Webhooks are switched on for account %(account)s.", account=account)
        if enabled
        else page.gettext("Webhooks are switched off for account %(account)s.", account=account)
    )
    return page.redirect(url_for("/webhooks", account=account), notice=notice)


WEBHOOKS: Final[tuple[Route, ...]] = (list_webhooks, *CHANGES, show_webhook, ask_to_switch_off, switch_account)
