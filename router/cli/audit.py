"""`audit`: who saw, changed, replayed, exported or erased what."""

from __future__ import annotations

import json
from datetime import datetime
from typing import TYPE_CHECKING, Any

import click

from router.application import queries
from router.application.queries import PageRequest
from router.cli import output, views
from router.cli.base import Group
from router.cli.listing import Listing, paging_options, print_pages
from router.cli.options import json_option, parse_moment
from router.cli.session import Session, Store
from router.domain.event import AccountId
from router.ports import AuditFilter, AuditRecord

if TYPE_CHECKING:
    from router.settings import Settings


@click.group("audit", cls=Group)
def audit() -> None:
    """Look up who saw or changed what."""


@audit.example_command(
    "list",
    "webhook-router audit list --since 7d",
    "webhook-router audit list --account 1042 --action delivery.revealed --all --json",
)
@click.option("--account", metavar="ID", help="What was done to this account.")
@click.option("--action", metavar="ACTION", help="Only this action, as delivery.revealed.")
@click.option("--since", callback=parse_moment, metavar="TIME", help="Done then or later: a time, a day, or 7d.")
@paging_options
@json_option
@click.pass_obj
def list_(
    session: Session,
    /,
    *,
    account: str | None,
    action: str | None,
    since: datetime | None,
    as_json: bool,
    **paging: Any,
) -> None:
    """List the entries of the audit trail, the newest first."""
    where = AuditFilter(account_id=AccountId(account) if account is not None else None, action=action, from_=since)
    listing = Listing[AuditRecord](
        ("AT", "ACTOR", "ACTION", "ACCOUNT", "TARGET", "DETAILS"),
        row=_row,
        view=views.audit_record,
        as_json=as_json,
        when_empty="No entry matches.",
    )

    async def fetch(store: Store, request: PageRequest, _: Settings) -> queries.Page[AuditRecord]:
        return await queries.list_audit(store.audit, where, request)

    print_pages(session, fetch, listing, **paging)


def _row(record: AuditRecord) -> output.Row:
    entry = record.entry
    details = " ".join(f"{name}={json.dumps(value, ensure_ascii=False)}" for name, value in entry.details.items())
    values = (entry.at, entry.actor, entry.action, entry.account_id, entry.target, details)
    return [output.shown(value) for value in values]
