"""The `webhook-router` commands of the documentation, run as they stand there: each ends well and prints what is shown.

A router, a customer and what the first five minutes of the README leave are there; ids of the pages stand for theirs.
"""

from __future__ import annotations

import asyncio
import json
import re
import subprocess
from collections.abc import AsyncIterator, Callable, Mapping
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any, Final

import aiohttp
import pymongo
import pytest
import pytest_asyncio

from tests.support.events import make_event
from tests.support.http_server import ScriptedServer, answer, in_thread
from tests.support.router_process import ADMIN_TOKEN, Platform, RouterProcess, wait_for
from tests.support.servers import Broker, own_vhost, unique
from tests.support.shell import Shell, shell_for
from tests.support.snippets import PAGES, ROOT, Line, call_of, commands, fences, lines

README: Final = ROOT / "README.md"
PROGRAM: Final = "webhook-router"
NOT_RUN: Final[Mapping[str, str]] = {
    "serve": "runs until it is stopped: it is the router of this module",
    "tokens create --name tour --scope admin --json": "is a part of a line whose value a shell takes",
}
CODES: Final[Mapping[str, set[int]]] = {"doctor": {0, 1}}
"""Where it is not 0 alone: warnings of the doctor are about this machine."""
CUSTOMER: Final = "http://127.0.0.1:9000"
TOKEN: Final = '{"type": "bearer", "token": "a-fixed-token-of-theirs"}'


def typed_on(page: Path) -> list[Line]:
    """The lines of a page that have a command of ours to be run."""
    shown = [line for fence in fences(page) if fence.language in {"console", "sh"} for line in lines(fence)]
    ours = [line for line in shown if any(words[0].endswith(PROGRAM) for words in commands(line.typed))]
    return [line for line in ours if " ".join(words_of(line)) not in NOT_RUN]


def words_of(line: Line) -> list[str]:
    (words,) = (words for words in commands(line.typed) if words[0].endswith(PROGRAM))
    return words[1:]


@dataclass(frozen=True, slots=True, kw_only=True)
class World:
    """What the commands meet, and how the names of the pages are said in it."""

    shell: Shell
    api: str
    customer: str
    platform: Platform

    def said(self, word: str) -> str:
        """A word of a page in this world: ids, addresses, files and times that are made up there."""
        now = datetime.now(UTC)
        made_up: dict[str, Callable[[], str]] = {
            CUSTOMER: lambda: self.customer,
            "dlv_[0-9a-f]{32}": lambda: self.newest("deliveries", webhook_id="wh_crm", status="delivered"),
            "dl_[0-9a-f]{24}": lambda: self.newest("dead_letters"),
            "rpl_[a-z0-9]+": lambda: self.newest("replays"),
            "c-[0-9a-f]{16}": lambda: str(self.document("events", type="call")["call_id"]),
            "4fQ0xZ9a": lambda: self.newest("tokens"),
            "/etc/webhook-router/router.toml": lambda: str(ROOT / "config" / "router.toml"),
            "[0-9-]{10}T14:00": lambda: f"{now - timedelta(hours=2):%Y-%m-%dT%H:%M}",
            "[0-9-]{10}T16:00(:00)?": lambda: f"{now:%Y-%m-%dT%H:%M:%S}",
        }
        for pattern, meant in made_up.items():
            if re.search(pattern, word):
                word = re.sub(pattern, meant(), word)
        return word

    def newest(self, collection: str, **conditions: str) -> str:
        return str(self.document(collection, **conditions)["_id"])

    def document(self, collection: str, **conditions: str) -> dict[str, Any]:
        (found,) = self.platform.database[collection].find(conditions).sort("created_at", -1).limit(1)
        return found

    def run(self, line: Line) -> subprocess.CompletedProcess[str]:
        """What comes of it; where a person would be asked, the answer is yes."""
        words = [self.said(word) for word in words_of(line)]
        done = self.shell.run(*words, stdin=TOKEN)
        return self.shell.run(*words, "--yes") if "nobody is there to be asked" in done.stderr else done


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def world(
    rabbit: Broker,
    mongo_url: str,
    mongo_client: pymongo.MongoClient[dict[str, object]],
    tmp_path_factory: pytest.TempPathFactory,
) -> AsyncIterator[World]:
    folder = tmp_path_factory.mktemp("documented")
    # It takes the first event, refuses the second one three times, and is well again.
    customer = ScriptedServer(answer(204), answer(500), answer(500), answer(500), answer(204))
    with own_vhost(rabbit) as vhost, in_thread(customer) as server:
        platform = Platform(amqp_url=vhost, mongo_url=mongo_url, database=mongo_client[unique("test_")], prefix="")
        keys = shell_for(folder).run("secrets", "new-key")
        (folder / "keys").write_text(keys.stdout)
        (folder / "keys").chmod(0o600)
        async with RouterProcess(platform, folder, ROUTER_SECRETS__KEY_FILE=str(folder / "keys")) as router:
            environment = router.environment() | {"ROUTER_LOG__LEVEL": "info"}
            shell = shell_for(folder, **environment)
            world = World(shell=shell, api=router.api_url, customer=server.url, platform=platform)
            await follow_the_readme(world)
            await publish_more(world)
            yield world
        await platform.close()


async def follow_the_readme(world: World) -> None:
    for line in typed_on(README):
        done = await asyncio.to_thread(world.run, line)
        assert_as_shown(line, done)
        if "publish" in line.typed:
            await wait_for(lambda: world.platform.database.deliveries.count_documents({"status": "delivered"}))


