"""The demo's platform and customers: what they publish looks real, is fiction, and goes where it should."""

import json
import re
from collections import Counter
from collections.abc import Iterator
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from random import Random
from typing import Any

import pytest

from router.adapters.rabbitmq.codec import decode
from router.bootstrap import convert
from router.demo.customers import Customer, Hook, make_customers
from router.demo.setup import describe
from router.demo.telephony import FIRST_BROKEN, Platform, Publication
from router.domain.event import AccountId, Event, EventType, Rejection, RejectionReason
from router.domain.matching import match
from router.domain.numbers import to_e164
from router.domain.webhook import Account, Restriction, TrackingNumberRestriction, UserRestriction, Webhook, WebhookId
from router.ports import RawMessage
from router.settings import Settings

START = datetime(2026, 3, 11, 9, 14, 7, 412_345, tzinfo=UTC)
TICK = timedelta(milliseconds=100)
FICTIONAL = re.compile(r"\+33(19900|63998|46571)\d{4}")
RULES = {source.name: convert.sources(Settings())[index].decoding for index, source in enumerate(Settings().sources)}


def customers(count: int = 6, seed: int = 1) -> tuple[Customer, ...]:
    return make_customers(Random(seed), count, first_account=41_000)


def story(count: int = 400, *, accounts: int = 6, seed: int = 1) -> Iterator[tuple[datetime, Publication]]:
    platform = Platform(Random(seed), customers(accounts, seed))
    for step in range(count):
        now = START + step * TICK
        yield now, platform.next(now)


def events(**options: Any) -> list[tuple[datetime, Publication, dict[str, Any]]]:
    """Every publication that is an event, with its envelope."""
    return [(now, each, json.loads(each.body)) for now, each in story(**options) if each.event_id is not None]


# --- what is published -----------------------------------------------------------------------------


def test_every_event_is_a_whole_envelope() -> None:
    for now, publication, envelope in events():
        assert {"id", "type", "name", "version", "occurred_at", "published_at", "account_id", "data"} <= set(envelope)
        assert envelope["type"] == publication.exchange == envelope["name"].split(".")[0]
        assert re.fullmatch(r"evt_[0-9A-HJKMNP-TV-Z]{26}", envelope["id"])
        assert re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z", envelope["occurred_at"])
        assert envelope["published_at"] == now.isoformat(timespec="milliseconds").replace("+00:00", "Z")
        assert envelope["occurred_at"] <= envelope["published_at"]
        assert (envelope["call_id"] is None) == (envelope["type"] == "user")


def test_properties_say_what_the_body_says() -> None:
    for now, publication, envelope in events():
        properties = publication.properties
        assert properties.content_type == "application/json"
        assert (properties.message_id, properties.type) == (envelope["id"], envelope["type"])
        assert properties.timestamp == now.replace(microsecond=0)
        assert properties.headers["account_id"] == envelope["account_id"]
        assert properties.headers.get("user_id") == envelope["user_id"]
        assert publication.routing_key.endswith(envelope["account_id"])


def test_all_kinds_of_events_come_up() -> None:
    names = Counter(publication.event_name for _, publication in story())
    assert set(names) == {
        "call.received",
        "cdr.created",
        "user.session.opened",
        "user.tracking_number.updated",
        "user.status.changed",
        "not JSON",
    }
    assert names["not JSON"] < 20


def test_ids_are_never_used_twice() -> None:
    ids = [publication.event_id for _, publication, _ in events()]
    assert len(set(ids)) == len(ids)


def test_every_number_is_fiction() -> None:
    texts = [publication.body.decode() for _, publication in story(count=2_000)]
    texts += [hook_number for customer in customers() for hook in customer.hooks for hook_number in hook.numbers or ()]
    found = {number for text in texts for number in re.findall(r"\+\d{6,}", text)}
    assert found
    assert {number for number in found if not FICTIONAL.fullmatch(number)} == set()


def test_the_record_of_a_call_follows_it_and_agrees_with_it() -> None:
    calls: dict[str, tuple[datetime, dict[str, Any]]] = {}
    records = 0
    for now, _, envelope in events():
        if envelope["name"] == "call.received":
            assert (envelope["sequence"], envelope["data"]["status"]) == (1, "ringing")
            calls[envelope["call_id"]] = (now, envelope)
        elif envelope["name"] == "cdr.created":
            records += 1
            received_at, call = calls.pop(envelope["call_id"])
            data = envelope["data"]
            assert envelope["sequence"] == 2
            assert envelope["tracking_number"] == call["tracking_number"]
            assert data["caller"] == call["data"]["caller"]
            assert data["started_at"] == call["occurred_at"]
            assert data["ended_at"] == envelope["occurred_at"]
            assert received_at < now
            assert data["ring_duration"] + data["talk_duration"] == data["call_duration"]
            assert data["answered"] == (data["answered_at"] is not None) == (envelope["user_id"] is not None)
            assert data["answered"] or data["talk_duration"] == 0
    assert records > 50


def test_a_withheld_caller_is_null() -> None:
    callers = [envelope["data"]["caller"] for *_, envelope in events() if envelope["type"] == "call"]
    assert {caller["anonymous"] for caller in callers} == {True, False}
    assert all((caller["number"] is None) == caller["anonymous"] for caller in callers)


