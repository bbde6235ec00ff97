"""What cannot be understood becomes a dead letter: with bytes and reason, in nobody's way, and it can come back."""

from __future__ import annotations

import gzip
import json
import struct
from base64 import b64decode
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from tests.support.amqp import publish_raw
from tests.support.events import NOTE, encode, make_event, without
from tests.support.http_server import ScriptedServer
from tests.support.router_process import Platform, RouterProcess, wait_for
from tests.support.servers import unique


async def dead_letter(router: RouterProcess, marker: str) -> Any:
    """The dead letter whose message holds `marker` near its beginning, whole."""

    async def found() -> Any:
        items = (await router.api("/v1/dead-letters", limit=200))["items"]
        matching = [item for item in items if marker in item["head"]]
        assert len(matching) <= 1, matching
        return matching[0] if matching else None

    return await router.api(f"/v1/dead-letters/{(await wait_for(found))['id']}")


Wrong = Callable[[str], bytes]
"""A message that is wrong, with a marker in it."""

WRONG: dict[str, tuple[str, Wrong]] = {
    "not JSON": ("not_json", lambda marker: f"{marker} <xml/>".encode()),
    "empty object cut off": ("not_json", lambda marker: f'{{"{marker}":'.encode()),
    "bare NaN": ("not_json", lambda marker: f'{{"account_id":"1","{marker}":NaN}}'.encode()),
    "two objects": ("not_json", lambda marker: f'{{"account_id":"1","{marker}":1}}{{}}'.encode()),
    "no UTF-8": ("not_json", lambda marker: f'{{"account_id":"1","{marker}":"'.encode() + b'\xff\xfe"}'),
    "UTF-16": ("not_json", lambda marker: marker.encode() + json.dumps({"account_id": "1"}).encode("utf-16")),
    "an array": ("not_an_object", lambda marker: f'["{marker}"]'.encode()),
    "a string": ("not_an_object", lambda marker: f'"{marker}"'.encode()),
    "no account": ("no_account", lambda marker: encode({"id": marker, "type": "cdr"})),
    "account null": ("no_account", lambda marker: encode({"id": marker, "type": "cdr", "account_id": None})),
    "account empty": ("no_account", lambda marker: encode({"id": marker, "type": "cdr", "account_id": ""})),
    "account an object": ("no_account", lambda marker: encode({"id": marker, "type": "cdr", "account_id": {"id": 1}})),
    "unknown type": ("unknown_type", lambda marker: encode({"id": marker, "type": "sms", "account_id": "1"})),
    "too large": ("too_large", lambda marker: encode({"id": marker, "account_id": "1", "data": "x" * 1_100_000})),
    "too deep": ("too_deep", lambda marker: f'{{"{marker}":'.encode() + b"[" * 100 + b"]" * 100 + b"}"),
    "far too deep": ("too_deep", lambda marker: f'{{"{marker}":'.encode() + b"[" * 100_000 + b"]" * 100_000 + b"}"),
}


@pytest.mark.parametrize("name", WRONG)
async def test_a_message_that_cannot_be_understood_becomes_a_dead_letter(
    name: str, platform: Platform, router: RouterProcess, account: str, server: ScriptedServer
) -> None:
    reason, make = WRONG[name]
    marker = unique("marker-")
    body = make(marker)
    platform.define_webhook(account, to=server.url)
    await router.takes_up_definitions()
    good = make_event(account)
    await platform.publish(body, to="cdr", content_type="text/json")
    await platform.publish(good)
    (request,) = await server.received(1)  # the next message is not blocked

    letter = await dead_letter(router, marker)

    assert request.header("webhook-id") == good["id"]
    assert letter["reason"] == reason
    assert letter["detail"]
    assert marker not in letter["detail"]
    assert letter["source"] == "cdr"
    assert letter["size"] == len(body)
    assert letter["content_type"] == "text/json"
    assert letter["requeued_at"] is None
    assert b64decode(letter["body"]) == body
    assert await platform.messages_ready("cdr") == 0


