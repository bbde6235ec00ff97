"""What follows an event from its message to its attempts, for the operators' eyes. Types, and the one that follows
nothing.
"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from typing import Final, Protocol

from router.domain.delivery import Claim
from router.domain.outcome import Classified
from router.ports.delivering import Intake


class BatchTrace(Protocol):
    """The messages of one batch, from `Tracing.received` to `end`."""

    def parent(self, item: Intake) -> str | None:
        """What attempts of this message's event go under, as a W3C `traceparent`; None where it is not followed."""

    def rejected(self, item: Intake, reason: str) -> None:
        """The message could not be understood."""

    def stored(self, events: int, seconds: float) -> None:
        """The events of the batch are durable: so many in one write, which took so long and ends now."""

    def end(self) -> None:
        """The batch is settled."""


class Tracing(Protocol):
    """Nothing of a payload, no number and no URL is in a trace, and nothing of a trace is sent to customers."""

    def received(self, batch: Sequence[Intake], now: datetime) -> BatchTrace:
        """A batch is in work; `now` is on the clock of its times of reception."""

    def attempted(self, claim: Claim, classified: Classified, *, number: int, seconds: float, host: str) -> None:
        """An attempt took so long and ends now."""


class _NotTraced:
    """Follows nothing, at the cost of a call."""

    def received(self, batch: Sequence[Intake], now: datetime) -> BatchTrace:
        return self

    def attempted(self, claim: Claim, classified: Classified, *, number: int, seconds: float, host: str) -> None: ...

    def parent(self, item: Intake) -> None: ...

    def rejected(self, item: Intake, reason: str) -> None: ...

    def stored(self, events: int, seconds: float) -> None: ...

    def end(self) -> None: ...


NOT_TRACED: Final[Tracing] = _NotTraced()