def test_a_broken_message_comes_early_and_becomes_a_dead_letter() -> None:
    _, broken = list(story(FIRST_BROKEN))[-1]
    assert (broken.event_id, broken.hooks) == (None, ())
    rejection = decoded(broken)
    assert isinstance(rejection, Rejection)
    assert rejection.reason is RejectionReason.NOT_JSON


def test_the_same_seed_tells_the_same_story() -> None:
    assert list(story(seed=7)) == list(story(seed=7))
    assert list(story(seed=7)) != list(story(seed=8))


# --- who wants it ----------------------------------------------------------------------------------

PLAIN = Hook(id="wh_1", name="CRM", event_type="call")
CUSTOMER = Customer(account_id="41000", name="Cabinet Morel", enabled=True, numbers=(), users=(), hooks=(PLAIN,))


@pytest.mark.parametrize(
    ("hook", "event_type", "number", "user_id", "wanted"),
    [
        (PLAIN, "call", None, None, True),
        (PLAIN, "cdr", None, None, False),
        (replace(PLAIN, paused=True), "call", None, None, False),
        (replace(PLAIN, dead=True), "call", None, None, True),
        (replace(PLAIN, numbers=frozenset({"+33199000001"})), "call", "+33199000001", None, True),
        (replace(PLAIN, numbers=frozenset({"+33199000001"})), "call", "+33199000002", None, False),
        (replace(PLAIN, numbers=frozenset({"+33199000001"})), "call", None, None, False),
        (replace(PLAIN, event_type="user", user_id="u-1"), "user", None, "u-1", True),
        (replace(PLAIN, event_type="user", user_id="u-1"), "user", None, "u-2", False),
        (replace(PLAIN, event_type="user", user_id="u-1"), "user", None, None, False),
    ],
)
def test_the_four_gates(hook: Hook, event_type: str, number: str | None, user_id: str | None, wanted: bool) -> None:
    customer = replace(CUSTOMER, hooks=(hook,))
    assert customer.wanting(event_type, number, user_id) == ((hook,) if wanted else ())
    assert replace(customer, enabled=False).wanting(event_type, number, user_id) == ()


@pytest.mark.parametrize("accounts", [1, 2, 6, 12])
def test_the_demo_and_the_router_agree_on_who_wants_what(accounts: int) -> None:
    """Two implementations, one answer: where they disagree, a demo would call a correct router wrong, or trust a
    wrong one."""
    matched = 0
    for _, publication in story(1_000, accounts=accounts, seed=accounts):
        if publication.event_id is None:
            continue
        event = decoded(publication)
        assert isinstance(event, Event)
        found = match(account_of(publication.customer), event)
        assert {webhook.id for webhook in found} == {hook.id for hook in publication.hooks}
        matched += len(found)
    assert matched > 300


def test_a_customer_writes_numbers_in_several_ways_that_mean_the_same() -> None:
    hooks = [hook for customer in customers() for hook in customer.hooks if hook.numbers is not None]
    assert {frozenset(to_e164(text, "FR") for text in hook.written_numbers) for hook in hooks} == {
        hook.numbers for hook in hooks
    }
    assert any(" " in text for hook in hooks for text in hook.written_numbers)


@pytest.mark.parametrize("count", range(1, 13))
def test_what_is_special_is_there_once_and_not_where_nothing_is_sent(count: int) -> None:
    everyone = customers(count)
    assert len({customer.account_id for customer in everyone}) == count
    assert len({hook.id for customer in everyone for hook in customer.hooks}) == sum(len(c.hooks) for c in everyone)
    assert sum(not customer.enabled for customer in everyone) == (1 if count > 1 else 0)
    special = [(hook, customer) for customer in everyone for hook in customer.hooks if hook.paused or hook.dead]
    assert sorted((hook.paused, hook.dead) for hook, _ in special) == [(False, True), (True, False)]
    assert all(customer.enabled for _, customer in special)


def test_customers_are_described_in_one_line() -> None:
    assert describe(customers(6)) == (
        "6 accounts, 1 switched off; 24 webhooks: 6 restricted, 1 paused, 1 to a dead port"
    )
    assert describe([CUSTOMER]) == "1 account; 1 webhook"


# --- the router's own view -------------------------------------------------------------------------


def decoded(publication: Publication) -> Event | Rejection:
    raw = RawMessage(
        body=publication.body,
        source=publication.exchange,
        exchange=publication.exchange,
        routing_key=publication.routing_key,
        properties=publication.properties,
        received_at=START,
        redelivered=False,
    )
    return decode(raw, RULES[publication.exchange])


def account_of(customer: Customer) -> Account:
    return Account(
        id=AccountId(customer.account_id),
        webhooks_enabled=customer.enabled,
        webhooks=tuple(
            Webhook(
                id=WebhookId(hook.id),
                account_id=AccountId(customer.account_id),
                name=hook.name,
                url="https://crm.example.com/",
                event_type=EventType(hook.event_type),
                enabled=not hook.paused,
                restriction=restriction_of(hook),
            )
            for hook in customer.hooks
        ),
    )


def restriction_of(hook: Hook) -> Restriction | None:
    if hook.written_numbers:
        return TrackingNumberRestriction(
            numbers=frozenset(number for text in hook.written_numbers if (number := to_e164(text, "FR")))
        )
    return UserRestriction(user_id=hook.user_id) if hook.user_id else None
