"""Doctor: what this process may have open, what manages it, and whether a router answers. Asks systemd and the API."""

from __future__ import annotations

import asyncio
import re
from collections.abc import Mapping
from typing import Final

from router import __version__
from router.adapters import host
from router.adapters.probing import ask
from router.domain.diagnosis import Finding, Ward
from router.settings import Settings

GROUP: Final = "process"
_WARD: Final = Ward(GROUP)
UNIT: Final = "webhook-router.service"
ASK_SECONDS: Final = 3.0
OTHER_DESCRIPTORS: Final = 50
"""What is open besides requests: store, broker, API, log (docs/operations.md, What it needs)."""


async def look(settings: Settings) -> list[Finding]:
    unit = await host.unit_properties(UNIT) if host.is_systemd() else {}
    router, metrics = await asyncio.gather(_ask(settings, "/readyz"), _ask(settings, "/metrics"))
    running = re.search(r"(?m)^process_max_fds ([0-9.e+]+)$", metrics[1]) if metrics[0] == 200 else None
    limit = int(float(running[1])) if running else _unit_limit(unit) or host.descriptor_limit()
    whose = "of the router that runs" if running else "of the unit" if _unit_limit(unit) else "of this shell"
    return [
        _WARD.ok("version", f"webhook-router {__version__}"),
        judge_router(*router, where=f"{settings.api.host} port {settings.api.port}"),
        judge_descriptors(limit, whose, settings.delivery.max_in_flight),
        judge_manager(unit),
    ]


async def _ask(settings: Settings, path: str) -> tuple[int, str]:
    return await asyncio.to_thread(ask, settings.api.host, settings.api.port, path, ASK_SECONDS)


def _unit_limit(unit: Mapping[str, str]) -> int | None:
    limit = unit.get("LimitNOFILE", "")
    return int(limit) if unit.get("LoadState") == "loaded" and limit.isdigit() else None


def judge_router(status: int, answer: str, *, where: str) -> Finding:
    if status == 200:
        return _WARD.ok("router", f"ready, at {where}")
    if status == 503:
        wrong = ", ".join(re.findall(r'"name":"([^"]+)","ok":false', answer)) or "see /readyz"
        return _WARD.fail(
            "router",
            f"it runs at {where} and is not ready: {wrong}",
            "See its log, and the lines above; where they are ok it may be on its way back: ask again in a moment.",
        )
    return _WARD.warn(
        "router",
        f"none answers at {where} ({answer or status})",
        "Start it, if it should run: `webhook-router serve`, or systemctl start webhook-router.",
    )


def judge_descriptors(limit: int, whose: str, in_flight: int) -> Finding:
    least, enough = in_flight + OTHER_DESCRIPTORS, 2 * in_flight + OTHER_DESCRIPTORS
    said = f"{limit} {whose}; {in_flight} requests at once need {least}, and {enough} with idle connections"
    remedy = "LimitNOFILE=65536 in the unit, ulimit -n in a shell; or a smaller delivery.max_in_flight."
    if limit < least:
        return _WARD.fail("descriptors", said, remedy)
    return _WARD.warn("descriptors", said, remedy) if limit < enough else _WARD.ok("descriptors", said)


def judge_manager(unit: Mapping[str, str]) -> Finding:
    if host.is_kubernetes():
        if host.has_service_account():
            return _WARD.warn(
                "manager",
                "Kubernetes, and the pod holds a token of the cluster's",
                "automountServiceAccountToken: false in the pod.",
            )
        return _WARD.ok("manager", "Kubernetes")
    if unit.get("LoadState") == "loaded":
        return judge_unit(unit)
    if host.is_container():
        return _WARD.ok("manager", "a container; its engine restarts it, if told so (restart: on-failure)")
    remedy = "Install config/systemd/webhook-router.service, or run it in a container."
    return _WARD.warn("manager", "nothing: neither systemd nor a container restarts a router that ends", remedy)


def judge_unit(unit: Mapping[str, str]) -> Finding:
    state = f"systemd, {UNIT} is {unit.get('ActiveState', 'unknown')} and {unit.get('UnitFileState', 'not enabled')}"
    if unit.get("Restart", "no") == "no":
        return _WARD.warn("manager", f"{state}, without Restart=", "Restart=on-failure in the unit.")
    if unit.get("WatchdogUSec", "0") in {"0", "infinity"}:
        return _WARD.warn("manager", f"{state}, without a watchdog", "WatchdogSec=30 in the unit.")
    if unit.get("UnitFileState") != "enabled":
        return _WARD.warn("manager", f"{state}: a reboot ends it", "systemctl enable webhook-router")
    return _WARD.ok("manager", state)
