"""What people have sent again: one delivery, many of them, events that matched nothing; and the test of a webhook.

Gathers, decides and changes documents through ports. It sends nothing: workers find what was changed. Each act is in
the audit trail before it is done.
"""

from __future__ import annotations

import json
from base64 import b32encode
from dataclasses import dataclass, field, replace
from datetime import datetime
from typing import Any, Final

from router.application.audit import Auditor
from router.application.manage import ID_BYTES, Randomness
from router.application.samples import sample_event
from router.domain.audit import AuditAction
from router.domain.delivery import Delivery, DeliveryId
from router.domain.errors import Conflict, InvalidInput, OutOfSight
from router.domain.event import AccountId, Event, EventType
from router.domain.matching import Verdict
from router.domain.principal import Principal
from router.domain.replay import (
    MAX_ATTEMPTS,
    MAX_MATCHED,
    MAX_RUNNING,
    ReplayId,
    ReplayKind,
    ReplayState,
    check_period,
    check_rate,
    check_reason,
)
from router.domain.webhook import Webhook, WebhookId
from router.ports import (
    DeliveryFilter,
    PlannedDelivery,
    PlannedEvent,
    Reader,
    Replay,
    ReplayStore,
    StoredAccount,
)

TEST_SOURCE: Final = "test"
"""The source of the events that tests send."""
_OF_MISSING: Final = frozenset({"account_id", "webhook_id", "event_type", "from_", "to"})


# --- one delivery ----------------------------------------------------------------------------------


async def replay_delivery(
    replays: ReplayStore,
    reader: Reader,
    delivery_id: DeliveryId,
    *,
    reason: str | None = None,
    now: datetime,
    audit: Auditor,
) -> Delivery | None:
    """Have a delivery sent again, whatever its end; as it stands then. None where there is none.

    Raises Conflict, which says why, where it cannot be sent or a worker holds it, and InvalidInput for the reason.
    """
    reason = check_reason(reason)
    found = await reader.delivery(delivery_id)
    if found is None:
        return None
    delivery, payload = found
    _check_sendable(await reader.webhook(delivery.webhook_id))
    if payload is None:
        raise Conflict("its payload is gone: it is kept for a limited time, or it was erased")
    if delivery.attempt_count >= MAX_ATTEMPTS:
        raise Conflict(f"it was attempted {MAX_ATTEMPTS} times, which is the most that its log holds")

    details = {"reason": reason} if reason else {}
    await audit.note(AuditAction.DELIVERY_REPLAYED, account_id=delivery.account_id, target=delivery.id, **details)
    is_done = await replays.replay_delivery(delivery_id, now)
    after = await reader.delivery(delivery_id)
    if after is None:
        return None
    if not is_done:
        raise Conflict(_held(after[0]))
    return after[0]


def _check_sendable(webhook: Webhook | None) -> Webhook:
    if webhook is None:
        raise Conflict("its webhook was deleted")
    if webhook.problem is not None:
        raise Conflict(f"the definition of webhook {webhook.id} is wrong, so nothing is sent to it: {webhook.problem}")
    return webhook


def _held(delivery: Delivery) -> str:
    at = delivery.next_attempt_at
    when = f"; its next attempt is at {at.isoformat(timespec='milliseconds').replace('+00:00', 'Z')}" if at else ""
    return f"it is pending, and a worker holds it at this moment{when}"


# --- a test ----------------------------------------------------------------------------------------


async def send_test(
    replays: ReplayStore,
    reader: Reader,
    webhook_id: WebhookId,
    *,
    now: datetime,
    randomness: Randomness,
    audit: Auditor,
) -> Delivery | None:
    """Have a made-up event sent to a webhook, once; its delivery. None where there is no such webhook.

    Raises Conflict where the definition is wrong.
    """
    webhook = await reader.webhook(webhook_id)
    if webhook is None:
        return None
    event = _test_event(_check_sendable(webhook), now, "test_" + _token(randomness))
    account = await reader.account(webhook.account_id) or StoredAccount(id=webhook.account_id, webhooks_enabled=False)

    await audit.note(AuditAction.WEBHOOK_TESTED, account_id=webhook.account_id, target=webhook.id)
    identity = await replays.add_test(
        PlannedEvent(
            event=event,
            born_at=now,
            not_after=None,
            account_enabled=account.webhooks_enabled,
            trace=[(webhook.id, Verdict.MATCHED)],
            deliveries=[PlannedDelivery(webhook_id=webhook.id, url=webhook.url, leased=False)],
        ),
        now,
    )
    found = await reader.delivery(identity)
    return found[0] if found else None


def _test_event(webhook: Webhook, now: datetime, token: str) -> Event:
    body = sample_event(
        webhook.event_type or EventType.CALL, account_id=webhook.account_id, token=token, now=now, is_test=True
    )
    shown: dict[str, Any] = json.loads(body)
    return Event(
        account_id=webhook.account_id,
        event_id=shown["id"],
        type=EventType(shown["type"]),
        name=shown["name"],
        occurred_at=now,
        received_at=now,
        call_id=shown["call_id"],
        sequence=shown["sequence"],
        tracking_number=shown["tracking_number"]["number"],
        user_id=shown["user_id"],
        number_keys=(),  # nobody searches for numbers that nobody has
        payload=body,
        source=TEST_SOURCE,
    )


