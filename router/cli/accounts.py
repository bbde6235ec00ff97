"""`accounts`: the switch that each customer's webhooks hang on."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import click

from router.application import editing, queries
from router.application.manage import typed_account_id
from router.cli import output, views
from router.cli.base import ExitCode, Group
from router.cli.bulk import Outcome, bulk_options, confirm, counted
from router.cli.options import json_option, usage_error
from router.cli.session import Session, Store, auditor
from router.domain.errors import InvalidInput
from router.domain.event import AccountId
from router.ports import StoredAccount

if TYPE_CHECKING:
    from router.settings import Settings


@click.group("accounts", cls=Group)
def accounts() -> None:
    """Switch webhooks on and off for a customer.

    Nothing is sent for an account that was never enabled.
    """


@accounts.example_command(
    "enable", "webhook-router accounts enable 1042", "webhook-router accounts enable 1042 1043 1044 --dry-run"
)
@click.argument("account_ids", metavar="ID...", nargs=-1, required=True)
@bulk_options
@json_option
@click.pass_obj
def enable(session: Session, /, **typed: Any) -> int:
    """Send webhooks for these accounts from now on."""
    return _switch(session, enabled=True, **typed)


@accounts.example_command(
    "disable", "webhook-router accounts disable 1042", "webhook-router accounts disable 1042 1043 --yes --json"
)
@click.argument("account_ids", metavar="ID...", nargs=-1, required=True)
@bulk_options
@json_option
@click.pass_obj
def disable(session: Session, /, **typed: Any) -> int:
    """Send nothing for these accounts' events from now on; their webhooks stay as they are."""
    return _switch(session, enabled=False, **typed)


def _switch(
    session: Session, *, account_ids: tuple[str, ...], enabled: bool, dry_run: bool, yes: bool, as_json: bool
) -> int:
    try:
        wanted = [typed_account_id(account_id) for account_id in dict.fromkeys(account_ids)]
    except InvalidInput as error:
        raise usage_error(error, {"account_id": "ID"}) from None
    if len(wanted) == 1 and not dry_run:
        return _switch_one(session, wanted[0], enabled=enabled, as_json=as_json)
    verb = "enable" if enabled else "disable"

    async def work(store: Store, _: Settings) -> Outcome:
        stored = [await queries.find_account(store.reader, account_id) for account_id in wanted]
        to_switch = [account.id for account in stored if account.webhooks_enabled is not enabled]
        outcome = Outcome(verb=f"{verb}d", wanted=to_switch, dry_run=dry_run)
        outcome.unchanged += [account.id for account in stored if account.webhooks_enabled is enabled]
        output.note(f"{counted(len(to_switch), 'account', 'accounts')} of {len(wanted)} to {verb}.")
        if to_switch and not dry_run:
            if not yes:
                confirm(f"{verb.capitalize()} them?", refused=f"nothing was {verb}d", why="more than one")
            await outcome.work_off(lambda account_id: _set(store, AccountId(account_id), enabled=enabled))
        return outcome

    outcome = session.with_store(work)
    if dry_run and not as_json:
        for account_id in outcome.wanted:
            click.echo(output.shown(account_id))
    return outcome.report(as_json=as_json)


async def _set(store: Store, account_id: AccountId, *, enabled: bool) -> bool:
    await editing.switch_account(
        store.reader, store.registry, account_id, webhooks_enabled=enabled, audit=auditor(store)
    )
    return True


def _switch_one(session: Session, account_id: AccountId, *, enabled: bool, as_json: bool) -> int:
    async def work(store: Store, _: Settings) -> None:
        await _set(store, account_id, enabled=enabled)

    session.with_store(work)
    _print(StoredAccount(id=account_id, webhooks_enabled=enabled), webhooks=None, as_json=as_json)
    output.note(f"Webhooks are {'on' if enabled else 'off'} for account {output.shown(account_id)}.")
    return ExitCode.OK


@accounts.example_command("show", "webhook-router accounts show 1042", "webhook-router accounts show 1042 --json")
@click.argument("account_id", metavar="ID")
@json_option
@click.pass_obj
def show(session: Session, /, *, account_id: str, as_json: bool) -> None:
    """Show whether webhooks are on for this account."""
    identity = AccountId(account_id)

    async def work(store: Store, _: Settings) -> tuple[StoredAccount, int]:
        return (
            await queries.find_account(store.reader, identity),
            await store.reader.count_webhooks(account_id=identity, event_type=None),
        )

    account, webhooks = session.with_store(work)
    _print(account, webhooks=webhooks, as_json=as_json)
    if not account.webhooks_enabled:
        output.note(hint_to_enable(account.id))


def hint_to_enable(account_id: AccountId) -> str:
    """What to do about an account for which nothing is sent."""
    name = output.shown(account_id)
    return f"Webhooks are off for account {name}; switch them on: webhook-router accounts enable {name}"


def _print(account: StoredAccount, *, webhooks: int | None, as_json: bool) -> None:
    if as_json:
        output.print_json(views.account(account))
        return
    fields: list[tuple[str, object]] = [("account", account.id), ("webhooks enabled", account.webhooks_enabled)]
    if webhooks is not None:
        fields.append(("webhooks", webhooks))
    output.print_record(fields)
