"""How the demo judges a run: its own books against what the read API says."""

import json
from collections import Counter
from collections.abc import Mapping

import pytest

from router.demo.api import Counts, HookCounts
from router.demo.ledger import Ledger
from router.demo.report import summary_lines, verdict
from router.demo.summary import Answers, Summary, summarise
from router.demo.watching import awaited_texts
from router.domain.delivery import DeliveryStatus


def books(**counts: int) -> Ledger:
    """Books of a run with `counts` expected by webhook, all of them delivered but those of `dead`."""
    ledger = Ledger()
    ledger.published = 50
    ledger.expected = Counter(counts)
    ledger.delivered = sum(count for hook_id, count in counts.items() if hook_id != "dead")
    ledger.verified = ledger.requests = ledger.delivered
    ledger.delays.extend([0.010, 0.020, 0.030])
    return ledger


def hook(*, delivered: int = 0, failed: int = 0, pending: int = 0) -> HookCounts:
    return HookCounts(total=delivered + failed + pending, delivered=delivered, failed=failed, pending=pending)


def answers(hooks: Mapping[str, HookCounts], *, dead_letters: int = 0, **by_status: int) -> Answers:
    """What the API says; the counts by status follow from the webhooks where they are not given."""
    follows = {
        "delivered": sum(each.delivered for each in hooks.values()),
        "failed": sum(each.failed for each in hooks.values()),
        "pending": sum(each.pending for each in hooks.values()),
    }
    counts = {status: (follows | by_status).get(status.value, 0) for status in DeliveryStatus}
    return Answers(counts=Counts(by_status=counts, dead_letters=dead_letters), hooks=hooks)


def judge(ledger: Ledger, said: Answers | None, *, exit_code: int | None = 0, router_said: str = "") -> Summary:
    return summarise(
        ledger,
        said,
        dead_hooks=["dead"],
        seconds=9.97,
        seed=7,
        router_exit_code=exit_code,
        router_said=router_said,
    )


def test_a_run_where_all_is_well() -> None:
    ledger = books(crm=8, dead=2)
    ledger.broken = 1

    summary = judge(ledger, answers({"crm": hook(delivered=8), "dead": hook(failed=2)}, dead_letters=1))

    assert summary.problems == ()
    assert (summary.expected, summary.delivered, summary.failed_as_intended, summary.failed) == (10, 8, 2, 0)
    assert (summary.lost, summary.unexpected, summary.pending, summary.dead_letters) == (0, 0, 0, 1)
    assert (summary.p50_ms, summary.p99_ms, summary.max_ms) == (20.0, 30.0, 30.0)
    assert verdict(summary) == "nothing lost: 10 of 10 expected deliveries accounted for, 8 signatures verified"


def test_what_is_still_pending_is_not_lost() -> None:
    ledger = books(crm=8, dead=2)
    ledger.delivered = 6
    summary = judge(ledger, answers({"crm": hook(delivered=6, pending=2), "dead": hook(failed=1, pending=1)}))
    assert (summary.pending, summary.lost, summary.problems) == (3, 0, ())


@pytest.mark.parametrize(
    ("said", "lost"),
    [
        (answers({"crm": hook(delivered=7), "dead": hook(failed=2)}), 1),
        (answers({"dead": hook(failed=2)}, delivered=0), 8),
        (answers({}), 10),
        # One webhook's surplus hides no loss of another.
        (answers({"crm": hook(delivered=7), "dead": hook(failed=3)}), 1),
        # The two lists of the API do not agree: the worse one counts.
        (answers({"crm": hook(delivered=8), "dead": hook(failed=2)}, delivered=5), 3),
        (None, 2),
    ],
)
def test_what_is_nowhere_is_lost(said: Answers | None, lost: int) -> None:
    summary = judge(books(crm=8, dead=2), said)
    assert summary.lost == lost
    assert f"lost deliveries: {lost}" in summary.problems


def test_delivered_to_nobody_is_lost() -> None:
    ledger = books(crm=8)
    ledger.delivered = 7
    assert judge(ledger, answers({"crm": hook(delivered=8)})).lost == 1


def test_a_delivery_too_many_is_unexpected() -> None:
    summary = judge(books(crm=8), answers({"crm": hook(delivered=8), "paused": hook(pending=1)}))
    assert (summary.lost, summary.unexpected) == (0, 1)
    assert summary.problems == ("deliveries that nobody asked for: 1",)


def test_a_failure_that_nobody_meant_is_a_problem() -> None:
    ledger = books(crm=8)
    ledger.delivered = 7
    summary = judge(ledger, answers({"crm": hook(delivered=7, failed=1)}, failed=0, expired=1))
    assert (summary.failed, summary.failed_as_intended, summary.lost) == (1, 0, 0)
    assert summary.problems == ("deliveries that failed and should not have: 1",)


def test_bad_signatures_are_a_problem_and_none_at_all_too() -> None:
    ledger = books(crm=8)
    ledger.forged, ledger.verified = 2, 0
    assert judge(ledger, answers({"crm": hook(delivered=8)})).problems == (
        "requests that were not signed as they should be: 2",
        "nothing arrived whose signature could be verified",
    )


def test_a_run_that_awaited_nothing_is_no_failure() -> None:
    assert judge(books(dead=2), answers({"dead": hook(failed=2)})).problems == ()
    assert judge(books(), answers({})).problems == ()


def test_a_broken_message_that_vanished_is_a_problem() -> None:
    ledger = books(crm=8)
    ledger.broken = 2
    summary = judge(ledger, answers({"crm": hook(delivered=8)}, dead_letters=1))
    assert summary.problems == ("broken messages that are no dead letters: 1",)


def test_how_the_router_ended_is_told() -> None:
    said = answers({"crm": hook(delivered=8)})
    assert judge(books(crm=8), said, exit_code=70).problems == ("the router ended with exit code 70",)
    assert judge(books(crm=8), said, exit_code=-9, router_said="it was killed").problems == ("it was killed",)


def test_the_summary_as_json_has_every_figure() -> None:
    summary = judge(books(crm=8), answers({"crm": hook(delivered=8)}))
    document = json.loads(summary.to_json())
    assert document["lost"] == 0
    assert document["problems"] == []
    assert set(document) == set(Summary.__dataclass_fields__)


def test_the_summary_for_people_names_every_figure_once() -> None:
    lines = summary_lines(judge(books(crm=8), answers({"crm": hook(delivered=8)})))
    names = [name for name, _, _ in lines]
    assert len(set(names)) == len(names)
    assert {"published", "expected", "delivered", "lost", "duplicates", "p50", "p99", "router"} <= set(names)


# --- what is waited for ----------------------------------------------------------------------------


def test_what_is_awaited_is_named() -> None:
    ledger = books(crm=8, dead=2)
    ledger.broken = 1
    said = answers({"crm": hook(delivered=7), "dead": hook(pending=2)})
    assert awaited_texts(ledger, said.counts) == ["2 to fail", "1 to be recorded", "1 dead letter"]
    assert awaited_texts(ledger, None) == ["the read API"]


def test_nothing_is_awaited_once_all_has_come_to_its_end() -> None:
    said = answers({"crm": hook(delivered=8), "dead": hook(failed=2)})
    assert awaited_texts(books(crm=8, dead=2), said.counts) == []
