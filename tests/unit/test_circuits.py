"""When a webhook that keeps failing is left in peace, what its deliveries do meanwhile, and how it comes back."""

from __future__ import annotations

from dataclasses import replace
from datetime import timedelta

import pytest

from router.application.circuits import PROBE_LOST_AFTER, PUT_OFF, SHORTEST_REST, SLOW_PUT_OFF, Circuits
from router.application.flights import SLOW_SECONDS
from router.domain.circuit import (
    FIRST_PROBE_AFTER,
    LONGEST_BETWEEN_PROBES,
    OPEN_AFTER_FAILURES,
    Circuit,
    after_failed_probe,
    after_failure,
)
from router.domain.lease import HELD_RECHECK
from router.domain.webhook import WebhookId
from tests.support.fakes_delivery import NOW, FakeClock, circuits, claim, no_jitter, webhook

MINUTE = timedelta(minutes=1)
ID = WebhookId("wh_1")


def failing(failures: int, since: timedelta = MINUTE) -> Circuit:
    return Circuit(url="https://crm.example/hook", failing_since=NOW - since, failures=failures)


@pytest.mark.parametrize(
    ("failures_before", "since", "is_open"),
    [
        (OPEN_AFTER_FAILURES - 1, MINUTE, True),
        (OPEN_AFTER_FAILURES - 2, MINUTE, False),
        (OPEN_AFTER_FAILURES - 1, MINUTE - timedelta(milliseconds=1), False),
        (1000, timedelta(0), False),
    ],
    ids=["often and long enough", "not often enough", "not long enough", "a burst"],
)
def test_a_circuit_opens_after_so_many_failures_over_so_long(
    failures_before: int, since: timedelta, is_open: bool
) -> None:
    after = after_failure(failing(failures_before, since), now=NOW, open_after=MINUTE, jitter=no_jitter)

    assert after.is_open is is_open
    assert after.failures == failures_before + 1


def test_probes_come_at_growing_intervals_up_to_a_longest() -> None:
    circuit = replace(failing(5), probe_at=NOW)
    waits = []
    for _ in range(8):
        circuit = after_failed_probe(circuit, now=NOW, jitter=no_jitter)
        assert circuit.probe_at is not None
        waits.append(round((circuit.probe_at - NOW).total_seconds()))

    assert waits == [10, 20, 40, 80, 160, 300, 300, 300]
    assert timedelta(seconds=300) == LONGEST_BETWEEN_PROBES


@pytest.mark.parametrize(("draw", "share"), [(0.0, 0.5), (0.5, 0.75)])
def test_the_wait_for_a_probe_is_drawn(draw: float, share: float) -> None:
    after = after_failure(failing(9), now=NOW, open_after=MINUTE, jitter=lambda: draw)

    assert after.probe_at == NOW + FIRST_PROBE_AFTER * share


def opened(clock: FakeClock) -> Circuits:
    """The circuit of `wh_1` is open, its first probe is due in 5 s."""
    under_test = circuits(clock)
    for _ in range(OPEN_AFTER_FAILURES - 1):
        under_test.failed(claim(), webhook(), after_seconds=0.1)
    clock.moment += MINUTE
    under_test.failed(claim(), webhook(), after_seconds=0.1)
    assert under_test.is_open(ID)
    return under_test


def test_a_closed_circuit_lets_everything_through() -> None:
    under_test = circuits()
    under_test.failed(claim(), webhook(), after_seconds=0.1)

    assert under_test.is_failing(ID)
    assert under_test.admit(claim(), webhook()) is None
    assert under_test.rests_until(webhook()) is None
    assert (under_test.count_open(), under_test.count_half_open()) == (0, 0)


def test_an_open_circuit_lets_one_probe_through_when_it_is_time() -> None:
    clock = FakeClock()
    under_test = opened(clock)
    assert under_test.admit(claim("dlv_1"), webhook()) == clock.moment + FIRST_PROBE_AFTER * (1 - 2**-54)
    assert under_test.count_open() == 1

    clock.moment += FIRST_PROBE_AFTER

    assert under_test.admit(claim("dlv_1"), webhook()) is None
    assert under_test.admit(claim("dlv_2"), webhook()) is not None
    assert (under_test.count_open(), under_test.count_half_open()) == (0, 1)


def test_deliveries_that_rest_come_back_one_at_each_probe_and_not_all_at_once() -> None:
    clock = FakeClock()
    under_test = opened(clock)

    slots = [under_test.rests_until(webhook()) for _ in range(100)]

    waits = [round((slot - clock.moment).total_seconds()) for slot in slots if slot]
    assert waits[:7] == [5, 15, 35, 75, 155, 300, 300]
    assert waits[-1] == HELD_RECHECK.total_seconds()


def test_a_probe_that_succeeds_closes_the_circuit() -> None:
    clock = FakeClock()
    under_test = opened(clock)
    clock.moment += FIRST_PROBE_AFTER
    under_test.admit(claim(), webhook())

    under_test.succeeded(webhook())

    assert not under_test.is_failing(ID)
    assert under_test.admit(claim("dlv_2"), webhook()) is None


def test_a_probe_that_fails_keeps_it_open_for_longer() -> None:
    clock = FakeClock()
    under_test = opened(clock)
    clock.moment += FIRST_PROBE_AFTER
    under_test.admit(claim(), webhook())

    under_test.failed(claim(), webhook(), after_seconds=0.1)

    clock.moment += FIRST_PROBE_AFTER
    assert under_test.admit(claim(), webhook()) is not None
    clock.moment += FIRST_PROBE_AFTER
    assert under_test.admit(claim(), webhook()) is None


