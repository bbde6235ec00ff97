"""Judges a soak: what was lost, what came twice and why, and whether the router grew. Touches nothing."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import pairwise
from typing import Final

from bench.samples import Sample, after, mib_per_minute
from tests.soak.customers import Receipt

GROWN_UP_SECONDS: Final = 20
"""After these the memory of a router is that of its load, not that of its start."""
LEAST_LIFE_SECONDS: Final = 30
"""Shorter ones tell no slope."""
LONGEST_ATTEMPT_SECONDS: Final = 11
"""What was sent earlier than this before a fault was over and recorded when it came."""
AFTERMATH_SECONDS: Final = 15
"""The length of a lease: what is sent later is sent as if the fault had not been."""
DESCRIPTORS_TOLERANCE: Final = 32
"""What pools of connections may keep at the end that was not there at the beginning."""
UNEXPLAINED: Final = "no fault"


@dataclass(frozen=True, slots=True, kw_only=True)
class Incident:
    """A fault as it was injected, in monotonic seconds. `recovery_seconds`: until the router was ready; None: never."""

    fault: str
    began: float
    ended: float
    recovery_seconds: float | None


@dataclass(frozen=True, slots=True, kw_only=True)
class StoredDelivery:
    """What the store says at the end."""

    delivery_id: str
    event_id: str
    webhook_id: str
    status: str
    reason: str | None
    attempt_numbers: Sequence[int]


@dataclass(frozen=True, slots=True, kw_only=True)
class Accounts:
    """`ended` counts by status and reason. `missing`, `untaken`: not in the store; delivered by its word alone."""

    expected: int
    ended: Counter[str]
    pending: Sequence[str]
    missing: Sequence[str]
    untaken: Sequence[str]
    out_of_order: Sequence[str]

    @property
    def lost(self) -> int:
        return len(self.missing) + len(self.untaken)


def account_for(
    expected: Collection[tuple[str, str]], stored: Sequence[StoredDelivery], taken: Collection[str]
) -> Accounts:
    """Compare confirmed events, each with its webhooks, with the store and with what customers answered 200 to."""
    found = {(each.event_id, each.webhook_id): each for each in stored}
    mine = [found[key] for key in expected if key in found]
    return Accounts(
        expected=len(expected),
        ended=Counter(each.reason or each.status for each in mine if each.status != "pending"),
        pending=[each.delivery_id for each in mine if each.status == "pending"],
        missing=[
            f"{event_id} for {webhook_id}" for event_id, webhook_id in expected if (event_id, webhook_id) not in found
        ],
        untaken=[each.delivery_id for each in mine if each.status == "delivered" and each.delivery_id not in taken],
        out_of_order=[
            each.delivery_id
            for each in mine
            if any(later <= earlier for earlier, later in pairwise(each.attempt_numbers))
        ],
    )


@dataclass(frozen=True, slots=True, kw_only=True)
class Duplicate:
    """A request that repeats an attempt, or follows one that was answered 200. `fault`: when that one was sent."""

    delivery_id: str
    first_at: float
    again_at: float
    fault: str


def duplicates(receipts: Sequence[Receipt], incidents: Sequence[Incident]) -> Sequence[Duplicate]:
    by_delivery: defaultdict[str, list[Receipt]] = defaultdict(list)
    for receipt in receipts:
        by_delivery[receipt.delivery_id].append(receipt)
    return [
        Duplicate(
            delivery_id=delivery_id,
            first_at=earlier.at,
            again_at=later.at,
            fault=fault_at(earlier.at, incidents),
        )
        for delivery_id, each in by_delivery.items()
        for earlier, later in pairwise(each)
        if earlier.is_taken or later.attempt <= earlier.attempt
    ]


def fault_at(moment: float, incidents: Sequence[Incident]) -> str:
    """The fault that kept what was sent at `moment` from being recorded, or that it came soon after."""
    spans = [(each.fault, each.began, each.ended + (each.recovery_seconds or 0)) for each in incidents]
    during = (fault for fault, began, over in spans if began - LONGEST_ATTEMPT_SECONDS <= moment <= over)
    soon_after = (f"after {fault}" for fault, _, over in spans if over < moment <= over + AFTERMATH_SECONDS)
    return next(during, None) or next(soon_after, UNEXPLAINED)


# --- growth ----------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True, kw_only=True)
class Growth:
    """Memory in MiB and MiB per minute over lives without a restart; descriptors as they were."""

    lives: int
    longest_seconds: float
    longest_slope: float | None
    mean_slope: float | None
    """Weighted by the lives' lengths."""
    most_mib: float
    first_descriptors: int
    last_descriptors: int
    most_descriptors: int

    @property
    def descriptors_grew(self) -> bool:
        return self.last_descriptors > self.first_descriptors + DESCRIPTORS_TOLERANCE


