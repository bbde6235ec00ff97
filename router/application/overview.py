"""What those who run the router look at first: which webhooks fail and why, what waits, what could not be understood.

Reads through `ports.Reader` and changes nothing.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Final

from router.domain.delivery import Attempt, DeliveryId
from router.domain.webhook import Webhook, WebhookId
from router.ports import DeliveryFilter, LetterCount, Pending, Reader

MAX_AILING: Final = 20
"""Webhooks that are shown of each kind: failing, and suspended."""
MAX_LOOKED_BACK: Final = 5
"""Of one webhook, the newest deliveries among which its last error is looked for."""
_OF_WORKER: Final = re.compile(r"^worker:\d+(:|$)")


@dataclass(frozen=True, slots=True, kw_only=True)
class Ailment:
    """A webhook that fails or was suspended, and the last attempt that failed, where one of its newest deliveries
    has one."""

    webhook: Webhook
    last_error: Attempt | None
    delivery_id: DeliveryId | None
    """The delivery of that attempt."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Ailing:
    """Webhooks in trouble; `has_more` than MAX_AILING."""

    items: Sequence[Ailment]
    has_more: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class ProcessState:
    """What the process that answers sees itself. None: it has nothing to do with that."""

    store: bool | None
    broker: bool | None
    definitions: bool | None
    workers: bool | None


@dataclass(frozen=True, slots=True, kw_only=True)
class HealthReport:
    """The whole of it, at the moment `at`."""

    at: datetime
    process: ProcessState
    failing: Ailing
    suspended: Ailing
    pending: Pending
    dead_letters: Sequence[LetterCount]


async def health_report(reader: Reader, checks: Mapping[str, bool], now: datetime) -> HealthReport:
    """Raises OutOfSight for a reader of one account: most of this is nobody's own."""
    failing = await reader.failing_webhooks(MAX_AILING + 1)
    suspended = await reader.suspended_webhooks(MAX_AILING + 1)
    return HealthReport(
        at=now,
        process=process_state(checks),
        failing=await _ailing(reader, [each for each in failing if each not in set(suspended)]),
        suspended=await _ailing(reader, suspended),
        pending=await reader.pending(now),
        dead_letters=await reader.dead_letter_counts(),
    )


def process_state(checks: Mapping[str, bool]) -> ProcessState:
    """From the checks of readiness: this process's own, as `consumer:calls`, and of worker processes whether each is
    ready, `worker:1`, and what one lacks, `worker:1:consumer:calls`."""
    told = [(_OF_WORKER.sub("", name), well) for name, well in checks.items()]
    workers = [well for name, well in told if not name]

    def state(part: str) -> bool | None:
        """None where no process of ours has such a part, or none is so far that it could say."""
        found = [well for name, well in told if name.partition(":")[0] == part]
        return all(found) if found else any(workers) or None

    return ProcessState(
        store=state("store"),
        broker=state("consumer"),
        definitions=state("definitions"),
        workers=all(workers) if workers else None,
    )


async def _ailing(reader: Reader, ids: Sequence[WebhookId]) -> Ailing:
    shown = ids[:MAX_AILING]
    webhooks = await reader.webhooks_by_id(shown)
    items = [await _ailment(reader, webhooks[each]) for each in shown if each in webhooks]
    return Ailing(items=items, has_more=len(ids) > MAX_AILING)


async def _ailment(reader: Reader, webhook: Webhook) -> Ailment:
    # What a suspended one was not sent has no attempts: its last error lies before.
    until = webhook.suspension.since if webhook.suspension is not None else None
    where = DeliveryFilter(webhook_id=webhook.id, to=until)
    failed = [
        (attempt, delivery.id)
        for delivery in await reader.deliveries(where, after=None, limit=MAX_LOOKED_BACK)
        for attempt in delivery.attempts
        if attempt.error is not None
    ]
    attempt, delivery_id = max(failed, key=lambda each: each[0].started_at, default=(None, None))
    return Ailment(webhook=webhook, last_error=attempt, delivery_id=delivery_id)
