"""Which documents wait for a first result, and for how long."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import timedelta

from router.application.drafts import MAX_WAITING, Drafts, Waiting
from router.application.settling import Unsettled
from router.domain.delivery import DeliveryId
from router.ports import Draft
from tests.support.fakes_delivery import NOW, draft_of

SECOND = timedelta(seconds=1)


def unsettled() -> Unsettled:
    return Unsettled([], None, lambda: None)  # type: ignore[arg-type]


def drafts_of(*drafts: Draft) -> Drafts:
    """One a second, from NOW on."""
    kept = Drafts()
    for number, each in enumerate(drafts):
        kept.add(each, unsettled(), now=NOW + number * SECOND)
    return kept


def ids(waiting: Sequence[Waiting]) -> list[str]:
    return [each.draft.claim.delivery_id for each in waiting]


def test_who_waits_for_a_result_is_taken_with_it() -> None:
    kept = drafts_of(draft_of("a"), draft_of("b"), draft_of("c"))

    assert ids(kept.take([DeliveryId("b"), DeliveryId("unknown")], 10, before=NOW - SECOND)) == ["b"]
    assert len(kept) == 2
    assert DeliveryId("b") not in kept
    assert DeliveryId("a") in kept


def test_who_has_waited_long_enough_is_taken_without_a_result() -> None:
    kept = drafts_of(draft_of("a"), draft_of("b"), draft_of("c"))

    assert ids(kept.take([], 10, before=NOW + SECOND)) == ["a", "b"]
    assert ids(kept.take([], 10, before=NOW + SECOND)) == []


def test_what_nobody_attempts_at_once_waits_for_nothing() -> None:
    kept = drafts_of(draft_of("a"), draft_of("b", leased=False))

    assert kept.ready == 1
    assert ids(kept.take([], 10, before=NOW - SECOND)) == ["b"]


def test_what_is_not_to_be_attempted_after_all_waits_no_longer() -> None:
    kept = drafts_of(draft_of("a"), draft_of("b"))

    kept.hurry(DeliveryId("b"))
    kept.hurry(DeliveryId("unknown"))

    assert ids(kept.take([], 10, before=NOW - SECOND)) == ["b"]


def test_beside_results_no_more_are_taken_than_fit_into_one_write() -> None:
    kept = drafts_of(*(draft_of(f"{number}") for number in range(6)))

    ended = [DeliveryId(f"{number}") for number in (3, 4, 5)]
    assert ids(kept.take(ended, 2, before=NOW + 10 * SECOND)) == ["3", "4", "5", "0", "1"]
    assert ids(kept.take([], 2, before=NOW + 10 * SECOND)) == ["2"]


def test_of_too_many_the_oldest_wait_no_longer() -> None:
    kept = drafts_of(*(draft_of(f"{number}") for number in range(MAX_WAITING)))
    assert ids(kept.take([], 10, before=NOW - SECOND)) == []

    kept.add(draft_of("one more"), unsettled(), now=NOW)
    assert ids(kept.take([], 10, before=NOW - SECOND)) == ["0"]
