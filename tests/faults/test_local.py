"""Our own host fails: no descriptors, no room for the log, a stalled event loop, too many who fail at once."""

from __future__ import annotations

import asyncio
import os
import resource
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import psutil
import pytest

from router.adapters.embedded.processes import free_ports
from tests.faults.conftest import MakeTrial
from tests.support.customer import OK
from tests.support.fault_checker import Trial
from tests.support.http_server import Request, Step, answer, late, never_answer, reset_without_answer
from tests.support.router_process import RouterProcess, wait_for

MEBIBYTE = 1024 * 1024


async def is_live(router: RouterProcess) -> bool:
    return (await router.get("/livez"))[0] == 200


def attempts_of(trial: Trial) -> set[int]:
    """How many attempts deliveries have seen."""
    return {each["attempt_count"] for each in trial.platform.database.deliveries.find({}, {"attempt_count": 1})}


# --- 23: the log -----------------------------------------------------------------------------------


def log_file_of(router: RouterProcess) -> Path:
    """Where the first run of a router will write."""
    return router._directory / f"router-{router.api_url[-5:]}-1.log"


@contextmanager
def small_disk(directory: Path, kibibytes: int) -> Iterator[None]:
    mount = ["mount", "-t", "tmpfs", "-o", f"size={kibibytes}k", "tmpfs", str(directory)]
    subprocess.run(mount, check=True)
    try:
        yield
    finally:
        subprocess.run(["umount", "--lazy", str(directory)], check=True)


@pytest.mark.fault(23, "log disk full (256 KiB) under load, then emptied")
async def test_full_log_disk_stops_no_delivery(make_trial: MakeTrial) -> None:
    trial = await make_trial()
    trial.define_webhook()
    router = trial.add_router()
    file = log_file_of(router)
    with small_disk(file.parent, 256):
        await router.start()
        await trial.publish(1000)
        await trial.settled()
        disk = os.statvfs(file.parent)
        assert disk.f_bavail == 0, "the disk was not full"
        assert await router.is_ready()
        length = file.stat().st_size
        os.truncate(file, 0)
        trial.heal()
        await trial.publish(50)
        await trial.settled()
        assert file.stat().st_size > length, "it has stopped logging for good"
        await trial.check()


@pytest.mark.quick
@pytest.mark.fault(23, "whoever reads the log goes away under load")
async def test_log_pipe_whose_reader_is_gone_stops_no_delivery(make_trial: MakeTrial) -> None:
    trial = await make_trial()
    trial.define_webhook()
    router = trial.add_router()
    file = log_file_of(router)
    os.mkfifo(file)
    reader = os.open(file, os.O_RDONLY | os.O_NONBLOCK)
    heard = b""
    try:
        router.launch()
        while b'"ready"' not in heard:
            await asyncio.sleep(0.05)
            heard += _read(reader)
    finally:
        os.close(reader)
    await trial.publish(500)
    await trial.settled()
    assert await router.is_ready()
    file.unlink()
    file.write_bytes(heard)
    await trial.check()


def _read(reader: int) -> bytes:
    try:
        return os.read(reader, MEBIBYTE)
    except BlockingIOError:
        return b""


# --- 37: descriptors -------------------------------------------------------------------------------


@pytest.mark.fault(37, "no more descriptors (prlimit --nofile) under load, 200 webhooks; for 8 s")
async def test_lack_of_descriptors_is_no_attempt_of_anybody(make_trial: MakeTrial) -> None:
    trial = await make_trial()
    trial.customer.behave = lambda _: late(0.3)
    for _ in range(200):
        trial.define_webhook()
    router = await trial.start_router()
    await trial.publish(1)
    await trial.settled()
    before = resource.prlimit(router.pid, resource.RLIMIT_NOFILE)
    idle = psutil.Process(router.pid).num_fds()
    await asyncio.sleep(1)
    resource.prlimit(router.pid, resource.RLIMIT_NOFILE, (min(idle, 64), before[1]))
    try:
        await trial.publish(4)
        await wait_for(lambda: "Too many open files" in router.log)
        began = time.monotonic()
        while time.monotonic() < began + 8:
            await wait_for(lambda: is_live(router), within_seconds=30)
            await asyncio.sleep(0.5)
    finally:
        resource.prlimit(router.pid, resource.RLIMIT_NOFILE, before)
    trial.heal()
    await trial.settled()
    assert attempts_of(trial) == {1}, "it was counted against somebody"
    await trial.check()


