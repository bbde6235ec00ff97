"""The options that commands about webhooks share: the fields of a definition, and which webhooks are meant. Decides on
texts; the rules are the domain's.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, Final

import click

from router.application.queries import WebhookFilter
from router.cli.options import EVENT_TYPES, STATES, parse_headers
from router.domain.event import AccountId, EventType
from router.domain.webhook import WebhookState

FIELD_OPTIONS: Final[Mapping[str, str]] = {
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

_RESTRICTION: Final = (
    click.option(
        "--tracking-number",
        "tracking_numbers",
        multiple=True,
        metavar="NUMBER",
        help="Only events of this number, written in any way. May be repeated.",
    ),
    click.option("--user-id", metavar="ID", help="Only events of this user; goes with --event-type user."),
)
_FILTER: Final = (
    click.option("--account", metavar="ID", help="Only those of this account."),
    click.option("--event-type", type=EVENT_TYPES, help="Only those for this kind of event."),
    click.option("--state", type=STATES, help="Only those in this state."),
)


def restriction_options(command: Callable[..., Any]) -> Callable[..., Any]:
    """Decorator: the options that `restrict_to` takes."""
    return _with(_RESTRICTION, command)


def restrict_to(tracking_numbers: tuple[str, ...], user_id: str | None) -> dict[str, object] | None:
    """What was typed as a definition has it; None where nothing was."""
    typed: dict[str, object] = {}
    if tracking_numbers:
        typed["tracking_numbers"] = tracking_numbers
    if user_id is not None:
        typed["user_id"] = user_id
    if len(typed) > 1:
        raise click.UsageError("--tracking-number and --user-id exclude each other", click.get_current_context())
    return typed or None


def header_option(text: str) -> Callable[[Callable[..., Any]], Callable[..., Any]]:
    """Decorator: `--header`, with what it is for."""
    return click.option("--header", "headers", multiple=True, callback=parse_headers, metavar="NAME=VALUE", help=text)


def filter_options(command: Callable[..., Any]) -> Callable[..., Any]:
    """Decorator: the options that `webhook_filter` takes."""
    return _with(_FILTER, command)


def webhook_filter(account: str | None, event_type: str | None, state: str | None) -> WebhookFilter:
    return WebhookFilter(
        account_id=AccountId(account) if account is not None else None,
        event_type=EventType(event_type) if event_type is not None else None,
        state=WebhookState(state) if state is not None else None,
    )


def _with(
    options: tuple[Callable[[Callable[..., Any]], Callable[..., Any]], ...], command: Callable[..., Any]
) -> Callable[..., Any]:
    for option in reversed(options):
        command = option(command)
    return command
