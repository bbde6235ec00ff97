"""`webhooks`: what customers want to be told, and where."""

from __future__ import annotations

import secrets
from typing import TYPE_CHECKING, Any, Final

import click

from router.application import manage, queries
from router.application.manage import NewWebhook, WebhookDraft
from router.application.queries import PageRequest, WebhookFilter, WebhookReport
from router.cli import output, views
from router.cli.accounts import hint_to_enable
from router.cli.base import Group
from router.cli.credentials import Credentials, credential_options
from router.cli.listing import Listing, paging_options, print_pages
from router.cli.options import EVENT_TYPES, STATES, json_option, parse_headers, usage_error
from router.cli.rotation import rotate_secret
from router.cli.session import Session, Store, auditor
from router.cli.webhook_output import fields, not_found, print_report, row
from router.domain.audit import AuditAction
from router.domain.errors import InvalidInput
from router.domain.event import AccountId, EventType
from router.domain.webhook import WebhookId, WebhookState
from router.ports import DeliveryCounts

if TYPE_CHECKING:
    from router.settings import Settings

_OPTIONS: Final = {
    "account_id": "--account",
    "auth": "--auth-file",
    "client_certificate": "--client-cert / --client-key",
    "enabled": "--disabled",
    "event_type": "--event-type",
    "headers": "--header",
    "id": "--id",
    "name": "--name",
    "restrict_to": "--tracking-number / --user-id",
    "restrict_to.tracking_numbers": "--tracking-number",
    "restrict_to.user_id": "--user-id",
    "url": "--url",
}
"""Where each field of a definition is typed."""


@click.group("webhooks", cls=Group)
def webhooks() -> None:
    """Add, look at, pause and delete webhooks."""


# --- add -------------------------------------------------------------------------------------------


@webhooks.example_command(
    "add",
    "webhook-router webhooks add --account 1042 --name CRM --event-type call --url https://crm.example.com/hook",
    "webhook-router webhooks add --account 1042 --name 'Flyer Lyon' --event-type cdr \\\n"
    "      --url https://crm.example.com/cdr --tracking-number '04 65 71 00 42' --header X-Team=sales",
    "webhook-router webhooks add --account 1042 --name Audit --event-type user --user-id u-17 \\\n"
    "      --url https://audit.example.com/ --disabled --json",
    "cat auth.json | webhook-router webhooks add --account 1042 --name CRM --event-type call \\\n"
    "      --url https://crm.example.com/hook --auth-file - --asymmetric",
)
@click.option("--account", required=True, metavar="ID", help="Account whose events are sent.")
@click.option("--name", required=True, metavar="TEXT", help="Name for people.")
@click.option("--url", required=True, metavar="URL", help="Where events are posted to.")
@click.option("--event-type", required=True, type=EVENT_TYPES, help="Kind of event that is sent.")
@click.option(
    "--tracking-number",
    "tracking_numbers",
    multiple=True,
    metavar="NUMBER",
    help="Only events of this number, written in any way. May be repeated.",
)
@click.option("--user-id", metavar="ID", help="Only events of this user; goes with --event-type user.")
@click.option(
    "--header",
    "headers",
    multiple=True,
    callback=parse_headers,
    metavar="NAME=VALUE",
    help="Header to add. May be repeated.",
)
@credential_options
@click.option("--disabled", is_flag=True, help="Store it paused.")
@click.option("--id", "webhook_id", metavar="ID", help="Id to give it.  [default: a random one]")
@json_option
@click.pass_obj
def add(
    session: Session,
    /,
    *,
    account: str,
    name: str,
    url: str,
    event_type: str,
    tracking_numbers: tuple[str, ...],
    user_id: str | None,
    headers: dict[str, str],
    disabled: bool,
    webhook_id: str | None,
    as_json: bool,
    **secret_files: Any,
) -> None:
    """Add a webhook.

    Prints the secret that its requests are signed with. It is shown this once.
    """
    credentials = Credentials.read(headers, **secret_files)
    draft = WebhookDraft(
        account_id=account,
        name=name,
        url=url,
        event_type=event_type,
        enabled=not disabled,
        restrict_to=_restrict_to(tracking_numbers, user_id),
        headers=credentials.headers,
        auth=credentials.auth,
        client_certificate=credentials.client_certificate,
        asymmetric=credentials.asymmetric,
        id=webhook_id,
    )

    async def work(store: Store, settings: Settings) -> None:
        # Nothing that may fail stands between storing the secret and showing it.
        stored_account = await queries.find_account(store.reader, AccountId(account))
        new = await manage.add_webhook(
            store.registry,
            draft,
            country=settings.numbers.default_country,
            egress=session.egress_policy(settings),
            randomness=secrets.token_bytes,
            now=store.now(),
            audit=auditor(store),
        )
        _print_new(new, as_json=as_json)
        if not stored_account.webhooks_enabled:
            output.note(hint_to_enable(stored_account.id))

    try:
        session.with_store(work)
    except InvalidInput as error:
        raise usage_error(error, _OPTIONS) from None


