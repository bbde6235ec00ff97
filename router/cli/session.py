"""What a command works with: the settings, the store, the publisher, each opened when it is first needed.

Bootstrap and the settings are imported here and nowhere else in the command line, and only inside functions:
with the libraries behind them they take longer to load than `--help` takes altogether.
"""

# ruff: noqa: PLC0415  see above

from __future__ import annotations

import asyncio
import getpass
import os
from collections.abc import Awaitable, Callable, Mapping, Sequence
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING, Final, Literal, Protocol, TypeVar

from router.application.audit import Auditor
from router.domain.diagnosis import Finding
from router.domain.egress import EgressPolicy
from router.domain.principal import Principal, Scope
from router.domain.topology import Line
from router.ports import (
    AuditLog,
    PrivacyStore,
    Publisher,
    Reader,
    Registry,
    ReplayStore,
    SchemaStore,
    SecretStore,
    TokenStore,
)

if TYPE_CHECKING:
    from router.bootstrap.topology import TopologyPlan
    from router.settings import Settings

_T = TypeVar("_T")

STORE_PATIENCE_SECONDS: Final = 2.0
"""For one try: the driver gives that 3 s by itself. Somebody sits before the terminal and can try again."""


class Store(Protocol):
    """What bootstrap opens of the store: reading, managing, tokens, keys, the audit trail, and the store's time."""

    @property
    def reader(self) -> Reader: ...

    @property
    def registry(self) -> Registry: ...

    @property
    def replays(self) -> ReplayStore: ...

    @property
    def secret_store(self) -> SecretStore: ...

    @property
    def tokens(self) -> TokenStore: ...

    @property
    def audit(self) -> AuditLog: ...

    @property
    def privacy(self) -> PrivacyStore: ...

    @property
    def schema(self) -> SchemaStore: ...

    def now(self) -> datetime: ...


def principal() -> Principal:
    """The user of the operating system, who may do everything."""
    try:
        user = getpass.getuser()
    except (KeyError, OSError):  # a container's user without an entry
        user = str(os.getuid())
    return Principal(name=f"cli:{user}", scopes=frozenset(Scope))


def auditor(store: Store) -> Auditor:
    """Writes down what a command does, in the name of the user of the operating system."""
    return Auditor(trail=store.audit, actor=principal().name, now=store.now)


def hash_of_number(settings: Settings, number: str) -> str:
    """What the audit trail calls a number: its keyed hash, and nothing of its digits."""
    from router.bootstrap.convert import pseudonyms

    return pseudonyms(settings).number(number).rpartition(":")[0]


def _bootstrap_store(settings: Settings) -> AbstractAsyncContextManager[Store]:
    from router.bootstrap.store import open_store

    _hold_log(settings)
    return open_store(settings, patience_seconds=STORE_PATIENCE_SECONDS)


def _bootstrap_publisher(settings: Settings) -> AbstractAsyncContextManager[Publisher]:
    from router.bootstrap.access import open_publisher

    _hold_log(settings)
    return open_publisher(settings)


def _hold_log(settings: Settings) -> None:
    """Keep the log off stderr unless somebody debugs: what a command has to say, its result or its error says."""
    from router.bootstrap.convert import pseudonyms
    from router.telemetry.log import configure_logging

    level = "debug" if settings.log.level == "debug" else "critical"
    configure_logging(format=settings.log.format or "console", level=level, pseudonyms=pseudonyms(settings))


