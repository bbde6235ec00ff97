"""What the result of an attempt does to a delivery's document: as an update of one that is stored, or put into one that
is about to be."""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import datetime

from pymongo import UpdateOne

from router.adapters.mongo.documents import Document, attempt_document, exactly
from router.adapters.mongo.outbox import failed_entry
from router.adapters.mongo.retention import Retention
from router.domain.announcement import is_announced
from router.domain.delivery import Trigger
from router.domain.lease import LEASE
from router.domain.retry import Again, End
from router.ports import Result


@dataclass(slots=True)
class _Changes:
    owner: str | None
    fields: Document = field(default_factory=dict)
    gone: list[str] = field(default_factory=list)
    attempt: Document | None = None
    announcement: Document | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class ResultWriter:
    """`owner` names the worker in its leases; with `announcing`, what fails for good is put into the outbox."""

    owner: str
    retention: Retention
    announcing: bool

    def update(self, result: Result, now: datetime) -> UpdateOne:
        """The update of the stored document, which may be repeated, and is nothing to one that was taken over."""
        changes = self._changes(result, now)
        update: Document = {"$set": {"lease.owner": changes.owner, **changes.fields}}
        if changes.gone:
            update["$unset"] = dict.fromkeys(changes.gone, "")
        if changes.attempt is not None:
            update["$push"] = {"attempts": changes.attempt}
        if changes.announcement is not None:
            # A set, because this update may be repeated; a list, because a replay may fail as well.
            update["$addToSet"] = {"announce": changes.announcement}
        claim = result.claim
        # The count in the filter makes the push repeatable: after a lost reply it matches nothing.
        guard = {"lease.fence": exactly(claim.fence), "attempt_count": exactly(claim.attempt_count)}
        return UpdateOne({"_id": claim.delivery_id, **guard}, update)

    def put_into(self, document: Document, result: Result, now: datetime) -> None:
        """What `update` would do, to a document that is not stored yet."""
        changes = self._changes(result, now)
        document["lease"] = {**document["lease"], "owner": changes.owner}
        document |= changes.fields
        for name in changes.gone:
            document.pop(name, None)
        if changes.attempt is not None:
            document["attempts"] = [*document["attempts"], changes.attempt]
        if changes.announcement is not None:
            document["announce"] = [changes.announcement]

    def _changes(self, result: Result, now: datetime) -> _Changes:
        claim, after = result.claim, result.next
        changes = _Changes(owner=self.owner if result.keep_lease else None)
        fields = changes.fields
        match after:
            case Again(at=at):
                fields["next_attempt_at"] = at
                fields["due_at"] = at + LEASE if result.keep_lease else at
            case End(status=status, reason=reason):
                fields["status"] = status.value
                fields["reason"] = reason.value if reason else None
                fields["next_attempt_at"] = None
                fields["completed_at"] = now
                fields["expire_at"] = now + self.retention.log
                changes.gone.append("due_at")
                if self.announcing and is_announced(after, claim.trigger):
                    changes.announcement = failed_entry(result, after, now, self.owner)
        if result.url is not None:
            fields["url"] = result.url
        if result.attempt is not None:
            fields["attempt_count"] = result.attempt.number
            changes.attempt = attempt_document(result.attempt)
        if claim.trigger is Trigger.REPLAY and (result.attempt is not None or isinstance(after, End)):
            # A bulk replay waits for it no longer.
            changes.gone.append("replaying")
        return changes
