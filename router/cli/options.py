"""Options that several commands take, and the types of what is typed. Decides on texts; reads no settings."""

from __future__ import annotations

import re
from collections.abc import Mapping
from datetime import UTC, datetime, timedelta
from typing import Any, Final

import click

from router.domain.delivery import DeliveryStatus
from router.domain.errors import InvalidInput
from router.domain.event import EventType, RejectionReason
from router.domain.webhook import WebhookState

EVENT_TYPES: Final = click.Choice([kind.value for kind in EventType])
STATUSES: Final = click.Choice([status.value for status in DeliveryStatus])
REASONS: Final = click.Choice([reason.value for reason in RejectionReason])
STATES: Final = click.Choice([state.value for state in WebhookState])

json_option = click.option("--json", "as_json", is_flag=True, help="Print JSON.")


class Moment(click.ParamType):
    """A point in time: RFC 3339, a day, or how long ago. Becomes an aware datetime."""

    name = "time"

    _AGO: Final = re.compile(r"(?P<count>[0-9]{1,6})(?P<unit>[smhd])")
    _UNITS: Final[Mapping[str, str]] = {"s": "seconds", "m": "minutes", "h": "hours", "d": "days"}

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> datetime:
        if isinstance(value, datetime):
            return value
        ago = self._AGO.fullmatch(value)
        try:
            if ago:
                return datetime.now(UTC) - timedelta(**{self._UNITS[ago["unit"]]: int(ago["count"])})
            moment = datetime.fromisoformat(value)
        except (ValueError, OverflowError):
            self.fail(f"{value!r} is no time: write 2025-03-11, 2025-03-11T09:14:07Z, or 2h for two hours ago", param, ctx)
        return moment if moment.tzinfo else moment.replace(tzinfo=UTC)


class Header(click.ParamType):
    """`NAME=VALUE`. Becomes a pair; what is allowed in a header is the domain's to say."""

    name = "header"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> tuple[str, str]:
        if isinstance(value, tuple):
            return value
        name, separator, text = value.partition("=")
        if not separator:
            # The value may be a password, so it is not shown.
            self.fail("a header is written NAME=VALUE", param, ctx)
        return name.strip(), text.strip()


MOMENT: Final = Moment()
HEADER: Final = Header()


def usage_error(error: InvalidInput, options: Mapping[str, str]) -> click.UsageError:
    """A broken rule in the words of the command line. `options` says which option a field was typed in."""
    field, _, index = error.field.partition("[")
    option = options.get(field, field)
    position = f" (number {int(index.rstrip(']')) + 1})" if index else ""
    return click.UsageError(f"{option}{position}: {error.message}", click.get_current_context(silent=True))
