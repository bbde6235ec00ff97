"""What every `ports.AuditLog` does: in memory, and on the real server through both drivers."""

from __future__ import annotations

from collections.abc import AsyncIterator
from datetime import timedelta
from typing import Any

import pymongo
import pytest
import pytest_asyncio

from router.adapters.mongo.audit import MongoAuditTrail
from router.adapters.mongo.driver import Database, DriverName, open_database
from router.adapters.mongo.indexes import ensure_indexes
from router.application import queries
from router.application.queries import PageRequest
from router.domain.errors import DependencyUnavailable
from router.domain.event import AccountId
from router.ports import AuditEntry, AuditFilter, AuditLog
from tests.support.fakes_manage import NOW, FakeAudit

MINUTE = timedelta(minutes=1)


@pytest_asyncio.fixture(params=["motor", "pymongo"])
async def database(request: pytest.FixtureRequest, mongo_url: str, mongo_database: str) -> AsyncIterator[Database]:
    driver: DriverName = request.param
    database = open_database(mongo_url, mongo_database, driver)
    await ensure_indexes(database)
    yield database
    await database.close()


@pytest_asyncio.fixture(params=["fake", "motor", "pymongo"])
async def log(request: pytest.FixtureRequest, mongo_url: str, mongo_database: str) -> AsyncIterator[AuditLog]:
    if request.param == "fake":
        yield FakeAudit()
        return
    database = open_database(mongo_url, mongo_database, request.param)
    await ensure_indexes(database)
    yield MongoAuditTrail(database)
    await database.close()


def entry(number: int, account_id: str | None = "1042", action: str = "delivery.revealed") -> AuditEntry:
    return AuditEntry(
        at=NOW + number * MINUTE,
        actor="cli:support",
        action=action,
        account_id=None if account_id is None else AccountId(account_id),
        target=f"dlv_{number}",
        details={"count": number, "fields": ["url", "name"], "is_all": True, "word": "x"},
    )


async def listed(log: AuditLog, **where: Any) -> list[AuditEntry]:
    return [record.entry for record in await log.entries(AuditFilter(**where), after=None, limit=100)]


async def test_what_was_written_is_read_newest_first(log: AuditLog) -> None:
    written = [entry(number) for number in range(3)]
    for each in written:
        await log.write(each)

    assert await listed(log) == written[::-1]
    assert await log.count_entries(AuditFilter()) == 3


async def test_every_filter_narrows(log: AuditLog) -> None:
    entries = [entry(0), entry(1, "7"), entry(2, None, "dead_letter.requeued"), entry(3)]
    for each in entries:
        await log.write(each)

    assert await listed(log, account_id=AccountId("1042")) == [entries[3], entries[0]]
    assert await listed(log, action="dead_letter.requeued") == [entries[2]]
    assert await listed(log, from_=NOW + MINUTE, to=NOW + 3 * MINUTE) == [entries[2], entries[1]]
    assert await listed(log, account_id=AccountId("1042"), from_=NOW + MINUTE) == [entries[3]]
    assert await log.count_entries(AuditFilter(account_id=AccountId("1042"))) == 2


async def test_pages_lose_and_repeat_nothing_also_within_one_moment(log: AuditLog) -> None:
    for number in range(7):
        await log.write(entry(number // 3))
    seen: list[str] = []
    after = None
    while True:
        page = await queries.list_audit(log, AuditFilter(), PageRequest(limit=2, after=after, with_total=True))
        seen += [record.id for record in page.items]
        assert page.total == 7
        if (after := page.next) is None:
            break

    assert len(seen) == len(set(seen)) == 7


async def test_an_entry_leaves_when_its_time_is_over(database: Database) -> None:
    await MongoAuditTrail(database, timedelta(days=7)).write(entry(0))

    document = await database["audit"].find_one({})
    assert document["expire_at"] == NOW + timedelta(days=7)


async def test_a_trail_that_cannot_be_written_says_so(
    database: Database, mongo_client: pymongo.MongoClient[dict[str, Any]]
) -> None:
    refuse = {"failCommands": ["insert"], "errorCode": 262}
    mongo_client.admin.command("configureFailPoint", "failCommand", mode="alwaysOn", data=refuse)
    try:
        with pytest.raises(DependencyUnavailable, match="did not write the audit trail"):
            await MongoAuditTrail(database).write(entry(0))
    finally:
        mongo_client.admin.command("configureFailPoint", "failCommand", mode="off")

    assert await listed(MongoAuditTrail(database)) == []
    await MongoAuditTrail(database).write(entry(0))
    assert len(await listed(MongoAuditTrail(database))) == 1
