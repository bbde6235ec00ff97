"""Who sees which page: every page of the catalogue without a session, with each scope, and for another account. A new
page without a case fails here.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Final

import pytest

from router.domain.principal import Scope
from router.ports import StoredAccount
from router.web.console.catalogue import PAGES
from tests.support.api import Surroundings
from tests.support.console import Browser, console
from tests.support.samples import ACCOUNT, dead_letter, delivery, event, replay, webhook
from tests.support.stored import StoredThings
from tests.support.tokens import store_token

OTHER: Final = "77"
"""An account that has nothing."""


@dataclass(frozen=True, kw_only=True)
class Case:
    """One page asked for what account 1042 has. `others` is what a token of another account gets: a 404, or a page
    without anything of 1042's."""

    target: str
    form: Mapping[str, str] = field(default_factory=dict)
    status: int = 200
    others: int = 404


HOOK: Final = {"account_id": "1042", "name": "Secret-1042", "url": "https://crm.example.com/", "event_type": "call"}
CASES: Final[Mapping[str, Case]] = {
    "GET /webhooks": Case(target="/webhooks?account=1042", others=200),
    "GET /webhooks/new": Case(target="/webhooks/new?account=1042", others=200),
    "POST /webhooks/new": Case(target="/webhooks/new", form=HOOK),
    "GET /webhooks/{id}": Case(target="/webhooks/wh_crm"),
    "GET /webhooks/{id}/edit": Case(target="/webhooks/wh_crm/edit"),
    "POST /webhooks/{id}/edit": Case(target="/webhooks/wh_crm/edit", form=HOOK, status=409),
    "POST /webhooks/{id}/pause": Case(target="/webhooks/wh_crm/pause", status=303),
    "POST /webhooks/{id}/resume": Case(target="/webhooks/wh_crm/resume", status=303),
    "GET /webhooks/{id}/delete": Case(target="/webhooks/wh_crm/delete"),
    "POST /webhooks/{id}/delete": Case(target="/webhooks/wh_crm/delete", status=303),
    "GET /webhooks/{id}/rotate": Case(target="/webhooks/wh_crm/rotate"),
    "POST /webhooks/{id}/rotate": Case(target="/webhooks/wh_crm/rotate", form={"overlap": "0"}),
    "POST /webhooks/{id}/test": Case(target="/webhooks/wh_crm/test", status=303),
    "GET /accounts/{id}/switch-off": Case(target="/accounts/1042/switch-off"),
    "POST /accounts/{id}/switch": Case(target="/accounts/1042/switch", form={"enabled": "false"}, status=303),
    "GET /webhooks/{id}/deliveries": Case(target="/webhooks/wh_crm/deliveries"),
    "GET /deliveries": Case(target="/deliveries?account=1042", others=200),
    "GET /deliveries.csv": Case(target="/deliveries.csv?account=1042", others=200),
    "GET /deliveries/{id}": Case(target="/deliveries/dlv_1"),
    "GET /deliveries/{id}/payload": Case(target="/deliveries/dlv_1/payload"),
    "GET /deliveries/{id}/replay": Case(target="/deliveries/dlv_1/replay"),
    "POST /deliveries/{id}/replay": Case(target="/deliveries/dlv_1/replay", status=303),
    "GET /calls/{call_id}": Case(target="/calls/call-1?account=1042"),
    "GET /events/{id}": Case(target="/events/evt-1?account=1042"),
    "GET /events/{id}/payload": Case(target="/events/evt-1/payload?account=1042"),
    "GET /search": Case(target="/search?q=wh_crm&account=1042", status=303, others=200),
    "GET /replays": Case(target="/replays?account=1042", others=200),
    "GET /replays/new": Case(target="/replays/new?account=1042", others=200),
    "POST /replays/new": Case(target="/replays/new", form={"account_id": "1042"}, status=303, others=400),
    "GET /replays/{id}": Case(target="/replays/rpl_1"),
    "POST /replays/{id}/cancel": Case(target="/replays/rpl_1/cancel", status=303),
    "POST /replays/selection": Case(target="/replays/selection", form={"id": "dlv_1"}, others=200),
    "GET /health": Case(target="/health"),
    "GET /dead-letters": Case(target="/dead-letters"),
    "GET /dead-letters/{id}": Case(target="/dead-letters/dl_1"),
    "GET /dead-letters/{id}/body": Case(target="/dead-letters/dl_1/body"),
    "POST /dead-letters/{id}/requeue": Case(target="/dead-letters/dl_1/requeue", status=303),
}
ROUTES: Final = {f"{route.method} {route.path}": route for route in PAGES}
pages = pytest.mark.parametrize("page", sorted(CASES))


