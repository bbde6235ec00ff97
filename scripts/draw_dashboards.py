"""Draws what the dashboards show of a real run, for the documentation: docs/img/dashboard-*.svg.

    python -m scripts.draw_dashboards --minutes 6

Runs `webhook-router demo` and a Prometheus that scrapes it, then asks that Prometheus the queries of the dashboards and
draws the answers. There is no Grafana in it. Touches processes, ports of loopback, a folder of its own, docs/img.
"""

from __future__ import annotations

import argparse
import json
import os
import re
import subprocess
import sys
import tempfile
import time
import tomllib
import urllib.parse
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Final

from router.adapters.embedded.processes import free_ports, terminate
from scripts.dashboards import DATASOURCE, dashboards, document
from scripts.svg import Plot, Series, picture

ROOT: Final = Path(__file__).parents[1]
PICTURES: Final = ROOT / "docs" / "img"
SCRAPE_SECONDS: Final = 5
STEP_SECONDS: Final = 5
RATE_INTERVAL: Final = "30s"
"""What Grafana's $__rate_interval comes to with such a scrape, and some more for quiet lines."""
_PROMETHEUS: Final = """\
global: {{scrape_interval: {seconds}s}}
scrape_configs:
  - job_name: webhook-router
    static_configs: [{{targets: ["127.0.0.1:{port}"]}}]
"""


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--minutes", type=float, default=6)
    parser.add_argument("--rate", type=float, default=20, help="messages per second of the demo")
    options = parser.parse_args()
    with (
        tempfile.TemporaryDirectory() as folder,
        demo(Path(folder), options) as port,
        prometheus(Path(folder), port) as url,
    ):
        began = time.time()
        time.sleep(options.minutes * 60)
        draw(url, began, time.time())


@contextmanager
def demo(folder: Path, options: argparse.Namespace) -> Iterator[int]:
    """The port of the demo's router, once it is ready."""
    command = [sys.executable, "-m", "router", "demo", "--rate", str(options.rate), "--seed", "7"]
    with (folder / "demo.log").open("w") as log:
        process = subprocess.Popen(command, env={**os.environ, "ROUTER_DATA_DIR": str(folder)}, stdout=log, stderr=log)
    try:
        config = folder / "demo" / "router.toml"
        while True:
            if process.poll() is not None:
                raise SystemExit((folder / "demo.log").read_text())
            port = tomllib.loads(config.read_text())["api"]["port"] if config.exists() else 0
            if port and answers(f"http://127.0.0.1:{port}/readyz"):
                break
            time.sleep(0.5)
        yield port
    finally:
        terminate(process, timeout_seconds=60)


@contextmanager
def prometheus(folder: Path, router_port: int) -> Iterator[str]:
    """The URL of a Prometheus that scrapes the router."""
    promtool = subprocess.run([ROOT / "scripts" / "ensure-promtool"], check=True, capture_output=True, text=True)
    (port,) = free_ports(1)
    config = folder / "prometheus.yml"
    config.write_text(_PROMETHEUS.format(seconds=SCRAPE_SECONDS, port=router_port))
    command = [
        str(Path(promtool.stdout.strip()).with_name("prometheus")),
        f"--config.file={config}",
        f"--storage.tsdb.path={folder / 'series'}",
        f"--web.listen-address=127.0.0.1:{port}",
    ]
    with (folder / "prometheus.log").open("w") as log:
        process = subprocess.Popen(command, stdout=log, stderr=log)
    try:
        url = f"http://127.0.0.1:{port}"
        while not answers(f"{url}/-/ready"):
            if process.poll() is not None:
                raise SystemExit((folder / "prometheus.log").read_text())
            time.sleep(0.2)
        yield url
    finally:
        terminate(process, timeout_seconds=20)


def answers(url: str) -> bool:
    try:
        with urllib.request.urlopen(url, timeout=2) as answer:  # noqa: S310  loopback
            return bool(answer.status == 200)
    except OSError:
        return False


# --- from queries to pictures ----------------------------------------------------------------------


def draw(url: str, began: float, ended: float) -> None:
    PICTURES.mkdir(exist_ok=True)
    for dashboard in dashboards():
        panels = document(dashboard)["panels"]
        rows = [(panel["title"], panel["gridPos"]["y"]) for panel in panels if panel["type"] == "row"]
        plots = [plot_of(panel, url, began, ended) for panel in panels if panel["type"] != "row"]
        note = "demo run; drawn from the dashboard's own queries"
        text = picture(dashboard.title, note, rows, plots, ended - began)
        (PICTURES / f"dashboard-{dashboard.name}.svg").write_text(text, encoding="utf-8")


def plot_of(panel: dict[str, Any], url: str, began: float, ended: float) -> Plot:
    """The panel as it was written for Grafana, with what Prometheus answers to it."""
    assert panel["datasource"] == DATASOURCE  # noqa: S101  there is one Prometheus here
    at, defaults = panel["gridPos"], panel["fieldConfig"]["defaults"]
    series = [line for target in panel["targets"] for line in asked(target, url, began, ended)]
    last = series[0].points[-1][1] if series and series[0].points else 0.0
    steps = defaults.get("thresholds", {}).get("steps", [])
    return Plot(
        title=panel["title"],
        unit=defaults["unit"],
        x=at["x"],
        y=at["y"],
        width=at["w"],
        height=at["h"],
        series=series,
        stat=panel["type"] == "stat",
        stacked=defaults.get("custom", {}).get("stacking", {}).get("mode") == "normal",
        colour=next(
            (step["color"] for step in reversed(steps) if step["value"] is None or last >= step["value"]), "green"
        ),
    )


def asked(target: dict[str, Any], url: str, began: float, ended: float) -> list[Series]:
    expression = target["expr"].replace("$__rate_interval", RATE_INTERVAL)
    expression = expression.replace('job="$job", instance=~"$instance"', 'job="webhook-router"')
    query = urllib.parse.urlencode({"query": expression, "start": began, "end": ended, "step": STEP_SECONDS})
    with urllib.request.urlopen(f"{url}/api/v1/query_range?{query}", timeout=30) as answer:  # noqa: S310  loopback
        found = json.load(answer)["data"]["result"]
    lines = []
    for result in found:
        labels = result["metric"]
        name = target["legendFormat"]
        for label in re.findall(r"\{\{(\w+)\}\}", name):
            name = name.replace(f"{{{{{label}}}}}", labels.get(label, ""))
        points = [(float(at) - began, float(value)) for at, value in result["values"] if value not in {"NaN", "+Inf"}]
        lines.append(Series(name, points))
    return sorted(lines, key=lambda line: line.name)


if __name__ == "__main__":
    main()
