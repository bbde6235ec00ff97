"""Fulfils `ports.Source`: one subscription per source, merged into batches, `call` first."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping, Sequence
from datetime import datetime, timedelta
from typing import Any, Final

from aiormq.abc import AbstractChannel

from router.adapters.rabbitmq.config import BrokerConfig, SourceConfig
from router.adapters.rabbitmq.connection import CONNECTION_ERRORS, within
from router.adapters.rabbitmq.subscription import Subscription, Tag
from router.domain.event import EventType
from router.ports import Intake

ACK_TIMEOUT_SECONDS: Final = 3.0
"""For handing an acknowledgement to the system. One that is late is lost: the next on its channel stands for it too."""


class RabbitSource:
    """Service and Source over all subscriptions."""

    name = "amqp"

    def __init__(
        self,
        sources: Sequence[SourceConfig],
        broker: BrokerConfig,
        now: Callable[[], datetime],
        on_ack_lost: Callable[[], None],
    ) -> None:
        self._something_arrived = asyncio.Event()
        self._subscriptions = [Subscription(source, broker, now, self._something_arrived.set) for source in sources]
        # A ringing phone does not wait behind a backlog of records.
        self._subscriptions.sort(key=lambda each: each.source.decoding.event_type is not EventType.CALL)
        self._on_ack_lost = on_ack_lost
        self._stopped = False
        self._loops: list[asyncio.Task[None]] = []
        self.settled_batches = 0

    async def run(self) -> None:
        async with asyncio.TaskGroup() as group:
            self._loops = [
                group.create_task(each.run(), name=f"consume-{each.source.name}") for each in self._subscriptions
            ]

    async def wait_until_consuming(self) -> None:
        """Returns once every source consumes. Raises ConfigurationRefused as soon as one never will."""
        while not all(each.ready.is_set() for each in self._subscriptions):
            for each in self._subscriptions:
                if each.refusal is not None:
                    raise each.refusal
            await asyncio.sleep(0.05)

    def status(self) -> Mapping[str, bool]:
        """Whether each source has a consumer whose last pulse was good."""
        return {each.source.name: each.is_alive for each in self._subscriptions}

    def problems(self) -> Mapping[str, str]:
        """Why a source does not consume, for those that do not."""
        silent = (each for each in self._subscriptions if not each.is_alive)
        return {each.source.name: each.problem or f"queue {each.source.queue!r} does not answer" for each in silent}

    def measured(self) -> Mapping[str, timedelta]:
        """The error of each source's publisher clock, as far as this run has measured it."""
        measured = {each.source.name: each.clock.measured for each in self._subscriptions}
        return {name: error for name, error in measured.items() if error is not None}

    def recall(self, errors: Mapping[str, timedelta]) -> None:
        """Take up what an earlier run measured."""
        for each in self._subscriptions:
            if each.source.name in errors:
                each.clock.recall(errors[each.source.name])

    async def arrival(self) -> bool:
        while not any(each.waiting for each in self._subscriptions):
            if self._stopped:
                return False
            self._something_arrived.clear()
            await self._something_arrived.wait()
        return True

    async def take(self, limit: int) -> Sequence[Intake]:
        batch: list[Intake] = []
        for each in self._subscriptions:
            while each.waiting and len(batch) < limit:
                batch.append(each.waiting.popleft())
        return batch

    async def settle(self, taken: Sequence[Intake]) -> None:
        newest: dict[AbstractChannel, tuple[Tag, int]] = {}
        for item in taken:
            tag: Any = item.tag
            newest[tag.channel] = (tag, newest.get(tag.channel, (tag, 0))[1] + 1)
        for channel, (tag, count) in newest.items():
            tag.subscription.settled(channel, count)
            try:
                # Batches are taken and settled in order of arrival, so everything up to this tag is done.
                name = f"ack-{tag.subscription.source.name}"
                await within(ACK_TIMEOUT_SECONDS, _acknowledge_up_to(tag), name=name)
            except CONNECTION_ERRORS:
                self._on_ack_lost()
        self.settled_batches += 1

    @property
    def unsettled(self) -> int:
        """Messages that arrived and are not settled: waiting to be taken, or in work."""
        return sum(each.window.unsettled for each in self._subscriptions)

    @property
    def is_full(self) -> bool:
        """Whether so much is not settled that more may wait at the broker."""
        return any(each.window.is_full for each in self._subscriptions)

    async def cancel(self) -> None:
        """Stop taking from the broker. `take` returns what there is, then `arrival` says that nothing comes."""
        await asyncio.gather(*(each.stop() for each in self._subscriptions))
        self._stopped = True
        self._something_arrived.set()

    async def close(self) -> None:
        """Close the connections; what was delivered and not settled goes back to its queue."""
        await asyncio.gather(*(each.close() for each in self._subscriptions))
        for loop in self._loops:
            loop.cancel()


async def _acknowledge_up_to(tag: Tag) -> None:
    await tag.channel.basic_ack(tag.delivery_tag, multiple=True)
