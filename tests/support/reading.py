"""What the tests of `ports.Reader` share: a reader with what it finds, and the plans behind its questions."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import pymongo
from pymongo.database import Database as SyncDatabase
from pymongo.monitoring import CommandFailedEvent, CommandListener, CommandStartedEvent, CommandSucceededEvent

from router.ports import Reader
from tests.support.fakes import FakeReader
from tests.support.stored import StoredThings

Client = pymongo.MongoClient[dict[str, Any]]


@dataclass(frozen=True, slots=True, kw_only=True)
class World:
    """A reader, and where the tests put what it finds."""

    given: FakeReader | StoredThings
    reader: Reader


class RecordedReads(CommandListener):
    """Keeps the reads that a client sends."""

    def __init__(self) -> None:
        self.commands: list[dict[str, Any]] = []

    def started(self, event: CommandStartedEvent) -> None:
        if event.command_name in ("find", "aggregate"):
            self.commands.append(dict(event.command))

    def succeeded(self, event: CommandSucceededEvent) -> None: ...

    def failed(self, event: CommandFailedEvent) -> None: ...


def stages(plan: object) -> set[str]:
    """The names of all stages in an answer to `explain`."""
    match plan:
        case dict():
            found = {plan["stage"]} if isinstance(plan.get("stage"), str) else set()
            return found.union(*(stages(value) for value in plan.values()))
        case list():
            return set[str]().union(*(stages(value) for value in plan))
        case _:
            return set()


def assert_from_indexes(commands: Sequence[dict[str, Any]], database: SyncDatabase[dict[str, Any]]) -> None:
    """Each read is bounded in time and rows, and no plan walks a collection."""
    for recorded in commands:
        command = dict(recorded)
        assert command.pop("maxTimeMS"), command
        assert "limit" in command or "aggregate" in command, command
        for name in ("lsid", "$db", "$clusterTime", "$readPreference"):
            command.pop(name, None)
        found = stages(database.command({"explain": command, "verbosity": "queryPlanner"}))
        assert "COLLSCAN" not in found, command
        assert found & {"IXSCAN", "IDHACK", "COUNT_SCAN", "EXPRESS_IXSCAN"}, command
