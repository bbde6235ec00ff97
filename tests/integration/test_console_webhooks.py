"""The pages of webhooks over real HTTP: what they show, what their forms do, and what they say is wrong."""

from __future__ import annotations

import re
import secrets
from collections.abc import AsyncIterator
from datetime import timedelta
from typing import Any

import pytest

from router.adapters.mongo.indexes import AUDIT, DELIVERIES, WEBHOOKS
from router.domain.delivery import Attempt, AttemptError, DeliveryStatus, Trigger
from router.domain.event import EventType
from router.domain.webhook import Suspension, SuspensionReason, TrackingNumberRestriction, UserRestriction
from router.ports import StoredAccount
from tests.support.api import Surroundings
from tests.support.console import Browser, Screen, console
from tests.support.samples import ACCOUNT, NOON, at, delivery, event, webhook
from tests.support.stored import StoredThings

NEW = {
    "webhook_id": "wh_form",
    "account_id": "1042",
    "name": "CRM",
    "url": "https://crm.example.com/hooks",
    "event_type": "call",
    "tracking_numbers": "01 99 00 12 34\n0033199005678; +33 1 99 00 99 99",
    "user_id": "",
    "enabled": "on",
    "headers": "X-Api-Key: k-123\nX-Tenant: 42",
}


@pytest.fixture
async def staff(surroundings: Surroundings) -> AsyncIterator[Browser]:
    """A browser, signed in, in front of a console that draws real secrets."""
    surroundings.randomness = secrets.token_bytes
    async with console(surroundings) as opened:
        await opened.sign_in()
        yield opened


def definition(stored: StoredThings, webhook_id: str = "wh_form") -> dict[str, Any] | None:
    return stored.database[WEBHOOKS].find_one({"_id": webhook_id})


def actions(stored: StoredThings) -> list[str]:
    return [entry["action"] for entry in stored.database[AUDIT].find() if entry["action"] != "session.opened"]


# --- the list --------------------------------------------------------------------------------------


async def test_an_account_without_webhooks_learns_what_one_is(staff: Browser) -> None:
    screen = await staff.get("/webhooks?account=1042")
    assert "Pas encore de webhook" in screen.text
    assert 'href="/webhooks/new?account=1042"' in screen.html
    assert "Webhooks désactivés" in screen.text


async def test_the_list_says_what_each_webhook_does(staff: Browser, stored: StoredThings) -> None:
    stored.add_webhook(
        webhook(
            "wh_a",
            name="Accueil",
            restriction=TrackingNumberRestriction(numbers=frozenset({"+33199001234", "+33199005678"})),
        )
    )
    stored.add_webhook(
        webhook("wh_b", name="Annuaire", event_type=EventType.USER, restriction=UserRestriction(user_id="u-17"))
    )
    stored.add_webhook(webhook("wh_c", name="Archives", event_type=EventType.CDR, enabled=False))
    stored.add_webhook(
        webhook("wh_d", name="Ancien", suspension=Suspension(since=at(-60), reason=SuspensionReason.GONE))
    )
    stored.add_definition(
        {
            "_id": "wh_e",
            "account_id": "1042",
            "name": "Faux",
            "url": "https://x.example/",
            "event_type": "sms",
            "enabled": True,
        }
    )
    screen = await staff.get("/webhooks?account=1042")
    for words in (
        "Accueil https://crm.example.com/hooks Appel 2 numéros de suivi Actif",
        "Annuaire https://crm.example.com/hooks Utilisateur utilisateur u-17 Actif",
        "Archives https://crm.example.com/hooks Compte rendu d’appel (CDR) sans restriction En pause",
        "Ancien https://crm.example.com/hooks Appel sans restriction Suspendu depuis 1 mars 12:59:00",
        "Faux https://x.example/ – sans restriction Définition fausse",
        "5 au total",
    ):
        assert words in screen.text, words


