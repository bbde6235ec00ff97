"""Signatures after Standard Webhooks, judged by the specification's vector and by another implementation."""

from base64 import b64decode, b64encode
from datetime import UTC, datetime, timedelta

import pytest
from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey
from hypothesis import given, settings
from hypothesis import strategies as st
from standardwebhooks import Webhook, WebhookVerificationError

from router.domain.signing import (
    MAX_SECRETS,
    Secret,
    SecretEntry,
    SigningKey,
    current,
    format_secret,
    format_signing_key,
    parse_secret,
    parse_signing_key,
    read_entries,
    rotate,
    sign,
)

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


# --- v1a -------------------------------------------------------------------------------------------

PRIVATE = "whsk_6Xb/dCcHpPea21PS1N9VY/NZW723CEc77N4rJCubMbfVKIDij2HKpMKkioLlX0dRqSKJp4AJ6p9lMicMFs6Kvg=="
PUBLIC = "whpk_1SiA4o9hyqTCpIqC5V9HUakiiaeACeqfZTInDBbOir4="
V1A = "v1a,hnO3f9T8Ytu9HwrXslvumlUpqtNVqkhqw/enGzPCXe5BdqzCInXqYXFymVJaA7AZdpXwVLPo3mNl8EM+m7TBAg=="
SIGNING_KEY = parse_signing_key(PRIVATE)


def test_vector_of_another_implementation_for_v1a() -> None:
    """Svix's server, whose notation of keys the specification has."""
    signature = sign([], "msg_p5jXN8AQM9LWM0D4loKWxJek", 1614265330, b'{"test": 2432232314}', SIGNING_KEY)

    assert (signature, SIGNING_KEY.public_key) == (V1A, PUBLIC)


def test_v1a_follows_v1() -> None:
    both = sign([OTHER_KEY, KEY], "evt_1", 1614265330, b"{}", SIGNING_KEY)

    alone = sign([], "evt_1", 1614265330, b"{}", SIGNING_KEY)
    assert both == f"{sign([OTHER_KEY, KEY], 'evt_1', 1614265330, b'{}')} {alone}"


@settings(deadline=None)
@given(
    body=json_bodies,
    event_id=st.text(st.characters(min_codepoint=0x21, max_codepoint=0x7E), min_size=1, max_size=255),
    seed=st.binary(min_size=32, max_size=32),
)
def test_v1a_is_verified_with_the_public_key_over_id_time_and_body(body: bytes, event_id: str, seed: bytes) -> None:
    key = SigningKey(seed)
    signature = sign([], event_id, 1614265330, body, key) or ""

    public = Ed25519PublicKey.from_public_bytes(b64decode(key.public_key.removeprefix("whpk_")))
    raw = b64decode(signature.removeprefix("v1a,"))
    public.verify(raw, f"{event_id}.1614265330.".encode() + body)
    with pytest.raises(InvalidSignature):
        public.verify(raw, f"{event_id}.1614265331.".encode() + body)


def test_a_signing_key_survives_its_text_with_its_public_key_or_without() -> None:
    assert format_signing_key(SIGNING_KEY) == PRIVATE
    assert parse_signing_key("whsk_" + b64encode(SIGNING_KEY.seed).decode()) == SIGNING_KEY
    assert PRIVATE not in repr(SIGNING_KEY)


@pytest.mark.parametrize(
    "text",
    [
        None,
        7,
        "",
        "whsk_",
        SECRET,
        PUBLIC,
        PRIVATE.removeprefix("whsk_"),
        PRIVATE[:-4],
        PRIVATE.replace("X0dR", "aaaa"),
        "whsk_not base64!",
    ],
)
def test_text_that_is_no_signing_key_is_refused_without_repeating_it(text: object) -> None:
    with pytest.raises(ValueError, match="signing key") as refused:
        parse_signing_key(text)

    assert "6Xb" not in str(refused.value)


# --- rotation --------------------------------------------------------------------------------------

NOW = datetime(2026, 3, 1, 12, tzinfo=UTC)
DAY, HOUR = timedelta(days=1), timedelta(hours=1)


def test_a_secret_signs_until_the_moment_at_which_it_ends() -> None:
    ending = Secret(KEY, NOW)

    assert current([Secret(OTHER_KEY), ending], NOW - timedelta(microseconds=1)) == [Secret(OTHER_KEY), ending]
    assert current([Secret(OTHER_KEY), ending], NOW) == [Secret(OTHER_KEY)]


def test_what_is_over_does_not_count() -> None:
    over = [Secret(KEY, NOW - DAY)] * 9

    assert current([*over, *[Secret(OTHER_KEY)] * MAX_SECRETS], NOW) == [Secret(OTHER_KEY)] * MAX_SECRETS


@pytest.mark.parametrize(
    ("entries", "overlap", "rotated"),
    [
        ([], DAY, []),
        ([SecretEntry("old")], DAY, [SecretEntry("old", NOW + DAY)]),
        ([SecretEntry("old")], timedelta(0), []),
        # its end comes no later than it would have
        ([SecretEntry("old"), SecretEntry("older", NOW + HOUR)], DAY,
         [SecretEntry("old", NOW + DAY), SecretEntry("older", NOW + HOUR)]),
        # and sooner, if the new overlap is shorter
        ([SecretEntry("old", NOW + DAY)], HOUR, [SecretEntry("old", NOW + HOUR)]),
        ([SecretEntry("old"), SecretEntry("over", NOW)], DAY, [SecretEntry("old", NOW + DAY)]),
        ([SecretEntry(str(n)) for n in range(MAX_SECRETS)], DAY,
         [SecretEntry(str(n), NOW + DAY) for n in range(MAX_SECRETS - 1)]),
    ],
    ids=["first", "plain", "at once", "earlier end", "shortened", "over", "full"],
)  # fmt: skip
def test_rotation(entries: list[SecretEntry], overlap: timedelta, rotated: list[SecretEntry]) -> None:
    assert rotate(entries, "new", now=NOW, overlap=overlap) == [SecretEntry("new"), *rotated]


def test_entries_do_not_show_their_secret() -> None:
    entries = read_entries([SECRET, {"value": SECRET, "expires_at": NOW}])

    assert "MfKQ" not in repr(entries)
    assert [entry.expires_at for entry in entries] == [None, NOW]
