"""What one claim of due deliveries costs, as the router makes it: time, CPU here and in the store, commands, and what
the store goes through to find them. Touches the store."""

from __future__ import annotations

import statistics
import time
from collections import Counter
from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from typing import Any, Final

from pymongo import monitoring

from bench.harness import Bench
from bench.samples import cpu_seconds
from router.adapters.clock import StoreClock
from router.adapters.mongo.deliveries import MongoDeliveries
from router.adapters.mongo.driver import Database, open_database
from router.adapters.mongo.due import DUE_FIELDS
from router.adapters.mongo.indexes import DELIVERIES
from router.adapters.mongo.resilience import Persistent, StoreHealth
from router.adapters.mongo.retention import Retention
from router.application.retries import MAX_CLAIMED_AT_ONCE
from router.domain.delivery import Claim

WARM_UP: Final = 2
OWNER: Final = "worker-of-the-bench"


class Commands(monitoring.CommandListener):
    """Counts what a client sends. Made for clients that are opened after it is registered."""

    def __init__(self) -> None:
        self.counted: Counter[str] = Counter()

    def started(self, event: monitoring.CommandStartedEvent) -> None:
        self.counted[event.command_name] += 1

    def succeeded(self, event: monitoring.CommandSucceededEvent) -> None: ...

    def failed(self, event: monitoring.CommandFailedEvent) -> None: ...


COMMANDS: Final = Commands()


async def claim_costs(bench: Bench, name: str, repetitions: int) -> dict[str, Any]:
    """The figures of `repetitions` claims of 50 of the deliveries that are due in database `name`."""
    database = open_database(bench.mongo_url, name, bench.options.driver or "motor")
    try:
        ms, own, store = [], 0.0, 0.0
        for number in range(WARM_UP + repetitions):
            took, spent, store_spent = await _claim_once(bench, database)
            if number >= WARM_UP:
                ms.append(took * 1000)
                own, store = own + spent, store + store_spent
        examined = await _explain(database)
    finally:
        await database.close()
    at = statistics.quantiles(ms, n=20)
    return {
        "claimed": MAX_CLAIMED_AT_ONCE,
        "p50_ms": round(statistics.median(ms), 2),
        "p95_ms": round(at[18], 2),
        "cpu_ms": round(own / repetitions * 1000, 2),
        "store_cpu_ms": round(store / repetitions * 1000, 2),
        "commands": await _count_commands(bench, name),
        **examined,
    }


async def _claim_once(bench: Bench, database: Database) -> tuple[float, float, float]:
    """Seconds: of time, of our CPU and of the store's. What was claimed is due again afterwards."""
    store, own, began = cpu_seconds(bench.store_pid), time.process_time(), time.monotonic()
    claims = await _claim(database)
    took, spent = time.monotonic() - began, time.process_time() - own
    store_spent = cpu_seconds(bench.store_pid) - store
    await _release(database, claims)
    return took, spent, store_spent


async def _claim(database: Database) -> Sequence[Claim]:
    keep = Retention(payload=timedelta(days=30), log=timedelta(days=90))
    clock = StoreClock(database.server_time)
    deliveries = MongoDeliveries(database, Persistent(StoreHealth()), clock, keep, OWNER)
    claimed = await deliveries.claim(MAX_CLAIMED_AT_ONCE, except_for=(), ration=lambda _: None)
    if len(claimed.claims) != MAX_CLAIMED_AT_ONCE:
        raise SystemExit(f"{len(claimed.claims)} deliveries were claimed")
    return claimed.claims


async def _release(database: Database, claims: Sequence[Claim]) -> None:
    due = {"due_at": datetime.now(UTC) - timedelta(minutes=1), "lease.owner": None}
    await database[DELIVERIES].update_many({"_id": {"$in": [claim.delivery_id for claim in claims]}}, {"$set": due})


async def _count_commands(bench: Bench, name: str) -> dict[str, int]:
    """In a client of its own: listening costs CPU."""
    if COMMANDS not in _registered:
        monitoring.register(COMMANDS)
        _registered.append(COMMANDS)
    database = open_database(bench.mongo_url, name, bench.options.driver or "motor")
    try:
        await _release(database, await _claim(database))  # whatever is sent once, at the beginning
        COMMANDS.counted.clear()
        claims = await _claim(database)
        counted = dict(COMMANDS.counted)
        await _release(database, claims)
    finally:
        await database.close()
    return counted


_registered: list[Commands] = []


async def _explain(database: Database) -> dict[str, Any]:
    """How the store finds what is due."""
    find = {
        "find": DELIVERIES,
        "filter": {"due_at": {"$lte": datetime.now(UTC)}},
        "projection": DUE_FIELDS,
        "sort": {"due_at": 1},
        "limit": MAX_CLAIMED_AT_ONCE,
    }
    plan = await database.command({"explain": find, "verbosity": "executionStats"})
    executed = plan.get("executionStats", {})
    return {
        "stages": stages(plan.get("queryPlanner", {}).get("winningPlan")),
        "keys_examined": executed.get("totalKeysExamined"),
        "documents_examined": executed.get("totalDocsExamined"),
    }


def stages(plan: Any) -> list[str]:
    """The names of a plan's stages, from the outermost in."""
    if not isinstance(plan, dict):
        return []
    inner = [*stages(plan.get("inputStage")), *(name for each in plan.get("inputStages", ()) for name in stages(each))]
    return [plan["stage"], *inner] if "stage" in plan else inner
