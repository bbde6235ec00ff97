"""How much retries may have of the store while first attempts wait."""

from __future__ import annotations

from router.application.budget import LEAST_RETRIES, RetryBudget


def test_without_a_backlog_there_is_no_limit() -> None:
    budget = RetryBudget(lambda: False)
    budget.took_in(5, has_backlog=False)

    assert budget.allowance(200) == 200


def test_behind_a_backlog_retries_get_a_tenth_of_what_is_taken_in() -> None:
    budget = RetryBudget(lambda: False)
    for _ in range(3):
        budget.took_in(200, has_backlog=True)

    assert budget.allowance(200) == 60
    assert budget.allowance(200) == LEAST_RETRIES, "the same events are not counted twice"


def test_the_least_is_given_however_little_was_taken_in() -> None:
    budget = RetryBudget(lambda: False)
    budget.took_in(10, has_backlog=True)

    assert budget.allowance(200) == LEAST_RETRIES
    assert budget.allowance(3) == 3


def test_the_limit_ends_with_the_backlog() -> None:
    budget = RetryBudget(lambda: False)
    budget.took_in(200, has_backlog=True)
    budget.took_in(3, has_backlog=False)

    assert budget.allowance(200) == 200


def test_while_the_store_is_behind_the_same_holds_without_a_backlog() -> None:
    budget = RetryBudget(lambda: True)
    budget.took_in(100, has_backlog=False)

    assert budget.allowance(200) == LEAST_RETRIES
    budget.took_in(300, has_backlog=False)
    assert budget.allowance(200) == 30
    assert budget.allowance(200) == LEAST_RETRIES
