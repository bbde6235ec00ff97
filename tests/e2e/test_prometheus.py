"""Prometheus' own checker reads what we ship for it, and what a router that delivered something shows."""

from __future__ import annotations

import subprocess
from pathlib import Path

import pytest

from tests.support.events import make_event
from tests.support.http_server import ScriptedServer
from tests.support.promql import PROMETHEUS, ROOT, exposed
from tests.support.router_process import Platform, RouterProcess


@pytest.fixture(scope="module")
def promtool() -> Path:
    """The one of this machine, or Debian's, which is fetched."""
    found = subprocess.run([ROOT / "scripts" / "ensure-promtool"], capture_output=True, text=True, check=False)
    assert found.returncode == 0, found.stderr
    return Path(found.stdout.strip())


def run(promtool: Path, *arguments: str, stdin: str | None = None) -> None:
    result = subprocess.run(
        [promtool, *arguments], cwd=PROMETHEUS, input=stdin, capture_output=True, text=True, check=False
    )
    assert result.returncode == 0, result.stdout + result.stderr
    assert not result.stderr or stdin is None, result.stderr


@pytest.mark.parametrize(
    "check", ["check config prometheus.yml", "check rules rules.yml alerts.yml", "test rules alerts_test.yml"]
)
def test_what_is_shipped_for_prometheus_is_sound(promtool: Path, check: str) -> None:
    run(promtool, *check.split())


async def test_metrics_of_a_router_that_delivered_are_as_prometheus_likes_them(
    promtool: Path, own_platform: Platform, tmp_path: Path
) -> None:
    account = own_platform.enable_account()
    async with ScriptedServer() as server, RouterProcess(own_platform, tmp_path) as router:
        own_platform.define_webhook(account, to=server.url)
        await router.takes_up_definitions()
        event = make_event(account, "cdr")
        await own_platform.publish(event, b"no JSON")
        await router.delivery(event_id=event["id"])
        _, shown = await router.get("/metrics")

    run(promtool, "check", "metrics", stdin=shown)
    series = {line.partition(" ")[0].partition("{")[0] for line in shown.splitlines() if not line.startswith("#")}
    ours = {name for name in series if not name.endswith("_created")}
    assert ours <= exposed().keys()
    assert {"webhook_router_event_to_delivered_seconds_count", "webhook_router_store_write_seconds_bucket"} <= ours
