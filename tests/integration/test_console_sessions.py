"""Sessions of the console over real HTTP: how one begins and ends, and what no other site can do with it."""

from __future__ import annotations

import re
from collections.abc import AsyncIterator
from dataclasses import replace
from datetime import datetime, timedelta

import pytest

from router.adapters.mongo.driver import open_database
from router.adapters.mongo.indexes import AUDIT, SESSIONS
from router.application.limits import Rate
from router.application.token_book import FRESH_SECONDS
from router.domain.principal import Scope
from router.domain.session import IDLE, LONGEST, session_key
from tests.support.api import TOKEN, Surroundings
from tests.support.console import HTML, Browser, console
from tests.support.samples import NOON, at, webhook
from tests.support.stored import StoredThings
from tests.support.tokens import new_token, store_token

SESSION = "__Host-session"
PROTECTED = {
    "Cache-Control": "no-store",
    "Referrer-Policy": "no-referrer",
    "X-Content-Type-Options": "nosniff",
    "X-Frame-Options": "DENY",
    "Cross-Origin-Opener-Policy": "same-origin",
}
POLICY = (
    "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' data:; connect-src 'self'; "
    "form-action 'self'; base-uri 'none'; frame-ancestors 'none'"
)


class Now:
    """The store's time, as the test has it."""

    def __init__(self) -> None:
        self.seconds = 0.0
        self.ticks = 0.0

    def moment(self) -> datetime:
        return at(self.seconds)

    def clock(self) -> float:
        """Monotonic seconds: what the token book forgets its answers by."""
        self.ticks += FRESH_SECONDS
        return self.ticks


@pytest.fixture
def now() -> Now:
    return Now()


@pytest.fixture
async def stranger(surroundings: Surroundings, now: Now) -> AsyncIterator[Browser]:
    """A browser that nobody is signed in with; `now` is its console's time."""
    surroundings.now = now.moment
    surroundings.book_clock = now.clock
    async with console(surroundings) as opened:
        yield opened


# --- beginning -------------------------------------------------------------------------------------


async def test_whoever_is_not_signed_in_is_asked_to(stranger: Browser) -> None:
    assert (await stranger.get("/")).location == "/sign-in"
    screen = await stranger.get("/webhooks?account=1042&cursor=%C3%A9")
    assert (screen.status, screen.location) == (303, "/sign-in?next=%2Fwebhooks%3Faccount%3D1042%26cursor%3D%25C3%25A9")
    assert (await stranger.follow(screen)).heading == "Se connecter"


async def test_signing_in_leads_to_where_it_was_wanted(stranger: Browser) -> None:
    asked = await stranger.follow(await stranger.get("/webhooks?account=1042"))
    sent = await stranger.post("/sign-in", {"token": TOKEN, "next": asked.value("next")})
    screen = await stranger.follow(sent)
    assert (screen.status, screen.heading) == (200, "Webhooks du compte 1042")


async def test_the_cookie_is_for_this_host_over_https_and_for_no_script(stranger: Browser) -> None:
    screen = await stranger.post("/sign-in", {"token": TOKEN, "next": "/"})
    morsel = screen.cookies[SESSION]
    assert (morsel["path"], morsel["samesite"], morsel["domain"]) == ("/", "Lax", "")
    assert morsel["secure"] is True
    assert morsel["httponly"] is True
    assert (morsel["max-age"], morsel["expires"]) == ("", "")


async def test_the_store_has_neither_the_session_nor_the_token(stranger: Browser, stored: StoredThings) -> None:
    await stranger.sign_in()
    (kept,) = stored.database[SESSIONS].find()
    assert kept["_id"] == session_key(stranger.cookies[SESSION])
    assert stranger.cookies[SESSION] not in str(kept)
    assert TOKEN not in str(kept)
    assert kept["expire_at"].replace(tzinfo=NOON.tzinfo) == NOON + IDLE


