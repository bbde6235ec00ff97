"""Whether whoever changes a thing has seen it as it is. Compares versions; touches nothing."""

from __future__ import annotations

from collections.abc import Collection
from typing import Final

from router.domain.errors import Outdated

Seen = Collection[str]
"""The versions of a thing in which somebody may have seen it, and which they want to change; none of them: any."""
ANY: Final[Seen] = ()


def check_seen(what: str, version: str, seen: Seen) -> None:
    """Raises Outdated where `what`, which is at `version`, has been seen as something else."""
    if seen and version not in seen:
        raise Outdated(f"{what} is no longer what you have seen: read it again, and change what it is now")
