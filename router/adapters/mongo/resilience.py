"""Persistence towards MongoDB: a call that fails for a passing reason is repeated until it succeeds.

Callers await and see no outage; the back-pressure of that wait is what stops intake. Keeps the one record of whether
the store is up. Every call wrapped here must be repeatable, for a lost reply looks like a failure.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable
from typing import TypeVar

import structlog
from pymongo.errors import BulkWriteError, DocumentTooLarge, InvalidOperation
from tenacity import AsyncRetrying, retry_if_exception, wait_random_exponential

from router.adapters.mongo.driver import is_transient

T = TypeVar("T")
log = structlog.get_logger("router.mongo")

FIRST_WAIT_SECONDS = 0.1
MAX_WAIT_SECONDS = 3.0
BULK_RETRYABLE_CODES = frozenset({64, 89, 91, 112, 189, 262, 10107, 11600, 11602, 13435, 13436})
"""Write concern timeouts, step-downs, shutdowns and write conflicts inside a bulk."""


class StoreHealth:
    """Whether the last call succeeded, and since when it has been failing."""

    def __init__(self) -> None:
        self.down_since: float | None = None
        self.last_ok: float | None = None

    @property
    def is_up(self) -> bool:
        return self.last_ok is not None and self.down_since is None

    def succeeded(self) -> None:
        if self.down_since is not None:
            log.warning("store_recovered", after_seconds=round(time.monotonic() - self.down_since, 1))
        self.down_since = None
        self.last_ok = time.monotonic()

    def failed(self, error: BaseException) -> None:
        if self.down_since is None:
            self.down_since = time.monotonic()
            log.error("store_unavailable", error=type(error).__name__)


def _is_worth_repeating(error: BaseException) -> bool:
    if isinstance(error, BulkWriteError):
        details = error.details or {}
        codes = {entry.get("code") for entry in details.get("writeErrors", ())}
        concern = details.get("writeConcernErrors")
        return bool(concern) or (bool(codes) and codes <= BULK_RETRYABLE_CODES)
    if isinstance(error, DocumentTooLarge | InvalidOperation):
        return False
    return is_transient(error)


class Persistent:
    """Runs store calls to success, sharing one StoreHealth."""

    def __init__(self, health: StoreHealth) -> None:
        self.health = health

    async def __call__(self, call: Callable[[], Awaitable[T]]) -> T:
        """The result of `call`, repeated with growing, jittered waits. Raises only what repeating cannot mend."""
        try:
            result = await call()
        except Exception as error:
            if not _is_worth_repeating(error):
                raise
            self.health.failed(error)
            result = await self._repeat(call)
        self.health.succeeded()
        return result

    async def _repeat(self, call: Callable[[], Awaitable[T]]) -> T:
        async def again() -> T:
            # The library awaits only what it sees to be a coroutine function, and `call` may be a lambda.
            return await call()

        waits = wait_random_exponential(multiplier=FIRST_WAIT_SECONDS, max=MAX_WAIT_SECONDS)
        await asyncio.sleep(FIRST_WAIT_SECONDS)
        return await AsyncRetrying(wait=waits, retry=retry_if_exception(_is_worth_repeating), reraise=True)(again)
