"""MongoDB goes away, stands still, refuses or forgets to answer: intake stops, nothing is lost, all goes on alone."""

from __future__ import annotations

import asyncio
import threading
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import psutil
import pytest

from tests.faults.conftest import MakeTrial
from tests.support.breakable import BreakableStore
from tests.support.customer import OK
from tests.support.fault_checker import Trial
from tests.support.fault_proxy import FaultProxy, Protocol
from tests.support.http_server import answer, late
from tests.support.router_process import RouterProcess, wait_for

WRITES = ("insert", "update", "findAndModify")
EVERYTHING = (*WRITES, "find", "aggregate", "getMore", "hello", "ping")
OUTAGE_SECONDS = 25
"""Longer than a lease, so that what is held in memory has to be won back."""
PROBE_SECONDS = 2.0
"""A probe that takes longer was held up by the store."""
MANY_RETRIES = {"ROUTER_DELIVERY__USER__RETRY_DELAYS_SECONDS": str([1] * 50)}


class Probes:
    """Asks a router's probes all the while; what they said, and the longest time that an answer took."""

    def __init__(self, router: RouterProcess) -> None:
        self._router = router
        self.live: set[int] = set()
        self.ready: list[int] = []
        self.slowest_seconds = 0.0

    async def watch(self) -> None:
        while True:
            for path in ("/livez", "/readyz"):
                asked = time.monotonic()
                status, _ = await self._router.get(path)
                self.slowest_seconds = max(self.slowest_seconds, time.monotonic() - asked)
                if path == "/livez":
                    self.live.add(status)
                else:
                    self.ready.append(status)
            await asyncio.sleep(0.2)


@asynccontextmanager
async def probing(router: RouterProcess) -> AsyncIterator[Probes]:
    """Probe for as long as the block lasts; liveness stays green, and no probe waits for the store."""
    probes = Probes(router)
    task = asyncio.create_task(probes.watch(), name="probes")
    try:
        yield probes
    finally:
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)
    assert probes.live == {200}
    assert probes.slowest_seconds < PROBE_SECONDS


async def is_not_ready(router: RouterProcess) -> bool:
    return (await router.get("/readyz"))[0] == 503


def cpu_seconds(router: RouterProcess) -> float:
    times = psutil.Process(router.pid).cpu_times()
    return times.user + times.system


def before(trial: Trial) -> FaultProxy:
    return FaultProxy.before(trial.platform.mongo_url, protocol=Protocol.MONGO)


# --- 17: stepping down -----------------------------------------------------------------------------


@pytest.mark.fault(17, "primary steps down under load, for 8 s, twice")
async def test_step_down_under_load_records_nothing_twice(make_trial: MakeTrial, own_store: BreakableStore) -> None:
    trial = await make_trial(store=own_store)
    trial.define_webhook()
    trial.define_webhook()
    router = await trial.start_router()
    async with trial.stream(per_second=50), probing(router):
        for _ in range(2):
            await trial.confirmed_count(len(trial.confirmed) + 50)
            own_store.step_down(8)
            await asyncio.sleep(8)
        trial.heal()
        await trial.confirmed_count(len(trial.confirmed) + 50)
    await trial.check()


# --- 18: away --------------------------------------------------------------------------------------


@pytest.mark.fault(18, "store {how} for 25 s under load, attempts in flight")
@pytest.mark.parametrize("how", ["killed (SIGKILL)", "frozen (SIGSTOP)"])
async def test_store_that_is_away_stops_the_intake_and_loses_nothing(
    make_trial: MakeTrial, own_store: BreakableStore, how: str
) -> None:
    trial = await make_trial(store=own_store)
    trial.customer.behave = lambda _: late(0.5)
    trial.define_webhook()
    router = await trial.start_router()
    async with trial.stream(per_second=20), probing(router) as probes:
        await trial.accepted_count(20)
        if "SIGKILL" in how:
            await own_store.kill()
        else:
            own_store.freeze()
        await wait_for(lambda: is_not_ready(router))
        used, lines = cpu_seconds(router), len(router.log.splitlines())
        await asyncio.sleep(OUTAGE_SECONDS)
        assert cpu_seconds(router) - used < 0.3 * OUTAGE_SECONDS, "it spins"
        assert len(router.log.splitlines()) - lines < 200, "it floods its log"
        if "SIGKILL" in how:
            await own_store.start()
        else:
            own_store.thaw()
        trial.heal()
        await wait_for(router.is_ready)
        assert 503 in probes.ready
    await trial.check()


@pytest.mark.fault(18, "store killed while retries wait, and events keep coming")
async def test_retry_goes_on_after_the_store_was_killed(make_trial: MakeTrial, own_store: BreakableStore) -> None:
    trial = await make_trial(store=own_store)
    fails = threading.Event()
    fails.set()
    trial.customer.behave = lambda request: (
        answer(503) if request.header("x-webhook-event") == "user" and fails.is_set() else OK
    )
    trial.define_webhook()
    trial.define_webhook("user")
    router = await trial.start_router(**MANY_RETRIES)
    await trial.publish(30)
    (retried,) = await trial.publish(1, "user")
    await trial.accepted_count(10)
    await own_store.kill()
    await trial.publish(30)
    await wait_for(lambda: is_not_ready(router))
    assert (await router.get("/livez"))[0] == 200
    await own_store.start()
    trial.heal()
    await wait_for(router.is_ready)
    await trial.publish(30)
    fails.clear()
    await trial.check()
    assert sum(each.header("webhook-id") == retried["id"] for each in trial.customer.requests) >= 2


