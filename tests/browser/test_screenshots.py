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
from tests.support.showcase import ACCOUNT, CRM, MISSED_CALL, STATISTICS, SUSPENDED, Showcase
from tests.support.stored import StoredThings
from tests.support.visitor import LANGUAGES, Visitor

FOLDER_VARIABLE: Final = "ROUTER_TEST_SCREENSHOTS"
ROOT: Final = Path(__file__).parents[2]
AT: Final = datetime(2026, 11, 24, 14, 30, tzinfo=UTC)
MAX_BYTES: Final = 150_000
CHECKS: Final = {"store": True, "consumer": True, "definitions": True, "workers": True}
WIDTH: Final = 1_280


@dataclass(frozen=True, slots=True, kw_only=True)
class Picture:
    """A file of `docs/img`: which page, and as whom it is looked at."""

    path: str
    lang: str = "fr"
    scheme: Scheme = "light"
    max_height: int = 1_000


PICTURES: Final = {
    "webhooks": Picture(path=f"/webhooks?account={ACCOUNT}"),
    "new-webhook": Picture(path=f"/webhooks/new?account={ACCOUNT}"),
    "deliveries": Picture(path=f"/webhooks/{CRM}/deliveries"),
    "delivery": Picture(path="/deliveries/{failed}", max_height=1_400),
    "payload": Picture(path="/deliveries/{failed}?tab=request", max_height=1_900),
    "call": Picture(path=f"/calls/{MISSED_CALL}?account={ACCOUNT}", max_height=1_200),
    "search": Picture(path=f"/search?q=1122&account={ACCOUNT}", lang="en"),
    "replay": Picture(
        path=f"/replays/new?account_id={ACCOUNT}&webhook={SUSPENDED}&status=failed&from=2026-11-24T12:00&count=1",
        max_height=1_300,
    ),
    "health": Picture(path="/health", max_height=1_200),
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
    surroundings = Surroundings(database=database, now=lambda: AT, randomness=os.urandom, checks=CHECKS)
    server = surroundings.server()
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
        height = min(picture.max_height, await page.evaluate("document.documentElement.scrollHeight"))
        png = await page.screenshot(clip={"x": 0, "y": 0, "width": WIDTH, "height": height}, full_page=True)
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
