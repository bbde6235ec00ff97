"""What operators are told beside the log: a webhook was suspended or delivers again, a delivery failed for good.
Values, and which ends are worth one; touches nothing.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime, timedelta
from enum import StrEnum
from hashlib import sha256
from typing import ClassVar, Final, NewType

from router.domain.delivery import AttemptError, DeliveryId, DeliveryReason, DeliveryStatus, Trigger
from router.domain.event import AccountId, EventType
from router.domain.retry import End
from router.domain.webhook import Suspension, SuspensionReason, Webhook, WebhookId

AnnouncementId = NewType("AnnouncementId", str)


class AnnouncementKey(StrEnum):
    """What happened; the routing key of its message."""

    WEBHOOK_SUSPENDED = "webhook.suspended"
    WEBHOOK_RECOVERED = "webhook.recovered"
    DELIVERY_FAILED = "delivery.failed"


class RecoveredFrom(StrEnum):
    """What was over with the first success."""

    SUSPENDED = "suspended"
    FAILING = "failing"


@dataclass(frozen=True, slots=True, kw_only=True)
class WebhookAnnouncement:
    """A webhook was suspended (`since`: its first failure), or delivers again (`since`: when that had ended)."""

    id: AnnouncementId
    key: AnnouncementKey
    occurred_at: datetime
    account_id: AccountId
    webhook_id: WebhookId
    reason: SuspensionReason | RecoveredFrom
    since: datetime


@dataclass(frozen=True, slots=True, kw_only=True)
class DeliveryFailed:
    """A delivery failed for good. `status_code` and `error` are those of the attempt that ended it, if one did."""

    key: ClassVar[AnnouncementKey] = AnnouncementKey.DELIVERY_FAILED

    id: AnnouncementId
    occurred_at: datetime
    account_id: AccountId
    webhook_id: WebhookId
    delivery_id: DeliveryId
    event_id: str
    event_type: EventType
    event_name: str | None
    call_id: str | None
    user_id: str | None
    reason: DeliveryReason | None
    attempt_count: int
    status_code: int | None
    error: AttemptError | None


Announcement = WebhookAnnouncement | DeliveryFailed

LEFT_BEHIND: Final = timedelta(seconds=30)
"""Age after which an announcement is anybody's to publish: the worker that wrote it had the time to."""
_ID_PREFIX: Final = "ann_"


def announcement_id(key: AnnouncementKey, *parts: str) -> AnnouncementId:
    """The id of one announcement: the same facts have the same, however often they are written or published."""
    return AnnouncementId(_ID_PREFIX + sha256("\n".join((key, *parts)).encode()).hexdigest()[:32])


def is_announced(end: End, trigger: Trigger = Trigger.SCHEDULE) -> bool:
    """Whether the end of a delivery is told one by one. What fails because its webhook is suspended is not: the
    suspension was. Nor is a test, whose end somebody waits for."""
    if trigger is Trigger.TEST:
        return False
    return end.status is DeliveryStatus.FAILED and end.reason is not DeliveryReason.SUSPENDED


def webhook_suspended(webhook: Webhook, suspension: Suspension, failing_since: datetime) -> WebhookAnnouncement:
    return _about(webhook, AnnouncementKey.WEBHOOK_SUSPENDED, suspension.since, suspension.reason, failing_since)


def webhook_recovered(webhook: Webhook, at: datetime, reason: RecoveredFrom, since: datetime) -> WebhookAnnouncement:
    return _about(webhook, AnnouncementKey.WEBHOOK_RECOVERED, at, reason, since)


def _about(
    webhook: Webhook, key: AnnouncementKey, at: datetime, reason: SuspensionReason | RecoveredFrom, since: datetime
) -> WebhookAnnouncement:
    return WebhookAnnouncement(
        id=announcement_id(key, webhook.id, at.isoformat()),
        key=key,
        occurred_at=at,
        account_id=webhook.account_id,
        webhook_id=webhook.id,
        reason=reason,
        since=since,
    )
