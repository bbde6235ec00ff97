"""Domain values put into a real MongoDB behind the back of the code, as its writing side would have stored them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from pymongo.database import Database as SyncDatabase

from router.adapters.mongo.documents import attempt_document, properties_document, search_keys
from router.adapters.mongo.indexes import (
    ACCOUNTS,
    DEAD_LETTERS,
    DELIVERIES,
    EVENTS,
    INDEXES,
    REPLAYS,
    SESSIONS,
    WEBHOOK_HEALTH,
    WEBHOOKS,
)
from router.adapters.mongo.replay_documents import replay_document
from router.adapters.mongo.webhooks import webhook_document
from router.domain.delivery import Delivery
from router.domain.event import EventKey
from router.domain.webhook import Webhook
from router.ports import Replay, StoredAccount, StoredDeadLetter, StoredEvent


class StoredThings:
    """The same `add_` methods as `FakeReader`, on one database; makes its indexes."""

    def __init__(self, database: SyncDatabase[dict[str, Any]]) -> None:
        self.database = database
        # The tests' time is long ago: the server would sweep their sessions away, by its own.
        for collection, indexes in INDEXES.items():
            if collection != SESSIONS:
                database[collection].create_indexes(indexes)

    def add_account(self, account: StoredAccount) -> None:
        self.database[ACCOUNTS].insert_one({"_id": account.id, "webhooks_enabled": account.webhooks_enabled})

    def add_webhook(self, webhook: Webhook) -> None:
        self.database[WEBHOOKS].insert_one(webhook_document(webhook, None))
        health: dict[str, Any] = {}
        if webhook.failing_since is not None:
            health["failing_since"] = webhook.failing_since
        if webhook.suspension is not None:
            health["suspended_at"] = webhook.suspension.since
            health["suspended_reason"] = webhook.suspension.reason.value
        if health:
            self.database[WEBHOOK_HEALTH].insert_one({"_id": webhook.id, **health})

    def add_definition(self, document: Mapping[str, Any]) -> None:
        """A webhook as a back office wrote it, right or wrong."""
        self.database[WEBHOOKS].insert_one(dict(document))

    def add_event(self, event: StoredEvent) -> None:
        document = {
            "_id": event.key,
            "account_id": event.account_id,
            "event_id": event.event_id,
            "type": event.type.value,
            "name": event.name,
            "call_id": event.call_id,
            "user_id": event.user_id,
            "sequence": event.sequence,
            "tracking_number": event.tracking_number,
            "occurred_at": event.occurred_at,
            "born_at": event.received_at,
            "received_at": event.received_at,
            "source": event.source,
            "account_enabled": event.account_enabled,
            "trace": [{"webhook_id": webhook_id, "verdict": verdict.value} for webhook_id, verdict in event.trace],
            "trace_truncated": event.trace_truncated or None,
            "payload": event.payload,
            "replayed": [
                {"webhook_id": later.webhook_id, "at": later.at, "replay": later.replay_id} for later in event.replayed
            ]
            or None,
        }
        absent = ("call_id", "user_id", "trace_truncated", "payload", "replayed")
        self.database[EVENTS].insert_one(_without_nulls(document, *absent))

    def add_delivery(self, delivery: Delivery, event: EventKey, number_keys: Sequence[str] = ()) -> None:
        document = {
            "_id": delivery.id,
            "event": event,
            "account_id": delivery.account_id,
            "webhook_id": delivery.webhook_id,
            "event_id": delivery.event_id,
            "event_type": delivery.event_type.value,
            "event_name": delivery.event_name,
            "call_id": delivery.call_id,
            "user_id": delivery.user_id,
            "search": search_keys(
                event_id=delivery.event_id, call_id=delivery.call_id, user_id=delivery.user_id, numbers=number_keys
            ),
            "status": delivery.status.value,
            "reason": delivery.reason.value if delivery.reason else None,
            "url": delivery.url,
            "attempt_count": delivery.attempt_count,
            "attempts": [attempt_document(attempt) for attempt in delivery.attempts],
            "next_attempt_at": delivery.next_attempt_at,
            "created_at": delivery.created_at,
            "completed_at": delivery.completed_at,
            "lease": {"owner": None, "fence": 1},
            # Of what is over, there is none: the index of it holds what is pending.
            "due_at": delivery.next_attempt_at,
        }
        self.database[DELIVERIES].insert_one(_without_nulls(document, "due_at"))

    def add_replay(self, replay: Replay) -> None:
        self.database[REPLAYS].insert_one(replay_document(replay))

    def add_dead_letter(self, letter: StoredDeadLetter) -> None:
        assert letter.raw is not None
        self.database[DEAD_LETTERS].insert_one(
            {
                "_id": letter.id,
                "digest": letter.id,
                "received_at": letter.received_at,
                "source": letter.source,
                "exchange": letter.exchange,
                "routing_key": letter.routing_key,
                "reason": letter.reason,
                "detail": letter.detail,
                "size": letter.size,
                "head": letter.head,
                "requeued_at": letter.requeued_at,
                "properties": properties_document(letter.raw.properties),
                "body": letter.raw.body,
            }
        )


def _without_nulls(document: dict[str, Any], *names: str) -> dict[str, Any]:
    """Absent rather than null: their indexes are sparse."""
    return {key: value for key, value in document.items() if key not in names or value is not None}
