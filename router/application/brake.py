"""Tells a fault of our own way out from faults of the customers: while all who are tried fail in the same local way,
their failures are no attempts, and no more than a trickle of attempts begins. A state machine over monotonic seconds.

One dead customer is one host. Whoever is heard of, be it by a refusal, shows that the way out was there: what began to
fail before that is the customers' own.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable
from typing import Final

import structlog

from router.domain.outcome import LOCAL, LocalFault, SendResult, is_heard, local_kind

log = structlog.get_logger("router.egress")

MIN_HOSTS: Final = 5
"""Hosts that must have begun to fail alike since anybody was heard of: fewer may be a coincidence."""
SILENCE_SECONDS: Final = 3.0
"""For so long nobody must have been heard of."""
LONG_SILENCE_SECONDS: Final = 300.0
"""After so long even hosts count that were failing before. A name server of ours that dies takes hosts one by one, as
what was cached runs out, and the last may be few."""
WINDOW_SECONDS: Final = 60.0
"""A failure that is older says nothing of now."""
MAX_HOSTS: Final = 10_000
"""So many hosts are remembered, at most, of those that fail now and of those that failed before."""
LATE_SECONDS: Final = 5.0
"""After a release, attempts and look-ups that began before it may still fail as before: they are no attempts either."""
PROBE_SECONDS: Final = 1.0
"""Between two attempts while the brake is on."""


class EgressBrake:
    """One worker's view of its way out. `now` gives monotonic seconds."""

    def __init__(self, now: Callable[[], float] = time.monotonic) -> None:
        self._now = now
        self._failed: dict[str, dict[str, float]] = {}
        """By kind: the hosts that fail so since anybody was heard of, and when last."""
        self._alive: dict[str, None] = {}
        """Hosts that were heard of when they were last tried, before this silence; the latest last."""
        self._failing: dict[str, None] = {}
        """Hosts that failed while others were heard of, and were not heard of since; the latest last."""
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

    def judge(self, host: str, result: SendResult, *, began: float) -> SendResult:
        """Take the result of an attempt into account. Returns what it counts as: itself, or a local fault."""
        kind = local_kind(result)
        if kind is None:
            if is_heard(result):
                self._hear(host)
            return result
        now = self._now()
        if began >= self._heard_at and self._is_evidence(host, result, now):
            self._note(kind, host, now)
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

    def _is_evidence(self, host: str, result: SendResult, now: float) -> bool:
        """Whether its failure is news. While hardly anybody is known to be alive, a stranger's is too."""
        if isinstance(result, LocalFault) or host in self._alive or now - self._heard_at >= LONG_SILENCE_SECONDS:
            return True
        return len(self._alive) < MIN_HOSTS and host not in self._failing

    def _note(self, kind: str, host: str, now: float) -> None:
        hosts = self._failed.setdefault(kind, {})
        if host in hosts or len(hosts) < MAX_HOSTS:
            hosts[host] = now

    def _pull_if_ours(self, kind: str, now: float) -> None:
        hosts = self._failed.get(kind, {})
        for host in [host for host, at in hosts.items() if now - at > WINDOW_SECONDS]:
            del hosts[host]
        if len(hosts) >= MIN_HOSTS and not self._is_stopped:
            self.kind = kind
            self._released.clear()
            self._last_probe = now
            log.error("egress_brake_on", kind=kind, hosts=len(hosts))

    def _hear(self, host: str) -> None:
        self._heard_at = self._now()
        # One that failed and answers now shows that the way out came back: those who failed with it were not at fault.
        is_back = self.kind is not None and host in self._failed.get(self.kind, {})
        if not is_back:
            for failed in {failed for kind, hosts in self._failed.items() if kind != LOCAL for failed in hosts}:
                self._alive.pop(failed, None)
                _remember(self._failing, failed)
        self._failed.clear()
        self._failing.pop(host, None)
        _remember(self._alive, host)
        if self.kind is not None:
            log.warning("egress_brake_off", kind=self.kind)
            self._last_kind, self.kind = self.kind, None
            self._released_at = self._heard_at
            self._released.set()


def _remember(hosts: dict[str, None], host: str) -> None:
    """As the latest; the one that was longest not remembered gives way."""
    hosts.pop(host, None)
    hosts[host] = None
    if len(hosts) > MAX_HOSTS:
        del hosts[next(iter(hosts))]
