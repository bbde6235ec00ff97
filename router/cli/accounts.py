"""`accounts`: the switch that each customer's webhooks hang on."""

from __future__ import annotations

from typing import TYPE_CHECKING

import click

from router.application import manage, queries
from router.cli import output, views
from router.cli.base import Group
from router.cli.options import json_option, usage_error
from router.cli.session import Session, Store, auditor
from router.domain.audit import AuditAction
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


@accounts.example_command("enable", "webhook-router accounts enable 1042")
@click.argument("account_id", metavar="ID")
@json_option
@click.pass_obj
def enable(session: Session, /, *, account_id: str, as_json: bool) -> None:
    """Send webhooks for this account from now on."""
    _switch(session, account_id, enabled=True, as_json=as_json)


@accounts.example_command("disable", "webhook-router accounts disable 1042")
@click.argument("account_id", metavar="ID")
@json_option
@click.pass_obj
def disable(session: Session, /, *, account_id: str, as_json: bool) -> None:
    """Send nothing for this account's events from now on; its webhooks stay as they are."""
    _switch(session, account_id, enabled=False, as_json=as_json)


def _switch(session: Session, account_id: str, *, enabled: bool, as_json: bool) -> None:
    async def work(store: Store, _: Settings) -> StoredAccount:
        audit = auditor(store)
        await audit.note(
            AuditAction.ACCOUNT_SWITCHED, account_id=account_id, target=account_id, webhooks_enabled=enabled
        )
        return await manage.set_account(store.registry, account_id, webhooks_enabled=enabled)

    try:
        account = session.with_store(work)
    except InvalidInput as error:
        raise usage_error(error, {"account_id": "ID"}) from None
    _print(account, webhooks=None, as_json=as_json)
    output.note(f"Webhooks are {'on' if enabled else 'off'} for account {output.shown(account.id)}.")


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
