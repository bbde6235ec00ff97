"""A run: so many workers, so much traffic, these troubles; what it was like, and whether anything was lost."""

from __future__ import annotations

import asyncio
from bisect import bisect
from collections.abc import Sequence
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path
from random import Random
from typing import Final

from bench.simulation.broker import Message, Queue
from bench.simulation.clock import EPOCH, VirtualLoop, run_virtually
from bench.simulation.costs import Costs, StoreCosts
from bench.simulation.customers import Customer, Journey, Kind, Record, cumulative_weights, make_customers
from bench.simulation.store import Counts, Shard, StoreModel
from bench.simulation.worker import SimulatedWorker
from router.domain.delivery import DeliveryId, DeliveryStatus, delivery_id
from router.domain.event import Event, EventType
from router.settings import load_settings

LOOK_SECONDS: Final = 0.5


class Trouble(StrEnum):
    """`customers`: the first half of the customers' servers is away. `worker`: one worker is killed, and another one
    started. `store`: every shard fails over. `broker`: the node of every queue's leader ends. `burst`: ten times the
    traffic."""

    CUSTOMERS = "customers"
    WORKER = "worker"
    STORE = "store"
    BROKER = "broker"
    BURST = "burst"


@dataclass(frozen=True, slots=True, kw_only=True)
class Outage:
    trouble: Trouble
    at: float
    seconds: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Scenario:
    """`rate` is in deliveries a second, which are events: each leads to one. What is published in the first
    `warm_up_seconds` counts in no figure of time. `drain_seconds` is how long the run goes on at most, after the last
    event, for everything to be over."""

    costs: Costs
    store: StoreCosts
    workers: int = 2
    rate: float = 100.0
    seconds: float = 60.0
    drain_seconds: float = 120.0
    seed: int = 1
    shards: int = 1
    queues: int = 1
    webhooks: int = 200
    zipf: float = 1.0
    noisy_share: float = 0.0
    bad_share: float = 0.0
    answer_seconds: float = 0.08
    answer_spread: float = 0.6
    with_retention: bool = False
    warm_up_seconds: float = 5.0
    is_poisson: bool = True
    outages: Sequence[Outage] = ()


@dataclass(slots=True, kw_only=True)
class Report:
    """`waits` are of healthy customers but the noisy one: seconds from the publish to the first request, sorted."""

    published: int
    stored: int
    delivered: int
    failed: int
    pending: int
    at_broker: int
    doubled: int
    lost: int
    requests: int
    waits: list[float]
    seconds: float
    drained_after: float | None
    most_pending: int
    most_at_broker: int
    most_held: int
    held_of_one: int
    counts: Counts
    cpu: float
    store: float
    queue: float

    def wait(self, percent: float) -> float:
        return self.waits[min(len(self.waits) - 1, int(len(self.waits) * percent / 100))] if self.waits else 0.0


def run(scenario: Scenario) -> Report:
    loop = VirtualLoop()
    return run_virtually(_Run(scenario, loop).go(), loop, scenario.seed)


@dataclass(slots=True)
class _Peaks:
    pending: int = 0
    at_broker: int = 0
    held: int = 0
    held_of_one: int = 0


@dataclass(slots=True)
class _Busy:
    """Seconds of work so far, of all of a kind, and how many there are."""

    cpu: float
    store: float
    queue: float
    at: float