async def test_the_last_day_is_a_small_bar_and_a_sentence(staff: Browser, stored: StoredThings) -> None:
    stored.add_webhook(webhook())
    for number, (hours, status) in enumerate([(0.5, "delivered"), (1, "failed"), (5, "delivered"), (30, "failed")]):
        happened = event(f"evt-{number}", matched=["wh_crm"])
        made = delivery(happened, status=DeliveryStatus(status), created_at=NOON - timedelta(hours=hours))
        stored.add_delivery(made, happened.key)
    screen = await staff.get("/webhooks?account=1042")
    assert "<title>Dernières 24 heures\u00a0: 2 réussies ou en attente, 1 échouées</title>" in screen.html
    assert 'aria-label="4 livraisons de CRM"' in screen.html


async def test_the_list_is_filtered_and_paged(staff: Browser, stored: StoredThings) -> None:
    for number in range(52):
        stored.add_webhook(webhook(f"wh_{number:02}", name=f"W{number:02}", created_at=at(number), enabled=number != 7))
    first = await staff.get("/webhooks?account=1042")
    (older,) = [part.partition('"')[0] for part in first.html.split('href="') if "cursor=" in part.partition('"')[0]]
    second = await staff.get(older.replace("&amp;", "&"))
    assert ("W51" in first.text, "W01" in first.text, "W01" in second.text) == (True, False, True)
    paused = await staff.get("/webhooks?account=1042&state=paused&event_type=")
    assert "W07" in paused.text
    assert "W08" not in paused.text
    none = await staff.get("/webhooks?account=1042&event_type=user")
    assert "Aucun webhook ne correspond à ce filtre" in none.text


@pytest.mark.parametrize(
    "target", ["/webhooks?state=nonsense", "/webhooks?cursor=x", "/webhooks?state=active&state=paused"]
)
async def test_a_wrong_address_is_a_page_that_helps(staff: Browser, target: str) -> None:
    screen = await staff.get(target)
    assert (screen.status, screen.heading) == (400, "Cette requête est illisible")


# --- the account's switch --------------------------------------------------------------------------


async def test_the_switch_is_off_until_somebody_switches_it_on(staff: Browser, stored: StoredThings) -> None:
    await staff.get("/webhooks?account=1042")
    screen = await staff.follow(await staff.post("/accounts/1042/switch", {"enabled": "true"}))
    assert "Les webhooks du compte 1042 sont activés." in screen.text
    assert stored.database["accounts"].find_one({"_id": "1042"})["webhooks_enabled"] is True  # type: ignore[index]
    asked = await staff.get("/accounts/1042/switch-off")
    assert "Rien n’est envoyé pour ce compte" in asked.text
    await staff.post("/accounts/1042/switch", {"enabled": asked.value("enabled")})
    assert stored.database["accounts"].find_one({"_id": "1042"})["webhooks_enabled"] is False  # type: ignore[index]
    assert actions(stored) == ["account.switched", "account.switched"]


# --- adding ----------------------------------------------------------------------------------------


async def test_a_new_webhook_shows_its_secret_for_the_only_time(staff: Browser, stored: StoredThings) -> None:
    form = await staff.get("/webhooks/new?account=1042")
    assert form.value("account_id") == "1042"
    screen = await staff.post("/webhooks/new", NEW)
    assert (screen.status, screen.heading) == (200, "CRM est ajouté")
    kept = definition(stored)
    assert kept is not None
    assert kept["restrict_to"] == {"tracking_numbers": ["+33199001234", "+33199005678", "+33199009999"]}
    assert kept["headers"] == {"X-Api-Key": "k-123", "X-Tenant": "42"}
    assert isinstance(kept["secret"], str)
    assert kept["secret"] in screen.text
    assert kept["secret"] not in (await staff.get("/webhooks/wh_form")).html
    assert actions(stored) == ["webhook.created"]


