"""What proves to a customer's server who sends: which values are right, and what of them is ever shown."""

from base64 import b64decode
from datetime import UTC, datetime
from typing import Any

import pytest
import trustme
from cryptography.hazmat.primitives.serialization import (
    BestAvailableEncryption,
    Encoding,
    PrivateFormat,
    load_pem_private_key,
)

from router.domain.credentials import (
    MAX_CREDENTIAL_LENGTH,
    MAX_PEM_LENGTH,
    MAX_SCOPE_LENGTH,
    Auth,
    BasicAuth,
    BearerAuth,
    ClientAuthentication,
    OAuth2Auth,
    check_auth,
    check_client_certificate,
)
from tests.support.samples import webhook

OAUTH2: dict[str, Any] = {
    "type": "oauth2",
    "token_url": "https://login.example.com/token",
    "client_id": "router",
    "client_secret": "hush",
}
OAUTH2_AUTH = OAuth2Auth(token_url=OAUTH2["token_url"], client_id="router", client_secret="hush")


@pytest.mark.parametrize(
    ("value", "auth"),
    [
        (None, None),
        ({"type": "basic", "username": "u", "password": "p:w"}, BasicAuth(username="u", password="p:w")),
        ({"type": "basic", "username": "ü", "password": ""}, BasicAuth(username="ü", password="")),
        ({"type": "bearer", "token": "abc.def"}, BearerAuth(token="abc.def")),
        (OAUTH2, OAUTH2_AUTH),
        ({**OAUTH2, "scope": None}, OAUTH2_AUTH),
        (
            {**OAUTH2, "scope": "a b", "client_authentication": "client_secret_post"},
            OAuth2Auth(
                token_url=OAUTH2["token_url"],
                client_id="router",
                client_secret="hush",
                scope="a b",
                client_authentication=ClientAuthentication.POST,
            ),
        ),
    ],
)
def test_what_is_right(value: object, auth: Auth | None) -> None:
    assert check_auth(value) == auth


LONG = "a" * (MAX_CREDENTIAL_LENGTH + 1)


@pytest.mark.parametrize(
    "value",
    [
        "Bearer hush",
        [],
        {},
        {"type": "digest"},
        {"type": ["basic"]},
        {"type": "bearer"},
        {"type": "bearer", "token": ""},
        {"type": "bearer", "token": "hush hush"},
        {"type": "bearer", "token": "hush\r\nx: y"},
        {"type": "bearer", "token": "hush\u00e9"},
        {"type": "bearer", "token": 7},
        {"type": "bearer", "token": LONG},
        {"type": "bearer", "token": "hush", "username": "u"},
        {"type": "basic", "username": "u"},
        {"type": "basic", "username": "", "password": "hush"},
        {"type": "basic", "username": "u:v", "password": "hush"},
        {"type": "basic", "username": "u", "password": "hush\n"},
        {"type": "basic", "username": "u", "password": "hush\ud800"},
        {"type": "basic", "username": "u", "password": LONG},
        {**OAUTH2, "token_url": None},
        {**OAUTH2, "token_url": "ftp://login.example.com/hush"},
        {**OAUTH2, "token_url": "https://u:hush@login.example.com/"},
        {**OAUTH2, "client_id": ""},
        {**OAUTH2, "client_secret": None},
        {**OAUTH2, "client_secret": "hush\x00"},
        {**OAUTH2, "scope": "a" * (MAX_SCOPE_LENGTH + 1)},
        {**OAUTH2, "scope": 7},
        {**OAUTH2, "client_authentication": "none"},
        {**OAUTH2, "client_authentication": ["client_secret_basic"]},
        {**OAUTH2, "audience": "hush"},
    ],
)
def test_what_is_wrong_is_said_without_quoting_it(value: object) -> None:
    with pytest.raises(ValueError, match=r"must|takes|token_url|half") as refused:
        check_auth(value)

    assert "hush" not in str(refused.value)


