"""How long a worker owns what it claimed. Values only; the store applies them on its own clock."""

from __future__ import annotations

from datetime import timedelta
from typing import Final

LEASE: Final = timedelta(seconds=15)
"""A worker that is silent for longer has lost its claims to the others: a crash delays a retry by at most this."""
RENEW_BELOW: Final = timedelta(seconds=4)
"""A lease with less than this left is renewed. An attempt that begins at once, takes its whole 10 s and has its result
written within a second needs none."""
HOLD_IN_MEMORY: Final = timedelta(seconds=5)
"""A retry due sooner stays with its worker; a later one goes back to the store, open to every worker."""
HELD_RECHECK: Final = timedelta(minutes=5)
"""How often held deliveries of a paused webhook are looked at, should the news of its resumption be missed."""
