"""In-memory stand-ins for announcing that keep the contracts of their ports, and things to announce."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Any

from router.domain.announcement import (
    LEFT_BEHIND,
    Announcement,
    AnnouncementKey,
    DeliveryFailed,
    RecoveredFrom,
    WebhookAnnouncement,
    announcement_id,
)
from router.domain.delivery import AttemptError, DeliveryId, DeliveryReason
from router.domain.event import AccountId, EventType
from router.domain.webhook import SuspensionReason, WebhookId
from router.ports import Published
from tests.support.fakes_delivery import NOW, FakeClock


def delivery_failed(identity: str, *, occurred_at: datetime = NOW, **changes: Any) -> DeliveryFailed:
    """An exhausted delivery; `changes` are fields that differ."""
    usual: dict[str, Any] = {
        "id": announcement_id(AnnouncementKey.DELIVERY_FAILED, identity),
        "account_id": AccountId("1042"),
        "webhook_id": WebhookId("wh_1"),
        "delivery_id": DeliveryId(identity),
        "event_id": "evt_1",
        "event_type": EventType.CDR,
        "event_name": "cdr.created",
        "call_id": "c-1",
        "user_id": None,
        "reason": DeliveryReason.EXHAUSTED,
        "attempt_count": 3,
        "status_code": 503,
        "error": AttemptError.HTTP_STATUS,
    }
    return DeliveryFailed(occurred_at=occurred_at, **(usual | changes))


def webhook_announcement(
    webhook: str = "wh_1",
    key: AnnouncementKey = AnnouncementKey.WEBHOOK_SUSPENDED,
    reason: SuspensionReason | RecoveredFrom = SuspensionReason.GONE,
    *,
    at: datetime = NOW,
    since: datetime = NOW - timedelta(minutes=5),
) -> WebhookAnnouncement:
    return WebhookAnnouncement(
        id=announcement_id(key, webhook, at.isoformat()),
        key=key,
        occurred_at=at,
        account_id=AccountId("1042"),
        webhook_id=WebhookId(webhook),
        reason=reason,
        since=since,
    )


@dataclass
class FakeOutbox:
    """`ports.Outbox` of worker `owner`; entries are (who wrote it, what)."""

    owner: str = "worker-1"
    clock: FakeClock = field(default_factory=FakeClock)
    entries: list[tuple[str, Announcement]] = field(default_factory=list)
    looks: int = 0
    fails: bool = False

    def put(self, *announcements: Announcement, by: str = "worker-1") -> None:
        self.entries += [(by, each) for each in announcements]

    async def pending(self, limit: int) -> Sequence[Announcement]:
        self.looks += 1
        if self.fails:
            raise ValueError("this outbox cannot be read")
        left_behind = self.clock.now() - LEFT_BEHIND
        return [each for by, each in self.entries if by == self.owner or each.occurred_at <= left_behind][:limit]

    async def published(self, announcements: Sequence[Announcement]) -> None:
        gone = {each.id for each in announcements}
        self.entries = [entry for entry in self.entries if entry[1].id not in gone]


@dataclass
class FakeAnnouncements:
    """`ports.Announcements`. While `problem` is set it confirms only the first `confirms` of a batch."""

    sent: list[Announcement] = field(default_factory=list)
    batches: list[int] = field(default_factory=list)
    problem: str | None = None
    confirms: int = 0

    def on_publish(self) -> None: ...

    async def publish(self, announcements: Sequence[Announcement]) -> Published:
        self.on_publish()
        self.batches.append(len(announcements))
        confirmed = announcements if self.problem is None else announcements[: self.confirms]
        self.sent += confirmed
        return Published(confirmed=confirmed, problem=self.problem)
