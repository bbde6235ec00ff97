"""`search`: finds whatever was pasted."""

from __future__ import annotations

from typing import TYPE_CHECKING

import click

from router.application.search import Hit, SearchReport, Sources, search
from router.cli import output, views
from router.cli.base import Command
from router.cli.options import json_option
from router.cli.session import Session, Store
from router.domain.errors import InvalidInput
from router.domain.event import AccountId

if TYPE_CHECKING:
    from router.settings import Settings


@click.command(
    "search",
    cls=Command,
    examples=(
        "webhook-router search c-7f3e0b5a",
        "webhook-router search '06 39 98 11 22' --account 1042",
        "webhook-router search crm.example.com --json",
    ),
)
@click.argument("text", metavar="TEXT")
@click.option("--account", metavar="ID", help="Look in this account only.")
@json_option
@click.pass_obj
def search_(session: Session, /, *, text: str, account: str | None, as_json: bool) -> None:
    """Find a call, event, delivery, phone number, user, webhook, host or account by whatever is at hand.

    A number is taken in any format, or by its last 4 or more digits.
    """

    async def work(store: Store, settings: Settings) -> SearchReport:
        account_id = AccountId(account) if account is not None else None
        sources = Sources(reader=store.reader, replays=store.replays)
        return await search(sources, text, account_id=account_id, country=settings.numbers.default_country)

    try:
        report = session.with_store(work)
    except InvalidInput as error:
        raise click.UsageError(f"TEXT: {error.message}", click.get_current_context(silent=True)) from None
    if as_json:
        output.print_json(views.search(report))
    elif not report.groups:
        output.note(f"Nothing was found. It was taken for: {', '.join(report.tried)}.")
    else:
        rows = [_row(group.kind, hit) for group in report.groups for hit in group.hits]
        output.print_table(("TAKEN FOR", "FOUND", "ID", "ACCOUNT", "NAME", "STATUS", "AT"), rows)
        if any(group.has_more for group in report.groups):
            output.note("There are more: narrow it down with --account, or list the deliveries.")


def _row(kind: str, hit: Hit) -> output.Row:
    return [output.shown(each) for each in (kind, hit.kind, hit.id, hit.account_id, hit.name, hit.status, hit.at)]