def test_failures_that_were_in_flight_when_it_opened_do_not_put_the_probe_off() -> None:
    clock = FakeClock()
    under_test = opened(clock)
    for number in range(15):
        under_test.failed(claim(f"dlv_{number}"), webhook(), after_seconds=0.1)

    clock.moment += FIRST_PROBE_AFTER

    assert under_test.admit(claim(), webhook()) is None


def test_a_probe_that_came_to_nothing_makes_room_for_another() -> None:
    clock = FakeClock()
    under_test = opened(clock)
    clock.moment += FIRST_PROBE_AFTER
    under_test.admit(claim("dlv_1"), webhook())

    under_test.let_go(claim("dlv_2"))
    assert under_test.admit(claim("dlv_3"), webhook()) == clock.moment + SHORTEST_REST
    under_test.let_go(claim("dlv_1"))

    assert under_test.admit(claim("dlv_3"), webhook()) is None


def test_a_probe_that_was_never_heard_of_again_is_replaced() -> None:
    clock = FakeClock()
    under_test = opened(clock)
    clock.moment += FIRST_PROBE_AFTER
    under_test.admit(claim("dlv_1"), webhook())
    clock.moment += PROBE_LOST_AFTER
    assert under_test.admit(claim("dlv_2"), webhook()) is not None

    clock.moment += timedelta(milliseconds=1)

    assert under_test.admit(claim("dlv_2"), webhook()) is None


def test_a_new_url_begins_with_a_clean_record() -> None:
    under_test = opened(FakeClock())

    assert under_test.admit(claim(), webhook(url="https://new.example/")) is None

    under_test.failed(claim(), webhook(url="https://new.example/"), after_seconds=0.1)
    assert not under_test.is_open(ID)


def test_what_the_store_knows_of_a_failing_webhook_outlives_a_restart() -> None:
    clock = FakeClock()
    under_test, known = circuits(clock), webhook(failing_since=NOW - MINUTE)

    assert under_test.admit(claim("dlv_1"), known) is None, "the first one is the probe"
    assert under_test.admit(claim("dlv_2"), known) is not None
    assert under_test.count_half_open() == 1


def test_a_webhook_that_has_failed_for_a_moment_only_is_no_known_failure() -> None:
    under_test, known = circuits(), webhook(failing_since=NOW - MINUTE + timedelta(milliseconds=1))

    assert [under_test.admit(claim(f"dlv_{number}"), known) for number in range(3)] == [None] * 3


def test_a_success_counts_although_the_definitions_do_not_show_it_yet() -> None:
    under_test, known = circuits(), webhook(failing_since=NOW - timedelta(days=1))
    under_test.admit(claim("dlv_1"), known)

    under_test.succeeded(known)

    assert [under_test.admit(claim(f"dlv_{number}"), known) for number in range(3)] == [None] * 3
    under_test.forget(ID)  # the definitions show it
    under_test.admit(claim("dlv_1"), known)
    assert under_test.admit(claim("dlv_2"), known) is not None, "it fails again, by the definitions"


@pytest.mark.parametrize(("seconds", "hangs"), [(0.0, False), (SLOW_SECONDS, False), (SLOW_SECONDS + 0.1, True)])
def test_a_webhook_hangs_when_its_last_attempt_failed_late(seconds: float, hangs: bool) -> None:
    under_test = circuits()
    under_test.failed(claim(), webhook(), after_seconds=5)
    under_test.failed(claim(), webhook(), after_seconds=seconds)

    assert under_test.is_hanging(ID) is hangs


def test_what_finds_no_place_rests_for_long_or_until_the_circuit_wants_a_probe() -> None:
    clock = FakeClock()
    failing = circuits(clock)
    failing.failed(claim(), webhook(), after_seconds=5)

    assert failing.put_off_until(ID) == clock.moment + PUT_OFF
    assert circuits(clock).put_off_until(ID) == clock.moment + SLOW_PUT_OFF, "slow, and not failing"
    assert opened(clock).put_off_until(ID) < clock.moment + PUT_OFF


def test_what_finds_no_place_is_spread_over_time() -> None:
    under_test = Circuits(FakeClock(), iter([0.0, 0.5, 1.0]).__next__, MINUTE)

    assert [under_test.put_off_until(ID) - NOW for _ in range(3)] == [
        SLOW_PUT_OFF * 0.5,
        SLOW_PUT_OFF * 0.75,
        SLOW_PUT_OFF,
    ]


def test_of_what_is_due_an_open_circuit_wants_one_probe_at_its_time() -> None:
    clock = FakeClock()
    assert circuits(clock).probes_wanted(ID) is None
    under_test = opened(clock)

    assert under_test.probes_wanted(ID) == 0
    clock.moment += FIRST_PROBE_AFTER
    assert under_test.probes_wanted(ID) == 1
    under_test.admit(claim(), webhook())
    assert under_test.probes_wanted(ID) == 0, "the probe is under way"


def test_a_deleted_webhook_leaves_nothing_behind() -> None:
    under_test = opened(FakeClock())

    under_test.forget(ID)

    assert not under_test.is_failing(ID)
    assert under_test.count_open() == 0
