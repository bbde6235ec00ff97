"""Which webhook definitions are right, as tables: by field, in documents as back offices write them, in headers."""

from dataclasses import replace
from datetime import UTC, datetime
from typing import Any

import pytest
from bson import ObjectId

from router.adapters.mongo.webhooks import parse_webhook
from router.domain.credentials import BearerAuth
from router.domain.definition import (
    Definition,
    RawDefinition,
    check_account_id,
    check_definition,
    check_name,
    check_new_id,
    check_new_url,
    read_definition,
)
from router.domain.egress import EgressPolicy
from router.domain.errors import InvalidInput, NotAllowed
from router.domain.event import MAX_ID_LENGTH, EventType
from router.domain.headers import FORBIDDEN_NAMES, MAX_HEADERS, check_headers
from router.domain.signing import Secret, SigningKey
from router.domain.webhook import TrackingNumberRestriction, UserRestriction, WebhookState

CALL = RawDefinition(account_id="1042", url="https://crm.example.com/hook", event_type="call", enabled=True)
USER = replace(CALL, event_type="user")
EVERYWHERE = EgressPolicy(require_https=False)
KEY = "whsec_c2VjcmV0"


NAIVE = datetime(2026, 1, 1)  # noqa: DTZ001  as a store gives it
ENDING = (Secret(b"secret"), Secret(b"new", NAIVE.replace(tzinfo=UTC)))
MANY = (Secret(b"secret"),) * 5 + (ENDING[1],) * 15


def refusal(raw: RawDefinition) -> InvalidInput:
    with pytest.raises(InvalidInput) as caught:
        check_definition(raw, "FR", EVERYWHERE)
    return caught.value


# --- what is right ---------------------------------------------------------------------------------


def test_a_definition_says_what_was_written() -> None:
    raw = replace(CALL, restrict_to={"tracking_numbers": ["0199001234"]}, secret=KEY, headers={"X-Team": "sales"})

    assert check_definition(raw, "FR", EVERYWHERE) == Definition(
        account_id=check_account_id("1042"),
        url="https://crm.example.com/hook",
        event_type=EventType.CALL,
        enabled=True,
        restriction=TrackingNumberRestriction(numbers=frozenset({"+33199001234"})),
        secrets=(Secret(b"secret"),),
        signing_key=None,
        headers=(("X-Team", "sales"),),
        auth=None,
        client_certificate=None,
        problems=(),
    )


@pytest.mark.parametrize(
    ("number", "country", "e164"),
    [
        ("0199001234", "FR", "+33199001234"),
        ("0033199001234", "FR", "+33199001234"),
        ("+33 1 99 00 12 34", "FR", "+33199001234"),
        ("+33199001234", "GB", "+33199001234"),
        ("07700 900123", "GB", "+447700900123"),
        (199001234, "FR", "+33199001234"),
    ],
)
def test_numbers_are_one_number_however_they_are_written(number: object, country: str, e164: str) -> None:
    raw = replace(CALL, restrict_to={"tracking_numbers": [number]})

    assert check_definition(raw, country, EVERYWHERE).restriction == TrackingNumberRestriction(
        numbers=frozenset({e164})
    )


@pytest.mark.parametrize(
    ("raw", "field", "value"),
    [
        (replace(CALL, account_id=1042), "account_id", "1042"),
        (replace(CALL, event_type="cdr"), "event_type", EventType.CDR),
        (replace(CALL, enabled=False), "enabled", False),
        (replace(CALL, url="http://crm.example.com:8080/?a=1"), "url", "http://crm.example.com:8080/?a=1"),
        (replace(USER, restrict_to={"user_id": "u-17"}), "restriction", UserRestriction(user_id="u-17")),
        (replace(CALL, secret="c2VjcmV0"), "secrets", (Secret(b"secret"),)),
        (replace(CALL, secret=[KEY, "bmV3"]), "secrets", (Secret(b"secret"), Secret(b"new"))),
        (replace(CALL, secret={"value": KEY, "expires_at": None}), "secrets", (Secret(b"secret"),)),
        (replace(CALL, secret=[{"value": KEY}, {"value": "bmV3", "expires_at": NAIVE}]), "secrets", ENDING),
        (replace(CALL, secret=[KEY] * 5 + [{"value": "bmV3", "expires_at": NAIVE}] * 15), "secrets", MANY),
        (replace(CALL, signing_key=None), "signing_key", None),
        (replace(CALL, signing_key="whsk_" + "A" * 43 + "="), "signing_key", SigningKey(bytes(32))),
        (replace(CALL, auth={"type": "bearer", "token": "t"}), "auth", BearerAuth(token="t")),
        (replace(CALL, headers={}), "headers", ()),
    ],
)
def test_other_ways_to_write_it(raw: RawDefinition, field: str, value: object) -> None:
    assert getattr(check_definition(raw, "FR", EVERYWHERE), field) == value


