"""Calls to the store that are repeated until they succeed. The driver's errors are real, the calls are not."""

from __future__ import annotations

from collections.abc import Awaitable, Callable

import pytest
from pymongo.errors import AutoReconnect, BulkWriteError, DocumentTooLarge, OperationFailure, PyMongoError
from structlog.testing import capture_logs

from router.adapters.mongo import resilience
from router.adapters.mongo.resilience import Persistent, StoreHealth
from router.domain.errors import DependencyUnavailable


@pytest.fixture(autouse=True)
def _without_waiting(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(resilience, "FIRST_WAIT_SECONDS", 0)
    monkeypatch.setattr(resilience, "MAX_WAIT_SECONDS", 0)


class Call:
    """A call that raises `errors` one after the other, and then returns its number."""

    def __init__(self, *errors: Exception) -> None:
        self._errors = list(errors)
        self.count = 0

    async def __call__(self) -> int:
        self.count += 1
        if self._errors:
            raise self._errors.pop(0)
        return self.count


def as_it_is(call: Call) -> Callable[[], Awaitable[int]]:
    return call


def as_a_method(call: Call) -> Callable[[], Awaitable[int]]:
    return call.__call__


def as_a_lambda(call: Call) -> Callable[[], Awaitable[int]]:
    return call


@pytest.mark.parametrize("form", [as_it_is, as_a_method, as_a_lambda])
@pytest.mark.parametrize("failures", [0, 1, 2, 5])
async def test_every_form_of_a_call_is_awaited_each_time_until_it_succeeds(
    form: Callable[[Call], Callable[[], Awaitable[int]]], failures: int
) -> None:
    call = Call(*[AutoReconnect("gone") for _ in range(failures)])

    assert await Persistent(StoreHealth())(form(call)) == failures + 1


def bulk_error(*codes: int, concern: bool = False) -> BulkWriteError:
    return BulkWriteError(
        {
            "writeErrors": [{"index": 0, "code": code} for code in codes],
            "writeConcernErrors": [{"code": 64}] if concern else [],
        }
    )


@pytest.mark.parametrize(
    ("error", "is_repeated"),
    [
        (AutoReconnect("gone"), True),
        (OperationFailure("stepped down", 189), True),
        (OperationFailure("too slow", 262), True),
        (OperationFailure("credentials were changed", 18), True),
        (OperationFailure("the disk is full", 14031), True),
        (OperationFailure("bad value", 2), False),
        (DocumentTooLarge("17 MiB"), False),
        (bulk_error(concern=True), True),
        (bulk_error(91), True),
        (bulk_error(91, 121), False),
        (bulk_error(121), False),
        (bulk_error(91, 11000), True),
        (bulk_error(11000), False),
    ],
    ids=repr,
)
async def test_only_what_repeating_can_mend_is_repeated(error: PyMongoError, is_repeated: bool) -> None:
    call = Call(error)
    persistently = Persistent(StoreHealth())

    if is_repeated:
        assert await persistently(call) == 2
    else:
        with pytest.raises(type(error)):
            await persistently(call)
        assert call.count == 1


async def test_an_error_that_cannot_be_mended_ends_the_repetition() -> None:
    call = Call(AutoReconnect("gone"), DocumentTooLarge("17 MiB"))

    with pytest.raises(DocumentTooLarge):
        await Persistent(StoreHealth())(call)
    assert call.count == 2


async def test_health_shows_an_outage_from_the_first_failure_to_the_next_success() -> None:
    health = StoreHealth()
    assert not health.is_up
    seen: list[bool] = []

    async def call() -> None:
        seen.append(health.is_up)
        if len(seen) < 3:
            raise AutoReconnect("gone")

    health.succeeded()
    await Persistent(health)(call)

    assert seen == [True, False, False]
    assert health.is_up


@pytest.mark.parametrize(
    "error",
    [
        AutoReconnect("gone"),
        DependencyUnavailable("MongoDB cannot be reached", seen="AutoReconnect: no answer in time"),
    ],
)
def test_an_outage_is_told_by_what_the_driver_calls_it(error: Exception) -> None:
    with capture_logs() as log:
        StoreHealth().failed(error)

    assert log == [{"event": "store_unavailable", "error": "AutoReconnect", "code": None, "log_level": "error"}]


async def test_a_call_with_a_better_time_is_tried_once() -> None:
    health, call = StoreHealth(), Call(AutoReconnect("gone"))
    persistently = Persistent(health)

    with pytest.raises(DependencyUnavailable):
        await persistently.once(call)

    assert not health.is_up
    assert await persistently.once(call) == 2
    assert health.is_up


def test_a_store_is_steady_some_time_after_an_outage_and_at_once_without_one() -> None:
    now = Time()
    health = StoreHealth(now)
    health.succeeded()
    steady = [health.is_steady]

    health.failed(AutoReconnect("gone"))
    steady.append(health.is_steady)
    health.succeeded()
    steady.append(health.is_steady)
    now.seconds += resilience.STEADY_AFTER_SECONDS
    steady.append(health.is_steady)

    assert steady == [True, False, False, True]


class Time:
    seconds = 100.0

    def __call__(self) -> float:
        return self.seconds


def test_a_call_that_took_long_is_a_stall_now_and_then() -> None:
    now = Time()
    health = StoreHealth(now)
    health.succeeded()
    stalls, steady = [], []
    for seconds, pause in (
        (resilience.STALL_SECONDS - 0.1, 0),
        (resilience.STALL_SECONDS, 0),
        (60, resilience.STEADY_AFTER_SECONDS),  # a store that is always slow is worked with
        (resilience.STALL_SECONDS, resilience.STALL_AGAIN_SECONDS),
    ):
        now.seconds += pause
        stalls.append(health.took(seconds))
        steady.append(health.is_steady)

    assert stalls == [False, True, False, True]
    assert steady == [True, False, True, False]
