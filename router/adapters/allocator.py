"""Has the C library give memory back. Changes how this process allocates, for good."""

from __future__ import annotations

import ctypes
from typing import Final

LARGE_BLOCK_BYTES: Final = 1024 * 1024
"""Memory of blocks of this size and above goes back to the system as soon as it is freed."""
_M_MMAP_THRESHOLD: Final = -3


def give_large_blocks_back() -> bool:
    """Whether the C library does so from now on.

    glibc raises its own limit to the largest such block that was freed, up to 32 MiB, and keeps what is below it for
    later, in each thread: a few large messages would leave a process several times their size.
    """
    try:
        return bool(ctypes.CDLL(None).mallopt(_M_MMAP_THRESHOLD, LARGE_BLOCK_BYTES))
    except (OSError, AttributeError):  # musl and others have no such thing, nor this habit
        return False
