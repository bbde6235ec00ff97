"""Periods as readers choose them, in their time zone, and the spans of time that they mean. Pure."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from enum import StrEnum
from typing import Final

from router.domain.errors import InvalidInput
from router.web.console.formats import Formats
from router.web.console.language import N_

FIELD_FORMAT: Final = "%Y-%m-%dT%H:%M"
"""What fields of the kind datetime-local hold."""


class Period(StrEnum):
    """A usual period, or the reader's own."""

    TODAY = "today"
    WEEK = "7d"
    ALL = "all"
    CUSTOM = "custom"


OFFERED: Final[Sequence[tuple[Period, str]]] = (
    (Period.TODAY, N_("Today")),
    (Period.WEEK, N_("7 days")),
    (Period.ALL, N_("All")),
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Span:
    """From a time on, and before another; None is open. `from_text` and `to_text` are what the fields show."""

    period: Period
    from_: datetime | None = None
    to: datetime | None = None
    from_text: str = ""
    to_text: str = ""


def span_of(period: str | None, from_text: str | None, to_text: str | None, otherwise: Period, fmt: Formats) -> Span:
    """What was chosen; `otherwise` where nothing was. Raises InvalidInput for times that are none, or turned around."""
    has_times = bool(from_text or to_text)
    chosen = Period(period) if period in list(Period) else Period.CUSTOM if has_times else otherwise
    today = fmt.now.astimezone(fmt.zone).replace(hour=0, minute=0, second=0, microsecond=0)
    match chosen:
        case Period.TODAY:
            return _span(chosen, today, None)
        case Period.WEEK:
            return _span(chosen, today - timedelta(days=6), None)  # a wall clock: midnight stays midnight
        case Period.ALL:
            return Span(period=chosen)
        case Period.CUSTOM:
            from_, to = _read(from_text, fmt), _read(to_text, fmt)
            if from_ is not None and to is not None and from_ >= to:
                raise InvalidInput("from", "must be before to")
            return _span(chosen, from_, to)


def _span(period: Period, from_: datetime | None, to: datetime | None) -> Span:
    texts = ["" if moment is None else moment.strftime(FIELD_FORMAT) for moment in (from_, to)]
    return Span(period=period, from_=from_, to=to, from_text=texts[0], to_text=texts[1])


def _read(text: str | None, fmt: Formats) -> datetime | None:
    """A time on the reader's clock; with an offset, as links of programs have it, that one counts."""
    if not text:
        return None
    try:
        moment = datetime.fromisoformat(text)
    except ValueError:
        raise InvalidInput("from", "must be a date and time") from None
    return moment.replace(tzinfo=fmt.zone) if moment.tzinfo is None else moment.astimezone(fmt.zone)
