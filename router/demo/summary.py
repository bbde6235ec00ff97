"""How a run went: the demo's own books against what the read API says, and whether that is good. Pure."""

from __future__ import annotations

import json
from collections.abc import Collection, Mapping
from dataclasses import asdict, dataclass, replace

from router.demo.api import Counts, HookCounts
from router.demo.ledger import Ledger, percentile
from router.domain.delivery import DeliveryStatus


@dataclass(frozen=True, slots=True, kw_only=True)
class Summary:
    """The end of a run. Delays are in milliseconds, from before publishing to the first request at the customer."""

    seconds: float
    seed: int
    published: int
    """Messages that the broker confirmed, broken ones included."""
    unconfirmed: int
    broken: int
    """Messages that were no JSON, on purpose."""
    expected: int
    """Deliveries that must come of what was published, by the demo's own reckoning."""
    delivered: int
    retried: int
    pending: int
    failed_as_intended: int
    """To the dead port."""
    failed: int
    """Everything else that ended without success: exhausted, expired, cancelled."""
    dead_letters: int
    lost: int
    """Expected, and neither delivered nor pending nor visibly ended; or delivered, the router says, to nobody."""
    unexpected: int
    """Deliveries that no webhook had asked for."""
    duplicates: int
    signatures_verified: int
    signatures_bad: int
    p50_ms: float | None
    p99_ms: float | None
    max_ms: float | None
    router_exit_code: int | None
    problems: tuple[str, ...] = ()
    """Why the run was no success; empty where it was."""

    def to_json(self) -> str:
        return json.dumps(asdict(self), indent=2)


@dataclass(frozen=True, slots=True, kw_only=True)
class Answers:
    """What the read API said last."""

    counts: Counts
    hooks: Mapping[str, HookCounts]


def summarise(
    ledger: Ledger,
    answers: Answers | None,
    *,
    dead_hooks: Collection[str],
    seconds: float,
    seed: int,
    router_exit_code: int | None,
    router_said: str = "",
) -> Summary:
    """The whole of a run. Without `answers`, only what customers saw is delivered, and the rest is lost."""
    stored = {} if answers is None else answers.hooks
    by_status = {} if answers is None else answers.counts.by_status
    expected = ledger.expected.total()
    surplus = sum(max(0, found.total - ledger.expected[hook_id]) for hook_id, found in stored.items())
    intended = sum(stored[hook_id].failed for hook_id in dead_hooks if hook_id in stored)
    delivered = ledger.delivered if answers is None else by_status.get(DeliveryStatus.DELIVERED, 0)
    ended = 0 if answers is None else sum(answers.counts.ended_badly.values())
    summary = Summary(
        seconds=round(seconds, 1),
        seed=seed,
        published=ledger.published,
        unconfirmed=ledger.unconfirmed,
        broken=ledger.broken,
        expected=expected,
        delivered=delivered,
        retried=ledger.retried,
        pending=by_status.get(DeliveryStatus.PENDING, 0),
        failed_as_intended=intended,
        failed=max(0, ended - intended),
        dead_letters=0 if answers is None else answers.counts.dead_letters,
        lost=_lost(ledger, answers) + max(0, delivered - ledger.delivered),
        unexpected=max(surplus, ledger.unexpected),
        duplicates=ledger.duplicates,
        signatures_verified=ledger.verified,
        signatures_bad=ledger.forged,
        p50_ms=_milliseconds(percentile(ledger.delays, 0.50)),
        p99_ms=_milliseconds(percentile(ledger.delays, 0.99)),
        max_ms=_milliseconds(max(ledger.delays, default=None)),
        router_exit_code=router_exit_code,
    )
    awaited = expected - sum(ledger.expected[hook_id] for hook_id in dead_hooks)
    return _judged(summary, answers, awaited=awaited, router_said=router_said)


def _lost(ledger: Ledger, answers: Answers | None) -> int:
    """Expected deliveries that are nowhere. By webhook, so that a surplus of one hides no loss of another."""
    expected = ledger.expected
    if answers is None:
        return expected.total() - ledger.delivered
    nowhere = sum(
        max(0, count - (answers.hooks[hook_id].total if hook_id in answers.hooks else 0))
        for hook_id, count in expected.items()
    )
    return max(nowhere, expected.total() - answers.counts.total)


def _judged(summary: Summary, answers: Answers | None, *, awaited: int, router_said: str) -> Summary:
    found = {
        "the read API did not answer at the end": answers is None,
        f"lost deliveries: {summary.lost}": summary.lost > 0,
        f"deliveries that nobody asked for: {summary.unexpected}": summary.unexpected > 0,
        f"deliveries that failed and should not have: {summary.failed}": summary.failed > 0,
        f"requests that were not signed as they should be: {summary.signatures_bad}": summary.signatures_bad > 0,
        "nothing arrived whose signature could be verified": awaited > 0 and summary.signatures_verified == 0,
        f"broken messages that are no dead letters: {summary.broken - summary.dead_letters}": (
            summary.dead_letters < summary.broken
        ),
        router_said or f"the router ended with exit code {summary.router_exit_code}": summary.router_exit_code != 0,
    }
    return replace(summary, problems=tuple(problem for problem, is_there in found.items() if is_there))


def _milliseconds(seconds: float | None) -> float | None:
    return None if seconds is None else round(seconds * 1000, 1)
