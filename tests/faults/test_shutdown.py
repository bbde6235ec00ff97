"""A router is told to stop, at any moment and in any company: it ends clean and in time, and doubles nothing."""

from __future__ import annotations

import asyncio
import os
import signal
import socket
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from router.adapters.embedded.broker import RabbitNode
from tests.faults.conftest import MakeTrial
from tests.support.breakable import BreakableStore, apart
from tests.support.customer import OK
from tests.support.fault_checker import Trial
from tests.support.http_server import Exchange, answer, late, never_answer
from tests.support.router_process import STOP_SECONDS, RouterProcess, wait_for

QUORUM_QUEUE_SETTLES_SECONDS = 2
DEFINITION_IS_SAFE_SECONDS = 1
"""Our definitions are written as the back office writes them: on the disk a moment after they were acknowledged."""
SLOW_SECONDS = 3.0
MANY_WEBHOOKS, MANY_IN_FLIGHT = 24, 300


def in_flight(trial: Trial) -> int:
    return len(trial.customer.requests) - len(trial.customer.accepted)


def leased(trial: Trial) -> int:
    """Deliveries that a worker would have to wait for."""
    return int(trial.platform.database.deliveries.count_documents({"status": "pending", "lease.owner": {"$ne": None}}))


async def stop_in_time(router: RouterProcess, *, within_seconds: float = STOP_SECONDS) -> None:
    code = await router.ended(within_seconds=within_seconds)
    assert code == 0, f"exit code {code}:\n{router.last_words}"


# --- 29: under load --------------------------------------------------------------------------------


@pytest.mark.fault(29, "{name} with 300 slow requests in flight and more waiting; started again")
@pytest.mark.parametrize("name", ["SIGTERM", "SIGINT"])
async def test_stop_with_hundreds_in_flight_finishes_them_and_gives_the_rest_back(
    make_trial: MakeTrial, name: str
) -> None:
    trial = await make_trial()
    trial.customer.behave = lambda _: late(SLOW_SECONDS)
    for _ in range(MANY_WEBHOOKS):
        trial.define_webhook()
    router = await trial.start_router()
    await trial.publish(40)
    await wait_for(lambda: in_flight(trial) >= MANY_IN_FLIGHT)
    os.kill(router.pid, signal.Signals[name])
    await stop_in_time(router)
    assert await trial.unrecorded() == 0, "it was answered, and it is not written down"
    assert leased(trial) == 0, "somebody has to wait for a lease"
    assert len(trial.customer.requests) < len(trial.expected), "it did not stop, it finished"
    trial.customer.behave = lambda _: OK
    trial.heal()
    await router.start()
    await trial.check()


@pytest.mark.parametrize("command", ["serve", "serve --workers 2"])
@pytest.mark.fault(29, "`{command}`: second SIGTERM while requests hang that nobody answers; started again")
async def test_second_signal_does_not_wait_for_what_hangs(make_trial: MakeTrial, command: str) -> None:
    trial = await make_trial()
    dead = threading.Event()

    async def hang(exchange: Exchange) -> None:
        if dead.is_set():
            await exchange.send(OK)
        else:
            await exchange.client_gone()

    trial.customer.behave = lambda _: hang
    for _ in range(MANY_WEBHOOKS):
        trial.define_webhook()
    router = await trial.start_router(command=command, ROUTER_DELIVERY__CDR__TIMEOUT_SECONDS="120")
    await trial.publish(20)
    await wait_for(lambda: in_flight(trial) >= MANY_IN_FLIGHT)
    router.terminate()
    await wait_for(lambda: '"stopping"' in router.log)
    router.terminate()
    await stop_in_time(router, within_seconds=20)
    assert leased(trial) == 0
    dead.set()
    trial.heal()
    await router.start()
    await trial.check()


@pytest.mark.fault(29, "SIGTERM to a router of two worker processes, slow requests in flight")
async def test_stop_of_worker_processes_is_as_clean(make_trial: MakeTrial) -> None:
    trial = await make_trial()
    trial.customer.behave = lambda _: late(SLOW_SECONDS)
    for _ in range(4):
        trial.define_webhook()
    router = await trial.start_router(command="serve --workers 2")
    await trial.publish(60)
    await wait_for(lambda: in_flight(trial) >= 32)
    router.terminate()
    await stop_in_time(router)
    assert (await trial.unrecorded(), leased(trial)) == (0, 0)
    trial.customer.behave = lambda _: OK
    trial.heal()
    await router.start()
    await trial.check()


