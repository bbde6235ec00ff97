"""When a delivery is tried again, and when it ends (contract, section 4)."""

from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from router.domain.delivery import AttemptError, DeliveryReason, DeliveryStatus
from router.domain.outcome import Classified, Outcome
from router.domain.retry import (
    LOCAL_FAULT_DELAY,
    MAX_RETRY_AFTER_SECONDS,
    Again,
    End,
    Schedule,
    decide,
    is_too_old,
    next_wait,
    parse_retry_after,
)

NOW = datetime(2026, 1, 1, tzinfo=UTC)
NEVER_TOO_OLD = None


def seconds(*each: float) -> tuple[timedelta, ...]:
    return tuple(timedelta(seconds=each_) for each_ in each)


CALL = Schedule(timeout=timedelta(seconds=5), delays=seconds(1, 2, 4, 8), max_age=timedelta(seconds=30))
CDR = Schedule(
    timeout=timedelta(seconds=10),
    delays=seconds(5, 30, 120, 600, 1_800, 7_200, 18_000, 36_000, 36_000),
    max_age=None,
)
ONCE = Schedule(timeout=timedelta(seconds=5), delays=(), max_age=None)


def result(outcome: Outcome, retry_after_seconds: float | None = None) -> Classified:
    error = None if outcome in (Outcome.DELIVERED, Outcome.NOT_AN_ATTEMPT) else AttemptError.HTTP_STATUS
    return Classified(outcome=outcome, error=error, retry_after_seconds=retry_after_seconds)


def after(
    outcome: Outcome,
    *,
    attempt_number: int = 1,
    schedule: Schedule = CALL,
    not_after: datetime | None = NEVER_TOO_OLD,
    draw: float = 0.0,
) -> Again | End:
    return decide(
        result(outcome),
        attempt_number=attempt_number,
        schedule=schedule,
        not_after=not_after,
        now=NOW,
        jitter=lambda: draw,
    )


# --- what follows an attempt -----------------------------------------------------------------------


@pytest.mark.parametrize(
    ("outcome", "end"),
    [
        (Outcome.DELIVERED, End(status=DeliveryStatus.DELIVERED)),
        (Outcome.GONE, End(status=DeliveryStatus.FAILED, reason=DeliveryReason.GONE)),
        (Outcome.BLOCKED, End(status=DeliveryStatus.FAILED, reason=DeliveryReason.BLOCKED_ADDRESS)),
    ],
)
def test_final_outcomes_end_at_once(outcome: Outcome, end: End) -> None:
    long_ago = NOW - timedelta(hours=1)

    assert after(outcome) == end
    assert after(outcome, attempt_number=99, not_after=long_ago) == end


@pytest.mark.parametrize(
    ("schedule", "attempt_number", "at_seconds"),
    [
        (CALL, 1, 0.5),
        (CALL, 2, 1),
        (CALL, 3, 2),
        (CALL, 4, 4),
        (CALL, 5, None),
        (CALL, 6, None),
        (CDR, 1, 2.5),
        (CDR, 9, 18_000),
        (CDR, 10, None),
        (ONCE, 1, None),
    ],
)
def test_failures_follow_the_schedule_to_its_end(
    schedule: Schedule, attempt_number: int, at_seconds: float | None
) -> None:
    expected = (
        End(status=DeliveryStatus.FAILED, reason=DeliveryReason.EXHAUSTED)
        if at_seconds is None
        else Again(at=NOW + timedelta(seconds=at_seconds))
    )

    assert after(Outcome.RETRY, attempt_number=attempt_number, schedule=schedule) == expected


def test_number_of_attempts_is_one_more_than_the_waits() -> None:
    assert (CALL.max_attempts, CDR.max_attempts, ONCE.max_attempts) == (5, 10, 1)


@pytest.mark.parametrize("attempt_number", [1, 5, 99])
def test_fault_of_our_own_costs_no_attempt(attempt_number: int) -> None:
    again = Again(at=NOW + LOCAL_FAULT_DELAY, counted=False)

    assert after(Outcome.NOT_AN_ATTEMPT, attempt_number=attempt_number) == again
    assert after(Outcome.NOT_AN_ATTEMPT, attempt_number=attempt_number, schedule=ONCE) == again


@pytest.mark.parametrize(
    ("outcome", "wait_seconds"), [(Outcome.RETRY, 0.5), (Outcome.NOT_AN_ATTEMPT, LOCAL_FAULT_DELAY.total_seconds())]
)
def test_what_would_be_too_old_by_then_expires_now(outcome: Outcome, wait_seconds: float) -> None:
    due = NOW + timedelta(seconds=wait_seconds)

    assert isinstance(after(outcome, not_after=due), Again)
    assert after(outcome, not_after=due - timedelta(milliseconds=1)) == End(
        status=DeliveryStatus.EXPIRED, reason=DeliveryReason.TOO_OLD
    )


def test_last_attempt_is_exhausted_even_when_too_old() -> None:
    assert after(Outcome.RETRY, attempt_number=5, not_after=NOW - timedelta(hours=1)) == End(
        status=DeliveryStatus.FAILED, reason=DeliveryReason.EXHAUSTED
    )


@pytest.mark.parametrize(
    ("not_after", "too_old"),
    [(None, False), (NOW, False), (NOW + timedelta(seconds=1), False), (NOW - timedelta(microseconds=1), True)],
)
def test_age_is_judged_at_the_moment(not_after: datetime | None, too_old: bool) -> None:
    assert is_too_old(not_after, NOW) is too_old


