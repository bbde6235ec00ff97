"""Persistence towards MongoDB: a call that fails for a passing reason is repeated until it succeeds.

Callers await and see no outage; the back-pressure of that wait is what stops intake. Keeps the one record of whether
the store is up. Every call wrapped here must be repeatable, for a lost reply looks like a failure.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable
from typing import Final, TypeVar

import structlog
from pymongo.errors import (
    BulkWriteError,
    ConfigurationError,
    DocumentTooLarge,
    InvalidOperation,
    OperationFailure,
    PyMongoError,
)
from tenacity import AsyncRetrying, retry_if_exception, wait_random_exponential

from router.domain.errors import DependencyUnavailable

T = TypeVar("T")
log = structlog.get_logger("router.mongo")

FIRST_WAIT_SECONDS: Final = 0.1
MAX_WAIT_SECONDS: Final = 3.0
STEADY_AFTER_SECONDS: Final = 5.0
"""After an outage, every worker has recorded what it had by then: more than the longest wait between two tries."""
DUPLICATE_KEY: Final = 11_000
STALL_SECONDS: Final = 3.0
"""A call that took so long may have outlasted leases, although no call failed."""
STALL_AGAIN_SECONDS: Final = 30.0
"""A store that is always slow stalls no more often than that: it must still be worked with."""
OF_THE_DOCUMENT: Final = frozenset(
    {2, 9, 14, 22, 52, 56, 57, 59, 72, 115, 121, 10_334, DUPLICATE_KEY, 17_280, 17_419, 17_420}
)
"""Codes of a server that refuses what it was given, whoever asks and whenever: bad values and names, commands that it
does not know, validation, size, duplicates. Everything else may pass, a full disk and lost permissions included."""


class StoreHealth:
    """Whether the last call succeeded, and since when it has been so. `now` gives monotonic seconds."""

    def __init__(self, now: Callable[[], float] = time.monotonic) -> None:
        self._now = now
        self.down_since: float | None = None
        self._up_since: float | None = None
        self._seen: tuple[str, int | None] | None = None
        self._stalled_at: float | None = None

    @property
    def is_up(self) -> bool:
        return self._up_since is not None and self.down_since is None

    @property
    def is_steady(self) -> bool:
        """Whether the last outage, if there was one, is long enough ago for every worker to have noticed its end."""
        was_down = self._seen is not None or self._stalled_at is not None
        settled = self._up_since is not None and self._now() - self._up_since >= STEADY_AFTER_SECONDS
        return self.is_up and (settled or not was_down)

    def succeeded(self) -> None:
        if self.down_since is not None:
            log.warning("store_recovered", after_seconds=round(self._now() - self.down_since, 1))
        if not self.is_up:
            self._up_since = self._now()
        self.down_since = None

    def took(self, seconds: float) -> bool:
        """Note how long a call that succeeded took. True where it was a stall, after which claims have to wait."""
        now = self._now()
        if seconds < STALL_SECONDS or (self._stalled_at is not None and now - self._stalled_at < STALL_AGAIN_SECONDS):
            return False
        log.warning("store_stalled", seconds=round(seconds, 1))
        self._stalled_at = self._up_since = now
        return True

    def failed(self, error: BaseException) -> None:
        """Note a failure; one line in the log for each outage, and one more where its cause changes."""
        # Our own say what was seen, beginning with the driver's class.
        told = error.seen.partition(":")[0] if isinstance(error, DependencyUnavailable) else ""
        kind = told or type(error).__name__
        cause = (kind, error.code if isinstance(error, OperationFailure) else None)
        if self.down_since is None or (cause[1] is not None and cause != self._seen):
            log.error("store_unavailable", error=cause[0], code=cause[1])
        self._seen = cause
        if self.down_since is None:
            self.down_since = self._now()


def is_passing(error: BaseException) -> bool:
    """Whether the same call may succeed later."""
    if isinstance(error, BulkWriteError):
        details = error.details or {}
        codes = {entry.get("code") for entry in details.get("writeErrors", ())}
        # Duplicates beside another failure are what a first try has written.
        others = codes - {DUPLICATE_KEY}
        return bool(details.get("writeConcernErrors")) or (bool(others) and not others & OF_THE_DOCUMENT)
    if isinstance(error, OperationFailure):
        return error.code not in OF_THE_DOCUMENT
    return isinstance(error, PyMongoError) and not isinstance(
        error, DocumentTooLarge | InvalidOperation | ConfigurationError
    )


class Persistent:
    """Runs store calls to success, sharing one StoreHealth."""

    def __init__(self, health: StoreHealth) -> None:
        self.health = health

    async def __call__(self, call: Callable[[], Awaitable[T]]) -> T:
        """The result of `call`, repeated with growing, jittered waits. Raises only what repeating cannot mend."""
        asked = time.monotonic()
        try:
            result = await call()
        except Exception as error:
            if not is_passing(error):
                raise
            self.health.failed(error)
            result = await self._repeat(call)
            asked = time.monotonic()
        self.health.succeeded()
        self.health.took(time.monotonic() - asked)
        return result

    async def once(self, call: Callable[[], Awaitable[T]]) -> T:
        """The result of `call`, which has a better time to be repeated. Raises DependencyUnavailable while the store
        is away, and where it stood still meanwhile: what was found then may be outdated."""
        asked = time.monotonic()
        try:
            result = await call()
        except Exception as error:
            if not is_passing(error):
                raise
            self.health.failed(error)
            raise DependencyUnavailable(f"MongoDB did not answer ({type(error).__name__})") from None
        self.health.succeeded()
        if self.health.took(time.monotonic() - asked):
            raise DependencyUnavailable("MongoDB stood still")
        return result

    async def _repeat(self, call: Callable[[], Awaitable[T]]) -> T:
        async def again() -> T:
            # The library awaits only what it sees to be a coroutine function, and `call` may be a lambda.
            try:
                return await call()
            except Exception as error:
                if is_passing(error):
                    self.health.failed(error)
                raise

        waits = wait_random_exponential(multiplier=FIRST_WAIT_SECONDS, max=MAX_WAIT_SECONDS)
        await asyncio.sleep(FIRST_WAIT_SECONDS)
        return await AsyncRetrying(wait=waits, retry=retry_if_exception(is_passing), reraise=True)(again)
