"""What administrators do with messages: requeue dead letters, publish an event by hand."""

import json
from dataclasses import replace
from datetime import timedelta

import pytest

from router.application import manage
from router.application.manage import Route, publish_event, requeue_dead_letter
from router.domain.errors import DependencyUnavailable, InvalidInput
from router.domain.event import EventType
from router.ports import EXCHANGE_HEADER, ROUTING_KEY_HEADER, MessageProperties, StoredDeadLetter
from tests.support.fakes_manage import NOW, FakePublisher, FakeStore, SentMessage, auditor, dead_letter

LATER = NOW + timedelta(hours=1)
QUEUES = {"call": "webhook-router.call", "cdr": "webhook-router.cdr"}


# --- dead letters ----------------------------------------------------------------------------------


async def test_a_dead_letter_goes_back_to_its_queue_byte_for_byte() -> None:
    letter = dead_letter("dl_1", body=b'{"big": 1e3, "n": 9223372036854775808}\xff')
    store, publisher = FakeStore(letters={"dl_1": letter}), FakePublisher()
    assert letter.raw is not None

    requeued = await requeue_dead_letter(
        store.reader, store.registry, publisher, "dl_1", queue_of_source=QUEUES, now=LATER, audit=auditor(store.audit)
    )

    origin = {EXCHANGE_HEADER: letter.raw.exchange, ROUTING_KEY_HEADER: letter.raw.routing_key}
    properties = replace(letter.raw.properties, headers={**letter.raw.properties.headers, **origin})
    assert publisher.sent == [
        SentMessage(exchange="", routing_key="webhook-router.call", body=letter.raw.body, properties=properties)
    ]
    assert requeued == replace(letter, requeued_at=LATER)
    assert store.letters["dl_1"].requeued_at == LATER


async def test_a_dead_letter_that_the_broker_did_not_take_is_not_marked() -> None:
    store = FakeStore(letters={"dl_1": dead_letter("dl_1")})

    with pytest.raises(DependencyUnavailable):
        await requeue_dead_letter(
            store.reader,
            store.registry,
            FakePublisher(fails_at=0),
            "dl_1",
            queue_of_source=QUEUES,
            now=LATER,
            audit=auditor(store.audit),
        )
    assert store.letters["dl_1"].requeued_at is None


@pytest.mark.parametrize(
    ("letter", "field"),
    [
        (dead_letter("dl_1", source="fax"), "source"),
        (replace(dead_letter("dl_1"), size=10**7), "body"),
        (replace(dead_letter("dl_1"), raw=None), "body"),
    ],
)
async def test_a_dead_letter_that_cannot_go_back_says_why(letter: StoredDeadLetter, field: str) -> None:
    store, publisher = FakeStore(letters={"dl_1": letter}), FakePublisher()

    with pytest.raises(InvalidInput) as caught:
        await requeue_dead_letter(
            store.reader,
            store.registry,
            publisher,
            "dl_1",
            queue_of_source=QUEUES,
            now=LATER,
            audit=auditor(store.audit),
        )
    assert caught.value.field == field
    assert not publisher.sent
    assert store.letters["dl_1"].requeued_at is None


async def test_a_dead_letter_that_is_not_there_is_none() -> None:
    store, publisher = FakeStore(), FakePublisher()

    assert (
        await requeue_dead_letter(
            store.reader,
            store.registry,
            publisher,
            "dl_1",
            queue_of_source=QUEUES,
            now=LATER,
            audit=auditor(store.audit),
        )
        is None
    )
    assert not publisher.sent


async def test_letters_to_requeue_are_all_pages_oldest_first_without_those_requeued() -> None:
    letters = [
        dead_letter(
            f"dl_{number:04}",
            received_at=NOW + timedelta(seconds=number),
            reason="no_account" if number % 2 else "not_json",
            requeued_at=NOW if number == 6 else None,
        )
        for number in range(450)
    ]
    reader = FakeStore(letters={letter.id: letter for letter in letters}).reader

    everything = await manage.requeueable_dead_letters(reader)
    some = await manage.requeueable_dead_letters(reader, reason="not_json")

    assert everything == [letter.id for letter in letters if letter.id != "dl_0006"]
    assert some == [letter.id for letter in letters[::2] if letter.id != "dl_0006"]


# --- publishing ------------------------------------------------------------------------------------

CALL = Route(source="call", event_type=EventType.CALL, exchange="call", binding_keys=("#",), is_topic=True)
CDR = replace(CALL, source="cdr", event_type=EventType.CDR, exchange="cdr")
ROUTES = (CALL, CDR)


