"""Tells a fault of our own way out from faults of the customers: while all who are tried fail in the same local way,
their failures are no attempts, and no more than a trickle of attempts begins. A state machine over monotonic seconds.

One dead customer is one host. Whoever is heard of, be it by a refusal, shows that the way out is there.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable
from typing import Final

import structlog

from router.domain.outcome import LocalFault, SendResult, local_kind

log = structlog.get_logger("router.egress")

MIN_HOSTS: Final = 5
"""Hosts that must have failed alike since anybody was heard of: fewer may be a coincidence."""
SILENCE_SECONDS: Final = 3.0
"""For so long nobody must have been heard of."""
WINDOW_SECONDS: Final = 60.0
"""A failure that is older says nothing of now."""
LATE_SECONDS: Final = 5.0
"""After a release, attempts and look-ups that began before it may still fail as before: they are no attempts either."""
PROBE_SECONDS: Final = 1.0
"""Between two attempts while the brake is on."""


class EgressBrake:
    """One worker's view of its way out. `now` gives monotonic seconds."""

    def __init__(self, now: Callable[[], float] = time.monotonic) -> None:
        self._now = now
        self._failed: dict[str, dict[str, float]] = {}
        """By kind: the hosts that failed so since anybody was heard of, and when."""
        self._heard_at = now()
        self._last_probe = 0.0
        self._released = asyncio.Event()
        self._is_stopped = False
        self._last_kind: str | None = None
        self._released_at = 0.0
        self.kind: str | None = None
        """How everybody fails, while the brake is on."""

    @property
    def is_on(self) -> bool:
        return self.kind is not None

    def judge(self, host: str, result: SendResult) -> SendResult:
        """Take the result of an attempt into account. Returns what it counts as: itself, or a local fault."""
        kind = local_kind(result)
        if kind is None:
            self._release()
            return result
        now = self._now()
        self._failed.setdefault(kind, {})[host] = now
        if not self.is_on and now - self._heard_at >= SILENCE_SECONDS:
            self._pull_if_ours(kind, now)
        is_late = kind == self._last_kind and now - self._released_at < LATE_SECONDS
        if (kind == self.kind or is_late) and not isinstance(result, LocalFault):
            return LocalFault(detail=f"everybody who is tried fails alike: {kind}")
        return result

    async def clearance(self) -> None:
        """Wait until an attempt may begin: at once, or for the next turn of the trickle."""
        while self.is_on:
            wait = self._last_probe + PROBE_SECONDS - self._now()
            if wait <= 0:
                self._last_probe = self._now()
                return
            try:
                async with asyncio.timeout(wait):
                    await self._released.wait()
            except TimeoutError:
                continue

    def stop(self) -> None:
        """Let go whoever waits, and judge no more: what fails in a shutdown says nothing."""
        self._is_stopped = True
        self.kind = None
        self._released.set()

    def _pull_if_ours(self, kind: str, now: float) -> None:
        hosts = self._failed[kind]
        for host in [host for host, at in hosts.items() if now - at > WINDOW_SECONDS]:
            del hosts[host]
        if len(hosts) >= MIN_HOSTS and not self._is_stopped:
            self.kind = kind
            self._released.clear()
            self._last_probe = now
            log.error("egress_brake_on", kind=kind, hosts=len(hosts))

    def _release(self) -> None:
        self._heard_at = self._now()
        self._failed.clear()
        if self.kind is not None:
            log.warning("egress_brake_off", kind=self.kind)
            self._last_kind, self.kind = self.kind, None
            self._released_at = self._heard_at
            self._released.set()
