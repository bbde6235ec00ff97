"""`serve`: puts the roles together, waits for what they depend on, and runs until it is told to stop. One
configuration at work is a generation; SIGHUP begins another beside it.
"""

from __future__ import annotations

import asyncio
import os
import secrets
import socket
from collections.abc import Callable, Iterable, Mapping
from contextlib import AsyncExitStack
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

import structlog
import uvloop

from router import __version__
from router.adapters import systemd
from router.adapters.allocator import give_large_blocks_back
from router.adapters.host import descriptor_limit
from router.application.progress import Progress
from router.application.token_book import TokenBook
from router.application.upgrading import Upgrade
from router.application.upkeep import Housekeeping
from router.bootstrap import convert
from router.bootstrap.processes import WorkerProcesses
from router.bootstrap.readiness import Readiness
from router.bootstrap.running import Daemon
from router.bootstrap.slots import NUMBER_VARIABLE, Launch
from router.bootstrap.statements import Statement, StatementsToParent, parents_fd
from router.bootstrap.store import Store, connected_store, store_url
from router.bootstrap.tracing import open_tracing
from router.bootstrap.watchdog import LoopLag, Watchdog
from router.bootstrap.web import Probed, api_server, probes_server
from router.bootstrap.worker import Worker
from router.daemon import Step, StopSignal, Supervisor, end_leftovers
from router.domain.errors import ConfigurationRefused, DependencyUnavailable
from router.settings import EMBEDDED, Settings, file_text
from router.telemetry.log import LineSink, configure_logging
from router.telemetry.merging import Family, Together, families
from router.telemetry.metrics import ACROSS, Metrics
from router.web.server import WebServer

log = structlog.get_logger("router.serve")

START_PATIENCE_SECONDS: Final = 30.0
"""How long a dependency may be missing at start (contract, section 7)."""
MIN_DESCRIPTORS: Final = 64
"""Parts, connections and log of a router at rest. What it needs under load: `doctor`."""


@dataclass(slots=True, kw_only=True)
class Frame:
    """What outlives a configuration: the process, what it counts, its children, and the embedded store.

    `instance` is the name of the process in logs and traces: readable, and unique over restarts.
    """

    role: str
    workers: int
    instance: str
    sink: LineSink
    stop: StopSignal = field(default_factory=StopSignal)
    supervisor: Supervisor = field(init=False)
    resources: AsyncExitStack = field(default_factory=AsyncExitStack)
    metrics: Metrics = field(default_factory=lambda: Metrics(__version__))
    processes: WorkerProcesses | None = None
    store_url: str = ""
    together: Together = field(init=False)
    """The metrics of this process and of its worker processes."""
    numbers_key: str = field(default_factory=lambda: secrets.token_hex(32))
    """One for all worker processes, where none is configured: a number has one name in the log of one start."""
    _owners: int = field(default=0, init=False)
    _lost_lines: int = field(default=0, init=False)

    def __post_init__(self) -> None:
        self.supervisor = Supervisor(self.stop)
        self.together = Together(self.metrics.registry, self._of_workers, ACROSS)

    def _of_workers(self) -> Iterable[Iterable[Family]]:
        return self.processes.metrics() if self.processes is not None else ()

    def owner(self) -> str:
        """The next worker's name in leases: the instance, and after reloads a number behind it, for during one two
        workers live in this process."""
        self._owners += 1
        return self.instance if self._owners == 1 else f"{self.instance}-{self._owners}"

    def observe(self) -> None:
        """Bring what the log lost up to date."""
        lost, self._lost_lines = self.sink.lost - self._lost_lines, self.sink.lost
        self.metrics.log_lines_missing.labels("lost").inc(lost)


