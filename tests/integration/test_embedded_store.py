"""The embedded store with its real server: who owns it, who shares it, and what survives an owner's death."""

import asyncio
import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import psutil
import pymongo
import pytest

from router.adapters.embedded.errors import EmbeddedError
from router.adapters.embedded.store import EmbeddedStore
from tests.support import eventually

OWNER = """
import asyncio, pathlib, sys
from router.adapters.embedded.store import EmbeddedStore

async def main():
    store = await EmbeddedStore.open(pathlib.Path(sys.argv[1]))
    print(store.url, flush=True)
    await asyncio.Event().wait()

asyncio.run(main())
"""


@contextmanager
def owner_process(data_dir: Path) -> Iterator[tuple[subprocess.Popen[str], str]]:
    """Another process that owns the store of `data_dir`, and the URL that it printed."""
    with subprocess.Popen([sys.executable, "-c", OWNER, data_dir], stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        try:
            yield process, process.stdout.readline().strip()
        finally:
            process.kill()


async def write(url: str, identity: str) -> None:
    """As durably as the router writes: what is not journalled may be lost with the server."""

    def insert() -> None:
        with pymongo.MongoClient[dict[str, str]](url, w="majority", journal=True) as client:
            client["test"]["documents"].insert_one({"_id": identity})

    await asyncio.to_thread(insert)


async def read(url: str) -> set[str]:
    def find() -> set[str]:
        with pymongo.MongoClient[dict[str, str]](url) as client:
            return {document["_id"] for document in client["test"]["documents"].find()}

    return await asyncio.to_thread(find)


def servers_of(data_dir: Path) -> list[psutil.Process]:
    return [
        process
        for process in psutil.process_iter(["cmdline"])
        if str(data_dir / "store" / "data") in (process.info["cmdline"] or [])
    ]


async def test_the_second_opener_shares_the_first_ones_server(tmp_path: Path) -> None:
    first = await EmbeddedStore.open(tmp_path)
    second = await EmbeddedStore.open(tmp_path)
    try:
        assert (first.is_owner, second.is_owner) == (True, False)
        assert second.url == first.url
        await write(first.url, "a")
        assert await read(second.url) == {"a"}
        assert len(servers_of(tmp_path)) == 1
    finally:
        await second.close()
        await first.close()


async def test_openers_that_race_end_up_on_one_server(tmp_path: Path) -> None:
    stores = await asyncio.gather(*(EmbeddedStore.open(tmp_path) for _ in range(5)))
    try:
        assert [store.is_owner for store in stores].count(True) == 1
        assert len({store.url for store in stores}) == 1
    finally:
        await asyncio.gather(*(store.close() for store in stores))


async def test_close_leaves_no_process_and_keeps_the_data(tmp_path: Path) -> None:
    store = await EmbeddedStore.open(tmp_path)
    await write(store.url, "kept")

    await store.close()
    assert servers_of(tmp_path) == []

    again = await EmbeddedStore.open(tmp_path)
    try:
        assert await read(again.url) == {"kept"}
    finally:
        await again.close()


async def test_a_user_of_the_store_takes_over_on_the_same_port_when_the_owner_leaves(tmp_path: Path) -> None:
    owner = await EmbeddedStore.open(tmp_path)
    user = await EmbeddedStore.open(tmp_path)
    try:
        url = user.url
        await write(url, "before")

        await owner.close()
        await eventually(lambda: user.is_owner)

        assert await read(url) == {"before"}
        assert user.url == url
    finally:
        await user.close()


async def test_a_user_of_the_store_takes_over_with_the_data_when_the_owner_is_killed(tmp_path: Path) -> None:
    with owner_process(tmp_path) as (owner, url):
        user = await EmbeddedStore.open(tmp_path)
        try:
            assert (user.url, user.is_owner) == (url, False)
            await write(url, "before")

            owner.send_signal(signal.SIGKILL)
            await eventually(lambda: user.is_owner)

            await write(url, "after")
            assert await read(url) == {"before", "after"}
            assert len(servers_of(tmp_path)) == 1
        finally:
            await user.close()


async def test_a_killed_owner_leaves_no_orphan(tmp_path: Path) -> None:
    with owner_process(tmp_path) as (owner, url):
        await write(url, "before")
        owner.send_signal(signal.SIGKILL)
        await eventually(lambda: servers_of(tmp_path) == [])

    store = await EmbeddedStore.open(tmp_path)
    try:
        assert await read(store.url) == {"before"}
    finally:
        await store.close()


async def test_a_server_that_dies_is_started_again_on_its_port(tmp_path: Path) -> None:
    store = await EmbeddedStore.open(tmp_path)
    try:
        await write(store.url, "before")
        (server,) = servers_of(tmp_path)
        server.kill()
        assert await read(store.url) == {"before"}
    finally:
        await store.close()


async def test_a_port_that_somebody_else_took_is_replaced(tmp_path: Path) -> None:
    async def refuse(_: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.close()

    stranger = await asyncio.start_server(refuse, "127.0.0.1", 0)
    taken = stranger.sockets[0].getsockname()[1]
    (tmp_path / "store").mkdir()
    (tmp_path / "store" / "address").write_text(f"127.0.0.1:{taken}\n")
    store = await EmbeddedStore.open(tmp_path)
    try:
        assert str(taken) not in store.url
        await write(store.url, "here")
    finally:
        await store.close()
        stranger.close()
        await stranger.wait_closed()


async def test_a_server_that_cannot_start_is_explained_by_its_log(tmp_path: Path) -> None:
    (tmp_path / "store").mkdir()
    (tmp_path / "store" / "data").write_text("no directory")
    with pytest.raises(EmbeddedError, match=r"did not start; the end of .*/store/log:\n(.|\n)*data"):
        await EmbeddedStore.open(tmp_path)
    assert not os.path.lexists(tmp_path / "store" / "address")


async def test_a_missing_package_is_named_with_its_extra(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "secantus", None)  # how Python marks a module that cannot be imported
    with pytest.raises(EmbeddedError, match=r"pip install 'webhook-router\[embedded\]'"):
        await EmbeddedStore.open(tmp_path)
    assert not (tmp_path / "store").exists()


async def test_test_commands_are_refused_unless_asked_for(tmp_path: Path, mongo_url: str) -> None:
    def arm(url: str) -> None:
        with pymongo.MongoClient[dict[str, str]](url) as client:
            client.admin.command("configureFailPoint", "failCommand", mode="off")

    store = await EmbeddedStore.open(tmp_path)
    try:
        with pytest.raises(pymongo.errors.OperationFailure):
            await asyncio.to_thread(arm, store.url)
    finally:
        await store.close()
    await asyncio.to_thread(arm, mongo_url)
