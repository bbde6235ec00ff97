"""Deliveries whose documents are not written yet. A plain state machine; times are arguments.

Most endpoints answer at once. The document waits a little for the result of the first attempt and is written once, with
the result in it, instead of twice. Meanwhile the event's own document has the plan, and the broker has the message.
"""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass
from datetime import datetime, timedelta
from itertools import islice
from typing import Final

from router.application.settling import Unsettled
from router.domain.delivery import DeliveryId
from router.ports import Draft

WAIT: Final = timedelta(seconds=0.1)
"""How long a document waits for the result of the first attempt: its message is not acknowledged meanwhile."""
MAX_WAITING: Final = 100
"""Documents that wait; beyond, the longest do not any more. The broker sends no more than its prefetch meanwhile."""


@dataclass(frozen=True, slots=True)
class Waiting:
    """A draft, since when it waits, and the batch that is settled when it is durable."""

    draft: Draft
    unsettled: Unsettled
    since: datetime


class Drafts:
    """By delivery, the oldest first."""

    def __init__(self) -> None:
        self._waiting: dict[DeliveryId, Waiting] = {}
        self._ready: dict[DeliveryId, Waiting] = {}

    def __len__(self) -> int:
        return len(self._waiting) + len(self._ready)

    def __contains__(self, delivery_id: DeliveryId) -> bool:
        return delivery_id in self._waiting or delivery_id in self._ready

    @property
    def ready(self) -> int:
        """How many wait for nothing."""
        return len(self._ready)

    def add(self, draft: Draft, unsettled: Unsettled, *, now: datetime) -> None:
        """Take in a delivery. One that nobody attempts at once waits for nothing."""
        unsettled.await_one()
        drafts = self._waiting if draft.delivery.leased else self._ready
        drafts[draft.claim.delivery_id] = Waiting(draft, unsettled, now)

    def hurry(self, delivery_id: DeliveryId) -> None:
        """No result will come: it waits no longer."""
        waiting = self._waiting.pop(delivery_id, None)
        if waiting is not None:
            self._ready[delivery_id] = waiting

    def hurry_all(self) -> None:
        """Nothing waits any longer."""
        self._ready.update(self._waiting)
        self._waiting.clear()

    def take(self, ended: Collection[DeliveryId], limit: int, *, before: datetime) -> list[Waiting]:
        """What is to be written now: all that has `ended`, and at most `limit` of what is ready, waits since `before`,
        or is too much."""
        for delivery_id in self._overdue(before):
            self.hurry(delivery_id)
        taken = [found for each in ended if (found := self._pop(each)) is not None]
        more = list(islice(self._ready, limit))
        return taken + [self._ready.pop(delivery_id) for delivery_id in more]

    def _overdue(self, before: datetime) -> list[DeliveryId]:
        excess = len(self._waiting) - MAX_WAITING
        overdue = []
        for position, (delivery_id, waiting) in enumerate(self._waiting.items()):
            if position >= excess and waiting.since > before:
                break
            overdue.append(delivery_id)
        return overdue

    def _pop(self, delivery_id: DeliveryId) -> Waiting | None:
        return self._waiting.pop(delivery_id, None) or self._ready.pop(delivery_id, None)
