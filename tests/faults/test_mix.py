"""Every fault in any order: a state machine draws what breaks next, then heals everything and counts.

FAULT_MIX_SECONDS   how long faults are drawn, 60 by default
FAULT_MIX_SEED      repeats the sequence of an earlier run; the seed stands in the report and in a failure
"""

from __future__ import annotations

import asyncio
import os
import random
import time
from collections.abc import Callable, Coroutine
from contextlib import AsyncExitStack
from itertools import count
from typing import Any

import hypothesis
import pytest
from aio_pika.exceptions import AMQPError
from hypothesis import HealthCheck, Phase, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, precondition, rule, run_state_machine_as_test

from router.adapters.embedded.broker import RabbitNode
from router.application.record import MAX_UNRECORDED
from tests.faults.conftest import ROWS, MakeTrial
from tests.support.breakable import BreakableStore, apart
from tests.support.customer import OK
from tests.support.fault_checker import Trial
from tests.support.fault_report import Row, write_row
from tests.support.http_server import Step, answer, late, never_answer
from tests.support.router_process import EVENT_TYPES, RouterProcess, wait_for

MIX_SECONDS = float(os.environ.get("FAULT_MIX_SECONDS", "60"))
SEED = os.environ.get("FAULT_MIX_SEED", "")
STEPS = 15
"""Of one sequence; then everything is healed and counted, and the next begins."""
ROUTERS = 2
PER_SECOND = 15
"""Events of each type, whatever is broken."""
IN_FLIGHT = 16
SAFE_SECONDS = 2
"""Until queues and definitions that are new survive a SIGKILL of broker and store."""
UNAVAILABLE_AT_START = 69
SETTINGS = {
    # Nothing may end but by being delivered, however long a sequence takes.
    "ROUTER_DELIVERY__CALL__MAX_AGE_SECONDS": "none",
    **{f"ROUTER_DELIVERY__{kind.upper()}__RETRY_DELAYS_SECONDS": str([1] * 50) for kind in EVENT_TYPES},
    **{f"ROUTER_DELIVERY__{kind.upper()}__TIMEOUT_SECONDS": "3" for kind in EVENT_TYPES},
}


MOODS: dict[str, Step] = {"well": OK, "slow": late(0.3), "failing": answer(503), "hanging": never_answer}


