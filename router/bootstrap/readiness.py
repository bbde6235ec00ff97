"""Whether this process can do its work, and why not; filled in while the parts start. Touches nothing."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from router.application.progress import Line, Progress
from router.bootstrap.processes import WorkerProcesses
from router.bootstrap.store import Store
from router.bootstrap.worker import Worker
from router.telemetry.metrics import Metrics


class Readiness:
    """The parts of one generation that somebody may ask how they are."""

    def __init__(self) -> None:
        self.store: Store | None = None
        self.worker: Worker | None = None
        self.processes: WorkerProcesses | None = None
        self.progress: Progress | None = None
        self.started = False
        self.stopping = False

    def checks(self) -> Mapping[str, bool]:
        checks = {"store": self.store is not None and self.store.persistently.health.is_up}
        if self.worker is not None:
            checks.update(self.worker.checks())
        if self.processes is not None:
            checks.update(self.processes.checks())
        if self.progress is not None:
            checks["moving"] = not self.progress.stalled
        # Before the parts are there, none of them could say that it is not ready.
        checks["started"] = self.started
        checks["not_stopping"] = not self.stopping
        return checks

    def may_work(self) -> bool:
        """Whether work that does not move is a stall, and no outage or shutdown."""
        is_up = self.store is not None and self.store.persistently.health.is_up
        return is_up and self.started and not self.stopping

    def stalled(self) -> Sequence[str]:
        return self.progress.stalled if self.progress is not None else ()

    def lines(self) -> list[Line]:
        """The lines of work that are watched."""
        if self.processes is not None:
            return [self.processes.line()]
        return self.worker.lines() if self.worker is not None else []

    async def catch_up(self) -> None:
        """Let the store have what a worker in this process knows of; others bring theirs within a moment."""
        if self.worker is not None:
            await self.worker.ingest.catch_up()

    def observe(self, metrics: Metrics) -> None:
        """Bring the gauges up to date."""
        if self.worker is not None:
            self.worker.observe()
        if self.processes is not None:
            self.processes.observe()
        metrics.store_up.set(self.checks()["store"])
        metrics.stalled.set(len(self.stalled()))
