"""Memory of large blocks goes back to the system."""

from __future__ import annotations

import platform
import subprocess
import sys

import pytest

PROGRAM = """
import psutil
from router.adapters.allocator import give_large_blocks_back
if {asked}:
    assert give_large_blocks_back()
memory = psutil.Process().memory_info
before = memory().rss
for _ in range(3):
    # Below a small block at the end of the heap, freed memory stays with the process.
    blocks = [bytearray(b"x") * (20 << 20) for _ in range(4)]
    last = [bytes(100_000) for _ in range(10)]
    del blocks
    kept = last
print((memory().rss - before) >> 20)
"""


def kept_mib(*, asked: bool) -> int:
    done = subprocess.run(
        [sys.executable, "-c", PROGRAM.format(asked=asked)], check=True, capture_output=True, text=True
    )
    return int(done.stdout)


@pytest.mark.skipif(platform.libc_ver()[0] != "glibc", reason="the habit is glibc's")
def test_large_blocks_are_given_back_as_soon_as_they_are_freed() -> None:
    assert kept_mib(asked=True) < 20 <= kept_mib(asked=False)
