"""Measures the router beside a bare loop and a bare bridge, in one run: same broker, same receiver, same body.

    python -m bench                    everything; --quick for a look at whether everything still runs
    python -m bench --only throughput  one measurement: --help lists them
    python -m bench --json             the figures as JSON on stdout

Figures are CPU times of the measured processes (user and system), which a busy neighbour disturbs less than
throughput, and latencies from just before the publish to the receipt. Compare within one run only.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import os
import platform
import resource
import sys
import tempfile
from collections.abc import Awaitable, Callable, Sequence
from pathlib import Path
from typing import Any

from bench.backlog import backlog, backlog_report
from bench.basic import idle, idle_report, latency, latency_report, throughput, throughput_report
from bench.growth import (
    body,
    body_report,
    definitions,
    definitions_report,
    fan_out,
    fan_out_report,
    workers,
    workers_report,
)
from bench.harness import Bench, process, say
from bench.isolation import isolation, isolation_report
from bench.memory import memory, memory_report
from bench.page import command_of, filled
from bench.pending import due, due_report, pending, pending_report
from bench.profile import profile, profile_report
from bench.reader import reader, reader_report
from router.adapters.embedded.broker import RabbitNode
from router.adapters.embedded.processes import free_ports

Measure = Callable[[Bench], Awaitable[None]]
Report = Callable[[dict[str, Any]], list[str]]

MEASUREMENTS: dict[str, tuple[Measure, Report]] = {
    "throughput": (throughput, throughput_report),
    "latency": (latency, latency_report),
    "profile": (profile, profile_report),
    "workers": (workers, workers_report),
    "backlog": (backlog, backlog_report),
    "pending": (pending, pending_report),
    "due": (due, due_report),
    "memory": (memory, memory_report),
    "definitions": (definitions, definitions_report),
    "fan-out": (fan_out, fan_out_report),
    "body": (body, body_report),
    "idle": (idle, idle_report),
    "isolation": (isolation, isolation_report),
    "reader": (reader, reader_report),
}
QUICK = {
    "events": 300,
    "rounds": 1,
    "seconds": 2,
    "definitions": 2_000,
    "pending": 2_000,
    "deliveries": 1_000,
    "visits": 5,
}
VHOST = "bench"


async def main() -> None:
    options = read_options(sys.argv[1:])
    allow_descriptors()
    (port,) = free_ports(1)
    with tempfile.TemporaryDirectory() as folder:
        node = RabbitNode(directory=Path(folder) / "rabbitmq")
        node.start()
        try:
            async with process("-m", "bench.receiver", str(port)):
                bench = Bench(with_quorum_queues(node), port, options, {"machine": _machine()})
                for name in options.only or MEASUREMENTS:
                    measure, _ = MEASUREMENTS[name]
                    say(f"{name}: {measure.__doc__}")
                    await measure(bench)
        finally:
            node.stop()
    if options.write:
        write(options.write, bench.figures)
    print(json.dumps(bench.figures, indent=2) if options.json else report(bench.figures))


def read_options(arguments: Sequence[str]) -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        prog="make bench", description=__doc__, formatter_class=argparse.RawTextHelpFormatter
    )
    parser.add_argument("--only", choices=MEASUREMENTS, action="append", help="one measurement; may be repeated")
    parser.add_argument("--events", type=int, default=2_000, help="events per round (2000)")
    parser.add_argument("--rounds", type=int, default=3, help="rounds, of which the median counts (3)")
    parser.add_argument("--seconds", type=float, help="seconds per rate (10), of each run of isolation (120)")
    parser.add_argument("--rate", type=int, help="events per second of isolation (200)")
    parser.add_argument("--definitions", type=int, default=100_000, help="most webhooks of others (100000)")
    parser.add_argument("--pending", type=int, default=100_000, help="most deliveries that wait for a retry (100000)")
    parser.add_argument("--deliveries", type=int, default=30_000, help="deliveries in the log of reader (30000)")
    parser.add_argument("--visits", type=int, default=40, help="visits of each page of reader (40)")
    parser.add_argument("--driver", choices=("motor", "pymongo"), help="MongoDB driver of the router")
    parser.add_argument("--quick", action="store_true", help="everything small: says nothing about speed")
    parser.add_argument("--write", type=Path, metavar="PAGE", help="put the tables into PAGE: docs/performance.md")
    parser.add_argument("--json", action="store_true", help="the figures as JSON on stdout")
    if parser.parse_args(arguments).quick:
        parser.set_defaults(**QUICK)
    return parser.parse_args(arguments)


def with_quorum_queues(node: RabbitNode) -> str:
    """The URL of a virtual host whose queues are quorum queues: the bare bridge cannot ask for one."""
    node.ctl("add_vhost", VHOST, "--default-queue-type", "quorum")
    node.ctl("set_permissions", "--vhost", VHOST, "guest", ".*", ".*", ".*")
    return node.url + VHOST


def allow_descriptors() -> None:
    """As many as the machine lets us have, and our children: a thousand endpoints need more than the usual 1,024."""
    _, most = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (most, most))


def _machine() -> str:
    return f"{os.cpu_count()} cores, {platform.machine()}, Python {platform.python_version()}"


def tables_of(figures: dict[str, Any]) -> dict[str, list[str]]:
    return {name: lines_of(figures[name]) for name, (_, lines_of) in MEASUREMENTS.items() if name in figures}


def report(figures: dict[str, Any]) -> str:
    lines = [f"machine: {figures['machine']}", *(line for table in tables_of(figures).values() for line in table)]
    return "\n".join(lines)


def write(page: Path, figures: dict[str, Any]) -> None:
    text = filled(page.read_text(), tables_of(figures), command=command_of(sys.argv[1:]), machine=figures["machine"])
    page.write_text(text)


if __name__ == "__main__":
    asyncio.run(main())
