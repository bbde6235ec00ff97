"""The customers of the isolation measurement: which endpoint is where, whose it is, and how it behaves.

Plain functions of the endpoint's number, so that the load, the customers' servers and the bench agree without a word.
"""

from __future__ import annotations

from enum import StrEnum
from typing import Final

COUNT: Final = 1_000
PER_ACCOUNT: Final = 5


class Kind(StrEnum):
    HEALTHY = "healthy"
    UNREACHABLE = "unreachable"
    """Never accepts: the backlog is full, so connecting times out."""
    SILENT = "silent"
    """Accepts, reads the request and never answers."""
    SLOW = "slow"
    """Answers 200 after 9 s."""
    RESETTING = "resetting"
    """Reads the request and resets the connection."""


# Of twenty neighbours ten are healthy, 15 % each are unreachable and silent, 10 % each slow and resetting. The bad ones
# stand between the good ones, so that nobody gains by coming early in a round.
_PATTERN: Final = tuple(
    kind
    for bad in (
        *(Kind.UNREACHABLE, Kind.SILENT, Kind.SLOW, Kind.RESETTING, Kind.UNREACHABLE),
        *(Kind.SILENT, Kind.SLOW, Kind.RESETTING, Kind.UNREACHABLE, Kind.SILENT),
    )
    for kind in (Kind.HEALTHY, bad)
)


def kind_of(endpoint: int) -> Kind:
    return _PATTERN[endpoint % len(_PATTERN)]


def host_of(endpoint: int) -> str:
    """An address of its own."""
    return f"127.77.{endpoint // 250}.{endpoint % 250 + 1}"


def account_of(endpoint: int) -> str:
    return f"account-{endpoint // PER_ACCOUNT}"


def number_of(endpoint: int) -> str:
    """The tracking number by which an event reaches this endpoint and no other of its account."""
    return f"+3319900{endpoint:04d}"


def chosen(spread: str) -> list[int]:
    """The endpoints that get events, in turn: `all`, the `healthy` ones, or the first so many."""
    if spread.isdecimal():
        return list(range(int(spread)))
    return [each for each in range(COUNT) if spread == "all" or kind_of(each) is Kind.HEALTHY]
