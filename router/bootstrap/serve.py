"""`serve`: puts the roles together, waits for what they depend on, and runs until it is told to stop."""

from __future__ import annotations

import asyncio
import os
import secrets
import socket
from collections.abc import Mapping, Sequence
from contextlib import AsyncExitStack
from typing import Final

import structlog
import uvloop

from router import __version__
from router.adapters import systemd
from router.adapters.host import descriptor_limit
from router.adapters.rabbitmq.publisher import OccasionalPublisher
from router.application.progress import Progress
from router.application.sessions import Sessions
from router.application.token_book import TokenBook
from router.application.upkeep import Housekeeping
from router.bootstrap import convert
from router.bootstrap.last_words import fields_of, show_block
from router.bootstrap.processes import StatusToParent, WorkerProcesses, status_fd
from router.bootstrap.store import Store, open_store
from router.bootstrap.tracing import open_tracing
from router.bootstrap.watchdog import LoopLag, Watchdog
from router.bootstrap.worker import Worker
from router.daemon import EXIT_OK, Step, StopSignal, Supervisor, end_leftovers
from router.domain.errors import ConfigurationRefused, DependencyUnavailable
from router.ports import Tracing
from router.settings import Settings
from router.telemetry.log import LineSink, configure_logging
from router.telemetry.metrics import Metrics
from router.web.api.auth import Access
from router.web.app import build_app, build_probes
from router.web.console.mount import ConsoleSettings
from router.web.server import WebServer

log = structlog.get_logger("router.serve")

START_PATIENCE_SECONDS: Final = 30.0
"""How long a dependency may be missing at start (contract, section 7)."""
MIN_DESCRIPTORS: Final = 64
"""Parts, connections and log of a router at rest. What it needs under load: `doctor`."""
EXIT_UNAVAILABLE: Final = 69
EXIT_CONFIGURATION: Final = 78


class Readiness:
    """Whether this process can do its work, and why not. Filled in while the parts start."""

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
            checks["workers"] = self.processes.are_ready()
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


def serve(settings: Settings, *, role: str, workers: int) -> int:
    """Run `all`, `worker` or `api` until a signal. Returns the exit code of the contract. Raises ConfigurationRefused
    where this process may open so little that not even its parts would start."""
    if descriptor_limit() < MIN_DESCRIPTORS:
        raise ConfigurationRefused(
            f"this process may have {descriptor_limit()} files and sockets open, and cannot start with fewer than "
            f"{MIN_DESCRIPTORS}: raise LimitNOFILE in the unit, or ulimit -n"
        )
    owner = _owner()
    sink = configure_logging(
        format=convert.log_format(settings),
        level=settings.log.level,
        pseudonyms=convert.pseudonyms(settings),
        identity={"version": __version__, "instance": owner},
    )
    return uvloop.run(_Daemon(settings, role, workers, owner, sink).run())


