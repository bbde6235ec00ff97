"""One worker, put together as `router/bootstrap/worker.py` does it: the same services with their defaults, on models of
the broker, the store and the customers.
"""

from __future__ import annotations

import asyncio
from collections.abc import Mapping, Sequence
from random import Random

from bench.simulation.broker import ModelSource, Queue
from bench.simulation.client import Lifeline, StoreClient
from bench.simulation.clock import VirtualClock, VirtualLoop
from bench.simulation.costs import WorkerCosts
from bench.simulation.customers import Customer, ModelSender, Record
from bench.simulation.processor import Processor
from bench.simulation.store import StoreModel
from router.application.brake import EgressBrake
from router.application.budget import RetryBudget
from router.application.circuits import Circuits
from router.application.definitions import DefinitionBook, DefinitionFollower
from router.application.deliver import Deliverer
from router.application.health import WebhookHealth
from router.application.ingest import Ingest
from router.application.lanes import Lanes
from router.application.record import Recorder
from router.application.retries import LeaseKeeper, RetryPoller
from router.application.timers import Timers
from router.application.turns import Turns
from router.bootstrap import convert
from router.daemon import Service
from router.domain.webhook import WebhookId
from router.ports import DeadLetter
from router.settings import Settings
from router.telemetry.metrics import Metrics
from router.telemetry.pace import Pace


class _NoDeadLetters:
    """Every event here can be handled: one that cannot is a mistake of the simulation."""

    async def bury(self, letters: Sequence[DeadLetter]) -> None:
        raise RuntimeError(letters[0].rejection.detail)


class SimulatedWorker:
    """`owner` is its name in leases, `spread` the sigma of how long customers take to answer."""

    def __init__(
        self,
        owner: str,
        *,
        settings: Settings,
        costs: WorkerCosts,
        loop: VirtualLoop,
        store: StoreModel,
        queues: Sequence[Queue],
        customers: Mapping[WebhookId, Customer],
        record: Record,
        spread: float,
        random: Random,
    ) -> None:
        clock, metrics, schedules = VirtualClock(loop), Metrics("simulation"), convert.schedules(settings)
        self.lifeline = Lifeline()
        self.processor = Processor()
        turns = Turns()
        deliveries = StoreClient(store, clock, owner, self.lifeline, turns)
        self.circuits = Circuits(clock, random.random, convert.circuit_after(settings))
        brake = EgressBrake(now=loop.time)
        book = DefinitionBook()
        self.lanes = Lanes(
            convert.lane_limits(settings),
            is_failing=self.circuits.is_failing,
            is_hanging=self.circuits.is_hanging,
            now=loop.time,
        )
        self._follower = DefinitionFollower(book, deliveries, deliveries, self.circuits)
        timers = Timers(self.lanes)
        recorder = Recorder(
            deliveries=deliveries,
            health=WebhookHealth(
                book,
                deliveries,
                clock,
                convert.suspend_after(settings),
                recovered_after=convert.circuit_after(settings),
            ),
            book=book,
            circuits=self.circuits,
            lanes=self.lanes,
            timers=timers,
            clock=clock,
            metrics=metrics,
            turns=turns,
        )
        self._source = ModelSource(queues, clock, self.processor, costs.event_seconds, self.lifeline)
        budget = RetryBudget(has_backlog=lambda: self._source.is_full, is_store_behind=lambda: recorder.is_behind)
        sender = ModelSender(
            customers=customers,
            record=record,
            processor=self.processor,
            delivery_seconds=costs.delivery_seconds,
            spread=spread,
            random=random,
            lifeline=self.lifeline,
        )
        deliverer = Deliverer(
            lanes=self.lanes,
            book=book,
            definitions=deliveries,
            sender=sender,
            recorder=recorder,
            circuits=self.circuits,
            brake=brake,
            schedules=schedules,
            clock=clock,
            jitter=random.random,
            user_agent="simulation",
            metrics=metrics,
            pace=Pace(0, now=loop.time),
        )
        ingest = Ingest(
            source=self._source,
            deliveries=deliveries,
            dead_letters=_NoDeadLetters(),
            book=book,
            lanes=self.lanes,
            recorder=recorder,
            circuits=self.circuits,
            budget=budget,
            clock=clock,
            schedules=schedules,
            metrics=metrics,
            turns=turns,
            pace=Pace(0, now=loop.time),
        )
        poller = RetryPoller(
            deliveries=deliveries,
            lanes=self.lanes,
            circuits=self.circuits,
            brake=brake,
            budget=budget,
            is_steady=lambda: deliveries.health.is_steady,
        )
        self._services: list[Service] = [
            recorder,
            timers,
            deliverer,
            LeaseKeeper(deliveries, self.lanes, turns),
            poller,
            ingest,
        ]
        self._tasks: list[asyncio.Task[None]] = []

    async def start(self) -> None:
        """Definitions first, consumers last."""
        self._tasks.append(asyncio.create_task(self._follower.run()))
        await self._follower.loaded.wait()
        self._tasks += [asyncio.create_task(service.run()) for service in self._services]
        self._source.consume()

    def check(self) -> None:
        """Raises what ended a service: none ends by itself."""
        for task in self._tasks:
            if task.done():
                task.result()
                raise RuntimeError("a service has ended")

    def kill(self) -> None:
        """As by SIGKILL: nothing is recorded or given back. The broker sees its connections end."""
        self.lifeline.is_cut = True
        self._source.cut()
