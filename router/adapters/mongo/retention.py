"""How long documents are kept. Values only."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import timedelta


@dataclass(frozen=True, slots=True, kw_only=True)
class Retention:
    """How long documents are kept once they are over."""

    payload: timedelta
    log: timedelta