# --- what is wrong ---------------------------------------------------------------------------------

NUMBERS = "restrict_to.tracking_numbers"

WRONG = [
    (replace(CALL, account_id=None), "account_id"),
    (replace(CALL, account_id=""), "account_id"),
    (replace(CALL, account_id=True), "account_id"),
    (replace(CALL, account_id=["1042"]), "account_id"),
    (replace(CALL, account_id={"$ne": None}), "account_id"),
    (replace(CALL, account_id=10**5_000), "account_id"),
    (replace(CALL, account_id="a" * (MAX_ID_LENGTH + 1)), "account_id"),
    (replace(CALL, account_id="1042\0"), "account_id"),
    (replace(CALL, account_id="\ud800"), "account_id"),
    (replace(CALL, event_type=None), "event_type"),
    (replace(CALL, event_type="CALL"), "event_type"),
    (replace(CALL, event_type=["call"]), "event_type"),
    (replace(CALL, event_type={"call": 1}), "event_type"),
    (replace(CALL, enabled=None), "enabled"),
    (replace(CALL, enabled="true"), "enabled"),
    (replace(CALL, enabled=1), "enabled"),
    (replace(CALL, url=None), "url"),
    (replace(CALL, url=b"https://crm.example.com"), "url"),
    (replace(CALL, url=""), "url"),
    (replace(CALL, url="ftp://crm.example.com"), "url"),
    (replace(CALL, url="https://user:password@crm.example.com"), "url"),
    (replace(CALL, url="https://crm.example.com/a b"), "url"),
    (replace(CALL, restrict_to=[]), "restrict_to"),
    (replace(CALL, restrict_to={}), "restrict_to"),
    (replace(CALL, restrict_to={"numbers": ["0199001234"]}), "restrict_to"),
    (replace(CALL, restrict_to={"tracking_numbers": ["0199001234"], "user_id": "u-17"}), "restrict_to"),
    (replace(CALL, restrict_to={"tracking_numbers": []}), NUMBERS),
    (replace(CALL, restrict_to={"tracking_numbers": "0199001234"}), NUMBERS),
    (replace(CALL, restrict_to={"tracking_numbers": ["0199001234"] * 10_001}), NUMBERS),
    (replace(CALL, restrict_to={"tracking_numbers": ["0199001234", "reception"]}), f"{NUMBERS}[1]"),
    (replace(CALL, restrict_to={"tracking_numbers": [None]}), f"{NUMBERS}[0]"),
    (replace(CALL, restrict_to={"tracking_numbers": [10**5_000]}), f"{NUMBERS}[0]"),
    (replace(CALL, restrict_to={"tracking_numbers": [{"$ne": None}]}), f"{NUMBERS}[0]"),
    (replace(CALL, restrict_to={"tracking_numbers": ["1" * 5_000]}), f"{NUMBERS}[0]"),
    (replace(CALL, restrict_to={"tracking_numbers": [True]}), f"{NUMBERS}[0]"),
    (replace(CALL, restrict_to={"user_id": "u-17"}), "restrict_to.user_id"),
    (replace(USER, restrict_to={"tracking_numbers": ["0199001234"]}), NUMBERS),
    (replace(USER, restrict_to={"user_id": ""}), "restrict_to.user_id"),
    (replace(USER, restrict_to={"user_id": 17}), "restrict_to.user_id"),
    (replace(USER, restrict_to={"user_id": {"$ne": None}}), "restrict_to.user_id"),
    (replace(USER, restrict_to={"user_id": "u" * (MAX_ID_LENGTH + 1)}), "restrict_to.user_id"),
    (replace(USER, restrict_to={"user_id": "u\n17"}), "restrict_to.user_id"),
    (replace(CALL, secret=17), "secret"),
    (replace(CALL, secret="whsec_"), "secret"),
    (replace(CALL, secret="whsec_not base64"), "secret"),
    (replace(CALL, secret=[KEY, None]), "secret"),
    (replace(CALL, secret=[KEY] * 6), "secret"),
    (replace(CALL, secret=[{"value": KEY, "expires_at": NAIVE}] * 21), "secret"),
    (replace(CALL, secret=[{"value": KEY, "expires_at": "2026-01-01"}]), "secret"),
    (replace(CALL, secret=[{"value": KEY, "until": None}]), "secret"),
    (replace(CALL, secret=[[KEY]]), "secret"),
    (replace(CALL, signing_key=KEY), "signing_key"),
    (replace(CALL, auth="Bearer t"), "auth"),
    (replace(CALL, auth={"type": "bearer", "token": "t"}, headers={"Authorization": "x"}), "auth"),
    (replace(CALL, client_certificate={"certificate": "x", "key": "y"}), "client_certificate"),
    (replace(CALL, headers=["X-Team"]), "headers"),
    (replace(CALL, headers={"Content-Type": "text/plain"}), "headers"),
]


