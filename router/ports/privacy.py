"""What exporting and erasing all that is held about a number calls. Types only."""

from __future__ import annotations

from collections.abc import AsyncIterator, Collection
from dataclasses import dataclass
from datetime import datetime
from typing import Protocol

from router.domain.delivery import DeliveryId
from router.domain.event import AccountId, EventKey
from router.domain.replay import ReplayId
from router.domain.subject import Subject
from router.domain.webhook import WebhookId
from router.ports.replaying import Replay


@dataclass(frozen=True, slots=True, kw_only=True)
class Mention:
    """An event that mentions the number. `delivery_ids` are those of its deliveries, also where the event itself is
    gone already."""

    account_id: AccountId
    event_id: str
    event_key: EventKey
    delivery_ids: Collection[DeliveryId]


@dataclass(frozen=True, slots=True, kw_only=True)
class RestrictedWebhook:
    """A webhook whose restriction names the number."""

    id: WebhookId
    account_id: AccountId
    name: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Erased:
    """What erasing changed: contents taken out, and deliveries that will not be sent any more. `in_memory` of these
    were held by a worker, which may still send what it has begun."""

    deliveries: int = 0
    ended: int = 0
    in_memory: int = 0


class PrivacyStore(Protocol):
    """All that is held about a number. Every method raises DependencyUnavailable; every write may be repeated."""

    def mentions_by_key(self, subject: Subject, account_id: AccountId | None) -> AsyncIterator[Mention]:
        """By the search keys of deliveries: from an index, also where the payload is gone. One event may come more
        than once."""

    def mentions_in_events(self, subject: Subject, account_id: AccountId | None) -> AsyncIterator[Mention]:
        """By reading every event that is kept: whatever is in a payload, and events that went to nobody."""

    def dead_letters(self, subject: Subject) -> AsyncIterator[str]:
        """Ids, by reading every dead letter that is kept."""

    def restrictions(self, subject: Subject, account_id: AccountId | None) -> AsyncIterator[RestrictedWebhook]: ...

    def replays(self, subject: Subject, account_id: AccountId | None) -> AsyncIterator[Replay]:
        """Bulk replays whose filter looks for the number, or for its last digits."""

    async def erase_event(self, mention: Mention, at: datetime) -> Erased:
        """Take numbers and answers out of the deliveries, then payload and number out of the event. Deliveries that
        were pending end."""

    async def erase_dead_letter(self, letter_id: str) -> None: ...

    async def erase_replay(self, replay_id: ReplayId, at: datetime) -> None:
        """Take the number out of a replay's filter. One that runs is cancelled: it would go through everything."""