@pytest.mark.parametrize(
    ("token", "status", "told"),
    [
        ("", 400, "Saisissez un jeton."),
        ("n0t-it", 401, "Ce jeton est inconnu."),
        ("whr_" + "x" * 2_000, 400, "Ce jeton est inconnu."),
    ],
)
async def test_a_wrong_token_is_told_beside_its_field(stranger: Browser, token: str, status: int, told: str) -> None:
    screen = await stranger.post("/sign-in", {"token": token, "next": "/webhooks?account=1042"})
    assert screen.status == status
    assert screen.error("token").startswith(told)
    assert screen.value("next") == "/webhooks?account=1042"
    assert SESSION not in screen.cookies
    assert not token or token not in screen.html


async def test_a_token_that_is_over_is_told_to_who_has_it(stranger: Browser, surroundings: Surroundings) -> None:
    expired = await store_token(surroundings.tokens, expires_at=at(-1))
    revoked = await store_token(surroundings.tokens, revoked_at=at(-1))
    assert (await stranger.post("/sign-in", {"token": expired.text})).error("token").startswith("Ce jeton a expiré.")
    assert (
        (await stranger.post("/sign-in", {"token": revoked.text})).error("token").startswith("Ce jeton a été révoqué")
    )


async def test_guessing_tokens_is_slowed_down(surroundings: Surroundings) -> None:
    surroundings.rate = Rate(per_second=1, burst=20)  # of which a tenth may fail
    surroundings.clock = lambda: 0.0
    async with console(surroundings) as browser:
        statuses = [(await browser.post("/sign-in", {"token": new_token().text})).status for _ in range(3)]
        assert statuses == [401, 401, 429]
        screen = await browser.post("/sign-in", {"token": TOKEN})
        assert (screen.status, screen.heading) == (429, "Trop de requêtes")
        assert int(screen.headers["Retry-After"]) >= 1
    assert surroundings.denied == ["unknown", "unknown", "failures", "failures"]


async def test_who_signs_in_gets_a_new_session_and_the_old_one_ends(stranger: Browser) -> None:
    await stranger.sign_in()
    old = dict(stranger.cookies)
    await stranger.sign_in()
    assert stranger.cookies[SESSION] != old[SESSION]
    stranger.cookies = old
    assert (await stranger.get("/webhooks")).status == 303


async def test_a_session_that_somebody_made_up_is_none(stranger: Browser) -> None:
    for text in ("x", "A" * 43, "é", "A" * 5_000):
        stranger.cookies = {SESSION: text.encode().decode("latin-1")}
        assert (await stranger.get("/webhooks")).status == 303


async def test_a_browser_that_keeps_no_cookie_is_told_why(stranger: Browser) -> None:
    sent = await stranger.post("/sign-in", {"token": TOKEN, "next": "/webhooks"})
    stranger.cookies.clear()
    screen = await stranger.follow(sent)
    assert (screen.status, screen.heading) == (400, "Le navigateur n’a pas gardé la session")
    assert "https" in screen.text


async def test_sessions_are_in_the_audit_trail(
    stranger: Browser, surroundings: Surroundings, stored: StoredThings
) -> None:
    own = await store_token(surroundings.tokens, Scope.READ, account="1042")
    await stranger.sign_in(own.text)
    await stranger.post("/sign-out")
    entries = [(entry["actor"], entry["action"], entry["account_id"]) for entry in stored.database[AUDIT].find()]
    actor = f"token:{own.id}"
    assert entries == [(actor, "session.opened", "1042"), (actor, "session.closed", "1042")]


# --- ending ----------------------------------------------------------------------------------------


async def test_signing_out_ends_the_session(stranger: Browser) -> None:
    await stranger.sign_in()
    old = dict(stranger.cookies)
    screen = await stranger.follow(await stranger.post("/sign-out"))
    assert "Vous êtes déconnecté." in screen.text
    assert SESSION not in stranger.cookies
    stranger.cookies = old
    assert (await stranger.get("/webhooks")).status == 303


async def test_a_session_ends_an_hour_after_the_last_request(stranger: Browser, now: Now) -> None:
    await stranger.sign_in()
    for _ in range(3):
        now.seconds += IDLE.total_seconds() - 1
        assert (await stranger.get("/webhooks")).status == 200
    now.seconds += IDLE.total_seconds()
    assert (await stranger.get("/webhooks")).status == 303