def test_each_bound_is_within() -> None:
    longest = LONG[1:]

    assert check_auth({"type": "bearer", "token": longest}) == BearerAuth(token=longest)
    scope = "a" * MAX_SCOPE_LENGTH
    assert check_auth({**OAUTH2, "scope": scope}) == check_auth({**OAUTH2, "scope": scope})


# --- on the wire -----------------------------------------------------------------------------------


def test_basic_is_utf8_and_bearer_is_the_token() -> None:
    scheme, _, text = BasicAuth(username="ü", password="p:w").authorization.partition(" ")

    assert (scheme, b64decode(text).decode()) == ("Basic", "ü:p:w")
    assert BearerAuth(token="abc").authorization == "Bearer abc"


def test_what_never_changes_is_put_together_once_for_each_definition() -> None:
    fixed = webhook(headers=(("x-team", "sales"),), auth=BearerAuth(token="abc"))

    assert fixed.sent_headers == (("x-team", "sales"), ("authorization", "Bearer abc"))
    assert webhook(auth=OAUTH2_AUTH).sent_headers == ()


def test_client_id_and_secret_are_encoded_before_they_are_put_together() -> None:
    auth = OAuth2Auth(token_url="https://x.example/", client_id="a:b", client_secret="c d+é", scope="s")

    form, headers = auth.token_request()

    assert form == {"grant_type": "client_credentials", "scope": "s"}
    assert b64decode(headers["authorization"].removeprefix("Basic ")) == b"a%3Ab:c+d%2B%C3%A9"


@pytest.mark.parametrize("auth", [BasicAuth(username="u", password="hush"), BearerAuth(token="hush"), OAUTH2_AUTH])
def test_no_secret_is_in_a_repr(auth: Auth) -> None:
    assert "hush" not in repr(auth)
    assert "hush" not in repr(webhook(auth=auth))


# --- client certificates ---------------------------------------------------------------------------

AUTHORITY = trustme.CA()
LEAF = AUTHORITY.issue_cert("client.example.com", common_name="router")
CERTIFICATE = LEAF.cert_chain_pems[0].bytes().decode()
KEY = LEAF.private_key_pem.bytes().decode()
OTHER_KEY = AUTHORITY.issue_cert("other.example.com").private_key_pem.bytes().decode()
LOCKED_KEY = (
    load_pem_private_key(KEY.encode(), None)
    .private_bytes(Encoding.PEM, PrivateFormat.PKCS8, BestAvailableEncryption(b"passphrase"))
    .decode()
)


def test_a_certificate_says_whose_it_is_and_until_when() -> None:
    chain = CERTIFICATE + AUTHORITY.cert_pem.bytes().decode()

    found = check_client_certificate({"certificate": chain, "key": KEY})

    assert found is not None
    assert "CN=router" in found.subject
    assert found.not_after > datetime(2026, 1, 1, tzinfo=UTC)
    assert "PRIVATE" not in repr(found)


@pytest.mark.parametrize(
    ("value", "told"),
    [
        ("pem", "must be null"),
        ({"certificate": CERTIFICATE}, "must be null"),
        ({"certificate": CERTIFICATE, "key": KEY, "password": "x"}, "must be null"),
        ({"certificate": None, "key": KEY}, "certificate must be PEM"),
        ({"certificate": CERTIFICATE, "key": "a" * (MAX_PEM_LENGTH + 1)}, "key must be PEM"),
        ({"certificate": "x", "key": KEY}, "no PEM certificate"),
        ({"certificate": KEY, "key": KEY}, "no PEM certificate"),
        ({"certificate": CERTIFICATE, "key": "x"}, "no PEM private key"),
        ({"certificate": CERTIFICATE, "key": CERTIFICATE}, "no PEM private key"),
        ({"certificate": CERTIFICATE, "key": LOCKED_KEY}, "without a passphrase"),
        ({"certificate": CERTIFICATE, "key": OTHER_KEY}, "another certificate"),
    ],
)
def test_a_certificate_that_cannot_be_shown_is_refused(value: object, told: str) -> None:
    with pytest.raises(ValueError, match=told):
        check_client_certificate(value)
