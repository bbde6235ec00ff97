"""Load for minutes with random faults, after which nothing may be lost and nothing may have grown.

    python -m tests.soak --minutes 20              a seed is chosen and printed
    python -m tests.soak --minutes 20 --seed 7     the same faults in the same order

A private broker, the embedded store, one router and the servers of 17 accounts, of which some fail or hang for ever.
Every 20 to 60 s something is killed, stopped or closed. At the end all customers are well, everything has to be over,
and what the broker confirmed is compared with the store and with what the customers got. Ctrl-C ends it early, in
order. Exit code 1: something was lost, is not over, or grew.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import logging
import random
import shutil
import signal
import sys
import tempfile
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from tests.soak.customers import Mood
from tests.soak.faults import FAULTS, Step, sequence
from tests.soak.verdict import Incident, StoredDelivery, Verdict, account_for, duplicates, growth
from tests.soak.world import MOODS, World, running_world
from tests.support.router_process import EVENT_TYPES

PROGRESS_SECONDS: Final = 10
RECOVERY_SECONDS: Final = 90
DRAIN_SECONDS: Final = 300
QUIET_SECONDS: Final = 20
"""Without load, at the end: connections that are kept alive end after 15."""


def say(text: str) -> None:
    sys.stderr.write(text + "\n")


@dataclass(frozen=True, slots=True, kw_only=True)
class Options:
    minutes: float
    seed: int
    rate: float


def parse() -> Options:
    parser = argparse.ArgumentParser(
        prog="make soak", description=__doc__, formatter_class=argparse.RawTextHelpFormatter
    )
    parser.add_argument("--minutes", type=float, default=20, help="how long there is load (20)")
    parser.add_argument("--seed", type=int, help="the sequence of faults of an earlier run")
    parser.add_argument("--rate", type=float, default=50, help="events per second (50)")
    given = parser.parse_args()
    seed = random.SystemRandom().randrange(1_000_000) if given.seed is None else given.seed
    return Options(minutes=given.minutes, seed=seed, rate=given.rate)


async def main() -> int:
    options = parse()
    # The publisher's client has much to say about a broker that is being killed.
    logging.disable()
    stop = asyncio.Event()
    for number in (signal.SIGINT, signal.SIGTERM):
        asyncio.get_running_loop().add_signal_handler(number, stop.set)
    directory = Path(tempfile.mkdtemp(prefix="router-soak-"))
    say(f"seed {options.seed}; logs in {directory}")
    async with running_world(directory, rate=options.rate, run=f"{options.seed}_{int(time.time())}") as world:
        verdict = await soak(world, options, stop)
    sys.stdout.write(verdict.report() + "\n")
    for kind in ("missing", "untaken", "pending", "out_of_order"):
        for each in getattr(verdict.accounts, kind)[:10]:
            say(f"{kind}: {each}")
    for double in verdict.unexplained[:10]:
        say(f"doubled without a reason: {double}")
    if verdict.failures or verdict.unexplained:
        say(f"logs are kept in {directory}")
    else:
        shutil.rmtree(directory)
    return 1 if verdict.failures else 0


async def soak(world: World, options: Options, stop: asyncio.Event) -> Verdict:
    began = time.monotonic()
    incidents: list[Incident] = []
    async with watched(world, began):
        publishing = world.traffic.start(world.load.run())
        try:
            await injected(world, incidents, options, began + options.minutes * 60, stop)
        finally:
            world.load.stop()
        load_ended = time.monotonic()
        world.fault = "(draining)"
        try:
            await asyncio.wrap_future(publishing)
        except Exception as exc:
            world.complain(f"the publisher ended: {type(exc).__name__}")
        await drain(world)
        await asyncio.sleep(QUIET_SECONDS)
    if world.router.is_running and (code := await world.router.ask_to_stop()) != 0:
        world.complain(f"the router ended with exit code {code} after SIGTERM")
    try:
        world.router.assert_log_is_clean()
    except AssertionError as exc:
        world.complain(f"a secret or a payload is in the log: {exc}")
    return judge(world, options, incidents, began, load_ended)


# --- faults ----------------------------------------------------------------------------------------


async def injected(
    world: World, incidents: list[Incident], options: Options, until: float, stop: asyncio.Event
) -> None:
    """One fault after the other until it is time, or a signal comes."""
    for step in sequence(options.seed):
        healed = time.monotonic() + step.healing_seconds
        with contextlib.suppress(TimeoutError):
            await asyncio.wait_for(stop.wait(), timeout=min(healed, until) - time.monotonic())
        if stop.is_set() or healed >= until:
            return
        await revive(world)
        incidents.append(await inject(world, step))


async def inject(world: World, step: Step) -> Incident:
    world.fault = step.fault
    say(f"{'':10}{step.fault}" + (f" for {step.seconds:g} s" if step.seconds else ""))
    began = time.monotonic()
    await FAULTS[step.fault].inject(world, step.seconds)
    ended = time.monotonic()
    recovery = await recovered(world)
    if recovery is None:
        world.complain(f"not ready {RECOVERY_SECONDS} s after: {step.fault}")
    world.fault = ""
    return Incident(fault=step.fault, began=began, ended=ended, recovery_seconds=recovery)


async def recovered(world: World) -> float | None:
    """Seconds until the router is ready; None if it is not in time."""
    began = time.monotonic()
    while time.monotonic() < began + RECOVERY_SECONDS:
        if await world.is_ready():
            return time.monotonic() - began
        if not world.router.is_running:
            return None
        await asyncio.sleep(0.1)
    return None


async def revive(world: World) -> None:
    """A router that ended by itself must not pass unseen, and need not end the soak."""
    if not world.router.is_running:
        world.complain(f"the router ended by itself: {world.router.last_words}")
        await world.start_router()
        await recovered(world)


async def drain(world: World) -> None:
    """Make all customers well and wait until nothing is pending, within a bound."""
    await revive(world)
    await world.traffic.do(world.customers.heal())
    deadline = time.monotonic() + DRAIN_SECONDS
    looks = 0
    # What is taken from the queue and not stored yet is in neither: so more than one look.
    while looks < 3 and time.monotonic() < deadline:
        looks = looks + 1 if await is_drained(world) else 0
        await asyncio.sleep(1)


async def is_drained(world: World) -> bool:
    if await asyncio.to_thread(world.pending) != 0:
        return False
    return not any([await world.platform.messages_ready(kind) for kind in EVENT_TYPES])


# --- watching --------------------------------------------------------------------------------------


@asynccontextmanager
async def watched(world: World, began: float) -> AsyncIterator[None]:
    """Samples and progress, in the traffic's loop: the director's own stands still while it starts a server."""
    tasks = [world.traffic.start(world.sample()), world.traffic.start(progress(world, began))]
    try:
        yield
    finally:
        for task in tasks:
            task.cancel()


async def progress(world: World, began: float) -> None:
    while True:
        await asyncio.sleep(PROGRESS_SECONDS)
        pending = await asyncio.to_thread(world.pending)
        samples = world.lives[-1].samples
        now = f"{samples[-1].resident_mib:.1f} MiB, {samples[-1].descriptors} descriptors" if samples else "–"
        say(
            f"{time.monotonic() - began:6.0f} s  {len(world.load.confirmed):7,} published  "
            f"{len(world.customers.taken):7,} delivered  {'–' if pending is None else pending:>6} pending  "
            f"{now}  {world.fault}"
        )


# --- the end ---------------------------------------------------------------------------------------


def judge(world: World, options: Options, incidents: list[Incident], began: float, load_ended: float) -> Verdict:
    database = world.platform.database
    cursor = database.deliveries.find(
        {}, {"event_id": 1, "webhook_id": 1, "status": 1, "reason": 1, "attempts.number": 1}
    )
    expected = {
        (event_id, webhook_id) for event_id, kind in world.load.confirmed.items() for webhook_id in world.webhooks[kind]
    }
    moods = {mood: MOODS.count(mood) for mood in Mood}
    return Verdict(
        minutes=(load_ended - began) / 60,
        seed=options.seed,
        rate=options.rate,
        webhooks=f"{sum(map(len, world.webhooks.values()))} webhooks of {len(MOODS)} accounts, of which "
        f"{moods[Mood.FLAKY]} fails at times, {moods[Mood.FAILING]} always, {moods[Mood.HANGING]} never answers",
        events=len(world.load.confirmed),
        unconfirmed=world.load.unconfirmed,
        repeated=world.load.repeated,
        incidents=incidents,
        accounts=account_for(expected, [_stored(document) for document in cursor], world.customers.taken),
        doubled=duplicates(world.customers.receipts, incidents),
        allowed={
            f"{name} ({count})": fault.may_double * count
            for name, fault in FAULTS.items()
            if fault.may_double and (count := sum(each.fault == name for each in incidents))
        },
        growth=growth([life.samples for life in world.lives], load_ended=load_ended),
        dead_letters=database.dead_letters.count_documents({}),
        complaints=world.complaints,
    )


def _stored(document: dict[str, Any]) -> StoredDelivery:
    return StoredDelivery(
        delivery_id=document["_id"],
        event_id=document["event_id"],
        webhook_id=document["webhook_id"],
        status=document["status"],
        reason=document["reason"],
        attempt_numbers=[attempt["number"] for attempt in document.get("attempts", ())],
    )


if __name__ == "__main__":
    sys.exit(asyncio.run(main()))
