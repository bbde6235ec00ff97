"""What a result means: 2xx is success, 410 and a refused address end it, everything else is retried."""

import pytest

from router.domain.delivery import AttemptError
from router.domain.outcome import Answer, Classified, LocalFault, NoAnswer, Outcome, classify


def answer(status: int, retry_after_seconds: float | None = None) -> Answer:
    return Answer(status_code=status, body=b"", truncated=False, retry_after_seconds=retry_after_seconds)


@pytest.mark.parametrize("status", range(200, 300))
def test_2xx_is_success(status: int) -> None:
    assert classify(answer(status)) == Classified(outcome=Outcome.DELIVERED, error=None, status_code=status)


@pytest.mark.parametrize("status", range(300, 400))
def test_3xx_is_a_failure_of_its_own_name(status: int) -> None:
    assert classify(answer(status)) == Classified(
        outcome=Outcome.RETRY, error=AttemptError.REDIRECT, status_code=status
    )


@pytest.mark.parametrize("status", [99, 101, 199, *range(400, 410), *range(411, 600), 600, 999])
def test_other_statuses_are_retried(status: int) -> None:
    assert classify(answer(status)) == Classified(
        outcome=Outcome.RETRY, error=AttemptError.HTTP_STATUS, status_code=status
    )


def test_410_ends_it() -> None:
    assert classify(answer(410)) == Classified(outcome=Outcome.GONE, error=AttemptError.HTTP_STATUS, status_code=410)


@pytest.mark.parametrize(
    ("status", "is_heard"), [(429, True), (503, True), (500, False), (301, False), (410, False), (200, False)]
)
def test_retry_after_is_heard_with_429_and_503_only(status: int, is_heard: bool) -> None:
    assert classify(answer(status, 120.0)).retry_after_seconds == (120.0 if is_heard else None)


def test_truncated_body_changes_nothing() -> None:
    truncated = Answer(status_code=200, body=b"x" * 2048, truncated=True)

    assert classify(truncated).outcome is Outcome.DELIVERED


@pytest.mark.parametrize("error", AttemptError)
def test_no_answer_is_retried_unless_the_address_is_refused(error: AttemptError) -> None:
    is_blocked = error is AttemptError.BLOCKED_ADDRESS

    assert classify(NoAnswer(error=error)) == Classified(
        outcome=Outcome.BLOCKED if is_blocked else Outcome.RETRY, error=error
    )


def test_fault_of_our_own_is_no_attempt() -> None:
    assert classify(LocalFault(detail="Too many open files")) == Classified(outcome=Outcome.NOT_AN_ATTEMPT, error=None)