async def test_a_form_that_is_sent_twice_makes_one_webhook(staff: Browser, stored: StoredThings) -> None:
    await staff.get("/webhooks/new")
    await staff.post("/webhooks/new", NEW)
    again = await staff.follow(await staff.post("/webhooks/new", NEW))
    assert "Ce webhook a déjà été ajouté." in again.text
    assert stored.database[WEBHOOKS].count_documents({}) == 1


WRONG = [
    ({"name": "  "}, "name", "doit compter de 1 à 200 caractères", "must have 1 to 200 characters"),
    ({"name": "x" * 201}, "name", "doit compter de 1 à 200 caractères", "must have 1 to 200 characters"),
    ({"account_id": ""}, "account_id", "ne doit pas être vide", "must be a string that is not empty"),
    ({"event_type": ""}, "event_type", "doit être appel, CDR ou utilisateur", "must be call, cdr or user"),
    ({"url": ""}, "url", "une URL compte de 1 à 2048 caractères", "a URL has 1 to 2048 characters"),
    ({"url": "http://crm.example.com/"}, "url", "l’URL n’est pas en https", "the URL is not https"),
    ({"url": "https://10.0.0.1/"}, "url", "l’adresse n’est pas publique", "the address is not public"),
    ({"url": "https://localhost/"}, "url", "ce nom mène à un réseau privé", "the name leads into a private network"),
    ({"url": "https://crm.example.com:22/"}, "url", "le port 22 n’est jamais appelé", "port 22 is never dialled"),
    ({"url": "javascript:alert(1)"}, "url", "une URL commence par https://", "a URL begins with https://"),
    ({"url": "https://u:p@crm.example.com/"}, "url", "une URL ne doit contenir ni nom", "a URL must not hold a user"),
    ({"tracking_numbers": "0199001234\n12"}, "tracking_numbers", "«\u202f12\u202f» n’est pas", "“12” is no phone"),
    ({"event_type": "user"}, "tracking_numbers", "va avec les types appel et CDR", "goes with call and cdr"),
    ({"user_id": "u-17"}, "user_id", "va avec le type utilisateur", "goes with user"),
    ({"headers": "no colon"}, "headers", "chaque ligne doit être un nom", "each line must be a name"),
    ({"headers": "Host: x"}, "headers", "host ne peut pas être défini", "host cannot be set"),
    ({"headers": "X-A: 1\nX-A: 2"}, "headers", "x-a figure deux fois", "x-a is there twice"),
    ({"headers": "X-A: é"}, "headers", "la valeur de x-a doit être en ASCII", "the value of x-a must be plain ASCII"),
]  # fmt: skip


@pytest.mark.parametrize(("changes", "field", "french", "english"), WRONG)
async def test_what_is_wrong_is_said_beside_the_field(
    staff: Browser, stored: StoredThings, changes: dict[str, str], field: str, french: str, english: str
) -> None:
    await staff.get("/webhooks/new")
    typed = {**NEW, **changes}
    for language, told in (("fr", french), ("en", english)):
        screen = await staff.post(f"/webhooks/new?lang={language}", typed)
        assert screen.status == 400
        assert screen.error(field).startswith(told)
        assert re.search(rf'aria-describedby="[^"]*\b{field}-error"', screen.html)
        for name in {"name", "url"} - {field}:
            assert screen.value(name) == typed[name]
        assert ("X-Tenant: 42" in screen.html) is ("headers" not in changes)
    assert stored.database[WEBHOOKS].count_documents({}) == 0
    assert actions(stored) == []


async def test_all_that_is_wrong_is_said_at_once(staff: Browser) -> None:
    await staff.get("/webhooks/new")
    screen = await staff.post("/webhooks/new", {"event_type": "call", "user_id": "u-1", "tracking_numbers": "x"})
    assert {name for name in ("account_id", "name", "url", "tracking_numbers", "user_id") if screen.error(name)}
    assert "5 champs sont à corriger" in screen.text


