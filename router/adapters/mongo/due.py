"""Deliveries that are due: what is read of them before they are claimed, who gets how many, and how they are given back
to rest. Logs what cannot be read, and touches nothing else."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from datetime import datetime
from typing import Final

import structlog

from router.adapters.mongo.documents import Document, StoredDocument, exactly, read_claim, resting
from router.domain.delivery import Claim, Trigger
from router.domain.event import EventKey, EventType
from router.domain.webhook import WebhookId
from router.ports import Due, Ration, Rest

log = structlog.get_logger("router.mongo")

DUE_FIELDS: Final = {
    "due_at": 1, "lease.fence": 1, "webhook_id": 1, "account_id": 1, "event_type": 1, "not_after": 1, "trigger": 1,
}  # fmt: skip


def unchanged(found: StoredDocument) -> Document:
    """The filter that a delivery still meets if nobody took it since it was found."""
    return {
        "_id": found["_id"],
        "lease.fence": exactly(found["lease"]["fence"]),
        "due_at": exactly(found["due_at"]),
    }


def share_out(
    candidates: Sequence[StoredDocument], ration: Callable[[Due], Ration | None]
) -> tuple[list[StoredDocument], list[tuple[StoredDocument, datetime]]]:
    """Candidates to take, and those to put off until a time."""
    taken, put_off = [], []
    count: Counter[WebhookId] = Counter()
    for found in candidates:
        webhook_id = found["webhook_id"]
        due = Due(
            webhook_id=webhook_id,
            account_id=found["account_id"],
            event_type=EventType(found["event_type"]),
            is_manual="trigger" in found,
        )
        limit = ration(due)
        if limit is not None and count[webhook_id] >= limit.places:
            put_off.append((found, limit.until))
        else:
            count[webhook_id] += 1
            taken.append(found)
    return taken, put_off


def readable(documents: Sequence[StoredDocument], events: Mapping[EventKey, StoredDocument]) -> list[Claim]:
    """The claims of what was taken. A document that lacks what ours have was written by somebody else: it must not stop
    the others, and is told of each time that its lease runs out."""
    claims = []
    for document in documents:
        try:
            claims.append(read_claim(document, events.get(document["event"], {})))
        except (KeyError, TypeError, ValueError) as error:
            log.error("delivery_unreadable", delivery_id=str(document["_id"]), error=type(error).__name__)
    return claims


def put_to_rest(rest: Rest) -> Document:
    """The update of a delivery that must not be attempted now."""
    claim = rest.claim
    update = {"$set": {"lease.owner": None, **resting(claim.webhook_id, rest.until, claim.not_after)}}
    # A bulk replay does not wait for somebody to put a definition right.
    return update | {"$unset": {"replaying": ""}} if claim.trigger is Trigger.REPLAY else update
