"""Doctor: RabbitMQ. What is there, whether it is as wanted, who consumes, and where returned messages end."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from typing import Final

from router.adapters.rabbitmq import inspection
from router.bootstrap import convert, topology
from router.domain.diagnosis import Finding, Ward
from router.domain.errors import RouterError
from router.domain.topology import QUORUM, RETURNED, AdminView, BrokerSeen, Line, Presence, Seen, Wanted, compare
from router.settings import Settings

GROUP: Final = "broker"
_WARD: Final = Ward(GROUP)
OLDEST: Final = (3, 10)
NEWEST_TRIED: Final = (4, 3)
IMPORT: Final = (
    "`webhook-router topology policies > policies.json`, then `rabbitmqctl import_definitions policies.json`"
)
APPLY: Final = "`webhook-router topology apply` declares it; so does the next start."
LOOK_THERE: Final = (
    "Run this on the broker's host, where rabbitmqctl answers; or give --management-url, and the tag management to the "
    "user of amqp.url."
)


async def look(settings: Settings, management_url: str | None) -> list[Finding]:
    wanted = topology.wanted(settings)
    try:
        async with inspection.looking(convert.broker(settings)) as connection:
            seen = await inspection.inspect(connection, wanted)
    except RouterError as error:
        return [
            _WARD.fail("connection", str(error), "Start RabbitMQ, or correct amqp.url."),
            *_WARD.unseen(
                ("version", "exchanges", "queues", "bindings", "consumers", "policies", "dead letters"),
                "RabbitMQ does not let us in",
                "Mend the connection first.",
            ),
        ]
    view, why = await topology.administrators_view(settings, seen, management_url)
    passive = {source.queue for source in settings.sources if source.declare == "passive"}
    return [
        _WARD.ok("connection", f"open, to {seen.cluster or 'a broker without a name'}"),
        judge_version(seen),
        *judge_topology(compare(wanted, seen, view), why),
        *(judge_arguments(name, view) for name in sorted(passive) if seen.queues[name].presence is Presence.PRESENT),
        judge_consumers({queue.name: seen.queues[queue.name] for queue in wanted.queues}),
        *judge_dead_letters(wanted, seen, view, why),
    ]


def judge_version(seen: BrokerSeen) -> Finding:
    found = re.match(r"(\d+)\.(\d+)", seen.version)
    number = (int(found[1]), int(found[2])) if found else None
    said = f"{seen.product} {seen.version}".strip() or "not told"
    if number is None or seen.product != "RabbitMQ":
        return _WARD.warn("version", f"{said}: not one that we know", "Use RabbitMQ 3.10 or newer.")
    if number < OLDEST:
        return _WARD.fail("version", f"{said}: too old for quorum queues as we use them", "Use RabbitMQ 3.10 or newer.")
    if number > NEWEST_TRIED:
        newest = ".".join(map(str, NEWEST_TRIED))
        return _WARD.warn(
            "version", f"{said}: newer than {newest}, the newest that is known", "Read its release notes."
        )
    return _WARD.ok("version", said)


def judge_topology(lines: Iterable[Line], why: str) -> Iterator[Finding]:
    """A line for each kind that is well, or how much of it is missing or unseen; one for each thing that differs."""
    by_kind: dict[str, list[Line]] = {"exchange": [], "queue": [], "binding": [], "policy": []}
    for line in lines:
        by_kind[line.kind].append(line)
    for kind, found in by_kind.items():
        title = {"policy": "policies"}.get(kind, f"{kind}s")
        unseen = [line for line in found if line.presence is Presence.UNSEEN]
        missing = [line for line in found if line.presence is Presence.MISSING]
        yield from (_different(title, line) for line in found if line.presence is Presence.DIFFERENT)
        if missing:
            names, remedy = ", ".join(line.name for line in missing), f"{IMPORT}." if kind == "policy" else APPLY
            yield _WARD.warn(title, f"{len(missing)} of {len(found)} not there: {names}", remedy)
        if unseen:
            # A right that is missing, or a view that we do not have: the same for all of them.
            reason = next((line.detail for line in unseen if line.detail), why)
            yield _WARD.warn(title, f"{len(unseen)} cannot be seen: {reason}", LOOK_THERE if why else APPLY)
        if all(line.presence is Presence.PRESENT for line in found):
            how = f": {', '.join(f'{key} {value}' for key, value in QUORUM.items())}" if kind == "queue" else ""
            yield _WARD.ok(title, f"{len(found)} as wanted{how}")


def _different(title: str, line: Line) -> Finding:
    if line.kind == "policy":
        return _WARD.fail(title, f"{line.name}: {line.detail}", f"{IMPORT}.")
    return _WARD.fail(
        title,
        f"{line.name}: {line.detail}",
        f'Delete the {line.kind} when it is empty, or set declare = "passive" for its source to take it as it is.',
    )


def judge_arguments(queue: str, view: AdminView | None) -> Finding:
    """A queue that is taken as it is: whether it survives its broker."""
    title = "queues"
    if view is None:
        return _WARD.warn(title, f"{queue} is taken as it is; its arguments cannot be seen from here", LOOK_THERE)
    arguments = dict(view.arguments.get(queue, {}))
    if arguments.get("x-queue-type") != "quorum":
        kind = arguments.get("x-queue-type", "classic")
        return _WARD.warn(
            title,
            f"{queue} is taken as it is, a {kind} queue: one node's loss can lose its messages",
            "Have its owner make it a quorum queue.",
        )
    return _WARD.ok(title, f"{queue} is taken as it is: {arguments}")


def judge_consumers(queues: dict[str, Seen]) -> Finding:
    idle = [name for name, seen in queues.items() if seen.presence is Presence.PRESENT and seen.consumers == 0]
    there = [seen for seen in queues.values() if seen.presence is Presence.PRESENT]
    if idle:
        waiting = sum(queues[name].messages for name in idle)
        return _WARD.warn(
            "consumers",
            f"nobody consumes {', '.join(idle)}, where {waiting} message{'s' if waiting != 1 else ''} wait",
            "Start the router: `webhook-router serve`, or systemctl start webhook-router.",
        )
    if not there:
        return _WARD.warn("consumers", "there is no queue to consume", APPLY)
    waiting = sum(seen.messages for seen in there)
    return _WARD.ok("consumers", f"{sum(seen.consumers for seen in there)}, on {len(there)} queues; {waiting} ready")


def judge_dead_letters(wanted: Wanted, seen: BrokerSeen, view: AdminView | None, why: str) -> Iterator[Finding]:
    """Whether what the broker sets aside reaches a queue. If not, it stays for ever where it was (at-least-once)."""
    title, returned = "dead letters", seen.queues[RETURNED]
    if view is not None:
        targets = {
            str(exchange)
            for queue in wanted.queues
            if (exchange := _dead_letter_exchange(queue.name, view)) is not None
        }
        lost = sorted(name for name in targets if not view.leads_somewhere(name))
        if lost:
            yield _WARD.fail(title, f"exchange {', '.join(lost)} leads to no queue", f"{IMPORT} makes them.")
        elif not targets:
            yield _WARD.warn(title, "no dead-letter exchange: what is returned too often is dropped", f"{IMPORT}.")
        else:
            yield _WARD.ok(title, f"exchange {', '.join(sorted(targets))} leads to a queue")
    elif Presence.MISSING in {seen.exchanges[RETURNED].presence, returned.presence}:
        yield _WARD.warn(title, f"{RETURNED} is not there, and policies cannot be seen: {why}", f"{IMPORT} makes it.")
    else:
        yield _WARD.warn(title, f"{RETURNED} is there; whether it is bound cannot be seen from here", LOOK_THERE)
    if returned.presence is Presence.PRESENT and returned.messages:
        yield _WARD.warn(
            title,
            f"{returned.messages} message(s) in {RETURNED}: the router returned each of them too often",
            "See docs/operations.md, Dead letters; look at one with RabbitMQ's own tools.",
        )


def _dead_letter_exchange(queue: str, view: AdminView) -> object:
    policy = view.policies.get(queue)
    from_policy = policy.definition.get("dead-letter-exchange") if policy is not None else None
    return view.arguments.get(queue, {}).get("x-dead-letter-exchange", from_policy)
