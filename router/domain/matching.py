"""Which webhooks of an account an event goes to, and why not the others. Pure; four gates, all needed."""

from __future__ import annotations

from enum import StrEnum
from typing import assert_never

from router.domain.event import Event
from router.domain.webhook import Account, TrackingNumberRestriction, UserRestriction, Webhook


class Verdict(StrEnum):
    """The first gate that held an event back from a webhook, or that none did."""

    MATCHED = "matched"
    ACCOUNT_DISABLED = "account_disabled"
    INVALID = "invalid"
    PAUSED = "paused"
    EVENT_TYPE = "event_type"
    TRACKING_NUMBER = "tracking_number"
    USER_ID = "user_id"


def match(account: Account, event: Event) -> list[Webhook]:
    """The webhooks of `account` that the event goes to."""
    if not account.webhooks_enabled:
        return []
    return [webhook for webhook in account.webhooks if judge(webhook, event) is Verdict.MATCHED]


def explain(account: Account, event: Event) -> list[tuple[Webhook, Verdict]]:
    """Every webhook of `account` with the verdict on this event, matched ones included."""
    if not account.webhooks_enabled:
        return [(webhook, Verdict.ACCOUNT_DISABLED) for webhook in account.webhooks]
    return [(webhook, judge(webhook, event)) for webhook in account.webhooks]


def judge(webhook: Webhook, event: Event) -> Verdict:
    """The verdict of the three gates that belong to the webhook. Suspension is no gate: it fails the delivery."""
    if webhook.problem is not None:
        return Verdict.INVALID
    if not webhook.enabled:
        return Verdict.PAUSED
    if webhook.event_type is not event.type:
        return Verdict.EVENT_TYPE
    match webhook.restriction:
        case None:
            pass
        case TrackingNumberRestriction(numbers=numbers):
            if event.tracking_number not in numbers:
                return Verdict.TRACKING_NUMBER
        case UserRestriction(user_id=user_id):
            if event.user_id != user_id:
                return Verdict.USER_ID
        case _:
            assert_never(webhook.restriction)
    return Verdict.MATCHED
