"""The daemon's life: one configuration at work after the other, from the start over reloads to the stop. Knows no part
of the router; tells the service manager and the log.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Final, Protocol, Self

import structlog

from router.adapters import systemd
from router.bootstrap.last_words import fields_of, show_block
from router.daemon import EXIT_CONFIGURATION, EXIT_OK, EXIT_UNAVAILABLE, StopSignal, Supervisor
from router.domain.errors import ConfigurationRefused, DependencyUnavailable, RouterError
from router.settings import Problem, Settings, SettingsError, differences
from router.telemetry.log import change_level
from router.telemetry.metrics import Metrics

log = structlog.get_logger("router.serve")

NEEDS_RESTART: Final = ("log.format", "log.hash_key")
"""What the lines of a process are made with from its start on."""


class Generation(Protocol):
    """One configuration at work."""

    settings: Settings
    supervisor: Supervisor

    def successor(self, settings: Settings) -> Self:
        """Another configuration, not started. Raises ConfigurationRefused for what only a restart can change."""

    async def start(self) -> None:
        """Start all of it. A successor works beside this one's predecessor, and takes its place where nothing can fail
        any more. Raises ConfigurationRefused or DependencyUnavailable."""

    async def end(self, *, is_last: bool) -> None:
        """Stop in order whatever was started, once. `is_last`: no successor goes on with the work."""


class Daemon:
    """Runs `first`, and a successor of it with each reload. `load` reads the settings anew. `lasting` owns the services
    that every generation shares."""

    def __init__(
        self,
        first: Generation,
        *,
        load: Callable[[], Settings],
        stop: StopSignal,
        lasting: Supervisor,
        metrics: Metrics,
        notify: Callable[[str], None] = systemd.notify,
        adopt: Callable[[Settings], None] = lambda settings: change_level(settings.log.level),
    ) -> None:
        """`notify` tells the service manager; `adopt` is for what belongs to the process and to no generation."""
        self._notify = notify
        self._adopt = adopt
        self._current = first
        self._load = load
        self._stop = stop
        self._lasting = lasting
        self._metrics = metrics
        self._beginning: Generation | None = None
        self._retiring: asyncio.Task[None] | None = None
        metrics.reload_succeeded.set(1)

    async def run(self) -> int:
        """Until a signal, or until a part ends by itself. Returns the exit code of the contract."""
        exit_code = await self._start_and_watch()
        self._notify("STOPPING=1")
        log.info("stopping")
        await asyncio.gather(
            self._current.end(is_last=True),
            *([self._beginning.end(is_last=False)] if self._beginning is not None else []),
            *([self._retiring] if self._retiring is not None else []),
        )
        await self._lasting.shut_down([])
        return exit_code

    async def _start_and_watch(self) -> int:
        try:
            started = await self._stop.unless_asked(self._current.start())
        except DependencyUnavailable as error:
            log.error("dependency_unavailable", **fields_of(error, self._current.settings))
            show_block(error, self._current.settings)
            return EXIT_UNAVAILABLE
        except ConfigurationRefused as error:
            log.error("configuration_refused", **fields_of(error, self._current.settings))
            show_block(error, self._current.settings)
            return EXIT_CONFIGURATION
        if not started:
            return EXIT_OK
        self._notify("READY=1")
        log.info("ready")
        while True:
            exit_code = await self._watch_until_reloaded()
            if exit_code is not None:
                return exit_code

    async def _watch_until_reloaded(self) -> int | None:
        """The exit code once a stop is asked for or a part has ended; None once another configuration is at work, or
        was refused."""
        watches = [
            asyncio.create_task(supervisor.watch(), name="watch")
            for supervisor in (self._lasting, self._current.supervisor)
        ]
        reloading = asyncio.create_task(self._reload_when_asked(), name="reload")
        try:
            await asyncio.wait([*watches, reloading], return_when=asyncio.FIRST_COMPLETED)
            codes = [watch.result() for watch in watches if watch.done()]
        finally:
            for task in (*watches, reloading):
                task.cancel()
            await asyncio.gather(*watches, reloading, return_exceptions=True)
        return max(codes, default=None)

    # --- reload ---

    async def _reload_when_asked(self) -> None:
        await self._stop.reload.wait()
        self._stop.reload.clear()
        if self._retiring is not None:
            await asyncio.shield(self._retiring)
        self._notify(systemd.reloading())
        log.info("reloading")
        try:
            changed = await self._replace()
        except SettingsError as error:
            problems = [_sentence(each) for each in error.problems]
            self._refused(f"the configuration has {len(problems)} problem(s)", problems)
        except RouterError as error:
            self._refused(str(error), [])
        except Exception as error:  # a bug of ours: what works goes on working
            self._refused(f"a bug of the router ({type(error).__name__})", [], error)
        else:
            self._metrics.reload_succeeded.set(1)
            log.info("reloaded", changed=changed)
        self._notify("READY=1")

    async def _replace(self) -> list[str]:
        """Put the settings as they are written now to work. Returns the keys of those that are others than before."""
        settings = self._load()
        changed = differences(self._current.settings, settings)
        needs_restart = [key for key in changed if key in NEEDS_RESTART]
        if needs_restart:
            raise ConfigurationRefused(f"{', '.join(needs_restart)} takes effect with a restart only")
        self._beginning = self._current.successor(settings)
        try:
            await self._beginning.start()
        except Exception:
            await self._beginning.end(is_last=False)
            self._beginning = None
            raise
        self._adopt(settings)
        old, self._current, self._beginning = self._current, self._beginning, None
        self._retiring = asyncio.create_task(old.end(is_last=False), name="retire")
        return changed

    def _refused(self, error: str, problems: list[str], cause: Exception | None = None) -> None:
        self._metrics.reload_succeeded.set(0)
        log.error(
            "reload_refused",
            error=error,
            problems=problems,
            remedy="the configuration from before goes on; mend this one, look with `webhook-router check-config`, "
            "then send SIGHUP again",
            exc_info=cause,
        )


def _sentence(problem: Problem) -> str:
    now = f"is {problem.value}" if problem.value else "is not set"
    return f"{problem.key} {now} ({problem.origin}): {problem.message}. {problem.hint}".strip()
