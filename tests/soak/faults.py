"""The faults of the soak, and the sequence in which a seed has them come. Touches the processes of the world."""

from __future__ import annotations

import asyncio
import os
import random
import signal
from collections.abc import Awaitable, Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import Final

from tests.soak.world import World

IN_FLIGHT: Final = 512
"""`delivery.max_in_flight`."""
UNRECORDED: Final = 200
"""Results that may wait for the store before no attempt begins any more."""
HEALING_SECONDS: Final = (20, 60)
"""Least and most between the end of a fault and the next one."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Step:
    """After `healing_seconds` comes `fault`, for `seconds`."""

    healing_seconds: float
    fault: str
    seconds: float


async def _broker_killed(world: World, seconds: float) -> None:
    world.node.kill()
    await asyncio.sleep(seconds)
    world.node.start()


async def _connections_closed(world: World, _: float) -> None:
    world.node.ctl("close_all_connections", "--vhost", "/", "soak")


async def _store_killed(world: World, seconds: float) -> None:
    await world.kill_store()
    await asyncio.sleep(seconds)
    await world.open_store()


async def _store_stopped(world: World, seconds: float) -> None:
    os.kill(world.store_pid, signal.SIGSTOP)
    try:
        await asyncio.sleep(seconds)
    finally:
        os.kill(world.store_pid, signal.SIGCONT)


async def _router_killed(world: World, seconds: float) -> None:
    await world.router.kill()
    await asyncio.sleep(seconds)
    await world.start_router()


async def _router_terminated(world: World, seconds: float) -> None:
    code = await world.router.ask_to_stop()
    if code != 0:
        world.complain(f"the router ended with exit code {code} after SIGTERM")
    await asyncio.sleep(seconds)
    await world.start_router()


async def _router_stopped(world: World, seconds: float) -> None:
    world.router.pause()
    try:
        await asyncio.sleep(seconds)
    finally:
        world.router.go_on()


async def _customers_closed(world: World, seconds: float) -> None:
    await world.traffic.do(world.customers.close())
    await asyncio.sleep(seconds)
    await world.traffic.do(world.customers.open())


@dataclass(frozen=True, slots=True, kw_only=True)
class Fault:
    inject: Callable[[World, float], Awaitable[None]]
    seconds: tuple[float, float]
    """Least and most that it lasts, the time to start again not counted."""
    may_double: int = 0
    """How many requests at most the router may send again, since it has not recorded or not heard what came of them."""


FAULTS: Final[Mapping[str, Fault]] = {
    "broker killed": Fault(inject=_broker_killed, seconds=(1, 10)),
    "connections closed": Fault(inject=_connections_closed, seconds=(0, 0)),
    "store killed": Fault(inject=_store_killed, seconds=(1, 10)),
    "store stopped": Fault(inject=_store_stopped, seconds=(10, 10)),
    "router killed": Fault(inject=_router_killed, seconds=(0, 5), may_double=IN_FLIGHT + UNRECORDED),
    "router terminated": Fault(inject=_router_terminated, seconds=(0, 5)),
    "router stopped": Fault(inject=_router_stopped, seconds=(20, 20), may_double=IN_FLIGHT + UNRECORDED),
    "customers closed": Fault(inject=_customers_closed, seconds=(15, 15), may_double=IN_FLIGHT),
}


def sequence(seed: int) -> Iterator[Step]:
    """Without end. Every fault comes once before any comes again."""
    dice = random.Random(seed)
    while True:
        names = list(FAULTS)
        dice.shuffle(names)
        for name in names:
            yield Step(
                healing_seconds=round(dice.uniform(*HEALING_SECONDS), 1),
                fault=name,
                seconds=round(dice.uniform(*FAULTS[name].seconds), 1),
            )
