"""Memory and descriptors of a process over time, and whether they grow; CPU and memory of a family of processes.
Touches /proc.
"""

from __future__ import annotations

import os
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import psutil

PAGE = os.sysconf("SC_PAGE_SIZE")
TICKS = os.sysconf("SC_CLK_TCK")


@dataclass(frozen=True, slots=True, kw_only=True)
class Sample:
    """`at` in monotonic seconds."""

    at: float
    resident_mib: float
    descriptors: int


def resident_mib(pid: int) -> float:
    pages = int(Path(f"/proc/{pid}/statm").read_text().split()[1])
    return pages * PAGE / 2**20


def family(pid: int) -> list[int]:
    """A process and all that descend from it."""
    return [pid, *(child.pid for child in psutil.Process(pid).children(recursive=True))]


def cpu_seconds(pid: int) -> float:
    """User and system time of a process and of all that descend from it."""
    return sum(_own_cpu_seconds(each) for each in family(pid))


def _own_cpu_seconds(pid: int) -> float:
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / TICKS


def family_mib(pid: int) -> float:
    """Resident memory of a process and of all that descend from it; what they share is counted once for each."""
    return sum(resident_mib(each) for each in family(pid))


def take_sample(pid: int) -> Sample | None:
    """How the process is now; None when there is none (any more)."""
    try:
        descriptors = sum(1 for _ in Path(f"/proc/{pid}/fd").iterdir())
        resident = resident_mib(pid)
    except OSError:
        return None
    # One that ended and was not waited for has no memory left.
    return Sample(at=time.monotonic(), resident_mib=resident, descriptors=descriptors) if resident else None


def after(samples: Sequence[Sample], seconds: float) -> Sequence[Sample]:
    """The samples without those of the first `seconds`."""
    return [each for each in samples if each.at >= samples[0].at + seconds]


def mib_per_minute(samples: Sequence[Sample]) -> float | None:
    """The slope of the memory by least squares; None where the samples tell none."""
    if len(samples) < 2:
        return None
    mean_at = sum(each.at for each in samples) / len(samples)
    mean_mib = sum(each.resident_mib for each in samples) / len(samples)
    spread = sum((each.at - mean_at) ** 2 for each in samples)
    if spread == 0:
        return None
    return 60 * sum((each.at - mean_at) * (each.resident_mib - mean_mib) for each in samples) / spread