@pytest.mark.fault(18, "store away, and the router stopped (SIGTERM) meanwhile: exit 0, started after it is back")
async def test_stop_while_the_store_is_away_ends_in_time_and_loses_nothing(
    make_trial: MakeTrial, own_store: BreakableStore
) -> None:
    trial = await make_trial(store=own_store)
    trial.customer.behave = lambda _: late(0.5)
    trial.define_webhook()
    router = await trial.start_router()
    async with trial.stream(per_second=20):
        await trial.accepted_count(20)
        await own_store.kill()
        await asyncio.sleep(3)
        assert await router.ask_to_stop() == 0
        await own_store.start()
        unrecorded = await trial.unrecorded()
        trial.heal()
        await router.start()
    # What could not be recorded is sent again: the one thing that a stop without its store may double.
    await trial.check(duplicates_allowed=unrecorded)


@pytest.mark.fault(18, "network to the store: {what}, for 12 s")
@pytest.mark.parametrize("what", ["black hole", "refused and reset", "half-open"])
async def test_network_to_the_store_that_is_broken_is_waited_out(make_trial: MakeTrial, what: str) -> None:
    trial = await make_trial()
    trial.define_webhook()
    async with before(trial) as proxy:
        router = await trial.start_router(ROUTER_MONGO__URL=proxy.url)
        async with trial.stream(per_second=50), probing(router):
            await trial.confirmed_count(50)
            match what:
                case "black hole":
                    proxy.black_hole()
                case "half-open":
                    proxy.half_open()
                case _:
                    await proxy.refuse()
                    proxy.reset()
            await asyncio.sleep(12)
            proxy.heal()
            await proxy.accept()
            trial.heal()
            await trial.confirmed_count(len(trial.confirmed) + 50)
        await trial.check()


# --- 19: slow --------------------------------------------------------------------------------------


@pytest.mark.fault(19, "every command of the store takes 2 s, for 20 s")
async def test_slow_store_slows_the_intake_and_no_probe(make_trial: MakeTrial, own_store: BreakableStore) -> None:
    trial = await make_trial(store=own_store)
    trial.define_webhook()
    router = await trial.start_router()
    async with trial.stream(per_second=50), probing(router):
        await trial.confirmed_count(50)
        own_store.fail(*EVERYTHING, blockTimeMS=2_000)
        await asyncio.sleep(20)
        own_store.stop_failing()
        trial.heal()
    await trial.check()


@pytest.mark.fault(19, "slow network to the store: 200 ms each way, for 15 s")
async def test_slow_network_to_the_store_loses_and_doubles_nothing(make_trial: MakeTrial) -> None:
    trial = await make_trial()
    trial.define_webhook()
    async with before(trial) as proxy:
        router = await trial.start_router(ROUTER_MONGO__URL=proxy.url)
        async with trial.stream(per_second=50), probing(router):
            proxy.delay(0.2)
            await asyncio.sleep(15)
            proxy.heal()
            trial.heal()
        await trial.check()


# --- 20, 21, 28: writes that are and are not -------------------------------------------------------


@pytest.mark.fault(20, "`{command}` into `{collection}` applied, its reply lost; five times")
@pytest.mark.parametrize(
    ("command", "collection"),
    [("insert", "events"), pytest.param("insert", "deliveries", marks=pytest.mark.quick), ("update", "deliveries")],
)
async def test_write_whose_reply_is_lost_is_done_once(make_trial: MakeTrial, command: str, collection: str) -> None:
    trial = await make_trial()
    trial.define_webhook()
    if command == "update":
        trial.customer.behave = lambda _: late(0.5)  # a result that comes sooner is inserted with its delivery
    async with before(trial) as proxy:
        await trial.start_router(ROUTER_MONGO__URL=proxy.url)
        async with trial.stream(per_second=50):
            await trial.confirmed_count(20)
            # More than the one repetition that the driver makes itself.
            losses = proxy.lose_replies(5, commands=[command], collection=collection)
            await wait_for(lambda: losses.is_over)
            trial.heal()
            await trial.confirmed_count(len(trial.confirmed) + 20)
        await trial.check()


@pytest.mark.fault(21, "write concern error {code}: written, not yet by the majority; six writes")
@pytest.mark.parametrize("code", [pytest.param(64, marks=pytest.mark.quick), 91])
async def test_write_that_the_majority_did_not_confirm_is_repeated(
    make_trial: MakeTrial, own_store: BreakableStore, code: int
) -> None:
    trial = await make_trial(store=own_store)
    trial.define_webhook()
    await trial.start_router()
    async with trial.stream(per_second=50):
        await trial.confirmed_count(20)
        own_store.fail("insert", "update", times=6, writeConcernError={"code": code, "errmsg": "waiting"})
        await trial.confirmed_count(len(trial.confirmed) + 100)
        trial.heal()
    await trial.check()