async def test_a_session_ends_after_twelve_hours(stranger: Browser, now: Now) -> None:
    await stranger.sign_in()
    while now.seconds < (LONGEST - IDLE).total_seconds():
        now.seconds += (IDLE - timedelta(minutes=5)).total_seconds()
        assert (await stranger.get("/webhooks")).status == 200
    now.seconds = LONGEST.total_seconds()
    assert (await stranger.get("/webhooks")).status == 303


async def test_a_session_ends_with_its_token(stranger: Browser, surroundings: Surroundings, now: Now) -> None:
    own = await store_token(surroundings.tokens, Scope.READ)
    await stranger.sign_in(own.text)
    assert (await stranger.get("/webhooks")).status == 200
    await surroundings.tokens.revoke(own.id, at(0))
    assert (await stranger.get("/webhooks")).status == 303

    brief = await store_token(surroundings.tokens, Scope.READ, expires_at=at(60))
    await stranger.sign_in(brief.text)
    now.seconds = 60
    assert (await stranger.get("/webhooks")).status == 303


async def test_a_session_of_the_admin_token_ends_when_that_is_changed(surroundings: Surroundings) -> None:
    async with console(surroundings) as browser:
        await browser.sign_in()
        cookies = browser.cookies
    for changed in ("another-t0ken", None):
        async with console(replace(surroundings, token=changed, metrics=type(surroundings.metrics)())) as browser:
            browser.cookies = cookies
            assert (await browser.get("/webhooks")).status == 303


async def test_what_was_typed_outlives_the_session(
    stranger: Browser, now: Now, stored: StoredThings, surroundings: Surroundings
) -> None:
    await stranger.sign_in()
    typed = {
        "account_id": "1042",
        "name": "Standard « accueil »",
        "url": "https://crm.example.com/",
        "event_type": "call",
    }
    now.seconds = IDLE.total_seconds()
    ended = await stranger.post("/webhooks/new", typed)
    assert (ended.status, ended.heading) == (401, "Se connecter")
    assert "Votre session a pris fin" in ended.text
    assert ended.value("typed.name") == typed["name"]
    assert "typed.form_token" not in ended.html

    fields = {f"typed.{name}": value for name, value in typed.items()}
    again = await stranger.post("/sign-in", {"token": TOKEN, "next": ended.value("next"), **fields})
    assert (again.status, again.heading) == (200, "Renvoyer\u202f?")
    assert stored.database["webhooks"].count_documents({}) == 0
    assert (await stranger.post("/webhooks/new", {name: again.value(name) for name in typed})).status == 200
    assert stored.database["webhooks"].find_one({})["name"] == typed["name"]  # type: ignore[index]


# --- other sites -----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "headers",
    [
        {"Sec-Fetch-Site": "cross-site"},
        {"Sec-Fetch-Site": "same-site"},
        {"Sec-Fetch-Site": "cross-site", "Origin": "https://evil.example"},
    ],
)
@pytest.mark.parametrize("target", ["/webhooks/wh_crm/pause", "/sign-in", "/sign-out", "/accounts/1042/switch"])
async def test_another_site_can_do_nothing(
    browser: Browser, stored: StoredThings, target: str, headers: dict[str, str]
) -> None:
    stored.add_webhook(webhook())
    screen = await browser.post(target, {"token": TOKEN}, headers=headers)
    assert (screen.status, screen.heading) == (403, "Ce formulaire ne vient pas de nos pages")
    assert stored.database["webhooks"].find_one({"_id": "wh_crm"})["enabled"] is True  # type: ignore[index]


async def test_an_old_browser_says_its_origin(surroundings: Surroundings, stored: StoredThings) -> None:
    stored.add_webhook(webhook())
    async with console(surroundings) as browser:
        await browser.sign_in()
        browser.announces = False
        for origin, status in ((None, 403), ("https://evil.example", 403), ("null", 403), (str(browser.base), 303)):
            headers = {} if origin is None else {"Origin": origin.rstrip("/")}
            assert (await browser.post("/webhooks/wh_crm/pause", headers=headers)).status == status


async def test_a_form_without_its_token_does_nothing(browser: Browser, stored: StoredThings) -> None:
    stored.add_webhook(webhook())
    for token in ([], ["x"], ["0" * 64]):
        screen = await browser.request("POST", "/webhooks/wh_crm/pause", data=[("form_token", each) for each in token])
        assert screen.status == 403 if token else screen.status in {403, 415}
    assert stored.database["webhooks"].find_one({"_id": "wh_crm"})["enabled"] is True  # type: ignore[index]


