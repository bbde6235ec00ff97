"""Every read of the store has an end: the server gives up by itself (`maxTimeMS`), whoever waits for it."""

from __future__ import annotations

from collections.abc import AsyncIterator
from typing import Any

import pytest
import pytest_asyncio
from motor.motor_asyncio import AsyncIOMotorClient
from pymongo import AsyncMongoClient
from pymongo.monitoring import CommandFailedEvent, CommandListener, CommandStartedEvent, CommandSucceededEvent

from router.adapters.mongo.driver import Database
from router.web.api.catalogue import ENDPOINTS
from tests.support import samples
from tests.support.api import AUTHORIZED, Surroundings
from tests.support.stored import StoredThings

READS = {"find", "aggregate", "count", "distinct", "mapReduce"}
QUERIES = {
    "/v1/deliveries": [
        *("", "?account_id=1042", "?webhook_id=wh_crm", "?event_id=evt-1", "?call_id=call-1", "?user_id=u-17"),
        *(
            "?number=+33639981122&include_total=true",
            "?number=1122&call_id=call-1",
            "?status=delivered&event_type=call",
        ),
    ],
    "/v1/webhooks": ["", "?account_id=1042&include_total=true", "?state=active&include_total=true", "?event_type=call"],
    "/v1/dead-letters": ["", "?include_total=true"],
    "/v1/search": [
        *("?q=evt-1", "?q=+33639981122", "?q=dlv_1", "?q=dl_1", "?q=crm.example.com", "?q=evt-none&account_id=1042"),
    ],
    "/v1/events/{id}": ["?account_id=1042"],
    "/v1/calls/{call_id}": ["?account_id=1042"],
}
IDS = {"/v1/events": "evt-1", "/v1/calls": "call-1", "/v1/accounts": "1042", "/v1/dead-letters": "dl_1"}
BODIES = {
    "/v1/accounts/{id}": {"webhooks_enabled": True},
    "/v1/webhooks": {"account_id": "1", "name": "CRM", "url": "https://crm.example.com/", "event_type": "call"},
    "/v1/webhooks/{id}": {"enabled": True},
}


class Overheard(CommandListener):
    """Which reads were sent, and which of them have no end."""

    def __init__(self) -> None:
        self.reads: list[str] = []
        self.endless: list[str] = []

    def started(self, event: CommandStartedEvent) -> None:
        if event.command_name in READS:
            self.reads.append(event.command_name)
            if "maxTimeMS" not in event.command:
                self.endless.append(f"{event.command_name} {event.command[event.command_name]}")

    def succeeded(self, event: CommandSucceededEvent) -> None: ...

    def failed(self, event: CommandFailedEvent) -> None: ...


@pytest.fixture
def overheard() -> Overheard:
    return Overheard()


@pytest_asyncio.fixture(params=[AsyncIOMotorClient, AsyncMongoClient], ids=["motor", "pymongo"])
async def database(
    request: pytest.FixtureRequest, mongo_url: str, mongo_database: str, overheard: Overheard
) -> AsyncIterator[Database]:
    opened = Database(request.param(mongo_url, event_listeners=[overheard]), mongo_database)
    yield opened
    await opened.close()


def targets() -> list[tuple[str, str, Any]]:
    """Every route with every way of asking, those that delete last."""
    asked: list[tuple[str, str, Any]] = []
    for endpoint in sorted(ENDPOINTS, key=lambda endpoint: endpoint.method == "DELETE"):
        start, _, rest = endpoint.path.partition("/{")
        path = f"{start}/{IDS.get(start, 'wh_crm')}{rest.partition('}')[2]}" if rest else start
        queries = QUERIES.get(endpoint.path, [""]) if endpoint.method == "GET" else [""]
        asked += [(endpoint.method, path + query.replace("+", "%2B"), BODIES.get(endpoint.path)) for query in queries]
    return asked


async def test_no_route_reads_without_an_end(database: Database, stored: StoredThings, overheard: Overheard) -> None:
    event = samples.event(matched=["wh_crm"], call_id="call-1", user_id="u-17")
    stored.add_webhook(samples.webhook())
    stored.add_event(event)
    stored.add_delivery(samples.delivery(event), event.key, ["22118993633"])
    stored.add_dead_letter(samples.dead_letter())

    async with Surroundings(database=database).serving() as api:
        for method, target, body in targets():
            read = len(overheard.reads)
            answer = await api.request(method, target, headers=AUTHORIZED, json=body)
            assert answer.status in {200, 201, 202, 204, 400, 404, 415}, (method, target, answer)
            assert method != "GET" or len(overheard.reads) > read, target

    assert overheard.endless == []
