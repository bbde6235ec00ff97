"""The router dies between two steps: nothing is lost, and only what a crash must double is doubled."""

from __future__ import annotations

import pytest

from tests.faults.conftest import MakeTrial
from tests.support.fault_checker import DISARMED


@pytest.mark.quick
@pytest.mark.fault(25, "SIGKILL between receiving and inserting")
async def test_kill_before_the_insert_loses_nothing_and_doubles_nothing(make_trial: MakeTrial) -> None:
    trial = await make_trial()
    trial.define_webhook()
    router = await trial.start_router(killpoint="before_insert=kill")
    await trial.publish(100)
    await router.ended(within_seconds=30)
    trial.heal()
    await router.start(**DISARMED)
    await trial.check()