def serve(settings: Settings, *, role: str, workers: int, load: Callable[[], Settings]) -> int:
    """Run `all`, `worker` or `api` until a signal. `load` reads the settings anew, for SIGHUP. Returns the exit code of
    the contract. Raises ConfigurationRefused where this process may open so little that not even its parts would
    start."""
    if descriptor_limit() < MIN_DESCRIPTORS:
        raise ConfigurationRefused(
            f"this process may have {descriptor_limit()} files and sockets open, and cannot start with fewer than "
            f"{MIN_DESCRIPTORS}: raise LimitNOFILE in the unit, or ulimit -n"
        )
    give_large_blocks_back()
    instance = f"{socket.gethostname()}-{os.getpid()}-{secrets.token_hex(4)}"
    number = os.environ.get(NUMBER_VARIABLE)
    sink = configure_logging(
        format=convert.log_format(settings),
        level=settings.log.level,
        pseudonyms=convert.pseudonyms(settings),
        identity={"version": __version__, "instance": instance},
        common={"worker": int(number)} if number else None,
    )
    return uvloop.run(_serve(settings, Frame(role=role, workers=workers, instance=instance, sink=sink), load))


async def _serve(settings: Settings, frame: Frame, load: Callable[[], Settings]) -> int:
    stop, fd = frame.stop, parents_fd()
    (stop.install if fd is None else stop.install_below_parent)()
    log.info("starting", version=__version__, role=frame.role, workers=frame.workers)
    log.info("egress_policy", **convert.egress_facts(settings))
    async with frame.resources:
        first = Generation(settings, frame)
        parent = StatementsToParent(fd, first.statement, stop.ask) if fd is not None else None
        frame.supervisor.start([LoopLag(frame.metrics), *([parent] if parent is not None else [])])
        daemon = Daemon(first, load=load, stop=stop, lasting=frame.supervisor, metrics=frame.metrics)
        exit_code = await daemon.run()
        if parent is not None:
            await parent.last_words()
    leftovers = await end_leftovers()
    log.info("stopped", exit_code=exit_code)
    if leftovers:
        # All is recorded and given back: what still hangs in a library must not keep the process.
        log.warning("tasks_left_behind", tasks=leftovers)
        os._exit(exit_code)
    return exit_code