async def test_an_empty_message_becomes_a_dead_letter(platform: Platform, router: RouterProcess) -> None:
    await platform.publish(b"", to="user")

    async def found() -> Any:
        items = (await router.api("/v1/dead-letters", limit=200))["items"]
        return [item for item in items if item["size"] == 0]

    (letter,) = await wait_for(found)
    assert (letter["reason"], letter["source"]) == ("not_json", "user")


# --- transport -------------------------------------------------------------------------------------


async def test_a_gzip_bomb_becomes_a_dead_letter(platform: Platform, router: RouterProcess, account: str) -> None:
    bomb = gzip.compress(encode(make_event(account)) + b" " * 200_000_000, mtime=0)
    assert len(bomb) < 1_000_000
    await platform.publish(bomb, to="cdr", content_encoding="gzip")

    async def found() -> Any:
        items = (await router.api("/v1/dead-letters", limit=200))["items"]
        return [item for item in items if item["size"] == len(bomb)]

    (letter,) = await wait_for(found)
    assert letter["reason"] == "too_large"
    assert b64decode((await router.api(f"/v1/dead-letters/{letter['id']}"))["body"]) == bomb


async def test_a_compressed_message_is_delivered_as_the_text_in_it(
    platform: Platform, router: RouterProcess, account: str, server: ScriptedServer
) -> None:
    platform.define_webhook(account, to=server.url)
    await router.takes_up_definitions()
    event = make_event(account)
    await platform.publish(gzip.compress(encode(event)), content_encoding="gzip")
    (request,) = await server.received(1)

    assert request.body == encode(event)
    assert request.header("content-encoding") is None


async def test_what_says_gzip_and_is_none_becomes_a_dead_letter(
    platform: Platform, router: RouterProcess, account: str
) -> None:
    marker = unique("marker-")
    await platform.publish(encode(make_event(account, id=marker)), to="cdr", content_encoding="gzip")

    assert (await dead_letter(router, marker))["reason"] == "undecodable"


@pytest.mark.parametrize("properties", [{"content_encoding": "utf-8"}, {"content_type": None}, {"content_type": "x/y"}])
async def test_odd_properties_do_no_harm(
    properties: dict[str, Any], platform: Platform, router: RouterProcess, account: str, server: ScriptedServer
) -> None:
    platform.define_webhook(account, to=server.url)
    await router.takes_up_definitions()
    event = make_event(account)
    headers = {
        "schema": "1",
        "account_id": account,
        "nested": {"a.b": [1, 2]},
        "$x": True,
        "": "",
        "bytes": bytearray(b"\xff\x00"),
    }
    await platform.publish(event, headers=headers, **properties)
    (request,) = await server.received(1)

    assert request.body == encode(event)


def timestamp(seconds: int) -> bytes:
    """A property list that holds a timestamp alone."""
    return struct.pack(">HQ", 1 << 6, seconds)


UNREADABLE = {
    "timestamp in microseconds": timestamp(1_741_684_447_412_000),
    "largest timestamp": timestamp(2**64 - 1),
    "negative timestamp": timestamp(2**63),
    "timestamp zero": timestamp(0),
    "message id in Latin-1": struct.pack(">HB", 1 << 7, 3) + b"\xe9t\xe9",
    "type that is no text": struct.pack(">HB", 1 << 5, 2) + b"\xff\xfe",
    "header name in Latin-1": struct.pack(">HI", 1 << 13, 3) + b"\x01\xe9V",
    "header with a time outside the calendar": struct.pack(">HI", 1 << 13, 11) + b"\x01xT" + b"\x7f" * 8,
}
"""Property lists that the AMQP client would close the connection over, and get again, for ever."""


@pytest.mark.parametrize("name", UNREADABLE)
async def test_properties_that_cannot_be_read_block_nothing(
    name: str, platform: Platform, router: RouterProcess, account: str, server: ScriptedServer
) -> None:
    platform.define_webhook(account, to=server.url)
    await router.takes_up_definitions()
    event, last = make_event(account), make_event(account)
    await publish_raw(platform.amqp_url, platform.exchange("cdr"), "cdr.created", encode(event), UNREADABLE[name])
    await platform.publish(last)
    requests = await server.received(2)

    assert {request.header("webhook-id") for request in requests} == {event["id"], last["id"]}
    assert {request.body for request in requests} == {encode(event), encode(last)}