def growth(lives: Sequence[Sequence[Sample]], *, load_ended: float) -> Growth:
    """Of the samples of each life; the first sample was taken before the load, the last one after it."""
    everything = [sample for life in lives for sample in life]
    loaded = [[sample for sample in life if sample.at <= load_ended] for life in lives]
    grown = [life for samples in loaded if samples and _seconds(life := after(samples, GROWN_UP_SECONDS)) > 0]
    longest = max(grown, key=_seconds, default=())
    told = [(mib_per_minute(life), _seconds(life)) for life in grown if _seconds(life) >= LEAST_LIFE_SECONDS]
    slopes = [(slope, seconds) for slope, seconds in told if slope is not None]
    return Growth(
        lives=len(lives),
        longest_seconds=_seconds(longest) + GROWN_UP_SECONDS if longest else 0,
        longest_slope=mib_per_minute(longest) if _seconds(longest) >= LEAST_LIFE_SECONDS else None,
        mean_slope=sum(slope * seconds for slope, seconds in slopes) / sum(seconds for _, seconds in slopes)
        if slopes
        else None,
        most_mib=max(each.resident_mib for each in everything),
        first_descriptors=everything[0].descriptors,
        last_descriptors=everything[-1].descriptors,
        most_descriptors=max(each.descriptors for each in everything),
    )


def _seconds(samples: Sequence[Sample]) -> float:
    return samples[-1].at - samples[0].at if samples else 0


# --- the whole -------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True, kw_only=True)
class Verdict:
    """`allowed` says how many requests each kind of fault may double; kinds that are not in it may double none."""

    minutes: float
    seed: int
    rate: float
    webhooks: str
    events: int
    unconfirmed: int
    repeated: int
    incidents: Sequence[Incident]
    accounts: Accounts
    doubled: Sequence[Duplicate]
    allowed: Mapping[str, int]
    growth: Growth
    dead_letters: int
    complaints: Sequence[str] = field(default=())

    @property
    def unexplained(self) -> Sequence[Duplicate]:
        return [each for each in self.doubled if each.fault not in {name.partition(" (")[0] for name in self.allowed}]

    @property
    def failures(self) -> Sequence[str]:
        """Why the soak has failed, in words; nothing where it passed."""
        checks = {
            f"{len(self.accounts.missing)} deliveries are not in the store": self.accounts.missing,
            f"{len(self.accounts.untaken)} deliveries that the store calls delivered never came": self.accounts.untaken,
            f"{len(self.accounts.pending)} deliveries are not over": self.accounts.pending,
            f"{len(self.accounts.out_of_order)} deliveries have attempts out of order": self.accounts.out_of_order,
            f"{self.dead_letters} dead letters": self.dead_letters,
            "descriptors grew": self.growth.descriptors_grew,
        }
        return [text for text, is_so in checks.items() if is_so] + list(self.complaints)

    def report(self) -> str:
        """For people, and to paste into the documentation."""
        grown, accounts = self.growth, self.accounts
        recoveries = [each.recovery_seconds for each in self.incidents if each.recovery_seconds is not None]
        slowest = f"; ready again after {max(recoveries):.1f} s at most" if recoveries else ""
        ended = ", ".join(f"{count:,} {name}" for name, count in accounts.ended.most_common())
        lines = {
            "soak": f"{self.minutes:.1f} min, seed {self.seed}, {self.rate:g} events/s, {self.webhooks}",
            "faults": f"{len(self.incidents)}: {_counted(Counter(each.fault for each in self.incidents))}{slowest}",
            "events": f"{self.events:,} confirmed, {self.unconfirmed} given up unconfirmed; "
            f"{self.repeated} publishes repeated",
            "deliveries": f"{accounts.expected:,}: {ended}; {len(accounts.pending)} pending",
            "lost": f"{accounts.lost}",
            "duplicates": self._doubled(),
            "memory": f"longest life {grown.longest_seconds:.0f} s, {_slope(grown.longest_slope)}; "
            f"mean of {grown.lives} lives {_slope(grown.mean_slope)}; {grown.most_mib:.1f} MiB at most",
            "descriptors": f"{grown.first_descriptors} at the beginning, {grown.last_descriptors} at the end, "
            f"{grown.most_descriptors} at most",
            "result": "; ".join(self.failures) or "passed",
        }
        return "\n".join(f"{name:12} {text}" for name, text in lines.items())

    def _doubled(self) -> str:
        allowed = sum(self.allowed.values())
        causes = f": {_counted(Counter(each.fault for each in self.doubled))}" if self.doubled else ""
        return f"{len(self.doubled)}{causes}; allowed by {_counted(self.allowed) or 'nothing'}, together {allowed:,}"


def _counted(counts: Mapping[str, int]) -> str:
    return ", ".join(f"{name} {count:,}" for name, count in sorted(counts.items()))


def _slope(value: float | None) -> str:
    return "too short for a slope" if value is None else f"{value:+.2f} MiB per minute"
