"""The demo's own books: what was published, what must therefore arrive, and what did. The router has no part in them.

Keeps values in memory; touches nothing. Times are seconds of one monotonic clock.
"""

from __future__ import annotations

from array import array
from collections import Counter, OrderedDict, deque
from collections.abc import Iterable
from dataclasses import dataclass, field
from enum import StrEnum
from hashlib import sha256
from math import ceil
from typing import Final

from router.demo.telephony import Publication

REMEMBERED: Final = 100_000
"""Delivered ones that are kept to tell a duplicate from a stranger."""
RECENT: Final = 2_000
"""Delays that the live screen's percentiles are of."""

Key = tuple[str, str]
"""Event id and webhook id."""


class Arrival(StrEnum):
    """What a request turns out to be."""

    AWAITED = "awaited"
    DUPLICATE = "duplicate"
    UNEXPECTED = "unexpected"
    FORGED = "forged"
    """The signature is wrong, or the body is not what was published."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Receipt:
    """One request at a customer's server. `nth` counts its delivery's tries, `delay_seconds` is since publishing."""

    arrival: Arrival
    nth: int = 1
    delay_seconds: float | None = None
    publication: Publication | None = None


@dataclass(slots=True, kw_only=True)
class _Awaited:
    publication: Publication
    published_at: float
    digest: bytes
    tries: int = 0


@dataclass(slots=True)
class Ledger:
    """Counts as they stand. A webhook to a dead port is expected here like any other, and never awaited."""

    published: int = 0
    broken: int = 0
    expected: Counter[str] = field(default_factory=Counter)
    """Deliveries that there must be, by webhook."""
    requests: int = 0
    verified: int = 0
    forged: int = 0
    delivered: int = 0
    """Deliveries that a customer took (2xx), each once."""
    retried: int = 0
    """Deliveries that came more than once before they were taken."""
    duplicates: int = 0
    unexpected: int = 0
    delays: array[float] = field(default_factory=lambda: array("d"))
    """From publishing to the first request of each delivery."""
    recent: deque[float] = field(default_factory=lambda: deque(maxlen=RECENT))
    _awaited: dict[Key, _Awaited] = field(default_factory=dict)
    _retrying: set[Key] = field(default_factory=set)
    _taken: OrderedDict[Key, None] = field(default_factory=OrderedDict)
    _unconfirmed: dict[str, Publication] = field(default_factory=dict)

    # --- the platform's side ---

    def announce(self, publication: Publication, at: float) -> None:
        """It is about to be published: it may arrive before the broker has confirmed it."""
        if publication.event_id is None:
            return
        self._unconfirmed[publication.event_id] = publication
        digest = sha256(publication.body).digest()
        for hook in publication.hooks:
            if not hook.dead:
                awaited = _Awaited(publication=publication, published_at=at, digest=digest)
                self._awaited[publication.event_id, hook.id] = awaited

    def confirm(self, publication: Publication) -> None:
        """The broker has it: from now on it must arrive."""
        self.published += 1
        if publication.event_id is None:
            self.broken += 1
            return
        if self._unconfirmed.pop(publication.event_id, None) is not None:
            self.expected.update(hook.id for hook in publication.hooks)

    def give_up_unconfirmed(self) -> int:
        """Nothing is published any more. What the broker never confirmed may have got through or not, so it
        counts only where it was seen to arrive. Returns how many others there are."""
        for publication in list(self._unconfirmed.values()):
            keys = [(publication.event_id or "", hook.id) for hook in publication.hooks]
            if any(key in self._taken or (key in self._awaited and self._awaited[key].tries) for key in keys):
                self.confirm(publication)
            else:
                for key in keys:
                    self._awaited.pop(key, None)
        return len(self._unconfirmed)

    # --- the customers' side ---

    def receive(self, event_id: str, hook_id: str, body: bytes, *, signed: bool, at: float) -> Receipt:
        """A request has come in and is not answered yet."""
        self.requests += 1
        key = (event_id, hook_id)
        awaited = self._awaited.get(key)
        if not signed or (awaited is not None and sha256(body).digest() != awaited.digest):
            self.forged += 1
            return Receipt(arrival=Arrival.FORGED)
        self.verified += 1
        if awaited is None:
            if key in self._taken:
                self.duplicates += 1
                return Receipt(arrival=Arrival.DUPLICATE)
            return self._receive_stranger(event_id, hook_id, at)
        if awaited.tries and key not in self._retrying:
            # The try before is still being answered: nobody asked for another.
            self.duplicates += 1
            return Receipt(arrival=Arrival.DUPLICATE)
        awaited.tries += 1
        delay = at - awaited.published_at
        if awaited.tries == 1:
            self.delays.append(delay)
            self.recent.append(delay)
        elif awaited.tries == 2:
            self.retried += 1
        return Receipt(arrival=Arrival.AWAITED, nth=awaited.tries, delay_seconds=delay, publication=awaited.publication)

    def _receive_stranger(self, event_id: str, hook_id: str, at: float) -> Receipt:
        publication = self._unconfirmed.get(event_id)
        if publication is not None and any(hook.id == hook_id for hook in publication.hooks):
            # Given up by us, and yet the broker had it.
            self.announce(publication, at)
            self.confirm(publication)
            self._awaited[event_id, hook_id].tries = 1
            return Receipt(arrival=Arrival.AWAITED, publication=publication)
        self.unexpected += 1
        return Receipt(arrival=Arrival.UNEXPECTED)

    def answer(self, event_id: str, hook_id: str, *, ok: bool) -> None:
        """The customer has answered a request that was awaited; `ok`: it took the delivery."""
        key = (event_id, hook_id)
        if not ok:
            self._retrying.add(key)
            return
        self._retrying.discard(key)
        if self._awaited.pop(key, None) is None:
            return
        self.delivered += 1
        self._taken[key] = None
        if len(self._taken) > REMEMBERED:
            self._taken.popitem(last=False)

    # --- how it stands ---

    @property
    def waiting(self) -> int:
        """Deliveries that must come and have not been taken yet."""
        return len(self._awaited)

    @property
    def retrying(self) -> int:
        """Deliveries that were refused and are to come again."""
        return len(self._retrying)

    @property
    def unconfirmed(self) -> int:
        return len(self._unconfirmed)


def percentile(values: Iterable[float], share: float) -> float | None:
    """The nearest-rank percentile: the smallest value that `share` of them do not exceed; None without values."""
    ordered = sorted(values)
    return ordered[max(0, ceil(share * len(ordered)) - 1)] if ordered else None
