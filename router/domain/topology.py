"""What the router needs of its broker, what was seen there, and how the two differ. Compares values; asks nobody.

AMQP tells whether an exchange or a queue is there and whether it is as wanted. Bindings, policies and the arguments of
a queue that is taken as it is are seen only by who administers the broker: without that view they are `unseen`.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Final

Arguments = Mapping[str, object]

RETURNED: Final = "webhook-router.returned"
"""Exchange and queue of what the broker sets aside after `DELIVERY_LIMIT` returns."""
POLICY: Final = "webhook-router"
DELIVERY_LIMIT: Final = 20
"""That of RabbitMQ 4.x, said aloud, so that 3.10 has it too."""
QUORUM: Final[Arguments] = {"x-queue-type": "quorum"}


def policy_definition() -> dict[str, object]:
    """The policy of every queue that is consumed. At-least-once dead lettering needs the overflow and the exchange:
    without them the broker falls back to at-most-once, and says so in its log only."""
    return {
        "delivery-limit": DELIVERY_LIMIT,
        "dead-letter-exchange": RETURNED,
        "dead-letter-strategy": "at-least-once",
        "overflow": "reject-publish",
    }


# --- what is wanted ---------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True, kw_only=True)
class Exchange:
    """`kind` is None where it is taken as its owner made it."""

    name: str
    kind: str | None


@dataclass(frozen=True, slots=True, kw_only=True)
class Queue:
    """`arguments` is None where the queue is taken as it is, if there is one."""

    name: str
    arguments: Arguments | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Binding:
    """What leads from an exchange to a queue, or (`to_exchange`) to another exchange."""

    exchange: str
    destination: str
    key: str
    arguments: Arguments = field(default_factory=dict)
    to_exchange: bool = False

    def __str__(self) -> str:
        arguments = f" {dict(self.arguments)}" if self.arguments else ""
        return f"{self.exchange} -> {self.destination} [{self.key}]{arguments}"


@dataclass(frozen=True, slots=True, kw_only=True)
class Wanted:
    """All that `serve` declares, and the queues that the policy is for."""

    exchanges: tuple[Exchange, ...]
    queues: tuple[Queue, ...]
    bindings: tuple[Binding, ...]


# --- what was seen ----------------------------------------------------------------------------------


class Presence(StrEnum):
    """How something that is wanted was found; `extra` is there and not wanted."""

    PRESENT = "present"
    MISSING = "missing"
    DIFFERENT = "different"
    EXTRA = "extra"
    UNSEEN = "unseen"


@dataclass(frozen=True, slots=True, kw_only=True)
class Seen:
    """An exchange or a queue over AMQP. `complaint` says what is different, or what kept us from looking."""

    presence: Presence
    complaint: str = ""
    messages: int = 0
    consumers: int = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class BrokerSeen:
    """The broker as any client sees it."""

    product: str
    version: str
    cluster: str
    exchanges: Mapping[str, Seen]
    queues: Mapping[str, Seen]


@dataclass(frozen=True, slots=True, kw_only=True)
class AppliedPolicy:
    """What policies say of a queue; `name` is empty where none does."""

    name: str
    definition: Arguments


@dataclass(frozen=True, slots=True, kw_only=True)
class AdminView:
    """The broker as its administrator sees it. `origin` says through what; a queue that is not there has no entry."""

    origin: str
    arguments: Mapping[str, Arguments]
    policies: Mapping[str, AppliedPolicy]
    bindings: tuple[Binding, ...]

    def leads_somewhere(self, exchange: str) -> bool:
        """Whether a message to this exchange can reach a queue, directly or over other exchanges."""
        open_, looked_at = [exchange], set[str]()
        while open_:
            name = open_.pop()
            looked_at.add(name)
            for binding in self.bindings:
                if binding.exchange == name and not binding.to_exchange:
                    return True
                if binding.exchange == name and binding.destination not in looked_at:
                    open_.append(binding.destination)
        return False


# --- how they differ --------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True, kw_only=True)
class Line:
    """One thing that is wanted or found: `kind` is exchange, queue, binding, policy or index."""

    kind: str
    name: str
    presence: Presence
    detail: str = ""


def compare(wanted: Wanted, seen: BrokerSeen, view: AdminView | None) -> list[Line]:
    """A line for everything that is wanted, in the order of declaring; the policies come last."""
    return [
        *(_line("exchange", each.name, seen.exchanges[each.name]) for each in wanted.exchanges),
        *(_line("queue", each.name, seen.queues[each.name]) for each in wanted.queues),
        *(_binding_line(each, seen, view) for each in wanted.bindings),
        *(_policy_line(each.name, seen, view) for each in wanted.queues),
    ]


def _line(kind: str, name: str, seen: Seen) -> Line:
    return Line(kind=kind, name=name, presence=seen.presence, detail=seen.complaint)


def _binding_line(binding: Binding, seen: BrokerSeen, view: AdminView | None) -> Line:
    if Presence.MISSING in {seen.exchanges[binding.exchange].presence, seen.queues[binding.destination].presence}:
        return Line(kind="binding", name=str(binding), presence=Presence.MISSING)
    if view is None:
        return Line(kind="binding", name=str(binding), presence=Presence.UNSEEN)
    presence = Presence.PRESENT if binding in view.bindings else Presence.MISSING
    return Line(kind="binding", name=str(binding), presence=presence)


def _policy_line(queue: str, seen: BrokerSeen, view: AdminView | None) -> Line:
    policy = view.policies.get(queue) if view is not None else None
    if policy is None:
        is_missing = seen.queues[queue].presence is Presence.MISSING
        return Line(
            kind="policy", name=queue, presence=Presence.UNSEEN, detail="there is no queue yet" if is_missing else ""
        )
    if not policy.definition:
        return Line(kind="policy", name=queue, presence=Presence.MISSING, detail="no policy applies to it")
    differences = "; ".join(policy_differences(policy.definition))
    presence = Presence.DIFFERENT if differences else Presence.PRESENT
    return Line(kind="policy", name=queue, presence=presence, detail=differences)


def policy_differences(definition: Arguments) -> Iterator[str]:
    """What a policy lacks of ours, and what it has otherwise. Another dead-letter exchange is the operator's choice."""
    for key, value in policy_definition().items():
        has = definition.get(key)
        if has is None:
            yield f"{key} is not set, {value} was wanted"
        elif has != value and key not in {"dead-letter-exchange", "delivery-limit"}:
            yield f"{key} is {has}, {value} was wanted"
        elif key == "delivery-limit" and not (isinstance(has, int) and has > 0):
            yield f"{key} is {has}: RabbitMQ 3.10 sets a message aside at its first return then"


def policy_pattern(queues: Sequence[str]) -> str:
    """The regular expression of a policy for exactly these queues."""
    names = "|".join(re.sub(r"([\\.+*?()\[\]{}|^$])", r"\\\1", name) for name in queues)
    return f"^({names})$"
