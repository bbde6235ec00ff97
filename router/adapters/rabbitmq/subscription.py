"""One source: its connection, its consumer, and what it delivered that is not taken yet.

It lives in one loop: connect, declare, consume until something is lost, begin again. Whatever is lost (connection,
channel, the consumer, or only the flow of messages) ends in the same place, so a router that is connected but deaf
cannot exist. A pulse asks the queue over the same connection every few seconds, and shows what no callback tells.
"""

from __future__ import annotations

import asyncio
import time
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any, Final

import structlog
from aio_pika.abc import AbstractConnection
from aiormq.abc import AbstractChannel, DeliveredMessage
from aiormq.exceptions import ChannelNotFoundEntity
from tenacity import AsyncRetrying, RetryCallState, retry_if_exception_type, wait_random_exponential

from router.adapters.rabbitmq.codec import decode
from router.adapters.rabbitmq.config import BrokerConfig, SourceConfig
from router.adapters.rabbitmq.connection import CONNECTION_ERRORS, connect, translate, within
from router.adapters.rabbitmq.hearing import Hearing, Listener, Pulse
from router.adapters.rabbitmq.messages import raw_message, times_returned
from router.adapters.rabbitmq.topology import declare
from router.adapters.rabbitmq.window import Window
from router.domain.errors import ConfigurationRefused, DependencyUnavailable, RouterError
from router.domain.event import Event, Rejection, RejectionReason
from router.domain.freshness import PublisherClock
from router.ports import Intake, RawMessage
from router.telemetry.redact import place_of

log = structlog.get_logger("router.amqp")

FIRST_WAIT_SECONDS: Final = 0.2
MAX_WAIT_SECONDS: Final = 2.0
"""Between two tries. With one try that gets no answer, and the next wait, a source consumes again within 10 s of the
broker's return: 2 + 4 + 2 s, and the time of a try that succeeds."""
REFUSED_MAX_WAIT_SECONDS: Final = 5.0
"""Between two tries where the broker refuses what the configuration asks for: only a person can mend that."""
SUBSCRIBE_SECONDS: Final = 4.0
"""From the connection to the consumer. A queue whose leader is not up yet may answer nothing at all, for ever."""
MAX_SUBSCRIBE_SECONDS: Final = 12.0
"""What that time grows to, by try, for a broker that is slow and not silent."""
PULSE_SECONDS: Final = 5.0
PULSE_TIMEOUT_SECONDS: Final = 5.0
SILENCE_SECONDS: Final = 300.0
"""A consumer that has heard nothing for so long begins again. RabbitMQ 3.10 can count messages as delivered to one that
never gets them, where a quorum queue was deleted and declared again at once; no question of a client shows that."""
CLOSE_TIMEOUT_SECONDS: Final = 1.0
CLOSE_GRACE_SECONDS: Final = 30.0
"""A connection that is lost is not waited for: its close goes on behind, for so long."""
LAST_CLOSE_SECONDS: Final = 3.0
"""At the end the close is waited for: the client itself gives a silent broker 2 s."""
CANCEL_TIMEOUT_SECONDS: Final = 3.0
REPEAT_LOG_SECONDS: Final = 10.0
"""How soon the same reason for not consuming is logged again."""
MAX_RETURNS: Final = 15
"""A message that came back unsettled so often is parked unread: it may be what ends the router each time. Below the
delivery limit of our policy, after which the broker would set it aside where nobody sees it."""


@dataclass(frozen=True, slots=True)
class Tag:
    """Where a message is acknowledged: on the channel that it came by, and on no other."""

    channel: AbstractChannel
    delivery_tag: int
    subscription: Subscription


@dataclass(slots=True)
class _Link:
    """One connection with its consumer; `lost` is set, with a `reason`, when either is gone."""

    connection: AbstractConnection
    lost: asyncio.Event = field(default_factory=asyncio.Event)
    reason: str = ""
    channel: AbstractChannel | None = None
    pulse_channel: AbstractChannel | None = None
    consumer_tag: str | None = None

    def lose(self, reason: str) -> None:
        if not self.lost.is_set():
            self.reason = reason
            self.lost.set()