# --- 44: many failing at once ----------------------------------------------------------------------

WEBHOOKS, HEALTHY_SHARE = 1_000, 20
EVENTS = 3


def is_pending(trial: Trial) -> bool:
    deliveries = trial.platform.database.deliveries
    there = deliveries.estimated_document_count()
    return there < len(trial.expected) or deliveries.count_documents({"status": "pending"}, limit=1) > 0


@pytest.mark.fault(44, "1,000 webhooks, 95 % of them reset, refuse, hang or say 503, all at once")
async def test_hundreds_of_failing_endpoints_cost_the_few_healthy_ones_little(make_trial: MakeTrial) -> None:
    trial = await make_trial()
    (closed,) = free_ports(1)
    refused = f"http://127.0.0.1:{closed}"
    by_name: dict[str, Step] = {"ok": OK, "reset": reset_without_answer, "503": answer(503)}
    steps: dict[str, Step] = {}
    healthy: list[str] = []
    for number in range(WEBHOOKS):
        how = "ok" if number % HEALTHY_SHARE == 0 else ("reset", "503", "refused", "reset", "503", "hang")[number % 6]
        elsewhere = {"url": trial.platform.hook_url(refused)} if how == "refused" else {}
        webhook = trial.define_webhook(**elsewhere)
        path = next(reversed(trial.paths))
        steps[path] = by_name.get(how, never_answer)
        if how == "ok":
            healthy.append(webhook)

    def behave(request: Request) -> Step:
        return steps[request.target]

    trial.customer.behave = behave
    router = await trial.start_router(
        ROUTER_LOG__LEVEL="warning",
        ROUTER_DELIVERY__CDR__RETRY_DELAYS_SECONDS="[1]",
        ROUTER_DELIVERY__CDR__TIMEOUT_SECONDS="2",
    )
    process = psutil.Process(router.pid)
    at_start = process.memory_info().rss
    for _ in range(EVENTS):
        await trial.publish(1)
        await asyncio.sleep(2)
    deadline = time.monotonic() + 150
    while is_pending(trial) and time.monotonic() < deadline:
        await asyncio.sleep(2)  # not more often: it is the store that counts
    await trial.settled()
    grown = (process.memory_info().rss - at_start) / MEBIBYTE
    documents = list(trial.platform.database.deliveries.find({"webhook_id": {"$in": healthy}}))
    waits = sorted((each["completed_at"] - each["created_at"]).total_seconds() for each in documents)
    assert {each["attempt_count"] for each in documents} == {1}
    assert waits[len(waits) * 95 // 100] < 15, f"p95 of the healthy: {waits[len(waits) * 95 // 100]:.1f} s"
    assert grown < 200, f"{grown:.0f} MiB more"
    await trial.check(statuses={"failed": (WEBHOOKS - len(healthy)) * EVENTS})


# --- 47: the event loop ----------------------------------------------------------------------------


@pytest.mark.fault(47, "event loop stands still for 3 s before every batch that is stored")
async def test_event_loop_that_stands_still_keeps_its_connections(make_trial: MakeTrial) -> None:
    trial = await make_trial()
    trial.define_webhook()
    router = await trial.start_router(killpoint="before_insert=stall:3")
    async with trial.stream(per_second=50):
        await trial.confirmed_count(300)
    trial.heal()
    await trial.settled()
    assert '"consumer_lost"' not in router.log
    # Who is being dialled meanwhile has not answered within the 3 s for connecting when the loop looks again.
    errors = {each["error"] for found in trial.platform.database.deliveries.find() for each in found["attempts"]}
    assert errors <= {None, "connect_timeout"}
    await trial.check()
