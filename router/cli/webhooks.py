"""`webhooks`: what customers want to be told, and where."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import click

from router.application import queries
from router.application.queries import PageRequest, WebhookReport
from router.cli import views
from router.cli.adding import add
from router.cli.base import Group
from router.cli.editing import edit
from router.cli.listing import Listing, paging_options, print_pages
from router.cli.options import json_option
from router.cli.rotation import rotate_secret
from router.cli.session import Session, Store
from router.cli.switching import delete, pause, resume
from router.cli.webhook_options import filter_options, webhook_filter
from router.cli.webhook_output import print_report, row
from router.domain.webhook import WebhookId

if TYPE_CHECKING:
    from router.settings import Settings


@click.group("webhooks", cls=Group)
def webhooks() -> None:
    """Add, look at, pause and delete webhooks."""


webhooks.add_command(add)


@webhooks.example_command(
    "list",
    "webhook-router webhooks list --account 1042",
    "webhook-router webhooks list --state suspended --all --json",
)
@filter_options
@paging_options
@json_option
@click.pass_obj
def list_(
    session: Session,
    /,
    *,
    account: str | None,
    event_type: str | None,
    state: str | None,
    as_json: bool,
    **paging: Any,
) -> None:
    """List webhooks, the newest first."""
    where = webhook_filter(account, event_type, state)
    listing = Listing[WebhookReport](
        ("ID", "ACCOUNT", "NAME", "TYPE", "STATE", "URL", "PENDING", "FAILED", "TOTAL"),
        row=row,
        view=views.webhook,
        as_json=as_json,
        when_empty="No webhook matches.",
    )

    async def fetch(store: Store, request: PageRequest, _: Settings) -> queries.Page[WebhookReport]:
        return await queries.list_webhooks(store.reader, where, request)

    print_pages(session, fetch, listing, **paging)


@webhooks.example_command("show", "webhook-router webhooks show wh_crm", "webhook-router webhooks show wh_crm --json")
@click.argument("webhook_id", metavar="ID")
@json_option
@click.pass_obj
def show(session: Session, /, *, webhook_id: str, as_json: bool) -> None:
    """Show one webhook, its state, and how its deliveries went."""

    async def work(store: Store, _: Settings) -> WebhookReport | None:
        return await queries.find_webhook(store.reader, WebhookId(webhook_id))

    print_report(session.with_store(work), webhook_id, as_json=as_json)


for command in (edit, pause, resume, delete, rotate_secret):
    webhooks.add_command(command)
