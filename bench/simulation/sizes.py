"""How large our documents are: the router's own, of the sample that `webhook-router events publish` sends, as BSON.

Indexes are counted by their keys, as WiredTiger has them before it compresses: the values, and where the document is.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any, Final

import bson
from pymongo import IndexModel

from router.adapters.mongo.documents import attempt_document, delivery_document, event_document
from router.adapters.mongo.indexes import DELIVERIES, EVENTS, INDEXES
from router.adapters.rabbitmq.codec import decode
from router.application.samples import sample_event
from router.bootstrap import convert
from router.domain.delivery import Attempt, Trigger, delivery_id
from router.domain.event import Event, EventType
from router.domain.matching import Verdict
from router.domain.webhook import WebhookId
from router.ports import MessageProperties, PlannedDelivery, PlannedEvent, RawMessage
from router.settings import load_settings

NOW: Final = datetime(2031, 1, 1, tzinfo=UTC)
RECORD_ID_BYTES: Final = 5
_WEBHOOK: Final = WebhookId("wh_abcdefghijklmnopqrstuvwxyz")
_BESIDE_THE_VALUE: Final = 5 + 1 + 1 + 1
"""Bytes of a BSON document with one value under an empty name: its length and end, the type, the end of the name."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Sizes:
    payload_bytes: int
    event_bytes: int
    delivery_bytes: int
    index_bytes_per_event: int
    index_bytes_per_delivery: int
    index_keys_per_event: int
    index_keys_per_delivery: int


def measure() -> Sizes:
    event, delivery = _documents()
    event_keys, delivery_keys = list(_keys(EVENTS, event)), list(_keys(DELIVERIES, delivery))
    return Sizes(
        payload_bytes=len(event["payload"]),
        event_bytes=len(bson.encode(event)),
        delivery_bytes=len(bson.encode(delivery)),
        index_bytes_per_event=sum(event_keys),
        index_bytes_per_delivery=sum(delivery_keys),
        index_keys_per_event=len(event_keys),
        index_keys_per_delivery=len(delivery_keys),
    )


def _documents() -> tuple[dict[str, Any], dict[str, Any]]:
    """An event, and its delivery after one attempt, as they stay until retention ends."""
    event = _event()
    delivery = PlannedDelivery(webhook_id=_WEBHOOK, url="https://crm.example/hooks/telephony", leased=True)
    plan = PlannedEvent(
        event=event,
        born_at=NOW,
        not_after=None,
        account_enabled=True,
        trace=[(_WEBHOOK, Verdict.MATCHED)],
        deliveries=[delivery],
    )
    later = NOW + timedelta(days=30)
    attempt = Attempt(
        number=1,
        trigger=Trigger.SCHEDULE,
        started_at=NOW,
        duration_ms=80,
        status_code=200,
        error=None,
        response_body='{"status":"ok"}',
        response_truncated=False,
    )
    identity, lease = delivery_id(event.key, _WEBHOOK), {"owner": None, "fence": 1}
    first = {"owner": "router-1-1234-0123abcd", "token": "0123456789abcdef", "until": later}
    document = delivery_document(identity, plan, delivery, now=NOW, lease=lease, expire_at=later)
    del document["due_at"]
    over = {"status": "delivered", "attempt_count": 1, "attempts": [attempt_document(attempt)], "completed_at": NOW}
    stored = event_document(plan, expire_at=later, payload_expires_at=later) | {"lease": first}
    return stored, document | over | {"expire_at": later}


def _event() -> Event:
    settings = load_settings(config=Path("/dev/null"), environ={})
    (rules,) = (source.decoding for source in convert.sources(settings) if source.name == EventType.CDR)
    raw = RawMessage(
        body=sample_event(EventType.CDR, account_id="1042", token="82708c42d09ac3dc", now=NOW),
        source="cdr",
        exchange="cdr",
        routing_key="cdr.created",
        properties=MessageProperties(),
        received_at=NOW,
        redelivered=False,
    )
    event = decode(raw, rules)
    if not isinstance(event, Event):
        raise TypeError(event.detail)
    return event


def _keys(collection: str, document: Mapping[str, Any]) -> Iterator[int]:
    """The size of each key that the document has in the indexes of its collection."""
    for index in (IndexModel("_id"), *INDEXES[collection]):
        options = index.document
        names = list(options["key"])
        is_partial = options.get("sparse", False) or "partialFilterExpression" in options
        values = [_value(document, name) for name in names]
        if is_partial and values[0] is None:
            continue
        # Of an array, each item is a key.
        for first in values[0] if isinstance(values[0], list) else [values[0]]:
            yield RECORD_ID_BYTES + sum(
                len(bson.encode({"": each})) - _BESIDE_THE_VALUE for each in (first, *values[1:])
            )


def _value(document: Mapping[str, Any], name: str) -> Any:
    value: Any = document
    for step in name.split("."):
        value = value.get(step) if isinstance(value, Mapping) else None
    return value
