"""One configuration after the other: what a reload does, and what it leaves alone."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from pathlib import Path
from typing import Self

import pytest
from structlog.testing import capture_logs

from router.bootstrap.running import Daemon
from router.daemon import EXIT_CONFIGURATION, EXIT_INTERNAL, EXIT_OK, EXIT_UNAVAILABLE, StopSignal, Supervisor
from router.domain.errors import ConfigurationRefused, DependencyUnavailable
from router.settings import Settings, load_settings
from router.telemetry.metrics import Metrics


class Endless:
    name = "endless"

    async def run(self) -> None:
        await asyncio.Event().wait()


class Fake:
    """A generation that notes what is done with it. `error` is what its start, or that of a successor, raises."""

    def __init__(self, settings: Settings, told: list[str], world: World, name: str = "1") -> None:
        self.settings = settings
        self.supervisor = Supervisor(world.stop)
        self._told = told
        self._world = world
        self._name = name

    def successor(self, settings: Settings) -> Self:
        return type(self)(settings, self._told, self._world, str(int(self._name) + 1))

    async def start(self) -> None:
        self._told.append(f"start {self._name}")
        await self._world.starting()
        if self._world.error is not None:
            raise self._world.error
        self.supervisor.start([Endless()])

    async def end(self, *, is_last: bool) -> None:
        self._told.append(f"end {self._name}{' for good' if is_last else ''}")
        await self.supervisor.shut_down([])


class World:
    """A daemon with a file of settings."""

    def __init__(self, directory: Path) -> None:
        self.file = directory / "router.toml"
        self.file.write_text("")
        self.stop = StopSignal()
        self.told: list[str] = []
        self.notified: list[str] = []
        self.error: Exception | None = None
        self.starting: Callable[[], asyncio.Future[None] | asyncio.Task[None]] = _at_once
        self.metrics = Metrics("1")
        self.daemon = Daemon(
            Fake(self.load(), self.told, self),
            load=self.load,
            stop=self.stop,
            lasting=Supervisor(self.stop),
            metrics=self.metrics,
            notify=lambda state: self.notified.append(state.partition("\n")[0]),
            adopt=lambda settings: self.told.append(f"level {settings.log.level}"),
        )

    def load(self) -> Settings:
        return load_settings(config=self.file, environ={})

    async def told_of(self, notice: str, count: int = 1) -> None:
        async with asyncio.timeout(10):
            while self.notified.count(notice) < count:
                await asyncio.sleep(0)

    async def reload(self, toml: str) -> None:
        """SIGHUP after the file has changed, until the service manager hears that it is over."""
        self.file.write_text(toml)
        over = self.notified.count("READY=1") + 1
        self.stop.reload.set()
        await self.told_of("READY=1", over)

    @property
    def last_reload_succeeded(self) -> bool:
        return bool(self.metrics.reload_succeeded._value.get())


def _at_once() -> asyncio.Future[None]:
    done: asyncio.Future[None] = asyncio.get_running_loop().create_future()
    done.set_result(None)
    return done


@pytest.fixture
def world(tmp_path: Path) -> World:
    return World(tmp_path)


async def test_a_good_configuration_takes_over_before_the_old_one_ends(world: World) -> None:
    with capture_logs() as log:
        life = asyncio.create_task(world.daemon.run())
        await world.told_of("READY=1")
        await world.reload('[log]\nlevel = "debug"\n')
        world.stop.ask()

        assert await life == EXIT_OK
    assert world.told == ["start 1", "start 2", "level debug", "end 1", "end 2 for good"]
    assert world.notified == ["READY=1", "RELOADING=1", "READY=1", "STOPPING=1"]
    assert [line["changed"] for line in log if line["event"] == "reloaded"] == [["log.level"]]
    assert world.last_reload_succeeded


@pytest.mark.parametrize(
    ("toml", "named"),
    [
        ("[log\n", "(file)"),
        ('[log]\nlevel = "loud"\n', "log.level"),
        ("[log]\nlevl = 1\n", "log.levl"),
        ('[log]\nformat = "json"\n', "log.format"),
    ],
)
async def test_a_wrong_configuration_changes_nothing_and_is_told_in_one_line(
    world: World, toml: str, named: str
) -> None:
    with capture_logs() as log:
        life = asyncio.create_task(world.daemon.run())
        await world.told_of("READY=1")
        await world.reload(toml)
        succeeded = world.last_reload_succeeded
        await world.reload("")
        world.stop.ask()
        await life

    (refusal,) = [line for line in log if line["event"] == "reload_refused"]
    assert named in refusal["error"] + "".join(refusal["problems"])
    assert refusal["log_level"] == "error"
    assert (succeeded, world.last_reload_succeeded) == (False, True)
    assert world.told == ["start 1", "start 2", "level info", "end 1", "end 2 for good"]


@pytest.mark.parametrize(
    "error", [DependencyUnavailable("away"), ConfigurationRefused("refused"), RuntimeError("a bug")], ids=repr
)
async def test_a_configuration_that_does_not_work_goes_and_the_old_one_stays(world: World, error: Exception) -> None:
    with capture_logs() as log:
        life = asyncio.create_task(world.daemon.run())
        await world.told_of("READY=1")
        world.error = error
        await world.reload("")
        world.stop.ask()

        assert await life == EXIT_OK
    assert world.told == ["start 1", "start 2", "end 2", "end 1 for good"]
    assert [line["event"] for line in log if line["log_level"] == "error"] == ["reload_refused"]


async def test_a_stop_during_a_reload_ends_both(world: World) -> None:
    life = asyncio.create_task(world.daemon.run())
    await world.told_of("READY=1")
    world.starting = asyncio.get_running_loop().create_future
    world.stop.reload.set()
    await world.told_of("RELOADING=1")
    while "start 2" not in world.told:
        await asyncio.sleep(0)
    world.stop.ask()

    assert await life == EXIT_OK
    assert world.told[:2] == ["start 1", "start 2"]
    assert sorted(world.told[2:]) == ["end 1 for good", "end 2"]


async def test_a_part_that_ends_after_a_reload_ends_the_daemon(world: World) -> None:
    life = asyncio.create_task(world.daemon.run())
    await world.told_of("READY=1")
    await world.reload("")
    for task in asyncio.all_tasks():
        if task.get_name() == "endless":
            task.cancel()

    assert await life == EXIT_INTERNAL


@pytest.mark.parametrize(
    ("error", "code"),
    [(DependencyUnavailable("away"), EXIT_UNAVAILABLE), (ConfigurationRefused("refused"), EXIT_CONFIGURATION)],
)
async def test_a_start_that_fails_has_its_exit_code(world: World, error: Exception, code: int) -> None:
    world.error = error

    assert await world.daemon.run() == code
    assert world.told == ["start 1", "end 1 for good"]