@dataclass(slots=True, kw_only=True)
class Session:
    """One run of the command line. `config` is the file of `--config`; the openers are bootstrap's. `read` is the
    settings as they were last read, for what is said of an error."""

    config: Path | None = None
    read: Settings | None = None
    open_store: Callable[[Settings], AbstractAsyncContextManager[Store]] = _bootstrap_store
    open_publisher: Callable[[Settings], AbstractAsyncContextManager[Publisher]] = _bootstrap_publisher

    def settings(self, overrides: Mapping[str, object] | None = None) -> Settings:
        """The settings, flags by dotted key on top. Raises SettingsError with all that is wrong."""
        from router.settings import load_settings

        self.read = load_settings(config=self.config, overrides=overrides)
        return self.read

    def egress_policy(self, settings: Settings) -> EgressPolicy:
        """Where new webhooks may lead."""
        from router.bootstrap.convert import egress_policy

        return egress_policy(settings)

    def with_store(self, work: Callable[[Store, Settings], Awaitable[_T]]) -> _T:
        """The result of `work` on the open store. Raises DependencyUnavailable where there is none."""
        settings = self.settings()

        async def run() -> _T:
            async with self.open_store(settings) as store:
                return await work(store, settings)

        return asyncio.run(run())

    # --- the program as a whole ---

    def serve(self, overrides: Mapping[str, str | int | None], *, role: str, workers: int) -> int:
        """Run the router to its end; its exit code. Ctrl-C is an orderly stop."""
        from router.bootstrap.serve import serve

        settings = self.settings(overrides)
        self._tell_children(overrides)
        try:
            return serve(settings, role=role, workers=workers, load=lambda: self.settings(overrides))
        except KeyboardInterrupt:
            return 0

    def _tell_children(self, overrides: Mapping[str, str | int | None]) -> None:
        """Put what flags said into the environment: worker processes inherit that, and not our arguments."""
        from router.settings.layers import ENV_CONFIG, ENV_DELIMITER, ENV_PREFIX

        if self.config is not None:
            os.environ[ENV_CONFIG] = str(self.config)
        for key, value in overrides.items():
            if value is not None:
                os.environ[ENV_PREFIX + key.upper().replace(".", ENV_DELIMITER)] = str(value)

    def demo(
        self, *, seconds: float | None, rate: float | None, accounts: int | None, seed: int | None, as_json: bool
    ) -> int:
        """Run the demonstration to its end; None leaves a choice to it. Ctrl-C is an orderly stop."""
        from router.demo import run

        try:
            return run(seconds=seconds, rate=rate, accounts=accounts, seed=seed, as_json=as_json, config=self.config)
        except KeyboardInterrupt:
            return 0

    def describe_settings(self) -> Sequence[tuple[str, str, str]]:
        """Every setting as key, value with secrets masked, and where it was written."""
        from router.settings import describe

        return describe(self.settings())

    def config_schema(self) -> Mapping[str, object]:
        from router.settings import config_schema

        return config_schema()

    def probes_address(self) -> tuple[str, int]:
        """Where the router of these settings answers probes: one of `--role worker` does so nowhere else than on
        api.probes_port."""
        api = self.settings().api
        return api.host, api.port if api.probes_port is None else api.probes_port

    # --- what the peers have for us ---

    def diagnose(self, management_url: str | None) -> Sequence[Finding]:
        """What the doctor finds; settings that are wrong are a finding too."""
        from router.bootstrap import doctor
        from router.settings import SettingsError

        try:
            settings = self._quiet_settings()
        except SettingsError as error:
            return doctor.diagnose_without_settings(error.problems)
        return asyncio.run(doctor.diagnose(settings, management_url=management_url))

    def topology_plan(self, management_url: str | None) -> TopologyPlan:
        """What is wanted at the broker, and how it was found. Raises DependencyUnavailable, ConfigurationRefused."""
        from router.bootstrap import topology

        return asyncio.run(topology.plan(self._quiet_settings(), management_url))

    def topology_apply(self) -> None:
        """Declare what is missing. Raises DependencyUnavailable, ConfigurationRefused."""
        from router.bootstrap import topology

        asyncio.run(topology.apply(self._quiet_settings()))

    def topology_policies(self, broker: Literal["3.10", "4"]) -> Mapping[str, object]:
        from router.bootstrap import topology

        return topology.policies(self.settings(), broker)

    def indexes_plan(self) -> Sequence[Line]:
        """How every index was found. Raises DependencyUnavailable, ConfigurationRefused."""
        from router.bootstrap import looking

        return asyncio.run(looking.indexes_plan(self._quiet_settings()))

    def indexes_apply(self) -> None:
        """Create what is missing. Raises DependencyUnavailable, ConfigurationRefused."""
        from router.bootstrap import looking

        asyncio.run(looking.indexes_apply(self._quiet_settings()))

    def _quiet_settings(self) -> Settings:
        settings = self.settings()
        _hold_log(settings)
        return settings

    def openapi_document(self) -> Mapping[str, object]:
        from router.bootstrap.access import openapi_document

        return openapi_document()