@pytest.mark.fault(29, "SIGTERM with retries in memory and events in the queue, ten times running")
async def test_router_that_is_stopped_again_and_again_doubles_nothing(make_trial: MakeTrial) -> None:
    trial = await make_trial()
    seen: set[str | None] = set()

    async def first_no(exchange: Exchange) -> None:
        event_id = exchange.request.header("webhook-id")
        is_first = event_id not in seen
        seen.add(event_id)
        await exchange.send(answer(503) if is_first else OK)

    trial.customer.behave = lambda _: first_no
    trial.define_webhook()
    router = await trial.start_router(ROUTER_DELIVERY__CDR__RETRY_DELAYS_SECONDS="[2, 2]")
    async with trial.stream(per_second=100):
        for number in range(10):
            await trial.confirmed_count(100 * (number + 1))
            await router.stop()
            assert leased(trial) == 0
            await router.start()
        trial.heal()
    await trial.check()


# --- 29: in bad company ----------------------------------------------------------------------------


@pytest.mark.fault(29, "SIGTERM while the store is frozen (SIGSTOP), requests in flight that {how}")
@pytest.mark.parametrize("how", ["are answered", "hang"])
async def test_stop_while_the_store_stands_still_ends_in_time(
    make_trial: MakeTrial, own_store: BreakableStore, how: str
) -> None:
    trial = await make_trial(store=own_store)
    trial.customer.behave = lambda _: late(SLOW_SECONDS) if how == "are answered" else never_answer
    for _ in range(4):
        trial.define_webhook()
    router = await trial.start_router()
    await trial.publish(50)
    async with trial.stream(per_second=20):
        await wait_for(lambda: in_flight(trial) >= 32)
        own_store.freeze()
        await asyncio.sleep(1)
        router.terminate()
        began = time.monotonic()
        code = await router.ended(within_seconds=90)
        took = time.monotonic() - began
    assert (code, took < STOP_SECONDS) == (0, True), f"exit code {code} after {took:.0f} s:\n{router.last_words}"
    own_store.thaw()
    unrecorded = await trial.unrecorded()
    trial.customer.behave = lambda _: OK
    trial.heal()
    await router.start()
    await trial.check(duplicates_allowed=unrecorded)


@pytest.mark.fault(29, "SIGTERM while the store is gone (SIGKILL), requests in flight")
async def test_stop_while_the_store_is_gone_ends_in_time(make_trial: MakeTrial, own_store: BreakableStore) -> None:
    trial = await make_trial(store=own_store)
    trial.customer.behave = lambda _: late(SLOW_SECONDS)
    trial.define_webhook()
    router = await trial.start_router()
    await trial.publish(50)
    await wait_for(lambda: in_flight(trial) >= 16)
    await own_store.kill()
    router.terminate()
    await stop_in_time(router)
    await own_store.start()
    unrecorded = await trial.unrecorded()
    trial.customer.behave = lambda _: OK
    trial.heal()
    await router.start()
    await trial.check(duplicates_allowed=unrecorded)


@pytest.mark.fault(29, "SIGTERM while the broker is gone (SIGKILL), requests in flight")
async def test_stop_while_the_broker_is_gone_finishes_what_is_in_flight(
    make_trial: MakeTrial, own_broker: RabbitNode
) -> None:
    trial = await make_trial(broker=own_broker)
    trial.customer.behave = lambda _: late(SLOW_SECONDS)
    trial.define_webhook()
    router = await trial.start_router()
    await asyncio.sleep(QUORUM_QUEUE_SETTLES_SECONDS)
    await trial.publish(50)
    await wait_for(lambda: in_flight(trial) >= 16)
    own_broker.kill()
    router.terminate()
    await stop_in_time(router)
    assert (await trial.unrecorded(), leased(trial)) == (0, 0)
    await apart(own_broker.start)
    trial.customer.behave = lambda _: OK
    trial.heal()
    await router.start()
    await trial.check()


# --- 29: during the start --------------------------------------------------------------------------


