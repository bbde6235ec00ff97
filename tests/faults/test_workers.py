"""Several workers on the same queues and store: one dies, stands still, or lives in another time."""

from __future__ import annotations

import asyncio
import threading
import time
from collections import Counter
from pathlib import Path
from typing import Any

import pytest

from tests.faults.conftest import MakeTrial
from tests.support.customer import OK
from tests.support.fault_checker import Trial
from tests.support.http_server import Exchange, Request, Step, answer, late
from tests.support.router_process import wait_for

HOUR_SECONDS = 3_600
PAUSE_SECONDS = 25
"""Longer than a lease of 15 s."""
IN_FLIGHT = 16
UNAVAILABLE = answer(503)
RETRIES = {
    "ROUTER_DELIVERY__CDR__RETRY_DELAYS_SECONDS": "[1, 6, 6, 6]",
    "ROUTER_DELIVERY__USER__RETRY_DELAYS_SECONDS": "[5.5, 5.5]",
}
"""Retries that are held in memory, and retries that rest in the store, open to every worker."""


class FirstNo:
    """Says no to the first attempt of each delivery, so that retries are shared and raced for."""

    def __init__(self) -> None:
        self._seen: set[tuple[str, str | None]] = set()

    def __call__(self, request: Request) -> Step:
        key = (request.target, request.header("webhook-id"))
        is_first = key not in self._seen
        self._seen.add(key)
        return UNAVAILABLE if is_first else OK


def attempts_in(log: str) -> int:
    return sum('"attempt"' in line for line in log.splitlines())


@pytest.mark.quick
@pytest.mark.fault(30, "two workers, every first attempt fails: nothing is broken")
async def test_two_workers_share_the_work_and_double_nothing(make_trial: MakeTrial) -> None:
    trial = await make_trial()
    trial.customer.behave = FirstNo()
    for kind in ("cdr", "user"):
        trial.define_webhook(kind)
    routers = [await trial.start_router(**RETRIES) for _ in range(2)]
    await asyncio.gather(trial.publish(100, "cdr"), trial.publish(100, "user"))
    await trial.check()
    requests = Counter(each.header("webhook-id") for each in trial.customer.requests)
    assert requests == Counter(dict.fromkeys(trial.confirmed, 2))
    assert all(attempts_in(router.log) for router in routers), "one of the two had nothing to do"


@pytest.mark.quick
@pytest.mark.fault(30, "a router of two worker processes: nothing is broken")
async def test_two_worker_processes_of_one_router_double_nothing(make_trial: MakeTrial) -> None:
    trial = await make_trial()
    trial.define_webhook()
    await trial.start_router(command="serve --workers 2")
    await trial.publish(100)
    await trial.check()


@pytest.mark.fault(30, "two workers, one killed (SIGKILL) under load")
async def test_survivor_takes_over_from_a_worker_that_was_killed(make_trial: MakeTrial) -> None:
    trial = await make_trial()
    trial.customer.behave = lambda _: late(0.3)
    trial.define_webhook()
    dying, _ = [await trial.start_router() for _ in range(2)]
    async with trial.stream(per_second=50):
        await trial.accepted_count(50)
        await dying.kill()
        unrecorded = await trial.unrecorded()
        trial.heal()
        await asyncio.sleep(2)
    await trial.check(duplicates_allowed=unrecorded)


@pytest.mark.fault(30, "two workers, one frozen (SIGSTOP) for 25 s under load, then continued")
async def test_worker_that_slept_past_its_leases_doubles_only_what_was_in_flight(make_trial: MakeTrial) -> None:
    trial = await make_trial()
    trial.customer.behave = lambda _: late(0.3)
    trial.define_webhook()
    sleeper, _ = [await trial.start_router() for _ in range(2)]
    async with trial.stream(per_second=50):
        await trial.accepted_count(50)
        sleeper.pause()
        unrecorded = await trial.unrecorded()
        await asyncio.sleep(PAUSE_SECONDS)
        sleeper.go_on()
        trial.heal()
        await asyncio.sleep(2)
    await trial.check(duplicates_allowed=unrecorded)


@pytest.mark.fault(30, "two workers, one frozen for 25 s in an attempt that then fails")
async def test_worker_that_slept_too_long_records_nothing_over_its_successor(make_trial: MakeTrial) -> None:
    trial = await make_trial()
    awake, held = threading.Event(), threading.Event()

    async def hold_the_first(exchange: Exchange) -> None:
        if held.is_set():
            await exchange.send(OK)
            return
        held.set()
        while not awake.is_set():
            await asyncio.sleep(0.05)
        await exchange.send(answer(500))

    trial.customer.behave = lambda _: hold_the_first
    trial.define_webhook()
    settings = {"ROUTER_DELIVERY__CDR__TIMEOUT_SECONDS": "60"}
    sleeper = await trial.start_router(**settings)
    (event,) = await trial.publish(1)
    await wait_for(held.is_set)
    sleeper.pause()
    began = time.monotonic()
    successor = await trial.start_router(**settings)
    before = await successor.delivery(event_id=event["id"])
    await asyncio.sleep(max(0.0, PAUSE_SECONDS - (time.monotonic() - began)))
    awake.set()
    sleeper.go_on()
    trial.heal()
    await wait_for(lambda: '"result_lost"' in sleeper.log)
    assert await successor.delivery(event_id=event["id"]) == before
    await trial.check()
    assert len(trial.customer.requests) == 2


# --- time ------------------------------------------------------------------------------------------


