"""The demo's own books: what counts as delivered, retried, duplicate, unexpected and forged, and how long it took."""

import pytest

from router.demo.customers import Customer, Hook
from router.demo.ledger import Arrival, Ledger, percentile
from router.demo.telephony import Publication
from router.ports import MessageProperties

CRM, CHAT = Hook(id="wh_crm", name="CRM", event_type="call"), Hook(id="wh_chat", name="Chat", event_type="call")
DEAD = Hook(id="wh_dead", name="Retired", event_type="call", dead=True)
CUSTOMER = Customer(account_id="41000", name="Morel", enabled=True, numbers=(), users=(), hooks=(CRM, CHAT, DEAD))
BODY = b'{"id":"evt_1"}'


def publication(event_id: str | None = "evt_1", hooks: tuple[Hook, ...] = (CRM,)) -> Publication:
    return Publication(
        event_id=event_id,
        event_name="call.received",
        customer=CUSTOMER,
        hooks=hooks,
        exchange="call",
        routing_key="call.received.41000",
        body=BODY,
        properties=MessageProperties(),
    )


def published(*each: Publication, at: float = 100.0) -> Ledger:
    ledger = Ledger()
    for one in each:
        ledger.announce(one, at)
        ledger.confirm(one)
    return ledger


def arrive(ledger: Ledger, *, at: float = 100.5, hook: Hook = CRM, event_id: str = "evt_1", ok: bool = True) -> Arrival:
    receipt = ledger.receive(event_id, hook.id, BODY, signed=True, at=at)
    if receipt.arrival is Arrival.AWAITED:
        ledger.answer(event_id, hook.id, ok=ok)
    return receipt.arrival


def test_a_delivery_is_expected_by_each_webhook_and_counted_once() -> None:
    ledger = published(publication(hooks=(CRM, CHAT)))
    assert (ledger.published, ledger.expected.total(), ledger.waiting) == (1, 2, 2)

    assert arrive(ledger, hook=CRM) is Arrival.AWAITED

    assert (ledger.delivered, ledger.waiting) == (1, 1)


def test_the_delay_is_from_publishing_to_the_first_request() -> None:
    ledger = published(publication())
    first = ledger.receive("evt_1", CRM.id, BODY, signed=True, at=100.25)
    ledger.answer("evt_1", CRM.id, ok=False)
    second = ledger.receive("evt_1", CRM.id, BODY, signed=True, at=102.0)

    assert (first.nth, first.delay_seconds) == (1, 0.25)
    assert (second.nth, second.delay_seconds) == (2, 2.0)
    assert list(ledger.delays) == [0.25]


def test_a_refused_delivery_is_retrying_until_it_is_taken() -> None:
    ledger = published(publication())
    arrive(ledger, ok=False)
    assert (ledger.retrying, ledger.delivered, ledger.retried) == (1, 0, 0)
    arrive(ledger, ok=False)
    arrive(ledger)
    assert (ledger.retrying, ledger.delivered, ledger.retried, ledger.waiting) == (0, 1, 1, 0)


def test_what_was_taken_and_comes_again_is_a_duplicate() -> None:
    ledger = published(publication())
    arrive(ledger)
    assert arrive(ledger) is Arrival.DUPLICATE
    assert (ledger.delivered, ledger.duplicates, ledger.retried) == (1, 1, 0)


def test_a_second_request_while_the_first_is_being_answered_is_a_duplicate() -> None:
    ledger = published(publication())
    ledger.receive("evt_1", CRM.id, BODY, signed=True, at=100.1)
    assert ledger.receive("evt_1", CRM.id, BODY, signed=True, at=100.2).arrival is Arrival.DUPLICATE
    ledger.answer("evt_1", CRM.id, ok=True)
    assert (ledger.delivered, ledger.duplicates, ledger.retried) == (1, 1, 0)


@pytest.mark.parametrize(("event_id", "hook"), [("evt_2", CRM), ("evt_1", CHAT)])
def test_what_nobody_asked_for_is_unexpected(event_id: str, hook: Hook) -> None:
    ledger = published(publication())
    assert arrive(ledger, event_id=event_id, hook=hook) is Arrival.UNEXPECTED
    assert (ledger.unexpected, ledger.delivered, ledger.waiting) == (1, 0, 1)


def test_a_wrong_signature_delivers_nothing() -> None:
    ledger = published(publication())
    assert ledger.receive("evt_1", CRM.id, BODY, signed=False, at=100.1).arrival is Arrival.FORGED
    assert (ledger.forged, ledger.verified, ledger.waiting) == (1, 0, 1)


def test_a_body_that_is_not_what_was_published_is_forged_however_well_it_is_signed() -> None:
    ledger = published(publication())
    assert ledger.receive("evt_1", CRM.id, BODY + b" ", signed=True, at=100.1).arrival is Arrival.FORGED


def test_a_dead_port_is_expected_and_not_awaited() -> None:
    ledger = published(publication(hooks=(CRM, DEAD)))
    assert ledger.expected == {"wh_crm": 1, "wh_dead": 1}
    assert ledger.waiting == 1


def test_a_broken_message_is_counted_and_nothing_is_expected_of_it() -> None:
    ledger = published(publication(event_id=None, hooks=()))
    assert (ledger.published, ledger.broken, ledger.expected.total()) == (1, 1, 0)


# --- confirms --------------------------------------------------------------------------------------


def test_a_delivery_may_come_before_the_confirm() -> None:
    ledger = Ledger()
    ledger.announce(publication(), 100.0)
    assert arrive(ledger) is Arrival.AWAITED
    ledger.confirm(publication())
    assert (ledger.expected.total(), ledger.delivered, ledger.waiting) == (1, 1, 0)


def test_what_was_never_confirmed_and_never_came_is_not_expected() -> None:
    ledger = Ledger()
    ledger.announce(publication(hooks=(CRM, DEAD)), 100.0)
    assert ledger.give_up_unconfirmed() == 1
    assert (ledger.published, ledger.expected.total(), ledger.waiting, ledger.unconfirmed) == (0, 0, 0, 1)


@pytest.mark.parametrize("ok", [True, False])
def test_what_came_although_its_confirm_did_not_is_expected(ok: bool) -> None:
    ledger = Ledger()
    ledger.announce(publication(hooks=(CRM, DEAD)), 100.0)
    arrive(ledger, ok=ok)
    assert ledger.give_up_unconfirmed() == 0
    assert (ledger.published, ledger.expected.total(), ledger.unconfirmed) == (1, 2, 0)


def test_what_comes_after_it_was_given_up_is_expected_after_all() -> None:
    ledger = Ledger()
    ledger.announce(publication(), 100.0)
    ledger.give_up_unconfirmed()
    assert arrive(ledger) is Arrival.AWAITED
    assert (ledger.expected.total(), ledger.delivered, ledger.unexpected, ledger.unconfirmed) == (1, 1, 0, 0)


# --- percentiles -----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("values", "share", "expected"),
    [
        ([], 0.5, None),
        ([3.0], 0.99, 3.0),
        ([2.0, 1.0], 0.5, 1.0),
        ([float(value) for value in range(1, 101)], 0.50, 50.0),
        ([float(value) for value in range(1, 101)], 0.99, 99.0),
        ([1.0, 2.0, 3.0], 1.0, 3.0),
        ([1.0, 2.0, 3.0], 0.0, 1.0),
    ],
)
def test_percentiles_are_values_that_were_measured(values: list[float], share: float, expected: float | None) -> None:
    assert percentile(values, share) == expected
