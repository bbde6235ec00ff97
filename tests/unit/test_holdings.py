"""What a worker knows of the deliveries that it holds, and of claims that it made twice."""

from __future__ import annotations

from dataclasses import replace

from router.application.holdings import Holdings
from router.domain.lease import LEASE
from tests.support.fakes_delivery import ACCOUNT, claim

OLD = claim()
NEW = replace(OLD, fence=OLD.fence + 1)
LEASE_SECONDS = LEASE.total_seconds()


def test_a_claim_of_what_is_being_attempted_takes_its_place_without_another_attempt() -> None:
    held = Holdings()
    held.add(OLD, lease_until=10)
    held.begin(OLD)

    assert held.adopt(NEW, lease_until=20)

    assert held.current(OLD) == NEW
    assert held.has(NEW, now=15)
    assert not held.has(OLD, now=5)
    assert (len(held), held.of_account(ACCOUNT), held.payload_bytes) == (1, 1, len(OLD.payload))
    held.forget(NEW)
    assert len(held) == 0


def test_a_claim_of_what_waits_or_is_not_held_is_no_adoption() -> None:
    held = Holdings()
    assert not held.adopt(NEW, lease_until=20)
    held.add(OLD, lease_until=10)

    assert not held.adopt(NEW, lease_until=20)

    assert held.current(OLD) == OLD


def test_a_lease_that_is_over_is_renewed_only_while_the_attempt_is_under_way() -> None:
    held = Holdings()
    busy, waiting = OLD, claim("dlv_2")
    held.add(busy, lease_until=10)
    held.begin(busy)
    held.add(waiting, lease_until=10)

    assert held.to_renew(now=11) == [busy]

    held.renewed([busy], at=11)

    assert held.has(busy, now=11 + LEASE_SECONDS - 1)


def test_an_attempt_that_is_over_makes_the_next_claim_an_ordinary_one() -> None:
    held = Holdings()
    held.add(OLD, lease_until=10)
    held.begin(OLD)
    held.add(replace(OLD, attempt_count=1), lease_until=30)  # it rests until its near retry

    assert not held.adopt(NEW, lease_until=40)
