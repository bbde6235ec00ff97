"""`webhooks rotate-secret`: new keys for a webhook's signatures."""

from __future__ import annotations

import secrets
from datetime import timedelta
from typing import TYPE_CHECKING, Final

import click

from router.application import queries, rotation
from router.application.queries import WebhookReport
from router.cli import output, views
from router.cli.base import Command
from router.cli.options import json_option, parse_duration, usage_error
from router.cli.session import Session, Store, auditor
from router.cli.webhook_output import fields, not_found
from router.domain.errors import InvalidInput
from router.domain.webhook import WebhookId

if TYPE_CHECKING:
    from router.settings import Settings

_OPTIONS: Final = {"overlap_seconds": "--overlap"}


@click.command(
    "rotate-secret",
    cls=Command,
    examples=(
        "webhook-router webhooks rotate-secret wh_crm",
        "webhook-router webhooks rotate-secret wh_crm --overlap 7d --json",
        "webhook-router webhooks rotate-secret wh_crm --overlap 0s",
        "webhook-router webhooks rotate-secret wh_crm --asymmetric",
    ),
)
@click.argument("webhook_id", metavar="ID")
@click.option(
    "--overlap",
    callback=parse_duration,
    metavar="DURATION",
    help="How long old secrets sign beside the new one: 24h, 7d; 0s ends them now."
    "  [default: signing.rotation_overlap_seconds]",
)
@click.option("--asymmetric", is_flag=True, help="Renew the ed25519 key (v1a) instead, at once, or make the first.")
@json_option
@click.pass_obj
def rotate_secret(
    session: Session, /, *, webhook_id: str, overlap: timedelta | None, asymmetric: bool, as_json: bool
) -> None:
    """Give this webhook a new secret.

    Prints it; it is shown this once. Requests carry the signatures of old and new until the overlap is over.
    """
    if asymmetric and overlap is not None:
        raise click.UsageError("--overlap goes with a secret: an ed25519 key is replaced at once")

    async def work(store: Store, settings: Settings) -> tuple[WebhookReport | None, str | None]:
        identity, secret, audit = WebhookId(webhook_id), None, auditor(store)
        draw = secrets.token_bytes
        if asymmetric:
            await rotation.renew_signing_key(
                store.reader, store.registry, identity, randomness=draw, now=store.now(), audit=audit
            )
        else:
            default = timedelta(seconds=settings.signing.rotation_overlap_seconds)
            secret = await rotation.rotate_secret(
                store.reader,
                store.registry,
                identity,
                overlap=default if overlap is None else overlap,
                randomness=draw,
                now=store.now(),
                audit=audit,
            )
        return await queries.find_webhook(store.reader, identity), secret

    try:
        report, secret = session.with_store(work)
    except InvalidInput as error:
        raise usage_error(error, _OPTIONS) from None
    if report is None:
        raise not_found(webhook_id)
    _print_rotated(report, secret, as_json=as_json)


def _print_rotated(report: WebhookReport, secret: str | None, *, as_json: bool) -> None:
    if as_json:
        output.print_json({**views.webhook(report), "secret": secret})
    else:
        shown = [] if secret is None else [("secret", secret)]
        output.print_record([*fields(report), *shown])
    if secret is not None:
        output.note("The secret is shown this once: hand it to whoever checks the signatures.")
    else:
        output.note("Requests are signed with the new key from now on: hand on its public key.")
