"""Deliveries whose documents are not written yet. A plain state machine; times are arguments.

Most endpoints answer at once. The document waits a little for the result of the first attempt and is written once, with
the result in it, instead of twice. Meanwhile the event's own document has the plan, and the broker has the message.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from itertools import islice, takewhile
from typing import Final

from router.application.settling import Unsettled
from router.domain.delivery import DeliveryId
from router.domain.webhook import WebhookId
from router.ports import Draft

WAIT: Final = timedelta(seconds=0.1)
"""How long a document waits for the answer to its first attempt: its message is not acknowledged meanwhile."""
WAIT_TO_BEGIN: Final = timedelta(seconds=2)
"""How long it waits for that attempt to begin: what waits behind much else would else be written twice, and make it
more."""


@dataclass(frozen=True, slots=True)
class Waiting:
    """A draft, since when it waits, and the batch that is settled when it is durable."""

    draft: Draft
    unsettled: Unsettled
    since: datetime


class Drafts:
    """By delivery, the oldest first. A webhook that let a document wait in vain is late until it answers in time: no
    document waits for it."""

    def __init__(self) -> None:
        self._queued: dict[DeliveryId, Waiting] = {}
        self._begun: dict[DeliveryId, Waiting] = {}
        self._ended: dict[DeliveryId, Waiting] = {}
        self._ready: dict[DeliveryId, Waiting] = {}
        self._late: set[WebhookId] = set()

    def __len__(self) -> int:
        return sum(map(len, self._all))

    def __contains__(self, delivery_id: DeliveryId) -> bool:
        return any(delivery_id in drafts for drafts in self._all)

    @property
    def _all(self) -> Sequence[dict[DeliveryId, Waiting]]:
        return self._queued, self._begun, self._ended, self._ready

    @property
    def ready(self) -> int:
        """How many wait for nothing."""
        return len(self._ready)

    # --- what happens to them ---

    def add(self, draft: Draft, unsettled: Unsettled, *, now: datetime, in_doubt: bool = False) -> None:
        """Take in a delivery. One that nobody attempts at once waits for nothing, nor does one whose webhook is
        `in_doubt`."""
        unsettled.await_one()
        waits = draft.delivery.leased and not in_doubt and draft.delivery.webhook_id not in self._late
        (self._queued if waits else self._ready)[draft.claim.delivery_id] = Waiting(draft, unsettled, now)

    def begin(self, delivery_id: DeliveryId, *, now: datetime) -> None:
        """Its first attempt begins."""
        waiting = self._queued.pop(delivery_id, None)
        if waiting is not None:
            self._begun[delivery_id] = Waiting(waiting.draft, waiting.unsettled, now)

    def end(self, delivery_id: DeliveryId) -> None:
        """Its first result is there, and waits to be written with it: however long that takes, nobody is late."""
        waiting = self._queued.pop(delivery_id, None) or self._begun.pop(delivery_id, None)
        if waiting is not None:
            self._ended[delivery_id] = waiting

    def answered(self, webhook_id: WebhookId, within: timedelta) -> None:
        """An endpoint has answered."""
        if within < WAIT:
            self._late.discard(webhook_id)

    def hurry(self, delivery_ids: Iterable[DeliveryId]) -> None:
        """No result is waited for any longer."""
        for delivery_id in delivery_ids:
            waiting = self._queued.pop(delivery_id, None) or self._begun.pop(delivery_id, None)
            if waiting is not None:
                self._ready[delivery_id] = waiting

    def hurry_all(self) -> None:
        self.hurry([*self._begun, *self._queued])

    # --- what is written ---

    def take(self, ended: Collection[DeliveryId], limit: int) -> list[Waiting]:
        """What is to be written now: all that has `ended`, and at most `limit` of what waits no longer."""
        taken = [found for each in ended if (found := self._pop(each)) is not None]
        more = list(islice(self._ready, limit))
        return taken + [self._ready.pop(delivery_id) for delivery_id in more]

    def look(self, now: datetime) -> int:
        """How many wait no longer by now."""
        overdue = list(takewhile(lambda each: _is_over(each[1].since, WAIT, now), self._begun.items()))
        if late := {waiting.draft.delivery.webhook_id for _, waiting in overdue}:
            self._late |= late
            self.hurry([each for each, _ in overdue])
            self.hurry([each for each, waiting in self._queued.items() if waiting.draft.delivery.webhook_id in late])
        queued = self._queued.items()
        self.hurry([each for each, _ in takewhile(lambda each: _is_over(each[1].since, WAIT_TO_BEGIN, now), queued)])
        return self.ready

    def _pop(self, delivery_id: DeliveryId) -> Waiting | None:
        for drafts in self._all:
            if delivery_id in drafts:
                return drafts.pop(delivery_id)
        return None


def _is_over(since: datetime, wait: timedelta, now: datetime) -> bool:
    """Also where the store's clock went back, as by another primary: acknowledgements do not wait until it is there
    again."""
    return abs(now - since) >= wait
