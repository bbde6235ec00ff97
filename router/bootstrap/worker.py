"""The delivering side, put together: from the broker's queues to recorded attempts, and how it stops."""

from __future__ import annotations

import os
import random
from collections.abc import Mapping
from functools import partial
from importlib import import_module
from typing import Final

from router import __version__
from router.adapters.http.connector import name_resolver
from router.adapters.http.sender import HttpSender
from router.adapters.mongo.clocks import MongoPublisherClocks
from router.adapters.mongo.dead_letters import MongoDeadLetters
from router.adapters.mongo.definitions import MongoDefinitions
from router.adapters.mongo.deliveries import MongoDeliveries
from router.adapters.mongo.outbox import MongoOutbox
from router.adapters.mongo.replay_queue import MongoReplayQueue
from router.adapters.mongo.secrets import FirstSight
from router.adapters.mongo.upkeep import MongoUpkeep
from router.adapters.rabbitmq.announcements import RabbitAnnouncements
from router.adapters.rabbitmq.consumer import RabbitSource
from router.application.announcements import Announcer
from router.application.brake import EgressBrake
from router.application.budget import RetryBudget
from router.application.circuits import Circuits
from router.application.clocks import KEEP_SECONDS, ClockKeeper
from router.application.definitions import DefinitionBook, DefinitionFollower
from router.application.deliver import Deliverer
from router.application.health import WebhookHealth
from router.application.ingest import Ingest
from router.application.lanes import Lanes
from router.application.progress import Line
from router.application.record import Recorder
from router.application.replayer import Replayer
from router.application.retries import LeaseKeeper, RetryPoller
from router.application.timers import Timers
from router.application.turns import Turns
from router.application.upkeep import BACKLOG_SECONDS, BacklogGauges, Chore, Housekeeping
from router.bootstrap import convert
from router.bootstrap.store import Store
from router.daemon import Service, Step, Supervisor
from router.ports import NOT_TRACED, Tracing
from router.settings import Settings
from router.telemetry.metrics import Metrics
from router.telemetry.pace import Pace

FINISH_MARGIN_SECONDS: Final = 2.0
STEP_SECONDS: Final = 5.0
HURRIED_SECONDS: Final = 2.0
"""For what must not be left out after a second signal: without it, attempts are repeated and leases run out."""
RECORD_SECONDS: Final = 10.0
"""Longer than the other steps: what is not recorded is sent again."""
ANNOUNCE_SECONDS: Final = 3.0
"""Shorter than the other steps: what is not published stays in the outbox, for the next start or another worker."""