@pytest.mark.parametrize(("raw", "field"), WRONG)
def test_a_broken_rule_names_its_field(raw: RawDefinition, field: str) -> None:
    assert refusal(raw).field == field


@pytest.mark.parametrize("secret", ["whsec_hush hush", ["hush hush"]])
def test_no_message_quotes_a_secret(secret: object) -> None:
    assert "hush" not in str(refusal(replace(CALL, secret=secret)))


def test_reading_goes_on_after_a_broken_rule() -> None:
    raw = replace(CALL, enabled="yes", url="nowhere", restrict_to={"tracking_numbers": ["0199001234"]}, secret="?")

    definition = read_definition(raw, "FR")

    assert [problem.field for problem in definition.problems] == ["enabled", "url", "secret"]
    assert definition.url == "nowhere", "a wrong URL is shown to whoever looks the webhook up"
    assert definition.enabled is False
    assert definition.restriction == TrackingNumberRestriction(numbers=frozenset({"+33199001234"}))


def test_an_event_type_that_cannot_be_read_blames_no_restriction() -> None:
    raw = replace(CALL, event_type="fax", restrict_to={"user_id": "u-17"})

    assert [problem.field for problem in read_definition(raw, "FR").problems] == ["event_type"]


def test_secrets_and_headers_are_not_in_the_repr() -> None:
    raw = replace(CALL, secret=KEY, headers={"Authorization": "Bearer hush"})

    for text in (repr(raw), repr(read_definition(raw, "FR"))):
        assert "hush" not in text
        assert "c2VjcmV0" not in text


# --- names and ids of new webhooks -----------------------------------------------------------------


@pytest.mark.parametrize(
    ("written", "name"),
    [("CRM", "CRM"), ("  Flyer Lyon ", "Flyer Lyon"), ("Écran\u00a0: accueil", "Écran\u00a0: accueil"), ("☎️", "☎️")],
)
def test_names(written: str, name: str) -> None:
    assert check_name(written) == name


@pytest.mark.parametrize("name", [None, 17, "", "   ", "a" * 201, "two\nlines", "esc\x1b[31m", "\ud800"])
def test_names_that_are_none(name: object) -> None:
    with pytest.raises(InvalidInput, match=r"^name: "):
        check_name(name)


@pytest.mark.parametrize("identity", ["wh_crm", "wh_2024.crm-1", "7", "a" * 100])
def test_ids_of_new_webhooks(identity: str) -> None:
    assert check_new_id(identity) == identity