class WrongClock:
    """A wall clock that one process lives by, and that a test sets; its monotonic clock stays right."""

    def __init__(self, directory: Path) -> None:
        self._file = directory / "faketime"
        self.set_ahead(0)

    def set_ahead(self, seconds: int) -> None:
        self._file.write_text(f"{seconds:+d}\n")

    def settings(self) -> dict[str, str]:
        (library,) = Path("/usr/lib").glob("*/faketime/libfaketime.so.1")
        return {
            "LD_PRELOAD": str(library),
            "FAKETIME_TIMESTAMP_FILE": str(self._file),
            "FAKETIME_CACHE_DURATION": "1",
            "FAKETIME_DONT_FAKE_MONOTONIC": "1",
            "DONT_FAKE_MONOTONIC": "1",
        }


def seconds_ahead(request: Request) -> float:
    """By how much the timestamp of a request is ahead of the time of its arrival, roughly."""
    return int(request.header("webhook-timestamp") or 0) - time.time()


@pytest.mark.fault(31, "two workers, the clock of one jumps an hour ahead, then an hour back")
async def test_clock_that_jumps_moves_signatures_and_nothing_else(make_trial: MakeTrial, tmp_path: Path) -> None:
    trial = await make_trial()
    ahead: list[float] = []
    first_no = FirstNo()

    def behave(request: Request) -> Step:
        ahead.append(seconds_ahead(request))
        return first_no(request)

    trial.customer.behave = behave
    for kind in ("call", "cdr", "user"):
        trial.define_webhook(kind)
    clock = WrongClock(tmp_path)
    await trial.start_router(**RETRIES, **clock.settings())
    await trial.start_router(**RETRIES)
    for seconds in (0, HOUR_SECONDS, -HOUR_SECONDS, 0):
        clock.set_ahead(seconds)
        await asyncio.sleep(1.5)
        await asyncio.gather(*(trial.publish(20, kind) for kind in ("call", "cdr", "user")))
        await asyncio.sleep(3)
    trial.heal()
    # No call expired, no lease ran out early, no retry came early: each delivery has exactly two attempts.
    await trial.check(signatures_may_be_old=True)
    assert {round(each / HOUR_SECONDS) for each in ahead} == {-1, 0, 1}
    requests = Counter((each.target, each.header("webhook-id")) for each in trial.customer.requests)
    assert set(requests.values()) == {2}


# --- definitions -----------------------------------------------------------------------------------


@pytest.mark.fault(50, "two workers, a webhook {what} while its deliveries fail")
@pytest.mark.parametrize("what", ["paused", "deleted"])
async def test_webhook_that_is_switched_off_gets_no_attempt_from_any_worker(make_trial: MakeTrial, what: str) -> None:
    trial = await make_trial()
    trial.customer.behave = lambda request: OK if request.target == kept_path else UNAVAILABLE
    kept, off = trial.define_webhook(), trial.define_webhook()
    kept_path = next(path for path, webhook in trial.paths.items() if webhook == kept)
    for _ in range(2):
        await trial.start_router(ROUTER_DELIVERY__CDR__RETRY_DELAYS_SECONDS=str([1, 1] + [3] * 20))
    await trial.publish(60)
    await wait_for(lambda: len(requests_of(trial, off)) >= 60)
    if what == "paused":
        trial.platform.edit_webhook(off, enabled=False)
    else:
        trial.platform.delete_webhook(off)
    await asyncio.sleep(2)  # within 1 s it is known; and what is in flight ends
    trial.heal()
    at_rest = len(requests_of(trial, off))
    if what == "paused":
        await asyncio.sleep(6)
        assert len(requests_of(trial, off)) == at_rest
        trial.customer.behave = lambda _: OK
        trial.platform.edit_webhook(off, enabled=True)
        await trial.check()
    else:
        await trial.check(statuses={"cancelled": 60})
        assert len(requests_of(trial, off)) == at_rest


def requests_of(trial: Trial, webhook_id: str) -> list[Any]:
    return [each for each in trial.customer.requests if trial.paths[each.target] == webhook_id]


@pytest.mark.quick
@pytest.mark.fault(50, "a webhook deleted and a paused one resumed while no router runs")
async def test_what_changed_while_no_router_ran_is_known_afterwards(make_trial: MakeTrial) -> None:
    trial = await make_trial()
    trial.customer.behave = lambda _: UNAVAILABLE
    deleted, paused = trial.define_webhook("cdr"), trial.define_webhook("user")
    quick = str([0.2] * 50)
    router = await trial.start_router(
        ROUTER_DELIVERY__CDR__RETRY_DELAYS_SECONDS=quick, ROUTER_DELIVERY__USER__RETRY_DELAYS_SECONDS=quick
    )
    await asyncio.gather(trial.publish(1, "cdr"), trial.publish(1, "user"))
    for webhook_id in (deleted, paused):
        await router.delivery(webhook_id=webhook_id, is_so=lambda each: each["attempt_count"] >= 1)
    trial.platform.edit_webhook(paused, enabled=False)
    await wait_for(lambda: trial.platform.database.deliveries.find_one({"held": paused}))
    await router.stop()
    trial.customer.behave = lambda _: OK
    trial.platform.delete_webhook(deleted)
    trial.platform.edit_webhook(paused, enabled=True)
    trial.heal()
    await router.start()
    await trial.check(statuses={"cancelled": 1})


@pytest.mark.quick
@pytest.mark.fault(25, "no router runs while events are published")
async def test_events_that_are_published_while_no_router_runs_are_delivered_afterwards(make_trial: MakeTrial) -> None:
    trial = await make_trial()
    for kind in ("cdr", "user"):
        trial.define_webhook(kind)
    router = await trial.start_router()
    await router.stop()
    await asyncio.gather(trial.publish(100, "cdr"), trial.publish(100, "user"))
    trial.heal()
    await router.start()
    await trial.check()