@pytest.mark.quick
@pytest.mark.fault(28, "store closes the connection on six writes running")
async def test_connection_that_is_closed_on_a_write_is_repeated(
    make_trial: MakeTrial, own_store: BreakableStore
) -> None:
    trial = await make_trial(store=own_store)
    trial.define_webhook()
    await trial.start_router()
    async with trial.stream(per_second=50):
        await trial.confirmed_count(20)
        own_store.fail(*WRITES, times=6, closeConnection=True)
        await trial.confirmed_count(len(trial.confirmed) + 100)
        trial.heal()
    await trial.check()


# --- 22: refusing ----------------------------------------------------------------------------------


@pytest.mark.fault(22, "store answers every write with error {code} ({name}) for 5 s")
@pytest.mark.parametrize(
    ("code", "name"),
    [
        (14031, "OutOfDiskSpace"),
        (13, "Unauthorized"),
        (91, "ShutdownInProgress"),
        (112, "WriteConflict"),
        (8, "UnknownError"),
    ],
)
async def test_store_that_refuses_writes_is_waited_for_and_nothing_is_parked(
    make_trial: MakeTrial, own_store: BreakableStore, code: int, name: str
) -> None:
    trial = await make_trial(store=own_store)
    trial.define_webhook()
    router = await trial.start_router()
    async with trial.stream(per_second=50), probing(router):
        await trial.confirmed_count(50)
        own_store.fail(*WRITES, errorCode=code)
        await wait_for(lambda: is_not_ready(router), within_seconds=10)
        used, lines = cpu_seconds(router), len(router.log.splitlines())
        await asyncio.sleep(5)
        assert cpu_seconds(router) - used < 0.3 * 5, f"it spins on {name}"
        assert len(router.log.splitlines()) - lines < 100
        own_store.stop_failing()
        trial.heal()
        await trial.confirmed_count(len(trial.confirmed) + 20)
    await trial.check(dead_letters=0)


@pytest.mark.fault(22, "store's disk full for 8 s: every command fails, until it is started again with room")
async def test_store_on_a_full_disk_is_waited_for_and_nothing_is_parked(
    make_trial: MakeTrial, own_store: BreakableStore
) -> None:
    trial = await make_trial(store=own_store)
    trial.define_webhook()
    router = await trial.start_router()
    async with trial.stream(per_second=50), probing(router):
        await trial.confirmed_count(50)
        own_store.fill_disk()
        await wait_for(lambda: is_not_ready(router), within_seconds=20)
        used, lines = cpu_seconds(router), len(router.log.splitlines())
        await asyncio.sleep(8)
        assert cpu_seconds(router) - used < 0.3 * 8, "it spins"
        assert len(router.log.splitlines()) - lines < 100
        await own_store.kill()
        await own_store.start()
        trial.heal()
        await trial.confirmed_count(len(trial.confirmed) + 20)
    await trial.check(dead_letters=0)


# --- 24: definitions -------------------------------------------------------------------------------


@pytest.mark.fault(24, "change stream: {what}; a webhook is paused meanwhile")
@pytest.mark.parametrize(
    ("what", "data"),
    [
        pytest.param("history lost (286)", {"errorCode": 286}, marks=pytest.mark.quick),
        ("invalidated cursor (43)", {"errorCode": 43}),
        ("connection closed", {"closeConnection": True}),
    ],
)
async def test_change_during_a_lost_stream_is_not_missed(
    make_trial: MakeTrial, own_store: BreakableStore, what: str, data: dict[str, Any]
) -> None:
    trial = await make_trial(store=own_store)
    kept, paused = trial.define_webhook(), trial.define_webhook()
    router = await trial.start_router()
    await trial.publish(10)
    await trial.settled()
    own_store.fail("getMore", **data)
    await asyncio.sleep(1.5)  # by now every stream that there was is over
    trial.platform.edit_webhook(paused, enabled=False)

    async def is_paused(webhook_id: str) -> bool:
        probe = trial.make_event()
        await trial.platform.publish(probe)
        trial.unconfirmed[probe["id"]] = probe
        trace = (await router.event(trial.account, probe["id"]))["trace"]
        return any((line["webhook_id"], line["verdict"]) == (webhook_id, "paused") for line in trace)

    await wait_for(lambda: is_paused(paused), within_seconds=10)
    own_store.stop_failing()
    trial.heal()
    del trial.webhooks[paused]
    last = [event["id"] for event in await trial.publish(10)]
    await trial.accepted_count(30)
    # What was decided on before the pause was known is held, and goes on with it.
    trial.platform.edit_webhook(paused, enabled=True)
    await trial.check()
    found = trial.platform.database.deliveries.find({"event_id": {"$in": last}}, {"webhook_id": 1})
    assert {each["webhook_id"] for each in found} == {kept}
