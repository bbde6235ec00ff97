"""Replays in memory, over the deliveries of a `FakeStore`. Nobody works them off. Touch nothing."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime

from router.domain.delivery import Attempt, Delivery, DeliveryId, DeliveryStatus, delivery_id
from router.domain.event import AccountId
from router.domain.replay import ReplayId, ReplayKind, ReplayState
from router.ports import DeliveryFilter, PlannedEvent, Position, Replay


@dataclass
class FakeReplays:
    """`ports.ReplayStore`. `held` are deliveries that a worker has. `outcome` is what becomes of a test at once."""

    log: list[tuple[Delivery, bytes | None]]
    matches: Callable[[Delivery, DeliveryFilter], bool] = field(compare=False)
    held: set[DeliveryId] = field(default_factory=set)
    tests: list[PlannedEvent] = field(default_factory=list)
    kept: dict[ReplayId, Replay] = field(default_factory=dict)
    missing: int = 0
    outcome: Attempt | None = None

    async def replay_delivery(self, delivery_id: DeliveryId, at: datetime) -> bool:
        for index, (delivery, payload) in enumerate(self.log):
            if delivery.id == delivery_id and delivery_id not in self.held:
                again = replace(
                    delivery, status=DeliveryStatus.PENDING, reason=None, completed_at=None, next_attempt_at=at
                )
                self.log[index] = (again, payload)
                return True
        return False

    async def add_test(self, planned: PlannedEvent, at: datetime) -> DeliveryId:
        self.tests.append(planned)
        event, (to,) = planned.event, planned.deliveries
        tried = self.outcome
        status = DeliveryStatus.FAILED if tried and tried.error else DeliveryStatus.DELIVERED
        delivery = Delivery(
            id=delivery_id(event.key, to.webhook_id),
            account_id=event.account_id,
            webhook_id=to.webhook_id,
            event_id=event.event_id,
            event_type=event.type,
            event_name=event.name,
            call_id=event.call_id,
            user_id=event.user_id,
            status=status if tried else DeliveryStatus.PENDING,
            reason=None,
            url=to.url,
            attempt_count=1 if tried else 0,
            attempts=(tried,) if tried else (),
            next_attempt_at=None if tried else at,
            created_at=at,
            completed_at=at if tried else None,
        )
        self.log.append((delivery, event.payload))
        return delivery.id

    async def count_matching(self, kind: ReplayKind, where: DeliveryFilter, limit: int, at: datetime) -> int:
        if kind is ReplayKind.MISSING:
            return min(self.missing, limit)
        ends = {DeliveryStatus.FAILED, DeliveryStatus.EXPIRED, DeliveryStatus.CANCELLED}
        found = [
            delivery
            for delivery, _ in self.log
            if self.matches(delivery, where) and (where.status is not None or delivery.status in ends)
        ]
        return min(len(found), limit)

    async def count_running(self, account_id: AccountId | None, limit: int) -> int:
        running = [
            each
            for each in self.kept.values()
            if each.state is ReplayState.RUNNING and each.where.account_id == account_id
        ]
        return min(len(running), limit)

    async def add(self, replay: Replay) -> None:
        self.kept[replay.id] = replay

    async def replay(self, replay_id: ReplayId) -> Replay | None:
        return self.kept.get(replay_id)

    async def replays(self, *, account_id: AccountId | None, after: Position | None, limit: int) -> Sequence[Replay]:
        found = [each for each in self.kept.values() if account_id in (None, each.where.account_id)]
        found.sort(key=lambda each: (each.created_at, each.id), reverse=True)
        return [each for each in found if after is None or (each.created_at, each.id) < (after.at, after.id)][:limit]

    async def count_replays(self, *, account_id: AccountId | None) -> int:
        return sum(account_id in (None, each.where.account_id) for each in self.kept.values())

    async def cancel_replay(self, replay_id: ReplayId, at: datetime) -> bool:
        found = self.kept.get(replay_id)
        if found is None or found.state is not ReplayState.RUNNING:
            return False
        self.kept[replay_id] = replace(found, state=ReplayState.CANCELLED, finished_at=at)
        return True