class World:
    """What one sequence breaks. Its methods are steps; each is for one moment, in which nothing else is done."""

    def __init__(self, trial: Trial, broker: RabbitNode, store: BreakableStore) -> None:
        self.trial = trial
        self.duplicates_allowed = 0
        self._broker = broker
        self._store = store
        self._told_to_end: set[int] = set()
        self._streams = AsyncExitStack()
        for kind in EVENT_TYPES:
            trial.define_webhook(kind)
        # While it is paused it gets nothing, so nothing is expected of it; what it gets must be right all the same.
        self._paused_at_times = trial.define_webhook("cdr")
        del trial.webhooks[self._paused_at_times]

    async def start(self) -> None:
        for _ in range(ROUTERS):
            await self.trial.start_router(**SETTINGS)
        await asyncio.sleep(SAFE_SECONDS)
        for kind in EVENT_TYPES:
            await self._streams.enter_async_context(self.trial.stream(per_second=PER_SECOND, event_type=kind))

    async def stop_load(self) -> None:
        await self._streams.aclose()

    # --- load ---

    async def publish(self, kind: str, number: int) -> None:
        events = [self.trial.make_event(kind) for _ in range(number)]
        self.trial.unconfirmed.update({event["id"]: event for event in events})
        try:
            async with asyncio.timeout(10):
                await self.trial.platform.publish(*events)
        except (AMQPError, OSError, TimeoutError, RuntimeError):
            return  # some may have been taken
        for event in events:
            self.trial.confirm(event)

    async def set_mood(self, mood: str) -> None:
        self.trial.customer.behave = lambda _: MOODS[mood]

    async def pause_webhook(self) -> None:
        self.trial.platform.edit_webhook(self._paused_at_times, enabled=False)

    async def resume_webhook(self) -> None:
        self.trial.platform.edit_webhook(self._paused_at_times, enabled=True)

    # --- broker and store ---

    async def kill_broker(self) -> None:
        await apart(self._broker.kill)

    async def stop_broker(self) -> None:
        await apart(self._broker.stop)

    async def start_broker(self) -> None:
        await apart(self._broker.start)

    async def close_connections(self) -> None:
        await apart(self._broker.ctl, "close_all_connections", "mix")

    async def kill_store(self) -> None:
        await self._store.kill()

    async def start_store(self) -> None:
        await self._store.start()

    async def freeze_store(self) -> None:
        self._store.freeze()

    async def thaw_store(self) -> None:
        self._store.thaw()

    # --- routers ---

    def _may_double(self) -> None:
        """What one router may have sent and not recorded."""
        self.duplicates_allowed += len(self.trial.paths) * IN_FLIGHT + MAX_UNRECORDED

    async def kill_router(self, router: RouterProcess) -> None:
        self._may_double()
        self._told_to_end.add(id(router))
        await router.kill()

    async def terminate_router(self, router: RouterProcess, *, store_is_up: bool) -> None:
        if not store_is_up:
            self._may_double()
        self._told_to_end.add(id(router))
        await router.stop()

    async def launch_router(self, router: RouterProcess) -> None:
        self._told_to_end.discard(id(router))
        router.launch()

    async def pause_router(self, router: RouterProcess) -> None:
        self._may_double()
        router.pause()

    async def continue_router(self, router: RouterProcess) -> None:
        router.go_on()

    # --- the end ---

    async def look_at_routers(self, *, may_be_unavailable: bool) -> None:
        """A router that was not told to end may end for one reason: what it needs was not there at its start."""
        for router in self.trial.routers:
            if not router.is_running and id(router) not in self._told_to_end:
                code = await router.ended(within_seconds=1)
                assert may_be_unavailable, f"a router ended by itself, exit code {code}:\n{router.last_words}"
                assert code == UNAVAILABLE_AT_START, f"exit code {code}:\n{router.last_words}"

    async def recover(self) -> None:
        """Everything is well: wait until it is known to be."""
        await self.set_mood("well")
        await self.resume_webhook()
        self.trial.heal()

        async def is_up(router: RouterProcess) -> bool:
            if not router.is_running:
                router.launch()
            return await router.is_ready()

        for router in self.trial.routers:
            await wait_for(lambda: is_up(router), within_seconds=120)  # noqa: B023
        await self.trial.check(duplicates_allowed=self.duplicates_allowed, within_seconds=200)


class Mix:
    """A run of sequences: makes their worlds, and keeps what they came to. A failure is kept and not raised, since
    hypothesis would play the sequence again to see whether it fails again."""

    def __init__(self, make_world: Callable[[], Coroutine[Any, Any, World]], until: float) -> None:
        self.make_world = make_world
        self.until = until
        self.loop = asyncio.get_running_loop()
        self.steps: list[str] = []
        self.failure: BaseException | None = None
        self.failed_seed: int | None = None
        self.worlds: list[World] = []

    def is_over(self) -> bool:
        return self.failure is not None or time.monotonic() >= self.until

    def do(self, step: Coroutine[Any, Any, Any]) -> Any:
        """Run a step in the event loop of the test, from the thread of the machine."""
        return asyncio.run_coroutine_threadsafe(step, self.loop).result(300)


A_WHILE = st.floats(0.2, 3)