async def test_hostile_input_comes_back_as_text(staff: Browser) -> None:
    await staff.get("/webhooks/new")
    hostile = '"><script>alert(1)</script>\u202e'
    screen = await staff.post("/webhooks/new", {**NEW, "name": hostile, "url": hostile, "headers": hostile})
    assert "<script>alert" not in screen.html
    assert screen.value("name") == hostile


# --- editing ---------------------------------------------------------------------------------------


async def edited(staff: Browser, webhook_id: str, **changes: str) -> Screen:
    """The form of a webhook, sent with changes."""
    form = await staff.get(f"/webhooks/{webhook_id}/edit")
    typed = {
        "version": form.value("version"),
        "account_id": "1042",
        "name": form.value("name"),
        "url": form.value("url"),
        "event_type": "call",
        "enabled": "on",
        **changes,
    }
    return await staff.post(f"/webhooks/{webhook_id}/edit", typed)


async def test_only_what_was_touched_is_changed(staff: Browser, stored: StoredThings) -> None:
    # Right when it was written, and not by today's policy.
    stored.add_webhook(webhook(url="http://crm.example.com/old"))
    screen = await staff.follow(await edited(staff, "wh_crm", name="Standard"))
    assert "Le webhook est enregistré." in screen.text
    kept = definition(stored, "wh_crm")
    assert kept is not None
    assert (kept["name"], kept["url"]) == ("Standard", "http://crm.example.com/old")
    assert actions(stored) == ["webhook.edited"]
    assert "Rien n’a été modifié." in (await staff.follow(await edited(staff, "wh_crm"))).text


async def test_stored_headers_stay_and_are_not_shown(staff: Browser, stored: StoredThings) -> None:
    await staff.get("/webhooks/new")
    await staff.post("/webhooks/new", NEW)
    form = await staff.get("/webhooks/wh_form/edit")
    assert "k-123" not in form.html
    assert "X-Api-Key: ***\nX-Tenant: ***" in form.html
    headers = "X-Api-Key: ***\nX-Other: new"
    await edited(staff, "wh_form", headers=headers, tracking_numbers="0199001234")
    kept = definition(stored)
    assert kept is not None
    assert kept["headers"] == {"X-Api-Key": "k-123", "X-Other": "new"}
    assert kept["restrict_to"] == {"tracking_numbers": ["+33199001234"]}


async def test_what_somebody_else_has_changed_is_not_overwritten_unseen(staff: Browser, stored: StoredThings) -> None:
    stored.add_webhook(webhook())
    form = await staff.get("/webhooks/wh_crm/edit")
    stored.database[WEBHOOKS].update_one({"_id": "wh_crm"}, {"$set": {"url": "https://other.example/"}})
    typed = {
        "version": form.value("version"),
        "name": "Mine",
        "url": form.value("url"),
        "event_type": "call",
        "enabled": "on",
        "account_id": "1042",
    }
    screen = await staff.post("/webhooks/wh_crm/edit", typed)
    assert (screen.status, "Quelqu’un d’autre a modifié ce webhook" in screen.text) == (409, True)
    assert "URL https://other.example/ https://crm.example.com/hooks" in screen.text
    assert screen.value("name") == "Mine"
    assert definition(stored, "wh_crm")["name"] == "CRM"  # type: ignore[index]
    again = await staff.post("/webhooks/wh_crm/edit", {**typed, "version": screen.value("version")})
    assert again.status == 303
    assert definition(stored, "wh_crm")["name"] == "Mine"  # type: ignore[index]


async def test_a_wrong_definition_says_why_and_is_mended(staff: Browser, stored: StoredThings) -> None:
    stored.add_definition(
        {
            "_id": "wh_bad",
            "account_id": "1042",
            "name": "Faux",
            "url": "https://x.example/",
            "event_type": "sms",
            "enabled": True,
        }
    )
    screen = await staff.get("/webhooks/wh_bad")
    assert "Type d’événement\u00a0: doit être appel, CDR ou utilisateur" in screen.text
    screen = await staff.follow(await edited(staff, "wh_bad", event_type="cdr"))
    assert "Actif" in screen.text


