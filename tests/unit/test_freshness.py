"""How old an event is, by the clock of a publisher that may be off."""

from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from router.domain.freshness import PLAUSIBLE_AGE, SAMPLES, PublisherClock

NOW = datetime(2026, 1, 1, tzinfo=UTC)
SECOND, MINUTE, HOUR = timedelta(seconds=1), timedelta(minutes=1), timedelta(hours=1)

MAX_AGE = timedelta(seconds=30)
"""After which a `call` is too old."""


def age(clock: PublisherClock, difference: timedelta, *, live: bool, at: datetime = NOW) -> timedelta:
    """How old the clock says an event is that was received `difference` after its own `occurred_at`."""
    return at - clock.born_at(at - difference, at, live=live)


def measured(*differences: timedelta) -> PublisherClock:
    """A clock that has seen live events with these differences."""
    clock = PublisherClock()
    for difference in differences:
        clock.born_at(NOW - difference, NOW, live=True)
    return clock


def test_event_without_a_time_is_born_when_it_is_received() -> None:
    assert PublisherClock().born_at(None, NOW, live=False) == NOW


@pytest.mark.parametrize("skew", [-HOUR, -MINUTE, -SECOND, timedelta(), SECOND, MINUTE, HOUR, 365 * 24 * HOUR])
def test_live_event_is_new_once_its_publishers_clock_was_measured(skew: timedelta) -> None:
    clock = measured(skew)

    assert [age(clock, skew, live=True) for _ in range(3 * SAMPLES)] == [timedelta()] * (3 * SAMPLES)


@pytest.mark.parametrize("live", [True, False])
@pytest.mark.parametrize(
    ("difference", "expected"),
    [
        (timedelta(), timedelta()),
        (MINUTE, MINUTE),
        (PLAUSIBLE_AGE, PLAUSIBLE_AGE),
        (PLAUSIBLE_AGE + SECOND, timedelta()),  # more likely a wrong clock than a late event
        (-MINUTE, timedelta()),  # from the future
        (-HOUR, timedelta()),
    ],
)
def test_event_of_an_unmeasured_publisher_is_judged_by_plausibility(
    difference: timedelta, expected: timedelta, live: bool
) -> None:
    assert age(PublisherClock(), difference, live=live) == expected


@pytest.mark.parametrize("skew", [-HOUR, -MINUTE, timedelta(), MINUTE, HOUR])
@pytest.mark.parametrize("waited", [SECOND, MINUTE, 24 * HOUR])
def test_backlog_of_a_measured_publisher_has_its_real_age(skew: timedelta, waited: timedelta) -> None:
    assert age(measured(skew), skew + waited, live=False) == waited


def test_backlog_is_no_measurement() -> None:
    clock = measured(timedelta())
    for _ in range(2 * SAMPLES):
        age(clock, HOUR, live=False)

    assert age(clock, HOUR, live=False) == HOUR


def test_slow_transit_of_a_few_live_events_is_no_skew() -> None:
    clock = measured(timedelta(), 10 * SECOND, 20 * SECOND)

    assert age(clock, MINUTE, live=False) == MINUTE


def test_clock_that_is_set_forward_is_followed_at_once() -> None:
    clock = measured(*[timedelta()] * SAMPLES)
    assert age(clock, -HOUR, live=True) == timedelta()

    assert age(clock, -HOUR + MINUTE, live=False) == MINUTE


def test_clock_that_is_set_back_a_little_is_followed_after_the_samples() -> None:
    clock = measured(*[timedelta()] * SAMPLES)
    ages = [age(clock, MINUTE, live=True) for _ in range(SAMPLES + 1)]

    # Until then it might as well be a publisher that was held up.
    assert ages[:SAMPLES] == [MINUTE] * SAMPLES
    assert ages[-1] == timedelta()


def test_clock_that_is_set_back_by_an_hour_expires_nothing() -> None:
    clock = measured(*[timedelta()] * SAMPLES)

    assert [age(clock, HOUR, live=True) for _ in range(SAMPLES)] == [timedelta()] * SAMPLES
    assert age(clock, HOUR + MINUTE, live=False) == MINUTE


def test_two_publishers_of_one_source_of_which_one_is_an_hour_behind() -> None:
    clock = PublisherClock()

    assert [age(clock, skew, live=True) for skew in [timedelta(), HOUR] * SAMPLES] == [timedelta()] * (2 * SAMPLES)


def recalled(error: timedelta) -> PublisherClock:
    """A clock after a restart."""
    clock = PublisherClock()
    clock.recall(error)
    return clock


@pytest.mark.parametrize("skew", [-HOUR, -MINUTE, timedelta(), MINUTE, HOUR])
@pytest.mark.parametrize("waited", [timedelta(), 10 * SECOND, MINUTE, 20 * MINUTE, 24 * HOUR])
def test_backlog_after_a_restart_has_its_real_age_where_the_clock_was_measured_before(
    skew: timedelta, waited: timedelta
) -> None:
    assert age(recalled(skew), skew + waited, live=False) == waited


def test_what_was_measured_before_a_restart_counts_until_there_is_a_sample() -> None:
    clock = recalled(HOUR)
    assert age(clock, HOUR + MINUTE, live=False) == MINUTE
    assert clock.measured is None

    clock.born_at(NOW, NOW, live=True)  # it was set right meanwhile

    assert clock.measured == timedelta()
    assert age(clock, MINUTE, live=False) == MINUTE


def test_live_event_shows_that_a_clock_was_set_back_while_no_router_ran() -> None:
    clock = recalled(timedelta())

    assert age(clock, HOUR, live=True) == timedelta()
    assert age(clock, HOUR + MINUTE, live=False) == MINUTE


def test_measured_is_the_smallest_of_the_last_samples() -> None:
    assert PublisherClock().measured is None
    assert measured(3 * SECOND, SECOND, 2 * SECOND).measured == SECOND


differences = st.timedeltas(min_value=timedelta(days=-400), max_value=timedelta(days=400))


@settings(deadline=None)
@given(st.lists(st.tuples(differences, st.booleans()), max_size=60))
def test_no_event_is_from_the_future(arrivals: list[tuple[timedelta, bool]]) -> None:
    clock = PublisherClock()

    assert all(age(clock, difference, live=live) >= timedelta() for difference, live in arrivals)


@settings(deadline=None)
@given(skew=differences, transits=st.lists(st.timedeltas(timedelta(), 5 * SECOND), min_size=1, max_size=60))
def test_steady_skew_expires_nothing(skew: timedelta, transits: list[timedelta]) -> None:
    clock = measured(skew)

    assert all(age(clock, skew + transit, live=True) <= MAX_AGE for transit in transits)