class Faults(RuleBasedStateMachine):
    """Draws the steps. `mix` is set for each run."""

    mix: Mix

    def __init__(self) -> None:
        super().__init__()
        self.world: World | None = None
        self.broker_is_up = True
        self.store = "up"
        self.routers = ["running"] * ROUTERS
        self.was_unavailable = False

    def do(self, what: str, step: Callable[[World], Coroutine[Any, Any, None]], seconds: float) -> bool:
        """Take a step and let it work for a while, unless the time is over. Whether it was taken."""
        if self.world is None or self.mix.is_over():
            return False
        self.mix.steps.append(what)
        try:
            self.mix.do(step(self.world))
            self.mix.do(asyncio.sleep(seconds))
            self.was_unavailable |= not self.broker_is_up or self.store != "up"
            self.mix.do(self.world.look_at_routers(may_be_unavailable=self.was_unavailable))
        except Exception as error:
            self.mix.failure = error
            return False
        return True

    # The simplest sequence is always the first that hypothesis tries: it is left out.
    @initialize(salt=st.integers(0, 2**32))
    def begin(self, salt: int) -> None:
        if salt and not self.mix.is_over():
            self.mix.steps.clear()
            try:
                self.world = self.mix.do(self.mix.make_world())
            except Exception as error:
                self.mix.failure = error

    @precondition(lambda self: self.broker_is_up)
    @rule(kind=st.sampled_from(EVENT_TYPES), number=st.integers(1, 60), seconds=A_WHILE)
    def publish(self, kind: str, number: int, seconds: float) -> None:
        self.do(f"publish {number} {kind}", lambda world: world.publish(kind, number), seconds)

    @rule(mood=st.sampled_from(sorted(MOODS)), seconds=A_WHILE)
    def customer(self, mood: str, seconds: float) -> None:
        self.do(f"customer is {mood}", lambda world: world.set_mood(mood), seconds)

    @precondition(lambda self: self.store == "up")
    @rule(how=st.sampled_from(["pause", "resume"]), seconds=A_WHILE)
    def webhook(self, how: str, seconds: float) -> None:
        self.do(f"{how} a webhook", World.pause_webhook if how == "pause" else World.resume_webhook, seconds)

    @precondition(lambda self: self.broker_is_up)
    @rule(how=st.sampled_from(["kill", "stop", "close connections of"]), seconds=A_WHILE)
    def break_broker(self, how: str, seconds: float) -> None:
        steps = {"kill": World.kill_broker, "stop": World.stop_broker, "close connections of": World.close_connections}
        if self.do(f"{how} broker", steps[how], seconds):
            self.broker_is_up = how == "close connections of"

    @precondition(lambda self: not self.broker_is_up)
    @rule(seconds=A_WHILE)
    def start_broker(self, seconds: float) -> None:
        if self.do("start broker", World.start_broker, seconds):
            self.broker_is_up = True

    @precondition(lambda self: self.store == "up")
    @rule(how=st.sampled_from(["kill", "freeze"]), seconds=A_WHILE)
    def break_store(self, how: str, seconds: float) -> None:
        if self.do(f"{how} store", World.kill_store if how == "kill" else World.freeze_store, seconds):
            self.store = "down" if how == "kill" else "frozen"

    @precondition(lambda self: self.store != "up")
    @rule(seconds=A_WHILE)
    def mend_store(self, seconds: float) -> None:
        what, mend = ("start", World.start_store) if self.store == "down" else ("thaw", World.thaw_store)
        if self.do(f"{what} store", mend, seconds):
            self.store = "up"

    @precondition(lambda self: "running" in self.routers)
    @rule(which=st.integers(0, ROUTERS - 1), how=st.sampled_from(["kill", "terminate", "pause"]), seconds=A_WHILE)
    def break_router(self, which: int, how: str, seconds: float) -> None:
        which = which if self.routers[which] == "running" else self.routers.index("running")
        if self.world is None or not self.world.trial.routers[which].is_running:
            return
        router = self.world.trial.routers[which]
        steps: dict[str, Callable[[World], Coroutine[Any, Any, None]]] = {
            "kill": lambda world: world.kill_router(router),
            "terminate": lambda world: world.terminate_router(router, store_is_up=self.store == "up"),
            "pause": lambda world: world.pause_router(router),
        }
        if self.do(f"{how} router {which}", steps[how], seconds):
            self.routers[which] = "paused" if how == "pause" else "ended"

    @precondition(lambda self: self.routers != ["running"] * ROUTERS)
    @rule(which=st.integers(0, ROUTERS - 1), seconds=A_WHILE)
    def mend_router(self, which: int, seconds: float) -> None:
        if self.world is None:
            return
        which = which if self.routers[which] != "running" else 1 - which
        router = self.world.trial.routers[which]
        what, mend = ("continue", World.continue_router) if self.routers[which] == "paused" else (
            "start", World.launch_router
        )  # fmt: skip
        if self.do(f"{what} router {which}", lambda world: mend(world, router), seconds):
            self.routers[which] = "running"

    def teardown(self) -> None:
        """Heal everything, also after a failure: broker and store are those of the next sequence too."""
        if self.world is None:
            return
        world, self.world = self.world, None
        try:
            self.mix.do(self._heal(world))
            if self.mix.failure is None:
                self.mix.do(world.recover())
                self.mix.worlds.append(world)
        except Exception as error:
            self.mix.failure = self.mix.failure or error
        self.mix.do(world.trial.close())

    async def _heal(self, world: World) -> None:
        if self.store != "up":
            await (world.start_store() if self.store == "down" else world.thaw_store())
        if not self.broker_is_up:
            await world.start_broker()
        for router, state in zip(world.trial.routers, self.routers, strict=False):
            if state == "paused":
                await world.continue_router(router)
        await world.stop_load()


