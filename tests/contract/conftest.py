"""What is true of the stores' tests alone."""

from __future__ import annotations

import gc
from collections.abc import Iterator

import pytest


@pytest.fixture(scope="package", autouse=True)
def collected_here() -> Iterator[None]:
    """What these tests left behind is found here, and held against no other test."""
    yield
    gc.collect()
