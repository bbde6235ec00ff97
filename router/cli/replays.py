"""`replays`: what is sent again in bulk, and how far that is."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import click

from router.application import queries
from router.application import replay as application
from router.application.queries import PageRequest
from router.cli import output, views
from router.cli.base import CommandFailedError, Group
from router.cli.listing import Listing, paging_options, print_pages
from router.cli.options import json_option
from router.cli.session import Session, Store, auditor
from router.domain.event import AccountId
from router.domain.replay import ReplayId, ReplayKind
from router.ports import Replay

if TYPE_CHECKING:
    from router.settings import Settings


@click.group("replays", cls=Group)
def replays() -> None:
    """What is sent again in bulk: look, cancel."""


# --- list, show, cancel ----------------------------------------------------------------------------


@replays.example_command(
    "list", "webhook-router replays list", "webhook-router replays list --account 1042 --all --json"
)
@click.option("--account", metavar="ID", help="Of this account.")
@paging_options
@json_option
@click.pass_obj
def list_(session: Session, /, *, account: str | None, as_json: bool, **paging: Any) -> None:
    """List replays, the newest first."""
    listing = Listing[Replay](
        ("CREATED", "ID", "KIND", "ACCOUNT", "WEBHOOK", "STATE", "DONE", "MATCHED", "BY"),
        row=_row,
        view=views.replay,
        as_json=as_json,
        when_empty="There are no replays.",
    )

    async def fetch(store: Store, request: PageRequest, _: Settings) -> queries.Page[Replay]:
        account_id = AccountId(account) if account is not None else None
        return await queries.list_replays(store.replays, account_id, request)

    print_pages(session, fetch, listing, **paging)


def _row(found: Replay) -> output.Row:
    where = found.where
    values = (found.created_at, found.id, found.kind, where.account_id, where.webhook_id, found.state)
    return [output.shown(value) for value in (*values, found.done, found.matched, found.created_by)]


@replays.example_command("show", "webhook-router replays show rpl_aeaq", "webhook-router replays show rpl_aeaq --json")
@click.argument("replay_id", metavar="ID")
@json_option
@click.pass_obj
def show(session: Session, /, *, replay_id: str, as_json: bool) -> None:
    """Show one replay and how far it is."""

    async def work(store: Store, _: Settings) -> Replay | None:
        return await store.replays.replay(ReplayId(replay_id))

    _print_replay(session.with_store(work), replay_id, as_json=as_json)


@replays.example_command("cancel", "webhook-router replays cancel rpl_aeaq")
@click.argument("replay_id", metavar="ID")
@json_option
@click.pass_obj
def cancel(session: Session, /, *, replay_id: str, as_json: bool) -> None:
    """Release nothing more of a replay. What was released already is sent."""

    async def work(store: Store, _: Settings) -> Replay | None:
        return await application.cancel_replay(
            store.replays, ReplayId(replay_id), now=store.now(), audit=auditor(store)
        )

    _print_replay(session.with_store(work), replay_id, as_json=as_json)


def _print_replay(found: Replay | None, replay_id: str, *, as_json: bool) -> None:
    if found is None:
        raise CommandFailedError(
            f"there is no replay {output.shown(replay_id)}; `webhook-router replays list` shows those there are"
        )
    if as_json:
        output.print_json(views.replay(found))
        return
    where = found.where
    skipped = ", ".join(f"{count} {why.value}" for why, count in found.skipped.items())
    output.print_record(
        [
            ("replay", found.id),
            ("kind", found.kind),
            ("account", where.account_id),
            ("webhook", where.webhook_id),
            ("status", where.status or (None if found.kind is ReplayKind.MISSING else "every end but success")),
            ("from", where.from_),
            ("to", where.to),
            ("reason", found.reason),
            ("state", found.state),
            ("done", f"{found.done} of {found.matched}"),
            ("passed over", skipped or None),
            ("per second", found.per_second),
            ("created", found.created_at),
            ("created by", found.created_by),
            ("finished", found.finished_at),
        ]
    )
