"""Which documents wait for a first result, and for how long."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime, timedelta

import pytest

from router.application.drafts import WAIT, WAIT_TO_BEGIN, Drafts, Waiting
from router.application.settling import Unsettled
from router.domain.delivery import DeliveryId
from router.domain.webhook import WebhookId
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


def begun(*drafts: Draft) -> Drafts:
    """All attempted from NOW on."""
    kept = drafts_of(*drafts)
    for each in drafts:
        kept.begin(each.claim.delivery_id, now=NOW)
    return kept


def ids(waiting: Sequence[Waiting]) -> list[str]:
    return [each.draft.claim.delivery_id for each in waiting]


def taken(kept: Drafts, ended: Sequence[DeliveryId], limit: int, *, now: datetime) -> list[str]:
    kept.look(now)
    return ids(kept.take(ended, limit))


def test_who_waits_for_a_result_is_taken_with_it() -> None:
    kept = drafts_of(draft_of("a"), draft_of("b"), draft_of("c"))
    kept.begin(DeliveryId("b"), now=NOW)

    assert taken(kept, [DeliveryId("b"), DeliveryId("unknown")], 10, now=NOW) == ["b"]
    assert len(kept) == 2
    assert DeliveryId("b") not in kept
    assert DeliveryId("a") in kept


def test_who_has_a_result_waits_for_it_to_be_written_and_makes_nobody_late() -> None:
    kept = begun(draft_of("a"), draft_of("b"))
    kept.end(DeliveryId("a"))
    kept.end(DeliveryId("unknown"))

    assert taken(kept, [], 10, now=NOW + WAIT - SECOND / 1000) == []
    kept.hurry_all()
    assert taken(kept, [], 10, now=NOW + SECOND) == ["b"]
    kept.add(draft_of("c"), unsettled(), now=NOW)
    assert taken(kept, [DeliveryId("a")], 10, now=NOW) == ["a"]
    assert len(kept) == 1


@pytest.mark.parametrize(("waited", "ready"), [(WAIT - SECOND / 1000, []), (WAIT, ["a", "b"])])
def test_who_has_waited_long_enough_for_an_answer_is_taken_without(waited: timedelta, ready: list[str]) -> None:
    kept = begun(draft_of("a"), draft_of("b"))

    assert taken(kept, [], 10, now=NOW + waited) == ready


@pytest.mark.parametrize(("waited", "ready"), [(WAIT_TO_BEGIN - SECOND / 1000, []), (WAIT_TO_BEGIN, ["a"])])
def test_who_has_waited_long_enough_to_begin_is_taken(waited: timedelta, ready: list[str]) -> None:
    kept = drafts_of(draft_of("a"), draft_of("b"))

    assert taken(kept, [], 10, now=NOW + waited) == ready


@pytest.mark.parametrize("kept", [drafts_of(draft_of("a")), begun(draft_of("a"))])
def test_nobody_waits_for_a_clock_that_went_back(kept: Drafts) -> None:
    assert taken(kept, [], 10, now=NOW - WAIT_TO_BEGIN) == ["a"]


def test_nobody_waits_for_a_webhook_that_is_late_until_it_answers_in_time() -> None:
    kept = begun(draft_of("a"))
    other = draft_of("other", webhook="wh_2")
    for each in (draft_of("b"), other):
        kept.add(each, unsettled(), now=NOW)
    assert taken(kept, [], 10, now=NOW + WAIT) == ["a", "b"]

    kept.add(draft_of("c"), unsettled(), now=NOW)
    kept.answered(WebhookId("wh_1"), WAIT)
    kept.add(draft_of("d"), unsettled(), now=NOW)
    assert taken(kept, [], 10, now=NOW) == ["c", "d"]

    kept.answered(WebhookId("wh_1"), WAIT - SECOND / 1000)
    kept.add(draft_of("e"), unsettled(), now=NOW)
    assert taken(kept, [], 10, now=NOW) == []
    assert DeliveryId("other") in kept


def test_what_nobody_attempts_at_once_waits_for_nothing() -> None:
    kept = drafts_of(draft_of("a"), draft_of("b", leased=False))

    kept.add(draft_of("c"), unsettled(), now=NOW, in_doubt=True)
    assert kept.ready == 2
    assert taken(kept, [], 10, now=NOW) == ["b", "c"]


def test_what_is_not_to_be_attempted_after_all_waits_no_longer() -> None:
    kept = drafts_of(draft_of("a"), draft_of("b"))

    kept.hurry([DeliveryId("b"), DeliveryId("unknown")])
    assert taken(kept, [], 10, now=NOW) == ["b"]

    kept.hurry_all()
    assert taken(kept, [], 10, now=NOW) == ["a"]


def test_beside_results_no_more_are_taken_than_fit_into_one_write() -> None:
    kept = begun(*(draft_of(f"{number}") for number in range(6)))

    ended = [DeliveryId(f"{number}") for number in (3, 4, 5)]
    assert taken(kept, ended, 2, now=NOW + SECOND) == ["3", "4", "5", "0", "1"]
    assert taken(kept, [], 2, now=NOW + SECOND) == ["2"]
