"""Options that several commands take, and the types of what is typed. Decides on texts; reads no settings."""

from __future__ import annotations

import re
from collections.abc import Mapping
from datetime import UTC, datetime, timedelta
from typing import Final

import click

from router.domain.delivery import DeliveryStatus
from router.domain.errors import InvalidInput
from router.domain.event import EventType, RejectionReason
from router.domain.principal import Scope
from router.domain.webhook import WebhookState

EVENT_TYPES: Final = click.Choice([kind.value for kind in EventType])
STATUSES: Final = click.Choice([status.value for status in DeliveryStatus])
REASONS: Final = click.Choice([reason.value for reason in RejectionReason])
STATES: Final = click.Choice([state.value for state in WebhookState])
SCOPES: Final = click.Choice([scope.value for scope in Scope])

json_option = click.option("--json", "as_json", is_flag=True, help="Print JSON.")


_SPAN: Final = re.compile(r"(?P<count>[0-9]{1,6})(?P<unit>[smhd])")
_UNITS: Final[Mapping[str, str]] = {"s": "seconds", "m": "minutes", "h": "hours", "d": "days"}


def parse_moment(_: click.Context, __: click.Parameter, text: str | None) -> datetime | None:
    """Callback: a point in time from RFC 3339, a day, or how long ago; aware, and UTC where no offset is given."""
    if text is None:
        return None
    ago = _span(text)
    try:
        return _moment(text, example="2h for two hours ago") if ago is None else datetime.now(UTC) - ago
    except OverflowError:
        raise click.BadParameter(f"{text!r} is too long ago") from None


def parse_end(_: click.Context, __: click.Parameter, text: str | None) -> datetime | timedelta | None:
    """Callback: a point in time like `parse_moment`, but for how long from now on instead of how long ago."""
    if text is None:
        return None
    span = _span(text)
    return _moment(text, example="90d for in 90 days") if span is None else span


def _span(text: str) -> timedelta | None:
    span = _SPAN.fullmatch(text)
    return timedelta(**{_UNITS[span["unit"]]: int(span["count"])}) if span else None


def _moment(text: str, *, example: str) -> datetime:
    try:
        moment = datetime.fromisoformat(text)
        return (moment if moment.tzinfo else moment.replace(tzinfo=UTC)).astimezone(UTC)
    except (ValueError, OverflowError):
        raise click.BadParameter(f"{text!r} is no time: write 2025-03-11, 2025-03-11T09:14:07Z, or {example}") from None


def parse_duration(_: click.Context, __: click.Parameter, text: str | None) -> timedelta | None:
    """Callback: how long, as `90s`, `30m`, `24h` or `7d`."""
    if text is None:
        return None
    duration = _span(text)
    if duration is None:
        raise click.BadParameter(f"{text!r} is no duration: write 90s, 30m, 24h or 7d")
    return duration


def parse_headers(_: click.Context, __: click.Parameter, texts: tuple[str, ...]) -> dict[str, str]:
    """Callback: `NAME=VALUE`, repeated. What may be in a header is the domain's to say."""
    headers: dict[str, str] = {}
    for text in texts:
        name, separator, value = text.partition("=")
        if not separator:
            # What was typed may be a password, so it is not shown.
            raise click.BadParameter("a header is written NAME=VALUE")
        if name.strip().lower() in map(str.lower, headers):
            raise click.BadParameter(f"{name.strip()} is there twice")
        headers[name.strip()] = value.strip()
    return headers


def usage_error(error: InvalidInput, options: Mapping[str, str]) -> click.UsageError:
    """A broken rule in the words of the command line. `options` says which option a field was typed in."""
    field, _, index = error.field.partition("[")
    option = options.get(field, field)
    position = f" (number {int(index.rstrip(']')) + 1})" if index else ""
    return click.UsageError(f"{option}{position}: {error.message}", click.get_current_context(silent=True))