# --- states ----------------------------------------------------------------------------------------


async def test_pausing_and_resuming_lead_back_to_where_the_button_was(staff: Browser, stored: StoredThings) -> None:
    stored.add_webhook(webhook())
    await staff.get("/webhooks")
    sent = await staff.post("/webhooks/wh_crm/pause", {"back": "/webhooks?account=1042"})
    assert sent.location == "/webhooks?account=1042"
    assert "Le webhook est en pause." in (await staff.follow(sent)).text
    assert "Le webhook est en pause." not in (await staff.get("/webhooks")).text
    assert (await staff.post("/webhooks/wh_crm/resume", {"back": "//evil.example"})).location == "/"
    assert definition(stored, "wh_crm")["enabled"] is True  # type: ignore[index]
    assert actions(stored) == ["webhook.paused", "webhook.resumed"]


async def test_a_suspension_is_explained_and_ends_with_one_click(staff: Browser, stored: StoredThings) -> None:
    stored.add_webhook(webhook(suspension=Suspension(since=at(-60), reason=SuspensionReason.FAILING)))
    screen = await staff.get("/webhooks/wh_crm")
    assert "Suspendu depuis le 1 mars 12:59:00" in screen.text
    assert "Rien que des échecs depuis des jours" in screen.text
    assert "Faites réparer le serveur du client" in screen.text
    screen = await staff.follow(await staff.post("/webhooks/wh_crm/resume"))
    assert "Le webhook est de nouveau actif." in screen.text
    assert "Suspendu depuis" not in screen.text


async def test_deleting_says_first_what_it_does(staff: Browser, stored: StoredThings) -> None:
    stored.add_webhook(webhook())
    happened = event("evt-1", matched=["wh_crm"])
    stored.add_delivery(delivery(happened, status=DeliveryStatus.PENDING, completed_at=None), happened.key)
    asked = await staff.get("/webhooks/wh_crm/delete")
    assert asked.heading == "Supprimer le webhook «\u202fCRM\u202f»\u202f?"
    assert "1 livraison est en attente\u00a0: elle est annulée." in asked.text
    screen = await staff.follow(await staff.post("/webhooks/wh_crm/delete"))
    assert "Le webhook «\u202fCRM\u202f» est supprimé." in screen.text
    assert definition(stored, "wh_crm") is None
    assert stored.database[DELIVERIES].count_documents({}) == 1
    assert actions(stored) == ["webhook.deleted"]
    assert (await staff.get("/webhooks/wh_crm")).status == 404


async def test_an_account_that_is_off_is_said_on_its_webhooks(staff: Browser, stored: StoredThings) -> None:
    stored.add_webhook(webhook())
    assert "Les webhooks du compte 1042 sont désactivés" in (await staff.get("/webhooks/wh_crm")).text
    stored.add_account(StoredAccount(id=ACCOUNT, webhooks_enabled=True))
    assert "sont désactivés" not in (await staff.get("/webhooks/wh_crm")).text


# --- secrets ---------------------------------------------------------------------------------------


async def test_a_new_secret_is_shown_once_and_the_old_one_signs_on(staff: Browser, stored: StoredThings) -> None:
    await staff.get("/webhooks/new")
    await staff.post("/webhooks/new", NEW)
    assert "habituel ici" in (await staff.get("/webhooks/wh_form/rotate")).text
    screen = await staff.post("/webhooks/wh_form/rotate", {"overlap": "3600"})
    assert screen.heading == "Le nouveau secret de CRM"
    assert "L’ancien secret signe encore à côté pendant 1\u202fh." in screen.text
    kept = definition(stored)
    assert kept is not None
    assert any(
        (isinstance(entry, str) and entry in screen.text) or (isinstance(entry, dict) and entry["value"] in screen.text)
        for entry in kept["secret"]
    )
    page = await staff.get("/webhooks/wh_form")
    assert "Ancien secret (v1), signe jusqu’au 1 mars 14:00:00" in page.text
    assert actions(stored) == ["webhook.created", "webhook.secret_rotated"]