@pytest.mark.fault(29, "SIGTERM during the start, the store {how}")
@pytest.mark.parametrize("how", ["frozen", "gone"])
async def test_stop_while_the_store_is_waited_for_at_the_start(
    make_trial: MakeTrial, own_store: BreakableStore, how: str
) -> None:
    trial = await make_trial(store=own_store)
    trial.define_webhook()
    router = trial.add_router()
    if how == "frozen":
        own_store.freeze()
    else:
        await asyncio.sleep(DEFINITION_IS_SAFE_SECONDS)
        await own_store.kill()
    router.launch()
    await wait_for(lambda: '"starting"' in router.log)
    await asyncio.sleep(1)
    router.terminate()
    await stop_in_time(router)
    if how == "frozen":
        own_store.thaw()
    else:
        await own_store.start()
    trial.heal()
    await router.start()
    await trial.publish(10)
    await trial.check()


@pytest.mark.fault(29, "SIGTERM during the start, the broker gone")
async def test_stop_while_the_broker_is_waited_for_at_the_start(make_trial: MakeTrial, own_broker: RabbitNode) -> None:
    trial = await make_trial(broker=own_broker)
    trial.define_webhook()
    await apart(own_broker.stop)
    router = trial.add_router()
    router.launch()
    await wait_for(lambda: '"consumer_unavailable"' in router.log)
    router.terminate()
    await stop_in_time(router)
    await apart(own_broker.start)
    trial.heal()
    await router.start()
    await trial.publish(10)
    await trial.check()


@pytest.mark.fault(29, "SIGTERM at eight moments of the start, events waiting")
async def test_stop_at_any_moment_of_the_start_is_clean(make_trial: MakeTrial) -> None:
    trial = await make_trial()
    trial.define_webhook()
    router = await trial.start_router()
    await router.stop()
    await trial.publish(50)
    starts = 1
    for delay in (0, 0.02, 0.05, 0.1, 0.2, 0.3, 0.5, 0.8):
        router.launch()
        starts += 1
        # Before it has said anything it is Python that starts, and a signal simply ends it.
        await wait_for(lambda: router.log.count('"starting"') == starts)  # noqa: B023
        await asyncio.sleep(delay)
        router.terminate()
        await stop_in_time(router)
        assert leased(trial) == 0
    trial.heal()
    await router.start()
    await trial.check()


# --- systemd ---------------------------------------------------------------------------------------


class Manager:
    """What a service manager hears from its service, in order."""

    def __init__(self, listener: socket.socket) -> None:
        self._listener = listener
        self._heard: list[str] = []

    @property
    def heard(self) -> list[str]:
        while True:
            try:
                self._heard.append(self._listener.recv(4096).decode())
            except BlockingIOError:
                return self._heard


@contextmanager
def listening_at(path: Path) -> Iterator[Manager]:
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as listener:
        listener.bind(str(path))
        listener.setblocking(False)
        yield Manager(listener)


@pytest.mark.quick
@pytest.mark.fault(29, "systemd: ready, watchdog and stopping are told in time")
async def test_service_manager_hears_ready_watchdog_and_stopping(make_trial: MakeTrial, tmp_path: Path) -> None:
    trial = await make_trial()
    trial.define_webhook()
    with listening_at(tmp_path / "notify") as manager:
        router = await trial.start_router(NOTIFY_SOCKET=str(tmp_path / "notify"), WATCHDOG_USEC="2000000")
        await wait_for(lambda: "READY=1" in manager.heard)
        await trial.publish(10)
        before = manager.heard.count("WATCHDOG=1")
        await wait_for(lambda: manager.heard.count("WATCHDOG=1") >= before + 2)
        assert "STOPPING=1" not in manager.heard
        await router.stop()
        assert manager.heard.count("STOPPING=1") == 1
        assert manager.heard.index("READY=1") < manager.heard.index("STOPPING=1")
    await trial.check()


@pytest.mark.quick
@pytest.mark.fault(29, "systemd: a reload is told with its time, and so is its end")
async def test_service_manager_hears_reloading_and_ready_again(make_trial: MakeTrial, tmp_path: Path) -> None:
    trial = await make_trial()
    with listening_at(tmp_path / "notify") as manager:
        router = await trial.start_router(NOTIFY_SOCKET=str(tmp_path / "notify"))
        before = time.monotonic_ns() // 1000
        router.hang_up()
        await wait_for(lambda: manager.heard.count("READY=1") == 2)
        (reloading,) = (state for state in manager.heard if state.startswith("RELOADING=1\nMONOTONIC_USEC="))
        assert before <= int(reloading.rpartition("=")[2]) <= time.monotonic_ns() // 1000
    await trial.check()
