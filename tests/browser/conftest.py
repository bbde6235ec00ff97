"""One Chromium, one router and one set of stored accounts for the whole folder. What only reads shares them; what
changes something has an account of its own."""

from __future__ import annotations

import inspect
from collections.abc import AsyncIterator, Awaitable, Callable, Iterable, Mapping, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pymongo
import pytest
import pytest_asyncio
from playwright.async_api import Browser, BrowserContext

from router.domain.delivery import Delivery
from tests.support.browser import guarded_page, new_context, running_browser, visiting
from tests.support.hostile import store_hostile
from tests.support.http_server import ScriptedServer, answer
from tests.support.router_process import ADMIN_TOKEN, Platform, RouterProcess
from tests.support.servers import Broker, unique
from tests.support.showcase import Showcase
from tests.support.stored import StoredThings
from tests.support.visitor import LANGUAGES, Visitor

HERE = Path(__file__).parent

session = pytest_asyncio.fixture(scope="session", loop_scope="session")


def pytest_collection_modifyitems(items: Iterable[pytest.Item]) -> None:
    """A browser belongs to the loop that it was started in, so every test here runs in the session's."""
    for item in items:
        if HERE in item.path.parents and inspect.iscoroutinefunction(getattr(item, "function", None)):
            item.add_marker(pytest.mark.asyncio(loop_scope="session"), append=False)


# --- servers ---------------------------------------------------------------------------------------


@session
async def browser() -> AsyncIterator[Browser]:
    async with running_browser() as browser:
        yield browser


@session
async def platform(
    rabbit: Broker, mongo_url: str, mongo_client: pymongo.MongoClient[dict[str, Any]]
) -> AsyncIterator[Platform]:
    platform = Platform(amqp_url=rabbit.url, mongo_url=mongo_url, database=mongo_client[unique("test_")])
    yield platform
    await platform.close()


@session
async def seeded(platform: Platform) -> Mapping[str, Delivery]:
    """The account of `showcase`, and the one of `hostile`, whose deliveries by kind these are."""
    things, now = StoredThings(platform.database), datetime.now(UTC)
    Showcase(now=now).store(things)
    return store_hostile(things, now)


@session
async def router(
    platform: Platform, seeded: object, tmp_path_factory: pytest.TempPathFactory
) -> AsyncIterator[RouterProcess]:
    async with RouterProcess(platform, tmp_path_factory.mktemp("router")) as router:
        yield router


@pytest_asyncio.fixture(loop_scope="session")
async def customer() -> AsyncIterator[ScriptedServer]:
    """A customer's server that answers 200 to everything."""
    async with ScriptedServer(answer(200, b'{"ok":true}')) as server:
        yield server


@pytest.fixture
def account(platform: Platform) -> str:
    """An account that is switched on and that no other test uses."""
    return platform.enable_account()


# --- who looks on ----------------------------------------------------------------------------------


@pytest.fixture(params=["fr", "en"])
def lang(request: pytest.FixtureRequest) -> str:
    return str(request.param)


@pytest.fixture
def scripts() -> bool:
    """Whether the browser runs JavaScript."""
    return True


@session
async def signed_in(browser: Browser, router: RouterProcess) -> Sequence[Any]:
    """The cookies of somebody who signed in with the admin's token."""
    async with visiting(browser, router.api_url) as page:
        visitor = Visitor(page=page, language=LANGUAGES["fr"])
        await visitor.open("/sign-in")
        await visitor.sign_in(ADMIN_TOKEN)
        return [cookie for cookie in await page.context.cookies() if "session" in cookie["name"]]


@pytest_asyncio.fixture(loop_scope="session")
async def stranger(browser: Browser, router: RouterProcess, lang: str, scripts: bool) -> AsyncIterator[Visitor]:
    """Somebody who has not signed in."""
    async with visiting(browser, router.api_url, locale=lang, scripts=scripts) as page:
        yield Visitor(page=page, language=LANGUAGES[lang])


@session
async def contexts(
    browser: Browser, router: RouterProcess, signed_in: Sequence[Any]
) -> AsyncIterator[Callable[[str, bool], Awaitable[BrowserContext]]]:
    """The browser of an administrator who has signed in, by language and by whether it runs JavaScript."""
    made: dict[tuple[str, bool], BrowserContext] = {}

    async def context(lang: str, scripts: bool) -> BrowserContext:
        if (lang, scripts) not in made:
            made[lang, scripts] = await new_context(
                browser, router.api_url, locale=lang, scheme="light", scripts=scripts, cookies=signed_in
            )
        return made[lang, scripts]

    yield context
    for each in made.values():
        await each.close()


@pytest_asyncio.fixture(loop_scope="session")
async def visitor(
    contexts: Callable[[str, bool], Awaitable[BrowserContext]], router: RouterProcess, lang: str, scripts: bool
) -> AsyncIterator[Visitor]:
    """An administrator who has signed in, with a page in a browser that others go on with: it keeps its cookies."""
    async with guarded_page(await contexts(lang, scripts), router.api_url) as page:
        yield Visitor(page=page, language=LANGUAGES[lang])
