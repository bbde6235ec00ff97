"""What the process says of itself, from the checks of its readiness."""

from __future__ import annotations

import pytest

from router.application.overview import process_state

ALONE = {"store": True, "definitions": True, "consumer:call": True, "consumer:cdr": True, "moving": True}
PARENT = {"store": True, "worker:1": True, "worker:2": True, "moving": True}


@pytest.mark.parametrize(
    ("checks", "store", "broker", "definitions", "workers"),
    [
        ({"store": True, "started": True}, True, None, None, None),
        (ALONE, True, True, True, None),
        (ALONE | {"consumer:cdr": False}, True, False, True, None),
        (ALONE | {"store": False, "definitions": False}, False, True, False, None),
        (PARENT, True, True, True, True),
        (PARENT | {"worker:2": False}, True, True, True, False),
        (PARENT | {"worker:2": False, "worker:2:consumer:cdr": False}, True, False, True, False),
        (PARENT | {"worker:2": False, "worker:2:store": False}, False, True, True, False),
        (PARENT | {"worker:2": False, "worker:2:definitions": False}, True, True, False, False),
        (PARENT | {"worker:1": False, "worker:2": False}, True, None, None, False),
    ],
)
def test_parts_of_this_process_and_of_its_workers(
    checks: dict[str, bool], store: bool, broker: bool | None, definitions: bool | None, workers: bool | None
) -> None:
    state = process_state(checks)

    assert (state.store, state.broker, state.definitions, state.workers) == (store, broker, definitions, workers)
