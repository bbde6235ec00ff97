"""How much of everything a rate needs, by costs alone: plain arithmetic, whose result the simulation then tries out."""

from __future__ import annotations

from dataclasses import dataclass
from math import ceil
from typing import Final

from bench.simulation.costs import Costs, StoreCosts
from router.application.lanes import MAX_HELD_BYTES
from router.bootstrap import convert
from router.settings import Settings

MOST: Final = 0.65
"""Of its time that a core, a shard or a queue may be busy: the rest is for bursts, and for who is gone."""
ATTEMPTS: Final = 1.1
"""For each delivery, on average: one in ten is tried again."""
CORES_PER_HOST: Final = 8
SHARD_MEMBERS: Final = 3
BROKER_NODES: Final = 3
PARENT_MIB: Final = 90
SOURCES: Final = 3
"""Each is a connection of every worker; a type that is spread over more queues is as many."""
STORE_CONNECTIONS: Final = 10
"""Of a worker, to the one server that it speaks to: three change streams, two that watch the server, and calls."""
ANSWER_SECONDS: Final = 0.15
"""Mean time of an attempt, for what is in flight."""
DAY: Final = 86_400


@dataclass(frozen=True, slots=True, kw_only=True)
class Sizing:
    """Of everything, for `rate` events a second that lead to one delivery each. `busy` says how much of its time each
    kind is busy then."""

    rate: float
    workers: int
    shards: int
    queues: int
    worker_busy: float
    shard_busy: float
    queue_busy: float
    hosts: int
    memory_mib: int
    most_memory_mib: int
    disk_per_day_gib: float
    network_mbit: float
    broker_connections: int
    store_connections: int
    in_flight: int

    @property
    def first(self) -> str:
        """What is full first when the rate grows: the kind that is busiest."""
        busy = {"workers": self.worker_busy, "shards": self.shard_busy, "queues": self.queue_busy}
        return max(busy, key=lambda kind: busy[kind])


def size(rate: float, costs: Costs, store: StoreCosts, settings: Settings, *, most: float = MOST) -> Sizing:
    cpu = rate * (costs.worker.event_seconds + ATTEMPTS * costs.worker.delivery_seconds)
    # Two workers and three members at least: one of each may be gone.
    workers = max(2, ceil(cpu / most))
    store_seconds = rate * (store.seconds_now(ATTEMPTS) + store.seconds_later)
    shards = max(1, ceil(store_seconds / most))
    queue_seconds = rate / costs.broker.messages_per_second_per_queue
    queues = max(1, ceil(queue_seconds / most))
    hosts = max(2, ceil(workers / (CORES_PER_HOST - 1)))
    limits = convert.lane_limits(settings)
    most_held = limits.held * costs.worker.kib_per_held_delivery / 1024 + MAX_HELD_BYTES / 2**20
    in_flight = ceil(rate * ANSWER_SECONDS)
    held = in_flight * (costs.worker.kib_per_held_delivery * 1024 + costs.documents.event_bytes) / 2**20
    documents = costs.documents
    wire = 2 * documents.payload_bytes + documents.event_bytes + documents.delivery_bytes + costs.overhead_bytes
    return Sizing(
        rate=rate,
        workers=workers,
        shards=shards,
        queues=queues,
        worker_busy=cpu / workers,
        shard_busy=store_seconds / shards,
        queue_busy=queue_seconds / queues,
        hosts=hosts,
        memory_mib=ceil(workers * costs.worker.idle_mib + hosts * PARENT_MIB + held),
        most_memory_mib=ceil(workers * (costs.worker.idle_mib + most_held) + hosts * PARENT_MIB),
        disk_per_day_gib=rate * DAY * documents.bytes_on_disk / 2**30,
        network_mbit=rate * wire * 8 / 1e6,
        broker_connections=workers * (SOURCES - 1 + queues),
        store_connections=workers * STORE_CONNECTIONS,
        in_flight=in_flight,
    )