def _restrict_to(tracking_numbers: tuple[str, ...], user_id: str | None) -> dict[str, object] | None:
    restrict_to: dict[str, object] = {}
    if tracking_numbers:
        restrict_to["tracking_numbers"] = tracking_numbers
    if user_id is not None:
        restrict_to["user_id"] = user_id
    if len(restrict_to) > 1:
        raise click.UsageError("--tracking-number and --user-id exclude each other", click.get_current_context())
    return restrict_to or None


def _print_new(new: NewWebhook, *, as_json: bool) -> None:
    report = WebhookReport(webhook=new.webhook, deliveries=DeliveryCounts())
    if as_json:
        output.print_json({**views.webhook(report), "secret": new.secret})
    else:
        output.print_record([*fields(report), ("secret", new.secret)])
    output.note("The secret is shown this once: hand it to whoever checks the signatures.")


# --- list and show ---------------------------------------------------------------------------------


@webhooks.example_command(
    "list",
    "webhook-router webhooks list --account 1042",
    "webhook-router webhooks list --state suspended --all --json",
)
@click.option("--account", metavar="ID", help="Only those of this account.")
@click.option("--event-type", type=EVENT_TYPES, help="Only those for this kind of event.")
@click.option("--state", type=STATES, help="Only those in this state.")
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
    where = WebhookFilter(
        account_id=AccountId(account) if account is not None else None,
        event_type=EventType(event_type) if event_type is not None else None,
        state=WebhookState(state) if state is not None else None,
    )
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


# --- pause, resume, delete -------------------------------------------------------------------------


@webhooks.example_command("pause", "webhook-router webhooks pause wh_crm")
@click.argument("webhook_id", metavar="ID")
@json_option
@click.pass_obj
def pause(session: Session, /, *, webhook_id: str, as_json: bool) -> None:
    """Send nothing to this webhook until it is resumed.

    Pending deliveries wait. Events that arrive meanwhile are not sent later.
    """

    async def work(store: Store, _: Settings) -> WebhookReport | None:
        await auditor(store).note_webhook(AuditAction.WEBHOOK_PAUSED, WebhookId(webhook_id), store.reader)
        await manage.pause_webhook(store.registry, WebhookId(webhook_id), now=store.now())
        return await queries.find_webhook(store.reader, WebhookId(webhook_id))

    print_report(session.with_store(work), webhook_id, as_json=as_json)


@webhooks.example_command("resume", "webhook-router webhooks resume wh_crm")
@click.argument("webhook_id", metavar="ID")
@json_option
@click.pass_obj
def resume(session: Session, /, *, webhook_id: str, as_json: bool) -> None:
    """Send to this webhook again, be it paused or suspended."""

    async def work(store: Store, _: Settings) -> WebhookReport | None:
        await auditor(store).note_webhook(AuditAction.WEBHOOK_RESUMED, WebhookId(webhook_id), store.reader)
        await manage.resume_webhook(store.registry, WebhookId(webhook_id), now=store.now())
        return await queries.find_webhook(store.reader, WebhookId(webhook_id))

    print_report(session.with_store(work), webhook_id, as_json=as_json)


@webhooks.example_command("delete", "webhook-router webhooks delete wh_crm")
@click.argument("webhook_id", metavar="ID")
@json_option
@click.pass_obj
def delete(session: Session, /, *, webhook_id: str, as_json: bool) -> None:
    """Delete this webhook. Its pending deliveries are cancelled; the log of all of them is kept."""

    async def work(store: Store, _: Settings) -> WebhookReport | None:
        report = await queries.find_webhook(store.reader, WebhookId(webhook_id))
        await auditor(store).note_webhook(AuditAction.WEBHOOK_DELETED, WebhookId(webhook_id), store.reader)
        was_there = await manage.delete_webhook(store.registry, WebhookId(webhook_id))
        return report if was_there else None

    report = session.with_store(work)
    if report is None:
        raise not_found(webhook_id)
    pending = report.deliveries.pending
    if as_json:
        output.print_json({"id": webhook_id, "deleted": True, "pending_deliveries": pending})
    output.note(f"Deleted {output.shown(webhook_id)}; a running router cancels its pending deliveries ({pending}).")


webhooks.add_command(rotate_secret)
