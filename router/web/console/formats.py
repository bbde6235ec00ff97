"""How times, numbers, durations and sizes are written for people, in one language and one time zone. Pure."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Final
from zoneinfo import ZoneInfo, available_timezones

from babel import Locale
from babel.dates import format_date, format_datetime, format_time, format_timedelta, get_timezone_name
from babel.numbers import format_decimal, format_percent

OFFERED_ZONES: Final = (
    "Europe/Paris", "America/Guadeloupe", "America/Martinique", "America/Cayenne", "America/Miquelon",
    "Indian/Reunion", "Indian/Mayotte", "Pacific/Noumea", "Pacific/Tahiti", "Pacific/Wallis", "UTC",
)  # fmt: skip
"""Zones to switch to. Any other of the IANA database counts too, where a link or the setting names it."""

_NO_BREAK: Final = "\u202f"
_SECOND_MS: Final = 1_000
_MINUTE_MS: Final = 60 * _SECOND_MS
_KIB: Final = 1024


def zone_named(name: str | None, otherwise: str) -> ZoneInfo:
    """The zone of that name, else the other one."""
    return ZoneInfo(name if name in available_timezones() else otherwise)


@dataclass(frozen=True, slots=True, kw_only=True)
class Formats:
    """What templates know as `fmt`. `now` is the store's time."""

    locale: Locale
    zone: ZoneInfo
    now: datetime

    # --- times ---

    def iso(self, moment: datetime) -> str:
        """For machines: `2026-11-24T03:30:00.000Z`."""
        return moment.astimezone(UTC).isoformat(timespec="milliseconds").removesuffix("+00:00") + "Z"

    def moment(self, moment: datetime) -> str:
        """For tables: day, month and time to the second; the year where it is another one."""
        here = moment.astimezone(self.zone)
        year = "" if here.year == self.now.astimezone(self.zone).year else " y"
        comma = "" if self.locale.language == "fr" else ","
        return format_datetime(here, f"d MMM{year}{comma} HH:mm:ss", locale=self.locale)

    def full(self, moment: datetime) -> str:
        """For where a time is read once: everything, to the millisecond, with the zone."""
        here = moment.astimezone(self.zone)
        return f"{format_date(here, 'full', locale=self.locale)} {self.clock(moment)} ({self.offset(moment)})"

    def day(self, moment: datetime) -> str:
        return format_date(moment.astimezone(self.zone), "long", locale=self.locale)

    def clock(self, moment: datetime) -> str:
        """`04:30:00,123`: what is compared within a call."""
        here = moment.astimezone(self.zone)
        return format_time(here, "HH:mm:ss", locale=self.locale) + f"{self._point()}{here.microsecond // 1000:03d}"

    def hour(self, moment: datetime) -> str:
        return format_time(moment.astimezone(self.zone), "HH:mm", locale=self.locale)

    def ago(self, moment: datetime) -> str:
        """`il y a 5 minutes`, `dans 2 heures`."""
        return format_timedelta(moment - self.now, add_direction=True, threshold=1.2, locale=self.locale)

    def offset(self, moment: datetime) -> str:
        """`UTC+1`: what holds in this zone at that moment."""
        seconds = int((moment.astimezone(self.zone).utcoffset() or timedelta()).total_seconds())
        sign = "−" if seconds < 0 else "+"
        hours, minutes = divmod(abs(seconds) // 60, 60)
        return "UTC" if not seconds else f"UTC{sign}{hours}" + (f":{minutes:02d}" if minutes else "")

    @property
    def zone_name(self) -> str:
        """The zone as people call it: `heure de France`, and its IANA name where that says more."""
        return get_timezone_name(self.zone, width="long", locale=self.locale) if self.zone.key != "UTC" else "UTC"

    @property
    def zones(self) -> Sequence[str]:
        """What can be switched to, the present one among them."""
        return OFFERED_ZONES if self.zone.key in OFFERED_ZONES else (self.zone.key, *OFFERED_ZONES)

    # --- quantities ---

    def number(self, value: float) -> str:
        return format_decimal(value, locale=self.locale)

    def percent(self, share: float) -> str:
        """Of a share of 1; one that is not all and not nothing never looks as if it were."""
        if 0 < share < 1:
            share = min(max(share, 0.001), 0.999)
        return format_percent(share, "#,##0.#\u202f%", locale=self.locale)

    def milliseconds(self, value: float) -> str:
        """`84 ms`, `1,2 s`, `3 min 5 s`."""
        if abs(value) < _SECOND_MS:
            return f"{self.number(round(value))}{_NO_BREAK}ms"
        if abs(value) < _MINUTE_MS:
            return f"{self.number(round(value / _SECOND_MS, 1))}{_NO_BREAK}s"
        return self.span(timedelta(milliseconds=value))

    def span(self, value: timedelta) -> str:
        """A duration in its two largest units: `2 h 5 min`, `3 j 4 h`."""
        seconds = abs(round(value.total_seconds()))
        day = "j" if self.locale.language == "fr" else "d"
        sizes = ((86_400, day), (3_600, "h"), (60, "min"), (1, "s"))
        parts = []
        for size, unit in sizes:
            count, seconds = divmod(seconds, size)
            if count:
                parts.append(f"{self.number(count)}{_NO_BREAK}{unit}")
            elif parts:
                break
        sign = "−" if value < timedelta() and parts else ""
        return sign + " ".join(parts[:2] or [f"0{_NO_BREAK}s"])

    def size(self, count: int) -> str:
        """Bytes: `512 o`, `1,5 Kio`; `B` and `KiB` in English."""
        byte = "o" if self.locale.language == "fr" else "B"
        if count < _KIB:
            return f"{self.number(count)}{_NO_BREAK}{byte}"
        power, unit = (1, "Ki") if count < _KIB**2 else (2, "Mi")
        return f"{self.number(round(count / _KIB**power, 1))}{_NO_BREAK}{unit}{byte}"

    def _point(self) -> str:
        return self.number(0.1)[1]
