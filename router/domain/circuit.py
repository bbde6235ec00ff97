"""Whether a webhook that keeps failing is tried at all: closed, open after repeated failures, then one probe at growing
intervals. Values and plain functions; now and the jitter draw are arguments.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from typing import Final

from router.domain.lease import HELD_RECHECK
from router.domain.retry import Jitter

OPEN_AFTER_FAILURES: Final = 5
"""Failures in a row before a circuit opens; they must also go on for a time that is a setting."""
FIRST_PROBE_AFTER: Final = timedelta(seconds=5)
"""Between the opening and the first probe; doubled with each probe that fails."""
LONGEST_BETWEEN_PROBES: Final = HELD_RECHECK
"""A webhook that works again is found out after this time at the latest."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Circuit:
    """What is known of a webhook whose last attempt failed; one that works has none.

    While it is open, `probe_at` is when one delivery may be attempted, and `interval` what came before it.
    """

    url: str
    failing_since: datetime
    failures: int
    interval: timedelta = FIRST_PROBE_AFTER
    probe_at: datetime | None = None

    @property
    def is_open(self) -> bool:
        return self.probe_at is not None


def after_failure(circuit: Circuit, *, now: datetime, open_after: timedelta, jitter: Jitter) -> Circuit:
    """The circuit after one more attempt that began while it was closed."""
    failed = replace(circuit, failures=circuit.failures + 1)
    if failed.is_open or failed.failures < OPEN_AFTER_FAILURES or now - failed.failing_since < open_after:
        return failed
    return replace(failed, probe_at=now + drawn(FIRST_PROBE_AFTER, jitter))


def after_failed_probe(circuit: Circuit, *, now: datetime, jitter: Jitter) -> Circuit:
    """The open circuit after its probe failed: the next one is further away."""
    interval = min(circuit.interval * 2, LONGEST_BETWEEN_PROBES)
    return replace(circuit, failures=circuit.failures + 1, interval=interval, probe_at=now + drawn(interval, jitter))


def known_to_fail(url: str, since: datetime, now: datetime) -> Circuit:
    """The open circuit of a webhook that, by the store, has been failing since before we looked: its probe is due."""
    return Circuit(url=url, failing_since=since, failures=OPEN_AFTER_FAILURES, probe_at=now)


def drawn(interval: timedelta, jitter: Jitter) -> timedelta:
    """From half of an interval to all of it: webhooks of one dead server do not come back to it all at once."""
    return interval * (0.5 + jitter() / 2)
