"""A browser without a screen, for tests of the console: keeps cookies, sends forms as a page of ours would."""

from __future__ import annotations

import html
import re
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager
from http.cookies import SimpleCookie
from typing import Any

import aiohttp
from yarl import URL

from tests.support.api import TOKEN, Answer, Surroundings

HTML = {"Accept": "text/html,application/xhtml+xml"}


class Screen:
    """One answer, as its reader sees it."""

    def __init__(self, answer: Answer, cookies: SimpleCookie) -> None:
        self.status = answer.status
        self.headers = answer.headers
        self.body = answer.body
        self.cookies = cookies

    @property
    def html(self) -> str:
        return self.body.decode()

    @property
    def text(self) -> str:
        """What is read, without marks and with single blanks."""
        plain = re.sub(r"(?s)<script.*?</script>|<[^>]*>", " ", self.html)
        return re.sub(r"[ \n]+", " ", html.unescape(plain))

    @property
    def location(self) -> str:
        return self.headers["Location"]

    @property
    def heading(self) -> str:
        (found,) = re.findall(r"(?s)<h1>(.*?)</h1>", self.html)
        return html.unescape(re.sub(r"<[^>]*>", "", found)).strip()

    def value(self, name: str) -> str:
        """What a field of a form holds."""
        (found, *_) = re.findall(rf'<input[^>]* name="{re.escape(name)}"[^>]* value="([^"]*)"', self.html)
        return html.unescape(found)

    def error(self, name: str) -> str:
        """What is said to be wrong, beside a field."""
        (found,) = re.findall(rf'(?s)<p class="error" id="{re.escape(name)}-error">(.*?)</p>', self.html)
        return html.unescape(re.sub(r"<[^>]*>", "", found)).strip()


class Browser:
    """Asks a console. `language` is what it accepts."""

    def __init__(self, base: URL, session: aiohttp.ClientSession, language: str = "fr") -> None:
        self.base = base
        self.cookies: dict[str, str] = {}
        self.language = language
        self.announces = True
        """Whether it says which site its requests come from, as browsers do since 2023."""
        self._session = session
        self._form_token = ""

    async def request(
        self, method: str, target: str, *, headers: Mapping[str, str] | None = None, **more: Any
    ) -> Screen:
        sent = {**HTML, "Accept-Language": self.language, **(headers or {})}
        if self.announces:
            sent.setdefault("Sec-Fetch-Site", "same-origin")
        if self.cookies:
            sent["Cookie"] = "; ".join(f"{name}={value}" for name, value in self.cookies.items())
        url = URL(f"{self.base}{target}", encoded=True)
        async with self._session.request(method, url, headers=sent, allow_redirects=False, **more) as response:
            answer = Answer(status=response.status, headers=dict(response.headers), body=await response.read())
            for name, morsel in response.cookies.items():
                if morsel["max-age"] == "0":
                    self.cookies.pop(name, None)
                else:
                    self.cookies[name] = morsel.value
        screen = Screen(answer, response.cookies)
        tokens = re.findall(rb'name="form_token" value="(\w+)"', answer.body)
        self._form_token = tokens[0].decode() if tokens else self._form_token
        return screen

    async def get(self, target: str, **more: Any) -> Screen:
        return await self.request("GET", target, **more)

    async def post(self, target: str, form: Mapping[str, str | Sequence[str]] | None = None, **more: Any) -> Screen:
        """Send a form with the token of the last page that had one."""
        fields = [("form_token", self._form_token)] if self._form_token else []
        for name, value in (form or {}).items():
            fields += [(name, each) for each in ([value] if isinstance(value, str) else value)]
        return await self.request("POST", target, data=aiohttp.FormData(fields), **more)

    async def follow(self, screen: Screen) -> Screen:
        """Go where an answer leads, as far as it leads."""
        while screen.status == 303:
            screen = await self.get(screen.location)
        return screen

    async def sign_in(self, token: str = TOKEN, next_: str = "/") -> Screen:
        return await self.follow(await self.post("/sign-in", {"token": token, "next": next_}))


@asynccontextmanager
async def console(surroundings: Surroundings, language: str = "fr") -> AsyncIterator[Browser]:
    """A console that runs meanwhile, and a browser that nobody is signed in with."""
    server = surroundings.server()
    await server.start()
    host, port = server.address
    try:
        async with aiohttp.ClientSession(cookie_jar=aiohttp.DummyCookieJar()) as session:
            yield Browser(URL.build(scheme="http", host=host, port=port), session, language)
    finally:
        await server.stop()
