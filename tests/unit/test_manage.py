"""What administrators do with accounts and webhooks: what is checked, and what is written."""

from collections.abc import Callable
from dataclasses import replace
from datetime import timedelta

import pytest

from router.application import manage
from router.application.manage import WebhookDraft
from router.domain.egress import EgressPolicy
from router.domain.errors import InvalidInput
from router.domain.event import EventType
from router.domain.signing import Secret, parse_secret
from router.domain.webhook import (
    TrackingNumberRestriction,
    UserRestriction,
    WebhookId,
    WebhookState,
)
from tests.support.fakes_manage import NOW, FakeStore, auditor

DRAFT = WebhookDraft(account_id="1042", name="CRM", url="https://crm.example.com/hook", event_type="call")
LATER = NOW + timedelta(hours=1)


def counting() -> Callable[[int], bytes]:
    """Randomness that a test can foresee: 0, 1, 2, …, going on from draw to draw."""
    drawn = 0

    def draw(size: int) -> bytes:
        nonlocal drawn
        drawn += size
        return bytes(byte % 256 for byte in range(drawn - size, drawn))

    return draw


async def add(store: FakeStore, draft: WebhookDraft = DRAFT) -> manage.NewWebhook:
    return await manage.add_webhook(
        store.registry,
        draft,
        country="FR",
        egress=EgressPolicy(),
        randomness=counting(),
        now=NOW,
        audit=auditor(store.audit),
    )


# --- adding a webhook ------------------------------------------------------------------------------


async def test_a_new_webhook_is_active_and_signs_with_its_own_secret() -> None:
    store = FakeStore()

    new = await add(store)

    assert new.webhook.id == "wh_eaqseizeeutcokbjfivsyljo"
    assert new.secret == "whsec_AAECAwQFBgcICQoLDA0ODxAREhMUFRYXGBkaGxwdHh8="
    assert new.webhook.secrets == (Secret(parse_secret(new.secret)),)
    assert new.webhook.state is WebhookState.ACTIVE
    assert (new.webhook.created_at, new.webhook.updated_at) == (NOW, NOW)
    assert store.definitions == {new.webhook.id: new.webhook}
    assert store.secrets == {new.webhook.id: new.secret}


async def test_no_two_webhooks_share_an_id_or_a_secret() -> None:
    store, randomness = FakeStore(), counting()

    for _ in range(3):
        await manage.add_webhook(
            store.registry,
            DRAFT,
            country="FR",
            egress=EgressPolicy(),
            randomness=randomness,
            now=NOW,
            audit=auditor(store.audit),
        )

    assert len(store.definitions) == 3
    assert len(set(store.secrets.values())) == 3


async def test_the_secret_is_not_in_the_repr() -> None:
    new = await add(FakeStore())

    assert new.secret not in repr(new)
    assert repr(new.webhook.secrets) not in repr(new)


async def test_numbers_are_stored_in_e164() -> None:
    draft = replace(DRAFT, restrict_to={"tracking_numbers": ("01 99 00 12 34", "0033199001234", "+33465710042")})

    new = await add(FakeStore(), draft)

    assert new.webhook.restriction == TrackingNumberRestriction(numbers=frozenset({"+33199001234", "+33465710042"}))


async def test_everything_else_is_as_it_was_asked_for() -> None:
    draft = WebhookDraft(
        account_id=1042,
        name=" Audit ",
        url="https://audit.example.com/",
        event_type="user",
        enabled=False,
        restrict_to={"user_id": "u-17"},
        headers={"X-Team": "security"},
        id="wh_audit",
    )

    webhook = (await add(FakeStore(), draft)).webhook

    assert (webhook.id, webhook.account_id, webhook.name) == ("wh_audit", "1042", "Audit")
    assert webhook.event_type is EventType.USER
    assert webhook.restriction == UserRestriction(user_id="u-17")
    assert webhook.headers == (("X-Team", "security"),)
    assert webhook.state is WebhookState.PAUSED


@pytest.mark.parametrize(
    ("draft", "field"),
    [
        (replace(DRAFT, account_id=""), "account_id"),
        (replace(DRAFT, account_id="1042 "), "account_id"),
        (replace(DRAFT, name=" "), "name"),
        (replace(DRAFT, url="crm.example.com"), "url"),
        (replace(DRAFT, event_type="fax"), "event_type"),
        (replace(DRAFT, enabled="yes"), "enabled"),
        (replace(DRAFT, restrict_to={"user_id": "u-17"}), "restrict_to.user_id"),
        (replace(DRAFT, restrict_to={"tracking_numbers": ["12"]}), "restrict_to.tracking_numbers[0]"),
        (replace(DRAFT, headers={"Host": "x"}), "headers"),
        (replace(DRAFT, id="a b"), "id"),
    ],
)
async def test_a_broken_rule_names_its_field_and_writes_nothing(draft: WebhookDraft, field: str) -> None:
    store = FakeStore()

    with pytest.raises(InvalidInput) as caught:
        await add(store, draft)
    assert caught.value.field == field
    assert not store.definitions


async def test_an_id_that_is_taken_is_refused() -> None:
    store = FakeStore()
    await add(store, replace(DRAFT, id="wh_crm"))

    with pytest.raises(InvalidInput, match=r"^id: "):
        await add(store, replace(DRAFT, id="wh_crm", name="Another"))
    assert store.definitions[WebhookId("wh_crm")].name == "CRM"