@pytest.mark.parametrize("identity", [None, 7, "", "_wh", "a/b", "a b", "été", "a\n", "a" * 101])
def test_ids_that_are_none(identity: object) -> None:
    with pytest.raises(InvalidInput, match=r"^id: "):
        check_new_id(identity)


# --- URLs ------------------------------------------------------------------------------------------


def test_a_new_url_is_in_its_normal_form() -> None:
    new = replace(CALL, url="HTTPS://CRM.example.com:443?token=hush")

    assert check_definition(new, "FR", EVERYWHERE).url == "https://crm.example.com/?token=hush"
    assert read_definition(new, "FR").url == new.url, "what the back office wrote stays as it is"


def test_a_new_token_url_is_judged_like_any_other() -> None:
    auth = {"type": "oauth2", "token_url": "https://Login.example.com", "client_id": "c", "client_secret": "hush"}
    new = replace(CALL, auth=auth)

    assert getattr(check_definition(new, "FR", EVERYWHERE).auth, "token_url", None) == "https://login.example.com/"
    inside = replace(CALL, auth={**auth, "token_url": "https://10.0.0.1/token"})
    with pytest.raises(NotAllowed, match=r"^auth\.token_url: "):
        check_definition(inside, "FR", EVERYWHERE)


@pytest.mark.parametrize(
    ("url", "message", "told_outside"),
    [
        ("http://crm.example.com/", "egress.require_https", "must begin with https://"),
        ("https://127.0.0.1/", "egress.allow", "this address is not allowed"),
        ("https://crm.example.com:25/", "egress.deny_ports", "this address is not allowed"),
        ("https://crm.internal/", "egress.allow", "this address is not allowed"),
    ],
)
def test_a_new_url_that_the_policy_refuses(url: str, message: str, told_outside: str) -> None:
    policy = EgressPolicy(deny_ports=frozenset({25}))
    with pytest.raises(NotAllowed, match=r"^token_url: ") as caught:
        check_new_url(url, policy, "token_url")

    assert message in caught.value.message
    assert caught.value.told_outside == told_outside
    assert read_definition(replace(CALL, url=url), "FR").problems == (), "where it leads is judged when it is dialled"


def test_the_path_that_a_new_url_is_given_counts_too() -> None:
    longest = "https://crm.example.com?" + "x" * (2048 - 24)

    assert not read_definition(replace(CALL, url=longest), "FR").problems
    with pytest.raises(InvalidInput, match="2048"):
        check_new_url(longest, EVERYWHERE)


@pytest.mark.parametrize("url", [None, 7, "", "https://127.1/", "https://user:hush@crm.example.com/"])
def test_a_new_url_that_is_none(url: object) -> None:
    with pytest.raises(InvalidInput, match=r"^url: ") as caught:
        check_new_url(url, EVERYWHERE)
    assert not isinstance(caught.value, NotAllowed)


# --- headers ---------------------------------------------------------------------------------------


def test_headers_keep_their_order_and_their_spelling() -> None:
    headers = {"X-Team": "sales", "authorization": "Bearer a b", "X-Empty": ""}

    assert check_headers(headers) == tuple(headers.items())


def test_no_headers() -> None:
    assert check_headers(None) == ()


@pytest.mark.parametrize(
    "name",
    [
        *sorted(FORBIDDEN_NAMES),
        "Host",
        "Webhook-Id",
        "X-Webhook-Event",
        "X-Forwarded-For",
        "Proxy-Authorization",
        "Svix-Id",
        "X-Amzn-Trace-Id",
        "X-Azure-Ref",
        "X-FD-HealthProbe",
        "X-Google-Id",
        "X-Goog-Signature",
    ],
)
def test_headers_that_are_not_the_customers_to_set(name: str) -> None:
    with pytest.raises(ValueError, match="cannot be set"):
        check_headers({name: "x"})


