"""`deliveries`: what was sent where, and how it went."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

import click

from router.application import queries
from router.application.queries import PageRequest
from router.cli import output, views
from router.cli.base import CommandFailedError, Group
from router.cli.filters import delivery_filter, filter_options
from router.cli.listing import Listing, paging_options, print_pages
from router.cli.options import json_option
from router.cli.replaying import replay_deliveries
from router.cli.session import Session, Store, auditor
from router.domain.audit import AuditAction
from router.domain.delivery import Attempt, Delivery, DeliveryId

if TYPE_CHECKING:
    from router.settings import Settings


@click.group("deliveries", cls=Group)
def deliveries() -> None:
    """Look up what was sent, how it went, and send it again."""


# --- list ------------------------------------------------------------------------------------------


@deliveries.example_command(
    "list",
    "webhook-router deliveries list --account 1042 --status failed --from 2h",
    "webhook-router deliveries list --number '06 39 98 11 22'",
    "webhook-router deliveries list --call c-7f3e0b5a --json",
)
@filter_options
@paging_options
@json_option
@click.pass_obj
def list_(
    session: Session, /, *, as_json: bool, limit: int, cursor: str | None, everything: bool, **options: Any
) -> None:
    """List deliveries, the newest first.

    All that is asked for must hold. Times are of reception; without an offset they are UTC.
    """

    async def fetch(store: Store, request: PageRequest, settings: Settings) -> queries.Page[Delivery]:
        where = delivery_filter(settings.numbers.default_country, **options)
        return await queries.list_deliveries(store.reader, where, request)

    print_pages(session, fetch, _listing(as_json=as_json), limit=limit, cursor=cursor, everything=everything)


def _listing(*, as_json: bool) -> Listing[Delivery]:
    return Listing[Delivery](
        (
            "RECEIVED",
            "ID",
            "ACCOUNT",
            "WEBHOOK",
            "EVENT",
            "STATUS",
            "REASON",
            "ATTEMPTS",
            "LAST ANSWER",
            "HOST",
            "NEXT",
        ),
        row=_row,
        view=views.delivery,
        as_json=as_json,
        when_empty="No delivery matches.",
    )


def _row(found: Delivery) -> output.Row:
    last = found.attempts[-1] if found.attempts else None
    values = (
        found.created_at,
        found.id,
        found.account_id,
        found.webhook_id,
        found.event_name or found.event_type,
        found.status,
        found.reason,
        found.attempt_count,
        _answer(last) if last else None,
        _host(found.url),
        found.next_attempt_at,
    )
    return [output.shown(value) for value in values]


def _host(url: str) -> str | None:
    """The host alone: a path or a query may hold a token, and `show` has the whole. None for what is no URL."""
    try:
        return urlsplit(url).hostname
    except ValueError:
        return None


def _answer(attempt: Attempt) -> str:
    return " ".join(str(part) for part in (attempt.status_code, attempt.error) if part is not None)


# --- show ------------------------------------------------------------------------------------------


@deliveries.example_command(
    "show",
    "webhook-router deliveries show dlv_3f2a",
    "webhook-router deliveries show dlv_3f2a --json",
    "webhook-router deliveries show dlv_3f2a --payload | jq .data",
)
@click.argument("delivery_id", metavar="ID")
@click.option("--payload", "only_payload", is_flag=True, help="Print the payload alone, byte for byte.")
@json_option
@click.pass_obj
def show(session: Session, /, *, delivery_id: str, only_payload: bool, as_json: bool) -> None:
    """Show one delivery, its attempts and the payload that is sent."""
    if only_payload and as_json:
        raise click.UsageError("--payload and --json exclude each other", click.get_current_context())

    async def work(store: Store, _: Settings) -> tuple[Delivery, bytes | None] | None:
        result = await store.reader.delivery(DeliveryId(delivery_id))
        if result is not None:
            delivery = result[0]
            await auditor(store).note(AuditAction.DELIVERY_REVEALED, account_id=delivery.account_id, target=delivery.id)
        return result

    result = session.with_store(work)
    if result is None:
        raise CommandFailedError(
            f"there is no delivery {output.shown(delivery_id)}; `webhook-router deliveries list` shows those there are"
        )
    found, payload = result
    if only_payload:
        _print_payload_alone(payload)
    elif as_json:
        output.print_json(views.delivery_with_payload(found, payload))
    else:
        _print_delivery(found, payload)


def _print_payload_alone(payload: bytes | None) -> None:
    if payload is None:
        raise CommandFailedError("the payload is gone: retention.payload_days says how long payloads are kept")
    sys.stdout.flush()
    sys.stdout.buffer.write(payload)
    sys.stdout.buffer.flush()


def _print_delivery(found: Delivery, payload: bytes | None) -> None:
    output.print_record(
        [
            ("delivery", found.id),
            ("account", found.account_id),
            ("webhook", found.webhook_id),
            ("event", found.event_id),
            ("event type", found.event_type),
            ("event name", found.event_name),
            ("call", found.call_id),
            ("user", found.user_id),
            ("url", found.url),
            ("status", f"{found.status}: {found.reason}" if found.reason else found.status),
            ("attempts", found.attempt_count),
            ("next attempt", found.next_attempt_at),
            ("received", found.created_at),
            ("completed", found.completed_at),
        ]
    )
    if found.attempts:
        click.echo()
        columns = ("ATTEMPT", "TRIGGER", "STARTED", "MS", "ANSWER", "BODY")
        output.print_table(columns, [_attempt_row(attempt) for attempt in found.attempts])
    click.echo()
    if payload is None:
        click.echo("payload  gone: retention.payload_days says how long payloads are kept")
    else:
        click.echo("payload")
        click.echo(output.harmless(payload.decode("utf-8", "replace"), keep="\n\t\r"))


def _attempt_row(attempt: Attempt) -> output.Row:
    body = (attempt.response_body or "") + ("…" if attempt.response_truncated else "")
    values = (attempt.number, attempt.trigger, attempt.started_at, attempt.duration_ms, _answer(attempt), body)
    return [output.shown(value) for value in values]


deliveries.add_command(replay_deliveries)
