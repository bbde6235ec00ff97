"""How much retries may have of the store while first attempts wait."""

from __future__ import annotations

from router.adapters.rabbitmq.window import Window
from router.application.budget import LEAST_RETRIES, RetryBudget
from tests.support.fakes_delivery import make_budget


def test_without_a_backlog_there_is_no_limit() -> None:
    budget = make_budget()
    budget.took_in(5)

    assert budget.allowance(200) == 200
    assert not budget.is_tight


def test_behind_a_backlog_retries_get_a_tenth_of_what_is_taken_in() -> None:
    budget = make_budget(has_backlog=True)
    for _ in range(3):
        budget.took_in(200)

    assert budget.allowance(200) == 60
    assert budget.allowance(200) == LEAST_RETRIES, "the same events are not counted twice"


def test_the_least_is_given_however_little_was_taken_in() -> None:
    budget = make_budget(has_backlog=True)
    budget.took_in(10)

    assert budget.allowance(200) == LEAST_RETRIES
    assert budget.allowance(3) == 3


def test_the_limit_ends_with_the_backlog_also_where_no_event_follows() -> None:
    window = Window(prefetch=4)
    budget = RetryBudget(has_backlog=lambda: window.is_full, is_store_behind=lambda: False)
    for _ in range(4):
        window.arrived()
    budget.took_in(4)
    behind = budget.allowance(200)

    window.settled(4)

    assert (behind, budget.allowance(200), budget.is_tight) == (LEAST_RETRIES, 200, False)


def test_while_the_store_is_behind_the_same_holds_without_a_backlog() -> None:
    budget = make_budget(is_behind=True)
    budget.took_in(100)

    assert budget.allowance(200) == LEAST_RETRIES
    budget.took_in(300)
    assert budget.allowance(200) == 30
    assert budget.allowance(200) == LEAST_RETRIES