# --- who it is for ---------------------------------------------------------------------------------


async def test_a_message_for_an_unknown_account_is_an_event_without_deliveries(
    platform: Platform, router: RouterProcess
) -> None:
    event = make_event("acc-never-heard-of")
    await platform.publish(event)

    stored = await router.event("acc-never-heard-of", event["id"])

    assert (stored["trace"], stored["deliveries"], stored["account_enabled"]) == ([], [], False)
    assert stored["payload"].encode() == encode(event)


# --- the list, and the way back --------------------------------------------------------------------


async def test_dead_letters_are_listed_newest_first_in_pages(platform: Platform, router: RouterProcess) -> None:
    markers = [unique("marker-") for _ in range(5)]
    for marker in markers:
        await platform.publish(marker.encode(), to="call")
        await dead_letter(router, marker)

    heads: list[str] = []
    cursor: dict[str, str] = {}
    for _ in range(3):
        page = await router.api("/v1/dead-letters", limit=2, **cursor)
        heads += [item["head"] for item in page["items"]]
        cursor = {"cursor": page["next_cursor"]}

    assert heads[:5] == markers[::-1]


async def test_the_same_dead_letter_is_told_apart_by_its_own_id(platform: Platform, router: RouterProcess) -> None:
    marker = unique("marker-")
    await platform.publish(marker.encode(), marker.encode(), to="call")

    async def both() -> Any:
        items = (await router.api("/v1/dead-letters", limit=200))["items"]
        found = [item["id"] for item in items if marker in item["head"]]
        return found if len(found) == 2 else None

    assert len(set(await wait_for(both))) == 2


async def test_requeued_letter_goes_through_once_the_router_understands_it(
    own_platform: Platform, tmp_path: Path, server: ScriptedServer
) -> None:
    account = own_platform.enable_account()
    own_platform.define_webhook(account, to=server.url)
    # Spaces and a number that no parser keeps: what comes back is the very bytes.
    body = encode(make_event(account, "chamada")).replace(b'"version": "1"', b'"version" :1e3')
    async with RouterProcess(own_platform, tmp_path) as router:
        await own_platform.publish(body, to="cdr", message_id="m-1", headers={"x": "1"})
        letter = await dead_letter(router, "chamada")
        assert letter["reason"] == "unknown_type"

        own_platform.source_settings["type_map"] = {"chamada": "cdr"}
        await router.restart()
        listed = json.loads(await router.command("dead-letters", "list", "--json"))
        outcome = json.loads(await router.command("dead-letters", "requeue", letter["id"], "--json"))
        (request,) = await server.received(1)
        after = await router.api(f"/v1/dead-letters/{letter['id']}")

    assert letter["id"] in json.dumps(listed)
    assert outcome["requeued"] == [letter["id"]]
    assert request.body == body
    assert after["requeued_at"] is not None


async def test_requeued_letter_that_is_still_wrong_is_a_dead_letter_again(
    platform: Platform, router: RouterProcess
) -> None:
    marker = unique("marker-")
    await platform.publish(marker.encode(), to="cdr")
    first = await dead_letter(router, marker)
    await router.command("dead-letters", "requeue", first["id"])

    async def both() -> Any:
        items = (await router.api("/v1/dead-letters", limit=200))["items"]
        found = [item for item in items if marker in item["head"]]
        return found if len(found) == 2 else None

    second, again = await wait_for(both)
    assert again["id"] == first["id"]
    assert again["requeued_at"] is not None
    assert second["requeued_at"] is None
    assert second["source"] == "cdr"


async def test_log_and_metrics_say_how_many_and_why(platform: Platform, router: RouterProcess) -> None:
    body = encode(without(make_event("x"), "account_id"))
    assert NOTE.encode() in body
    await platform.publish(body, to="cdr")

    async def is_counted() -> bool:
        _, text = await router.get("/metrics")
        return 'webhook_router_dead_letters_total{reason="no_account"}' in text

    await wait_for(is_counted)
    lines = [json.loads(line) for line in router.log.splitlines() if '"dead_letter"' in line]
    assert {"source", "reason", "size"} <= lines[-1].keys()
