"""What `doctor` finds: one line for each thing that was looked at. Values only; looks at nothing."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from enum import StrEnum


class Level(StrEnum):
    """`warn` works and should not stay so; `fail` does not work, or loses something."""

    OK = "ok"
    WARN = "warn"
    FAIL = "fail"


@dataclass(frozen=True, slots=True, kw_only=True)
class Finding:
    """What was seen, without any secret in it, and what to do: a command, or a setting to change. Only what is ok has
    no remedy."""

    group: str
    name: str
    level: Level
    seen: str
    remedy: str = ""


@dataclass(frozen=True, slots=True)
class Ward:
    """Makes the findings of one group."""

    group: str

    def ok(self, name: str, seen: str) -> Finding:
        return Finding(group=self.group, name=name, level=Level.OK, seen=seen)

    def warn(self, name: str, seen: str, remedy: str) -> Finding:
        return Finding(group=self.group, name=name, level=Level.WARN, seen=seen, remedy=remedy)

    def fail(self, name: str, seen: str, remedy: str) -> Finding:
        return Finding(group=self.group, name=name, level=Level.FAIL, seen=seen, remedy=remedy)

    def unseen(self, names: Iterable[str], why: str, remedy: str) -> list[Finding]:
        """What could not be looked at, and is not known to be well."""
        return [self.warn(name, f"not looked at: {why}", remedy) for name in names]


def worst(findings: Iterable[Finding]) -> Level:
    """The level of all of them together."""
    levels = {finding.level for finding in findings}
    return Level.FAIL if Level.FAIL in levels else Level.WARN if Level.WARN in levels else Level.OK
