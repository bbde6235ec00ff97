"""The options that say which deliveries are meant, and the filter that they come to. Decides on texts."""

from __future__ import annotations

from collections.abc import Callable
from datetime import datetime
from typing import Any, TypeVar

import click

from router.cli.options import EVENT_TYPES, STATUSES, parse_moment
from router.domain.delivery import DeliveryStatus
from router.domain.event import AccountId, EventType
from router.domain.numbers import search_prefix
from router.domain.webhook import WebhookId
from router.ports import DeliveryFilter

_Function = TypeVar("_Function", bound=Callable[..., Any])

OPTIONS = ("account", "webhook", "event_type", "status", "event", "call", "user", "number", "from_", "to")
"""Where the values of `filter_options` arrive."""


def filter_options(function: _Function) -> _Function:
    """Decorator: the options of a search among deliveries, for `delivery_filter`."""
    for option in reversed(
        (
            click.option("--account", metavar="ID", help="Of this account."),
            click.option("--webhook", metavar="ID", help="To this webhook."),
            click.option("--event-type", type=EVENT_TYPES, help="Of events of this kind."),
            click.option("--status", type=STATUSES, help="In this status."),
            click.option("--event", metavar="ID", help="Of the event with this id."),
            click.option("--call", metavar="ID", help="Of events of this conversation."),
            click.option("--user", metavar="ID", help="Of events of this user."),
            click.option(
                "--number", metavar="NUMBER", help="With this phone number, or one that ends with these digits."
            ),
            click.option(
                "--from",
                "from_",
                callback=parse_moment,
                metavar="TIME",
                help="Received then or later: a time, a day, or 2h.",
            ),
            click.option("--to", callback=parse_moment, metavar="TIME", help="Received before then."),
        )
    ):
        function = option(function)
    return function


def delivery_filter(
    country: str,
    *,
    account: str | None,
    webhook: str | None,
    event_type: str | None,
    status: str | None,
    event: str | None,
    call: str | None,
    user: str | None,
    number: str | None,
    from_: datetime | None,
    to: datetime | None,
) -> DeliveryFilter:
    """The filter, with a number as dialled in `country`. Raises UsageError for what is no number."""
    return DeliveryFilter(
        account_id=AccountId(account) if account is not None else None,
        webhook_id=WebhookId(webhook) if webhook is not None else None,
        event_type=EventType(event_type) if event_type is not None else None,
        status=DeliveryStatus(status) if status is not None else None,
        event_id=event,
        call_id=call,
        user_id=user,
        number_prefix=_number_prefix(number, country),
        from_=from_,
        to=to,
    )


def _number_prefix(number: str | None, country: str) -> str | None:
    if number is None:
        return None
    try:
        return search_prefix(number, country)
    except ValueError as error:
        raise click.UsageError(f"--number: must be {error}", click.get_current_context(silent=True)) from None
