"""Somebody in front of the console, who reads it in one language and finds things by what they are called."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum
from typing import Any, Final

import pytest
from playwright.async_api import Locator, Page, expect
from pymongo.database import Database

from router.domain.session import session_key
from router.web.console.labels import Labels
from router.web.console.language import Language, load_languages

LANGUAGES: Final[Mapping[str, Language]] = load_languages()

with_and_without_scripts: Final = pytest.mark.parametrize(
    ("lang", "scripts"), [("fr", True), ("en", False)], ids=["fr-js", "en-no-js"]
)
"""For what must work without JavaScript too: one way in each language, since neither depends on the other."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Visitor:
    """`page` is guarded; names are given in English, as they are in the templates, and looked for in `language`."""

    page: Page
    language: Language

    def say(self, text: str, **values: object) -> str:
        """As the page says it."""
        return self.language.gettext(text, **values)

    def label(self, value: StrEnum) -> str:
        """What the console calls a value of the domain."""
        return Labels(self.language)(value)

    def has(self, text: str, **values: object) -> re.Pattern[str]:
        """What holds `text` somewhere."""
        return re.compile(re.escape(self.say(text, **values)))

    # --- finding ---

    def heading(self, text: str, **values: object) -> Locator:
        return self.page.get_by_role("heading", name=self.say(text, **values), exact=True)

    def link(self, text: str, **values: object) -> Locator:
        return self.page.get_by_role("link", name=self.say(text, **values), exact=True)

    def button(self, text: str, **values: object) -> Locator:
        return self.page.get_by_role("button", name=self.say(text, **values), exact=True)

    def field(self, label: str, **values: object) -> Locator:
        """The field of this label, whether or not that says that the field may stay empty."""
        optional = re.escape(self.say("(optional)"))
        return self.page.get_by_label(re.compile(rf"^\s*{re.escape(self.say(label, **values))}\s*({optional})?\s*$"))

    def choice(self, value: StrEnum) -> Locator:
        """The radio button of a value, whatever hint follows its name; another's may begin alike."""
        named = self.page.get_by_role("radio", name=re.compile("^" + re.escape(self.label(value))))
        return named.and_(self.page.locator(f'[value="{value.value}"]'))

    def text(self, text: str, **values: object) -> Locator:
        return self.page.get_by_text(self.say(text, **values))

    @property
    def content(self) -> Locator:
        return self.page.locator("#content")

    @property
    def rows(self) -> Locator:
        """Those of the tables, their heads left out."""
        return self.content.locator("tbody tr")

    # --- going ---

    async def open(self, path: str, *, status: int = 200) -> None:
        """Go there, and insist on the answer's status and on a page in the visitor's language."""
        response = await self.page.goto(path)
        assert response is not None
        assert response.status == status, f"{path}: {response.status}"
        await expect(self.page.locator("html")).to_have_attribute("lang", self.language.code)

    async def is_told(self, notice: str, **values: object) -> None:
        """What has just been done is said once, at the top."""
        await expect(self.page.locator(".notice")).to_have_text(self.say(notice, **values))

    async def is_at(self, path: str) -> None:
        """Waits until the page's path, without its query, is this one."""
        await self.page.wait_for_url(lambda url: url.partition("?")[0].endswith(path))

    async def sign_in(self, token: str) -> None:
        """From the page that asks for it."""
        await self.field("Access token").fill(token)
        await self.button("Sign in").click()
        await expect(self.button("Sign out")).to_be_visible()

    async def end_session(self, database: Database[dict[str, Any]]) -> None:
        """As time does it: the store has the session no more, and the browser has the cookie still."""
        cookies = await self.page.context.cookies()
        (session_id,) = [cookie["value"] for cookie in cookies if "session" in cookie["name"]]
        assert database.sessions.delete_one({"_id": session_key(session_id)}).deleted_count == 1
