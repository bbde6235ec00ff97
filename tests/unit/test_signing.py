"""Signatures after Standard Webhooks, judged by the specification's vector and by another implementation."""

from base64 import b64encode
from datetime import UTC, datetime

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from standardwebhooks import Webhook, WebhookVerificationError

from router.domain.signing import format_secret, parse_secret, sign

SECRET = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw"
KEY = parse_secret(SECRET)
OTHER_KEY = bytes(range(32))


def test_vector_of_the_specification() -> None:
    signature = sign([KEY], "msg_p5jXN8AQM9LWM0D4loKWxJek", 1614265330, b'{"test": 2432232314}')

    assert signature == "v1,g0hM9SsE+OTPJTGt/tmIKtSyZlE3uFJELVlNIOLJ1OE="


def test_without_a_secret_there_is_no_signature() -> None:
    assert sign([], "evt_1", 1614265330, b"{}") is None


def test_during_rotation_each_secret_signs_in_order() -> None:
    old, new = sign([KEY], "evt_1", 1614265330, b"{}"), sign([OTHER_KEY], "evt_1", 1614265330, b"{}")

    assert sign([OTHER_KEY, KEY], "evt_1", 1614265330, b"{}") == f"{new} {old}"


json_bodies = st.text(st.characters(codec="utf-8")).map(str.encode)


@settings(deadline=None)
@given(
    body=json_bodies,
    event_id=st.text(st.characters(min_codepoint=0x21, max_codepoint=0x7E), min_size=1, max_size=255),
    key=st.binary(min_size=24, max_size=64),
)
def test_independent_implementation_verifies(body: bytes, event_id: str, key: bytes) -> None:
    now = int(datetime.now(UTC).timestamp())  # it refuses what is older than five minutes
    signature = sign([OTHER_KEY, key], event_id, now, body)

    headers = {"webhook-id": event_id, "webhook-timestamp": str(now), "webhook-signature": signature or ""}
    verifier = Webhook(format_secret(key))
    verifier.verify(body, headers, json_parse=False)
    with pytest.raises(WebhookVerificationError):
        verifier.verify(body + b" ", headers, json_parse=False)


@settings(deadline=None)
@given(st.binary(min_size=1, max_size=80))
def test_secret_survives_its_text(key: bytes) -> None:
    assert parse_secret(format_secret(key)) == key


def test_secret_without_its_prefix_is_the_same_secret() -> None:
    assert parse_secret(SECRET.removeprefix("whsec_")) == KEY


@pytest.mark.parametrize(
    "text",
    [
        "",
        "whsec_",
        "whsec_not base64!",
        "whsec_c2VjcmV0\n",
        "whsec_c2Vjc",
        "whsec_c2VjcmV0_-",
        "whsk_" + b64encode(KEY).decode(),
        "sécret",
    ],
)
def test_text_that_is_no_secret_is_refused_without_repeating_it(text: str) -> None:
    with pytest.raises(ValueError, match="a secret") as refused:
        parse_secret(text)

    assert text.removeprefix("whsec_") == "" or text not in str(refused.value)
