"""What the broker has against what is wanted: presence, policies, and where dead letters lead."""

from __future__ import annotations

import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from router.domain.topology import (
    QUORUM,
    AdminView,
    AppliedPolicy,
    Binding,
    BrokerSeen,
    Exchange,
    Presence,
    Queue,
    Seen,
    Wanted,
    compare,
    policy_definition,
    policy_differences,
    policy_pattern,
)

PRESENT, MISSING = Seen(presence=Presence.PRESENT), Seen(presence=Presence.MISSING)
BINDING = Binding(exchange="call", destination="q", key="#")
WANTED = Wanted(
    exchanges=(Exchange(name="call", kind="topic"),), queues=(Queue(name="q", arguments=QUORUM),), bindings=(BINDING,)
)
OURS = AppliedPolicy(name="webhook-router", definition=policy_definition())


def seen(*, exchange: Seen = PRESENT, queue: Seen = PRESENT) -> BrokerSeen:
    return BrokerSeen(
        product="RabbitMQ", version="4.2.9", cluster="c", exchanges={"call": exchange}, queues={"q": queue}
    )


def view(*bindings: Binding, policy: AppliedPolicy = OURS) -> AdminView:
    return AdminView(origin="a test", arguments={"q": QUORUM}, policies={"q": policy}, bindings=bindings)


def found(broker: BrokerSeen, administrator: AdminView | None) -> dict[str, Presence]:
    return {line.kind: line.presence for line in compare(WANTED, broker, administrator)}


@pytest.mark.parametrize(
    ("broker", "administrator", "expected"),
    [
        (seen(), view(BINDING), ["present", "present", "present", "present"]),
        (seen(), None, ["present", "present", "unseen", "unseen"]),
        (seen(), view(), ["present", "present", "missing", "present"]),
        (seen(queue=MISSING), None, ["present", "missing", "missing", "unseen"]),
        (seen(exchange=MISSING), view(BINDING), ["missing", "present", "missing", "present"]),
        (
            seen(queue=Seen(presence=Presence.DIFFERENT, complaint="x-max-length is 5")),
            view(BINDING, policy=AppliedPolicy(name="", definition={})),
            ["present", "different", "present", "missing"],
        ),
        (
            seen(),
            view(BINDING, policy=AppliedPolicy(name="p", definition={"delivery-limit": 20})),
            ["present", "present", "present", "different"],
        ),
    ],
)
def test_each_thing_is_found_as_it_is(broker: BrokerSeen, administrator: AdminView | None, expected: list[str]) -> None:
    assert list(found(broker, administrator).values()) == expected


def test_a_binding_is_the_same_only_with_its_arguments() -> None:
    headers = Binding(exchange="call", destination="q", key="#", arguments={"x-match": "all"})
    assert found(seen(), view(headers))["binding"] is Presence.MISSING


@pytest.mark.parametrize(
    ("change", "differs"),
    [
        ({}, False),
        ({"delivery-limit": 7}, False),  # another number is the operator's choice
        ({"dead-letter-exchange": "theirs"}, False),
        ({"max-length": 10}, False),
        ({"delivery-limit": -1}, True),
        ({"delivery-limit": 0}, True),
        ({"delivery-limit": None}, True),
        ({"dead-letter-exchange": None}, True),
        ({"dead-letter-strategy": "at-most-once"}, True),
        ({"overflow": "drop-head"}, True),
        ({"overflow": None}, True),
    ],
)
def test_a_policy_differs_where_messages_could_be_lost(change: dict[str, object], differs: bool) -> None:
    assert bool(list(policy_differences({**policy_definition(), **change}))) is differs


@pytest.mark.parametrize(
    ("bindings", "leads"),
    [
        ([], False),
        ([("dlx", "q", False)], True),
        ([("other", "q", False)], False),
        ([("dlx", "next", True)], False),
        ([("dlx", "next", True), ("next", "q", False)], True),
        ([("dlx", "next", True), ("next", "dlx", True)], False),
    ],
)
def test_dead_letters_are_followed_to_a_queue(bindings: list[tuple[str, str, bool]], leads: bool) -> None:
    all_of_them = [Binding(exchange=a, destination=b, key="", to_exchange=c) for a, b, c in bindings]
    assert view(*all_of_them).leads_somewhere("dlx") is leads


@given(st.lists(st.text(min_size=1, max_size=20), min_size=1, max_size=4, unique=True), st.text(max_size=20))
def test_the_pattern_of_a_policy_is_for_these_queues_and_no_other(queues: list[str], other: str) -> None:
    pattern = re.compile(policy_pattern(queues))

    assert all(pattern.fullmatch(name) for name in queues)
    assert bool(pattern.fullmatch(other)) is (other in queues)