@pytest.mark.parametrize(
    "headers",
    [
        "X-Team: sales",
        [("X-Team", "sales")],
        {"": "x"},
        {"X Team": "x"},
        {"X-Team:": "x"},
        {"X-Équipe": "x"},
        {"X-Team\r\nX-Evil": "x"},
        {7: "x"},
        {"X-Team": None},
        {"X-Team": 7},
        {"X-Team": "sales\r\nX-Evil: 1"},
        {"X-Team": "été"},
        {"X-Team": "a\tb"},
        {"X-Team": "\x7f"},
        {"a" * 257: "x"},
        {f"X-{number}": "x" for number in range(MAX_HEADERS + 1)},
    ],
)
def test_headers_that_are_none(headers: object) -> None:
    with pytest.raises(ValueError, match=r"must be|is not"):
        check_headers(headers)


def test_headers_are_taken_up_to_each_bound_and_not_beyond_it() -> None:
    for headers, beyond in [
        ({"X-Team": "a" * 4096}, {"X-Team": "a" * 4097}),
        ({"a" * 256: ""}, {"a" * 257: ""}),
        (
            {f"X-{number}": "" for number in range(MAX_HEADERS)},
            {f"X-{number}": "" for number in range(MAX_HEADERS + 1)},
        ),
        ({f"x-{n}": "a" * 4093 for n in range(4)}, {f"x-{n}": "a" * 4093 for n in range(4)} | {"x": ""}),
    ]:
        assert check_headers(headers) == tuple(headers.items())
        with pytest.raises(ValueError, match=r"characters|at most|token"):
            check_headers(beyond)


def test_a_header_is_there_once_however_it_is_written() -> None:
    with pytest.raises(ValueError, match=r"x-team is there twice"):
        check_headers({"X-Team": "a", "x-team": "b"})


# --- documents of the back office ------------------------------------------------------------------

DOCUMENT: dict[str, Any] = {
    "_id": "wh_crm",
    "account_id": "1042",
    "name": "CRM",
    "url": "https://crm.example.com/hook",
    "event_type": "call",
    "enabled": True,
    "restrict_to": None,
}


def test_a_right_document_is_a_usable_webhook() -> None:
    created_at = datetime(2025, 3, 11, 9, 14, tzinfo=UTC)
    webhook = parse_webhook({**DOCUMENT, "created_at": created_at}, "FR")

    assert (webhook.state, webhook.problem) == (WebhookState.ACTIVE, None)
    assert (webhook.id, webhook.account_id, webhook.name) == ("wh_crm", "1042", "CRM")
    assert (webhook.created_at, webhook.updated_at) == (created_at, None)


@pytest.mark.parametrize(("raw", "field"), WRONG)
def test_a_wrong_document_is_a_webhook_with_its_problem(raw: RawDefinition, field: str) -> None:
    document = DOCUMENT | {name: getattr(raw, name) for name in RawDefinition.__dataclass_fields__}

    webhook = parse_webhook(document, "FR")

    assert webhook.state is WebhookState.INVALID
    assert webhook.problem is not None
    assert webhook.problem.startswith(f"{field}: ")


@pytest.mark.parametrize("document", [{"_id": None}, {"_id": ObjectId()}, {"_id": 7}, {"_id": "wh_empty"}])
def test_a_document_with_nothing_in_it_never_raises(document: dict[str, Any]) -> None:
    webhook = parse_webhook(document, "FR")

    assert webhook.id == str(document["_id"])
    assert webhook.state is WebhookState.INVALID


@pytest.mark.parametrize(
    "junk", [None, True, 7, 1.5, "x", b"x", [], ["x"], {}, {"$gt": ""}, ObjectId(), datetime(2025, 3, 11, tzinfo=UTC)]
)
@pytest.mark.parametrize(
    "field",
    [*DOCUMENT, "secret", "signing_key", "headers", "auth", "client_certificate", "created_at", "updated_at"],
)
def test_junk_in_any_field_never_raises(field: str, junk: object) -> None:
    parse_webhook({**DOCUMENT, field: junk}, "FR")


def test_an_id_that_is_no_string_is_told_first() -> None:
    assert parse_webhook({**DOCUMENT, "_id": 7, "url": None}, "FR").problem == "_id: must be a string"


def test_the_name_is_not_what_makes_a_document_wrong() -> None:
    webhook = parse_webhook({**DOCUMENT, "name": None}, "FR")

    assert (webhook.name, webhook.state) == ("", WebhookState.ACTIVE)
