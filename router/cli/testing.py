"""`webhooks test`: a made-up event for one webhook, and how it was taken."""

from __future__ import annotations

import asyncio
import secrets
import time
from typing import TYPE_CHECKING, Final

import click

from router.application import replay
from router.cli import output, views
from router.cli.base import Command, CommandFailedError, ExitCode
from router.cli.options import json_option
from router.cli.session import Session, Store, auditor
from router.cli.webhook_output import not_found
from router.domain.delivery import Delivery, DeliveryStatus
from router.domain.webhook import WebhookId

if TYPE_CHECKING:
    from router.settings import Settings

LOOK_SECONDS: Final = 0.2
PATIENCE_SECONDS: Final = 60.0
"""Longer than an attempt usually takes, with the time until a worker finds it."""
EXCERPT_CHARACTERS: Final = 200


@click.command(
    "test",
    cls=Command,
    examples=("webhook-router webhooks test wh_crm", "webhook-router webhooks test wh_crm --json | jq .attempts"),
)
@click.argument("webhook_id", metavar="ID")
@json_option
@click.pass_obj
def send_test(session: Session, /, *, webhook_id: str, as_json: bool) -> int:
    """Send a made-up event to this webhook, once, and print how it was taken.

    Also to one that is paused or suspended. A running router sends it. Fails where the webhook did not take it.
    """

    async def work(store: Store, _: Settings) -> Delivery:
        delivery = await replay.send_test(
            store.replays,
            store.reader,
            WebhookId(webhook_id),
            now=store.now(),
            randomness=secrets.token_bytes,
            audit=auditor(store),
        )
        if delivery is None:
            raise not_found(webhook_id)
        return await _outcome(store, delivery)

    delivery = session.with_store(work)
    if as_json:
        output.print_json(views.delivery(delivery))
    else:
        _print(delivery)
    return ExitCode.OK if delivery.status is DeliveryStatus.DELIVERED else ExitCode.FAILED


async def _outcome(store: Store, delivery: Delivery) -> Delivery:
    deadline = time.monotonic() + PATIENCE_SECONDS
    while delivery.status is DeliveryStatus.PENDING:
        if time.monotonic() >= deadline:
            raise CommandFailedError(
                f"nothing was sent within {PATIENCE_SECONDS:.0f} s: is a worker running? "
                f"`webhook-router deliveries show {delivery.id}` shows how it went, once it did"
            )
        await asyncio.sleep(LOOK_SECONDS)
        found = await store.reader.delivery(delivery.id)
        if found is None:
            raise CommandFailedError("the delivery is gone")
        delivery = found[0]
    return delivery


def _print(delivery: Delivery) -> None:
    last = delivery.attempts[-1] if delivery.attempts else None
    fields: list[tuple[str, object]] = [
        ("delivery", delivery.id),
        ("status", f"{delivery.status}: {delivery.reason}" if delivery.reason else delivery.status),
    ]
    if last is not None:
        fields += [
            ("http status", last.status_code),
            ("error", last.error),
            ("ms", last.duration_ms),
            ("answer", (last.response_body or "")[:EXCERPT_CHARACTERS]),
        ]
    output.print_record(fields)
