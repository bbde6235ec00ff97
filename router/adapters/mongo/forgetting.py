"""What is taken out of a document before the document itself goes: payloads, and whatever may quote them. Updates only.

Each may be repeated, and leaves the facts: that there was something, when, and what became of it.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Final

from router.adapters.mongo.documents import Document, StoredDocument
from router.domain.delivery import DeliveryId, delivery_id
from router.domain.event import EventKey
from router.domain.matching import Verdict
from router.domain.webhook import WebhookId

PAYLOAD_GONE: Final[Document] = {"payload": "", "payload_expires_at": "", "number_keys": ""}
"""`$unset` of an event."""
ANSWERS_GONE: Final[Document] = {"attempts.$[].response_body": None}
"""`$set` of a delivery: a customer's server may quote in its answer what it was sent."""
LETTER_GONE: Final[Document] = {
    # The digest is of the body: a short one could be guessed.
    "$unset": {"body": "", "digest": "", "payload_expires_at": ""},
    # Publishers put into headers what they like.
    "$set": {"head": "", "properties.message_id": None, "properties.headers": []},
}
"""Update of a dead letter."""
TRACE_FIELDS: Final = ("trace", "replayed")
"""Of an event, what `deliveries_of` looks at."""


def deliveries_of(events: Iterable[StoredDocument]) -> list[DeliveryId]:
    """Ids of the deliveries that these events led to, as their traces say, or what replays noted there since."""
    return [
        delivery_id(EventKey(event["_id"]), WebhookId(webhook_id))
        for event in events
        for webhook_id in (
            *(entry["webhook_id"] for entry in event.get("trace", ()) if entry["verdict"] == Verdict.MATCHED),
            *(entry["webhook_id"] for entry in event.get("replayed", ())),
        )
    ]