class _Daemon:
    def __init__(self, settings: Settings, role: str, workers: int, owner: str, sink: LineSink) -> None:
        self._settings = settings
        self._owner = owner
        self._sink = sink
        self._lost_lines = 0
        self._role = role
        self._workers = workers
        self._metrics = Metrics(__version__)
        self._readiness = Readiness()

    async def run(self) -> int:
        stop = StopSignal()
        stop.install()
        supervisor = Supervisor(stop)
        log.info("starting", version=__version__, role=self._role, workers=self._workers)
        log.info("egress_policy", **convert.egress_facts(self._settings))
        async with AsyncExitStack() as resources:
            exit_code = await self._run(resources, supervisor, stop)
            self._readiness.stopping = True
            systemd.notify("STOPPING=1")
            log.info("stopping")
            await supervisor.shut_down(self._stop_steps(supervisor))
        leftovers = await end_leftovers()
        log.info("stopped", exit_code=exit_code)
        if leftovers:
            # All is recorded and given back: what still hangs in a library must not keep the process.
            log.warning("tasks_left_behind", tasks=leftovers)
            os._exit(exit_code)
        return exit_code

    async def _run(self, resources: AsyncExitStack, supervisor: Supervisor, stop: StopSignal) -> int:
        """From the start to the wish to stop. Returns the exit code that follows."""
        try:
            started = await stop.unless_asked(self._start(resources, supervisor, stop))
        except DependencyUnavailable as error:
            log.error("dependency_unavailable", **fields_of(error, self._settings))
            show_block(error, self._settings)
            return self._workers_exit_code() or EXIT_UNAVAILABLE
        except ConfigurationRefused as error:
            log.error("configuration_refused", **fields_of(error, self._settings))
            show_block(error, self._settings)
            return EXIT_CONFIGURATION
        if not started:
            return EXIT_OK
        self._readiness.started = True
        systemd.notify("READY=1")
        log.info("ready")
        exit_code = await supervisor.watch()
        return exit_code and (self._workers_exit_code() or exit_code)

    def _workers_exit_code(self) -> int | None:
        """What a worker process said that its manager must know: a restart mends no configuration."""
        code = self._readiness.processes.exit_code if self._readiness.processes else None
        return code if code in (EXIT_UNAVAILABLE, EXIT_CONFIGURATION) else None

    async def _start(self, resources: AsyncExitStack, supervisor: Supervisor, stop: StopSignal) -> None:
        """Start every part of the role. The API answers first, so that probes see what is being waited for."""
        supervisor.start([LoopLag(self._metrics)])
        store = await resources.enter_async_context(open_store(self._settings, patience_seconds=START_PATIENCE_SECONDS))
        self._readiness.store = store
        await store.pulse()
        await store.keys.demand(store.secret_store)
        if self._role != "worker":
            book = TokenBook(store.tokens, store.now)
            resources.push_async_callback(book.close)
            server = self._web_server(store, book)
            await server.start()
            resources.push_async_callback(server.stop)
            supervisor.start([book])
        await self._serve_probes(resources)
        if self._workers > 1 and self._role != "api":
            await self._start_processes(store, supervisor)
        elif self._role != "api":
            tracing = open_tracing(self._settings, self._metrics, self._owner)
            await self._start_worker(store, supervisor, await resources.enter_async_context(tracing))
        if self._readiness.worker is None:
            supervisor.start([Housekeeping(store.clock, store.pulse, None)])
        progress = self._readiness.progress = Progress(
            self._readiness.worker.lines() if self._readiness.worker else [], self._readiness.may_work
        )
        supervisor.start([Watchdog(progress, systemd.notify, systemd.watchdog_seconds())])
        fd = status_fd()
        if fd is not None:
            supervisor.start([StatusToParent(fd, self._is_ready, stop.ask)])

    def _is_ready(self) -> bool:
        return all(self._readiness.checks().values())

    def _web_server(self, store: Store, book: TokenBook) -> WebServer:
        api, access = self._settings.api, self._access()
        app = build_app(
            reader=store.reader,
            registry=store.registry,
            replays=store.replays,
            replay_rate=self._settings.replay.per_second,
            tokens=store.tokens,
            audit=store.audit,
            publisher=OccasionalPublisher(convert.broker(self._settings)),
            queue_of_source={source.name: source.queue for source in self._settings.sources},
            now=store.now,
            randomness=secrets.token_bytes,
            rotation_overlap=convert.rotation_overlap(self._settings),
            country=self._settings.numbers.default_country,
            egress=convert.egress_policy(self._settings),
            access=access,
            book=book,
            sessions=Sessions(store.sessions, book, access.admin_digest, store.now, secrets.token_bytes),
            console=ConsoleSettings(public_url=api.public_url, time_zone=self._settings.console.time_zone),
            checks=self._readiness.checks,
            metrics=self._metrics.registry,
            observe=self._observe,
            stalled=self._readiness.stalled,
        )
        return WebServer(app, api.host, api.port)

    def _access(self) -> Access:
        api = self._settings.api
        return Access(
            admin_token=api.admin_token.get_secret_value() if api.admin_token else None,
            rate=convert.api_rate(self._settings),
            trusted_proxies=api.trusted_proxies,
            denied=lambda reason: self._metrics.api_denied.labels(reason).inc(),
        )

    async def _serve_probes(self, resources: AsyncExitStack) -> None:
        api = self._settings.api
        if api.probes_port is None:
            return
        app = build_probes(
            checks=self._readiness.checks,
            metrics=self._metrics.registry,
            observe=self._observe,
            stalled=self._readiness.stalled,
        )
        server = WebServer(app, api.host, api.probes_port, "api.probes_port")
        await server.start()
        resources.push_async_callback(server.stop)

    async def _start_worker(self, store: Store, supervisor: Supervisor, tracing: Tracing) -> None:
        worker = Worker(self._settings, store, self._metrics, self._owner, tracing)
        self._readiness.worker = worker
        await worker.start(supervisor)
        try:
            async with asyncio.timeout(START_PATIENCE_SECONDS):
                await worker.source.wait_until_consuming()
        except TimeoutError:
            raise DependencyUnavailable(_not_consuming(worker.source.problems())) from None

    async def _start_processes(self, store: Store, supervisor: Supervisor) -> None:
        # The store's real address: an embedded server is ours, and the children only connect to it.
        # The parent has the one port for probes.
        environment = {"ROUTER_MONGO__URL": store.url, "ROUTER_API__PROBES_PORT": "none"}
        if self._settings.log.hash_key is None:
            # One for all of them: a number has one name in the log of one start.
            environment["ROUTER_LOG__HASH_KEY"] = secrets.token_hex(32)
        processes = WorkerProcesses(self._workers, ["serve", "--role", "worker"], environment)
        self._readiness.processes = processes
        await processes.start()
        supervisor.start([processes])
        await processes.wait_until_ready(2 * START_PATIENCE_SECONDS)

    def _observe(self) -> None:
        """Bring gauges up to date before they are read."""
        if self._readiness.worker is not None:
            self._readiness.worker.observe()
        self._metrics.store_up.set(self._readiness.checks()["store"])
        self._metrics.stalled.set(len(self._readiness.stalled()))
        lost, self._lost_lines = self._sink.lost - self._lost_lines, self._sink.lost
        self._metrics.log_lines_missing.labels("lost").inc(lost)

    def _stop_steps(self, supervisor: Supervisor) -> list[Step]:
        if self._readiness.worker is not None:
            return self._readiness.worker.stop_steps(supervisor)
        if self._readiness.processes is not None:
            return self._readiness.processes.stop_steps()
        return []


def _not_consuming(problems: Mapping[str, str]) -> str:
    """What kept sources from consuming: one sentence where it is the same for all of them."""
    told = [f"source {name!r}: {problem}" for name, problem in problems.items()]
    if len(problems) > 1 and len(set(problems.values())) == 1:
        told = [f"sources {', '.join(problems)}: {next(iter(problems.values()))}"]
    return f"not consuming after {START_PATIENCE_SECONDS:.0f} s; {'; '.join(told)}"


def _owner() -> str:
    """This worker's name in leases: readable, and unique over restarts."""
    return f"{socket.gethostname()}-{os.getpid()}-{secrets.token_hex(4)}"
