"""The judgement of a soak, and the sequence of its faults."""

from __future__ import annotations

from collections import Counter
from dataclasses import replace
from itertools import islice

import pytest

from bench.samples import Sample
from tests.soak.customers import Receipt
from tests.soak.faults import FAULTS, HEALING_SECONDS, sequence
from tests.soak.verdict import (
    UNEXPLAINED,
    Incident,
    StoredDelivery,
    Verdict,
    account_for,
    duplicates,
    growth,
)

DELIVERED = StoredDelivery(
    delivery_id="d1", event_id="e1", webhook_id="w1", status="delivered", reason=None, attempt_numbers=[1, 2]
)
KILL = Incident(fault="router killed", began=100, ended=103, recovery_seconds=1)


def receipt(at: float, attempt: int = 1, *, is_taken: bool = True, delivery_id: str = "d1") -> Receipt:
    return Receipt(at=at, delivery_id=delivery_id, attempt=attempt, is_taken=is_taken)


def life(*descriptors: int, start: float = 0.0, mib: float = 90.0, mib_per_second: float = 0.0) -> list[Sample]:
    """One sample a second."""
    return [
        Sample(at=start + second, resident_mib=mib + mib_per_second * second, descriptors=each)
        for second, each in enumerate(descriptors)
    ]


VERDICT = Verdict(
    minutes=20,
    seed=7,
    rate=50,
    webhooks="1 webhook of 1 account",
    events=1,
    unconfirmed=0,
    repeated=0,
    incidents=[KILL],
    accounts=account_for({("e1", "w1")}, [DELIVERED], {"d1"}),
    doubled=(),
    allowed={"router killed (1)": 712},
    growth=growth([life(*[40] * 100)], load_ended=100),
    dead_letters=0,
)


def test_a_seed_gives_the_same_faults_again() -> None:
    assert list(islice(sequence(7), 40)) == list(islice(sequence(7), 40))
    assert list(islice(sequence(7), 8)) != list(islice(sequence(8), 8))


def test_every_fault_comes_before_any_comes_again() -> None:
    steps = list(islice(sequence(1), 2 * len(FAULTS)))
    assert Counter(step.fault for step in steps) == dict.fromkeys(FAULTS, 2)
    assert {step.fault for step in steps[: len(FAULTS)]} == set(FAULTS)
    assert all(HEALING_SECONDS[0] <= step.healing_seconds <= HEALING_SECONDS[1] for step in steps)


def test_what_was_confirmed_and_is_nowhere_is_lost() -> None:
    accounts = account_for({("e1", "w1"), ("e2", "w1")}, [DELIVERED], {"d1"})
    assert accounts.missing == ["e2 for w1"]
    assert accounts.lost == 1


def test_what_the_store_alone_calls_delivered_is_lost() -> None:
    accounts = account_for({("e1", "w1")}, [DELIVERED], set())
    assert accounts.untaken == ["d1"]
    assert accounts.lost == 1


def test_what_ended_visibly_is_not_lost() -> None:
    expired = replace(DELIVERED, status="expired", reason="too_old")
    accounts = account_for({("e1", "w1")}, [expired], set())
    assert (accounts.lost, accounts.ended) == (0, {"too_old": 1})


def test_what_was_never_confirmed_is_not_counted() -> None:
    assert account_for(set(), [DELIVERED], {"d1"}).expected == 0


def test_attempts_must_increase() -> None:
    wrong = replace(DELIVERED, attempt_numbers=[1, 2, 2])
    assert account_for({("e1", "w1")}, [wrong], {"d1"}).out_of_order == ["d1"]


@pytest.mark.parametrize(
    ("receipts", "expected"),
    [
        ([receipt(99), receipt(104)], {"router killed": 1}),
        ([receipt(99, 1), receipt(120, 2)], {"router killed": 1}),
        ([receipt(110), receipt(111)], {"after router killed": 1}),
        ([receipt(50), receipt(51)], {UNEXPLAINED: 1}),
        ([receipt(92, is_taken=False), receipt(104, is_taken=False)], {"router killed": 1}),
        ([receipt(99, 1, is_taken=False), receipt(104, 2)], {}),
        ([receipt(99), receipt(104, delivery_id="d2")], {}),
    ],
    ids=[
        "same attempt",
        "after a 200",
        "soon after",
        "without a fault",
        "unanswered attempt",
        "retry",
        "another delivery",
    ],
)
def test_duplicates_are_told_with_the_fault_that_explains_them(
    receipts: list[Receipt], expected: dict[str, int]
) -> None:
    assert Counter(each.fault for each in duplicates(receipts, [KILL])) == expected


def test_duplicates_that_no_fault_allows_are_named() -> None:
    doubled = duplicates(
        [receipt(99), receipt(104), receipt(50, delivery_id="d2"), receipt(51, delivery_id="d2")], [KILL]
    )
    assert [each.delivery_id for each in replace(VERDICT, doubled=doubled).unexplained] == ["d2"]


def test_slope_is_measured_per_life_under_load() -> None:
    lives = [
        life(*[40] * 80, mib_per_second=0.1),
        life(*[40] * 200, start=100, mib=50),
        life(*[40] * 10, start=300, mib=10),
    ]
    grown = growth(lives, load_ended=309)
    assert (grown.lives, grown.longest_seconds, grown.longest_slope, grown.most_mib) == (3, 199, 0, 97.9)
    assert grown.mean_slope == pytest.approx(6 * 59 / (59 + 179))
    assert growth(lives, load_ended=60).longest_slope == pytest.approx(6)


def test_a_soak_fails_for_what_is_lost_pending_or_grown() -> None:
    assert VERDICT.failures == []
    pending = account_for({("e1", "w1")}, [replace(DELIVERED, status="pending")], set())
    assert replace(VERDICT, accounts=pending).failures == ["1 deliveries are not over"]
    assert replace(VERDICT, accounts=account_for({("e1", "w1")}, [], set())).failures == [
        "1 deliveries are not in the store"
    ]
    assert replace(VERDICT, growth=growth([life(40, 90, 73)], load_ended=3)).failures == ["descriptors grew"]
    assert replace(VERDICT, growth=growth([life(40, 900, 60)], load_ended=3)).failures == []
    assert replace(VERDICT, dead_letters=2, complaints=["it rained"]).failures == ["2 dead letters", "it rained"]


def test_report_can_be_read() -> None:
    report = replace(VERDICT, doubled=duplicates([receipt(99), receipt(104)], [KILL])).report()
    assert "duplicates   1: router killed 1; allowed by router killed (1) 712, together 712" in report
    assert report.endswith("result       passed")