def _token(randomness: Randomness) -> str:
    return b32encode(randomness(ID_BYTES)).decode("ascii").lower()


# --- many ------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True, kw_only=True)
class ReplayDraft:
    """A bulk replay that somebody wants, as it was written. With `missing`, events that matched nothing are meant."""

    where: DeliveryFilter = field(repr=False)
    missing: bool = False
    reason: str | None = None
    per_second: float | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class ReplayPlan:
    """What a draft comes to: its filter with a closed period, and how much it matches now."""

    kind: ReplayKind
    where: DeliveryFilter = field(repr=False)
    matched: int


async def plan_replay(
    replays: ReplayStore, reader: Reader, draft: ReplayDraft, *, by: Principal, now: datetime
) -> ReplayPlan:
    """Count what a replay would go through. Changes nothing.

    Raises InvalidInput for a filter that is empty, too wide, or wrong together, and OutOfSight for a webhook or an
    account that is not there for the principal.
    """
    where = draft.where
    if where == DeliveryFilter():
        raise InvalidInput("filter", "needs one condition at least: everything is too much")
    where = await _owned(reader, draft, by)
    kind = ReplayKind.MISSING if draft.missing else ReplayKind.DELIVERIES
    if kind is ReplayKind.MISSING:
        _check_missing(where)
    start, end = check_period(where.from_, where.to, now)
    where = replace(where, from_=start, to=end)

    matched = await replays.count_matching(kind, where, MAX_MATCHED + 1, now)
    if matched > MAX_MATCHED:
        raise InvalidInput("filter", f"matches more than {MAX_MATCHED}: narrow it down")
    return ReplayPlan(kind=kind, where=where, matched=matched)


async def _owned(reader: Reader, draft: ReplayDraft, by: Principal) -> DeliveryFilter:
    """The filter with the account that it follows to belong to, where there is one."""
    where = draft.where
    if by.account_id is not None:
        where = replace(where, account_id=where.account_id or by.account_id)
    if where.webhook_id is None:
        return where
    webhook = await reader.webhook(where.webhook_id)
    if webhook is None:
        raise OutOfSight
    if where.account_id not in (None, webhook.account_id):
        raise InvalidInput("filter.webhook_id", "belongs to another account than account_id")
    if draft.missing:  # of another type, no event goes to it
        where = replace(where, event_type=where.event_type or webhook.event_type)
    return replace(where, account_id=webhook.account_id)


def _check_missing(where: DeliveryFilter) -> None:
    if where.account_id is None:
        raise InvalidInput("filter.account_id", "is required with missing")
    for name in DeliveryFilter.__dataclass_fields__:
        if name not in _OF_MISSING and getattr(where, name) is not None:
            raise InvalidInput(
                f"filter.{name.removesuffix('_prefix')}", "does not go with missing: there is no delivery"
            )


async def start_replay(
    replays: ReplayStore,
    reader: Reader,
    draft: ReplayDraft,
    *,
    default_per_second: float,
    by: Principal,
    now: datetime,
    randomness: Randomness,
    audit: Auditor,
) -> Replay:
    """Have workers send again what a draft matches. Raises as `plan_replay`, InvalidInput for its reason or rate, and
    Conflict where too many replays of the account run."""
    reason, per_second = check_reason(draft.reason), check_rate(draft.per_second, default_per_second)
    plan = await plan_replay(replays, reader, draft, by=by, now=now)
    account_id = plan.where.account_id
    if await replays.count_running(account_id, MAX_RUNNING) >= MAX_RUNNING:
        raise Conflict(f"{MAX_RUNNING} replays of this account run already; wait for one, or cancel it")
    new = Replay(
        id=ReplayId("rpl_" + _token(randomness)),
        kind=plan.kind,
        where=plan.where,
        reason=reason,
        per_second=per_second,
        matched=plan.matched,
        created_by=by.name,
        created_at=now,
    )

    details = {"reason": reason} if reason else {}
    await audit.note(
        AuditAction.REPLAY_STARTED, account_id=account_id, target=new.id, kind=new.kind, matched=new.matched, **details
    )
    await replays.add(new)
    return new


async def cancel_replay(replays: ReplayStore, replay_id: ReplayId, *, now: datetime, audit: Auditor) -> Replay | None:
    """Release nothing more of a replay; what was released goes on. None where there is none, and one that is over stays
    as it is."""
    found = await replays.replay(replay_id)
    if found is None or found.state is not ReplayState.RUNNING:
        return found

    account_id: AccountId | None = found.where.account_id
    await audit.note(AuditAction.REPLAY_CANCELLED, account_id=account_id, target=replay_id, done=found.done)
    await replays.cancel_replay(replay_id, now)
    return await replays.replay(replay_id)