def run_sequences(mix: Mix, first_seed: int) -> int:
    """Sequence after sequence until the time is over. Returns how many there were."""
    for number in count():
        if mix.is_over():
            return number
        machine = hypothesis.seed(first_seed + number)(type("Faults", (Faults,), {"mix": mix}))
        run_state_machine_as_test(
            machine,
            settings=settings(
                max_examples=2,  # the simplest, and one that is drawn
                stateful_step_count=STEPS,
                deadline=None,
                database=None,
                phases=[Phase.generate],
                suppress_health_check=list(HealthCheck),
            ),
        )
        print(f"FAULT_MIX_SEED={first_seed + number}: {'; '.join(mix.steps)}")  # noqa: T201
        if mix.failure is not None:
            mix.failed_seed = first_seed + number
    raise AssertionError("never reached")


@pytest.mark.timeout(MIX_SECONDS + 600)
@pytest.mark.fault(51, "any of these in any order, two routers")
async def test_faults_in_any_order_lose_nothing(
    make_trial: MakeTrial, own_broker: RabbitNode, own_store: BreakableStore, request: pytest.FixtureRequest
) -> None:
    seed = int(SEED) if SEED else random.SystemRandom().randrange(1_000_000)

    async def make_world() -> World:
        trial = await make_trial(broker=own_broker, store=own_store)
        trial.directory = trial.directory / f"sequence-{len(mix.worlds)}"
        trial.directory.mkdir()
        trial.rows = None
        world = World(trial, own_broker, own_store)
        await world.start()
        return world

    mix = Mix(make_world, until=time.monotonic() + MIX_SECONDS)
    await asyncio.to_thread(run_sequences, mix, seed)
    if mix.failure is not None:
        steps = "; ".join(mix.steps)
        raise AssertionError(f"FAULT_MIX_SEED={mix.failed_seed}: {steps}: {mix.failure}") from mix.failure
    row = Row(
        number=51,
        fault=f"any of these in any order, two routers: {len(mix.worlds)} sequences from seed {seed}",
        events=sum(len(world.trial.confirmed) for world in mix.worlds),
        deliveries=sum(len(world.trial.expected) for world in mix.worlds),
        lost=0,
        duplicates=sum(duplicates(world.trial) for world in mix.worlds),
        duplicates_allowed=sum(world.duplicates_allowed for world in mix.worlds),
        dead_letters=0,
        recover_seconds=max((world.trial.recover_seconds or 0 for world in mix.worlds), default=None),
        recovered="last delivery, at most",
        test=request.node.nodeid,
    )
    write_row(request.config.stash[ROWS], row)


def duplicates(trial: Trial) -> int:
    accepted = [(each.target, each.header("webhook-id")) for each in trial.customer.accepted]
    return len(accepted) - len(set(accepted))
