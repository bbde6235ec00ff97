"""Calls that waited in the queue while no router ran: what is stale expires, whatever the publisher's clock says."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from tests.support.events import make_event
from tests.support.http_server import ScriptedServer
from tests.support.router_process import Platform, RouterProcess, wait_for

MINUTE, HOUR = timedelta(minutes=1), timedelta(hours=1)


def call(account: str, *, age: timedelta, clock_behind: timedelta) -> dict[str, Any]:
    """A call of that age, by a publisher's clock that is behind by so much."""
    occurred_at = datetime.now(UTC) - age - clock_behind
    return make_event(account, "call") | {"occurred_at": occurred_at.isoformat(timespec="milliseconds")}


@pytest.mark.slow
@pytest.mark.parametrize(
    ("clock_behind", "is_known", "stale_becomes"),
    [
        (timedelta(), True, "expired"),
        (HOUR, True, "expired"),
        # Nothing tells an hour of error from an hour of waiting: better a late call than none.
        (HOUR, False, "delivered"),
    ],
)
async def test_a_backlog_from_before_the_start_is_judged_by_what_was_known_of_the_clock(
    own_platform: Platform,
    tmp_path: Path,
    server: ScriptedServer,
    clock_behind: timedelta,
    is_known: bool,
    stale_becomes: str,
) -> None:
    account = own_platform.enable_account()
    own_platform.define_webhook(account, to=server.url, event_type="call")
    async with RouterProcess(own_platform, tmp_path) as router:
        if is_known:
            live = call(account, age=timedelta(), clock_behind=clock_behind)
            await own_platform.publish(live)
            await router.delivery(event_id=live["id"], account_id=account)
        await router.stop()

        stale = [call(account, age=20 * MINUTE, clock_behind=clock_behind) for _ in range(5)]
        fresh = [call(account, age=timedelta(), clock_behind=clock_behind) for _ in range(5)]
        await own_platform.publish(*stale, *fresh)
        await router.start()

        async def ends(events: list[dict[str, Any]]) -> set[str]:
            found = await router.deliveries(account_id=account, limit=200)
            mine = [each["status"] for each in found if each["event_id"] in {event["id"] for event in events}]
            return set(mine) if len(mine) == len(events) and "pending" not in mine else set()

        assert await wait_for(lambda: ends(fresh)) == {"delivered"}
        assert await wait_for(lambda: ends(stale)) == {stale_becomes}
