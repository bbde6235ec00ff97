"""What every `ports.DeadLetterStore` does, on the real server and through both drivers."""

from __future__ import annotations

from collections.abc import AsyncIterator
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
import pytest_asyncio

from router.adapters.mongo.dead_letters import MAX_KEPT_BODY_BYTES, MongoDeadLetters
from router.adapters.mongo.driver import Database, DriverName, open_database
from router.adapters.mongo.indexes import ensure_indexes
from router.adapters.mongo.reader import MongoReader
from router.adapters.mongo.registry import MongoRegistry
from router.adapters.mongo.resilience import Persistent, StoreHealth
from router.adapters.mongo.retention import Retention
from router.adapters.mongo.upkeep import MongoUpkeep
from router.domain.event import Rejection, RejectionReason
from router.ports import DeadLetter, MessageProperties, RawMessage

NOW = datetime(2031, 1, 1, 12, tzinfo=UTC)
KEEP = timedelta(days=90)
KEEP_BODY = timedelta(days=30)
RAW = RawMessage(
    body=b"\xffnot JSON\x00",
    source="call",
    exchange="call",
    routing_key="call.received.1042",
    properties=MessageProperties(
        content_type="application/json",
        content_encoding="utf-8",
        message_id="m-1",
        type="call",
        timestamp=NOW - timedelta(seconds=1),
        headers={"x.$dotted": "a", "n": 1, "b": True},
    ),
    received_at=NOW,
    redelivered=False,
)
REJECTION = Rejection(reason=RejectionReason.NOT_JSON, detail="not UTF-8 at byte 0")


def letter(raw: RawMessage = RAW, **changes: Any) -> DeadLetter:
    return DeadLetter(raw=replace(raw, **changes), rejection=REJECTION)


@dataclass
class World:
    """One database, the store under test, and what looks at it and requeues."""

    database: Database
    letters: MongoDeadLetters
    reader: MongoReader
    registry: MongoRegistry

    async def documents(self) -> list[dict[str, Any]]:
        return [document async for document in self.database["dead_letters"].find().sort("_id", 1)]


@pytest_asyncio.fixture(params=["motor", "pymongo"])
async def world(request: pytest.FixtureRequest, mongo_url: str, mongo_database: str) -> AsyncIterator[World]:
    driver: DriverName = request.param
    database = open_database(mongo_url, mongo_database, driver)
    await ensure_indexes(database)
    letters = MongoDeadLetters(database, Persistent(StoreHealth()), Retention(payload=KEEP_BODY, log=KEEP))
    yield World(database, letters, MongoReader(database, "FR"), MongoRegistry(database))
    await database.close()


async def test_a_dead_letter_keeps_all_that_publishing_it_again_takes(world: World) -> None:
    await world.letters.bury([letter()])

    (document,) = await world.documents()
    found = await world.reader.dead_letter(document["_id"])
    assert found is not None
    assert found.raw == RAW
    assert (found.reason, found.detail, found.size) == ("not_json", "not UTF-8 at byte 0", len(RAW.body))
    assert found.head == "�not JSON\x00"
    assert found.requeued_at is None


async def test_a_dead_letter_is_deleted_when_its_time_is_over(world: World) -> None:
    await world.letters.bury([letter()])

    (document,) = await world.documents()
    assert document["expire_at"] == NOW + KEEP


async def test_its_body_and_all_that_quotes_it_go_before_it(world: World) -> None:
    await world.letters.bury([letter()])
    upkeep = MongoUpkeep(world.database, Persistent(StoreHealth()))

    assert (await upkeep.forget_payloads(NOW + KEEP_BODY - timedelta(seconds=1))).dead_letters == 0
    assert (await upkeep.forget_payloads(NOW + KEEP_BODY)).dead_letters == 1
    assert (await upkeep.forget_payloads(NOW + KEEP_BODY)).dead_letters == 0

    (document,) = await world.documents()
    assert {"body", "digest", "payload_expires_at"}.isdisjoint(document)
    assert (document["head"], document["properties"]["headers"], document["properties"]["message_id"]) == ("", [], None)
    found = await world.reader.dead_letter(document["_id"])
    assert found is not None
    assert (found.raw, found.reason, found.size) == (None, "not_json", len(RAW.body))


async def test_one_that_comes_again_because_its_ack_was_lost_is_stored_once(world: World) -> None:
    await world.letters.bury([letter()])
    await world.letters.bury([letter(redelivered=True, received_at=NOW + timedelta(seconds=5))])

    (document,) = await world.documents()
    assert document["received_at"] == NOW


async def test_one_that_was_redelivered_but_never_stored_is_stored(world: World) -> None:
    await world.letters.bury([letter(redelivered=True)])

    assert len(await world.documents()) == 1


async def test_the_same_bytes_published_twice_are_two_dead_letters(world: World) -> None:
    await world.letters.bury([letter(), letter()])
    await world.letters.bury([letter()])

    assert len(await world.documents()) == 3


@pytest.mark.parametrize(
    "other",
    [
        replace(RAW, body=b"other"),
        replace(RAW, source="cdr"),
        replace(RAW, properties=replace(RAW.properties, message_id="m-2")),
    ],
    ids=["body", "source", "message id"],
)
async def test_a_redelivery_is_known_by_body_source_and_message_id(world: World, other: RawMessage) -> None:
    await world.letters.bury([letter()])
    await world.letters.bury([letter(other, redelivered=True)])

    assert len(await world.documents()) == 2


async def test_one_that_was_requeued_may_come_again(world: World) -> None:
    await world.letters.bury([letter()])
    (first,) = await world.documents()
    await world.registry.mark_requeued(first["_id"], NOW)

    await world.letters.bury([letter(redelivered=True, received_at=NOW + timedelta(seconds=5))])
    assert len(await world.documents()) == 2

    await world.letters.bury([letter(redelivered=True, received_at=NOW + timedelta(seconds=6))])
    assert len(await world.documents()) == 2, "and that one again is a redelivery"


async def test_of_a_batch_the_known_ones_are_left_out_and_the_others_stored(world: World) -> None:
    await world.letters.bury([letter()])

    await world.letters.bury([letter(redelivered=True), letter(body=b"new"), letter(body=b"again", redelivered=True)])

    assert [document["body"] for document in await world.documents()].count(RAW.body) == 1
    assert len(await world.documents()) == 3


async def test_a_body_too_long_for_a_document_keeps_its_beginning_and_its_true_size(world: World) -> None:
    body = b"x" * (MAX_KEPT_BODY_BYTES + 1)
    await world.letters.bury([letter(body=body)])

    (document,) = await world.documents()
    assert len(document["body"]) == MAX_KEPT_BODY_BYTES
    assert document["size"] == MAX_KEPT_BODY_BYTES + 1
    assert len(document["head"]) == 200


async def test_two_with_bodies_too_long_that_differ_at_the_end_only_are_two(world: World) -> None:
    body = b"x" * MAX_KEPT_BODY_BYTES
    await world.letters.bury([letter(body=body + b"1")])
    await world.letters.bury([letter(body=body + b"2", redelivered=True)])

    assert len(await world.documents()) == 2


async def test_ids_follow_the_order_of_reception(world: World) -> None:
    for seconds in (3, 1, 2):
        await world.letters.bury([letter(received_at=NOW + timedelta(seconds=seconds))])

    received = [document["received_at"] for document in await world.documents()]
    assert received == sorted(received)


async def test_burying_nothing_is_nothing(world: World) -> None:
    await world.letters.bury([])

    assert await world.documents() == []
