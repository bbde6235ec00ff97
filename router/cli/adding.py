"""`webhooks add`: a new webhook, and its secret, once."""

from __future__ import annotations

import secrets
from typing import TYPE_CHECKING, Any

import click

from router.application import manage, queries
from router.application.manage import NewWebhook, WebhookDraft
from router.application.queries import WebhookReport
from router.cli import output, views
from router.cli.accounts import hint_to_enable
from router.cli.base import Command
from router.cli.credentials import Credentials, credential_options
from router.cli.options import EVENT_TYPES, json_option, usage_error
from router.cli.session import Session, Store, auditor
from router.cli.webhook_options import FIELD_OPTIONS, header_option, restrict_to, restriction_options
from router.cli.webhook_output import fields
from router.domain.errors import InvalidInput
from router.domain.event import AccountId
from router.ports import DeliveryCounts

if TYPE_CHECKING:
    from router.settings import Settings


@click.command(
    "add",
    cls=Command,
    examples=(
        "webhook-router webhooks add --account 1042 --name CRM --event-type call --url https://crm.example.com/hook",
        (
            "webhook-router webhooks add --account 1042 --name 'Flyer Lyon' --event-type cdr \\\n"
            "      --url https://crm.example.com/cdr --tracking-number '04 65 71 00 42' --header X-Team=sales"
        ),
        (
            "webhook-router webhooks add --account 1042 --name Audit --event-type user --user-id u-17 \\\n"
            "      --url https://audit.example.com/ --disabled --json"
        ),
        (
            "cat auth.json | webhook-router webhooks add --account 1042 --name CRM --event-type call \\\n"
            "      --url https://crm.example.com/hook --auth-file - --asymmetric"
        ),
    ),
)
@click.option("--account", required=True, metavar="ID", help="Account whose events are sent.")
@click.option("--name", required=True, metavar="TEXT", help="Name for people.")
@click.option("--url", required=True, metavar="URL", help="Where events are posted to.")
@click.option("--event-type", required=True, type=EVENT_TYPES, help="Kind of event that is sent.")
@restriction_options
@header_option("Header to add. May be repeated.")
@credential_options
@click.option("--asymmetric", is_flag=True, help="Also sign with an ed25519 key (v1a).")
@click.option("--disabled", is_flag=True, help="Store it paused.")
@click.option("--id", "webhook_id", metavar="ID", help="Id to give it.  [default: a random one]")
@json_option
@click.pass_obj
def add(session: Session, /, *, account: str, as_json: bool, **typed: Any) -> None:
    """Add a webhook.

    Prints the secret that its requests are signed with. It is shown this once.
    """
    draft = _draft(account, **typed)

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
        raise usage_error(error, FIELD_OPTIONS) from None


def _draft(
    account: str,
    *,
    name: str,
    url: str,
    event_type: str,
    tracking_numbers: tuple[str, ...],
    user_id: str | None,
    headers: dict[str, str],
    asymmetric: bool,
    disabled: bool,
    webhook_id: str | None,
    **files: Any,
) -> WebhookDraft:
    credentials = Credentials.read(headers, **files)
    return WebhookDraft(
        account_id=account,
        name=name,
        url=url,
        event_type=event_type,
        enabled=not disabled,
        restrict_to=restrict_to(tracking_numbers, user_id),
        headers=credentials.headers,
        auth=credentials.auth,
        client_certificate=credentials.client_certificate,
        asymmetric=asymmetric,
        id=webhook_id,
    )


def _print_new(new: NewWebhook, *, as_json: bool) -> None:
    report = WebhookReport(webhook=new.webhook, deliveries=DeliveryCounts())
    if as_json:
        output.print_json({**views.webhook(report), "secret": new.secret})
    else:
        output.print_record([*fields(report), ("secret", new.secret)])
    output.note("The secret is shown this once: hand it to whoever checks the signatures.")
