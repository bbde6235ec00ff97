"""Places at which a worker dies, fails or stands still on demand, for the tests of faults. Touches the process.

Imported only where WEBHOOK_ROUTER_KILLPOINT is set: `name=action[:argument][@nth]`. It wraps what the worker hands to
the application; without the variable there is nothing to pass by.

Actions: `kill` (SIGKILL to this process), `raise` (an exception, with an argument only for payloads that hold it),
`stall:SECONDS` (blocks the event loop), `delay:SECONDS` (waits). `@nth` means that one passage alone, from 1.
"""

from __future__ import annotations

import asyncio
import os
import re
import signal
import time
from collections.abc import Awaitable, Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

import structlog

from router.domain.errors import ConfigurationRefused
from router.ports import Draft, Intake, OutgoingRequest, PlannedEvent, Result

if TYPE_CHECKING:
    from router.bootstrap.worker import Worker

log = structlog.get_logger("router.killpoints")

VARIABLE: Final = "WEBHOOK_ROUTER_KILLPOINT"
_FORM: Final = re.compile(r"(?P<name>\w+)=(?P<action>\w+)(?::(?P<argument>[^@]+))?(?:@(?P<nth>[1-9]\d*))?")
_TIMED: Final = ("stall", "delay")
_ACTIONS: Final = ("kill", "raise", *_TIMED)


@dataclass(frozen=True, slots=True)
class _Place:
    """Before or after a call of `method` of one of the worker's parts."""

    part: str
    method: str
    is_after: bool


PLACES: Final = {
    "before_insert": _Place("deliveries", "admit", False),
    # Events are there, their deliveries are not.
    "between_inserts": _Place("deliveries", "insert", False),
    "after_insert": _Place("deliveries", "insert", True),
    "before_ack": _Place("source", "settle", False),
    "after_ack": _Place("source", "settle", True),
    "before_http": _Place("sender", "send", False),
    "after_http": _Place("sender", "send", True),
    "before_record": _Place("deliveries", "record", False),
    "after_record": _Place("deliveries", "record", True),
}


class KillpointReached(Exception):
    """What `raise` raises."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Killpoint:
    """A parsed value. `seconds` belongs to `stall` and `delay`, `marker` to `raise`; `nth` None: every passage."""

    name: str
    action: str
    seconds: float
    marker: bytes
    nth: int | None


def parse(value: str) -> Killpoint:
    """Raises ConfigurationRefused, with the names and the form, for anything but a kill point."""
    found = _FORM.fullmatch(value)
    if found is None or found["name"] not in PLACES or found["action"] not in _ACTIONS:
        raise _refused()
    action, argument = found["action"], found["argument"]
    is_timed = action in _TIMED
    if (is_timed and not _is_number(argument)) or (action == "kill" and argument is not None):
        raise _refused()
    return Killpoint(
        name=found["name"],
        action=action,
        seconds=float(argument) if is_timed else 0.0,
        marker=(argument or "").encode() if action == "raise" else b"",
        nth=int(found["nth"]) if found["nth"] else None,
    )


def arm(worker: Worker) -> None:
    """Put the kill point of the environment into the parts of `worker`."""
    point = parse(os.environ[VARIABLE])
    place = PLACES[point.name]
    part = getattr(worker, place.part)
    setattr(part, place.method, _wrapped(getattr(part, place.method), point, is_after=place.is_after))
    log.warning("killpoint_armed", name=point.name, action=point.action)


def _wrapped(call: Callable[..., Awaitable[Any]], point: Killpoint, *, is_after: bool) -> Callable[..., Awaitable[Any]]:
    passages = 0

    async def reach(arguments: Sequence[object]) -> None:
        nonlocal passages
        if point.marker and not any(point.marker in payload for payload in _payloads(arguments)):
            return
        passages += 1
        if point.nth in (None, passages):
            await _act(point)

    async def wrapper(*arguments: Any, **named: Any) -> Any:
        if not is_after:
            await reach(arguments)
        result = await call(*arguments, **named)
        if is_after:
            await reach(arguments)
        return result

    return wrapper


async def _act(point: Killpoint) -> None:
    match point.action:
        case "kill":
            os.kill(os.getpid(), signal.SIGKILL)
        case "raise":
            raise KillpointReached(point.name)
        case "stall":
            time.sleep(point.seconds)  # noqa: ASYNC251 - standing still is the purpose
        case _:
            await asyncio.sleep(point.seconds)


def _payloads(arguments: Sequence[object]) -> Iterator[bytes]:
    """What a call is about, as bytes. Results carry a claim, and a claim its payload."""
    for argument in arguments:
        for item in argument if isinstance(argument, list | tuple) else (argument,):
            match item:
                case PlannedEvent():
                    yield item.event.payload
                case Draft():
                    yield item.claim.payload
                case Intake():
                    yield item.raw.body
                case OutgoingRequest():
                    yield item.body
                case Result():
                    yield item.claim.payload
                case _:
                    continue


def _is_number(text: str | None) -> bool:
    return text is not None and re.fullmatch(r"\d+(\.\d+)?", text) is not None


def _refused() -> ConfigurationRefused:
    return ConfigurationRefused(
        f"{VARIABLE} is name=action[@nth]; names: {', '.join(PLACES)}; "
        "actions: kill, raise, raise:TEXT, stall:SECONDS, delay:SECONDS"
    )
