"""The demo's customers: signatures checked by the book, and moods that no delivery dies of."""

from datetime import UTC, datetime
from random import Random

import pytest
from standardwebhooks import Webhook

from router.demo.crm import FIRST_REFUSED, choose_mood, is_signed

SECRET = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw"
OTHER = "whsec_Q2hhbmdlZCBzZWNyZXQgb2YgMjQgYg=="
BODY = '{"id":"evt_1","name":"Élodie"}'.encode()
NOW = 1_741_684_447


def signed(*secrets: str, body: bytes = BODY, at: int = NOW) -> dict[str, str]:
    """The headers of a delivery, signed by the reference implementation."""
    moment = datetime.fromtimestamp(at, UTC)
    signatures = [Webhook(secret).sign("evt_1", moment, body.decode()) for secret in secrets]
    return {"webhook-id": "evt_1", "webhook-timestamp": str(at), "webhook-signature": " ".join(signatures)}


@pytest.mark.parametrize(
    ("headers", "expected"),
    [
        (signed(SECRET), True),
        (signed(OTHER, SECRET), True),
        (signed(OTHER), False),
        (signed(SECRET, body=b"{}"), False),
        (signed(SECRET) | {"webhook-id": "evt_2"}, False),
        (signed(SECRET) | {"webhook-timestamp": str(NOW + 1)}, False),
        (signed(SECRET) | {"webhook-timestamp": "soon"}, False),
        (signed(SECRET, at=NOW - 301), False),
        (signed(SECRET, at=NOW + 301), False),
        (signed(SECRET, at=NOW - 299), True),
        ({name: value.replace("v1,", "v2,") for name, value in signed(SECRET).items()}, False),
        ({"webhook-id": "evt_1", "webhook-timestamp": str(NOW)}, False),
        ({}, False),
    ],
)
def test_signatures_are_checked_by_the_specification(headers: dict[str, str], expected: bool) -> None:
    assert is_signed(headers, BODY, SECRET, NOW) is expected


def test_every_delivery_is_taken_at_its_third_try_at_the_latest() -> None:
    random = Random(3)
    assert {choose_mood(random, nth=3, deliveries=number).status for number in range(500)} == {200}


def test_moods_are_good_slow_and_bad() -> None:
    random = Random(3)
    moods = [choose_mood(random, nth=1, deliveries=number) for number in range(1_000)]
    assert {mood.status for mood in moods} == {200, 500, 503}
    assert sum(mood.status == 200 for mood in moods) > 850
    assert any(mood.delay_seconds > 0.3 for mood in moods)
    assert max(mood.delay_seconds for mood in moods) < 2, "no attempt may run into the router's time limit"
    assert all((mood.retry_after_seconds is not None) == (mood.status == 503) for mood in moods)


@pytest.mark.parametrize("seed", range(20))
def test_even_a_short_run_shows_a_refusal(seed: int) -> None:
    assert choose_mood(Random(seed), nth=1, deliveries=FIRST_REFUSED).status in {500, 503}
