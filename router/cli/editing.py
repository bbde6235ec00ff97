"""`webhooks edit`: some fields of a webhook, with what they were and what they are then."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any, Final

import click

from router.application import editing, queries
from router.application.queries import WebhookReport
from router.cli import output, views
from router.cli.base import Command
from router.cli.credentials import Credentials, credential_options
from router.cli.options import EVENT_TYPES, json_option, usage_error
from router.cli.session import Session, Store, auditor
from router.cli.webhook_options import FIELD_OPTIONS, header_option, restrict_to, restriction_options
from router.cli.webhook_output import changes, not_found
from router.domain.edit import EditPlan, WebhookEdit, plan_edit
from router.domain.errors import InvalidInput
from router.domain.headers import HIDDEN
from router.domain.webhook import Webhook, WebhookId

if TYPE_CHECKING:
    from router.settings import Settings

_OPTIONS: Final = {**FIELD_OPTIONS, "enabled": "--enabled / --paused"}

EditFor = Callable[[Webhook], WebhookEdit]
"""What was typed, for one webhook: a header is put beside those that it has."""


@click.command(
    "edit",
    cls=Command,
    examples=(
        "webhook-router webhooks edit wh_crm --name 'CRM Lyon' --dry-run",
        "webhook-router webhooks edit wh_crm --url https://crm.example.com/new --header X-Team=sales",
        "webhook-router webhooks edit wh_crm --event-type user --user-id u-17 --json",
        "webhook-router webhooks edit wh_crm --no-restriction --no-auth --remove-header X-Team --paused",
    ),
)
@click.argument("webhook_id", metavar="ID")
@click.option("--name", metavar="TEXT", help="Name for people.")
@click.option("--url", metavar="URL", help="Where events are posted to from now on, also those that are pending.")
@click.option("--event-type", type=EVENT_TYPES, help="Kind of event; the restriction must go with it.")
@restriction_options
@click.option("--no-restriction", is_flag=True, help="Every event of the type.")
@header_option("Header to add, or to give another value. May be repeated.")
@click.option("--remove-header", "removed", multiple=True, metavar="NAME", help="Header to take away; repeatable.")
@credential_options
@click.option("--no-auth", is_flag=True, help="Take the authentication away.")
@click.option("--no-client-cert", is_flag=True, help="Take the client certificate away.")
@click.option("--enabled/--paused", default=None, help="End a pause, or begin one. A suspension stays: see `resume`.")
@click.option("--dry-run", is_flag=True, help="Show what would change, and do nothing.")
@json_option
@click.pass_obj
def edit(session: Session, /, *, webhook_id: str, dry_run: bool, as_json: bool, **typed: Any) -> None:
    """Change some fields of this webhook; what is not said stays as it is.

    Shows what each field was and is. Tracking numbers and --headers-file replace what was there; --header adds to it.
    """
    edit_for = _read(**typed)

    async def work(store: Store, settings: Settings) -> tuple[EditPlan, WebhookReport | None]:
        webhook = await store.reader.webhook(WebhookId(webhook_id))
        if webhook is None:
            raise not_found(webhook_id)
        wanted = edit_for(webhook)
        country, egress = settings.numbers.default_country, session.egress_policy(settings)
        plan = plan_edit(webhook, wanted, country=country, egress=egress, now=store.now())
        if not dry_run:
            await editing.edit_webhook(
                store.reader,
                store.registry,
                webhook.id,
                wanted,
                country=country,
                egress=egress,
                now=store.now(),
                audit=auditor(store),
                seen=(webhook.version,),  # what is shown is what is done
            )
        return plan, await queries.find_webhook(store.reader, webhook.id)

    try:
        plan, report = session.with_store(work)
    except InvalidInput as error:
        raise usage_error(error, _OPTIONS) from None
    if report is None:
        raise not_found(webhook_id)
    if dry_run:
        report = WebhookReport(webhook=plan.after, deliveries=report.deliveries)
    _print(plan, report, dry_run=dry_run, as_json=as_json)


def _print(plan: EditPlan, report: WebhookReport, *, dry_run: bool, as_json: bool) -> None:
    rows = changes(plan)
    if as_json:
        shown = {name: {"before": before, "after": after} for name, before, after in rows}
        output.print_json({**views.webhook(report), "changes": shown, "dry_run": dry_run})
    elif rows:
        output.print_table(("FIELD", "BEFORE", "AFTER"), rows)
    name = output.shown(plan.before.id)
    if not rows:
        output.note(f"{name} is like that already.")
    else:
        fields = f"{len(rows)} field{'' if len(rows) == 1 else 's'} of {name}"
        output.note(f"{fields} would change; nothing was written." if dry_run else f"{fields} changed.")


# --- what was typed --------------------------------------------------------------------------------


def _read(
    *,
    tracking_numbers: tuple[str, ...],
    user_id: str | None,
    no_restriction: bool,
    headers: dict[str, str],
    removed: tuple[str, ...],
    no_auth: bool,
    no_client_cert: bool,
    name: str | None,
    url: str | None,
    event_type: str | None,
    enabled: bool | None,
    **files: Any,
) -> EditFor:
    """Raises UsageError for what excludes each other, and where nothing is to be changed."""
    typed = {"name": name, "url": url, "event_type": event_type, "enabled": enabled}
    values: dict[str, object] = {field: value for field, value in typed.items() if value is not None}
    credentials = Credentials.read(headers, **files)
    for field, value, is_taken_away, options in (
        ("restrict_to", restrict_to(tracking_numbers, user_id), no_restriction, "--no-restriction and a restriction"),
        ("auth", credentials.auth, no_auth, "--no-auth and --auth-file"),
        ("client_certificate", credentials.client_certificate, no_client_cert, "--no-client-cert and --client-cert"),
    ):
        if value is not None and is_taken_away:
            raise click.UsageError(f"{options} exclude each other", click.get_current_context())
        if value is not None or is_taken_away:
            values[field] = value
    if files["headers_file"] is not None:
        if removed:
            raise click.UsageError("--headers-file and --remove-header exclude each other", click.get_current_context())
        values["headers"] = credentials.headers
    if not values and not headers and not removed:
        raise click.UsageError("say what is to change, as --name or --url", click.get_current_context())

    def edit_for(webhook: Webhook) -> WebhookEdit:
        return WebhookEdit(**(values | (_merged(webhook, headers, removed) if headers or removed else {})))

    return edit_for


def _merged(webhook: Webhook, typed: Mapping[str, str], removed: tuple[str, ...]) -> dict[str, object]:
    """All headers of the webhook, with those that were typed, and without those that are removed."""
    stored = [name for name, _ in webhook.headers]
    unknown = next((name for name in removed if name.lower() not in map(str.lower, stored)), None)
    if unknown is not None:
        raise InvalidInput("headers", f"there is no header {unknown} to remove")
    replaced = {name.lower() for name in (*typed, *removed)}
    return {"headers": {name: HIDDEN for name in stored if name.lower() not in replaced} | dict(typed)}