async def test_nothing_is_done_by_looking(browser: Browser, stored: StoredThings) -> None:
    stored.add_webhook(webhook())
    screen = await browser.get("/webhooks/wh_crm/pause")
    assert (screen.status, screen.heading) == (405, "Cette adresse n’accepte que des formulaires")


@pytest.mark.parametrize(
    "body",
    [{"json": {"a": 1}}, {"data": b"\xff\xfe=1", "headers": {"Content-Type": "application/x-www-form-urlencoded"}}],
)
async def test_what_is_no_form_is_refused(browser: Browser, body: dict[str, object]) -> None:
    assert (await browser.request("POST", "/webhooks/wh_crm/pause", **body)).status in {400, 415}  # type: ignore[arg-type]


# --- every answer ----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("target", "status"), [("/sign-in", 200), ("/webhooks", 200), ("/webhooks/nope", 404), ("/nope", 404), ("/", 303)]
)
async def test_every_page_is_protected(browser: Browser, stored: StoredThings, target: str, status: int) -> None:
    if target == "/sign-in":
        browser.cookies.clear()
    screen = await browser.get(target)
    assert screen.status == status
    assert {name: screen.headers.get(name) for name in PROTECTED} == PROTECTED
    assert screen.headers["Content-Security-Policy"] == POLICY
    assert screen.headers["Server"] == "webhook-router"


async def test_people_get_pages_and_programs_problems(browser: Browser) -> None:
    page = await browser.get("/nope")
    assert (page.status, page.headers["Content-Type"]) == (404, "text/html; charset=utf-8")
    for target, accepted in (("/nope", "application/json"), ("/nope", "*/*"), ("/v1/nope", HTML["Accept"])):
        answer = await browser.get(target, headers={"Accept": accepted})
        assert (answer.status, answer.headers["Content-Type"]) == (404, "application/problem+json")


async def test_files_are_kept_for_ever_under_their_hash(browser: Browser) -> None:
    page = await browser.get("/webhooks")
    (style,) = set(re.findall(r'href="(/assets/console\.\w+\.css)"', page.html))
    answer = await browser.get(style)
    assert answer.headers["Cache-Control"] == "public, max-age=31536000, immutable"
    assert answer.headers["Content-Type"] == "text/css; charset=utf-8"
    assert answer.headers["X-Content-Type-Options"] == "nosniff"
    other = await browser.get("/assets/console.0123456789ab.css")
    assert (other.body, other.headers["Cache-Control"]) == (answer.body, "no-store")
    assert (await browser.get("/assets/passwd.0123456789ab.css")).status == 404


async def test_language_and_zone_are_switched_and_remembered(browser: Browser, stored: StoredThings) -> None:
    stored.add_webhook(webhook())
    english = await browser.get("/webhooks/wh_crm?lang=en&zone=UTC")
    assert ('<html lang="en">' in english.html, english.headers["Content-Language"]) == (True, "en")
    assert "1 Mar, 12:00:00" in english.text
    assert {"__Host-language", "__Host-zone"} < browser.cookies.keys()
    again = await browser.get("/webhooks/wh_crm")
    assert "1 Mar, 12:00:00" in again.text
    browser.cookies.pop("__Host-language")
    assert "1 mars 12:00:00" in (await browser.get("/webhooks/wh_crm")).text
    assert "1 mars 13:00:00" in (await browser.get("/webhooks/wh_crm?zone=Europe/Paris")).text


async def test_a_store_that_is_away_is_a_page(surroundings: Surroundings) -> None:
    away = open_database("mongodb://127.0.0.1:1/", "nowhere", "motor")
    async with console(replace(surroundings, database=away)) as browser:
        browser.cookies = {SESSION: "A" * 43}
        screen = await browser.get("/webhooks")
        assert (screen.status, screen.heading) == (503, "La base de données ne répond pas")
        assert screen.headers["Retry-After"] == "5"
        assert "Traceback" not in screen.html
    await away.close()