class _Run:
    def __init__(self, scenario: Scenario, loop: VirtualLoop) -> None:
        self._scenario, self._loop = scenario, loop
        self._random = Random(scenario.seed)
        self._settings = load_settings(config=Path("/dev/null"), environ={})
        self._customers = make_customers(
            scenario.webhooks,
            bad_share=scenario.bad_share,
            median_seconds=scenario.answer_seconds,
            spread=scenario.answer_spread,
            random=self._random,
        )
        self._by_id = {customer.webhook.id: customer for customer in self._customers}
        later = scenario.rate * scenario.store.seconds_later if scenario.with_retention else 0.0
        self._store = StoreModel(
            scenario.store,
            [Shard() for _ in range(scenario.shards)],
            later,
            webhooks={customer.webhook.id: customer.webhook for customer in self._customers},
        )
        self._queues = [Queue(scenario.costs.broker) for _ in range(scenario.queues)]
        self._record = Record()
        self._workers: list[SimulatedWorker] = []
        self._started = 0
        self._peaks = _Peaks()
        self._published = 0
        self._burst_until = 0.0
        self._began = 0.0

    async def go(self) -> Report:
        scenario, loop = self._scenario, self._loop
        others = [asyncio.create_task(self._store.take_away_what_is_over()), asyncio.create_task(self._look())]
        await asyncio.gather(*(self._start_worker(after=self._random.random()) for _ in range(scenario.workers)))
        self._began = loop.time()
        others += [asyncio.create_task(self._trouble(each)) for each in scenario.outages]
        await self._publish_for(scenario.warm_up_seconds)
        before = self._busy()
        await self._publish_for(scenario.seconds - scenario.warm_up_seconds)
        after, ended = self._busy(), loop.time()
        await self._drain(ended + scenario.drain_seconds)
        for each in others:
            if each.done():
                each.result()
        drained = loop.time() - ended if self._is_over() else None
        return self._report(before, after, drained)

    async def _drain(self, deadline: float) -> None:
        while not self._is_over() and self._loop.time() < deadline:  # noqa: ASYNC110  virtual time: a look costs nothing
            await asyncio.sleep(LOOK_SECONDS)

    # --- what happens ---

    async def _start_worker(self, *, after: float) -> None:
        """Each looks for what is due once a second; they do not do it in step."""
        await asyncio.sleep(after)
        scenario = self._scenario
        worker = SimulatedWorker(
            f"worker-{self._started}",
            settings=self._settings,
            costs=scenario.costs.worker,
            loop=self._loop,
            store=self._store,
            queues=self._queues,
            customers=self._by_id,
            record=self._record,
            spread=scenario.answer_spread,
            random=Random(f"{scenario.seed} {self._started}"),
        )
        self._started += 1
        self._workers.append(worker)
        await worker.start()

    async def _publish_for(self, seconds: float) -> None:
        scenario, loop, random = self._scenario, self._loop, self._random
        weights = cumulative_weights(len(self._customers), zipf=scenario.zipf, noisy_share=scenario.noisy_share)
        until = at = loop.time()
        until += seconds
        while True:
            rate = scenario.rate * (10 if loop.time() < self._burst_until else 1)
            at += random.expovariate(rate) if scenario.is_poisson else 1 / rate
            if at >= until:
                break
            await asyncio.sleep(at - loop.time())
            self._publish(self._customers[bisect(weights, random.random() * weights[-1])])
        await asyncio.sleep(until - loop.time())

    def _publish(self, customer: Customer) -> None:
        self._published += 1
        event = _event(customer, self._published)
        identity = delivery_id(event.key, customer.webhook.id)
        self._record.journeys[identity] = Journey(customer, self._loop.time())
        self._queues[self._published % len(self._queues)].publish(Message(event, customer.webhook.id))

    async def _trouble(self, outage: Outage) -> None:
        await asyncio.sleep(outage.at)
        until = self._loop.time() + outage.seconds
        match outage.trouble:
            case Trouble.CUSTOMERS:
                for customer in self._customers[: len(self._customers) // 2]:
                    customer.down_until = until
            case Trouble.WORKER:
                next(worker for worker in self._workers if not worker.lifeline.is_cut).kill()
                await self._start_worker(after=outage.seconds)
            case Trouble.STORE:
                for shard in self._store.shards:
                    shard.down_until = until
            case Trouble.BROKER:
                for queue in self._queues:
                    queue.lose_leader(outage.seconds)
            case Trouble.BURST:
                self._burst_until = until

    # --- what is seen ---

    async def _look(self) -> None:
        peaks = self._peaks
        while True:
            await asyncio.sleep(LOOK_SECONDS)
            living = [worker for worker in self._workers if not worker.lifeline.is_cut]
            held = [worker.lanes.held for worker in living]
            peaks.pending = max(peaks.pending, self._store.pending)
            peaks.at_broker = max(peaks.at_broker, sum(queue.messages for queue in self._queues))
            peaks.held = max(peaks.held, sum(held))
            peaks.held_of_one = max(peaks.held_of_one, max(held, default=0))
            for worker in living:
                worker.check()

    def _busy(self) -> _Busy:
        return _Busy(
            cpu=sum(worker.processor.busy_seconds for worker in self._workers),
            store=sum(shard.busy_seconds for shard in self._store.shards),
            queue=sum(queue.busy_seconds for queue in self._queues),
            at=self._loop.time(),
        )

    def _is_over(self) -> bool:
        return self._store.pending == 0 and not any(queue.messages for queue in self._queues)

    def _report(self, before: _Busy, after: _Busy, drained_after: float | None) -> Report:
        store, record, seconds = self._store, self._record, after.at - before.at
        at_broker = {
            delivery_id(each.event.key, each.webhook_id) for queue in self._queues for each in queue.contents()
        }
        statuses = [stored.status for stored in store.deliveries.values()]
        return Report(
            published=self._published,
            stored=len(store.deliveries),
            delivered=statuses.count(DeliveryStatus.DELIVERED),
            failed=len(statuses) - statuses.count(DeliveryStatus.DELIVERED) - statuses.count(DeliveryStatus.PENDING),
            pending=statuses.count(DeliveryStatus.PENDING),
            at_broker=sum(identity not in store.deliveries for identity in at_broker),
            doubled=sum(max(0, journey.accepted - 1) for journey in record.journeys.values()),
            lost=self._lost(at_broker),
            requests=record.requests,
            waits=sorted(self._waits()),
            seconds=seconds,
            drained_after=drained_after,
            most_pending=self._peaks.pending,
            most_at_broker=self._peaks.at_broker,
            most_held=self._peaks.held,
            held_of_one=self._peaks.held_of_one,
            counts=store.counts,
            cpu=(after.cpu - before.cpu) / seconds / self._scenario.workers,
            store=(after.store - before.store) / seconds / len(store.shards),
            queue=(after.queue - before.queue) / seconds / len(self._queues),
        )

    def _lost(self, at_broker: set[DeliveryId]) -> int:
        """Published, and neither waiting at the broker nor stored; or stored as delivered, and nobody got it."""
        store, journeys = self._store.deliveries, self._record.journeys
        gone = sum(identity not in store and identity not in at_broker for identity in journeys)
        claimed = sum(
            stored.status is DeliveryStatus.DELIVERED and not journeys[identity].accepted
            for identity, stored in store.items()
        )
        return gone + claimed

    def _waits(self) -> list[float]:
        noisy = self._customers[0] if self._scenario.noisy_share else None
        return [
            journey.first_request - journey.published
            for journey in self._record.journeys.values()
            if journey.first_request is not None
            and journey.customer.kind is Kind.HEALTHY
            and not journey.customer.down_until
            and journey.customer is not noisy
            and journey.published >= self._began + self._scenario.warm_up_seconds
        ]


_PAYLOAD: Final = b"{}"


def _event(customer: Customer, number: int) -> Event:
    return Event(
        account_id=customer.webhook.account_id,
        event_id=f"evt_{number}",
        type=EventType.CDR,
        name="cdr.created",
        occurred_at=None,
        received_at=EPOCH,
        call_id=None,
        sequence=None,
        tracking_number=None,
        user_id=None,
        number_keys=(),
        payload=_PAYLOAD,
        source="cdr",
    )
