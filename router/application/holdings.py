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


class Holdings:
    """By delivery: of two claims of one, the later counts."""

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
        before = self._held.get(claim.delivery_id)
        if before is not None:
            self._count(before.claim, -1)
        self._held[claim.delivery_id] = _Held(claim, lease_until)
        self._count(claim, 1)

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

    def to_renew(self, *, now: float) -> Sequence[Claim]:
        """Claims whose lease runs out soon, and is not over yet."""
        soon = now + RENEW_BELOW.total_seconds()
        return [held.claim for held in self._held.values() if now < held.lease_until < soon]

    def renewed(self, claims: Sequence[Claim], *, at: float) -> None:
        for claim in claims:
            held = self._find(claim)
            if held is not None:
                held.lease_until = at + LEASE.total_seconds()

    # --- inside ---

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