class Worker:
    """One worker. `owner` is its name in leases: no two workers that live at the same time share one."""

    def __init__(
        self, settings: Settings, store: Store, metrics: Metrics, owner: str, tracing: Tracing = NOT_TRACED
    ) -> None:
        schedules = convert.schedules(settings)
        self._longest_attempt = max(schedule.timeout for schedule in schedules.values())
        self._metrics = metrics
        self.book = DefinitionBook()
        self.announcements: RabbitAnnouncements | None
        self.announcer: Announcer | None
        self.announcements, self.announcer = _announcing(settings, store, metrics, owner)
        announced = self.announcer.poke if self.announcer else None
        turns = Turns()
        self.deliveries = _deliveries(settings, store, owner, turns, announcing=self.announcer is not None)
        circuits = self._circuits = Circuits(store.clock, random.random, convert.circuit_after(settings))
        self._brake = EgressBrake()
        self.lanes = Lanes(
            convert.lane_limits(settings), is_failing=circuits.is_failing, is_hanging=circuits.is_hanging
        )
        self.first_sight = FirstSight(store.secret_store)
        definitions = _definitions(settings, store, owner, self.first_sight)
        self.source = RabbitSource(
            convert.sources(settings), convert.broker(settings), store.clock.now, metrics.acks_lost.inc
        )
        self.follower = DefinitionFollower(self.book, definitions, self.deliveries, circuits)
        self.timers = Timers(self.lanes)
        self.recorder = Recorder(
            deliveries=self.deliveries,
            health=WebhookHealth(
                self.book,
                definitions,
                store.clock,
                convert.suspend_after(settings),
                recovered_after=convert.circuit_after(settings),
                announced=announced,
            ),
            book=self.book,
            circuits=circuits,
            lanes=self.lanes,
            timers=self.timers,
            clock=store.clock,
            metrics=metrics,
            turns=turns,
            announced=announced,
        )
        budget = RetryBudget(has_backlog=lambda: self.source.is_full, is_store_behind=lambda: self.recorder.is_behind)
        self.sender = _sender(settings, store, metrics)
        self.deliverer = Deliverer(
            lanes=self.lanes,
            book=self.book,
            definitions=definitions,
            sender=self.sender,
            recorder=self.recorder,
            circuits=circuits,
            brake=self._brake,
            schedules=schedules,
            clock=store.clock,
            jitter=random.random,
            user_agent=f"webhook-router/{__version__}",
            metrics=metrics,
            tracing=tracing,
            pace=_pace(settings, metrics),
        )
        self.ingest = Ingest(
            source=self.source,
            deliveries=self.deliveries,
            dead_letters=MongoDeadLetters(store.database, store.persistently, convert.retention(settings)),
            book=self.book,
            lanes=self.lanes,
            recorder=self.recorder,
            circuits=circuits,
            budget=budget,
            clock=store.clock,
            schedules=schedules,
            metrics=metrics,
            turns=turns,
            tracing=tracing,
            pace=_pace(settings, metrics),
        )
        self.poller = RetryPoller(
            deliveries=self.deliveries,
            lanes=self.lanes,
            circuits=circuits,
            brake=self._brake,
            budget=budget,
            is_steady=lambda: store.persistently.health.is_steady,
        )
        self.replayer = Replayer(
            queue=_replay_queue(settings, store, owner),
            book=self.book,
            definitions=definitions,
            clock=store.clock,
            metrics=metrics,
            may_release=lambda: not (self._brake.is_on or budget.is_tight) and store.persistently.health.is_steady,
        )
        self.keeper = LeaseKeeper(self.deliveries, self.lanes, turns)
        self.clocks = ClockKeeper(
            MongoPublisherClocks(store.database, store.persistently),
            store.clock,
            measured=self.source.measured,
            recall=self.source.recall,
        )
        self.housekeeping = _housekeeping(store, metrics, self.clocks, self.replayer)
        if os.environ.get("WEBHOOK_ROUTER_KILLPOINT"):
            # Tests of faults alone; nobody else pays for the import.
            import_module("router.bootstrap.killpoints").arm(self)

    # --- life ---

    async def start(self, supervisor: Supervisor) -> None:
        """Start in the order in which each part needs the others: definitions are known before anything is matched."""
        await self.sender.open()
        supervisor.start([self.follower, self.housekeeping, self.first_sight])
        await self.follower.loaded.wait()
        parts: list[Service] = [self.recorder, self.timers, self.deliverer, self.keeper, self.poller, self.ingest]
        supervisor.start([*parts, self.replayer])
        if self.announcer is not None:
            supervisor.start([self.announcer])
        await self.clocks.load()
        supervisor.start([self.source])

    def stop_steps(self, supervisor: Supervisor) -> list[Step]:
        """The shutdown, in the order of the data: nothing new, finish, record, give back, close."""

        async def finish_intake() -> None:
            await self.source.cancel()
            await supervisor.ended(self.ingest)

        async def finish_attempts() -> None:
            self.replayer.stop()
            self.poller.stop()
            self.timers.stop()
            self.deliverer.stop()
            await supervisor.ended(self.deliverer)

        async def record() -> None:
            await self.deliverer.abandon()
            self.recorder.stop()
            await supervisor.ended(self.recorder)

        async def announce() -> None:
            if self.announcer is not None:
                self.announcer.stop()
                await supervisor.ended(self.announcer)

        async def give_back() -> None:
            self.keeper.stop()
            await supervisor.ended(self.replayer)
            # A claim that was under way when the stop came is ours as soon as the store has it: it is given back too.
            await supervisor.ended(self.poller)
            await self.deliveries.release(self.lanes.all_held())

        async def close() -> None:
            self.follower.stop()
            self.first_sight.stop()
            self.housekeeping.stop()
            await self.source.close()
            await self.sender.close()
            if self.announcements is not None:
                await self.announcements.close()
            await self.clocks.keep()

        attempts = self._longest_attempt.total_seconds() + FINISH_MARGIN_SECONDS
        return [
            Step(name="intake", action=finish_intake, timeout_seconds=STEP_SECONDS),
            Step(name="attempts", action=finish_attempts, timeout_seconds=attempts),
            Step(name="record", action=record, timeout_seconds=RECORD_SECONDS, hurried_seconds=HURRIED_SECONDS),
            Step(name="announce", action=announce, timeout_seconds=ANNOUNCE_SECONDS),
            Step(name="give-back", action=give_back, timeout_seconds=STEP_SECONDS, hurried_seconds=HURRIED_SECONDS),
            Step(name="close", action=close, timeout_seconds=STEP_SECONDS, hurried_seconds=HURRIED_SECONDS),
        ]

    def lines(self) -> list[Line]:
        """Each line of work, for the watchdog: does it have any, and does it move."""
        return [
            Line(
                name="intake",
                has_work=lambda: self.source.unsettled > 0 and self.recorder.has_room,
                done=lambda: self.source.settled_batches,
            ),
            Line(
                name="attempts",
                has_work=lambda: self.lanes.has_ready and self.recorder.has_room,
                done=lambda: self.lanes.handed_out,
            ),
            Line(name="results", has_work=lambda: self.recorder.unrecorded > 0, done=lambda: self.recorder.recorded),
            Line(name="retries", has_work=lambda: True, done=lambda: self.poller.rounds),
            Line(name="replays", has_work=lambda: True, done=lambda: self.replayer.rounds),
            Line(
                name="housekeeping",
                has_work=lambda: not self.housekeeping.is_doing_a_chore,
                done=lambda: self.housekeeping.pulses,
            ),
        ]

    def checks(self) -> Mapping[str, bool]:
        """What readiness asks of a worker."""
        consumers = self.source.status()
        for source, alive in consumers.items():
            self._metrics.consumer_alive.labels(source).set(alive)
        return {
            "definitions": self.follower.loaded.is_set(),
            **{f"consumer:{name}": up for name, up in consumers.items()},
        }

    def observe(self) -> None:
        """Bring the gauges up to date."""
        self._metrics.in_flight.set(self.lanes.in_flight)
        self._metrics.held.set(self.lanes.held)
        self._metrics.circuits.labels("open").set(self._circuits.count_open())
        self._metrics.circuits.labels("half_open").set(self._circuits.count_half_open())
        self._metrics.egress_brake.set(self._brake.is_on)
        self._metrics.unrecorded.set(self.recorder.unrecorded)
        self._metrics.webhooks.set(len(self.book))
        self._metrics.webhooks_suspended.set(self.book.suspended)
        if self.announcer is not None and self.announcements is not None:
            self._metrics.outbox_pending.set(self.announcer.waiting)
            self._metrics.amqp_blocked.set(self.announcements.is_blocked)