@pytest.mark.parametrize("overlap", ["", "-1", "x", "1e3", "²", "99999999", "9" * 50])
async def test_an_overlap_out_of_bounds_changes_nothing(staff: Browser, stored: StoredThings, overlap: str) -> None:
    stored.add_webhook(webhook())
    await staff.get("/webhooks")
    assert (await staff.post("/webhooks/wh_crm/rotate", {"overlap": overlap})).status == 400
    assert "secret" not in definition(stored, "wh_crm") or definition(stored, "wh_crm")["secret"] is None  # type: ignore[operator, index]


async def test_an_asymmetric_key_shows_its_public_part(staff: Browser, stored: StoredThings) -> None:
    stored.add_webhook(webhook())
    await staff.get("/webhooks")
    screen = await staff.follow(await staff.post("/webhooks/wh_crm/rotate", {"key": "asymmetric"}))
    assert "whpk_" in screen.text
    assert "whsk_" not in screen.html


# --- tests -----------------------------------------------------------------------------------------


def outcome(status_code: int | None, error: AttemptError | None, body: str | None) -> Attempt:
    return Attempt(
        number=1, trigger=Trigger.TEST, started_at=NOON, duration_ms=1_249, status_code=status_code, error=error,
        response_body=body, response_truncated=False,
    )  # fmt: skip


@pytest.mark.parametrize(
    ("attempt", "status", "told"),
    [
        (outcome(204, None, None), DeliveryStatus.DELIVERED, "Le test a été livré Statut 204 en 1,2\u202fs."),
        (
            outcome(500, AttemptError.HTTP_STATUS, "<b>oops</b>\u202e"),
            DeliveryStatus.FAILED,
            "Le test a échoué Statut 500 en 1,2\u202fs. Le serveur a répondu par une erreur. Regardez la réponse",
        ),
        (
            outcome(None, AttemptError.DNS, None),
            DeliveryStatus.FAILED,
            "Le test a échoué Pas de réponse\u202f; abandon après 1,2\u202fs. Le nom du serveur est introuvable. V",
        ),
    ],
)
async def test_what_came_of_a_test_is_shown_at_once(
    staff: Browser, stored: StoredThings, attempt: Attempt, status: DeliveryStatus, told: str
) -> None:
    stored.add_webhook(webhook())
    happened = event("evt-1", matched=["wh_crm"])
    stored.add_delivery(delivery(happened, id="dlv_t", status=status, attempts=(attempt,)), happened.key)
    screen = await staff.get("/webhooks/wh_crm?test=dlv_t")
    assert told in screen.text
    assert "<b>oops" not in screen.html
    assert 'href="/deliveries/dlv_t"' in screen.html


async def test_a_test_that_no_worker_has_sent_yet_is_still_running(
    staff: Browser, stored: StoredThings, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("router.web.console.pages.webhooks.TEST_PATIENCE_SECONDS", 0.3)
    stored.add_webhook(webhook())
    await staff.get("/webhooks/wh_crm")
    screen = await staff.follow(await staff.post("/webhooks/wh_crm/test"))
    assert "Le test est encore en cours" in screen.text
    assert actions(stored) == ["webhook.tested"]


@pytest.mark.parametrize("test", ["dlv_other", "dlv_none", "%00", "a" * 3_000])
async def test_a_test_of_another_webhook_is_not_shown(staff: Browser, stored: StoredThings, test: str) -> None:
    stored.add_webhook(webhook())
    stored.add_webhook(webhook("wh_2"))
    happened = event("evt-1", matched=["wh_2"])
    stored.add_delivery(delivery(happened, "wh_2", id="dlv_other"), happened.key)
    assert "Ce test n’est pas dans le journal" in (await staff.get(f"/webhooks/wh_crm?test={test}")).text
