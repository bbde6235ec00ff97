"""Kill points: what a value means, where it acts, and that it touches nothing else."""

from __future__ import annotations

import asyncio
import subprocess
import sys
from dataclasses import replace
from types import SimpleNamespace
from typing import Any

import pytest

from router.bootstrap.killpoints import PLACES, VARIABLE, Killpoint, KillpointReached, arm, parse
from router.domain.delivery import DeliveryStatus
from router.domain.errors import ConfigurationRefused
from router.domain.retry import End
from router.ports import Result
from tests.support.fakes_delivery import claim


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        ("before_ack=kill", ("before_ack", "kill", 0.0, b"", None)),
        ("after_http=kill@3", ("after_http", "kill", 0.0, b"", 3)),
        ("before_insert=raise", ("before_insert", "raise", 0.0, b"", None)),
        ("before_insert=raise:evt_1", ("before_insert", "raise", 0.0, b"evt_1", None)),
        ("after_record=stall:2.5@1", ("after_record", "stall", 2.5, b"", 1)),
        ("between_inserts=delay:1", ("between_inserts", "delay", 1.0, b"", None)),
    ],
)
def test_value_is_name_action_argument_and_passage(value: str, expected: tuple[Any, ...]) -> None:
    name, action, seconds, marker, nth = expected
    assert parse(value) == Killpoint(name=name, action=action, seconds=seconds, marker=marker, nth=nth)


@pytest.mark.parametrize(
    "value",
    ["", "before_ack", "before_ack=", "=kill", "nowhere=kill", "before_ack=explode", "before_ack=kill:1",
     "before_ack=stall", "before_ack=stall:soon", "before_ack=delay:-1", "before_ack=kill@0", "before_ack=kill@x"],
)  # fmt: skip
def test_wrong_value_is_a_configuration_error_that_lists_the_names(value: str) -> None:
    with pytest.raises(ConfigurationRefused) as refused:
        parse(value)
    assert all(name in str(refused.value) for name in PLACES)


class Part:
    """Stands for a part of the worker; writes down its calls."""

    def __init__(self) -> None:
        self.calls: list[str] = []

    async def admit(self, planned: object) -> str:
        self.calls.append("admit")
        return "admitted"

    async def insert(self, drafts: object, results: object) -> None:
        self.calls.append("insert")

    async def record(self, results: object) -> str:
        self.calls.append("record")
        return "recorded"


def armed(monkeypatch: pytest.MonkeyPatch, value: str) -> Part:
    part = Part()
    worker: Any = SimpleNamespace(deliveries=part, source=part, sender=part)
    monkeypatch.setenv(VARIABLE, value)
    arm(worker)
    return part


@pytest.mark.parametrize(
    ("value", "calls"),
    [
        ("before_insert=raise", []),
        ("between_inserts=raise", ["admit"]),
        ("after_insert=raise", ["admit", "insert"]),
    ],
)
def test_place_is_before_between_or_after(monkeypatch: pytest.MonkeyPatch, value: str, calls: list[str]) -> None:
    part = armed(monkeypatch, value)

    async def take_in() -> None:
        await part.admit([])
        await part.insert([], {})

    with pytest.raises(KillpointReached):
        asyncio.run(take_in())
    assert part.calls == calls


def test_module_is_not_imported_where_the_variable_is_not_set() -> None:
    look = "import sys, router.bootstrap.serve; sys.exit('router.bootstrap.killpoints' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", look], check=False).returncode == 0


def test_nth_passage_alone_is_hit(monkeypatch: pytest.MonkeyPatch) -> None:
    part = armed(monkeypatch, "before_record=raise@2")

    async def three_times() -> list[object]:
        return [*await asyncio.gather(*(part.record([]) for _ in range(3)), return_exceptions=True)]

    first, second, third = asyncio.run(three_times())
    assert (first, third) == ("recorded", "recorded")
    assert isinstance(second, KillpointReached)


def test_marker_is_looked_for_in_the_payload(monkeypatch: pytest.MonkeyPatch) -> None:
    part = armed(monkeypatch, "before_record=raise:poison")
    harmless = Result(claim=claim(), attempt=None, next=End(status=DeliveryStatus.DELIVERED, reason=None))
    poisoned = replace(harmless, claim=replace(claim(), payload=b'{"note": "poison"}'))
    assert asyncio.run(part.record([harmless])) == "recorded"
    with pytest.raises(KillpointReached):
        asyncio.run(part.record([harmless, poisoned]))
