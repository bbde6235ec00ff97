"""What a command works with: the settings, the store, the publisher, each opened when it is first needed.

Bootstrap and the settings are imported here and nowhere else in the command line, and only inside functions:
with the libraries behind them they take longer to load than `--help` takes altogether.
"""

# ruff: noqa: PLC0415  see above

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Coroutine, Mapping
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, Protocol, TypeVar

from router.ports import Publisher, Reader, Registry

if TYPE_CHECKING:
    from router.settings import Settings

_T = TypeVar("_T")

_QUIET: Final = frozenset({"debug", "info"})


class Store(Protocol):
    """What bootstrap opens of the store: reading, managing, and the store's time."""

    @property
    def reader(self) -> Reader: ...

    @property
    def registry(self) -> Registry: ...

    def now(self) -> datetime: ...


def _bootstrap_store(settings: Settings) -> AbstractAsyncContextManager[Store]:
    from router import bootstrap

    return bootstrap.open_store(settings)


def _bootstrap_publisher(settings: Settings) -> AbstractAsyncContextManager[Publisher]:
    from router import bootstrap

    return bootstrap.open_publisher(settings)


@dataclass(slots=True, kw_only=True)
class Session:
    """One run of the command line. `config` is the file of `--config`; the openers are bootstrap's."""

    config: Path | None = None
    open_store: Callable[[Settings], AbstractAsyncContextManager[Store]] = _bootstrap_store
    open_publisher: Callable[[Settings], AbstractAsyncContextManager[Publisher]] = _bootstrap_publisher

    def settings(self, overrides: Mapping[str, object] | None = None) -> Settings:
        """The settings, flags by dotted key on top. Raises SettingsError with all that is wrong."""
        from router.settings import load_settings

        return load_settings(config=self.config, overrides=overrides)

    def with_store(self, work: Callable[[Store, Settings], Awaitable[_T]]) -> _T:
        """The result of `work` on the open store. Raises DependencyUnavailable where there is none."""
        settings = self.settings()

        async def run() -> _T:
            async with self.open_store(settings) as store:
                return await work(store, settings)

        return run_quietly(run(), settings)

    def with_publisher(self, work: Callable[[Publisher], Awaitable[_T]]) -> _T:
        """The result of `work` on a publisher. Raises DependencyUnavailable where there is no broker."""
        settings = self.settings()

        async def run() -> _T:
            async with self.open_publisher(settings) as publisher:
                return await work(publisher)

        return run_quietly(run(), settings)


def run_quietly(work: Coroutine[Any, Any, _T], settings: Settings) -> _T:
    """The result of `work`, with the log on stderr held to what a person before a terminal wants to know."""
    from router.telemetry.log import configure_logging

    level = "warning" if settings.log.level in _QUIET else settings.log.level
    configure_logging(format=settings.log.format or "console", level=level)
    return asyncio.run(work)