def _announcing(
    settings: Settings, store: Store, metrics: Metrics, owner: str
) -> tuple[RabbitAnnouncements, Announcer] | tuple[None, None]:
    """What publishes operational events, unless they are switched off."""
    exchange = settings.amqp.events_exchange
    if exchange is None:
        return None, None
    announcements = RabbitAnnouncements(convert.broker(settings), exchange)
    outbox = MongoOutbox(store.database, store.persistently, store.clock, owner)
    return announcements, Announcer(outbox, announcements, metrics, random.random)


# --- parts that take much of the settings ----------------------------------------------------------


def _deliveries(settings: Settings, store: Store, owner: str, turns: Turns, *, announcing: bool) -> MongoDeliveries:
    keep = convert.retention(settings)
    return MongoDeliveries(
        store.database, store.persistently, store.clock, keep, owner, announcing=announcing, turns=turns
    )


def _definitions(settings: Settings, store: Store, owner: str, first_sight: FirstSight) -> MongoDefinitions:
    return MongoDefinitions(
        store.database,
        store.persistently,
        settings.numbers.default_country,
        owner,
        vault=store.vault,
        notice=first_sight.notice if store.vault.key_ids else None,
    )


def _pace(settings: Settings, metrics: Metrics) -> Pace:
    suppressed = metrics.log_lines_missing.labels("suppressed")
    return Pace(settings.log.max_lines_per_second, on_suppressed=suppressed.inc)


def _sender(settings: Settings, store: Store, metrics: Metrics) -> HttpSender:
    return HttpSender(
        convert.egress_policy(settings),
        connect_timeout=convert.connect_timeout(settings),
        resolver=partial(name_resolver, settings.egress.resolvers),
        now=store.clock.now,
        on_refusal=lambda rule: metrics.egress_refusals.labels(rule.value).inc(),
        proxy=convert.egress_proxy(settings),
        on_proxy_fault=lambda kind: metrics.egress_proxy_faults.labels(kind.value).inc(),
    )


def _replay_queue(settings: Settings, store: Store, owner: str) -> MongoReplayQueue:
    keep = convert.retention(settings).log
    return MongoReplayQueue(store.database, store.persistently, store.clock, keep, owner)


def _housekeeping(store: Store, metrics: Metrics, clocks: ClockKeeper, replayer: Replayer) -> Housekeeping:
    upkeep = MongoUpkeep(store.database, store.persistently)
    gauges = BacklogGauges(upkeep, store.clock, metrics)
    chores = [
        Chore(every_seconds=KEEP_SECONDS, action=clocks.keep),
        Chore(every_seconds=BACKLOG_SECONDS, action=gauges.refresh),
        Chore(every_seconds=BACKLOG_SECONDS, action=replayer.gauge),
    ]
    return Housekeeping(store.clock, store.pulse, upkeep, chores)
