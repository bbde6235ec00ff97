"""What machines ask of the process itself: whether it lives, whether it can work, and its metrics. Needs no token."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence

from aiohttp import web
from prometheus_client.exposition import choose_encoder
from prometheus_client.registry import Collector

from router.web.encoding import encode

Checks = Callable[[], Mapping[str, bool]]
"""The names of what readiness depends on, and whether each is well now."""

JSON = "application/json"


def add_probes(
    app: web.Application,
    checks: Checks,
    metrics: Collector,
    observe: Callable[[], None],
    stalled: Callable[[], Sequence[str]],
) -> None:
    """`observe` brings the gauges of `metrics` up to date; called before each reading. `stalled` names what has work,
    could do it, and does not."""

    async def livez(_: web.Request) -> web.Response:
        # The event loop turns, or this would not run, and the work moves. No dependency, or an outage of the store
        # would have every router restarted.
        names = stalled()
        return _json(503, {"status": "stalled", "stalled": list(names)}) if names else _json(200, {"status": "ok"})

    async def readyz(request: web.Request) -> web.Response:
        found = checks()
        ready = all(found.values())
        answer: dict[str, object] = {"status": "ready" if ready else "not_ready"}
        if not ready or "verbose" in request.query:
            answer["checks"] = [{"name": name, "ok": well} for name, well in found.items()]
        return _json(200 if ready else 503, answer)

    async def show_metrics(request: web.Request) -> web.Response:
        observe()
        encoder, content_type = choose_encoder(request.headers.get("Accept", ""))
        return web.Response(body=encoder(metrics), headers={"Content-Type": content_type})

    app.router.add_get("/livez", livez)
    app.router.add_get("/readyz", readyz)
    app.router.add_get("/metrics", show_metrics)


def _json(status: int, value: object) -> web.Response:
    return web.Response(status=status, body=encode(value), content_type=JSON)