async def test_an_event_is_published_as_it_is_by_its_own_type() -> None:
    publisher = FakePublisher()
    body = b'{ "id": "e-1", "type": "cdr", "name": "cdr.created", "account_id": "1042", "n": 99999999999999999999 }'

    published = await publish_event(publisher, ROUTES, body, audit=auditor())

    properties = MessageProperties(content_type="application/json")
    assert publisher.sent == [SentMessage("cdr", "cdr.created", body, properties)]
    assert (published.source, published.event_id, published.account_id) == ("cdr", "e-1", "1042")
    assert published.is_object


@pytest.mark.parametrize(
    ("body", "choice", "exchange", "routing_key"),
    [
        (b'{"type": "call"}', {}, "call", "call"),
        (b"{}", {"event_type": "cdr"}, "cdr", "cdr"),
        (b'{"type": "call", "name": "call.received"}', {"source": "cdr"}, "cdr", "call.received"),
        (b'{"type": "call"}', {"routing_key": "call.1042"}, "call", "call.1042"),
        (b"broken", {"event_type": "call"}, "call", "call"),
        (b'{"type": "call", "name": "\\ud800"}', {}, "call", "call"),
    ],
)
async def test_where_an_event_goes(body: bytes, choice: dict[str, str], exchange: str, routing_key: str) -> None:
    publisher = FakePublisher()

    await publish_event(publisher, ROUTES, body, audit=auditor(), **choice)

    assert [(sent.exchange, sent.routing_key) for sent in publisher.sent] == [(exchange, routing_key)]


async def test_a_type_that_is_given_is_told_to_the_router_too() -> None:
    publisher = FakePublisher()

    await publish_event(publisher, ROUTES, b"{}", audit=auditor(), event_type="cdr")

    assert publisher.sent[0].properties.type == "cdr"


@pytest.mark.parametrize(
    ("body", "choice", "field"),
    [
        (b"{}", {}, "type"),
        (b'{"type": 7}', {}, "type"),
        (b"broken", {}, "type"),
        (b'{"type": "user"}', {}, "type"),
        (b"{}", {"event_type": "fax"}, "event_type"),
        (b"{}", {"source": "fax"}, "source"),
        (b"{}", {"source": "call", "routing_key": "k" * 256}, "routing_key"),
        (b'{"type": "call", "name": "%s"}' % (b"n" * 256), {}, "routing_key"),
    ],
)
async def test_an_event_without_a_place_to_go(body: bytes, choice: dict[str, str], field: str) -> None:
    publisher = FakePublisher()

    with pytest.raises(InvalidInput) as caught:
        await publish_event(publisher, ROUTES, body, audit=auditor(), **choice)
    assert caught.value.field == field
    assert not publisher.sent


async def test_two_sources_of_one_type_are_not_guessed_between() -> None:
    routes = (*ROUTES, replace(CALL, source="partner"))

    with pytest.raises(InvalidInput, match=r"^source: .* call, partner"):
        await publish_event(FakePublisher(), routes, b'{"type": "call"}', audit=auditor())


@pytest.mark.parametrize(
    ("route", "routing_key"),
    [
        (CALL, "call.received"),
        (replace(CALL, binding_keys=("call.*.#",)), "call.any"),
        (replace(CALL, binding_keys=("calls.#", "#")), "call.received"),
        (replace(CALL, binding_keys=("calls",), is_topic=False), "calls"),
        (replace(CALL, binding_keys=("#",), is_topic=False), "#"),
    ],
)
def test_a_routing_key_fits_what_the_queue_is_bound_by(route: Route, routing_key: str) -> None:
    assert manage.routing_key_for(route, wished="call.received") == routing_key


@pytest.mark.parametrize("body", [b"", b"[]", b"7", b"\xff", b"[" * 100_000, b'{"a": '])
async def test_a_body_that_is_no_object_is_said_to_be_none(body: bytes) -> None:
    published = await publish_event(FakePublisher(), ROUTES, body, audit=auditor(), event_type="call")

    assert not published.is_object
    assert published.event_id is None


async def test_an_id_that_only_looks_like_one_is_not_shown() -> None:
    body = json.dumps({"type": "call", "id": {"$gt": ""}, "account_id": ["1042"]}).encode()

    published = await publish_event(FakePublisher(), ROUTES, body, audit=auditor())

    assert (published.event_id, published.account_id) == (None, None)
