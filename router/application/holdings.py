"""The claims that a worker holds, by what their leases and the memory allow. A plain state machine; it touches nothing.

Times are monotonic seconds, and arguments.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import timedelta

from router.domain.delivery import Claim, DeliveryId
from router.domain.event import AccountId
from router.domain.lease import LEASE, RENEW_BELOW


@dataclass(slots=True)
class _Held:
    claim: Claim
    lease_until: float
    is_busy: bool = False
    """Its attempt is in flight, or the result is not recorded yet."""


class Holdings:
    """By delivery: of two claims of one, the later counts.

    A worker may claim what it holds itself, where its lease ran out while the store stood still. Is the attempt under
    way by then, the claim is only renewed in form: the result is recorded under the later one.
    """

    def __init__(self) -> None:
        self._held: dict[DeliveryId, _Held] = {}
        self._of_account: Counter[AccountId] = Counter()
        self.payload_bytes = 0

    def __len__(self) -> int:
        return len(self._held)

    def of_account(self, account_id: AccountId) -> int:
        return self._of_account[account_id]

    def all(self) -> Sequence[Claim]:
        return [held.claim for held in self._held.values()]

    def add(self, claim: Claim, *, lease_until: float) -> None:
        """Take in a claim that is to be attempted."""
        self._put(claim, lease_until, is_busy=False)

    def adopt(self, claim: Claim, *, lease_until: float) -> bool:
        """Let `claim` take the place of one whose attempt is under way. False where there is none."""
        before = self._held.get(claim.delivery_id)
        if before is None or not before.is_busy:
            return False
        self._put(claim, lease_until, is_busy=True)
        return True

    def begin(self, claim: Claim) -> None:
        """The attempt begins."""
        held = self._find(claim)
        if held is not None:
            held.is_busy = True

    def current(self, claim: Claim) -> Claim:
        """The claim under which this delivery is held now; `claim` itself where it is not."""
        held = self._held.get(claim.delivery_id)
        return held.claim if held is not None and held.is_busy else claim

    def forget(self, claim: Claim) -> None:
        """The claim is no longer ours. A later one of the same delivery stays."""
        held = self._find(claim)
        if held is not None:
            del self._held[claim.delivery_id]
            self._count(held.claim, -1)

    # --- leases ---

    def has(self, claim: Claim, *, now: float, margin: timedelta = timedelta()) -> bool:
        """Whether our lease still lasts for `margin`."""
        held = self._find(claim)
        return held is not None and held.lease_until > now + margin.total_seconds()

    def has_lost(self, claim: Claim, *, now: float) -> bool:
        """Whether we shall not attempt it under this claim, and do not."""
        held = self._find(claim)
        return held is None or (held.lease_until <= now and not held.is_busy)

    def to_renew(self, *, now: float) -> Sequence[Claim]:
        """Claims whose lease runs out soon.

        One whose lease is over is lost, unless the attempt is under way: then it is worth a try to keep the delivery
        from the others, if none of them has it yet.
        """
        soon = now + RENEW_BELOW.total_seconds()
        return [
            held.claim
            for held in self._held.values()
            if held.lease_until < soon and (held.is_busy or now < held.lease_until)
        ]

    def renewed(self, claims: Sequence[Claim], *, at: float) -> None:
        for claim in claims:
            held = self._find(claim)
            if held is not None:
                held.lease_until = at + LEASE.total_seconds()

    # --- inside ---

    def _put(self, claim: Claim, lease_until: float, *, is_busy: bool) -> None:
        before = self._held.get(claim.delivery_id)
        if before is not None:
            self._count(before.claim, -1)
        self._held[claim.delivery_id] = _Held(claim, lease_until, is_busy)
        self._count(claim, 1)

    def _find(self, claim: Claim) -> _Held | None:
        held = self._held.get(claim.delivery_id)
        return held if held is not None and held.claim.fence == claim.fence else None

    def _count(self, claim: Claim, sign: int) -> None:
        self.payload_bytes += sign * len(claim.payload)
        left = self._of_account[claim.account_id] + sign
        if left:
            self._of_account[claim.account_id] = left
        else:
            del self._of_account[claim.account_id]
