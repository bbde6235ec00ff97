"""Which changes are left, who may work with a store, and what routers make of it by themselves."""

from __future__ import annotations

import asyncio
from datetime import timedelta

import pytest
from structlog.testing import capture_logs

from router.adapters.mongo.changes import works
from router.application.upgrading import Upgrade
from router.domain.errors import ConfigurationRefused
from router.domain.schema import CHANGES, EMPTY_STORE, FIRST_RELEASE, KNOWN, Phase, Schema
from tests.support.fakes_schema import FakeSchema

EXPANDING = [change.number for change in CHANGES if change.phase is Phase.EXPAND]
CONTRACTING = [change.number for change in CHANGES if change.phase is Phase.CONTRACT]


# --- who may work with it --------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("done", "needs", "known", "is_too_new"),
    [
        (set(), 1, 1, False),
        ({2, 3}, 1, 1, False),  # a newer router has only added: an older one goes on, in a rolling upgrade
        ({2, 3, 4}, 4, 3, True),
        ({2, 3, 4}, 4, 4, False),
        ({2, 3, 4, 9}, 4, 4, False),
    ],
)
def test_only_what_was_taken_away_keeps_an_older_program_out(
    done: set[int], needs: int, known: int, is_too_new: bool
) -> None:
    assert Schema(done=frozenset(done), needs=needs).is_too_new(known) is is_too_new


def test_a_contracting_change_raises_what_a_program_must_know_and_an_expanding_one_does_not() -> None:
    schema = FIRST_RELEASE
    for change in CHANGES:
        before = schema.needs
        schema = schema.after(change)
        assert schema.needs == (change.number if change.phase is Phase.CONTRACT else before)

    assert schema == EMPTY_STORE
    assert not schema.is_too_new()


def test_what_can_run_beside_older_routers_does_not_wait_for_what_cannot() -> None:
    assert [change.number for change in FIRST_RELEASE.pending(contract=False)] == EXPANDING
    assert [change.number for change in FIRST_RELEASE.pending(contract=True)] == [change.number for change in CHANGES]
    assert EMPTY_STORE.pending(contract=True) == []


def test_numbers_are_for_ever() -> None:
    """A number that was given out is never given to another change: stores remember it."""
    numbers = [change.number for change in CHANGES]

    assert numbers == list(range(2, KNOWN + 1))
    assert set(works(timedelta(days=1))) == set(numbers), "each change says what it does"


# --- what routers do -------------------------------------------------------------------------------


async def looked(schema: FakeSchema, *, times: int = 1) -> list[str]:
    """The log of a router that has looked so often."""
    looks = 0

    async def sleep(_: float) -> None:
        nonlocal looks
        looks += 1
        if looks == times:
            await asyncio.Event().wait()
        schema.is_away = False
        schema.busy = set()

    with capture_logs() as log:
        running = asyncio.create_task(Upgrade(schema, sleep).run())
        while looks < times:
            await asyncio.sleep(0)
        running.cancel()
        await asyncio.gather(running, return_exceptions=True)
    return [f"{line['event']} {line['number']}" for line in log]


async def test_a_router_makes_what_it_may_and_tells_once_what_waits() -> None:
    schema = FakeSchema()

    log = await looked(schema, times=3)

    assert schema.done == set(EXPANDING)
    began = [f"{event} {number}" for number in EXPANDING for event in ("migration_began", "migration_done")]
    assert log == [*began, *(f"migration_waits {number}" for number in CONTRACTING)]


async def test_what_another_process_is_at_is_looked_at_again_later() -> None:
    schema = FakeSchema(busy={EXPANDING[0]})

    assert (await looked(schema, times=1))[-1] == f"migration_began {EXPANDING[0]}"
    schema.busy = {EXPANDING[0]}
    await looked(schema, times=2)

    assert schema.done == set(EXPANDING)


async def test_a_store_that_is_away_is_looked_at_again_later() -> None:
    schema = FakeSchema(is_away=True)

    await looked(schema, times=2)

    assert schema.done == set(EXPANDING)


async def test_a_store_that_has_become_too_new_ends_the_router() -> None:
    class TooNew(FakeSchema):
        async def read(self) -> Schema:
            raise ConfigurationRefused("this database has been changed by a newer router")

    with pytest.raises(ConfigurationRefused):
        await Upgrade(TooNew()).run()
