"""What the demo's screen shows: the latest tries and messages, the counts, and what is going on. Keeps values only."""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from enum import Enum
from typing import Any, Final

from router.demo.crm import Visit
from router.demo.customers import Customer, Hook
from router.demo.ledger import Arrival, Ledger, percentile

KEPT_ROWS: Final = 60
SLOW_SECONDS: Final = 0.2


class Mark(Enum):
    """How a row went; the screen has an icon and a colour for each."""

    GOOD = "good"
    AGAIN = "again"
    BAD = "bad"
    ODD = "odd"


@dataclass(frozen=True, slots=True, kw_only=True)
class Row:
    """One try of a delivery, or one dead letter."""

    at: datetime
    account_id: str = ""
    account_name: str = ""
    webhook: str = ""
    event: str
    mark: Mark
    status: str
    nth: int | None = None
    delay_seconds: float | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Figures:
    """The counts of one moment. Those that only the router knows are None until it was asked."""

    published: int
    delivered: int
    retrying: int
    failed: int | None
    dead_letters: int | None
    p50_seconds: float | None
    p99_seconds: float | None


@dataclass(slots=True, kw_only=True)
class Board:
    """One run. `total_seconds` is how long it publishes, None until it is stopped."""

    ledger: Ledger
    customers: Sequence[Customer]
    total_seconds: float | None
    rows: deque[Row] = field(default_factory=lambda: deque(maxlen=KEPT_ROWS))
    failed: int | None = None
    """Deliveries that ended without success, as the router counted them last; None before it was asked."""
    dead_letters: int | None = None
    phase: str = ""
    """What is going on, once it is no longer publishing."""
    started_at: float = field(default_factory=time.monotonic)
    stopped_at: float | None = None
    """When the last message was published."""
    _owners: Mapping[str, tuple[Customer, Hook]] = field(init=False)
    _shown: set[tuple[str, bool]] = field(default_factory=set)

    def __post_init__(self) -> None:
        self._owners = {hook.id: (customer, hook) for customer in self.customers for hook in customer.hooks}

    @property
    def elapsed_seconds(self) -> float:
        return time.monotonic() - self.started_at

    @property
    def publishing_seconds(self) -> float:
        """For how long it has published."""
        return (self.stopped_at or time.monotonic()) - self.started_at

    def figures(self) -> Figures:
        ledger = self.ledger
        return Figures(
            published=ledger.published,
            delivered=ledger.delivered,
            retrying=ledger.retrying,
            failed=self.failed,
            dead_letters=self.dead_letters,
            p50_seconds=percentile(ledger.recent, 0.50),
            p99_seconds=percentile(ledger.recent, 0.99),
        )

    # --- what happened ---

    def show_visit(self, visit: Visit) -> None:
        """A customer has answered a request."""
        receipt = visit.receipt
        customer, hook = self._owners.get(visit.hook_id, (None, None))
        mark, status = _outcome(visit)
        self.rows.appendleft(
            Row(
                at=datetime.now().astimezone(),
                account_id=customer.account_id if customer else "",
                account_name=customer.name if customer else "",
                webhook=hook.name if hook else visit.hook_id,
                event=receipt.publication.event_name if receipt.publication else "",
                mark=mark,
                status=status,
                nth=receipt.nth,
                delay_seconds=receipt.delay_seconds,
            )
        )

    def show_unreachable(self, hook_id: str, deliveries: Sequence[Mapping[str, Any]]) -> None:
        """What the router says of deliveries to a port where nobody is there to be asked; the newest first.

        A row for the first refusal and one for the end; those between would crowd out everybody else's.
        """
        customer, hook = self._owners[hook_id]
        for delivery in reversed(deliveries):
            ended, tries = delivery["status"] != "pending", delivery["attempt_count"]
            if tries == 0 or (delivery["id"], ended) in self._shown:
                continue
            self._shown.add((delivery["id"], ended))
            attempts = delivery["attempts"]
            error = (attempts[-1]["error"] or "no answer").replace("_", " ") if attempts else "no answer"
            self.rows.appendleft(
                Row(
                    at=datetime.now().astimezone(),
                    account_id=customer.account_id,
                    account_name=customer.name,
                    webhook=hook.name,
                    event=delivery["event_name"] or delivery["event_type"],
                    mark=Mark.BAD if ended else Mark.AGAIN,
                    status=f"failed: {delivery['reason']}" if ended else error,
                    nth=tries,
                )
            )

    def show_dead_letters(self, letters: Sequence[Mapping[str, Any]]) -> None:
        """What the router could not understand; the newest first."""
        for letter in reversed(letters):
            if (letter["id"], True) not in self._shown:
                self._shown.add((letter["id"], True))
                self.rows.appendleft(
                    Row(
                        at=datetime.now().astimezone(),
                        event=letter["reason"].replace("_", " "),
                        mark=Mark.ODD,
                        status="dead letter",
                    )
                )


def _outcome(visit: Visit) -> tuple[Mark, str]:
    mood = visit.mood
    match visit.receipt.arrival:
        case Arrival.FORGED:
            return Mark.BAD, "bad signature"
        case Arrival.DUPLICATE:
            return Mark.ODD, "duplicate"
        case Arrival.UNEXPECTED:
            return Mark.BAD, "not awaited"
        case Arrival.AWAITED if mood.status != 200:
            after = f", retry in {mood.retry_after_seconds} s" if mood.retry_after_seconds else ", again later"
            return Mark.AGAIN, f"{mood.status}{after}"
        case Arrival.AWAITED:
            slow = f" in {mood.delay_seconds:.1f} s" if mood.delay_seconds > SLOW_SECONDS else ""
            return Mark.GOOD, f"delivered{slow}"
