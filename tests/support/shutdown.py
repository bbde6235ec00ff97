"""How long a shutdown may take at most, from the limits in the code. Touches nothing."""

from __future__ import annotations

from typing import Final

from router.adapters.tracing import ABORT_SECONDS, CLOSE_SECONDS
from router.bootstrap import convert, slots, worker
from router.bootstrap.statements import LAST_WORDS_SECONDS
from router.daemon import LEFTOVER_ROUNDS, LEFTOVER_SECONDS
from router.settings import Settings
from router.web.server import SHUTDOWN_SECONDS

_ATTEMPTS = max(schedule.timeout.total_seconds() for schedule in convert.schedules(Settings()).values())

_LEFTOVERS: Final = LEFTOVER_ROUNDS * LEFTOVER_SECONDS
_WORKER: Final = (
    # intake, give-back, close
    3 * worker.STEP_SECONDS
    + _ATTEMPTS
    + worker.FINISH_MARGIN_SECONDS
    + worker.RECORD_SECONDS
    + worker.ANNOUNCE_SECONDS
    + CLOSE_SECONDS
    + ABORT_SECONDS
)

LONGEST_SECONDS: Final = _WORKER + SHUTDOWN_SECONDS + _LEFTOVERS
"""With the settings as they are by default: a longer `delivery.*.timeout_seconds` wants a longer grace period."""
LONGEST_OF_WORKER_PROCESS: Final = _WORKER + LAST_WORDS_SECONDS + _LEFTOVERS
LONGEST_WITH_WORKERS: Final = slots.STOP_SECONDS + SHUTDOWN_SECONDS + _LEFTOVERS
"""Of a parent whose worker processes end in their time."""