@pytest.fixture(autouse=True)
def things(stored: StoredThings) -> None:
    """What account 1042 has."""
    stored.add_account(StoredAccount(id=ACCOUNT, webhooks_enabled=True))
    stored.add_webhook(webhook("wh_crm", name="Secret-1042"))
    stored.add_dead_letter(dead_letter())
    stored.add_replay(replay())
    happened = event("evt-1", matched=["wh_crm"], call_id="call-1", payload=b'{"a": "Secret-1042"}')
    stored.add_event(happened)
    stored.add_delivery(delivery(happened, "wh_crm", id="dlv_1"), happened.key)


async def ask(browser: Browser, page: str) -> tuple[int, str]:
    case = CASES[page]
    if ROUTES[page].method == "GET":
        screen = await browser.get(case.target)
    else:
        # A form's token is on every page of the session.
        await browser.get("/nope/nope")
        await browser.get("/webhooks")
        screen = await browser.post(case.target, case.form)
    return screen.status, screen.html


def test_every_page_has_its_case() -> None:
    assert CASES.keys() == ROUTES.keys()


@pages
async def test_nobody_gets_in_without_a_session(surroundings: Surroundings, page: str) -> None:
    async with console(surroundings) as browser:
        status, html = await ask(browser, page)
        assert status == (303 if ROUTES[page].method == "GET" else 401)
        assert "wh_crm" not in html.replace(CASES[page].target, "")


@pages
async def test_the_scope_of_the_page_is_needed(surroundings: Surroundings, page: str) -> None:
    scope = ROUTES[page].scope
    enough = await store_token(surroundings.tokens, Scope.READ, scope)
    # Whoever may manage cannot read by that alone; the form's token is on an error page too.
    too_little = await store_token(surroundings.tokens, *({Scope.READ, Scope.MANAGE, Scope.REPLAY} - {scope}))
    async with console(surroundings) as browser:
        await browser.sign_in(too_little.text)
        assert (await ask(browser, page))[0] == 403
        await browser.sign_in(enough.text)
        assert (await ask(browser, page))[0] == CASES[page].status


@pages
async def test_another_account_is_not_there(surroundings: Surroundings, stored: StoredThings, page: str) -> None:
    before = list(stored.database["webhooks"].find())
    other = await store_token(surroundings.tokens, account=OTHER)
    async with console(surroundings) as browser:
        await browser.sign_in(other.text)
        status, html = await ask(browser, page)
    assert status == CASES[page].others
    assert "Secret-1042" not in html.replace(CASES[page].form.get("name", "\0"), "")
    assert list(stored.database["webhooks"].find()) == before
    assert stored.database["accounts"].find_one({"_id": "1042"})["webhooks_enabled"] is True  # type: ignore[index]


async def test_a_token_of_one_account_need_not_name_it(surroundings: Surroundings) -> None:
    own = await store_token(surroundings.tokens, account=ACCOUNT)
    async with console(surroundings) as browser:
        await browser.sign_in(own.text)
        screen = await browser.get("/webhooks?account=77")
        assert screen.heading == "Webhooks du compte 1042"
        assert "Secret-1042" in screen.text
        assert "Tous les comptes" not in screen.text


async def test_who_may_only_read_sees_no_buttons(surroundings: Surroundings) -> None:
    reader = await store_token(surroundings.tokens, Scope.READ)
    async with console(surroundings) as browser:
        await browser.sign_in(reader.text)
        for target in ("/webhooks?account=1042", "/webhooks/wh_crm"):
            screen = await browser.get(target)
            assert screen.html.count('method="post"') == 1, "to sign out"
            assert not {"Modifier", "Supprimer", "Ajouter", "Désactiver"} & set(screen.text.split())
