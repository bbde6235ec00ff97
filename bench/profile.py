"""Where the CPU of a delivery goes, in the bare loop and in the router. Touches processes."""

from __future__ import annotations

import asyncio
import json
import os
import signal
import tempfile
from pathlib import Path

from bench.harness import Bench, bare, on_fresh_store, router, say
from bench.measure import Figures, prepare, run_load
from bench.profiled import LOOP, PARTS, THREADS
from bench.tables import table

WARM_EVENTS = 500
ROWS = (*PARTS, THREADS, LOOP)


@on_fresh_store
async def profile(bench: Bench) -> None:
    """What the CPU of a delivery goes into, sampled in the bare loop and in the router."""
    await prepare(bench, "bench_profile")
    count = bench.options.events
    with tempfile.TemporaryDirectory() as folder:
        outs = {name: Path(folder) / name for name in ("bare", "router")}
        async with (
            bare(bench, under=("-m", "bench.profiled", str(outs["bare"]))) as bare_pid,
            router(bench, "bench_profile", under=("-m", "bench.profiled", str(outs["router"]))) as started,
        ):
            found = {}
            for name, pid, exchange in (("bare", bare_pid, "bench.bare"), ("router", started.pid, "cdr")):
                await run_load(bench, pid, exchange, WARM_EVENTS)
                os.kill(pid, signal.SIGUSR1)
                await run_load(bench, pid, exchange, count)
                os.kill(pid, signal.SIGUSR2)
                await asyncio.sleep(1)  # it writes at once
                seconds = json.loads(outs[name].read_text())
                found[name] = {part: seconds.get(part, 0.0) / count * 1e6 for part in ROWS}
                say(f"  {name:7} {found[name]}")
    bench.figures["profile"] = {"events": count, "us_per_delivery": found}


def profile_report(part: Figures) -> list[str]:
    spent = part["us_per_delivery"]
    totals = {name: sum(each.values()) for name, each in spent.items()}
    rows = {
        row: {
            **{name: each[row] for name, each in spent.items()},
            "share": f"{share(spent['router'][row], totals['router'])} %",
        }
        for row in ROWS
    }
    columns = (("bare: µs CPU", "bare", 0), ("router: µs CPU", "router", 0), ("of the router", "share", 0))
    return table("profile", columns, {**rows, "all": totals})


def share(some: float, whole: float) -> int:
    return round(some / whole * 100) if whole else 0
