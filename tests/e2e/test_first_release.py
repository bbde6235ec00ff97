"""A router of today on what the first release had written: everything is delivered, read and shown; then the upgrade is
finished, and a router that is too old is told so.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from router.domain.schema import EMPTY_STORE, KNOWN
from tests.support.first_release import ACCOUNT, restore
from tests.support.http_server import ScriptedServer
from tests.support.router_process import STOP_SECONDS, Platform, RouterProcess, wait_for

CONFIGURATION = 78
WAITING = {"evt_pending", "evt_user", "evt_leased", "evt_retrying"}
OVER = {"evt_delivered": "delivered", "evt_failed": "failed", "evt_suspended": "failed"}
OLD_INDEXES = {"event_id", "call", "user", "number"}


@pytest.fixture
def old(own_platform: Platform, server: ScriptedServer) -> Platform:
    restore(own_platform.database, url=server.url)
    return own_platform


def done(platform: Platform) -> set[int]:
    record = platform.database.meta.find_one({"_id": "schema"}) or {}
    return set(record.get("done", ()))


async def expanded(platform: Platform) -> None:
    await wait_for(lambda: done(platform) >= {2, 3})


async def ids_found(router: RouterProcess, **filters: Any) -> set[str]:
    return {delivery["event_id"] for delivery in await router.deliveries(account_id=ACCOUNT, **filters)}


async def test_what_the_first_release_left_is_delivered_and_shown(
    old: Platform, tmp_path: Path, server: ScriptedServer
) -> None:
    async with RouterProcess(old, tmp_path) as router:
        # What nobody held is sent: what was due, what failed once, and what a dead worker had.
        await server.received(len(WAITING))
        await expanded(old)

        async def all_delivered() -> bool:
            return await ids_found(router, status="delivered") == WAITING | {"evt_delivered"}

        await wait_for(all_delivered)
        retried = await router.delivery(event_id="evt_retrying")
        assert [attempt["status_code"] for attempt in retried["attempts"]] == [503, 200]

        # Its log is found in every way there is.
        everything = WAITING | set(OVER) | {"evt_held"}
        assert await ids_found(router) == everything
        assert await ids_found(router, number="06 39 98 11 22") == everything - {"evt_user"}
        assert await ids_found(router, number="1234") == everything - {"evt_user"}
        assert await ids_found(router, call_id="c-failed") == {"evt_failed"}
        assert await ids_found(router, user_id="u-17") == {"evt_user"}
        for event_id, status in OVER.items():
            delivery = await router.delivery(event_id=event_id)
            assert (delivery["status"], '"id"' in delivery["payload"]) == (status, True)
        unmatched = await router.event(ACCOUNT, "evt_unmatched")
        assert (unmatched["deliveries"], [line["webhook_id"] for line in unmatched["trace"]]) == ([], ["wh_crm"])
        states = {each["id"]: each["state"] for each in (await router.api("/v1/webhooks", account_id=ACCOUNT))["items"]}
        assert states == {"wh_crm": "active", "wh_user": "active", "wh_paused": "paused", "wh_suspended": "suspended"}
        (letter,) = (await router.api("/v1/dead-letters"))["items"]
        assert (await router.api(f"/v1/dead-letters/{letter['id']}"))["reason"] == "not_json"

        # What rested for a paused webhook is woken by it.
        await router.command("webhooks", "resume", "wh_paused")
        assert (await router.delivery(event_id="evt_held"))["status"] == "delivered"


async def test_the_upgrade_is_finished_by_hand_and_takes_what_older_routers_wrote_meanwhile(
    old: Platform, tmp_path: Path, server: ScriptedServer
) -> None:
    deliveries = old.database.deliveries
    async with RouterProcess(old, tmp_path) as router:
        await expanded(old)
        assert old.database.dead_letters.count_documents({"payload_expires_at": {"$exists": True}}) == 1
        # A router of the first release still runs, and writes as it knows.
        late = deliveries.find_one({"event_id": "evt_delivered"}, {"search": 0}) or {}
        deliveries.insert_one(late | {"_id": "dlv_0", "event_id": "evt_late"})
        plan = await router.command("migrate", "plan")
        assert plan.count("waits for apply") == 2
        await router.command("migrate", "apply")
        assert await ids_found(router, event_id="evt_late") == {"evt_late"}
        assert (await router.command("migrate", "apply", "--json")).count("[]") == 1

    assert done(old) == EMPTY_STORE.done
    for collection in (deliveries, old.database.events):
        assert collection.count_documents({"number_keys": {"$exists": True}}) == 0
    assert deliveries.count_documents({"search": {"$exists": False}}) == 0
    assert not OLD_INDEXES & set(deliveries.index_information())
    entry = old.database.audit.find_one({"action": "schema.migrated"}) or {}
    assert entry["target"] == str(KNOWN)


async def test_a_store_that_is_too_new_is_refused_at_the_start_and_while_it_runs(
    own_platform: Platform, tmp_path: Path
) -> None:
    """A newer router may go first in a rolling upgrade; once it has taken something away, this one ends."""
    meta = own_platform.database.meta
    meta.insert_one({"_id": "schema", "done": [*EMPTY_STORE.done, KNOWN + 1], "needs": KNOWN})
    async with RouterProcess(own_platform, tmp_path) as router:
        meta.update_one({"_id": "schema"}, {"$set": {"needs": KNOWN + 1}})
        await router.ask_to_stop()
        router.launch()
        assert await router.ended(within_seconds=STOP_SECONDS) == CONFIGURATION
        (line,) = router.lines("configuration_refused")
        assert f"knows {KNOWN}" in line["error"]
        assert "webhook-router migrate apply" in line["error"]
    assert set(own_platform.database.list_collection_names()) >= {"meta"}


async def test_a_new_store_has_nothing_to_migrate(own_platform: Platform, tmp_path: Path) -> None:
    async with RouterProcess(own_platform, tmp_path) as router:
        assert done(own_platform) == EMPTY_STORE.done
        assert not router.lines("migration_began")
