"""Attempts in flight: how many are in doubt, and which webhooks are slow to answer. A plain state machine; it looks at
a monotonic clock and touches nothing else.
"""

from __future__ import annotations

from collections import Counter, deque
from collections.abc import Callable
from dataclasses import dataclass
from typing import Final

from router.domain.delivery import Claim, DeliveryId
from router.domain.webhook import WebhookId

SLOW_SECONDS: Final = 1.0
"""An attempt that lasts longer makes its webhook a slow one while it lasts."""


@dataclass(slots=True)
class _Flight:
    webhook_id: WebhookId
    started: float
    in_doubt: bool
    is_slow: bool = False
    has_landed: bool = False


class Flights:
    """`now` gives monotonic seconds. A flight that turns out slow is in doubt from then on."""

    def __init__(self, now: Callable[[], float]) -> None:
        self._now = now
        self._flights: dict[tuple[DeliveryId, int], _Flight] = {}
        self._brisk: deque[_Flight] = deque()  # those that are not slow yet, the oldest first
        self._slow: Counter[WebhookId] = Counter()
        self.in_doubt = 0

    def __len__(self) -> int:
        return len(self._flights)

    def is_slow(self, webhook_id: WebhookId) -> bool:
        return webhook_id in self._slow

    def take_off(self, claim: Claim, *, in_doubt: bool) -> None:
        flight = _Flight(claim.webhook_id, self._now(), in_doubt)
        self._flights[claim.delivery_id, claim.fence] = flight
        self._brisk.append(flight)
        self.in_doubt += in_doubt

    def land(self, claim: Claim) -> None:
        flight = self._flights.pop((claim.delivery_id, claim.fence))
        flight.has_landed = True
        self.in_doubt -= flight.in_doubt
        if flight.is_slow:
            self._slow[flight.webhook_id] -= 1
            if not self._slow[flight.webhook_id]:
                del self._slow[flight.webhook_id]

    def notice_slow_ones(self) -> None:
        slow_before = self._now() - SLOW_SECONDS
        while self._brisk and (self._brisk[0].has_landed or self._brisk[0].started < slow_before):
            flight = self._brisk.popleft()
            if not flight.has_landed:
                flight.is_slow = True
                self._slow[flight.webhook_id] += 1
                self.in_doubt += not flight.in_doubt
                flight.in_doubt = True