# --- how long to wait ------------------------------------------------------------------------------

draws = st.floats(min_value=0, max_value=1, exclude_max=True)
schedules = st.lists(st.integers(1, 10**6), min_size=1, max_size=12).map(
    lambda delays: Schedule(timeout=timedelta(seconds=5), delays=seconds(*delays), max_age=None)
)
wishes = st.none() | st.floats(min_value=0, max_value=1e12)


@settings(deadline=None)
@given(schedule=schedules, draw=draws, data=st.data())
def test_wait_is_between_half_and_whole(schedule: Schedule, draw: float, data: st.DataObject) -> None:
    attempt_number = data.draw(st.integers(1, len(schedule.delays)))
    delay = schedule.delays[attempt_number - 1]

    assert delay / 2 <= next_wait(schedule, attempt_number, None, lambda: draw) <= delay


@settings(deadline=None)
@given(schedule=schedules, draw=draws, wish=wishes, data=st.data())
def test_wish_can_only_lengthen_the_wait_and_never_over_the_cap(
    schedule: Schedule, draw: float, wish: float | None, data: st.DataObject
) -> None:
    attempt_number = data.draw(st.integers(1, len(schedule.delays)))
    unasked = next_wait(schedule, attempt_number, None, lambda: draw)

    wait = next_wait(schedule, attempt_number, wish, lambda: draw)

    assert unasked <= wait <= max(schedule.delays)
    if wish is not None:
        assert wait >= min(timedelta(seconds=min(wish, MAX_RETRY_AFTER_SECONDS)), max(schedule.delays))


@settings(deadline=None)
@given(schedule=schedules, draw=draws)
def test_attempts_run_out_after_exactly_the_schedule(schedule: Schedule, draw: float) -> None:
    now, number = NOW, 1
    while isinstance(
        step := decide(
            result(Outcome.RETRY),
            attempt_number=number,
            schedule=schedule,
            not_after=None,
            now=now,
            jitter=lambda: draw,
        ),
        Again,
    ):
        assert step.counted
        assert step.at > now
        now, number = step.at, number + 1

    assert number == schedule.max_attempts
    assert step.reason is DeliveryReason.EXHAUSTED


@pytest.mark.parametrize(
    ("schedule", "attempt_number", "wish", "draw", "wait_seconds"),
    [
        (CDR, 1, None, 0.0, 2.5),
        (CDR, 1, None, 0.75, 4.375),
        (CDR, 1, 120.0, 0.0, 120.0),
        (CDR, 1, 120.0, 0.5, 126.0),  # those who were sent away together do not come back together
        (CDR, 1, 0.0, 0.0, 2.5),
        (CDR, 3, 30.0, 0.0, 60.0),  # a short wish does not hurry us
        (CDR, 1, 1e9, 0.0, 36_000.0),
        (CALL, 1, 120.0, 0.0, 8.0),
    ],
)
def test_wait_by_example(
    schedule: Schedule, attempt_number: int, wish: float | None, draw: float, wait_seconds: float
) -> None:
    assert next_wait(schedule, attempt_number, wish, lambda: draw) == timedelta(seconds=wait_seconds)


# --- Retry-After -----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("value", "wait_seconds"),
    [
        ("120", 120.0),
        (" 120 ", 120.0),
        ("0", 0.0),
        ("007", 7.0),
        ("9" * 300, 999_999_999.0),
        # dates: the three forms of RFC 9110, and what is near to them
        ("Thu, 01 Jan 2026 00:02:00 GMT", 120.0),
        ("Thursday, 01-Jan-26 00:02:00 GMT", 120.0),
        ("Thu Jan  1 00:02:00 2026", 120.0),
        ("Thu, 01 Jan 2026 01:02:00 +0100", 120.0),
        ("Thu, 01 Jan 2026 00:02:00 -0000", 120.0),
        ("Wed, 31 Dec 2025 23:59:00 GMT", 0.0),
        ("Mon, 01 Jan 1990 00:00:00 GMT", 0.0),
        # garbage
        ("", None),
        ("-1", None),
        ("+5", None),
        ("1.5", None),
        ("1e9", None),
        ("abc", None),
        ("120, 240", None),
        ("120 seconds", None),
        ("²", None),
        ("١٢٠", None),
        ("Thu, 99 Jan 2026 00:02:00 GMT", None),
        ("Thu, 01 Jan 2026 00:02:00 +9999", None),
        ("Thu, 01 Jan 2026 00:02:00 +99999999999999999999", None),
        ("Thu, 01 Jan 99999999999999999999 00:02:00 GMT", None),
    ],
)
def test_retry_after_is_seconds_or_a_date(value: str, wait_seconds: float | None) -> None:
    assert parse_retry_after(value, NOW) == wait_seconds


@settings(deadline=None)
@given(st.text() | st.from_regex(r"[A-Z][a-z]{2}, \d{1,20} [A-Z][a-z]{2} -?\d{1,20} [\d:.]{1,20} [-+]?\d{1,20}"))
def test_no_header_makes_parsing_fail(value: str) -> None:
    parsed = parse_retry_after(value, NOW)

    assert parsed is None or parsed >= 0


def test_largest_wish_is_a_time_span() -> None:
    assert timedelta(seconds=MAX_RETRY_AFTER_SECONDS) > max(CDR.delays)