class Generation:
    """One configuration at work: the store, and of the role's parts the API, a worker, or the processes of several."""

    def __init__(self, settings: Settings, frame: Frame, predecessor: Generation | None = None) -> None:
        self.settings = settings
        self.supervisor = Supervisor(frame.stop)
        self._frame = frame
        self._metrics = frame.metrics
        self._predecessor = predecessor
        self._readiness = Readiness()
        self._resources = AsyncExitStack()
        self._servers: list[WebServer] = []

    # --- life ---

    def successor(self, settings: Settings) -> Generation:
        if _embedded_place(self.settings) != _embedded_place(settings):
            raise ConfigurationRefused(
                "an embedded store (mongo.url, data_dir) is taken, left or moved by a restart only"
            )
        return Generation(settings, self._frame, self)

    async def start(self) -> None:
        """Start every part of the role. At the router's own start the API answers first, so that probes see what is
        being waited for; a successor opens its doors last, beside those of its predecessor."""
        store = await self._open_store()
        is_first = self._predecessor is None
        await self._take_ports(store)
        if is_first:
            await self._open_ports()
        if self._frame.role != "api":
            await (self._start_processes() if self._frame.workers > 1 else self._start_worker(store))
        if self._readiness.worker is None:
            self.supervisor.start([Housekeeping(store.clock, store.pulse, None)])
        if parents_fd() is None:
            self.supervisor.start([Upgrade(store.schema)])
        progress = self._readiness.progress = Progress(self._readiness.lines(), self._readiness.may_work)
        self.supervisor.start([Watchdog(progress, systemd.notify, systemd.watchdog_seconds())])
        self._readiness.started = True
        if not is_first:
            # What the predecessor's sources were called means nothing any more.
            self._metrics.consumer_alive.clear()
            await self._open_ports()
        self._predecessor = None

    async def end(self, *, is_last: bool) -> None:
        self._readiness.stopping = is_last
        if not is_last:
            # Else they would go on taking requests from what they share with their successors.
            await asyncio.gather(*(server.stop() for server in self._servers))
        await self.supervisor.shut_down(self._stop_steps(is_last=is_last))
        await self._resources.aclose()

    def statement(self) -> Statement:
        """What this process, as a worker process, has to say to its parent."""
        self._observe()
        return Statement(
            checks=self._readiness.checks(),
            stalled=list(self._readiness.stalled()),
            metrics=families(self._metrics.registry),
        )

    # --- parts ---

    async def _open_store(self) -> Store:
        frame = self._frame
        if self._predecessor is None:
            frame.store_url = await frame.resources.enter_async_context(store_url(self.settings))
        is_embedded = _embedded_place(self.settings) is not None
        url = frame.store_url if is_embedded else self.settings.mongo.url.get_secret_value()
        opening = connected_store(self.settings, url, START_PATIENCE_SECONDS)
        store = await self._resources.enter_async_context(opening)
        self._readiness.store = store
        await store.pulse()
        await store.keys.demand(store.secret_store)
        return store

    async def _take_ports(self, store: Store) -> None:
        probed = Probed(
            checks=self._readiness.checks,
            stalled=self._readiness.stalled,
            metrics=self._frame.together if self._frame.workers > 1 else self._metrics.registry,
            observe=self._observe,
            catch_up=self._readiness.catch_up,
        )
        probes = probes_server(self.settings, probed)
        if self._frame.role != "worker":
            book = TokenBook(store.tokens, store.now)
            self._resources.push_async_callback(book.close)
            self.supervisor.start([book])
            self._servers.append(api_server(self.settings, store, book, probed, self._metrics))
        if probes is not None:
            self._servers.append(probes)
        for server in self._servers:
            self._resources.push_async_callback(server.stop)
            await server.bind(self._predecessor._servers if self._predecessor is not None else ())

    async def _open_ports(self) -> None:
        for server in self._servers:
            await server.open()

    async def _start_worker(self, store: Store) -> None:
        frame = self._frame
        opening = open_tracing(self.settings, frame.metrics, frame.instance)
        tracing = await self._resources.enter_async_context(opening)
        worker = Worker(self.settings, store, frame.metrics, frame.owner(), tracing)
        self._readiness.worker = worker
        await worker.start(self.supervisor)
        try:
            async with asyncio.timeout(START_PATIENCE_SECONDS):
                await worker.source.wait_until_consuming()
        except TimeoutError:
            raise DependencyUnavailable(_not_consuming(worker.source.problems())) from None

    async def _start_processes(self) -> None:
        frame = self._frame
        if frame.processes is None:
            processes = frame.processes = WorkerProcesses(
                frame.workers,
                self._launch(),
                metrics=self._metrics,
                stop=frame.stop,
                ended=frame.together.keep_counts,
            )
            self._readiness.processes = processes
            await processes.start()
            frame.supervisor.start([processes])
            await processes.wait_until_ready(2 * START_PATIENCE_SECONDS)
        else:
            await frame.processes.replace(self._launch(), 2 * START_PATIENCE_SECONDS)
            self._readiness.processes = frame.processes

    def _launch(self) -> Launch:
        # The parent has the one port for probes.
        environment = {"ROUTER_API__PROBES_PORT": "none"}
        if _embedded_place(self.settings) is not None:
            # An embedded server is ours, and worker processes only connect to it.
            environment["ROUTER_MONGO__URL"] = self._frame.store_url
        if self.settings.log.hash_key is None:
            environment["ROUTER_LOG__HASH_KEY"] = self._frame.numbers_key
        return Launch(
            arguments=["serve", "--role", "worker"], environment=environment, configuration=file_text(self.settings)
        )

    def _observe(self) -> None:
        """Bring gauges up to date before they are read."""
        self._readiness.observe(self._metrics)
        self._frame.observe()

    def _stop_steps(self, *, is_last: bool) -> list[Step]:
        if self._readiness.worker is not None:
            return self._readiness.worker.stop_steps(self.supervisor)
        if self._frame.processes is not None and is_last:
            return [self._frame.processes.stop_step()]
        return []


def _embedded_place(settings: Settings) -> Path | None:
    """Where the embedded store is, if there is one."""
    return settings.data_dir if settings.mongo.url.get_secret_value() == EMBEDDED else None


def _not_consuming(problems: Mapping[str, str]) -> str:
    """What kept sources from consuming: one sentence where it is the same for all of them."""
    told = [f"source {name!r}: {problem}" for name, problem in problems.items()]
    if len(problems) > 1 and len(set(problems.values())) == 1:
        told = [f"sources {', '.join(problems)}: {next(iter(problems.values()))}"]
    return f"not consuming after {START_PATIENCE_SECONDS:.0f} s; {'; '.join(told)}"
