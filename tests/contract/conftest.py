"""What is true of the stores' tests alone."""

from __future__ import annotations

import gc
from collections.abc import Iterator
from pathlib import Path

import pytest

HERE = Path(__file__).parent
CLOSED_LATE = (
    "ignore:Exception ignored in. <socket.socket:pytest.PytestUnraisableExceptionWarning",
    "ignore:Exception ignored in. <function _SelectorTransport.__del__:pytest.PytestUnraisableExceptionWarning",
)
"""PyMongo Async is still closing its monitors' connections when its close() has returned and a test's loop ends."""


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    for item in items:
        if HERE in item.path.parents:
            for each in CLOSED_LATE:
                item.add_marker(pytest.mark.filterwarnings(each))


@pytest.fixture(scope="package", autouse=True)
def collected_here() -> Iterator[None]:
    """What these tests left behind is found here, and held against no other test."""
    yield
    gc.collect()
