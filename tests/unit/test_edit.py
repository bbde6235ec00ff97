"""What an edit makes of a webhook, and which rules it breaks."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
import trustme

from router.domain.credentials import BasicAuth, BearerAuth, check_client_certificate
from router.domain.definition import MAX_TRACKING_NUMBERS
from router.domain.edit import EditPlan, WebhookEdit, plan_edit, plan_switch
from router.domain.egress import EgressPolicy
from router.domain.errors import InvalidInput, NotAllowed
from router.domain.event import AccountId, EventType
from router.domain.headers import MAX_HEADER_VALUE_LENGTH, MAX_HEADERS_LENGTH
from router.domain.webhook import TrackingNumberRestriction, UserRestriction, Webhook, WebhookId

NOW = datetime(2025, 3, 11, 9, 14, 7, tzinfo=UTC)
NUMBERS = TrackingNumberRestriction(numbers=frozenset({"+33199001234"}))
LEAF = trustme.CA().issue_cert("client.example.com", common_name="router")
PEMS = {"certificate": LEAF.cert_chain_pems[0].bytes().decode(), "key": LEAF.private_key_pem.bytes().decode()}
CERTIFICATE = check_client_certificate(PEMS)
BASIC = BasicAuth(username="u", password="p")
CRM = Webhook(
    id=WebhookId("wh_crm"),
    account_id=AccountId("1042"),
    name="CRM",
    url="https://crm.example.com/hook",
    event_type=EventType.CALL,
    enabled=True,
    restriction=NUMBERS,
    headers=(("X-Key", "k-123"), ("X-Team", "sales")),
    auth=BearerAuth(token="t"),
)


def plan(webhook: Webhook = CRM, *, country: str = "FR", now: datetime = NOW, **wanted: Any) -> EditPlan:
    return plan_edit(webhook, WebhookEdit(**wanted), country=country, egress=EgressPolicy(), now=now)


@pytest.mark.parametrize(
    ("wanted", "result"),
    [
        ({"name": " CRM Lyon "}, {"name": "CRM Lyon"}),
        ({"url": "HTTPS://CRM.example.com:443/new#top"}, {"url": "https://crm.example.com/new"}),
        ({"event_type": "cdr"}, {"event_type": EventType.CDR}),
        ({"enabled": False}, {"enabled": False}),
        ({"restrict_to": None}, {"restriction": None}),
        (
            {"restrict_to": {"tracking_numbers": ["04 65 71 00 42", "0033465710042"]}},
            {"restriction": TrackingNumberRestriction(numbers=frozenset({"+33465710042"}))},
        ),
        (
            {"event_type": "user", "restrict_to": {"user_id": "u-17"}},
            {"event_type": EventType.USER, "restriction": UserRestriction(user_id="u-17")},
        ),
        ({"headers": None}, {"headers": ()}),
        ({"headers": {"x-key": "***", "X-New": "n"}}, {"headers": (("x-key", "k-123"), ("X-New", "n"))}),
        ({"auth": None}, {"auth": None}),
        (
            {"auth": {"type": "basic", "username": "u", "password": "p"}},
            {"auth": BasicAuth(username="u", password="p")},
        ),
        ({"auth": None, "headers": {"Authorization": "x"}}, {"auth": None, "headers": (("Authorization", "x"),)}),
        ({"client_certificate": PEMS}, {"client_certificate": CERTIFICATE}),
    ],
)
def test_what_is_touched_becomes_what_was_meant(wanted: dict[str, Any], result: dict[str, Any]) -> None:
    planned = plan(**wanted)

    assert planned.after == replace(CRM, **result)
    assert set(planned.changed) == set(wanted)


@pytest.mark.parametrize(
    "wanted",
    [
        {},
        {"name": "CRM", "enabled": True, "event_type": "call"},
        {"url": "HTTPS://crm.example.com:443/hook"},
        {"restrict_to": {"tracking_numbers": ["01 99 00 12 34", "+33199001234"]}},
        {"headers": {"X-Key": "***", "X-Team": "***"}},
        {"headers": {"X-Key": "k-123", "X-Team": "sales"}},
        {"auth": {"type": "bearer", "token": "t"}},
        {"client_certificate": None},
    ],
)
def test_what_is_like_that_already_is_no_change(wanted: dict[str, Any]) -> None:
    assert plan(**wanted).changed == ()


def test_numbers_are_read_as_dialled_in_the_country() -> None:
    assert plan(country="BE", restrict_to={"tracking_numbers": ["02 555 12 12"]}).after.restriction == (
        TrackingNumberRestriction(numbers=frozenset({"+3225551212"}))
    )


@pytest.mark.parametrize(
    ("wanted", "field", "rule"),
    [
        ({"name": None}, "name", "must have 1 to 200"),
        ({"name": " "}, "name", "must have 1 to 200"),
        ({"url": None}, "url", "must be a string"),
        ({"url": "https://127.0.0.1/"}, "url", "not public"),
        ({"event_type": None}, "event_type", "must be call, cdr or user"),
        ({"enabled": None}, "enabled", "must be true or false"),
        ({"event_type": "user"}, "restrict_to.tracking_numbers", "goes with call and cdr"),
        ({"restrict_to": {"user_id": "u-17"}}, "restrict_to.user_id", "goes with user"),
        ({"restrict_to": {}}, "restrict_to", "must be null"),
        ({"restrict_to": {"tracking_numbers": ["0199001234", "12"]}}, "restrict_to.tracking_numbers[1]", "no phone"),
        (
            {"restrict_to": {"tracking_numbers": ["0199001234"] * (MAX_TRACKING_NUMBERS + 1)}},
            "restrict_to.tracking_numbers",
            "at most 10000",
        ),
        ({"headers": {"Host": "x"}}, "headers", "host cannot be set"),
        ({"headers": {"X-Unknown": "***"}}, "headers", "x-unknown has none"),
        ({"headers": {"Authorization": "x"}}, "auth", "beside a header authorization"),
        ({"auth": {"type": "basic", "username": "u"}}, "auth", "password"),
        (
            {"auth": {"type": "oauth2", "token_url": "https://10.0.0.1/", "client_id": "c", "client_secret": "hush"}},
            "auth.token_url",
            "not public",
        ),
        ({"client_certificate": {"certificate": "hush", "key": "hush"}}, "client_certificate", "PEM"),
    ],
)
def test_a_broken_rule_is_named_with_its_field(wanted: dict[str, Any], field: str, rule: str) -> None:
    with pytest.raises(InvalidInput, match=rule) as caught:
        plan(**wanted)

    assert caught.value.field == field
    assert "hush" not in str(caught.value)


def test_a_url_without_tls_does_not_go_with_a_certificate() -> None:
    webhook = replace(CRM, client_certificate=CERTIFICATE)

    with pytest.raises(InvalidInput, match=r"^client_certificate: goes with an https URL"):
        plan_edit(
            webhook,
            WebhookEdit(url="http://crm.example.com/"),
            country="FR",
            egress=EgressPolicy(require_https=False),
            now=NOW,
        )


def test_a_certificate_that_has_expired_is_not_taken_and_one_that_is_there_may_stay() -> None:
    assert CERTIFICATE is not None
    expired = CERTIFICATE.not_after + timedelta(seconds=1)

    with pytest.raises(InvalidInput, match="expired"):
        plan(now=expired, client_certificate=PEMS)
    assert plan(replace(CRM, client_certificate=CERTIFICATE), now=expired, name="x").changed == ("name",)


def test_a_url_that_the_policy_refuses_today_may_stay() -> None:
    inside = replace(CRM, url="http://127.0.0.1/")

    assert plan(inside, name="x").changed == ("name",)
    with pytest.raises(NotAllowed):
        plan(inside, url="http://127.0.0.1/")


def test_headers_that_stay_count_toward_the_bound() -> None:
    value = "v" * MAX_HEADER_VALUE_LENGTH
    stored = tuple((f"X-{number}", value) for number in range(3))
    kept = {name: "***" for name, _ in stored}
    rest = MAX_HEADERS_LENGTH - sum(len(name) + len(text) for name, text in stored) - len("X-New")
    webhook = replace(CRM, headers=stored)

    assert plan(webhook, headers={**kept, "X-New": "n" * rest}).changed == ("headers",)
    with pytest.raises(InvalidInput, match="together"):
        plan(webhook, headers={**kept, "X-New": "n" * (rest + 1)})


# --- what a back office wrote wrongly --------------------------------------------------------------


@pytest.mark.parametrize(
    ("wrong", "stored", "wanted"),
    [
        ("url", {"url": "crm.example.com"}, {"url": "https://crm.example.com/hook"}),
        ("enabled", {"enabled": False}, {"enabled": False}),
        ("restrict_to", {"restriction": None}, {"restrict_to": None}),
        ("event_type", {"event_type": None, "restriction": None}, {"event_type": "user"}),
        ("headers", {"headers": ()}, {"headers": None}),
        ("auth", {"auth": None}, {"auth": None}),
    ],
)
def test_a_wrong_field_is_mended_even_by_what_it_was_taken_for(
    wrong: str, stored: dict[str, Any], wanted: dict[str, Any]
) -> None:
    webhook = replace(CRM, **stored, wrong=frozenset({wrong}), problem=f"{wrong}: is wrong")

    assert plan(webhook, **wanted).changed == (wrong,)


def test_one_wrong_field_does_not_keep_another_from_being_mended() -> None:
    webhook = replace(CRM, url="crm.example.com", event_type=None, wrong=frozenset({"url", "event_type"}))

    assert plan(webhook, event_type="cdr").changed == ("event_type",)
    assert plan(webhook, name="x").changed == ("name",)


def test_a_header_that_cannot_be_read_cannot_be_kept() -> None:
    webhook = replace(CRM, headers=(("X-Key", ""),), wrong=frozenset({"headers"}))

    with pytest.raises(InvalidInput, match="x-key has none that can be read"):
        plan(webhook, headers={"X-Key": "***"})


@pytest.mark.parametrize(("enabled", "changed"), [(True, ()), (False, ("enabled",))])
def test_a_switch_changes_what_is_not_so(enabled: bool, changed: tuple[str, ...]) -> None:
    assert plan_switch(CRM, enabled=enabled).changed == changed
    assert plan_switch(replace(CRM, wrong=frozenset({"enabled"})), enabled=enabled).changed == ("enabled",)


def test_values_are_not_in_the_repr() -> None:
    wanted = WebhookEdit(headers={"X-Key": "hush"}, auth={"token": "hush"}, client_certificate={"key": "hush"})

    assert "hush" not in repr(wanted)
