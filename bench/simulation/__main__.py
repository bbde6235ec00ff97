"""Simulates N workers in virtual time, or makes the tables of docs/scaling.md.

    python -m bench.simulation --workers 8 --rate 1000 --seed 7
    python -m bench.simulation --workers 4 --rate 100 --trouble worker:20:5 --trouble store:60:20
    python -m bench.simulation --table --write   from bench/costs.toml into docs/scaling.md: some minutes
    python -m bench.simulation --sizes           how large documents and their keys are

The same arguments print the same figures. A trouble is KIND:AT:SECONDS; the kinds are worker (killed; another starts
after SECONDS), store (fails over), broker (its leader is lost), customers (half of them are away), burst (ten times the
traffic).
"""

from __future__ import annotations

import argparse
import os
import sys
from collections.abc import Sequence
from dataclasses import asdict

from bench.simulation import tables
from bench.simulation.costs import load_costs
from bench.simulation.scenario import Outage, Report, Scenario, Trouble, run
from bench.simulation.sizes import measure


def outage(text: str) -> Outage:
    kind, at, seconds = text.split(":")
    return Outage(trouble=Trouble(kind), at=float(at), seconds=float(seconds))


def lines(report: Report) -> list[str]:
    counts = report.counts
    after = "not yet" if report.drained_after is None else f"{report.drained_after:.1f} s after the last event"
    waits = ", ".join(f"p{percent} {report.wait(percent) * 1000:.1f} ms" for percent in (50, 95, 99))
    busy = f"workers {report.cpu:.1%}, shards {report.store:.1%}, queues {report.queue:.1%} of {report.seconds:.0f} s"
    told = {
        "published": report.published,
        "stored": f"{report.stored}: {report.delivered} delivered, {report.failed} failed, {report.pending} pending",
        "at the broker": report.at_broker,
        "lost": report.lost,
        "doubled": report.doubled,
        "requests": report.requests,
        "first request": f"{waits} (healthy customers)",
        "all over": after,
        "most pending": report.most_pending,
        "most at broker": report.most_at_broker,
        "most in memory": f"{report.most_held}, {report.held_of_one} of one worker",
        "claims": f"{counts.claimed}, {counts.wasted} in vain, {counts.polls} looks",
        "leases run out": f"{counts.expired}, claimed {counts.longest_orphan:.1f} s later at most",
        "results late": counts.results_late,
        "busy": busy,
        "store": f"{counts.operations} documents written or looked for",
    }
    return [f"{name:<15} {value}" for name, value in told.items()]


def arguments(typed: Sequence[str] | None = None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m bench.simulation", description=__doc__.partition("\n")[0])
    parser.add_argument("--workers", type=int, default=2)
    parser.add_argument("--rate", type=float, default=100.0, help="events a second, each with one delivery")
    parser.add_argument("--seconds", type=float, default=60.0)
    parser.add_argument("--drain", type=float, default=120.0, help="seconds after the last event, at most")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--store", default="mongod", choices=("embedded", "mongod", "slow_mongod"), help="whose costs")
    parser.add_argument("--shards", type=int, default=1)
    parser.add_argument("--queues", type=int, default=1)
    parser.add_argument("--webhooks", type=int, default=200)
    parser.add_argument("--zipf", type=float, default=1.0, help="exponent of the skew between tenants; 0: none")
    parser.add_argument("--noisy", type=float, default=0.0, help="share of the traffic that one tenant has")
    parser.add_argument("--bad", type=float, default=0.0, help="share of the customers whose servers fail")
    parser.add_argument("--trouble", type=outage, action="append", default=[], metavar="KIND:AT:SECONDS")
    parser.add_argument("--table", action="store_true", help="print the tables of docs/scaling.md")
    parser.add_argument("--write", action="store_true", help="with --table: into docs/scaling.md")
    parser.add_argument("--sizes", action="store_true", help="print how large documents are")
    return parser.parse_args(typed)


def make_tables(*, write: bool) -> None:
    costs = load_costs()
    made = tables.all_tables(costs, lambda line: print(line, file=sys.stderr, flush=True))
    made["stamp"] = tables.stamp(costs)
    if not write:
        print("\n\n".join(made.values()))
        return
    page = tables.PAGE.read_text(encoding="utf-8")
    for name, table in made.items():
        page = tables.written(page, name, table)
    tables.PAGE.write_text(page, encoding="utf-8")


def main() -> None:
    given = arguments()
    if given.sizes:
        for name, size in asdict(measure()).items():
            print(f"{name} = {size}")
    elif given.table:
        make_tables(write=given.write)
    else:
        costs = load_costs()
        scenario = Scenario(
            costs=costs,
            store=costs.stores[given.store],
            workers=given.workers,
            rate=given.rate,
            seconds=given.seconds,
            drain_seconds=given.drain,
            seed=given.seed,
            shards=given.shards,
            queues=given.queues,
            webhooks=given.webhooks,
            zipf=given.zipf,
            noisy_share=given.noisy,
            bad_share=given.bad,
            outages=given.trouble,
        )
        print("\n".join(lines(run(scenario))))


if __name__ == "__main__":
    if os.environ.get("PYTHONHASHSEED") != "0":
        # Sets of ids are gone through in the order of their hashes.
        again = [sys.executable, "-m", "bench.simulation", *sys.argv[1:]]
        os.execve(sys.executable, again, {**os.environ, "PYTHONHASHSEED": "0"})
    main()
