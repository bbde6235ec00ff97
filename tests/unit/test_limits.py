"""Token buckets, on a clock that the test moves."""

from __future__ import annotations

import pytest

from router.application.limits import Buckets, Rate


class Clock:
    def __init__(self) -> None:
        self.now = 1_000.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def clock() -> Clock:
    return Clock()


def test_a_burst_is_let_through_then_so_many_a_second(clock: Clock) -> None:
    buckets = Buckets(Rate(per_second=4, burst=2), clock)

    assert [buckets.take("a") for _ in range(4)] == [0, 0, 0.25, 0.25]
    clock.now += 0.25
    assert [buckets.take("a") for _ in range(2)] == [0, 0.25]


def test_time_fills_a_bucket_up_to_its_burst(clock: Clock) -> None:
    buckets = Buckets(Rate(per_second=4, burst=2), clock)
    buckets.take("a")
    clock.now += 3_600

    assert [buckets.take("a") for _ in range(3)] == [0, 0, 0.25]


def test_refusals_do_not_put_the_next_one_off(clock: Clock) -> None:
    buckets = Buckets(Rate(per_second=1, burst=1), clock)
    buckets.take("a")

    waits = []
    for _ in range(4):
        clock.now += 0.25
        waits.append(buckets.take("a"))

    assert waits == [0.75, 0.5, 0.25, 0]


def test_each_key_has_its_own_bucket(clock: Clock) -> None:
    buckets = Buckets(Rate(per_second=1, burst=1), clock)

    assert [buckets.take(key) for key in ("a", "b", "a")] == [0, 0, 1]


def test_waiting_is_asked_without_taking(clock: Clock) -> None:
    buckets = Buckets(Rate(per_second=1, burst=1), clock)

    assert [buckets.wait("a"), buckets.wait("a"), buckets.take("a"), buckets.wait("a")] == [0, 0, 0, 1]
    assert len(buckets) == 1


def test_so_many_buckets_are_kept_and_the_one_unused_for_longest_is_forgotten(clock: Clock) -> None:
    buckets = Buckets(Rate(per_second=1, burst=1), clock, at_most=2)
    for key in ("a", "b", "a", "c"):
        buckets.take(key)

    assert len(buckets) == 2
    assert [buckets.wait(key) for key in ("a", "b", "c")] == [1, 0, 1]
