"""Modelled queues: each hands messages to its consumers in turn, at a bounded rate, as many as they may have
unacknowledged. What a lost consumer or node had comes again.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from typing import Any

from bench.simulation.client import Lifeline
from bench.simulation.costs import BrokerCosts
from bench.simulation.processor import Processor
from router.adapters.rabbitmq.window import Window
from router.domain.event import Event
from router.domain.webhook import WebhookId
from router.ports import Clock, Intake, MessageProperties, RawMessage

PREFETCH = 100
"""The default of `sources.prefetch`."""
_PROPERTIES = MessageProperties()


@dataclass(slots=True)
class Message:
    """An event that leads to a delivery to one webhook. Its time of reception is set when it arrives."""

    event: Event
    webhook_id: WebhookId


class Queue:
    def __init__(self, costs: BrokerCosts) -> None:
        self._ready: deque[Message] = deque()
        self._consumers: list[Consumer] = []
        self._turn = 0
        self._seconds = 1 / costs.messages_per_second_per_queue
        self._latency = costs.latency_ms / 1000
        self._free_at = 0.0
        self.busy_seconds = 0.0
        self.down_until = 0.0
        self.longest = 0

    def publish(self, message: Message) -> None:
        self._ready.append(message)
        self.longest = max(self.longest, len(self._ready))
        self.pump()

    def attach(self, consumer: Consumer) -> None:
        self._consumers.append(consumer)

    def detach(self, consumer: Consumer) -> None:
        """It is gone: what it did not acknowledge is at the head again."""
        self._consumers.remove(consumer)
        self._ready.extendleft(reversed(consumer.unsettled))
        consumer.unsettled.clear()
        self.pump()

    def lose_leader(self, seconds: float) -> None:
        """The node of the queue's leader ends; another leads in a moment, and everybody subscribes again."""
        loop = asyncio.get_running_loop()
        self.down_until = loop.time() + seconds
        for consumer in self._consumers:
            self._ready.extendleft(reversed(consumer.unsettled))
            consumer.unsettled.clear()
            consumer.window.clear()
            consumer.generation += 1
        loop.call_later(seconds, self.pump)

    def pump(self) -> None:
        loop = asyncio.get_running_loop()
        now = loop.time()
        while self._ready and now >= self.down_until and (consumer := self._next_consumer()) is not None:
            message = self._ready.popleft()
            consumer.unsettled.append(message)
            self._free_at = max(self._free_at, now) + self._seconds
            self.busy_seconds += self._seconds
            loop.call_at(self._free_at + self._latency, consumer.arrive, message, consumer.generation)

    def _next_consumer(self) -> Consumer | None:
        for _ in self._consumers:
            self._turn = (self._turn + 1) % len(self._consumers)
            consumer = self._consumers[self._turn]
            if len(consumer.unsettled) < PREFETCH:
                return consumer
        return None

    @property
    def messages(self) -> int:
        return len(self._ready) + sum(len(consumer.unsettled) for consumer in self._consumers)

    def contents(self) -> list[Message]:
        return [*self._ready, *(message for consumer in self._consumers for message in consumer.unsettled)]


class Consumer:
    """What one worker has of one queue; a generation ends with its channel."""

    def __init__(self, queue: Queue, source: ModelSource) -> None:
        self.queue = queue
        self.unsettled: deque[Message] = deque()
        self.generation = 0
        self.window = Window(PREFETCH)
        self._source = source

    def arrive(self, message: Message, generation: int) -> None:
        if generation == self.generation:
            self.window.arrived()
            self._source.arrived(self, message, generation)

    def acknowledge(self, count: int, generation: int) -> None:
        if generation == self.generation:
            for _ in range(count):
                self.unsettled.popleft()
            self.window.settled(count)
            self.queue.pump()


class ModelSource:
    """Fulfils `ports.Source` for one worker over all queues."""

    def __init__(
        self, queues: Sequence[Queue], clock: Clock, processor: Processor, event_seconds: float, lifeline: Lifeline
    ) -> None:
        self._consumers = [Consumer(queue, self) for queue in queues]
        self._waiting: deque[Intake] = deque()
        self._something = asyncio.Event()
        self._clock = clock
        self._processor = processor
        self._event_seconds = event_seconds
        self._lifeline = lifeline

    def consume(self) -> None:
        for consumer in self._consumers:
            consumer.queue.attach(consumer)
            consumer.queue.pump()

    def arrived(self, consumer: Consumer, message: Message, generation: int) -> None:
        now = self._clock.now()
        self._waiting.append(
            Intake(
                content=replace(message.event, received_at=now),
                raw=_raw(now),
                born_at=now,
                tag=(consumer, generation),
            )
        )
        self._something.set()

    @property
    def is_full(self) -> bool:
        return any(consumer.window.is_full for consumer in self._consumers)

    async def arrival(self) -> bool:
        while not self._waiting:
            self._something.clear()
            await self._something.wait()
        return True

    async def take(self, limit: int) -> Sequence[Intake]:
        taken = [self._waiting.popleft() for _ in range(min(limit, len(self._waiting)))]
        await self._processor.work(len(taken) * self._event_seconds)
        await self._lifeline.hold_on()
        return taken

    async def settle(self, taken: Sequence[Intake]) -> None:
        await self._lifeline.hold_on()
        counts: dict[Any, int] = {}
        for item in taken:
            counts[item.tag] = counts.get(item.tag, 0) + 1
        for (consumer, generation), count in counts.items():
            consumer.acknowledge(count, generation)

    def cut(self) -> None:
        for consumer in self._consumers:
            consumer.generation += 1
            consumer.queue.detach(consumer)


def _raw(now: datetime) -> RawMessage:
    return RawMessage(
        body=b"",
        source="cdr",
        exchange="cdr",
        routing_key="cdr.created",
        properties=_PROPERTIES,
        received_at=now,
        redelivered=False,
    )
