"""The tables of docs/scaling.md: sizes, the runs that back them, what troubles cost, and the comparison with the bench.
Writes them between their markers in that page.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Sequence
from dataclasses import replace
from math import ceil
from pathlib import Path
from typing import Final

from bench.simulation.costs import Costs
from bench.simulation.scenario import Outage, Report, Scenario, Trouble, run
from bench.simulation.sizing import Sizing, size
from bench.simulation.validation import compare
from router.settings import load_settings

PAGE: Final = Path(__file__).parents[2] / "docs" / "scaling.md"
RATES: Final = (100, 1_000, 10_000, 100_000)
STORES: Final = ("mongod", "slow_mongod")
SEED: Final = 1
TARGET_SECONDS: Final = 1.0
"""What 95 of 100 first attempts to healthy customers may take, one worker being killed meanwhile."""
MOST_BUSY: Final = 0.75
SIMULATED_RATE: Final = 1_000.0
"""Events a second that a run really makes, at most. For more, everything is slowed by the same factor."""
SECONDS: Final = 30.0
ROUNDS: Final = 5

# --- sizes -----------------------------------------------------------------------------------------


def sizes(costs: Costs, store: str) -> list[Sizing]:
    settings = load_settings(config=Path("/dev/null"), environ={})
    return [size(rate, costs, costs.stores[store], settings) for rate in RATES]


def size_table(costs: Costs) -> str:
    usual, slow = (sizes(costs, store) for store in STORES)
    rows: dict[str, list[str]] = {
        "workers, each a core": [f"{each.workers:,}" for each in usual],
        "hosts of 8 cores": [f"{each.hosts:,}" for each in usual],
        "memory of all workers, usual": [_gib(each.memory_mib) for each in usual],
        "memory of all workers, at most": [_gib(each.most_memory_mib) for each in usual],
        "attempts in flight": [f"{each.in_flight:,}" for each in usual],
        "RabbitMQ: nodes, queues of the busiest type": [f"3, {each.queues:,}" for each in usual],
        "RabbitMQ: connections": [f"{each.broker_connections:,}" for each in usual],
        "MongoDB: shards × members": [f"{each.shards:,} × 3" for each in usual],
        "the same, were it three times as slow": [f"{each.shards:,} × 3" for each in slow],
        "MongoDB: connections": [f"{each.store_connections:,}" for each in usual],
        "disk a day, one copy of everything": [_disk(each.disk_per_day_gib) for each in usual],
        "disk of 30 days, one copy of everything": [_disk(30 * each.disk_per_day_gib) for each in usual],
        "disk of 30 days, each member": [_disk(30 * each.disk_per_day_gib / each.shards) for each in usual],
        "network of all workers": [f"{each.network_mbit:,.0f} Mbit/s" for each in usual],
        "busy: workers, shards, queues": [_busy(each.worker_busy, each.shard_busy, each.queue_busy) for each in usual],
        "full first": [each.first for each in usual],
        "the same, were the store three times as slow": [each.first for each in slow],
    }
    head = ("deliveries a second", *(f"{rate:,}" for rate in RATES))
    return _table(head, [[name, *cells] for name, cells in rows.items()])


def _busy(*shares: float) -> str:
    return ", ".join(f"{share * 100:.0f} %" for share in shares)


def _gib(mib: float) -> str:
    return f"{mib / 1024:,.1f} GiB"


def _disk(gib: float) -> str:
    return f"{gib / 1024:,.1f} TiB" if gib >= 1024 else f"{gib:,.1f} GiB"


# --- the runs that back them -----------------------------------------------------------------------


def backed_table(costs: Costs, say: Callable[[str], None]) -> str:
    rows = []
    for store in STORES:
        for sizing in sizes(costs, store):
            workers, report = _smallest(costs, store, sizing, say)
            rows.append(_backed_row(store, sizing, workers, report))
    head = (
        "store", "deliveries a second", "slowed by", "workers", "shards", "queues", "p50", "p95", "p99",
        "busy: workers, shards, queues", "doubled", "lost",
    )  # fmt: skip
    return _table(head, rows)


def trial(costs: Costs, store: str, sizing: Sizing, workers: int) -> Scenario:
    """A run at this size: some customers are bad, traffic is skewed, and one worker is killed and comes back."""
    factor = max(1.0, sizing.rate / SIMULATED_RATE)
    return Scenario(
        costs=costs.slowed(factor),
        store=costs.stores[store].scaled(factor),
        workers=workers,
        shards=sizing.shards,
        queues=sizing.queues,
        rate=sizing.rate / factor,
        webhooks=1_000,
        zipf=1.0,
        bad_share=0.05,
        with_retention=True,
        seconds=SECONDS,
        drain_seconds=1.0,
        seed=SEED,
        outages=[Outage(trouble=Trouble.WORKER, at=SECONDS / 2, seconds=5.0)],
    )


def _smallest(costs: Costs, store: str, sizing: Sizing, say: Callable[[str], None]) -> tuple[int, Report]:
    """The fewest workers from what was computed upwards that do."""
    workers = sizing.workers
    for _ in range(ROUNDS):
        report = run(trial(costs, store, sizing, workers))
        say(f"{store} {sizing.rate:,.0f}/s, {workers} workers: p95 {report.wait(95):.3f} s, CPU {report.cpu:.0%}")
        if report.lost:
            raise SystemExit(f"{report.lost} deliveries were lost")
        if report.wait(95) <= TARGET_SECONDS and report.cpu <= MOST_BUSY:
            return workers, report
        workers = ceil(workers * 1.1)
    raise SystemExit(f"{store} {sizing.rate:,.0f}/s: even {workers} workers do not do")


def _backed_row(store: str, sizing: Sizing, workers: int, report: Report) -> list[str]:
    return [
        f"`{store}`",
        f"{sizing.rate:,.0f}",
        f"{max(1.0, sizing.rate / SIMULATED_RATE):g}",
        f"{workers:,}",
        f"{sizing.shards:,}",
        f"{sizing.queues:,}",
        *(_ms(report.wait(percent)) for percent in (50, 95, 99)),
        _busy(report.cpu, report.store, report.queue),
        str(report.doubled),
        str(report.lost),
    ]


def _ms(seconds: float) -> str:
    return f"{seconds:,.1f} s" if seconds >= 10 else f"{seconds * 1000:,.0f} ms"


# --- troubles --------------------------------------------------------------------------------------


def troubles(costs: Costs) -> list[tuple[str, Scenario]]:
    """Four workers at 200 a second on one shard, and one thing that goes wrong."""
    calm = Scenario(
        costs=costs,
        store=costs.stores["mongod"],
        workers=4,
        rate=200.0,
        webhooks=200,
        seconds=90.0,
        drain_seconds=900.0,
        seed=SEED,
    )

    def with_(trouble: Trouble, seconds: float) -> Scenario:
        return replace(calm, outages=[Outage(trouble=trouble, at=20.0, seconds=seconds)])

    return [
        ("nothing", calm),
        ("a worker is killed, another starts 5 s later", with_(Trouble.WORKER, 5.0)),
        ("the store fails over for 10 s", with_(Trouble.STORE, 10.0)),
        ("the store fails over for 30 s", with_(Trouble.STORE, 30.0)),
        ("a broker node is lost, another leads after 5 s", with_(Trouble.BROKER, 5.0)),
        ("ten times the traffic for 60 s", with_(Trouble.BURST, 60.0)),
        ("one tenant has half of the traffic", replace(calm, noisy_share=0.5)),
        (
            "half of the customers are away for 1 h, at 5 a second",
            replace(
                calm,
                rate=5.0,
                seconds=4_000.0,
                drain_seconds=40_000.0,
                outages=[Outage(trouble=Trouble.CUSTOMERS, at=20.0, seconds=3_600.0)],
            ),
        ),
    ]


def trouble_table(costs: Costs, say: Callable[[str], None]) -> str:
    rows = []
    for name, scenario in troubles(costs):
        report = run(scenario)
        say(f"{name}: p95 {report.wait(95):.3f} s")
        rows.append([name, *trouble_cells(report)])
    head = (
        "trouble", "events", "p50", "p95", "p99", "most pending", "over, after the last event", "leases run out",
        "claims (in vain)", "doubled", "lost",
    )  # fmt: skip
    return _table(head, rows)


def trouble_cells(report: Report) -> list[str]:
    counts = report.counts
    return [
        f"{report.published:,}",
        *(_ms(report.wait(percent)) for percent in (50, 95, 99)),
        f"{report.most_pending:,}",
        "not yet" if report.drained_after is None else f"{report.drained_after:,.0f} s",
        f"{counts.expired:,}",
        f"{counts.claimed:,} ({counts.wasted:,})",
        str(report.doubled),
        str(report.lost),
    ]


# --- beside the bench ------------------------------------------------------------------------------


def comparison_table(costs: Costs) -> str:
    rows = [
        [each.what, f"{each.measured:,g}", f"{each.simulated:,.4g}", f"{each.ratio:.2f}"] for each in compare(costs)
    ]
    return _table(("figure", "measured", "simulated", "ratio"), rows)


# --- the page --------------------------------------------------------------------------------------


def _table(head: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    lines = [head, ["---", *("---:" for _ in head[1:])], *rows]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)


def stamp(costs: Costs) -> str:
    return f"Printed by `python -m bench.simulation --table`, seed {SEED}, costs {costs.digest}."


def all_tables(costs: Costs, say: Callable[[str], None]) -> dict[str, str]:
    return {
        "sizes": size_table(costs),
        "runs": backed_table(costs, say),
        "troubles": trouble_table(costs, say),
        "bench": comparison_table(costs),
    }


def written(page: str, name: str, table: str) -> str:
    """`page` with what is between the markers of `name` replaced."""
    begin, end = f"<!-- {name}: begin -->", f"<!-- {name}: end -->"
    pattern = re.compile(f"{re.escape(begin)}.*?{re.escape(end)}", re.DOTALL)
    if not pattern.search(page):
        raise SystemExit(f"docs/scaling.md has no place for the table {name!r}: {begin}")
    return pattern.sub(lambda _: f"{begin}\n\n{table}\n\n{end}", page)


def between(page: str, name: str) -> str:
    found = re.search(f"<!-- {name}: begin -->\n\n(.*?)\n\n<!-- {name}: end -->", page, re.DOTALL)
    return found[1] if found else ""
