"""Pictures of the main pages for README, of the same stored week at the same time of day whenever they are taken.

ROUTER_TEST_SCREENSHOTS is the folder that they are written to (`make screenshots`); without it they are taken all the
same, and thrown away.
"""

from __future__ import annotations

import os
import re
from collections.abc import AsyncIterator
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Final

import pymongo
import pytest
import pytest_asyncio
from playwright.async_api import Browser

from router.adapters.mongo.driver import open_database
from tests.support.api import TOKEN, Surroundings
from tests.support.browser import Scheme, visiting
from tests.support.pictures import with_palette
from tests.support.servers import unique
from tests.support.showcase import ACCOUNT, CRM, MISSED_CALL, STATISTICS, Showcase
from tests.support.stored import StoredThings
from tests.support.visitor import LANGUAGES, Visitor

FOLDER_VARIABLE: Final = "ROUTER_TEST_SCREENSHOTS"
ROOT: Final = Path(__file__).parents[2]
AT: Final = datetime(2026, 11, 24, 14, 30, tzinfo=UTC)
MAX_BYTES: Final = 150_000
MAX_HEIGHT: Final = 1_000


@dataclass(frozen=True, slots=True, kw_only=True)
class Picture:
    """A file of `docs/img`: which page, and as whom it is looked at."""

    path: str
    lang: str = "fr"
    scheme: Scheme = "light"


PICTURES: Final = {
    "webhooks": Picture(path=f"/webhooks?account={ACCOUNT}"),
    "new-webhook": Picture(path=f"/webhooks/new?account={ACCOUNT}"),
    "deliveries": Picture(path=f"/webhooks/{CRM}/deliveries"),
    "delivery": Picture(path="/deliveries/{failed}"),
    "call": Picture(path=f"/calls/{MISSED_CALL}?account={ACCOUNT}"),
    "search": Picture(path=f"/search?q=1122&account={ACCOUNT}", lang="en"),
    "health": Picture(path="/health"),
    "dark": Picture(path=f"/webhooks/{STATISTICS}/deliveries", lang="en", scheme="dark"),
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Exhibition:
    """Where the week can be looked at, and the id of the delivery that failed."""

    url: str
    failed: str


@pytest_asyncio.fixture(scope="module", loop_scope="session")
async def exhibition(mongo_url: str, mongo_client: pymongo.MongoClient[dict[str, Any]]) -> AsyncIterator[Exhibition]:
    name = unique("test_")
    things = StoredThings(mongo_client[name])
    Showcase(now=AT).store(things)
    failed = things.database.deliveries.find_one(
        {"call_id": MISSED_CALL, "webhook_id": CRM, "event_name": "call.received"}
    )
    assert failed is not None
    database = open_database(mongo_url, name, "motor")
    server = Surroundings(database=database, now=lambda: AT, randomness=os.urandom).server()
    await server.start()
    host, port = server.address
    yield Exhibition(url=f"http://{host}:{port}", failed=failed["_id"])
    await server.stop()
    await database.close()
    mongo_client.drop_database(name)


@pytest.mark.parametrize("name", PICTURES)
async def test_a_picture_of_the_page(browser: Browser, exhibition: Exhibition, name: str) -> None:
    picture = PICTURES[name]
    async with visiting(browser, exhibition.url, locale=picture.lang, scheme=picture.scheme) as page:
        await page.clock.set_fixed_time(AT)
        visitor = Visitor(page=page, language=LANGUAGES[picture.lang])
        # Each signs in: to a store whose clock is real, a session of that day may be over already.
        await visitor.open("/sign-in")
        await visitor.sign_in(TOKEN)
        await visitor.open(picture.path.format(failed=exhibition.failed))
        height = min(MAX_HEIGHT, await page.evaluate("document.documentElement.scrollHeight"))
        png = await page.screenshot(clip={"x": 0, "y": 0, "width": 1280, "height": height}, full_page=True)
    if folder := os.environ.get(FOLDER_VARIABLE):
        small = with_palette(png)
        assert len(small) <= MAX_BYTES
        (ROOT / folder / f"{name}.png").write_bytes(small)


@pytest.mark.parametrize("name", PICTURES)
def test_readme_shows_the_picture_and_says_what_is_on_it(name: str) -> None:
    file = ROOT / "docs" / "img" / f"{name}.png"
    assert file.stat().st_size <= MAX_BYTES
    shown = re.search(rf"!\[([^\]]+)\]\(docs/img/{name}\.png\)", (ROOT / "README.md").read_text())
    assert shown is not None
    assert len(shown[1]) > 20