class Subscription:
    """One source, as long as the router runs."""

    def __init__(
        self, source: SourceConfig, broker: BrokerConfig, now: Callable[[], datetime], arrived: Callable[[], None]
    ) -> None:
        self.source = source
        self.waiting: deque[Intake] = deque()
        self.is_alive = False
        """It consumes, and its last pulse was good."""
        self.ready = asyncio.Event()
        """Set once it has consumed for the first time."""
        self.refusal: ConfigurationRefused | None = None
        self.problem = ""
        """Why it could not consume the last time; empty while it does."""
        self.clock = PublisherClock()
        self.window = Window(source.prefetch)
        self._broker = broker
        self._now = now
        self._arrived = arrived
        self._backlog = 0
        self._arrivals = 0
        self._listener = Listener()
        self._link: _Link | None = None
        self._heard_at = 0.0
        self._silent_tries = 0
        self._noted_at = float("-inf")
        self._stopping = False

    # --- the loop ---

    async def run(self) -> None:
        while not self._stopping:
            try:
                link = await self._subscribe_again_and_again()
            except RouterError:
                return  # only while stopping
            hearing = await self._until_lost(link)
            # A quiet queue is no reason for alarm: the new consumer is there in a moment.
            self.is_alive = link.reason == "silence"
            self._tell_loss(link, hearing)
            await self._disconnect()

    def _tell_loss(self, link: _Link, hearing: Hearing | None) -> None:
        where = {"source": self.source.name, "queue": self.source.queue}
        if self._stopping:
            return
        if link.reason == "silence":
            log.debug("consumer_renewed", **where)
        elif hearing is Hearing.DEAF:
            log.warning("consumer_deaf", **where)
        else:
            log.warning("consumer_lost", **where, reason=link.reason)

    async def _subscribe_again_and_again(self) -> _Link:
        return await AsyncRetrying(
            wait=_wait,
            retry=retry_if_exception_type(RouterError),
            stop=lambda _: self._stopping,
            before_sleep=lambda state: self._note(state.outcome.exception() if state.outcome else None),
            reraise=True,
        )(self._subscribe)

    async def _subscribe(self) -> _Link:
        try:
            connection = await within(
                self._broker.connect_timeout_seconds,
                connect(self._broker, f"webhook-router {self.source.name}"),
                name=f"connect-{self.source.name}",
            )
        except CONNECTION_ERRORS as error:
            raise translate(error) from None
        link = self._link = _Link(connection)
        seconds = min(SUBSCRIBE_SECONDS + 2 * self._silent_tries, MAX_SUBSCRIBE_SECONDS)
        try:
            await within(seconds, self._consume(link), name=f"subscribe-{self.source.name}")
        except RouterError:
            await self._disconnect()
            raise
        except TimeoutError:
            self._silent_tries += 1
            await self._disconnect()
            raise DependencyUnavailable(
                f"RabbitMQ is there, but queue {self.source.queue!r} did not answer within {seconds:.0f} s"
            ) from None
        except CONNECTION_ERRORS as error:
            await self._disconnect()
            raise translate(error) from None
        self._silent_tries = 0
        self._heard_at = time.monotonic()
        self.is_alive = True
        self.refusal, self.problem = None, ""
        self.ready.set()
        log.info("consuming", source=self.source.name, queue=self.source.queue, backlog=self._backlog)
        return link

    async def _consume(self, link: _Link) -> None:
        connection = link.connection
        connection.close_callbacks.add(lambda *_: link.lose("connection_closed"))
        self._backlog = await declare(connection, self.source)
        # A channel of its own: the answer to a question does not wait behind messages, and a queue that is gone
        # closes the channel that asks for it.
        asking = await connection.channel(publisher_confirms=False)
        link.pulse_channel = await asking.get_underlay_channel()
        channel = await connection.channel(publisher_confirms=False)
        await channel.set_qos(prefetch_count=self.source.prefetch)
        channel.close_callbacks.add(lambda *_: link.lose("channel_closed"))
        self._listener.begin(arrived=self._arrivals)
        # The client's own consumer would make two tasks and a large object for each message.
        link.channel = await channel.get_underlay_channel()
        link.channel.on_consumer_cancel_callbacks.add(lambda _: link.lose("cancelled"))
        consuming = await link.channel.basic_consume(self.source.queue, self._on_delivered)
        link.consumer_tag = consuming.consumer_tag

    def _note(self, error: BaseException | None) -> None:
        if isinstance(error, ConfigurationRefused):
            self.refusal = error
        is_known, self.problem = str(error) == self.problem, str(error)
        if not is_known or time.monotonic() - self._noted_at > REPEAT_LOG_SECONDS:
            self._noted_at = time.monotonic()
            log.warning("consumer_unavailable", source=self.source.name, error=self.problem)

    async def _disconnect(self, seconds: float = CLOSE_TIMEOUT_SECONDS) -> None:
        link, self._link = self._link, None
        # What was not taken comes again on the next connection; keeping it would double it.
        self.waiting.clear()
        self.window.clear()
        if link is not None:
            link.lose("closed")
            try:
                closing = link.connection.close()
                await within(seconds, closing, name=f"close-{self.source.name}", grace_seconds=CLOSE_GRACE_SECONDS)
            except CONNECTION_ERRORS:
                log.debug("connection_close_failed", source=self.source.name)

    # --- the pulse ---

    async def _until_lost(self, link: _Link) -> Hearing | None:
        """Returns once the link is lost: DEAF where the pulses say so, else None and the link has the reason."""
        while True:
            try:
                async with asyncio.timeout(PULSE_SECONDS):
                    await link.lost.wait()
                return None
            except TimeoutError:
                pulse = await self._pulse(link)
            if pulse is None:
                return None
            if self._stopping:
                continue  # it was cancelled, and may still acknowledge
            if not self.window.unsettled and time.monotonic() - self._heard_at > SILENCE_SECONDS:
                link.lose("silence")
                return None
            hearing = self._listener.judge(pulse)
            self.is_alive = hearing is Hearing.WELL
            if hearing is Hearing.DEAF:
                return hearing

    async def _pulse(self, link: _Link) -> Pulse | None:
        """What the queue says of itself; None, and the link is lost, where it says nothing."""
        channel: Any = link.pulse_channel
        try:
            answer = await within(
                PULSE_TIMEOUT_SECONDS,
                channel.queue_declare(self.source.queue, passive=True),
                name=f"pulse-{self.source.name}",
            )
        except TimeoutError:
            link.lose("no_answer")
            return None
        except ChannelNotFoundEntity:
            link.lose("queue_gone")
            return None
        except CONNECTION_ERRORS:
            link.lose("connection_closed")
            return None
        return Pulse(
            ready=answer.message_count or 0,
            consumers=answer.consumer_count or 0,
            arrived=self._arrivals,
            has_room=self.window.has_room,
        )

    # --- arrivals ---

    async def _on_delivered(self, message: DeliveredMessage) -> None:
        # Not awaiting keeps the order of arrival.
        if self._stopping or self._link is None or message.channel is not self._link.channel:
            # Of a connection that is being closed: it comes again. Behind what a stop gives back nothing may be taken:
            # an acknowledgement stands for everything before it on its channel, also for what nobody has read.
            return
        live = self._backlog <= 0 and self.window.is_quiet
        self._backlog -= 1
        self._arrivals += 1
        self._heard_at = time.monotonic()
        self.window.arrived()
        raw = raw_message(message, self.source.name, self._now())
        content = _parked(times_returned(message)) or self._decode(raw)
        born_at = raw.received_at
        if isinstance(content, Event):
            born_at = self.clock.born_at(content.occurred_at, raw.received_at, live=live)
        tag = Tag(message.channel, message.delivery_tag or 0, self)
        self.waiting.append(Intake(content=content, raw=raw, born_at=born_at, tag=tag))
        self._arrived()

    def _decode(self, raw: RawMessage) -> Event | Rejection:
        try:
            return decode(raw, self.source.decoding)
        except Exception as error:
            # It would otherwise stay unsettled, and be acknowledged unread together with a later one.
            log.error("decoding_raised", source=self.source.name, error=type(error).__name__, where=place_of(error))
            return Rejection(reason=RejectionReason.HANDLER_ERROR, detail="decoding failed; see the log")

    def settled(self, channel: AbstractChannel, count: int) -> None:
        if self._link is not None and channel is self._link.channel:
            self.window.settled(count)

    # --- the end ---

    async def stop(self) -> None:
        """Ask the broker for nothing more, and give back what was not taken. Acks can still be sent."""
        self._stopping = True
        link = self._link
        if link is not None and link.channel is not None and link.consumer_tag is not None and self.is_alive:
            try:
                cancelling = link.channel.basic_cancel(link.consumer_tag)
                await within(CANCEL_TIMEOUT_SECONDS, cancelling, name=f"cancel-{self.source.name}")
            except CONNECTION_ERRORS:
                log.debug("cancel_failed", source=self.source.name)
        self.waiting.clear()

    async def close(self) -> None:
        await self._disconnect(LAST_CLOSE_SECONDS)


def _wait(state: RetryCallState) -> float:
    """Random, below a bound that grows; the bound is higher where only a person can mend the reason."""
    error = state.outcome.exception() if state.outcome else None
    longest = REFUSED_MAX_WAIT_SECONDS if isinstance(error, ConfigurationRefused) else MAX_WAIT_SECONDS
    return wait_random_exponential(multiplier=FIRST_WAIT_SECONDS, max=longest)(state)


def _parked(returned: int) -> Rejection | None:
    """What becomes of a message that came back so often."""
    if returned < MAX_RETURNS:
        return None
    return Rejection(
        reason=RejectionReason.HANDLER_ERROR,
        detail=f"came back unsettled {returned} times: each time the router that had it ended or lost its connection; "
        "it was not read",
    )
