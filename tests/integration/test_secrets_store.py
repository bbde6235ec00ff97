"""Secrets at rest on the real store: sealed at first sight, sealed anew with another key, and bound to their place."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator, Callable
from contextlib import aclosing
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

import pymongo
import pytest
import pytest_asyncio

from router.adapters.mongo import secrets as module
from router.adapters.mongo.definitions import MongoDefinitions
from router.adapters.mongo.driver import Database, DriverName, open_database
from router.adapters.mongo.keys import KeyRecords
from router.adapters.mongo.reader import MongoReader
from router.adapters.mongo.registry import MongoRegistry
from router.adapters.mongo.resilience import Persistent, StoreHealth
from router.adapters.mongo.secrets import FirstSight, MongoSecrets
from router.domain.errors import ConfigurationRefused, InvalidInput
from router.domain.event import AccountId, EventType
from router.domain.webhook import Webhook, WebhookId, WebhookState
from router.ports import NO_KEYS, DefinitionSnapshot, Place, Resealing, SecretCounts, Vault
from tests.support.keys import ring

NOW = datetime(2031, 1, 1, tzinfo=UTC)
SECRET = "whsec_cGxhaW4tY2FuYXJ5LW9uZS1wbGFpbi1jYW5hcnk="
OLDER = "whsec_cGxhaW4tY2FuYXJ5LXR3by1wbGFpbi1jYW5hcnk="
CANARIES = (SECRET, OLDER, "canary-header", "canary-dotted", "canary-password", "canary-key")
DEFINITION: dict[str, Any] = {
    "account_id": "1042",
    "name": "CRM",
    "url": "https://crm.example/hook",
    "event_type": "call",
    "enabled": True,
    "restrict_to": None,
    "created_at": NOW,
    "updated_at": NOW,
}
WHOLE: dict[str, Any] = {
    **DEFINITION,
    "secret": [SECRET, {"value": OLDER, "expires_at": NOW, "note": "kept"}],
    "headers": {"X-Key": "canary-header", "x.$dotted": "canary-dotted"},
    "auth": {"type": "basic", "username": "crm", "password": "canary-password"},
    "client_certificate": {"certificate": "public", "key": "canary-key"},
}
WEBHOOK = Webhook(
    id=WebhookId("wh_1"),
    account_id=AccountId("1042"),
    name="CRM",
    url="https://crm.example/hook",
    event_type=EventType.CALL,
    enabled=True,
    headers=(("X-Key", "canary-header"),),
    created_at=NOW,
    updated_at=NOW,
)


@dataclass
class World:
    """One database, as the back office sees it in `stored` and as routers with this or that key do."""

    database: Database
    stored: Any

    def persistently(self) -> Persistent:
        return Persistent(StoreHealth())

    def secrets(self, vault: Vault) -> MongoSecrets:
        return MongoSecrets(self.database, vault, self.persistently())

    async def loaded(self, vault: Vault) -> dict[str, Webhook]:
        """What a worker knows after its first load; plain secrets that it saw are sealed."""
        first_sight = FirstSight(self.secrets(vault))
        notice = first_sight.notice if vault.key_ids else None
        definitions = MongoDefinitions(self.database, self.persistently(), "FR", vault=vault, notice=notice)
        async with asyncio.timeout(30), aclosing(definitions.follow()) as news:  # type: ignore[type-var]
            snapshot = await anext(news)
        assert isinstance(snapshot, DefinitionSnapshot)
        await first_sight.seal_noticed()
        return {str(key): webhook for key, webhook in snapshot.webhooks.items()}

    async def rotate(self, vault: Vault) -> Resealing:
        steps = [done async for done in self.secrets(vault).reseal_all()]
        return steps[-1] if steps else Resealing()

    def dump(self) -> str:
        """Everything in every collection."""
        names = self.stored.list_collection_names()
        return json.dumps({name: list(self.stored[name].find()) for name in names}, default=str)


class Meddled:
    """A vault; before it seals for the first time, the back office does something."""

    def __init__(self, vault: Vault, meddle: Callable[[], object]) -> None:
        self._vault = vault
        self._meddle: Callable[[], object] | None = meddle
        self.key_ids = vault.key_ids
        self.open = vault.open

    def seal(self, text: str, place: Place) -> str:
        if self._meddle is not None:
            self._meddle()
            self._meddle = None
        return self._vault.seal(text, place)


@pytest_asyncio.fixture(params=["motor", "pymongo"])
async def world(
    request: pytest.FixtureRequest,
    mongo_url: str,
    mongo_client: pymongo.MongoClient[dict[str, Any]],
    mongo_database: str,
) -> AsyncIterator[World]:
    driver: DriverName = request.param
    database = open_database(mongo_url, mongo_database, driver)
    yield World(database, mongo_client[mongo_database])
    await database.close()


# --- first sight -----------------------------------------------------------------------------------


async def test_what_the_back_office_wrote_plain_is_sealed_when_a_worker_loads_it(world: World) -> None:
    world.stored.webhooks.insert_one({"_id": "wh_1", **WHOLE})

    before = (await world.loaded(ring("k1")))["wh_1"]

    assert [canary for canary in CANARIES if canary in world.dump()] == []
    after = (await world.loaded(ring("k1")))["wh_1"]
    assert after == before
    document = world.stored.webhooks.find_one({"_id": "wh_1"})
    assert document["updated_at"] == NOW
    assert document["secret"][1].items() >= {"expires_at": NOW, "note": "kept"}.items()
    assert document["auth"].items() >= {"type": "basic", "username": "crm"}.items()
    assert document["client_certificate"]["certificate"] == "public"
    assert await world.secrets(ring("k1")).count() == SecretCounts(by_key={"k1": 6}, plain=0, unopened=0)


async def test_without_a_key_everything_stays_as_it_is(world: World) -> None:
    world.stored.webhooks.insert_one({"_id": "wh_1", **WHOLE})

    await world.loaded(NO_KEYS)

    assert world.stored.webhooks.find_one({"_id": "wh_1"}) == {"_id": "wh_1", **WHOLE}


async def test_thousands_are_sealed_in_batches(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "BATCH", 50)
    world.stored.webhooks.insert_many([{"_id": f"wh_{n}", **DEFINITION, "secret": SECRET} for n in range(1_020)])

    await world.loaded(ring("k1"))

    assert await world.secrets(ring("k1")).count() == SecretCounts(by_key={"k1": 1_020}, plain=0, unopened=0)


@pytest.mark.parametrize("key", [7, {"a": 1}, "it's"])
async def test_ids_of_every_type_are_sealed(world: World, key: Any) -> None:
    world.stored.webhooks.insert_one({"_id": key, **DEFINITION, "secret": SECRET})

    await world.loaded(ring("k1"))

    assert SECRET not in world.dump()


async def test_an_account_that_cannot_be_read_is_not_sealed_for(world: World) -> None:
    world.stored.webhooks.insert_one({"_id": "wh_1", **DEFINITION, "account_id": None, "secret": SECRET})

    await world.loaded(ring("k1"))

    assert world.stored.webhooks.find_one({"_id": "wh_1"})["secret"] == SECRET


@pytest.mark.parametrize(
    "edit",
    [
        {"secret": [OLDER, SECRET]},  # a list that holds the value that was read
        {"secret": OLDER},
        {"headers": {"X-Key": "canary-header", "X-More": "1"}},
        {"headers": None},
        {"account_id": "2042"},
    ],
)
async def test_whoever_edits_meanwhile_wins(world: World, edit: dict[str, Any]) -> None:
    document = {"_id": "wh_1", **DEFINITION, "secret": SECRET, "headers": {"X-Key": "canary-header"}}
    world.stored.webhooks.insert_one(document)

    await world.loaded(Meddled(ring("k1"), lambda: world.stored.webhooks.update_one({"_id": "wh_1"}, {"$set": edit})))

    assert world.stored.webhooks.find_one({"_id": "wh_1"}) == document | edit


async def test_a_validator_of_the_back_office_stops_nobody(world: World) -> None:
    world.stored.webhooks.insert_one({"_id": "wh_1", **DEFINITION, "secret": SECRET})
    rule = {"secret": {"$regex": "^whsec_"}}
    world.stored.command("collMod", "webhooks", validator=rule)

    assert (await world.loaded(ring("k1")))["wh_1"].state is WebhookState.ACTIVE
    assert await world.rotate(ring("k1")) == Resealing(refused=1)


# --- bound to its place ----------------------------------------------------------------------------


async def test_a_value_that_was_copied_elsewhere_makes_that_webhook_invalid_and_no_other(world: World) -> None:
    vault = ring("k1")
    world.stored.webhooks.insert_many(
        [{"_id": f"wh_{n}", **DEFINITION, "secret": SECRET, "headers": {"a": "1", "b": "2"}} for n in range(4)]
    )
    world.stored.webhooks.update_one({"_id": "wh_3"}, {"$set": {"account_id": "2042"}})
    await world.loaded(vault)
    stored = {each["_id"]: each for each in world.stored.webhooks.find()}
    steal = world.stored.webhooks.update_one
    steal({"_id": "wh_0"}, {"$set": {"secret": stored["wh_1"]["secret"]}})
    steal({"_id": "wh_2"}, {"$set": {"headers.a": stored["wh_2"]["headers"]["b"]}})
    steal({"_id": "wh_3"}, {"$set": {"account_id": "1042"}})

    webhooks = await world.loaded(vault)

    elsewhere = "does not open with key 'k1': it was sealed for another place, or it is damaged"
    assert {key: webhook.problem for key, webhook in webhooks.items()} == {
        "wh_0": f"secret: {elsewhere}",
        "wh_1": None,
        "wh_2": f"headers.a: {elsewhere}",
        "wh_3": f"secret: {elsewhere}",
    }


@pytest.mark.parametrize(
    ("vault", "problem"),
    [
        (ring("k2"), "secret: is sealed with key 'k1', which is not in the key file"),
        (NO_KEYS, "secret: is sealed with key 'k1', and there is no key file"),
    ],
)
async def test_a_missing_key_is_said_and_the_header_names_stay_visible(
    world: World, vault: Vault, problem: str
) -> None:
    await MongoRegistry(world.database, ring("k1")).add_webhook(WEBHOOK, SECRET)

    seen = await MongoReader(world.database, "FR", vault).webhook(WEBHOOK.id)

    assert seen is not None
    assert (seen.state, seen.problem) == (WebhookState.INVALID, problem)
    assert seen.headers == (("X-Key", ""),)


# --- writing ---------------------------------------------------------------------------------------


async def test_a_new_webhook_is_stored_sealed(world: World) -> None:
    await MongoRegistry(world.database, ring("k1")).add_webhook(WEBHOOK, SECRET)

    assert [canary for canary in CANARIES if canary in world.dump()] == []
    seen = await MongoReader(world.database, "FR", ring("k1")).webhook(WEBHOOK.id)
    assert seen is not None
    assert seen.headers == WEBHOOK.headers
    assert seen.secrets != ()


async def test_adding_the_same_webhook_again_after_a_lost_reply_is_no_error(world: World) -> None:
    registry = MongoRegistry(world.database, ring("k1"))
    await registry.add_webhook(WEBHOOK, SECRET)

    await registry.add_webhook(WEBHOOK, SECRET)

    with pytest.raises(InvalidInput, match="taken by another webhook"):
        await registry.add_webhook(WEBHOOK, OLDER)


@pytest.mark.parametrize("vault", [ring("k1"), NO_KEYS])
async def test_nobody_can_write_what_looks_sealed(world: World, vault: Vault) -> None:
    with pytest.raises(InvalidInput, match="secret: must not begin with 'sealed:'"):
        await MongoRegistry(world.database, vault).add_webhook(WEBHOOK, "sealed:k1:AAAA")


# --- rotation --------------------------------------------------------------------------------------


async def test_a_rotation_seals_everything_with_the_first_key(world: World) -> None:
    world.stored.webhooks.insert_many([{"_id": f"wh_{n}", **WHOLE} for n in range(3)])
    before = await world.loaded(ring("k1"))
    world.stored.webhooks.insert_one({"_id": "wh_plain", **DEFINITION, "secret": SECRET})

    assert await world.rotate(ring("k2", "k1")) == Resealing(sealed=4)

    assert await world.secrets(ring("k2")).count() == SecretCounts(by_key={"k2": 19}, plain=0, unopened=0)
    after = await world.loaded(ring("k2"))
    assert {key: after[key] for key in before} == before
    assert await world.rotate(ring("k2", "k1")) == Resealing()


async def test_a_rotation_that_breaks_off_is_run_again(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "BATCH", 10)
    world.stored.webhooks.insert_many([{"_id": f"wh_{n}", **DEFINITION, "secret": SECRET} for n in range(45)])
    before = await world.loaded(ring("k1"))

    async with aclosing(world.secrets(ring("k2", "k1")).reseal_all()) as rotation:  # type: ignore[type-var]
        await anext(rotation)
    middle = await world.secrets(ring("k2", "k1")).count()
    half_way = await world.loaded(ring("k2", "k1"))
    await world.rotate(ring("k2", "k1"))

    assert middle == SecretCounts(by_key={"k2": 10, "k1": 35}, plain=0, unopened=0)
    assert half_way == before
    assert await world.secrets(ring("k2")).count() == SecretCounts(by_key={"k2": 45}, plain=0, unopened=0)
    assert await world.loaded(ring("k2")) == before


async def test_a_rotation_looks_again_at_what_was_edited_meanwhile(world: World) -> None:
    world.stored.webhooks.insert_one({"_id": "wh_1", **DEFINITION, "secret": SECRET})
    edit = {"$set": {"secret": OLDER}}

    done = await world.rotate(Meddled(ring("k1"), lambda: world.stored.webhooks.update_one({"_id": "wh_1"}, edit)))

    assert done == Resealing(sealed=1, changed_meanwhile=1)
    assert world.dump().count("sealed:k1:") == 1
    assert OLDER not in world.dump()


async def test_what_cannot_be_opened_stays_and_is_counted(world: World) -> None:
    world.stored.webhooks.insert_many(
        [
            {"_id": "wh_1", **DEFINITION, "secret": "sealed:k0:AAAA", "headers": {"a": "b"}},
            {"_id": "wh_2", **DEFINITION, "secret": "sealed:nonsense"},
        ]
    )

    assert await world.rotate(ring("k1")) == Resealing(sealed=1)

    assert world.stored.webhooks.find_one({"_id": "wh_1"})["secret"] == "sealed:k0:AAAA"
    assert await world.secrets(ring("k1")).count() == SecretCounts(by_key={"k0": 1, "k1": 1}, plain=0, unopened=2)


# --- the start -------------------------------------------------------------------------------------


async def started(world: World, vault: Vault) -> None:
    """What `serve` asks before anything else."""
    records = KeyRecords(world.database, vault)
    await records.register()
    await records.demand(world.secrets(vault))


async def test_a_start_needs_every_key_that_a_secret_needs(world: World) -> None:
    await started(world, NO_KEYS)
    await started(world, ring("k1"))
    await MongoRegistry(world.database, ring("k1")).add_webhook(WEBHOOK, SECRET)

    await started(world, ring("k1"))
    await started(world, ring("k2", "k1"))
    with pytest.raises(ConfigurationRefused) as no_file:
        await started(world, NO_KEYS)
    with pytest.raises(ConfigurationRefused) as not_in_file:
        await started(world, ring("k2"))

    assert str(no_file.value) == (
        "webhooks have 2 secret value(s) sealed with key 'k1', and there is no key file: set secrets.key_file to the "
        "file with that key"
    )
    assert str(not_in_file.value) == (
        "webhooks have 2 secret value(s) sealed with key 'k1', which is not in the key file: add its line to the file "
        "of secrets.key_file, after the first"
    )


async def test_a_key_that_nothing_needs_any_more_may_go(world: World) -> None:
    await started(world, ring("k1"))
    await MongoRegistry(world.database, ring("k1")).add_webhook(WEBHOOK, SECRET)
    await started(world, ring("k2", "k1"))
    await world.rotate(ring("k2", "k1"))

    await started(world, ring("k2"))

    assert [record["_id"] for record in world.stored.sealing_keys.find()] == ["k2"]


async def test_a_value_that_only_looks_sealed_keeps_no_router_from_starting(world: World) -> None:
    world.stored.webhooks.insert_one({"_id": "wh_1", **DEFINITION, "headers": {"x-key": "sealed:k9:AAAA"}})

    await started(world, NO_KEYS)
    await started(world, ring("k1"))


async def test_another_key_under_a_known_id_is_refused(world: World) -> None:
    world.stored.sealing_keys.insert_one({"_id": "k1", "check": "sealed:k1:" + "A" * 60})

    with pytest.raises(ConfigurationRefused, match=r"key 'k1' of the key file .* is not the key"):
        await started(world, ring("k2", "k1"))


async def test_processes_that_start_together_agree_on_the_record(world: World) -> None:
    await asyncio.gather(*(started(world, ring("k1")) for _ in range(8)))

    assert world.stored.sealing_keys.count_documents({}) == 1
