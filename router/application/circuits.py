"""The circuits of webhooks that fail, in memory: which of their deliveries are attempted, and which rest meanwhile.

A resting delivery waits in the store and burns no attempt. Other workers are known by the health of the webhook in
the definitions: what one of them found out is taken over from there.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Final

import structlog

from router.application.flights import SLOW_SECONDS
from router.domain.circuit import (
    FIRST_PROBE_AFTER,
    LONGEST_BETWEEN_PROBES,
    Circuit,
    after_failed_probe,
    after_failure,
    drawn,
    known_to_fail,
)
from router.domain.delivery import Claim, DeliveryId
from router.domain.lease import HELD_RECHECK
from router.domain.retry import Jitter
from router.domain.webhook import Webhook, WebhookId
from router.ports import Clock

log = structlog.get_logger("router.circuits")

PROBE_LOST_AFTER: Final = timedelta(minutes=6)
"""A probe that was never heard of again (its delivery was cancelled, say) keeps the next one waiting no longer; more
than the longest timeout of an attempt."""


SHORTEST_REST: Final = timedelta(seconds=1)
"""While a probe is under way, the next delivery is looked at no sooner."""

PUT_OFF: Final = timedelta(seconds=120)
"""How long deliveries rest, at most, that find no place in memory while their webhook hangs and its circuit is closed.
The first success wakes them, so it is no delay once the webhook works again."""

SLOW_PUT_OFF: Final = timedelta(seconds=20)
"""The same for a webhook that is slow and does not fail, or whose account holds too much: its places soon fall free."""

MANUAL_PUT_OFF: Final = timedelta(seconds=2)
"""The same for a replay or a test."""


@dataclass(slots=True)
class _Entry:
    circuit: Circuit
    hangs: bool = False
    """The last attempt failed late, as by a timeout."""
    probe: DeliveryId | None = None
    """The delivery that is being attempted as the probe: the circuit is half open."""
    probe_since: datetime | None = None
    last_slot: datetime | None = None
    """The latest time that was given to a delivery to come and be the probe."""
    slot_gap: timedelta = FIRST_PROBE_AFTER
    """What came before it; the next is twice as far, as the probes are."""


class Circuits:
    """One worker's circuits. `open_after` is how long failures must go on before one opens."""

    def __init__(self, clock: Clock, jitter: Jitter, open_after: timedelta) -> None:
        self._clock = clock
        self._jitter = jitter
        self._open_after = open_after
        self._entries: dict[WebhookId, _Entry] = {}
        # Webhooks that work again, which the definitions do not show yet.
        self._recovered: set[WebhookId] = set()

    # --- asking ---

    def is_failing(self, webhook_id: WebhookId) -> bool:
        """Whether its last attempt failed."""
        return webhook_id in self._entries

    def is_hanging(self, webhook_id: WebhookId) -> bool:
        """Whether its last attempt failed, and took its time for it."""
        entry = self._entries.get(webhook_id)
        return entry is not None and entry.hangs

    def rests_until(self, webhook: Webhook) -> datetime | None:
        """When a new delivery of an open circuit may be looked at again; None where it may be attempted now."""
        entry = self._entry(webhook)
        if entry is None or self._may_go(entry):
            return None
        return self._slot(entry)

    def probes_wanted(self, webhook_id: WebhookId) -> int | None:
        """How many of the deliveries that are due may be claimed, the others to rest on: one where a probe is due, none
        where it is not yet; None where the circuit is closed."""
        entry = self._entries.get(webhook_id)
        if entry is None or not entry.circuit.is_open:
            return None
        return int(self._may_go(entry))

    def admit(self, claim: Claim, webhook: Webhook) -> datetime | None:
        """None where `claim` is attempted now, on an open circuit as its probe; else until when it rests."""
        until = self.rests_until(webhook)
        entry = self._entries.get(webhook.id)
        if until is None and entry is not None and entry.circuit.is_open:
            entry.probe, entry.probe_since = claim.delivery_id, self._clock.now()
        return until

    def is_open(self, webhook_id: WebhookId) -> bool:
        entry = self._entries.get(webhook_id)
        return entry is not None and entry.circuit.is_open

    def keeps_back(self, webhook_id: WebhookId) -> bool:
        """Whether new deliveries may rest, until it works again."""
        entry = self._entries.get(webhook_id)
        return entry is not None and (entry.circuit.is_open or entry.hangs)

    def count_open(self) -> int:
        """Open circuits, half-open ones left out."""
        return sum(entry.circuit.is_open and entry.probe is None for entry in self._entries.values())

    def count_half_open(self) -> int:
        return sum(entry.probe is not None for entry in self._entries.values())

    # --- learning ---

    def succeeded(self, webhook: Webhook) -> None:
        if webhook.failing_since is not None:
            self._recovered.add(webhook.id)
        entry = self._entries.pop(webhook.id, None)
        if entry is not None and entry.circuit.is_open:
            log.info("circuit_closed", webhook_id=webhook.id, account_id=webhook.account_id)

    def failed(self, claim: Claim, webhook: Webhook, *, after_seconds: float) -> None:
        now = self._clock.now()
        self._recovered.discard(webhook.id)
        entry = self._entries.get(webhook.id)
        if entry is None or entry.circuit.url != webhook.url:
            entry = _Entry(Circuit(url=webhook.url, failing_since=now, failures=0))
            self._entries[webhook.id] = entry
        entry.hangs = after_seconds > SLOW_SECONDS
        was_open = entry.circuit.is_open
        if entry.probe == claim.delivery_id:
            entry.circuit = after_failed_probe(entry.circuit, now=now, jitter=self._jitter)
            entry.probe = None
        else:
            entry.circuit = after_failure(entry.circuit, now=now, open_after=self._open_after, jitter=self._jitter)
        if entry.circuit.is_open and not was_open:
            log.warning(
                "circuit_opened",
                webhook_id=webhook.id,
                account_id=webhook.account_id,
                failures=entry.circuit.failures,
                failing_seconds=round((now - entry.circuit.failing_since).total_seconds()),
            )

    def let_go(self, claim: Claim) -> None:
        """`claim` was not attempted after all, or its attempt said nothing of the webhook."""
        entry = self._entries.get(claim.webhook_id)
        if entry is not None and entry.probe == claim.delivery_id:
            entry.probe = None

    def forget(self, webhook_id: WebhookId) -> None:
        """It was deleted, or another worker found that it works."""
        self._entries.pop(webhook_id, None)
        self._recovered.discard(webhook_id)

    def put_off_until(self, webhook_id: WebhookId) -> datetime:
        """When a delivery may be looked at again that finds no place in memory."""
        entry = self._entries.get(webhook_id)
        if entry is not None and entry.circuit.is_open:
            return self._slot(entry)
        # Spread, so that they do not all come by again together.
        return self._clock.now() + drawn(SLOW_PUT_OFF if entry is None else PUT_OFF, self._jitter)

    def look_again_at(self) -> datetime:
        """When a delivery that somebody asked for is looked at again, should it find no place in memory."""
        return self._clock.now() + MANUAL_PUT_OFF

    # --- inside ---

    def _entry(self, webhook: Webhook) -> _Entry | None:
        """What is known of it, by us or else by the store. A new URL begins with a clean record."""
        entry = self._entries.get(webhook.id)
        if entry is not None:
            return entry if entry.circuit.url == webhook.url else None
        since, now = webhook.failing_since, self._clock.now()
        if since is None or webhook.id in self._recovered or now - since < self._open_after:
            return None
        entry = self._entries[webhook.id] = _Entry(known_to_fail(webhook.url, since, now))
        return entry

    def _may_go(self, entry: _Entry) -> bool:
        now = self._clock.now()
        if entry.circuit.probe_at is None:
            return True
        if entry.probe is not None and entry.probe_since is not None and now - entry.probe_since > PROBE_LOST_AFTER:
            entry.probe = None
        return entry.probe is None and now >= entry.circuit.probe_at

    def _slot(self, entry: _Entry) -> datetime:
        """The next time that no other resting delivery has: at each probe one comes by, and not all of them."""
        now = self._clock.now()
        slot = max(entry.circuit.probe_at or now, now + SHORTEST_REST)
        if entry.last_slot is not None and entry.last_slot > now:
            entry.slot_gap = min(entry.slot_gap * 2, LONGEST_BETWEEN_PROBES)
            slot = max(slot, entry.last_slot + entry.slot_gap)
        else:
            entry.slot_gap = entry.circuit.interval
        entry.last_slot = min(slot, now + HELD_RECHECK)
        return entry.last_slot
