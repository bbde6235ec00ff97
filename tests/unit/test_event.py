"""The identity of an event: the same one is stored once, different ones never meet."""

import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from router.domain.delivery import delivery_id
from router.domain.event import EventKey, event_key, header_id, id_from_body
from router.domain.webhook import WebhookId

texts = st.text(st.characters(codec="utf-8"), max_size=20)


def test_key_is_stable_over_versions() -> None:
    # Stored documents carry these: a change would let every event in twice.
    assert event_key("1042", "evt_1") == "ev_f4c26fba71ad6b2d827628a080c55e82"
    assert id_from_body(b"{}") == "evt_44136fa355b3678a1146ad16f7e8649e"
    assert delivery_id(EventKey("ev_1"), WebhookId("wh_1")) == "dlv_c28298a5d32b8854cc432af6dc4865b9"


@settings(deadline=None)
@given(st.tuples(texts, texts), st.tuples(texts, texts))
def test_different_events_have_different_keys(one: tuple[str, str], other: tuple[str, str]) -> None:
    assume(one != other)

    assert event_key(*one) != event_key(*other)


def test_key_keeps_account_and_event_apart() -> None:
    assert event_key("1", "2x") != event_key("12", "x")
    assert event_key("", "12x") != event_key("12", "x")


@pytest.mark.parametrize(
    "event_id", ["evt_1", "a", "0", "a b", "a.b", "!~", "{}", "3f2c7a52-8f0e-4a43-b7ac-5c02b80a8a7e", "x" * 255]
)
def test_printable_id_is_the_header(event_id: str) -> None:
    assert header_id(event_id) == event_id


@pytest.mark.parametrize("event_id", ["", " ", " a", "a ", "é", "a\tb", "a\r\nx: y", "a\x00", "\x7f", "📞", "x" * 256])
def test_other_ids_are_hashed(event_id: str) -> None:
    hashed = header_id(event_id)

    assert hashed.startswith("evt_")
    assert len(hashed) == len("evt_") + 32
    assert int(hashed.removeprefix("evt_"), 16) >= 0
    assert header_id(event_id) == hashed


def test_hash_of_an_id_is_the_beginning_of_its_sha_256() -> None:
    assert header_id("é") == "evt_4a99557e4033c3539de2eb65472017ca"