async def publish_more(world: World) -> None:
    """An event whose delivery fails, one that no webhook wants, and one that nobody understands."""
    store = world.platform.database
    for kind in ("call", "user"):
        await asyncio.to_thread(world.shell.run, "events", "publish", "--sample", kind, "--account", "1042")
    await world.platform.publish(b'{"type": "call", "account_id": ', to="call")
    await wait_for(lambda: store.deliveries.count_documents({"status": "failed"}))
    await wait_for(lambda: store.events.count_documents({}) == 3 and store.dead_letters.count_documents({}))


def labels(output: str) -> list[str]:
    """What an output names: the columns of a table, or what stands before each value."""
    columns = re.findall(r"(?m)^(?:[A-Z]+(?: [A-Z]+)*(?:  +|$))+$", output)
    return [*" ".join(columns).split(), *re.findall(r"(?m)^([a-z]+(?: [a-z]+)*?)  +\S", output)]


def assert_as_shown(line: Line, done: subprocess.CompletedProcess[str]) -> None:
    command = " ".join(words_of(line))
    assert done.returncode in CODES.get(command, {0}), f"{line}\n{done.stdout}{done.stderr}"
    if line.output and "…" not in line.output:
        assert labels(done.stdout) == labels(line.output), f"{line}\n{done.stdout}{done.stderr}"


# French pages show the commands of the English ones, which test_docs_languages.py compares.
OTHERS = [page for page in PAGES if page != README and page.parent.name != "fr" and typed_on(page)]
FIRST = {tuple(words_of(line)): line for page in reversed([README, *OTHERS]) for line in typed_on(page)}
"""Where each command stands first: there it is run."""


@pytest.mark.parametrize("page", OTHERS, ids=lambda page: str(page.relative_to(ROOT)))
async def test_the_commands_of_a_page_do_what_it_says(page: Path, world: World, tmp_path: Path) -> None:
    world = on_its_own_desk(world, page, tmp_path)
    # Of an event of its own: another page may have erased those before.
    event = make_event("1042", "call")
    await world.platform.publish(event)
    delivered = {"event_id": event["id"], "status": "delivered"}
    await wait_for(lambda: world.platform.database.deliveries.count_documents(delivered))

    for line in typed_on(page):
        if FIRST[tuple(words_of(line))] == line:
            assert_as_shown(line, await asyncio.to_thread(world.run, line))


def on_its_own_desk(world: World, page: Path, folder: Path) -> World:
    """The folder of a page: with the files that it shows, and the first configuration that its commands need."""
    for fence in fences(page):
        for line in lines(fence) if fence.language == "console" else ():
            if file := re.fullmatch(r"cat (\w+\.json)", line.typed):
                (folder / file[1]).write_text(line.output)
    sources = [fence.text for fence in fences(page) if fence.language == "toml" and "[[sources]]" in fence.text]
    environment = dict(world.shell.environment)
    if sources:
        (folder / "router.toml").write_text(sources[0])
        environment |= {"ROUTER_CONFIG": str(folder / "router.toml")}
        environment.pop("ROUTER_SOURCES")
        # As a start with this configuration would.
        assert replace(world.shell, environment=environment).run("topology", "apply").returncode == 0
    return replace(world, shell=replace(world.shell, directory=folder, environment=environment))


CALLS = [
    (line, words[1:])
    for page in PAGES
    for fence in fences(page)
    for line in lines(fence)
    for words in commands(line.typed)
    if words[0] == "curl"
]


async def test_the_requests_of_the_pages_are_answered_as_they_say(world: World) -> None:
    """What would be typed as curl, one after the other as a tour; a webhook of its own stands for that of the pages."""
    webhook = world.platform.define_webhook("1042", to=world.customer, event_type="call")
    async with aiohttp.ClientSession() as session:
        for line, words in CALLS:
            call = call_of([world.said(word) for word in words])
            address, headers = call.address.replace("wh_crm", webhook), call.headers
            body = call.body and call.body.replace("wh_crm", webhook)
            if "Authorization" in headers:
                headers["Authorization"] = f"Bearer {ADMIN_TOKEN}"
            if re.fullmatch('"[0-9a-f]{32}"', headers.get("If-Match", "")):
                async with session.get(world.api + address, headers=headers) as seen:
                    headers["If-Match"] = seen.headers["ETag"]

            async with session.request(call.method, world.api + address, headers=headers, data=body) as answer:
                text = await answer.text()

            (wanted,) = re.findall(r'"type":"urn:.*"status":(\d+)', line.output) or ["2.."]
            assert re.fullmatch(wanted, str(answer.status)), f"{line}\n{answer.status} {text}"
            if line.output.startswith("{") and "jq" not in line.typed:
                assert list(json.loads(text)) == list(json.loads(line.output)), line


def test_the_readme_is_followed(world: World) -> None:
    """Its commands are the fixture; what they leave is what it says."""
    (delivery,) = world.shell.data("deliveries", "list", "--webhook", "wh_crm")["items"][-1:]
    assert (delivery["webhook_id"], delivery["attempts"][0]["status_code"]) == ("wh_crm", 204)


def test_what_is_said_of_commands_is_said_of_some_on_a_page() -> None:
    shown = [line.typed for page in PAGES for fence in fences(page) for line in lines(fence)]
    assert [
        command for command in (*NOT_RUN, *CODES) if not any(f"{PROGRAM} {command}" in line for line in shown)
    ] == []
