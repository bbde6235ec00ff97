"""The four gates: account enabled, webhook enabled, event type equal, restriction met (contract, section 3)."""

from dataclasses import replace
from datetime import UTC, datetime
from itertools import product

import pytest

from router.domain.event import AccountId, Event, EventType
from router.domain.matching import Verdict, explain, judge, match
from router.domain.signing import Secret
from router.domain.webhook import (
    Account,
    Restriction,
    Suspension,
    SuspensionReason,
    TrackingNumberRestriction,
    UserRestriction,
    Webhook,
    WebhookId,
    WebhookState,
)

NOW = datetime(2026, 1, 1, tzinfo=UTC)
NUMBER, OTHER_NUMBER = "+33199001234", "+33199005678"

EVENT = Event(
    account_id=AccountId("1042"),
    event_id="evt_1",
    type=EventType.CALL,
    name="call.received",
    occurred_at=NOW,
    received_at=NOW,
    call_id="call_1",
    sequence=1,
    tracking_number=NUMBER,
    user_id="u-17",
    number_keys=(),
    payload=b"{}",
    source="call",
)
WEBHOOK = Webhook(
    id=WebhookId("wh_1"),
    account_id=AccountId("1042"),
    name="CRM",
    url="https://crm.example/",
    event_type=EventType.CALL,
    enabled=True,
)
SUSPENSION = Suspension(since=NOW, reason=SuspensionReason.FAILING)


def numbers(*each: str) -> TrackingNumberRestriction:
    return TrackingNumberRestriction(numbers=frozenset(each))


@pytest.mark.parametrize(
    ("webhook", "event", "verdict"),
    [
        (WEBHOOK, EVENT, Verdict.MATCHED),
        # the webhook's own state
        (replace(WEBHOOK, enabled=False), EVENT, Verdict.PAUSED),
        (replace(WEBHOOK, problem="the URL has no valid host"), EVENT, Verdict.INVALID),
        (replace(WEBHOOK, suspension=SUSPENSION), EVENT, Verdict.MATCHED),  # becomes a failed delivery
        # the first gate that is closed is the one that is named
        (replace(WEBHOOK, problem="?", enabled=False), EVENT, Verdict.INVALID),
        (replace(WEBHOOK, enabled=False, event_type=EventType.CDR), EVENT, Verdict.PAUSED),
        (replace(WEBHOOK, event_type=EventType.CDR, restriction=numbers(OTHER_NUMBER)), EVENT, Verdict.EVENT_TYPE),
        (replace(WEBHOOK, event_type=None, problem="?"), EVENT, Verdict.INVALID),
    ],
)
def test_gates_of_the_webhook(webhook: Webhook, event: Event, verdict: Verdict) -> None:
    assert judge(webhook, event) is verdict


@pytest.mark.parametrize(("subscribed", "published"), list(product(EventType, EventType)))
def test_event_type_must_be_equal(subscribed: EventType, published: EventType) -> None:
    verdict = judge(replace(WEBHOOK, event_type=subscribed), replace(EVENT, type=published))

    assert verdict is (Verdict.MATCHED if subscribed is published else Verdict.EVENT_TYPE)


@pytest.mark.parametrize(
    ("restriction", "tracking_number", "user_id", "verdict"),
    [
        (None, None, None, Verdict.MATCHED),
        (numbers(NUMBER), NUMBER, None, Verdict.MATCHED),
        (numbers(OTHER_NUMBER, NUMBER), NUMBER, None, Verdict.MATCHED),
        (numbers(OTHER_NUMBER), NUMBER, "u-17", Verdict.TRACKING_NUMBER),
        (numbers(NUMBER), None, None, Verdict.TRACKING_NUMBER),
        (numbers(), NUMBER, None, Verdict.TRACKING_NUMBER),
        (numbers(), None, None, Verdict.TRACKING_NUMBER),
        (UserRestriction(user_id="u-17"), None, "u-17", Verdict.MATCHED),
        (UserRestriction(user_id="u-17"), NUMBER, "u-18", Verdict.USER_ID),
        (UserRestriction(user_id="u-17"), NUMBER, "U-17", Verdict.USER_ID),
        (UserRestriction(user_id="u-17"), NUMBER, None, Verdict.USER_ID),
    ],
)
def test_restriction_must_be_met(
    restriction: Restriction | None, tracking_number: str | None, user_id: str | None, verdict: Verdict
) -> None:
    event = replace(EVENT, tracking_number=tracking_number, user_id=user_id)

    assert judge(replace(WEBHOOK, restriction=restriction), event) is verdict


def test_account_gate_stands_before_all_others() -> None:
    account = Account(
        id=AccountId("1042"), webhooks_enabled=False, webhooks=(WEBHOOK, replace(WEBHOOK, enabled=False, problem="?"))
    )

    assert match(account, EVENT) == []
    assert [verdict for _, verdict in explain(account, EVENT)] == [Verdict.ACCOUNT_DISABLED] * 2


def test_explanation_names_every_webhook_and_agrees_with_the_match() -> None:
    webhooks = (
        replace(WEBHOOK, id=WebhookId("wh_1")),
        replace(WEBHOOK, id=WebhookId("wh_2"), enabled=False),
        replace(WEBHOOK, id=WebhookId("wh_3"), restriction=numbers(NUMBER)),
    )
    account = Account(id=AccountId("1042"), webhooks_enabled=True, webhooks=webhooks)

    explained = explain(account, EVENT)

    assert explained == [
        (webhooks[0], Verdict.MATCHED),
        (webhooks[1], Verdict.PAUSED),
        (webhooks[2], Verdict.MATCHED),
    ]
    assert match(account, EVENT) == [webhook for webhook, verdict in explained if verdict is Verdict.MATCHED]


def test_account_without_webhooks_matches_nothing() -> None:
    account = Account(id=AccountId("1042"), webhooks_enabled=True, webhooks=())

    assert match(account, EVENT) == []
    assert explain(account, EVENT) == []


@pytest.mark.parametrize(
    ("webhook", "state"),
    [
        (WEBHOOK, WebhookState.ACTIVE),
        (replace(WEBHOOK, enabled=False), WebhookState.PAUSED),
        (replace(WEBHOOK, suspension=SUSPENSION), WebhookState.SUSPENDED),
        (replace(WEBHOOK, suspension=SUSPENSION, enabled=False), WebhookState.PAUSED),
        (replace(WEBHOOK, suspension=SUSPENSION, enabled=False, problem="?"), WebhookState.INVALID),
    ],
)
def test_state_of_a_webhook(webhook: Webhook, state: WebhookState) -> None:
    assert webhook.state is state


def test_secrets_and_headers_do_not_show_in_logs() -> None:
    webhook = replace(WEBHOOK, secrets=(Secret(b"s3cret-key"),), headers=(("authorization", "s3cret-token"),))

    assert "s3cret" not in repr(webhook)
